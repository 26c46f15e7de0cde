/**
 * When this device has to replace its keys in each group (RFC 9420 §16.6: whoever had them before reads nothing after): a week after it
 * did so last, or 500 messages of its own, each less a fifth at most, by chance, so that the devices of a room do not all do it at once.
 * What is here survives the process; the moments are this machine's.
 */
import { randomInt } from 'node:crypto';
import type { ConversationId } from '../base/bytes.ts';
import type { Database } from './database.ts';

export const FRESH_MS = 7 * 86_400_000;
export const FRESH_MESSAGES = 500;

const DUE = '(due_at <= ? OR due_at > ? OR messages_left <= 0)';
/** Later than a whole term from now: the clock was put back, and nobody knows when it was due. */
const bounds = (now: number): [number, number] => [now, now + FRESH_MS];

export class FreshnessTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** The keys are new. @param now Unix ms */
  renewed(id: ConversationId, now: number): void {
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
  /** One more message was sealed. */
  used(id: ConversationId): void {
    this.#db.run('UPDATE group_freshness SET messages_left = messages_left - 1 WHERE conversation = ?', id);
  }
  drop(id: ConversationId): void {
    this.#db.run('DELETE FROM group_freshness WHERE conversation = ?', id);
  }

  isDue(id: ConversationId, now: number): boolean {
    const sql = `SELECT 1 FROM group_freshness WHERE conversation = ? AND ${DUE}`;
    return this.#db.one(sql, id, ...bounds(now)) !== undefined;
  }
  due(now: number): ConversationId[] {
    return this.#db
      .all(`SELECT conversation FROM group_freshness WHERE ${DUE} ORDER BY due_at`, ...bounds(now))
      .map((row) => row['conversation'] as Uint8Array as ConversationId);
  }
  /** Unix ms of the first moment after `now` in which something becomes due by time. */
  next(now: number): number | null {
    const at = this.#db.one('SELECT min(due_at) AS at FROM group_freshness WHERE due_at > ?', now)?.['at'];
    return at === null || at === undefined ? null : Number(at);
  }
}
