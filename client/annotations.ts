/**
 * What messages do to other messages: answers, reactions, edits, deletions, and the end of what was to disappear. A change counts only if
 * it is by the author of what it changes; one that is not changes nothing and is reported. What is deleted or has expired is erased, with
 * the key of its commitment and every version that replaced it: its statement and its place in the log stay proven, and say nothing more.
 */
import { equal, type ConversationId, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Database } from './database.ts';
import type { Message, MessageTable } from './message-table.ts';

/** A message as it is to be shown now. */
export interface Reading {
  readonly message: Message;
  /** the newest version of it; itself, if it was never edited */
  readonly current: Message;
  /** oldest first, none of them the first; of too many the newest */
  readonly versions: readonly Message[];
  /** of too many the newest */
  readonly reactions: readonly Message[];
  /** what it answers, reacts to or changes; null: that is not here, or it is nothing of the kind */
  readonly about: Message | null;
}

/** Bytes of an id, in hexadecimal, that people have to type. */
export const MIN_ID_DIGITS = 8;
const PLACED = 'seq IS NOT NULL AND gone IS NULL';
/** Versions of one message, and reactions to it, that are shown: the newest. Nobody else decides how much of the memory one message takes. */
const MAX_SHOWN = 1000;
const MAX_SHOWN_BYTES = 8 * 1024 * 1024;

export class Annotations {
  readonly #db: Database;
  readonly #table: MessageTable;

  constructor(db: Database, table: MessageTable) {
    this.#db = db;
    this.#table = table;
  }

