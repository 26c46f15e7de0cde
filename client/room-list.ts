/** Rooms as the server lists them: the public ones, and one's own. Its words are for people, and for finding a room by its name. */
import { equal, type ConversationId } from '../base/bytes.ts';
import type { Reply } from '../protocol/messages.ts';
import type { Requester } from './requester.ts';

export type RoomSummary = Reply<'rooms'>['rooms'][number];
/** What the server says of one room. */
export type RoomReply = Reply<'room'>;

/** A server that never ends its list is not followed for ever. */
const MAX_PAGES = 200;

/** Each page is asked for after the last name of the one before; it ends when names do not rise. */
export async function listRooms(requester: Requester): Promise<RoomSummary[]> {
  const all: RoomSummary[] = [];
  for (let page = 0, after = ''; page < MAX_PAGES; page++) {
    const { rooms, has_more: hasMore } = await requester.request({ type: 'room_list', after }, 'rooms');
    all.push(...rooms);
    const last = rooms.at(-1)?.room ?? '';
    if (!hasMore || last <= after) break;
    after = last;
  }
  return all;
}

/** The room of one's own that has this id; null: none has. */
export async function roomWithId(requester: Requester, id: ConversationId): Promise<RoomReply | null> {
  for (const { room, role } of await listRooms(requester)) {
    if (role === undefined) continue;
    const found = await requester.request({ type: 'room_get', room }, 'room');
    if (equal(found.conversation, id)) return found;
  }
  return null;
}
