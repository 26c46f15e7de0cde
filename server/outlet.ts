/**
 * What is on its way to one connected device. Live while the device keeps up: what is committed leaves at once. Otherwise it is
 * behind: the queue in the store is read again as acknowledgements make room, and nothing is buffered here but a little of what comes
 * while a page is read, for without that whoever is written to all the time would never catch up. So a slow reader costs at
 * most what may be in flight (in-flight.ts, and one message), and nothing is sent twice on one connection. What a device skips stays
 * in its queue for the next connection, and makes room on this one, so that what it cannot believe never keeps the rest from it.
 */
import type { Template } from '../base/cbor.ts';
import type { Reply } from '../protocol/messages.ts';
import { ChatError } from '../base/errors.ts';
import type { QueuedExpiry, QueueItem, QueuePage } from '../store/contract/queue.ts';
import {
  byteCount,
  checkpointFrame,
  deliveryFrame,
  framesOf,
  hashBytes,
  type OutgoingItem,
  type SharedFrames,
} from './delivery-frames.ts';
import { fills, IN_FLIGHT_ITEMS, InFlight } from './in-flight.ts';
import { shownTo } from './invitations.ts';
import type { BatchEvidence } from './submission.ts';

/** Sent, and not taken by the kernel: then nothing more is, until it has all of it. What it does not take stands in memory. */
const UNTAKEN_BYTES = 256 * 1024;
/** One page of the queue. */
export const PAGE_ITEMS = 256;
/** The first one: most who come have less than that, and shall not wait for those who have much. */
const FIRST_PAGE_ITEMS = 32;
const PAGE_BYTES = 512 * 1024;
/** Committed while a page is read. What is more than that is read with the next one. */
const HELD_ITEMS = 64;
const HELD_BYTES = 64 * 1024;
/** Who may wait for the device to catch up: fewer than the requests after which its connection is paused, acknowledgements and all. */
const MAX_SYNCS = 32;
const SYNC_RETRY_MS = 1000;

export interface OutletSource {
  /** SHA-256 of the key of each certificate that the device has or had: invitations name it */
  readonly keyHashes: readonly Uint8Array[];
  /** of the log: what waits from another one cannot be proven here, and stays where it is */
  readonly origin: string;
  /** bytes that were sent and that the kernel has not taken */
  untakenBytes(): number;
  /** as `send`, of frames that other devices get as well */
  sendShared(frames: Template, cursors: readonly number[]): void;
  backlog(after: number, maxItems: number, maxBytes: number): Promise<QueuePage>;
  /** Reads and delivers so many items when it is this device's turn: hundreds that come at once would have all of theirs in memory. */
  inTurn(items: number, work: () => Promise<void>): Promise<void>;
  evidence(batchFirstIndex: number): Promise<BatchEvidence>;
}

/** Messages of one batch. */
interface Offer {
  readonly evidence: BatchEvidence;
  readonly items: readonly OutgoingItem[];
  readonly shared: SharedFrames | null;
}

export class Outlet {
  readonly #send: (frame: Reply) => void;
  readonly #source: OutletSource;
  readonly #onFailure: (error: unknown) => void;
  readonly #inFlight = new InFlight();
  /**
   * Everything up to here was sent. Only pages move it, for they have no gaps; live messages come in the order in which their commits
   * end, and that is not always the order of their cursors.
   */
  #after = 0;
  #isBehind = true;
  #isReading = false;
  /** Something was committed that the page which is read now may lack, and that is not held. */
  #missed = false;
  /** Committed while a page is read; null while none is. */
  #held: Offer[] | null = null;
  /** Acknowledged while a page was read, which may still have them. */
  readonly #gone = new Set<number>();
  /** Sent, not to be kept, and above #after, where a page may still bring them. */
  readonly #skipped = new Set<number>();
  #hasSkipped = false;
  readonly #syncs: (() => void)[] = [];
  #checkpointSize = -1;
  #isClosed = false;

  /** Starts behind: the first pump() reads what waited while the device was away. */
  constructor(send: (frame: Reply) => void, source: OutletSource, onFailure: (error: unknown) => void) {
    this.#send = send;
    this.#source = source;
    this.#onFailure = onFailure;
  }

  /** Whether messages wait in the store for the device to catch up. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** Whether something may wait in the store although the device has caught up. */
  get hasSkipped(): boolean {
    return this.#hasSkipped;
  }

