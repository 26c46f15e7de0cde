/**
 * All that one profile keeps on disk: its conversations, its messages in both directions, what waits to be sent, and the tables beside them. One
 * process has it at a time. Every method is one transaction that is durable when it returns, so a kill between two calls leaves a
 * state that the next start carries on from: waiting → signed (the outbox, resent byte for byte) → accepted → delivered → read.
 *
 * The counters of a session advance only when a batch is acknowledged; there is never more than one batch in the outbox, so what the
 * next statements must say follows from the last acknowledged ones, and a refused batch leaves no gap.
 */
import { randomBytes, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { existsSync } from 'node:fs';
import { hex, utf8, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../base/bytes.ts';
import { decode, encode, type Encodable } from '../base/cbor.ts';
import { encodeContent, SALT_BYTES } from '../transcript/content.ts';
import { leafHash } from '../transcript/merkle.ts';
import { decodeBs, decodeMs, isOfSession, isReceipt, KIND } from '../transcript/statement.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { identityOf } from '../x509/identity.ts';
import { Annotations } from './annotations.ts';
import { ConversationTable } from './conversation-table.ts';
import { Database } from './database.ts';
import { FreshnessTable } from './freshness-table.ts';
import { GroupTable } from './group-table.ts';
import { HandoverTable } from './handover-table.ts';
import { KeyTable } from './key-table.ts';
import { Ledger, type Evidence } from './ledger.ts';
import { MarkTable } from './mark-table.ts';
import { NoticeTable } from './notice-table.ts';
import { MessageTable, UNREADABLE, type Message } from './message-table.ts';
import { ProfileTable } from './profile-table.ts';
import { ReceiptTable, type ReceiptKind } from './receipt-table.ts';
import { RoomTable } from './room-table.ts';
import type { Conversation, Roster } from './roster.ts';
import { Seal } from './seal.ts';
import { SeenTable, type Place } from './seen-table.ts';
import { SessionTable } from './session-table.ts';
import { openings, staged, type StagedBatch } from './staged-batch.ts';
import { clearKey, keyPath, removeLeftover } from './vault-key.ts';
import { contentOfBody } from './writing.ts';

export interface Received {
  readonly conversation: ConversationId;
  readonly seq: number;
  readonly hash: Hash;
  readonly direction: 'in' | 'out';
  readonly sender: string;
  readonly body: Uint8Array;
  /** null for one that cannot be read */
  readonly kf: Uint8Array | null;
  /** why it cannot be read; null for one that was */
  readonly reason: string | null;
  readonly clientTime: number;
  readonly serverTime: number;
  readonly lineage: Lineage;
}
/** Of the sender, after one of his statements. */
export interface Lineage {
  readonly fingerprint: Fingerprint;
  readonly session: SessionId;
  readonly convCtr: number;
  readonly place?: Place;
}
/** What of a commit is kept: that it was dealt with, and where its sender has got to. */
export type ReceivedCommit = Pick<Received, 'conversation' | 'seq' | 'hash' | 'lineage'>;
export interface SenderLineage {
  readonly session: SessionId;
  readonly convCtr: number;
  readonly lastLeaf: Hash;
}

export class Vault {
  readonly profile: ProfileTable;
  readonly sessions: SessionTable;
  readonly ledger: Ledger;
  readonly keys: KeyTable;
  readonly groups: GroupTable;
  readonly rooms: RoomTable;
  readonly freshness: FreshnessTable;
  readonly receipts: ReceiptTable;
  readonly annotations: Annotations;
  readonly handovers: HandoverTable;
  readonly seen: SeenTable;
  readonly marks: MarkTable;
  readonly notices: NoticeTable;
  readonly #db: Database;
  readonly #seal: Seal;
  readonly #table: MessageTable;
  readonly #conversations: ConversationTable;

  private constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
    this.#table = new MessageTable(db, seal);
    this.#conversations = new ConversationTable(db, seal);
    this.profile = new ProfileTable(db, seal);
    this.sessions = new SessionTable(db);
    this.ledger = new Ledger(db, seal);
    this.keys = new KeyTable(db, seal);
    this.groups = new GroupTable(db, seal);
    this.rooms = new RoomTable(db, seal);
    this.freshness = new FreshnessTable(db);
    this.receipts = new ReceiptTable(db, seal, this.#table);
    this.annotations = new Annotations(db, this.#table);
    this.handovers = new HandoverTable(db, seal);
    this.seen = new SeenTable(db);
    this.marks = new MarkTable(db, seal);
    this.notices = new NoticeTable(db, seal);
  }

  /** Whether there is one. */
  static isIn(folder: string): boolean {
    return existsSync(join(folder, 'vault.db'));
  }

  /**
   * What was to disappear meanwhile is erased before anybody can see it.
   * @param folder of the profile, made when it is missing
   * @param key of a vault that takes a passphrase, from unwrappedKey(); null: it takes none
   * @param now Unix ms
   * @throws IN_USE, UNSAFE_FILE, VAULT_LOCKED, STORE_SCHEMA, STORE_FAILED
   */
  static open(folder: string, key: KeyObject | null = null, now = Date.now()): Vault {
    const isNew = !Vault.isIn(folder);
    const db = Database.open(folder);
    try {
      // A database without its key must not get a new one: every value in it would look altered.
      const isEmpty = isNew || db.one('SELECT 1 FROM value LIMIT 1') === undefined;
      removeLeftover(keyPath(folder));
      const vault = new Vault(db, new Seal(key ?? clearKey(keyPath(folder), isEmpty)));
      if (isEmpty)
        vault.#setValue('created', utf8('1')); // from now on the key is needed
      else vault.#seal.open('value/created', db.one(SELECT_VALUE, 'created')?.['sealed'] as Uint8Array);
      vault.annotations.purge(now);
      return vault;
    } catch (error) {
      db.close();
      throw error;
    }
  }

  close(): void {
    this.#db.close();
  }

  /** Several calls as one transaction. */
  transaction<T>(work: () => T): T {
    return this.#db.transaction(work);
  }

  conversations(): Conversation[] {
    return this.#conversations.all();
  }
  conversation(id: ConversationId): Conversation | null {
    return this.#conversations.one(id);
  }
  /**
   * @param peer username, or name of a room: the newest of that name, for a name may be used again; or the address that certificates of
   *   somebody's devices name
   */
  conversationWith(peer: string): Conversation | null {
    const all = this.conversations();
    const named = all.findLast((c) => c.peer === peer);
    if (named !== undefined || !peer.includes('@')) return named ?? null;
    return all.findLast((c) => this.#isAddressOf(peer, c)) ?? null;
  }
  #isAddressOf(address: string, { peer, members }: Conversation): boolean {
    const devices = members.find(({ username }) => username === peer)?.devices ?? [];
    return devices.some((device) => {
      const [der] = this.ledger.certificate(device as Fingerprint) ?? [];
      return der !== undefined && identityOf(parseCertificate(der)).email === address;
    });
  }
  putRoster(id: ConversationId, roster: Roster): void {
    this.#conversations.put(id, roster);
  }

  /** A message of ours that waits to be signed. Answers its row. @param plaintext content, encoded: what will be committed to */
  enqueue(id: ConversationId, sender: string, plaintext: Uint8Array, now: number): number {
    const value = { sender, body: plaintext, form: 1 as const, client_time: now };
    return this.#table.add(id, 'out', 'waiting', null, null, value);
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
    const messages = this.#table.select(`WHERE ${which} AND row <= ? ORDER BY row`, excluded, last);
    return messages.map((message) => (isContent(message) ? message : this.#asContent(message)));
  }
  /** What was written before there was content, and not signed yet, becomes content. */
  #asContent({ row, body }: Message): Message {
    const content = contentOfBody({ salt: randomBytes(SALT_BYTES) }, body);
    this.#table.rewrite(row, { body: encodeContent(content), form: 1 });
    return this.message(row)!;
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
  message(row: number): Message | null {
    return this.#table.one(row);
  }
  messageByHash(leaf: Hash): Message | null {
    return this.#table.select('WHERE hash = ?', leaf)[0] ?? null;
  }
  /** Sent, but no word yet that it was delivered or that it failed. */
  undelivered(): number {
    const sql = "SELECT count(*) AS n FROM message WHERE state IN ('waiting','signed','accepted')";
    return this.#db.one(sql)?.['n'] as number;
  }
  /** Not accepted yet. */
  pending(): number {
    return this.#db.one("SELECT count(*) AS n FROM message WHERE state IN ('waiting','signed')")?.['n'] as number;
  }
  /** What was said, without what only changed it: oldest first, in the conversation's order; what has no place there yet comes last. */
  history(id: ConversationId, last: number): Message[] {
    // In two halves, each in the order of an index: what has no place yet is the newest.
    const from = (half: string, limit: number) =>
      this.#table.select(`WHERE conversation = ? AND role = 'message' AND ${half} LIMIT ?`, id, limit);
    const unplaced = from('seq IS NULL ORDER BY row DESC', last);
    const placed = from('seq IS NOT NULL ORDER BY seq DESC, row DESC', last - unplaced.length);
    return [...unplaced, ...placed].reverse();
  }
  /** Whatever is in the log of a conversation, in its order: also reactions, edits, deletions. */
  placed(id: ConversationId): Message[] {
    return this.#table.select('WHERE conversation = ? AND seq IS NOT NULL ORDER BY seq, row', id);
  }
  /** Received after a place in the conversation. */
  receivedAfter(id: ConversationId, seq: number, limit: number): Message[] {
    const sql = "WHERE conversation = ? AND direction = 'in' AND seq > ? ORDER BY seq LIMIT ?";
    return this.#table.select(sql, id, seq, limit);
  }
  /** Received by whatever command, and not shown to anybody yet; oldest first. @param id null: of all conversations */
  unshown(id: ConversationId | null, limit: number): Message[] {
    const sql = "WHERE direction = 'in' AND is_shown = 0";
    return id === null
      ? this.#table.select(`${sql} ORDER BY row LIMIT ?`, limit)
      : this.#table.select(`${sql} AND conversation = ? ORDER BY row LIMIT ?`, id, limit);
  }
  /** Somebody has seen them; what could be read is said to have been, where that is wanted. */
  markShown(rows: readonly number[], now = Date.now()): void {
    this.#db.transaction(() => {
      for (const row of rows) {
        this.#db.run('UPDATE message SET is_shown = 1 WHERE row = ?', row);
        const message = this.#table.one(row);
        if (message?.reason === null && this.#sendsReadIn(message.conversation)) this.receipts.owe(row, KIND.read);
      }
      this.annotations.read(rows, now);
    });
  }

  /** What was to be said of messages that were read is said no more where it is not wanted now. */
  keepReadUnsaid(): void {
    this.#db.transaction(() => {
      for (const row of this.receipts.owedOf(KIND.read)) {
        const message = this.#table.one(row);
        if (message !== null && !this.#sendsReadIn(message.conversation)) this.receipts.unowe(row, KIND.read);
      }
    });
  }
  #sendsReadIn(id: ConversationId): boolean {
    return this.profile.sendsReadTo(this.conversation(id)?.peer ?? '');
  }

  /** The batch that is signed and not yet acknowledged. */
  outbox(): StagedBatch | null {
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
        this.#table.rewrite(row, { reason });
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
        if (isReceipt(kind)) this.receipts.drop(kind as ReceiptKind, parts[0]!);
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
      this.sessions.advance(bs.session, last, batchHash);
      const opened = openings(batch);
      batch.messages.forEach(({ statement, parts }, i) => {
        const ms = decodeMs(statement);
        const leaf = leafHash(statement);
        if (ms.kind === KIND.close) this.sessions.end(bs.session);
        if (isOfSession(ms.kind)) return;
        if (isReceipt(ms.kind)) {
          const kind = ms.kind as ReceiptKind;
          const part = parts[0]!;
          const place = { hash: leaf, batch: batchHash, conversation: ms.conversation };
          this.receipts.drop(kind, part);
          const by = this.profile.account()?.username ?? '';
          this.receipts.add({ ...place, kind, by, device: ms.sender, at: serverTime, part }, true);
          return;
        }
        this.#conversations.advance(ms.conversation, ms.session, ms.convCtr, leaf);
        const { sender: device, session, convCtr } = ms;
        this.seen.add(ms.conversation, { device, session, convCtr, leaf, place: null }, true);
        const row = batch.rows[i - opened];
        if (row === undefined) return this.groups.addCommit(leaf, ms.conversation, seqs[i]!);
        const isGone = this.message(row)!.gone !== null;
        this.#table.rewrite(row, { server_time: serverTime, kf: isGone ? undefined : batch.kfs[i - opened] });
        this.#db.run("UPDATE message SET state = 'accepted', seq = ?, hash = ? WHERE row = ?", seqs[i]!, leaf, row);
        this.annotations.apply(row);
        this.receipts.catchUp(row, leaf);
      });
      this.ledger.addEvidence(batchHash, origin, evidence);
    });
  }

  /** The server says that one of our messages has waited too long. Answers its row, or null if that changes nothing. */
  expire(leaf: Hash): number | null {
    return this.#db.transaction(() => {
      const found = this.messageByHash(leaf);
      if (found === null || found.direction !== 'out' || found.state !== 'accepted') return null;
      this.#table.rewrite(found.row, { reason: 'EXPIRED' });
      this.#db.run("UPDATE message SET state = 'failed' WHERE row = ?", found.row);
      return found.row;
    });
  }

  /** How far a device has got in this session; of which there is nothing yet: in the one that began last. */
  senderLineage(fingerprint: Fingerprint, id: ConversationId, session: SessionId): SenderLineage | null {
    const sql =
      'SELECT * FROM sender WHERE fingerprint = ? AND conversation = ? ORDER BY session = ? DESC, row DESC LIMIT 1';
    const row = this.#db.one(sql, fingerprint, id, session);
    if (row === undefined) return null;
    return {
      session: row['session'] as Uint8Array as SessionId,
      convCtr: row['conv_ctr'] as number,
      lastLeaf: row['last_leaf'] as Uint8Array as Hash,
    };
  }
  /** Null for a message that is here already (the server repeats what it does not know to be received). */
  addReceived(received: Received): Message | null {
    return this.#db.transaction(() => {
      if (this.messageByHash(received.hash) !== null) return null;
      const row = this.#addMessage(received);
      this.#advance(received);
      this.receipts.catchUp(row, received.hash);
      if (received.direction === 'in' && received.kf !== null) this.receipts.owe(row, KIND.delivered);
      return this.message(row);
    });
  }
  /** A message that was said before this device was there, and is none to be told of. False for one that is here already. */
  addImported(received: Received, now: number): boolean {
    return this.#db.transaction(() => {
      if (this.messageByHash(received.hash) !== null) return false;
      const row = this.#addMessage(received);
      this.#db.run('UPDATE message SET is_shown = 1 WHERE row = ?', row);
      this.annotations.read([row], now);
      this.annotations.apply(row);
      this.receipts.catchUp(row, received.hash);
      return true;
    });
  }
  /** Of a message of ours of which nothing is to stay but the proof. */
  forgetMessage(row: number): void {
    this.#db.run('DELETE FROM message WHERE row = ?', row);
  }
  addReceivedCommit(commit: ReceivedCommit): void {
    this.#db.transaction(() => {
      if (this.groups.hasCommit(commit.hash)) return;
      this.groups.addCommit(commit.hash, commit.conversation, commit.seq);
      this.#advance(commit);
    });
  }

  #addMessage(received: Received): number {
    const { conversation: id, direction, seq, hash: leaf, sender, body, kf, reason } = received;
    const times = { client_time: received.clientTime, server_time: received.serverTime };
    const value = { sender, body, ...(reason === UNREADABLE ? {} : { form: 1 as const }), ...times };
    const state = direction === 'in' ? 'received' : 'accepted';
    const more = { ...(kf === null ? {} : { kf }), ...(reason === null ? {} : { reason }) };
    return this.#table.add(id, direction, state, seq, leaf, { ...value, ...more });
  }

  /** The sender has got this far, or further if this one is late; sessions keep the order in which they began. */
  #advance({ conversation: id, hash: leaf, lineage }: ReceivedCommit): void {
    const row = 1 + Number(this.#db.one('SELECT max(row) AS last FROM sender')?.['last'] ?? 0);
    this.#db.run(
      `INSERT INTO sender (fingerprint, session, conversation, conv_ctr, last_leaf, row) VALUES (?,?,?,?,?,?)
       ON CONFLICT DO UPDATE SET conv_ctr = excluded.conv_ctr, last_leaf = excluded.last_leaf WHERE excluded.conv_ctr > conv_ctr`,
      ...[lineage.fingerprint, lineage.session, id, lineage.convCtr, leaf, row],
    );
    const { fingerprint: device, session, convCtr, place = null } = lineage;
    this.seen.add(id, { device, session, convCtr, leaf, place }, false);
  }

  #setValue(name: string, value: Uint8Array): void {
    const sealed = this.#seal.seal(`value/${name}`, value);
    this.#db.run('INSERT OR REPLACE INTO value (name, sealed) VALUES (?,?)', name, sealed);
  }
}

const isContent = ({ content, fault }: Message): boolean => content !== null || fault !== null;
/** What has disappeared after it was signed, and was refused, is not sent any more: annotations.purge() */
const WAITING = "state = 'waiting' AND gone IS NULL";
const WAITING_IN = `FROM message WHERE ${WAITING} AND conversation = ?`;
const SELECT_VALUE = 'SELECT sealed FROM value WHERE name = ?';
