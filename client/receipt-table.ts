/**
 * Delivered and read: what this device still has to say about messages of others, the signed statements that were made about it, its own
 * and those of others, and which message each of them is about. Whose words they are, and that they are true, is checked before
 * (receipt-reader.ts).
 */
import { hex, type ConversationId, type Fingerprint, type Hash } from '../base/bytes.ts';
import { decode, encode } from '../base/cbor.ts';
import { bytes, record, text, uint } from '../base/decode.ts';
import { decodeReceipt, MAX_ACKNOWLEDGED } from '../transcript/receipt.ts';
import { KIND } from '../transcript/statement.ts';
import type { Database } from './database.ts';
import { MessageTable } from './message-table.ts';
import type { Seal } from './seal.ts';

export type ReceiptKind = typeof KIND.delivered | typeof KIND.read;

/** One statement that this device has to make. */
export interface DueReceipt {
  readonly kind: ReceiptKind;
  readonly conversation: ConversationId;
  /** username of the author of the messages */
  readonly to: string;
  /** 1..1024 */
  readonly messages: readonly Hash[];
}

const signed = record({
  kind: uint(KIND.read, KIND.delivered),
  by: text(64),
  device: bytes(32),
  at: uint(),
  part: bytes(1, 32 * MAX_ACKNOWLEDGED),
});
/** A statement as it stands in the log. */
export interface SignedReceipt {
  /** leaf(MS) */
  readonly hash: Hash;
  /** leaf(BS) of its batch, whose evidence is kept */
  readonly batch: Hash;
  readonly conversation: ConversationId;
  readonly kind: ReceiptKind;
  /** username, as the certificate of the device says */
  readonly by: string;
  readonly device: Fingerprint;
  /** Unix ms, of the log */
  readonly at: number;
  /** the hashes of the messages */
  readonly part: Uint8Array;
}

/** A message that a receipt names, as far as it is known here. */
export interface NamedMessage {
  readonly row: number;
  readonly conversation: ConversationId;
  readonly direction: 'in' | 'out';
}

/** Messages that are looked at for one batch of receipts. */
const MAX_DUE = 4096;

export class ReceiptTable {
  readonly #db: Database;
  readonly #seal: Seal;
  readonly #messages: MessageTable;

  constructor(db: Database, seal: Seal, messages: MessageTable) {
    this.#db = db;
    this.#seal = seal;
    this.#messages = messages;
  }

