/**
 * What this profile sends, on the disk: messages that wait to be signed, and the one signed batch that is not acknowledged yet (the outbox, sent
 * again byte for byte). A message goes from waiting to signed, and to accepted with the batch; or it waits again, or has failed.
 *
 * The counters of a session advance only when a batch is acknowledged; there is never more than one batch in the outbox, so what the
 * next statements must say follows from the last acknowledged ones, and a refused batch leaves no gap. Every method is one transaction.
 */
import { randomBytes } from 'node:crypto';
import { hex, type ConversationId, type Hash } from '../base/bytes.ts';
import { decode, encode, type Encodable } from '../base/cbor.ts';
import { encodeContent, SALT_BYTES } from '../transcript/content.ts';
import { leafHash } from '../transcript/merkle.ts';
import { decodeBs, decodeMs, isOfSession, isReceipt, KIND } from '../transcript/statement.ts';
import type { Annotations } from './annotations.ts';
import type { ConversationTable } from './conversation-table.ts';
import type { Database } from './database.ts';
import type { GroupTable } from './group-table.ts';
import type { Evidence, Ledger } from './ledger.ts';
import type { Message, MessageTable } from './message-table.ts';
import type { ProfileTable } from './profile-table.ts';
import type { ReceiptKind, ReceiptTable } from './receipt-table.ts';
import type { Seal } from './seal.ts';
import type { SeenTable } from './seen-table.ts';
import type { SessionTable } from './session-table.ts';
import { openings, staged, type StagedBatch } from './staged-batch.ts';
import { contentOfBody } from './writing.ts';

/** Where it is told what has been accepted. */
export interface OutgoingTables {
  readonly messages: MessageTable;
  readonly conversations: ConversationTable;
  readonly annotations: Annotations;
  readonly profile: ProfileTable;
  readonly sessions: SessionTable;
  readonly receipts: ReceiptTable;
  readonly groups: GroupTable;
  readonly seen: SeenTable;
  readonly ledger: Ledger;
}

export class OutgoingMessages {
  readonly #db: Database;
  readonly #seal: Seal;
  readonly #messages: MessageTable;
  readonly #conversations: ConversationTable;
  readonly #annotations: Annotations;
  readonly #profile: ProfileTable;
  readonly #sessions: SessionTable;
  readonly #receipts: ReceiptTable;
  readonly #groups: GroupTable;
  readonly #seen: SeenTable;
  readonly #ledger: Ledger;

  constructor(db: Database, seal: Seal, tables: OutgoingTables) {
    this.#db = db;
    this.#seal = seal;
    this.#messages = tables.messages;
    this.#conversations = tables.conversations;
    this.#annotations = tables.annotations;
    this.#profile = tables.profile;
    this.#sessions = tables.sessions;
    this.#receipts = tables.receipts;
    this.#groups = tables.groups;
    this.#seen = tables.seen;
    this.#ledger = tables.ledger;
  }

