/** What a message to many devices is charged beside itself: to its sender, and to the room. */
import { idKey } from '../base/id-key.ts';
import { decodeMs } from '../transcript/statement.ts';
import type { Submission } from './submission.ts';

/** Devices that one message reaches at the price of one: where they do not acknowledge it, that is what it costs. */
const DEVICES_INCLUDED = 8;
export const surchargeOf = ({ messages }: Submission): number =>
  messages.reduce((sum, { recipients }) => sum + Math.floor(recipients.length / (DEVICES_INCLUDED + 1)), 0);

/** Of messages that reach more than that, by conversation: those of all its members together are limited. */
export function roomDeliveriesOf({ messages }: Submission): Map<string, number> {
  const byConversation = new Map<string, number>();
  for (const { statement, recipients } of messages) {
    if (recipients.length <= DEVICES_INCLUDED) continue;
    const key = idKey(decodeMs(statement).conversation);
    byConversation.set(key, (byConversation.get(key) ?? 0) + recipients.length);
  }
  return byConversation;
}