  /** The checkpoint that the ACK of a batch refers to, unless it was the last one sent on this connection. */
  checkpoint(evidence: Pick<BatchEvidence, 'checkpoint'>): void {
    if (!this.#isShown(evidence.checkpoint)) this.#send(checkpointFrame(evidence));
  }

  /** Messages of one batch that were just committed for this device. @param shared if others get them as well */
  offer(evidence: BatchEvidence, items: readonly OutgoingItem[], shared: SharedFrames | null = null): void {
    // A page may have been faster.
    const fresh = items.filter(({ cursor }) => cursor > this.#after).map((item) => this.#shown(item));
    if (fresh.length === 0 || (this.#isBehind && this.#hold({ evidence, items: fresh, shared }))) return;
    if (this.#isBehind || !this.#hasRoomFor(evidence, fresh)) return this.#fallBehind();
    this.#deliver(evidence, fresh, shared);
  }

  /** Until the page that is read now is delivered. Answers false where none is, or too much is held already. */
  #hold(offer: Offer): boolean {
    if (this.#held === null || this.#missed) return false;
    const items = [...this.#held, offer].flatMap((each) => each.items);
    const bytes = items.reduce((sum, { parts }) => sum + byteCount(parts), 0);
    if (items.length > HELD_ITEMS || bytes > HELD_BYTES) return false;
    this.#held.push(offer);
    return true;
  }

  offerExpiry(expiry: QueuedExpiry): void {
    if (expiry.cursor <= this.#after) return;
    if (this.#isBehind || this.#inFlight.isFull) return this.#fallBehind();
    this.#deliverExpiry(expiry);
  }

  /** Something may wait in the store that this connection was never offered: the queue is read again from the last page on. */
  look(): void {
    this.#fallBehind();
  }

  /**
   * Resolves when everything that waits for the device now has been sent; never, when the connection ends before that.
   * @throws RATE_LIMIT when too many wait for it already
   */
  sync(): Promise<void> {
    if (this.#syncs.length >= MAX_SYNCS)
      throw new ChatError('RATE_LIMIT', 'too many wait for the queue already', { retryAfterMs: SYNC_RETRY_MS });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#syncs.push(resolve);
    this.look();
    return promise;
  }

  /** Those of these cursors that were sent and are not acknowledged yet. */
  known(cursors: readonly number[]): number[] {
    return cursors.filter((cursor) => this.#inFlight.has(cursor) || this.#skipped.has(cursor));
  }

  /** The store has deleted these rows: their room is free. */
  acknowledged(cursors: readonly number[]): void {
    for (const cursor of cursors) {
      if (this.#isReading) this.#gone.add(cursor);
      this.#skipped.delete(cursor);
    }
    this.#free(cursors);
  }

  /**
   * The device has seen these, and can neither keep nor believe them: their rows stay, and their room is free.
   * @returns false if none of them was on its way
   */
  skipped(cursors: readonly number[]): boolean {
    const sent = cursors.filter((cursor) => this.#inFlight.has(cursor));
    if (sent.length === 0) return false;
    this.#hasSkipped = true;
    for (const cursor of sent) if (cursor > this.#after) this.#skipped.add(cursor);
    // A page moves #after past them.
    if (this.#skipped.size > IN_FLIGHT_ITEMS) this.#fallBehind();
    this.#free(sent);
    return true;
  }

  #free(cursors: readonly number[]): void {
    this.#inFlight.remove(cursors);
    void this.pump();
  }

  /** Reads the queue until the device has caught up or its line is full; to be called again when the kernel has taken all. Never rejects. */
  async pump(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while (this.#isBehind && !this.#inFlight.isFull && !this.#isStuffed && !this.#isClosed) {
        const items = this.#after === 0 ? FIRST_PAGE_ITEMS : PAGE_ITEMS;
        await this.#source.inTurn(items, () => this.#nextPage(items));
      }
    } catch (error) {
      this.#isClosed = true;
      this.#onFailure(error);
    } finally {
      this.#isReading = false;
    }
  }

  async #nextPage(maxItems: number): Promise<void> {
    if (this.#isClosed) return;
    this.#missed = false;
    this.#held = [];
    this.#gone.clear();
    const syncs = this.#syncs.length;
    const page = await this.#source.backlog(this.#after, maxItems, PAGE_BYTES);
    const { fitting, last: lastFitting } = this.#fitting(page.items);
    const left = await this.#deliverPage(fitting);
    const last = left === null ? lastFitting : left.cursor - 1;
    const held = this.#held;
    this.#held = null;
    if (this.#isClosed) return;
    if (last !== null) {
      this.#after = last;
      for (const cursor of this.#skipped) if (cursor <= last) this.#skipped.delete(cursor);
    }
    if (!page.isWhole || last !== (page.items.at(-1)?.cursor ?? null)) return;
    for (const resolve of this.#syncs.splice(0, syncs)) resolve();
    if (this.#missed) return;
    this.#isBehind = false;
    for (const { evidence, items, shared } of held) this.offer(evidence, items, shared);
  }

  close(): void {
    this.#isClosed = true;
  }

  get #isStuffed(): boolean {
    return this.#source.untakenBytes() > UNTAKEN_BYTES;
  }

  #fallBehind(): void {
    this.#isBehind = true;
    this.#missed = true;
    void this.pump();
  }

  #hasRoomFor(evidence: BatchEvidence, items: readonly OutgoingItem[]): boolean {
    if (this.#inFlight.isFull || this.#isStuffed) return false;
    const bytes = items.reduce((sum, { parts }) => sum + byteCount(parts), hashBytes(evidence, items));
    return this.#inFlight.hasRoomFor(items.length, bytes);
  }

  /** The beginning of a page as far as its parts fit, without what is on its way already; and the cursor up to which that goes. */
  #fitting(page: readonly QueueItem[]): { fitting: QueueItem[]; last: number | null } {
    const fitting: QueueItem[] = [];
    let [items, bytes] = [this.#inFlight.items, this.#inFlight.bytes];
    let last: number | null = null;
    for (const item of page) {
      if (fills(items, bytes)) break;
      last = item.cursor;
      if (this.#inFlight.has(item.cursor) || this.#gone.has(item.cursor) || this.#skipped.has(item.cursor)) continue;
      if (item.kind === 'message' && item.origin !== this.#source.origin) continue;
      fitting.push(item);
      items++;
      if (item.kind === 'message') bytes += byteCount(item.parts);
    }
    return { fitting, last };
  }

  /** @returns the first for which the hashes of those before it leave no room; null: all are sent */
  async #deliverPage(page: readonly QueueItem[]): Promise<QueueItem | null> {
    let at = 0;
    while (at < page.length && !this.#isClosed) {
      const item = page[at]!;
      if (this.#inFlight.isFull) return item;
      if (item.kind === 'expired') {
        this.#deliverExpiry(item);
        at++;
        continue;
      }
      const items: OutgoingItem[] = [];
      for (
        let next = page[at];
        next?.kind === 'message' && next.batchFirstIndex === item.batchFirstIndex;
        next = page[++at]
      )
        items.push(this.#shown({ ...next, position: next.index - next.batchFirstIndex - 1 }));
      const evidence = await this.#source.evidence(item.batchFirstIndex);
      if (!this.#isClosed) this.#deliver(evidence, items);
    }
    return null;
  }

  /** What of a message is for this device. */
  #shown(item: OutgoingItem): OutgoingItem {
    const { parts, cut } = shownTo(this.#source.keyHashes, item.statement, item.parts);
    return cut === null ? item : { ...item, parts, cut };
  }

  #deliver(evidence: BatchEvidence, items: readonly OutgoingItem[], shared: SharedFrames | null = null): void {
    for (const frame of framesOf(items)) {
      const isShown = this.#isShown(evidence.checkpoint);
      const template = shared?.template(evidence, frame, isShown) ?? null;
      if (template === null) {
        if (!isShown) this.#send(checkpointFrame(evidence));
        this.#send(deliveryFrame(evidence, frame));
      } else
        this.#source.sendShared(
          template,
          frame.map(({ cursor }) => cursor),
        );
      for (const [i, { cursor, parts }] of frame.entries())
        this.#inFlight.add(cursor, byteCount(parts) + (i === 0 ? hashBytes(evidence, frame) : 0));
    }
  }

  /** Whether the device has this checkpoint; from now on it has. */
  #isShown({ size }: BatchEvidence['checkpoint']): boolean {
    const isShown = this.#checkpointSize === size;
    this.#checkpointSize = size;
    return isShown;
  }

  #deliverExpiry({ cursor, conversation, message, by, at }: Omit<QueuedExpiry, 'deviceId'>): void {
    this.#send({ type: 'msg_expired', cursor, conversation, message, by, at });
    this.#inFlight.add(cursor, 0);
  }
}
