/**
 * All that one profile keeps on disk: its conversations, its messages in both directions, what waits to be sent, and the tables beside them. One
 * process has it at a time. Every method is one transaction that is durable when it returns, so a kill between two calls leaves a
 * state that the next start carries on from: waiting → signed → accepted (outgoing.ts) → delivered → read.
 */
import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { existsSync } from 'node:fs';
import { utf8, type ConversationId, type Fingerprint, type Hash } from '../base/bytes.ts';
import { KIND } from '../transcript/statement.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { identityOf } from '../x509/identity.ts';
import { Annotations } from './annotations.ts';
import { ConversationTable } from './conversation-table.ts';
import { Database } from './database.ts';
import { FreshnessTable } from './freshness-table.ts';
import { GroupTable } from './group-table.ts';
import { HandoverTable } from './handover-table.ts';
import { IncomingMessages } from './incoming.ts';
import { KeyTable } from './key-table.ts';
import { Ledger } from './ledger.ts';
import { MarkTable } from './mark-table.ts';
import { NoticeTable } from './notice-table.ts';
import { MessageTable, type Message } from './message-table.ts';
import { OutgoingMessages } from './outgoing.ts';
import { ProfileTable } from './profile-table.ts';
import { ReceiptTable } from './receipt-table.ts';
import { RoomTable } from './room-table.ts';
import type { Conversation, Roster } from './roster.ts';
import { Seal } from './seal.ts';
import { SeenTable } from './seen-table.ts';
import { SessionTable } from './session-table.ts';
import { clearKey, keyPath, removeLeftover } from './vault-key.ts';

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
  readonly outgoing: OutgoingMessages;
  readonly incoming: IncomingMessages;
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
    const { profile, sessions, ledger, groups, receipts, annotations, seen } = this;
    const [messages, conversations] = [this.#table, this.#conversations];
    const tables = { messages, conversations, annotations, profile, sessions, receipts, groups, seen, ledger };
    this.outgoing = new OutgoingMessages(db, seal, tables);
    this.incoming = new IncomingMessages(db, tables);
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

  /** Of a message of ours of which nothing is to stay but the proof. */
  forgetMessage(row: number): void {
    this.#db.run('DELETE FROM message WHERE row = ?', row);
  }
  #setValue(name: string, value: Uint8Array): void {
    const sealed = this.#seal.seal(`value/${name}`, value);
    this.#db.run('INSERT OR REPLACE INTO value (name, sealed) VALUES (?,?)', name, sealed);
  }
}

const SELECT_VALUE = 'SELECT sealed FROM value WHERE name = ?';