  /** This device has to say so: of each message once that it came, and that it was read unless a device of this user has said so. */
  owe(row: number, kind: ReceiptKind): void {
    this.#db.run(
      `INSERT OR IGNORE INTO receipt_due (row, kind) SELECT m.row, ? FROM message m WHERE m.row = ? AND m.direction = 'in'
       AND m.hash IS NOT NULL AND (? = ${KIND.delivered} OR NOT EXISTS (SELECT 1 FROM receipt r JOIN receipt_statement s ON s.hash = r.statement
         WHERE r.message = m.hash AND s.kind = ? AND s.is_mine = 1))`,
      ...[kind, row, kind, kind],
    );
  }
  /** Messages that wait to be spoken of. */
  owed(): number {
    return this.#db.one('SELECT count(*) AS n FROM receipt_due')?.['n'] as number;
  }
  owedOf(kind: ReceiptKind): number[] {
    return this.#db
      .all('SELECT row FROM receipt_due WHERE kind = ? ORDER BY row', kind)
      .map((due) => due['row'] as number);
  }
  unowe(row: number, kind: ReceiptKind): void {
    this.#db.run('DELETE FROM receipt_due WHERE row = ? AND kind = ?', row, kind);
  }
  /** What there is to say, the oldest first: one statement for each kind, conversation and author. */
  due(): DueReceipt[] {
    const found = new Map<string, DueReceipt & { readonly messages: Hash[] }>();
    for (const { row, kind } of this.#db.all('SELECT row, kind FROM receipt_due ORDER BY row LIMIT ?', MAX_DUE)) {
      const message = this.#messages.one(row as number);
      if (message?.hash == null) continue;
      const { conversation, sender: to, hash } = message;
      const key = `${kind} ${hex(conversation)} ${to}`;
      const due = found.get(key) ?? { kind: kind as ReceiptKind, conversation, to, messages: [] };
      found.set(key, due);
      if (due.messages.length < MAX_ACKNOWLEDGED) due.messages.push(hash);
    }
    return [...found.values()];
  }
  /** Nobody wants to hear it. */
  drop(kind: ReceiptKind, part: Uint8Array): void {
    for (const hash of decodeReceipt(part))
      this.#db.run(
        'DELETE FROM receipt_due WHERE kind = ? AND row IN (SELECT row FROM message WHERE hash = ?)',
        kind,
        hash,
      );
  }

  has(statement: Hash): boolean {
    return this.#db.one('SELECT 1 FROM receipt_statement WHERE hash = ?', statement) !== undefined;
  }
  named(message: Hash): NamedMessage | null {
    const row = this.#db.one('SELECT row, conversation, direction FROM message WHERE hash = ?', message);
    return row === undefined ? null : (row as unknown as NamedMessage);
  }
  /**
   * Keeps a statement. @param isMine of a device of this user: then it is about messages of others
   * @returns rows of messages that are in another state now
   */
  add(receipt: SignedReceipt, isMine: boolean): number[] {
    const { hash, batch, conversation, kind, by, device, at, part } = receipt;
    if (this.has(hash)) return [];
    const sealed = this.#seal.seal(`receipt/${hex(hash)}`, encode({ kind, by, device, at, part }));
    this.#db.run(
      'INSERT INTO receipt_statement (hash, batch, conversation, kind, is_mine, sealed) VALUES (?,?,?,?,?,?)',
      ...[hash, batch, conversation, kind, isMine ? 1 : 0, sealed],
    );
    const changed: number[] = [];
    for (const message of decodeReceipt(part)) {
      this.#db.run('INSERT OR IGNORE INTO receipt (message, statement) VALUES (?,?)', message, hash);
      const known = this.named(message);
      if (known !== null && this.#apply(known.row, kind, isMine)) changed.push(known.row);
    }
    return changed;
  }
  /** What was said about a message before it was known here, or before the log had it, as far as this device knew. */
  catchUp(row: number, message: Hash): void {
    const sql =
      'SELECT s.kind, s.is_mine FROM receipt r JOIN receipt_statement s ON s.hash = r.statement WHERE r.message = ?';
    for (const { kind, is_mine: isMine } of this.#db.all(sql, message))
      this.#apply(row, kind as ReceiptKind, isMine === 1);
  }
  /** About one message, in the order in which they came. */
  of(message: Hash): SignedReceipt[] {
    return this.#select('JOIN receipt r ON r.statement = s.hash WHERE r.message = ? ORDER BY s.rowid', message);
  }
  /** About messages of one conversation. */
  in(conversation: ConversationId): SignedReceipt[] {
    return this.#select('WHERE s.conversation = ? ORDER BY s.rowid', conversation);
  }

  /** Whether the message is in another state now. */
  #apply(row: number, kind: ReceiptKind, isMine: boolean): boolean {
    if (isMine) {
      if (kind === KIND.delivered) return false;
      this.#db.run('DELETE FROM receipt_due WHERE row = ? AND kind = ?', row, kind);
      return this.#db.run('UPDATE message SET is_shown = 1, is_read = 1 WHERE row = ? AND is_read = 0', row) === 1;
    }
    const isDelivered = "UPDATE message SET state = 'delivered' WHERE row = ? AND state = 'accepted'";
    const delivered = this.#db.run(isDelivered, row) === 1;
    if (kind === KIND.delivered) return delivered;
    const isRead = "UPDATE message SET is_read = 1 WHERE row = ? AND is_read = 0 AND state = 'delivered'";
    return this.#db.run(isRead, row) === 1 || delivered;
  }

  #select(where: string, value: Uint8Array): SignedReceipt[] {
    return this.#db
      .all(`SELECT s.hash, s.batch, s.conversation, s.sealed FROM receipt_statement s ${where}`, value)
      .map((row) => {
        const hash = row['hash'] as Uint8Array as Hash;
        const content = signed(decode(this.#seal.open(`receipt/${hex(hash)}`, row['sealed'] as Uint8Array)), 'receipt');
        return {
          hash,
          batch: row['batch'] as Uint8Array as Hash,
          conversation: row['conversation'] as Uint8Array as ConversationId,
          ...content,
          kind: content.kind as ReceiptKind,
          device: content.device as Fingerprint,
        };
      });
  }
}
