/**
 * When this device has to replace its keys in each group (RFC 9420 §16.6: whoever had them before reads nothing after): a week after it
 * did so last, or 500 messages of its own, each less a fifth at most, by chance, so that the devices of a room do not all do it at once;
 * but for messages alone not within a minute. What is in the table survives the process; the moments are this machine's.
 */
import { randomInt } from 'node:crypto';
import { hex, type ConversationId } from '../base/bytes.ts';
import type { Database } from './database.ts';

export const FRESH_MS = 7 * 86_400_000;
export const FRESH_MESSAGES = 500;
/**
 * A message is taken in the state of its group or the one before. Who writes hundreds in a second would end both before others have read
 * them, and they could never write (docs/decisions/0030).
 */
export const FRESH_REST_MS = 60_000;
/**
 * After others have changed the group before keys were replaced there: what is to be written goes first, for whoever is slower than they are
 * would never come to it.
 */
export const OVERTAKEN_REST_MS = 5000;

const TIME_IS_UP = '(due_at <= ? OR due_at > ?)';
/** Later than a whole term from now: the clock was put back, and nobody knows when it was due. */
const bounds = (now: number): [number, number] => [now, now + FRESH_MS];

export class FreshnessTable {
  readonly #db: Database;
  /** Unix ms of when it was done last, by conversation; forgotten when this process ends, which does it once too early at worst. */
  readonly #renewedAt = new Map<string, number>();
  /** Unix ms of when it was tried in vain, by conversation */
  readonly #overtakenAt = new Map<string, number>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** The keys are new. @param now Unix ms */
  renewed(id: ConversationId, now: number): void {
    this.#renewedAt.set(hex(id), now);
    this.#overtakenAt.delete(hex(id));
    const dueAt = now + FRESH_MS - randomInt(FRESH_MS / 5);
    const left = FRESH_MESSAGES - randomInt(FRESH_MESSAGES / 5);
    this.#db.run(
      'INSERT OR REPLACE INTO group_freshness (conversation, due_at, messages_left) VALUES (?,?,?)',
      id,
      dueAt,
      left,
    );
  }
  /** They are to be replaced as soon as that is possible. */
  hurry(id: ConversationId): void {
    this.#db.run('UPDATE group_freshness SET due_at = 0 WHERE conversation = ?', id);
  }
  /** Others were faster. */
  overtaken(id: ConversationId, now: number): void {
    this.#overtakenAt.set(hex(id), now);
  }
  /** One more message was sealed. */
  used(id: ConversationId): void {
    this.#db.run('UPDATE group_freshness SET messages_left = messages_left - 1 WHERE conversation = ?', id);
  }
  drop(id: ConversationId): void {
    this.#renewedAt.delete(hex(id));
    this.#overtakenAt.delete(hex(id));
    this.#db.run('DELETE FROM group_freshness WHERE conversation = ?', id);
  }

  isDue(id: ConversationId, now: number): boolean {
    const sql = `SELECT ${TIME_IS_UP} AS is_old, messages_left FROM group_freshness WHERE conversation = ?`;
    const row = this.#db.one(sql, ...bounds(now), id);
    if (row === undefined) return false;
    const isOld = row['is_old'] === 1;
    return (isOld || Number(row['messages_left']) <= 0) && this.#restsUntil(id, now, isOld) <= now;
  }
  due(now: number): ConversationId[] {
    return this.#db
      .all(
        `SELECT conversation, ${TIME_IS_UP} AS is_old FROM group_freshness WHERE is_old OR messages_left <= 0 ORDER BY due_at`,
        ...bounds(now),
      )
      .map((row) => ({ id: row['conversation'] as Uint8Array as ConversationId, isOld: row['is_old'] === 1 }))
      .flatMap(({ id, isOld }) => (this.#restsUntil(id, now, isOld) <= now ? [id] : []));
  }
  /** Unix ms of the first moment after `now` in which something becomes due by time, or has rested. */
  next(now: number): number | null {
    const sql = `SELECT conversation, ${TIME_IS_UP} AS is_old FROM group_freshness WHERE is_old OR messages_left <= 0`;
    const rests = this.#db
      .all(sql, ...bounds(now))
      .map((row) => this.#restsUntil(row['conversation'] as Uint8Array as ConversationId, now, row['is_old'] === 1));
    const at = this.#db.one('SELECT min(due_at) AS at FROM group_freshness WHERE due_at > ?', now)?.['at'];
    const first = Math.min(...rests.filter((until) => until > now), at == null ? Infinity : Number(at));
    return first === Infinity ? null : first;
  }

  /** Unix ms; 0 when the clock was put back, and nobody knows. @param isOld due by time */
  #restsUntil(id: ConversationId, now: number, isOld: boolean): number {
    const since = (at: number | undefined, ms: number): number => (at === undefined || at > now ? 0 : at + ms);
    const overtaken = since(this.#overtakenAt.get(hex(id)), OVERTAKEN_REST_MS);
    return isOld ? overtaken : Math.max(overtaken, since(this.#renewedAt.get(hex(id)), FRESH_REST_MS));
  }
}
