/**
 * Committed messages on their way to the devices that are connected. What few get leaves at once; what many get is work for a while, and
 * done in slices between which others are heard. Whatever a device gets, it gets in the order of the commits.
 */
import { SharedFrames, type OutgoingItem } from './delivery-frames.ts';
import type { Outlet } from './outlet.ts';
import type { Accepted } from './submission.ts';

/** Of the work of one turn of the event loop: some 1 to 2 ms. A frame costs as much as 4 messages in it. */
const SLICE_COST = 96;
const FRAME_COST = 4;
/** Devices that are served at once. */
const FEW = 4;

/** Where a device stands among the recipients of some messages of a batch, which have all the same ones. */
interface Part {
  readonly positions: readonly number[];
  readonly i: number;
}
interface Offer {
  readonly accepted: Accepted;
  readonly shared: SharedFrames;
  readonly parts: readonly Part[];
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
  deliver(accepted: Accepted): Promise<void> | void {
    const byDevice = new Map<number, Part[]>();
    for (const [recipients, positions] of byRecipients(accepted))
      for (const [i, deviceId] of recipients.entries()) {
        if (this.#outletOf(deviceId) === undefined) continue;
        const parts = byDevice.get(deviceId);
        if (parts) parts.push({ positions, i });
        else byDevice.set(deviceId, [{ positions, i }]);
      }
    const { promise, resolve } = Promise.withResolvers<void>();
    let left = 0;
    const made = (): void => {
      if (--left === 0) resolve();
    };
    const shared = new SharedFrames();
    for (const [deviceId, parts] of byDevice) {
      const before = this.#waiting.get(deviceId);
      if (before === undefined && byDevice.size <= FEW) {
        this.#outletOf(deviceId)?.offer(accepted.evidence, itemsOf(accepted, parts));
        continue;
      }
      left++;
      const offer: Offer = { accepted, shared, parts, made };
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
      for (const { accepted, shared, parts, made } of offers) {
        const items = itemsOf(accepted, parts);
        this.#outletOf(deviceId)?.offer(accepted.evidence, items, shared);
        cost += FRAME_COST + items.length;
        made();
      }
      if (cost >= SLICE_COST) return;
    }
  }
}

/** The messages of a batch that were queued now, by whom they are for: mostly the same ones for all, and the same list. */
function byRecipients({ messages }: Accepted): Map<readonly number[], number[]> {
  const positions = new Map<readonly number[], number[]>();
  for (const [position, { recipients, cursors }] of messages.entries()) {
    if (cursors.length === 0) continue;
    const same = positions.get(recipients);
    if (same) same.push(position);
    else positions.set(recipients, [position]);
  }
  return positions;
}

/** What one device gets, made when its turn has come: for a room it would be thousands of objects that wait. */
function itemsOf({ messages }: Accepted, parts: readonly Part[]): OutgoingItem[] {
  const items = parts.flatMap(({ positions, i }) =>
    positions.map((position): OutgoingItem => {
      const { seq, cursors, statement, parts, group } = messages[position]!;
      return { seq, position, cursor: cursors[i]!, statement, parts, group };
    }),
  );
  return parts.length === 1 ? items : items.toSorted((a, b) => a.position - b.position);
}
