/**
 * Write-behind: what is in the journal and not in the database yet, and when the database is told of it. What comes in rests for half a
 * second before it is told, and the journal turns with that: a half of it is cleared when the database has all that is in it.
 */
import { ChatError } from '../base/errors.ts';
import type { StoredMessage, WindowRecord } from './contract/log.ts';
import type { Journal } from './journal.ts';
import type { Store } from './store.ts';
import { Waiting } from './waiting.ts';

/**
 * What comes in so long, or up to so much, is told together, when as much time has passed again: whoever has just got something has
 * acknowledged it by then.
 */
const LATE_MS = 500;
const LATE_ROWS = 32_768;
const LATE_BYTES = 16 * 1024 * 1024;
/** What the database does not have, in all: more is taken when it has some of it. */
const FULL_ROWS = 65_536;
const FULL_BYTES = 64 * 1024 * 1024;
/** Of that: whoever brings much waits before others have to. */
const BUSY = 0.5;

export interface WriteBehindOptions {
  readonly db: Store;
  /** turned and cleared here, and written by whoever brings windows */
  readonly journal: Journal;
  /** the database holds something else than was told: nothing may go on */
  readonly onLost: (error: ChatError) => void;
  /** something was told */
  readonly onTold: () => void;
}

export class WriteBehind {
  readonly #db: Store;
  readonly #journal: Journal;
  readonly #onLost: (error: ChatError) => void;
  readonly #onTold: () => void;
  /** Log → how far it is known here. */
  readonly #sizes = new Map<string, number>();
  /** Log → how far the database has been told by this process. */
  readonly #told = new Map<string, number>();
  /** Not in the database: what comes now; what came before, and rests; and what it is being told. */
  #coming = new Waiting();
  #resting = new Waiting();
  #leaving: Waiting | null = null;
  #flushing: Promise<void> | null = null;
  /** Everything is told once that has ended; it has not begun. */
  #next: Promise<void> | null = null;
  /** Those who wait until there is room, or none can be made. */
  readonly #hopeful: (() => void)[] = [];
  #timer: NodeJS.Timeout | null = null;
  /** The journal may hold what an earlier process wrote. */
  #isJournalOld = true;
  #failure: ChatError | null = null;
  #isClosed = false;

  constructor({ db, journal, onLost, onTold }: WriteBehindOptions) {
    this.#db = db;
    this.#journal = journal;
    this.#onLost = onLost;
    this.#onTold = onTold;
  }

  /** What the database does not have, the newest first. */
  get all(): readonly Waiting[] {
    return this.#leaving === null ? [this.#coming, this.#resting] : [this.#coming, this.#resting, this.#leaving];
  }
  some(holds: (waiting: Waiting) => boolean): boolean {
    return this.all.some(holds);
  }

  /** How far a log is known here. */
  async size(origin: string): Promise<number> {
    const known = this.#sizes.get(origin);
    if (known !== undefined) return known;
    const size = await this.#db.logSize(origin);
    this.#sizes.set(origin, this.#sizes.get(origin) ?? size);
    return this.#sizes.get(origin)!;
  }
  /** Somebody has changed that in the database. */
  forgetSizes(): void {
    this.#sizes.clear();
  }

