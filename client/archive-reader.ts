/**
 * Takes over what another device of this user has handed over. Each batch is checked as if the server had just delivered it: certificate,
 * signature, place in the log under a checkpoint of the pinned key, commitment. So neither the server nor that device can put words into
 * anybody's mouth; what does not hold is left out, and reported with what was found. Leaving out is what they can do.
 */
import { equal, hex, utf8, type Fingerprint, type Hash } from '../base/bytes.ts';
import { encode, type Encodable } from '../base/cbor.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { leafHash } from '../transcript/merkle.ts';
import {
  decodeMs,
  isCommitted,
  isReceipt,
  KIND,
  type BatchStatement,
  type MessageStatement,
} from '../transcript/statement.ts';
import {
  rosterIn,
  type ArchiveRecord,
  type BatchRecord,
  type ConversationRecord,
  type VerifiedRecord,
} from './archive.ts';
import { hearMark } from './marks.ts';
import { readOpening } from './body.ts';
import { checkBatch, isVerdict, type CheckedBatch } from './delivery-check.ts';
import { UNREADABLE } from './message-table.ts';
import { errorOf, findReplay } from './order-check.ts';
import { readReceipt, type HeldReceipt } from './receipt-reader.ts';
import type { Session } from './session.ts';
import type { Conversation } from './roster.ts';
import { admitStatement } from './trust.ts';
import type { Received } from './incoming.ts';
import type { Vault } from './vault.ts';

/** What came of a history. */
export interface Imported {
  /** messages that were not here before */
  messages: number;
  /** records that do not hold */
  refused: number;
  /** batches of another log than the one that the server writes now */
  elsewhere: number;
  /** users whose keys that device has compared, as it says */
  verified: string[];
}

/** Checked, and not stored yet. */
interface Ready {
  readonly checked: CheckedBatch;
  readonly record: BatchRecord;
  readonly received: readonly Received[];
  readonly receipts: readonly HeldReceipt[];
}

export class ArchiveReader {
  readonly #vault: Vault;
  readonly #session: Session;
  readonly #username: string;
  readonly #refused: (error: ChatError, subject: string, detail: Uint8Array) => void;
  /** of conversations that the server says nothing about any more, as the archive has them */
  readonly #told = new Map<string, ConversationRecord>();
  readonly #rosters = new Map<string, Conversation>();
  /** the last place in each conversation, and where it stands in the log */
  readonly #places = new Map<string, { readonly index: number; readonly seq: number }>();
  #ready: Ready[] = [];
  #marks: VerifiedRecord[] = [];
  readonly #from: Fingerprint;
  readonly result: Imported = { messages: 0, refused: 0, elsewhere: 0, verified: [] };

  /** @param from the device that hands it over @param refused is told of each record that does not hold, with the record */
  constructor(
    vault: Vault,
    session: Session,
    username: string,
    from: Fingerprint,
    refused: (error: ChatError, subject: string, detail: Uint8Array) => void,
  ) {
    this.#from = from;
    this.#vault = vault;
    this.#session = session;
    this.#username = username;
    this.#refused = refused;
  }

  /** @throws what has nothing to do with what the record says: the connection, this disk, a log that contradicts itself */
  async take(record: ArchiveRecord): Promise<void> {
    try {
      await this.#take(record);
    } catch (cause) {
      const error = ChatError.from(cause);
      if (!isVerdict(error)) throw error;
      this.result.refused++;
      const name = record.t === 'batch' ? hex(leafHash(record.batch)) : record.t;
      this.#refused(error, `history ${name}`, encode(record as unknown as Encodable));
    }
  }

