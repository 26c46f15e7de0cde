/**
 * Committed messages on their way to the devices that are connected. What few get leaves at once; what many get is work for a while, and
 * done in slices between which others are heard. Whatever a device gets, it gets in the order of the commits.
 */
import type { OutgoingItem, Outlet } from './outlet.ts';
import type { Accepted, BatchEvidence } from './submission.ts';

/** Of the work of one turn of the event loop: some 1 to 2 ms. A frame costs as much as 4 messages in it. */
const SLICE_COST = 96;
const FRAME_COST = 4;
/** Devices that are served at once. */
const FEW = 4;

interface Offer {
  readonly evidence: BatchEvidence;
  readonly items: OutgoingItem[];
  /** Called when it was made. */
  readonly made: () => void;
}

export class Deliveries {
  readonly #outletOf: (deviceId: number) => Outlet | undefined;
  /** device → what it has not been offered yet; who has waited longest is the first */
  readonly #waiting = new Map<number, Offer[]>();
  #isTurnDue = false;

  constructor(outletOf: (deviceId: number) => Outlet | undefined) {
    this.#outletOf = outletOf;
  }

  /** Resolves when every device that is connected has been offered its part; at once, where that was done. */
  deliver({ evidence, messages }: Accepted): Promise<void> | void {
    const byDevice = new Map<number, OutgoingItem[]>();
    for (const [position, message] of messages.entries())
      for (const [i, deviceId] of message.recipients.entries()) {
        const cursor = message.cursors[i];
        if (cursor === undefined || this.#outletOf(deviceId) === undefined) continue;
        const { seq, statement, parts, group } = message;
        const item: OutgoingItem = { seq, position, cursor, statement, parts, group };
        const items = byDevice.get(deviceId);
        if (items) items.push(item);
        else byDevice.set(deviceId, [item]);
      }
    const { promise, resolve } = Promise.withResolvers<void>();
    let left = 0;
    const made = (): void => {
      if (--left === 0) resolve();
    };
    for (const [deviceId, items] of byDevice) {
      const before = this.#waiting.get(deviceId);
      if (before === undefined && byDevice.size <= FEW) {
        this.#outletOf(deviceId)?.offer(evidence, items);
        continue;
      }
      left++;
      const offer: Offer = { evidence, items, made };
      if (before) before.push(offer);
      else this.#waiting.set(deviceId, [offer]);
    }
    if (left === 0) return;
    this.#turnSoon();
    return promise;
  }

  #turnSoon(): void {
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    setImmediate(() => {
      this.#isTurnDue = false;
      this.#slice();
      if (this.#waiting.size > 0) this.#turnSoon();
    });
  }

  #slice(): void {
    let cost = 0;
    for (const [deviceId, offers] of this.#waiting) {
      this.#waiting.delete(deviceId);
      for (const { evidence, items, made } of offers) {
        this.#outletOf(deviceId)?.offer(evidence, items);
        cost += FRAME_COST + items.length;
        made();
      }
      if (cost >= SLICE_COST) return;
    }
  }
}
