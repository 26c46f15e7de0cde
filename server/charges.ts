/** What messages to many devices are charged beside themselves: to their sender, and to their conversation. */
import { ChatError } from '../base/errors.ts';
import type { RateLimit } from './rate-limit.ts';

/** Devices that one message reaches at the price of one: where they do not acknowledge it, that is what it costs. */
const DEVICES_INCLUDED = 8;

/**
 * Charges so many messages of a batch, each of which so many devices are to get, before anything costly is asked about them.
 * @param conversation key of its id
 * @param field the first of them
 * @throws RATE_LIMIT, with the sub room and the field if others have used up what the conversation may have; then nothing was taken
 */
export type Charge = (conversation: string, messages: number, devices: number, field: string) => void;

/** Of one batch. */
export class Charges {
  readonly #sends: RateLimit;
  readonly #roomDeliveries: RateLimit;
  readonly #user: string;
  /** by the sender */
  #taken: number;
  /** by conversations */
  readonly #paid: [conversation: string, deliveries: number][] = [];

  /**
   * @param sends messages, by user: of this one all that are in the batch are taken already
   * @param roomDeliveries devices that messages go to, by conversation
   */
  constructor(user: string, batchSize: number, sends: RateLimit, roomDeliveries: RateLimit) {
    this.#user = user;
    this.#taken = batchSize;
    this.#sends = sends;
    this.#roomDeliveries = roomDeliveries;
  }

  readonly charge: Charge = (conversation, messages, devices, field) => {
    if (devices <= DEVICES_INCLUDED) return;
    const surcharge = messages * Math.floor(devices / (DEVICES_INCLUDED + 1));
    this.#sends.check(this.#user, surcharge, this.#taken);
    try {
      this.#roomDeliveries.take(conversation, messages * devices);
    } catch (cause) {
      const { code, message, retryAfterMs = 0 } = ChatError.from(cause);
      throw new ChatError(code, message, { sub: 'room', field, retryAfterMs, cause });
    }
    this.#paid.push([conversation, messages * devices]);
    this.#sends.take(this.#user, surcharge, this.#taken);
    this.#taken += surcharge;
  };

  /** The batch is refused: conversations get back what they have paid for nothing. What its sender has asked for stays asked for. */
  giveBack(): void {
    for (const [conversation, deliveries] of this.#paid.splice(0))
      this.#roomDeliveries.giveBack(conversation, deliveries);
  }
}
