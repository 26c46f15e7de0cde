/**
 * The message table: one row for each message of either direction, its content sealed, its place and state in the clear. What a state
 * means and when it changes is decided in outgoing.ts and incoming.ts, what one message does to another in annotations.ts; inside their transactions all
 * of this happens.
 */
import type { ConversationId, Hash } from '../base/bytes.ts';
import { utf8 } from '../base/bytes.ts';
import { decode, encode } from '../base/cbor.ts';
import { bytes, literal, optional, record, text, uint, type Decoded } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { decodeContent, type Content } from '../transcript/content.ts';
import { meaningOf, type Meaning } from '../transcript/content-meaning.ts';
import type { Database, Row } from './database.ts';
import type { Seal } from './seal.ts';

/** Of a message that was sealed before this device could read what is sealed. */
export const UNREADABLE = 'UNREADABLE';

/** Of an own message `read` comes behind `delivered`; both are the signed word of a device of somebody else. */
export type MessageState = 'waiting' | 'signed' | 'accepted' | 'delivered' | 'read' | 'failed' | 'received';
/** What a message does: `void` is one that was to change another and changes nothing. */
export type Role = 'message' | 'reaction' | 'edit' | 'delete' | 'void';
/** `form` 1: `body` is MIMI content. Without: a text, of the time before there was any. */
const sealed = record({
  sender: text(64),
  body: bytes(0, 2_000_000),
  form: optional(literal(1)),
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
  /** exactly what is committed to; empty when it is gone */
  readonly plaintext: Uint8Array;
  /** null: not readable as one (`fault` says where), gone, unreadable, or from the time before */
  readonly content: Content | null;
  readonly meaning: Meaning | null;
  /** the field of the content that is wrong */
  readonly fault: string | null;
  /** what is to be shown or saved of it: a text in UTF-8, or the bytes of a single part of another type */
  readonly body: Uint8Array;
  readonly role: Role;
  readonly target: Hash | null;
  /** Unix ms */
  readonly expiresAt: number | null;
  readonly gone: 'deleted' | 'expired' | null;
  readonly isShown: boolean;
  readonly clientTime: number;
  readonly serverTime: number | null;
  /** code of the refusal, of a failed one; UNREADABLE of a received one from before this device was let in */
  readonly reason: string | null;
}

type Sealed = Decoded<typeof sealed>;
/** undefined: leave it out */
type Change = { readonly [K in keyof Sealed]?: Sealed[K] | undefined };

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
    value: Sealed,
  ): number {
    const { content, meaning } = readingOf(value);
    const isChange =
      meaning !== null && (meaning.kind === 'reaction' || meaning.kind === 'edit' || meaning.kind === 'delete');
    const expires = content?.expires ?? null;
    const expiresAt = expires === null || expires.isRelative ? null : expires.seconds * 1000;
    return this.#db.transaction(() => {
      const row = 1 + Number(this.#db.one('SELECT max(row) AS last FROM message')?.['last'] ?? 0);
      this.#db.run(
        `INSERT INTO message (row, conversation, direction, state, seq, hash, role, target, expires_at, sealed)
         VALUES (?,?,?,?,?,?,?,?,?,?)`,
        ...[
          row,
          id,
          direction,
          state,
          seq,
          leaf,
          isChange ? meaning.kind : 'message',
          isChange ? meaning.target : null,
        ],
        ...[expiresAt, this.#seal.seal(`message/${row}`, encode(value))],
      );
      return row;
    });
  }

  /** Changes what is sealed in a row. */
  rewrite(row: number, change: Change): void {
    const found = this.#db.one('SELECT sealed FROM message WHERE row = ?', row);
    const value = { ...this.#open(row, found?.['sealed'] as Uint8Array), ...change };
    this.#db.run('UPDATE message SET sealed = ? WHERE row = ?', this.#seal.seal(`message/${row}`, encode(value)), row);
  }
  /** Content and key go for good; what proves that there was a message stays. */
  erase(row: number, why: 'deleted' | 'expired'): void {
    this.rewrite(row, { body: Buffer.alloc(0), kf: undefined });
    this.#db.run('UPDATE message SET gone = ? WHERE row = ?', why, row);
    this.#db.forgetting();
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
    return this.#db.all(`SELECT * FROM message ${where}`, ...parameters).map((row) => this.#messageOf(row));
  }

  #messageOf(row: Row): Message {
    const value = this.#open(row['row'] as number, row['sealed'] as Uint8Array);
    const gone = row['gone'] as Message['gone'];
    return {
      row: row['row'] as number,
      conversation: row['conversation'] as Uint8Array as ConversationId,
      direction: row['direction'] as 'in' | 'out',
      state: row['state'] === 'delivered' && row['is_read'] === 1 ? 'read' : (row['state'] as MessageState),
      seq: row['seq'] as number | null,
      hash: row['hash'] as Uint8Array as Hash | null,
      isSolo: row['is_solo'] === 1,
      sender: value.sender,
      plaintext: value.body,
      ...readingOf(gone === null ? value : { body: value.body }),
      role: row['role'] as Role,
      target: row['target'] as Uint8Array as Hash | null,
      expiresAt: row['expires_at'] as number | null,
      gone,
      isShown: row['is_shown'] === 1,
      clientTime: value.client_time,
      serverTime: value.server_time ?? null,
      reason: value.reason ?? null,
    };
  }

  #open(row: number, bytes: Uint8Array): Sealed {
    return sealed(decode(this.#seal.open(`message/${row}`, bytes)), 'message');
  }
}

/** What a plaintext says, if it is content at all: its sender answers for it, and nothing of it may stop this program. */
function readingOf({
  body,
  form,
}: Pick<Sealed, 'body' | 'form'>): Pick<Message, 'content' | 'meaning' | 'fault' | 'body'> {
  if (form !== 1) return { content: null, meaning: null, fault: null, body };
  try {
    const content = decodeContent(body);
    const meaning = meaningOf(content);
    const { part } = content;
    const shown = part.cardinality === 'single' ? part.content : utf8(meaning.text ?? '');
    return { content, meaning, fault: null, body: shown };
  } catch (cause) {
    const error = ChatError.from(cause);
    if (error.code !== 'BAD_FRAME') throw error;
    return { content: null, meaning: null, fault: error.field ?? 'content', body: Buffer.alloc(0) };
  }
}
