/** Who is in a conversation, as the server said last, and how far this device has got in it. */
import { equal, type ConversationId, type Hash, type SessionId } from '../base/bytes.ts';
import { encode, type Encodable } from '../base/cbor.ts';
import { bool, bytes, list, optional, record, text, uint, type Decoded } from '../base/decode.ts';

const member = record({ username: text(64), devices: list(bytes(32), 64) });
/** `founder`: this profile made it, or came to own it; `closed`: this profile's user is no member any more. */
const room = record({ public: bool, founder: bool, closed: bool });
export type RoomFacts = Decoded<typeof room>;
export const roster = record({
  peer: text(64),
  epoch: uint(),
  members: list(member, 1024, 1),
  room: optional(room),
});
/** Who is in a conversation, as the server said last; `peer` is the other one of the two, or the name of the room. */
export type Roster = Decoded<typeof roster>;
export interface Conversation extends Roster {
  readonly id: ConversationId;
  /** session that convCtr counts in; null before the first own message */
  readonly session: SessionId | null;
  readonly convCtr: number;
  readonly lastLeaf: Hash;
}

/** Of all members; 0 where nobody is known. */
export const deviceCount = (roster: Roster | null): number =>
  roster === null ? 0 : roster.members.reduce((sum, { devices }) => sum + devices.length, 0);

/** Whether two rosters name the same people and devices at the same epoch. */
export const isSameRoster = (a: Roster, b: Roster): boolean =>
  equal(encode(a as unknown as Encodable), encode(b as unknown as Encodable));