  /** A message has come, or one of ours is in the log: what it does to others is done. Answers what a person must be told. */
  apply(row: number): string | null {
    return this.#db.transaction(() => {
      const warning = this.#apply(row);
      this.#catchUp(row);
      return warning;
    });
  }
  /** What was to change it and came before it, as when a history is handed over, does so now. What it did not do then was told. */
  #catchUp(row: number): void {
    const { hash, conversation } = this.#table.one(row)!;
    const sql = "SELECT row FROM message WHERE target = ? AND conversation = ? AND role = 'void' ORDER BY seq";
    for (const { row } of this.#db.all(sql, hash!, conversation) as unknown as { readonly row: number }[]) {
      const { meaning } = this.#table.one(row)!;
      if (meaning === null) continue; // it is gone itself
      this.#db.run('UPDATE message SET role = ? WHERE row = ?', meaning.kind, row);
      this.#apply(row);
    }
  }
  #apply(row: number): string | null {
    const message = this.#table.one(row)!;
    const { fault, role, sender, target } = message;
    if (fault !== null) return `a message of ${sender} is proven, and its content is not one [BAD_FRAME: ${fault}]`;
    if (target === null || role === 'message' || role === 'void') return null;
    const found = this.#byHash(target, message.conversation);
    const what = role === 'reaction' ? 'reacted to' : role === 'edit' ? 'edited' : 'deleted';
    if (found === null) return this.#void(message, `${sender} ${what} a message that is not here: nothing was changed`);
    const original = this.#originalOf(found);
    if (!equal(original.hash!, target))
      this.#db.run('UPDATE message SET target = ? WHERE row = ?', original.hash!, row);
    if (role === 'reaction') return null;
    if (original.sender !== sender)
      return this.#void(
        message,
        `${sender} ${what} a message of ${original.sender}, as only its author can: nothing was changed`,
      );
    // Nobody was shown what it was before: there is no news in the change.
    if (!original.isShown) this.#db.run("UPDATE message SET is_shown = 1 WHERE row = ? AND direction = 'in'", row);
    if (role === 'delete') this.#erase(original, 'deleted');
    else if (original.gone !== null) this.#erase(message, original.gone);
    else if (original.expiresAt !== null)
      this.#db.run(
        'UPDATE message SET expires_at = min(ifnull(expires_at, ?), ?) WHERE row = ?',
        ...[original.expiresAt, original.expiresAt, row],
      );
    return null;
  }

  /** Erases what was to disappear by now. Answers the rows of what was not sent yet: it has failed. */
  purge(now: number): number[] {
    const due = "(expires_at <= ? AND gone IS NULL) OR (state = 'waiting' AND gone IS NOT NULL)";
    if (this.#db.one(`SELECT 1 FROM message WHERE ${due} LIMIT 1`, now) === undefined) return [];
    return this.#db.transaction(() => {
      const failed: number[] = [];
      const rows = this.#db.all(`SELECT row, hash, state FROM message WHERE ${due}`, now);
      for (const { row, hash, state } of rows as unknown as (Erasable & Pick<Message, 'state'>)[]) {
        this.#erase({ row, hash }, 'expired');
        if (state !== 'waiting') continue;
        this.#table.rewrite(row, { reason: 'EXPIRED' });
        this.#db.run("UPDATE message SET state = 'failed' WHERE row = ?", row);
        failed.push(row);
      }
      return failed;
    });
  }
  /** Unix ms at which the next message disappears; null: none does. */
  nextExpiry(): number | null {
    const sql = 'SELECT min(expires_at) AS at FROM message WHERE expires_at IS NOT NULL AND gone IS NULL';
    return (this.#db.one(sql)?.['at'] as number | null | undefined) ?? null;
  }
  /** Messages that disappear some time after they were read have been read now. */
  read(rows: readonly number[], now: number): void {
    for (const row of rows) {
      const message = this.#table.one(row);
      if (message === null || message.expiresAt !== null || message.content?.expires?.isRelative !== true) continue;
      const at = now + message.content.expires.seconds * 1000;
      this.#db.run('UPDATE message SET expires_at = ? WHERE row = ?', at, row);
    }
  }

  reading(message: Message): Reading {
    const { hash, meaning, conversation } = message;
    const found = meaning?.target == null ? null : this.#byHash(meaning.target, conversation);
    const about = found === null ? null : this.#originalOf(found);
    if (hash === null || message.role === 'void')
      return { message, current: message, versions: [], reactions: [], about };
    const versions = this.#of(hash, 'edit');
    const reactions = this.#of(hash, 'reaction');
    return { message, current: versions.at(-1) ?? message, versions, reactions, about };
  }

  /**
   * The message that somebody means: by its place (`7`, `#7`), or by 8 or more digits of its id. Of an edit, the first version.
   * @throws USAGE for what is neither, and for digits that fit several; NOT_FOUND
   */
  find(id: ConversationId, reference: string): Message {
    const place = /^#?([1-9]\d{0,6})$/.exec(reference)?.[1];
    const digits = new RegExp(`^[0-9a-f]{${MIN_ID_DIGITS},64}$`).exec(reference.toLowerCase())?.[0];
    if (place === undefined && digits === undefined)
      throw new ChatError('USAGE', `a message is named by its place, or by ${MIN_ID_DIGITS} digits of its id`);
    const found =
      place === undefined
        ? this.#table.select("WHERE conversation = ? AND lower(hex(hash)) LIKE ? || '%' LIMIT 2", id, digits!)
        : this.#table.select('WHERE conversation = ? AND seq = ? LIMIT 2', id, Number(place));
    const [message, another] = found.filter(({ seq }) => seq !== null);
    if (message === undefined) throw new ChatError('NOT_FOUND', 'this conversation has no such message here');
    if (another !== undefined)
      throw new ChatError('USAGE', 'several messages have an id that begins so: give more digits');
    return this.#originalOf(message);
  }
  /** The newest that can be answered, or (own) changed, without being named. */
  newest(id: ConversationId, direction: 'in' | 'out'): Message | null {
    const sql = `WHERE conversation = ? AND direction = ? AND role = 'message' AND ${PLACED} ORDER BY seq DESC LIMIT 1`;
    return this.#table.select(sql, id, direction)[0] ?? null;
  }

  /** As many as are shown, the oldest of them first. */
  #of(target: Hash, role: 'edit' | 'reaction'): Message[] {
    const sql = `SELECT row, length(sealed) AS bytes FROM message WHERE target = ? AND role = ? AND ${PLACED} ORDER BY seq DESC LIMIT ?`;
    const found = this.#db.all(sql, target, role, MAX_SHOWN) as unknown as { readonly row: number; bytes: number }[];
    let left = MAX_SHOWN_BYTES;
    const shown = found.filter(({ bytes }) => (left -= bytes) >= 0);
    return shown.reverse().map(({ row }) => this.#table.one(row)!);
  }
  #byHash(leaf: Hash, id: ConversationId): Message | null {
    return this.#table.select('WHERE hash = ? AND conversation = ?', leaf, id)[0] ?? null;
  }
  /** Who edits an edit, or answers one, means the first version. */
  #originalOf(message: Message): Message {
    if (message.role !== 'edit' || message.target === null) return message;
    return this.#byHash(message.target, message.conversation) ?? message;
  }
  #void({ row }: Message, why: string): string {
    this.#db.run("UPDATE message SET role = 'void', is_shown = 1 WHERE row = ?", row);
    return why;
  }
  /** One row after the other: however many versions there are, and however large, they are not in the memory together. */
  #erase({ row, hash }: Erasable, why: 'deleted' | 'expired'): void {
    const isOf = hash === null ? '' : ` OR (target = ? AND role = 'edit' AND seq IS NOT NULL)`;
    const sql = `SELECT row FROM message WHERE (row = ?${isOf}) AND gone IS NULL`;
    const rows = this.#db.all(sql, row, ...(hash === null ? [] : [hash]));
    for (const each of rows) this.#table.erase(each['row'] as number, why);
  }
}

type Erasable = Pick<Message, 'row' | 'hash'>;