  /** Null: a window may come now. Or resolves when one may, and rejects while the database fails. */
  room(): Promise<void> | null {
    return this.#failure !== null || this.#isJournalOld || this.#isFull ? this.#makeRoom() : null;
  }
  async #makeRoom(): Promise<void> {
    // While the database fails, nothing more is taken; and what was kept for it may fill the disk, but not the memory.
    while (this.#failure === null && this.#isFull) await this.#change();
    if (this.#failure !== null || this.#isJournalOld) await this.flush();
  }

  /** Takes a window that follows those before. @param record of it in the journal */
  add(window: WindowRecord, answers: StoredMessage[][], record: Uint8Array): void {
    this.#sizes.set(window.origin, window.logSize);
    this.#coming.add(window, answers, record);
  }

  /** What was taken is told without anybody asking. */
  tellLater(): void {
    if (this.#coming.rows >= LATE_ROWS || this.#coming.bytes >= LATE_BYTES) this.#turnSoon(0);
    else this.#turnSoon(LATE_MS);
  }

  /** A window that follows those before was told to the database at once. */
  follow(window: WindowRecord): void {
    this.#sizes.set(window.origin, window.logSize);
    this.#told.set(window.origin, window.logSize);
  }

  /** As Store.acknowledge(). */
  async acknowledge(deviceId: number, cursors: readonly number[], userId: number): Promise<void> {
    const rest = this.#acknowledgeHere(deviceId, cursors, userId);
    if (rest.length === 0) return;
    if (this.#leaving?.waitsFor(deviceId)) await this.#flushing?.catch(() => undefined);
    // What was not told after all rests again.
    const stored = this.#acknowledgeHere(deviceId, rest, userId);
    if (stored.length > 0) await this.#db.acknowledge(deviceId, stored, userId);
  }

  /** @returns what neither comes nor rests */
  #acknowledgeHere(deviceId: number, cursors: readonly number[], userId: number): readonly number[] {
    const older = this.#coming.acknowledge(deviceId, cursors, userId);
    return older.length === 0 ? older : this.#resting.acknowledge(deviceId, older, userId);
  }

  /** From now on nothing is told without anybody asking. */
  stop(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** The database gets everything, and the journal is left empty. What does not get there now does at the next start. Never rejects. */
  async end(): Promise<void> {
    await this.flush()
      .then(() => this.#journal.clear())
      .catch(() => undefined);
  }

  /** How much of what may wait does. */
  get #fullness(): number {
    const all = this.all;
    return Math.max(
      all.reduce((sum, { rows }) => sum + rows, 0) / FULL_ROWS,
      all.reduce((sum, { bytes }) => sum + bytes, 0) / FULL_BYTES,
    );
  }
  get #isFull(): boolean {
    return this.#fullness > 1;
  }

  /** As Store.relief(). */
  relief(): Promise<void> | null {
    if (this.#failure !== null || this.#fullness <= BUSY) return null;
    return this.#change().then(() => this.relief() ?? undefined);
  }

  /** Resolves when the database has been told something more, or has failed. */
  #change(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#hopeful.push(resolve);
    this.#tellAll(false).catch(() => undefined);
    return promise;
  }

  #changed(): void {
    for (const resolve of this.#hopeful.splice(0)) resolve();
  }

  /** The database has everything, and nothing of it stands anywhere else. */
  get #isDone(): boolean {
    return this.#journal.isClear && this.all.every(({ isEmpty }) => isEmpty);
  }

  #turnSoon(ms: number): void {
    if (ms > 0 && this.#timer !== null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const turn = (): void => {
      this.#timer = null;
      this.#tellAll(false).catch(() => undefined); // whoever comes next is told
    };
    this.#timer = setTimeout(turn, ms).unref();
  }

  /**
   * The database gets everything that waits now. While it is told something, all who ask wait for the next time together. Rejects when either
   * fails; then everything still waits.
   */
  flush(): Promise<void> {
    if (this.#next === null && this.#flushing === null) return this.#flushNow();
    return (this.#next ??= this.#flushNext());
  }
  async #flushNext(): Promise<void> {
    try {
      while (this.#flushing !== null) await this.#flushing;
    } finally {
      this.#next = null; // who comes from now on may bring what this one does not tell
    }
    await this.#flushNow();
  }
  async #flushNow(): Promise<void> {
    if (this.all.every(({ isEmpty }) => isEmpty) && !this.#isJournalOld) return void (this.#failure = null);
    await this.#tellAll(true);
  }

  /** @param isAll otherwise what has rested */
  async #tellAll(isAll: boolean): Promise<void> {
    if (this.#flushing !== null) return;
    this.#flushing = this.#write(isAll);
    try {
      await this.#flushing;
      this.#failure = null;
    } catch (error) {
      this.#failure = ChatError.from(error);
      throw error;
    } finally {
      this.#flushing = null;
      this.#changed();
      if (!this.#isClosed && !this.#isDone) this.#turnSoon(LATE_MS);
    }
  }

  async #write(isAll: boolean): Promise<void> {
    await this.#tellRested();
    this.#resting = this.#coming;
    this.#coming = new Waiting();
    if (!this.#isJournalOld) this.#journal.turn();
    if (isAll) await this.#tellRested();
    if (this.#isJournalOld && isAll) await this.#journal.clear();
    if (isAll) this.#isJournalOld = false;
    this.#onTold();
  }

  async #tellRested(): Promise<void> {
    const leaving = this.#resting;
    this.#leaving = leaving;
    this.#resting = new Waiting();
    try {
      // What failed before may have been done all the same.
      if (this.#failure !== null)
        for (const origin of this.#sizes.keys()) {
          const size = await this.#db.logSize(origin);
          for (const { deviceId, cursors, userId } of leaving.keptOf(origin, size))
            await this.#db.acknowledge(deviceId, cursors, userId);
          leaving.forget(origin, size);
          this.#told.set(origin, size);
        }
      for (let next = leaving.first(); next !== null; next = leaving.first()) {
        const { origin, logSize, records, said } = next;
        await this.#db.commitRecords(records, said);
        leaving.forget(origin, logSize);
        this.#told.set(origin, logSize);
        this.#changed();
      }
    } catch (error) {
      this.#resting = leaving;
      const failure = ChatError.from(error);
      const isBusy = failure.code === 'DISK_FULL' || (failure.code === 'STORE_FAILED' && failure.sub !== 'places');
      if (!isBusy) this.#onLost(failure); // it will not be better next time
      throw failure;
    } finally {
      this.#leaving = null;
    }
    if (!this.#isJournalOld) await this.#journal.clearOther(this.#told);
  }
}
