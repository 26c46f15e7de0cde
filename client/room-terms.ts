/** Names, topics and roles of rooms, as the server takes them. */
import { ChatError } from '../base/errors.ts';

export const ROLES = ['owner', 'admin', 'member'] as const;
export type Role = (typeof ROLES)[number];

export const isRoomName = (name: string): boolean => name.startsWith('#');

/** @throws BAD_NAME */
export function roomName(name: string): string {
  if (/^#[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/.test(name)) return name;
  throw new ChatError('BAD_NAME', 'a room is # and 1 to 63 of a-z, 0-9, ".", "_", "-" (in a shell: quote it)', {
    field: 'room',
  });
}

/** UTF-16 code units (docs/PROTOCOL.md §5.1). */
const MAX_TOPIC_CHARS = 512;

/** @throws TOO_LARGE */
export function roomTopic(topic: string): string {
  if (topic.length <= MAX_TOPIC_CHARS) return topic;
  throw new ChatError('TOO_LARGE', `a topic has at most ${MAX_TOPIC_CHARS} characters`, { field: 'topic' });
}
