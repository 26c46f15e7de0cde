/** The group of a conversation as this device has it: a value. Who works on it, and when, is decided by its owner (groups.ts). */
import { equal, type ConversationId } from '../base/bytes.ts';
import { groupIdOf } from './e2ee/direct.ts';
import type { Header } from './e2ee/header.ts';
import { epochOf, type Held } from './e2ee/held.ts';

/** What a commit of ours makes, by which this device creates a group or comes in from outside. It counts once the commit is accepted. */
export interface Entry {
  readonly generation: number;
  readonly commit: Uint8Array;
  readonly conversation: Held;
}
export interface Group {
  /** 0: none */
  readonly generation: number;
  readonly conversation: Held | null;
  /** First epoch that this device can read. */
  readonly since: number;
  readonly entry: Entry | null;
}
export const NO_GROUP: Group = { generation: 0, conversation: null, since: 0, entry: null };

/** The group after that commit was accepted. */
export const entered = ({ generation, conversation }: Entry): Group => ({
  generation,
  conversation,
  since: epochOf(conversation),
  entry: null,
});
/** Whether the header is that of a group of this conversation and generation. */
export const isOf = (header: Header, id: ConversationId, generation: number): boolean =>
  equal(header.groupId, groupIdOf(id, generation));
