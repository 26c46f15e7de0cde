/** What messages to many devices are charged beside themselves: to their sender, and to their conversation. */
import type { RateLimit } from './rate-limit.ts';

/** Devices that one message reaches at the price of one: where they do not acknowledge it, that is what it costs. */
const DEVICES_INCLUDED = 8;

/**
 * Charges so many messages of a batch, each of which so many devices are to get, before anything costly is asked about them.
 * @param conversation key of its id
 * @throws RATE_LIMIT; then nothing was taken
 */
export type Charge = (conversation: string, messages: number, devices: number) => void;

/**
 * For one batch.
 * @param sends messages, by user: of this one all that are in the batch are taken already
 * @param roomDeliveries devices that messages go to, by conversation
 */
export function chargesOf(user: string, batchSize: number, sends: RateLimit, roomDeliveries: RateLimit): Charge {
  let taken = batchSize;
  return (conversation, messages, devices) => {
    if (devices <= DEVICES_INCLUDED) return;
    const surcharge = messages * Math.floor(devices / (DEVICES_INCLUDED + 1));
    sends.check(user, surcharge, taken);
    roomDeliveries.take(conversation, messages * devices);
    sends.take(user, surcharge, taken);
    taken += surcharge;
  };
}
