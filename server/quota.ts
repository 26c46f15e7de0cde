/**
 * Who may still queue for a device. Nobody can fill a queue for all others: a sender's messages may take no more than half of what the
 * others' leave free, which is the same as his share + all that waits <= the quota. So one sender alone stops at half, a second one at
 * half of the rest, and whoever comes later still finds room.
 */
import type { Store } from '../store/store.ts';

/** What a message costs in the queue beside its parts: empty ones fill a disk, too. */
const QUEUE_ROW_BYTES = 512;
/** Counting shares reads the whole queue of a device. In between, what was added counts for whoever asks. */
const SHARES_MS = 5000;
const MAX_KNOWN = 10_000;

interface Shares {
  readonly at: number;
  readonly total: number;
  /** user id → cost of what waits from that user */
  readonly of: ReadonlyMap<number, number>;
}

export class Quota {
  readonly #store: Pick<Store, 'queueUsages' | 'queueShares'>;
  readonly #queueBytes: number;
  readonly #now: () => number;
  readonly #known = new Map<number, Shares>();

  /** @param queueBytes what may wait for one device, rows included */
  constructor(store: Pick<Store, 'queueUsages' | 'queueShares'>, queueBytes: number, now: () => number) {
    this.#store = store;
    this.#queueBytes = queueBytes;
    this.#now = now;
  }

  /**
   * Those of these devices for which no more messages of this user may wait: the one that goes over the limit is the last. All are
   * asked about in one question, and shares are counted one after another: a room has many devices, and the store serves others too.
   */
  async full(deviceIds: readonly number[], userId: number): Promise<ReadonlySet<number>> {
    const full = new Set<number>();
    if (deviceIds.length === 0) return full;
    for (const [i, usage] of (await this.#store.queueUsages(deviceIds)).entries())
      if (!(await this.#hasRoom(deviceIds[i]!, userId, costOf(usage)))) full.add(deviceIds[i]!);
    return full;
  }

  async #hasRoom(deviceId: number, userId: number, total: number): Promise<boolean> {
    if (2 * total <= this.#queueBytes) return true; // whatever part of it is his
    if (total > this.#queueBytes) return false;
    const shares = await this.#shares(deviceId, total);
    return (shares.of.get(userId) ?? 0) + Math.max(0, total - shares.total) + total <= this.#queueBytes;
  }

  async #shares(deviceId: number, total: number): Promise<Shares> {
    const known = this.#known.get(deviceId);
    const now = this.#now();
    // The clock may have been set back since.
    if (known && now - known.at < SHARES_MS && known.at <= now) return known;
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    const shares = { at: now, total, of: new Map<number, number>() };
    for (const share of await this.#store.queueShares(deviceId)) shares.of.set(share.senderUserId, costOf(share));
    this.#known.set(deviceId, shares);
    return shares;
  }
}

const costOf = ({ bytes, rows }: { readonly bytes: number; readonly rows: number }): number =>
  bytes + rows * QUEUE_ROW_BYTES;
