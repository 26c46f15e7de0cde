/** Where conversations and mailboxes end. */
import { hex, type ConversationId } from '../base/bytes.ts';
import { select, type Operation } from './operation.ts';
import { blob, integer } from './row.ts';
import type { Places } from './contract/log.ts';

const SEQS =
  'SELECT c.conversation, s.last_seq FROM conversations c JOIN sequences s ON s.conversation_id = c.id WHERE c.conversation IN (?...)';
const CURSORS = 'SELECT device_id, last_cursor FROM mailboxes WHERE device_id IN (?...)';
/** As in mailbox.ts: a statement takes so many values. */
const MAX_LISTED = 4096;

export function* places(conversations: readonly ConversationId[], deviceIds: readonly number[]): Operation<Places> {
  const seqs = new Map<string, number>();
  const cursors = new Map<number, number>();
  for (let from = 0; from < conversations.length; from += MAX_LISTED)
    for (const row of yield* select(SEQS, conversations.slice(from, from + MAX_LISTED)))
      seqs.set(hex(blob(row, 'conversation')), integer(row, 'last_seq'));
  for (let from = 0; from < deviceIds.length; from += MAX_LISTED)
    for (const row of yield* select(CURSORS, deviceIds.slice(from, from + MAX_LISTED)))
      cursors.set(integer(row, 'device_id'), integer(row, 'last_cursor'));
  return {
    seqs: conversations.map((id) => seqs.get(hex(id)) ?? null),
    cursors: deviceIds.map((id) => cursors.get(id) ?? null),
  };
}
