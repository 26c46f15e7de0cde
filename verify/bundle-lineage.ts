/**
 * What ties the messages of a bundle to each other. A bundle shows one conversation of many, and batches of which it has a part: the rules
 * are those of transcript/lineage.ts as far as that can be told. docs/TRANSCRIPT.md §f.
 */
import { same, view, type Hash } from '../base/bytes.ts';
import { messageFolder, type Profile } from '../transcript/bundle.ts';
import { NO_HASH } from '../transcript/merkle.ts';
import { isReceipt, isThreaded, type BatchStatement, type MessageStatement } from '../transcript/statement.ts';
import type { FindingCode, Findings } from './finding.ts';
import { Places } from './places.ts';

/** One message whose statements are well-formed and belong together. */
export interface Stated {
  /** In the bundle. */
  readonly number: number;
  readonly ms: MessageStatement;
  readonly msLeaf: Hash;
  readonly bs: BatchStatement;
  readonly bsLeaf: Hash;
  /** Of the SIGB leaf, by the message's own place; null: not known. */
  readonly batchIndex: number | null;
  readonly serverTime: number;
  /** What is not could be anybody's, and proves nothing against the sender. */
  readonly isSigned: boolean;
}

/** What the next message of a session is compared with. */
interface Thread {
  readonly sessionCtr: number;
  readonly convCtr: number;
  /** Of its last batch. */
  readonly bsLeaf: Hash;
  /** The session counter behind it. */
  readonly end: number;
  readonly batchIndex: number | null;
  readonly serverTime: number;
}

export class BundleLineage {
  readonly #findings: Findings;
  readonly #profile: Profile;
  readonly #threads = new Map<string, Thread>();
  /** leaf(MS) of the sender's last message, over all sessions. */
  readonly #lastLeaf = new Map<string, Hash>();
  /**
   * By sender and session, and by counter: what was signed there, and the number of the message. Of a receipt, that is below zero: only the author of
   * the messages is sent it, so other parties need not have it.
   */
  readonly stated = new Places();

  constructor(profile: Profile, findings: Findings) {
    this.#profile = profile;
    this.#findings = findings;
  }

  add(message: Stated): void {
    const { number, ms, msLeaf, bs, bsLeaf, batchIndex, serverTime, isSigned } = message;
    const { sessionCtr } = ms;
    const sender = view(ms.sender).toString('latin1');
    const key = sender + view(ms.session).toString('latin1');
    const before = this.stated.find(key, sessionCtr);
    if (before !== undefined && !this.stated.isAt(before, msLeaf) && isSigned)
      return this.#find('E_DOUBLE', number, 'the sender signed two messages with one counter');
    if (isSigned && before === undefined)
      this.stated.add(key, sessionCtr, msLeaf, isReceipt(ms.kind) ? -number : number);
    const thread = this.#threads.get(key);
    if (thread && sessionCtr <= thread.sessionCtr)
      return this.#find('E_CTR_REGRESS', number, `session counter ${sessionCtr} after ${thread.sessionCtr}`);
    this.#batch(message, thread);
    const last = { sessionCtr, bsLeaf, end: bs.firstCtr + bs.count, batchIndex, serverTime };
    if (!isThreaded(ms.kind)) {
      this.#threads.set(key, { ...last, convCtr: thread?.convCtr ?? 0 });
      return;
    }
    this.#conversation(message, thread, this.#lastLeaf.get(sender));
    this.#threads.set(key, { ...last, convCtr: ms.convCtr });
    this.#lastLeaf.set(sender, msLeaf);
  }

  /** The batches that two messages of one session belong to, one after the other. */
  #batch({ number, bs, bsLeaf, batchIndex, serverTime }: Stated, thread: Thread | undefined): void {
    const file = '/batch.tbs';
    if (thread && same(thread.bsLeaf, bsLeaf)) {
      if (thread.batchIndex !== batchIndex || thread.serverTime !== serverTime)
        this.#find('E_ORDER', number, 'stands elsewhere in the log than the rest of its batch');
      return;
    }
    const isFirst = bs.firstCtr === 1;
    const end = thread?.end;
    if (end !== undefined && bs.firstCtr < end)
      this.#find('E_CTR_REGRESS', number, 'begins before the batch before it ends', file);
    const due = isFirst ? NO_HASH : bs.firstCtr === end ? thread?.bsLeaf : undefined;
    if (due && !same(bs.prevBatch, due))
      this.#find('E_BATCH_CHAIN', number, 'does not follow the batch before it', file);
  }

  #conversation({ number, ms }: Stated, thread: Thread | undefined, last: Hash | undefined): void {
    const { convCtr, prevConv } = ms;
    const due = (thread?.convCtr ?? 0) + 1;
    const hasLink = !same(prevConv, NO_HASH);
    if (convCtr > 1 && !hasLink) this.#find('E_CONV_LINK', number, 'no link within a session');
    if (convCtr < due) return this.#find('E_CONV_GAP', number, `conversation counter ${convCtr}, want ${due}`);
    if (convCtr > due) return this.#gap(number, `${convCtr - due} of this sender before it are not here`);
    if (last !== undefined && same(prevConv, last)) return;
    if (hasLink && last === undefined)
      return this.#find(
        'W_CONV_ELSEWHERE',
        number,
        'links to a message of another certificate, or one that is not here',
      );
    // Also within a session: nothing keeps a device from having two at a time.
    if (hasLink && this.#profile === 'selective')
      return this.#gap(number, 'those that this sender wrote before, in another session, are not here');
    if (hasLink) return this.#find('E_CONV_LINK', number, 'does not link to the last message of this sender');
    if (last !== undefined && convCtr === 1)
      this.#find('W_CONV_RESTART', number, 'the device began this conversation anew');
  }

  #gap(number: number, message: string): void {
    this.#find(this.#profile === 'complete' ? 'E_CONV_GAP' : 'W_GAP', number, message);
  }

  #find(code: FindingCode, number: number, message: string, file = ''): void {
    this.#findings.add(code, messageFolder(number) + file, message);
  }
}