  /** Stores what was checked since the last time, in one transaction. @param now Unix ms */
  store(now: number): void {
    const { log } = this.#session;
    const ready = this.#ready.splice(0);
    for (const { checked } of ready) log.keep(checked.checkpoint, checked.note); // by itself: a fork must leave its proof behind
    this.#vault.transaction(() => {
      for (const mark of this.#marks.splice(0))
        if (hearMark(this.#vault, mark, this.#from)) this.result.verified.push(mark.user);
      for (const { checked, record, received, receipts } of ready) {
        const replay = findReplay(this.#vault.ledger, checked);
        if (replay !== null) this.#refused(errorOf(replay), replay.subject, replay.detail);
        this.#vault.ledger.addEvidence(leafHash(record.batch), log.origin, checked.evidence);
        for (const message of received) if (this.#vault.incoming.addImported(message, now)) this.result.messages++;
        for (const { receipt, isMine } of receipts) this.#vault.receipts.add(receipt, isMine);
      }
    });
  }

  async #take(record: ArchiveRecord): Promise<void> {
    switch (record.t) {
      case 'certificate': {
        const fingerprint = sha256(record.chain[0]!) as Uint8Array as Fingerprint;
        // Whose it is, and that our authority gave it, is checked whenever it is used.
        if (this.#vault.ledger.certificate(fingerprint) === null)
          this.#vault.ledger.addCertificate(fingerprint, record.chain);
        return;
      }
      case 'log_key':
        return admitStatement(this.#vault.ledger, this.#session.log.origin, record);
      case 'conversation':
        return void this.#told.set(hex(record.id), record);
      case 'verified':
        return void this.#marks.push(record);
      case 'batch':
        return this.#batch(record);
    }
  }

  async #batch(record: BatchRecord): Promise<void> {
    const session = this.#session;
    if (record.origin !== session.log.origin) return void this.result.elsewhere++;
    const items = record.items.map(({ statement, statement_hash, leaf_hash }) => {
      if (statement !== undefined) return { statement };
      if (statement_hash === undefined || leaf_hash === undefined)
        throw new ChatError('BAD_FRAME', 'evidence without its hashes', { field: 'archive.items' });
      return { statement_hash, leaf_hash };
    });
    const { algorithm, signature, batch, ack } = record;
    const shown = { algorithm, signature, batch, ack, items };
    const checked = await checkBatch(session, shown, utf8(record.note), (note) => session.log.openKept(note));
    const received: Received[] = [];
    for (const { i, seq, opening } of record.messages) {
      const statement = record.items[i]?.statement;
      if (statement === undefined)
        throw new ChatError('BAD_FRAME', 'a message without its statement', { field: 'archive.messages' });
      const ms = decodeMs(statement);
      await this.#checkPlace(checked, ms, i, seq);
      received.push(this.#receivedOf(checked, ms, statement, seq, opening));
    }
    const receipts: HeldReceipt[] = [];
    for (const { i, part } of record.receipts) {
      const held = await this.#receipt(checked, record.items[i]?.statement, i, part);
      if (held !== null) receipts.push(held);
    }
    this.#ready.push({ checked, record, received, receipts });
  }

  async #receipt(
    { bs, username: by, serverTime: at, leaf }: CheckedBatch,
    statement: Uint8Array | undefined,
    i: number,
    part: Uint8Array,
  ): Promise<HeldReceipt | null> {
    const ms = statement === undefined ? null : decodeMs(statement);
    if (ms === null || !isReceipt(ms.kind))
      throw new ChatError('BAD_FRAME', 'a receipt without its statement', { field: 'archive.receipts' });
    assertOf(bs, ms, i);
    await this.#rosterOf(ms);
    const shown = { statement: statement!, parts: [part] };
    // Who could read then is not known now.
    return readReceipt(this.#vault, this.#session, this.#username, { by, at, batch: leaf }, shown, ms, null);
  }

  async #checkPlace(
    { bs, username, first }: CheckedBatch,
    ms: MessageStatement,
    i: number,
    seq: number,
  ): Promise<void> {
    assertOf(bs, ms, i);
    if (ms.kind !== KIND.message)
      throw new ChatError('BAD_FRAME', 'a statement of another kind', { field: 'archive.messages' });
    if (this.#session.rosters.isSelf(ms.conversation))
      throw new ChatError('BAD_FRAME', 'a history in a history', { field: 'archive.messages' });
    const roster = await this.#rosterOf(ms);
    if (roster.room === undefined && !roster.members.some((member) => member.username === username))
      throw new ChatError('BAD_CERT', `${username} sent into a conversation without being in it`, { sub: 'untrusted' });
    const key = hex(ms.conversation);
    const [before, index] = [this.#places.get(key), first + 1 + i];
    if (before !== undefined && (index <= before.index || seq <= before.seq))
      throw new ChatError('SIG_FAIL', 'messages in another order than the log has them', { sub: 'order' });
    this.#places.set(key, { index, seq });
  }

  #receivedOf(
    { bs, username, serverTime }: CheckedBatch,
    ms: MessageStatement,
    statement: Uint8Array,
    seq: number,
    opening: Uint8Array | undefined,
  ): Received {
    const read = opening === undefined ? null : readOpening(opening);
    if (read !== null && !isCommitted(read.kf, statement, read.body))
      throw new ChatError('SIG_FAIL', `a body of ${username} that its commitment does not open to`, {
        sub: 'commitment',
      });
    return {
      conversation: ms.conversation,
      seq,
      hash: leafHash(statement) as Hash,
      direction: username === this.#username ? 'out' : 'in',
      sender: username,
      body: read?.body ?? Buffer.alloc(0),
      kf: read?.kf ?? null,
      reason: read === null ? UNREADABLE : null,
      clientTime: ms.clientTime,
      serverTime,
      lineage: { fingerprint: bs.sender as Fingerprint, session: bs.session, convCtr: ms.convCtr },
    };
  }

  /** As the server says, checked; of what it tells this user nothing about any more, such as a room that he has left, as the archive says. */
  async #rosterOf({ conversation: id }: MessageStatement): Promise<Conversation> {
    const key = hex(id);
    const known = this.#rosters.get(key);
    if (known !== undefined) return known;
    let roster: Conversation;
    try {
      roster = await this.#session.rosters.trusted(id);
    } catch (error) {
      const told = this.#told.get(key);
      if (!(error instanceof ChatError) || error.code !== 'NOT_FOUND' || told?.room === undefined) throw error;
      const { peer, epoch, members } = rosterIn(told);
      this.#vault.putRoster(id, { peer, epoch, members, room: { ...told.room, closed: true } });
      roster = this.#vault.conversation(id)!;
    }
    this.#rosters.set(key, roster);
    return roster;
  }
}

function assertOf(bs: BatchStatement, ms: MessageStatement, i: number): void {
  if (!equal(ms.sender, bs.sender) || !equal(ms.session, bs.session) || ms.sessionCtr !== bs.firstCtr + i)
    throw new ChatError('SIG_FAIL', 'a statement that does not belong to its batch', { sub: 'statement' });
}
