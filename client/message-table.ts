/**
 * The message table: one row for each message of either direction, its content sealed, its place and state in the clear. What a state
 * means and when it changes is decided in vault.ts, inside whose transactions all of this happens.
 */
import type { ConversationId, Hash } from '../base/bytes.ts';
import { decode, encode } from '../base/cbor.ts';
import { bytes, optional, record, text, uint, type Decoded } from '../base/decode.ts';
import type { Database } from './database.ts';
import type { Seal } from './seal.ts';

/** Of a message that was sealed before this device could read what is sealed. */
export const UNREADABLE = 'UNREADABLE';

/** Of an own message `read` comes behind `delivered`; both are the signed word of a device of somebody else. */
export type MessageState = 'waiting' | 'signed' | 'accepted' | 'delivered' | 'read' | 'failed' | 'received';
const message = record({
  sender: text(64),
  body: bytes(0, 2_000_000),
  kf: optional(bytes(32)),
  client_time: uint(),
  server_time: optional(uint()),
  reason: optional(text(64)),
});
export interface Message {
  readonly row: number;
  readonly conversation: ConversationId;
  readonly direction: 'in' | 'out';
  readonly state: MessageState;
  /** place in the conversation; null until it is accepted */
  readonly seq: number | null;
  /** leaf(MS), null until it is signed */
  readonly hash: Hash | null;
  /** a batch of its own: it was in one that was refused */
  readonly isSolo: boolean;
  readonly sender: string;
  readonly body: Uint8Array;
  readonly clientTime: number;
  readonly serverTime: number | null;
  /** code of the refusal, of a failed one; UNREADABLE of a received one from before this device was let in */
  readonly reason: string | null;
}

type Content = Decoded<typeof message>;
/** undefined: leave it out */
type Change = { readonly [K in keyof Content]?: Content[K] | undefined };

export class MessageTable {
  readonly #db: Database;
  readonly #seal: Seal;

  constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
  }

  /** Answers the row: 1, 2, 3… in the order of adding. */
  add(
    id: ConversationId,
    direction: 'in' | 'out',
    state: MessageState,
    seq: number | null,
    leaf: Hash | null,
    content: Content,
  ): number {
    return this.#db.transaction(() => {
      const row = 1 + Number(this.#db.one('SELECT max(row) AS last FROM message')?.['last'] ?? 0);
      this.#db.run(
        'INSERT INTO message (row, conversation, direction, state, seq, hash, sealed) VALUES (?,?,?,?,?,?,?)',
        ...[row, id, direction, state, seq, leaf, this.#seal.seal(`message/${row}`, encode(content))],
      );
      return row;
    });
  }

  /** Changes what is sealed in a row. */
  rewrite(row: number, change: Change): void {
    const found = this.#db.one('SELECT sealed FROM message WHERE row = ?', row);
    const content = { ...this.#open(row, found?.['sealed'] as Uint8Array), ...change };
    this.#db.run(
      'UPDATE message SET sealed = ? WHERE row = ?',
      this.#seal.seal(`message/${row}`, encode(content)),
      row,
    );
  }

  one(row: number): Message | null {
    return this.select('WHERE row = ?', row)[0] ?? null;
  }
  /** What opens the commitment of a message; null: it is not here, or its content is not. */
  opening(leaf: Hash): { readonly kf: Uint8Array; readonly body: Uint8Array } | null {
    const row = this.#db.one('SELECT row, sealed FROM message WHERE hash = ?', leaf);
    if (row === undefined) return null;
    const { kf, body } = this.#open(row['row'] as number, row['sealed'] as Uint8Array);
    return kf === undefined ? null : { kf, body };
  }
  /** @param where SQL from WHERE on; every value in it is a parameter */
  select(where: string, ...parameters: readonly (number | string | Uint8Array)[]): Message[] {
    return this.#db.all(`SELECT * FROM message ${where}`, ...parameters).map((row) => {
      const value = this.#open(row['row'] as number, row['sealed'] as Uint8Array);
      return {
        row: row['row'] as number,
        conversation: row['conversation'] as Uint8Array as ConversationId,
        direction: row['direction'] as 'in' | 'out',
        state: row['state'] === 'delivered' && row['is_read'] === 1 ? 'read' : (row['state'] as MessageState),
        seq: row['seq'] as number | null,
        hash: row['hash'] as Uint8Array as Hash | null,
        isSolo: row['is_solo'] === 1,
        sender: value.sender,
        body: value.body,
        clientTime: value.client_time,
        serverTime: value.server_time ?? null,
        reason: value.reason ?? null,
      };
    });
  }

  #open(row: number, sealed: Uint8Array): Content {
    return message(decode(this.#seal.open(`message/${row}`, sealed)), 'message');
  }
}