  /** A message of ours that waits to be signed. Answers its row. @param plaintext content, encoded: what will be committed to */
  enqueue(id: ConversationId, sender: string, plaintext: Uint8Array, now: number): number {
    const value = { sender, body: plaintext, form: 1 as const, client_time: now };
    return this.#messages.add(id, 'out', 'waiting', null, null, value);
  }
  /**
   * In the order in which they were written: at least one if there is any, then as many as stay below both limits.
   * @param except conversations whose messages have to wait longer
   */
  waiting(limit: number, maxBytes: number, except: readonly ConversationId[] = []): Message[] {
    const which = `${WAITING} AND lower(hex(conversation)) NOT IN (SELECT value FROM json_each(?))`;
    const sql = `SELECT row, length(sealed) AS bytes FROM message WHERE ${which} ORDER BY row LIMIT ?`;
    const excluded = JSON.stringify(except.map(hex));
    let bytes = 0;
    let last = 0;
    for (const row of this.#db.all(sql, excluded, limit)) {
      bytes += row['bytes'] as number;
      if (last > 0 && bytes > maxBytes) break;
      last = row['row'] as number;
    }
    const messages = this.#messages.select(`WHERE ${which} AND row <= ? ORDER BY row`, excluded, last);
    return messages.map((message) => (isContent(message) ? message : this.#asContent(message)));
  }
  /** What was written before there was content, and not signed yet, becomes content. */
  #asContent({ row, body }: Message): Message {
    const content = contentOfBody({ salt: randomBytes(SALT_BYTES) }, body);
    this.#messages.rewrite(row, { body: encodeContent(content), form: 1 });
    return this.#messages.one(row)!;
  }
  /** Whether anything waits to be signed there. */
  isWaiting(id: ConversationId): boolean {
    return this.#db.one(`SELECT 1 ${WAITING_IN} LIMIT 1`, id) !== undefined;
  }
  /** Rows of all that does. */
  waitingIn(id: ConversationId): number[] {
    return this.#db.all(`SELECT row ${WAITING_IN} ORDER BY row`, id).map(({ row }) => row as number);
  }
  /** Whether every one of these does. */
  areWaiting(rows: readonly number[]): boolean {
    const sql = `SELECT count(*) AS n FROM message WHERE ${WAITING} AND row IN (SELECT value FROM json_each(?))`;
    return this.#db.one(sql, JSON.stringify(rows))?.['n'] === rows.length;
  }

  /** The batch that is signed and not yet acknowledged. */
  staged(): StagedBatch | null {
    const row = this.#db.one('SELECT * FROM outbox');
    if (row === undefined) return null;
    const place = `outbox/${hex(row['hash'] as Uint8Array)}`;
    return staged(decode(this.#seal.open(place, row['sealed'] as Uint8Array)), 'outbox');
  }
  /** Keeps a signed batch before its first byte is sent. */
  stage(batch: StagedBatch): void {
    const key = leafHash(batch.batch);
    const sealed = this.#seal.seal(`outbox/${hex(key)}`, encode(batch as unknown as Encodable));
    this.#db.transaction(() => {
      this.#db.run('DELETE FROM outbox');
      this.#db.run('INSERT INTO outbox (hash, sealed) VALUES (?,?)', key, sealed);
      const opened = openings(batch);
      batch.rows.forEach((row, i) => {
        const leaf = leafHash(batch.messages[opened + i]!.statement);
        this.#db.run("UPDATE message SET state = 'signed', hash = ? WHERE row = ?", leaf, row);
      });
    });
  }
  /** The batch was refused: its messages wait again. @param isSolo each in a batch of its own, to find out which one was meant */
  unstage(isSolo: boolean): void {
    this.#db.transaction(() => {
      this.#db.run('DELETE FROM outbox');
      this.#db.run(
        "UPDATE message SET state = 'waiting', hash = NULL, is_solo = max(is_solo, ?) WHERE state = 'signed'",
        isSolo ? 1 : 0,
      );
    });
  }
  /** The batch was refused for good. */
  fail(rows: readonly number[], reason: string): void {
    this.#db.transaction(() => {
      this.#db.run('DELETE FROM outbox');
      for (const row of rows) {
        this.#messages.rewrite(row, { reason });
        this.#db.run("UPDATE message SET state = 'failed', hash = NULL WHERE row = ?", row);
      }
    });
  }
  /** A batch of receipts was refused for good: nobody wants to hear them. */
  dropReceipts({ messages }: StagedBatch): void {
    this.#db.transaction(() => {
      this.#db.run('DELETE FROM outbox');
      for (const { statement, parts } of messages) {
        const { kind } = decodeMs(statement);
        if (isReceipt(kind)) this.#receipts.drop(kind as ReceiptKind, parts[0]!);
      }
    });
  }
  /**
   * The batch is in the log: advances session and conversations, gives the messages their places, keeps the evidence.
   * @param seqs one for each message, in order
   */
  accept(batch: StagedBatch, origin: string, serverTime: number, seqs: readonly number[], evidence: Evidence): void {
    const bs = decodeBs(batch.batch);
    const batchHash = leafHash(batch.batch);
    this.#db.transaction(() => {
      this.#db.run('DELETE FROM outbox');
      const last = bs.firstCtr + bs.count - 1;
      this.#sessions.advance(bs.session, last, batchHash);
      const opened = openings(batch);
      batch.messages.forEach(({ statement, parts }, i) => {
        const ms = decodeMs(statement);
        const leaf = leafHash(statement);
        if (ms.kind === KIND.close) this.#sessions.end(bs.session);
        if (isOfSession(ms.kind)) return;
        if (isReceipt(ms.kind)) {
          const kind = ms.kind as ReceiptKind;
          const part = parts[0]!;
          const place = { hash: leaf, batch: batchHash, conversation: ms.conversation };
          this.#receipts.drop(kind, part);
          const by = this.#profile.account()?.username ?? '';
          this.#receipts.add({ ...place, kind, by, device: ms.sender, at: serverTime, part }, true);
          return;
        }
        this.#conversations.advance(ms.conversation, ms.session, ms.convCtr, leaf);
        const { sender: device, session, convCtr } = ms;
        this.#seen.add(ms.conversation, { device, session, convCtr, leaf, place: null }, true);
        const row = batch.rows[i - opened];
        if (row === undefined) return this.#groups.addCommit(leaf, ms.conversation, seqs[i]!);
        const isGone = this.#messages.one(row)!.gone !== null;
        this.#messages.rewrite(row, { server_time: serverTime, kf: isGone ? undefined : batch.kfs[i - opened] });
        this.#db.run("UPDATE message SET state = 'accepted', seq = ?, hash = ? WHERE row = ?", seqs[i]!, leaf, row);
        this.#annotations.apply(row);
        this.#receipts.catchUp(row, leaf);
      });
      this.#ledger.addEvidence(batchHash, origin, evidence);
    });
  }

  /** The server says that one of our messages has waited too long. Answers its row, or null if that changes nothing. */
  expire(leaf: Hash): number | null {
    return this.#db.transaction(() => {
      const found = this.#messages.select('WHERE hash = ?', leaf)[0] ?? null;
      if (found === null || found.direction !== 'out' || found.state !== 'accepted') return null;
      this.#messages.rewrite(found.row, { reason: 'EXPIRED' });
      this.#db.run("UPDATE message SET state = 'failed' WHERE row = ?", found.row);
      return found.row;
    });
  }
}

const isContent = ({ content, fault }: Message): boolean => content !== null || fault !== null;
/** What has disappeared after it was signed, and was refused, is not sent any more: annotations.purge() */
const WAITING = "state = 'waiting' AND gone IS NULL";
const WAITING_IN = `FROM message WHERE ${WAITING} AND conversation = ?`;
