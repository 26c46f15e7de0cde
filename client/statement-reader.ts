/**
 * The statements of a delivered batch, each by itself: whether it is part of the batch, whose member sent it, whether what came with it is what was
 * signed, and what comes of it by the rules of its kind (group-reader.ts, receipt-reader.ts). Runs inside Groups.exclusively(), and stores nothing.
 */
import { equal, hex, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Delivered, Hidden, Reply } from '../protocol/messages.ts';
import { leafHash, NO_HASH } from '../transcript/merkle.ts';
import {
  decodeMs,
  isCiphertextOf,
  isCommitted,
  isPartOfCiphertext,
  isReceipt,
  KIND,
  type MessageStatement,
} from '../transcript/statement.ts';
import { readOpening } from './body.ts';
import { isVerdict, type CheckedBatch } from './delivery-check.ts';
import type { DeviceKeys } from './device.ts';
import { usersIn } from './e2ee/held.ts';
import { isOfCommit } from './e2ee/layout.ts';
import type { GroupEngine } from './group-engine.ts';
import { GroupReader, type Opened } from './group-reader.ts';
import { GROUP_WORK } from './group-thread.ts';
import type { Groups } from './groups.ts';
import { readHandover } from './handover-content.ts';
import { readReceipt, type HeldReceipt } from './receipt-reader.ts';
import type { Conversation } from './roster.ts';
import type { Session } from './session.ts';
import type { Vault } from './vault.ts';

/** One statement that held; `opened` is null for one that is here already. */
export interface Good {
  readonly delivered: Delivered;
  readonly ms: MessageStatement;
  readonly opened: Opened | HeldReceipt | null;
  /** in the log */
  readonly index: number;
}
/** One that did not. */
export interface Bad {
  readonly delivered: Delivered;
  readonly error: ChatError;
}

export class StatementReader {
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #devices: DeviceKeys;
  readonly #reader: GroupReader;
  readonly #username: string;

  /** @param username of this profile */
  constructor(vault: Vault, groups: Groups, devices: DeviceKeys, username: string) {
    this.#vault = vault;
    this.#groups = groups;
    this.#devices = devices;
    this.#reader = new GroupReader(vault.keys, groups);
    this.#username = username;
  }

  async read(
    session: Session,
    engine: GroupEngine,
    batch: CheckedBatch,
    items: Reply<'msg_deliver'>['items'],
  ): Promise<{ readonly good: readonly Good[]; readonly bad: readonly Bad[] }> {
    const good: Good[] = [];
    const bad: Bad[] = [];
    for (const [i, delivered] of items.entries()) {
      if (!isShown(delivered)) continue;
      try {
        const ms = decodeMs(delivered.statement);
        const opened = await this.#read(session, engine, batch, delivered, ms, i);
        good.push({ delivered, ms, opened, index: batch.first + 1 + i });
      } catch (cause) {
        const error = ChatError.from(cause);
        if (!isVerdict(error)) throw error;
        bad.push({ delivered, error: naming(batch.username, error) });
      }
    }
    return { good, bad };
  }

  /** Null for what is here already: the server repeats what it does not know to be received. */
  async #read(
    session: Session,
    engine: GroupEngine,
    { bs, leaf, username, serverTime: at }: CheckedBatch,
    delivered: Delivered,
    ms: MessageStatement,
    position: number,
  ): Promise<Opened | HeldReceipt | null> {
    if (!equal(ms.sender, bs.sender) || !equal(ms.session, bs.session) || ms.sessionCtr !== bs.firstCtr + position)
      throw new ChatError('SIG_FAIL', 'a statement that does not belong to its batch', { sub: 'statement' });
    if (isReceipt(ms.kind)) {
      const who = { by: username, at, batch: leaf };
      return readReceipt(this.#vault, session, this.#username, who, delivered, ms, this.#readersOf(ms.conversation));
    }
    if (ms.kind !== KIND.message && ms.kind !== KIND.membership)
      throw new ChatError('BAD_FRAME', 'a statement of another kind', { field: 'ms.kind' });
    let roster: Conversation = await session.rosters.trusted(ms.conversation);
    // Into a room write those who are in its group at that time, wherever they are now: the reader compares.
    if (roster.room === undefined && !roster.members.some((member) => member.username === username)) {
      roster = await session.rosters.refresh(ms.conversation);
      if (!roster.members.some((member) => member.username === username))
        throw new ChatError('BAD_CERT', `${username} sent into a conversation without being in it`, {
          sub: 'untrusted',
        });
    }
    if (!isWhatWasSigned(ms, delivered))
      throw new ChatError('SIG_FAIL', 'a body that is not the one that was signed', { sub: 'ct_hash' });
    const hash = leafHash(delivered.statement);
    if (this.#vault.messageByHash(hash) !== null || this.#vault.groups.hasCommit(hash)) return null;
    if (this.#vault.ledger.hasAlarm('TOO_LARGE', `${hex(hash)}/${GROUP_WORK}`))
      throw new ChatError('TOO_LARGE', 'what has taken too long once is not tried again', { field: GROUP_WORK });
    const item = { ms, delivered, roster, by: username, at };
    if (ms.kind === KIND.membership) {
      if (!equal(ms.commitment, NO_HASH))
        throw new ChatError('SIG_FAIL', 'a commit with a commitment', { sub: 'commitment' });
      return this.#reader.commit(session, engine, item, await this.#devices.ready(session, engine));
    }
    return this.#reader.message(session, engine, item, (opening) => {
      const { kf, body } = readOpening(opening);
      if (!isCommitted(kf, delivered.statement, body))
        throw new ChatError('SIG_FAIL', `a body of ${username} that its commitment does not open to`, {
          sub: 'commitment',
        });
      if (session.rosters.isSelf(ms.conversation)) readHandover(body);
    });
  }

  /** Null where this device is not in the group, or knows that it has missed something of it. */
  #readersOf(id: ConversationId): string[] | null {
    const { conversation } = this.#groups.of(id);
    return conversation === null || this.#groups.isBroken(id) ? null : usersIn(conversation);
  }
}

/** The same, and whose signature it stands under. */
function naming(username: string, error: ChatError): ChatError {
  if (error.message.includes(username)) return error;
  const { code, sub, field } = error;
  return new ChatError(code, `${error.message} (sent by ${username})`, {
    ...(sub === undefined ? {} : { sub }),
    ...(field === undefined ? {} : { field }),
    cause: error,
  });
}

/** All parts of a message; of a commit perhaps those alone that are for this device. */
function isWhatWasSigned(ms: MessageStatement, { parts, cut }: Delivered): boolean {
  if (cut === undefined) return isCiphertextOf(ms, parts);
  if (ms.kind !== KIND.membership || !isOfCommit(cut.at))
    throw new ChatError('BAD_FRAME', 'parts that nobody can use without the others', { field: 'msg_deliver.cut' });
  return isPartOfCiphertext(ms, parts, cut.at, cut.hashes);
}

/** Of the others the server gives no more than their hashes. */
export const isShown = (item: Delivered | Hidden): item is Delivered => 'statement' in item;
