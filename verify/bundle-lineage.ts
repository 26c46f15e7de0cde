/**
 * What ties the messages of a bundle to each other. A bundle shows one conversation of many, and batches of which it has a part: the rules
 * are those of transcript/lineage.ts as far as that can be told. docs/TRANSCRIPT.md §f.
 */
import { equal, hex, type Hash } from '../base/bytes.ts';
import type { Profile } from '../transcript/bundle.ts';
import { NO_HASH } from '../transcript/merkle.ts';
import { isReceipt, isThreaded, type BatchStatement, type MessageStatement } from '../transcript/statement.ts';
import type { FindingCode, Findings } from './finding.ts';

/** One message whose statements are well-formed and belong together. */
export interface Stated {
  readonly where: string;
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

/** leaf(MS) in hexadecimal, and the message that it is of. */
export interface Statement {
  readonly leaf: string;
  readonly where: string;
  /** Only the author of the messages is sent a receipt: other parties need not have it. */
  readonly isReceipt?: boolean;
}

interface Thread {
  sessionCtr: number;
  convCtr: number;
  last: Stated;
}

export class BundleLineage {
  readonly #findings: Findings;
  readonly #profile: Profile;
  readonly #threads = new Map<string, Thread>();
  /** leaf(MS) of the sender's last message, over all sessions. */
  readonly #lastLeaf = new Map<string, Hash>();
  /** By sender, session and counter. */
  readonly #stated = new Map<string, Statement>();

  constructor(profile: Profile, findings: Findings) {
    this.#profile = profile;
    this.#findings = findings;
  }

  /** By sender, session and counter: what was signed there. For a comparison with another bundle. */
  get stated(): ReadonlyMap<string, Statement> {
    return this.#stated;
  }

  add(message: Stated): void {
    const { where, ms, msLeaf } = message;
    const sender = hex(ms.sender);
    const key = `${sender} ${hex(ms.session)}`;
    const place = `${key} ${ms.sessionCtr}`;
    const before = this.#stated.get(place);
    if (before !== undefined && before.leaf !== hex(msLeaf) && message.isSigned)
      return this.#find('E_DOUBLE', where, 'the sender signed two messages with one counter');
    if (message.isSigned) this.#stated.set(place, { leaf: hex(msLeaf), where, isReceipt: isReceipt(ms.kind) });
    const thread = this.#threads.get(key);
    if (thread && ms.sessionCtr <= thread.sessionCtr)
      return this.#find('E_CTR_REGRESS', where, `session counter ${ms.sessionCtr} after ${thread.sessionCtr}`);
    this.#batch(message, thread);
    if (!isThreaded(ms.kind)) {
      const convCtr = thread?.convCtr ?? 0;
      this.#threads.set(key, { sessionCtr: ms.sessionCtr, convCtr, last: message });
      return;
    }
    this.#conversation(message, thread, this.#lastLeaf.get(sender));
    this.#threads.set(key, { sessionCtr: ms.sessionCtr, convCtr: ms.convCtr, last: message });
    this.#lastLeaf.set(sender, msLeaf);
  }

  /** The batches that two messages of one session belong to, one after the other. */
  #batch({ where, bs, bsLeaf, batchIndex, serverTime }: Stated, thread: Thread | undefined): void {
    const file = `${where}/batch.tbs`;
    if (thread && equal(thread.last.bsLeaf, bsLeaf)) {
      if (thread.last.batchIndex !== batchIndex || thread.last.serverTime !== serverTime)
        this.#find('E_ORDER', where, 'stands elsewhere in the log than the rest of its batch');
      return;
    }
    const isFirst = bs.firstCtr === 1;
    const end = thread ? thread.last.bs.firstCtr + thread.last.bs.count : null;
    if (end !== null && bs.firstCtr < end) this.#find('E_CTR_REGRESS', file, 'begins before the batch before it ends');
    const due = isFirst ? NO_HASH : bs.firstCtr === end ? thread?.last.bsLeaf : undefined;
    if (due && !equal(bs.prevBatch, due)) this.#find('E_BATCH_CHAIN', file, 'does not follow the batch before it');
  }

  #conversation({ where, ms }: Stated, thread: Thread | undefined, last: Hash | undefined): void {
    const { convCtr, prevConv } = ms;
    const due = (thread?.convCtr ?? 0) + 1;
    const hasLink = !equal(prevConv, NO_HASH);
    if (convCtr > 1 && !hasLink) this.#find('E_CONV_LINK', where, 'no link within a session');
    if (convCtr < due) return this.#find('E_CONV_GAP', where, `conversation counter ${convCtr}, want ${due}`);
    if (convCtr > due) return this.#gap(where, `${convCtr - due} of this sender before it are not here`);
    if (last !== undefined && equal(prevConv, last)) return;
    if (hasLink && last === undefined)
      return this.#find(
        'W_CONV_ELSEWHERE',
        where,
        'links to a message of another certificate, or one that is not here',
      );
    if (hasLink && convCtr === 1 && this.#profile === 'selective')
      return this.#gap(where, 'those that this sender wrote before, in another session, are not here');
    if (hasLink) return this.#find('E_CONV_LINK', where, 'does not link to the last message of this sender');
    if (last !== undefined && convCtr === 1)
      this.#find('W_CONV_RESTART', where, 'the device began this conversation anew');
  }

  #gap(where: string, message: string): void {
    this.#find(this.#profile === 'complete' ? 'E_CONV_GAP' : 'W_GAP', where, message);
  }

  #find(code: FindingCode, where: string, message: string): void {
    this.#findings.add(code, where, message);
  }
}
