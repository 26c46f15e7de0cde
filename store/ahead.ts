/**
 * A database that is told later: commit windows are kept whole in a journal on this machine, and acknowledged when they are on the
 * disk there. Some time later the database gets them, many in one transaction, without rows for what its recipients have acknowledged
 * meanwhile, which is nearly everything between people who are connected (docs/decisions/0021).
 *
 * It must be the only one that writes windows, acknowledgements and expiries: seq and cursors are given out here. Whoever asks for
 * what the database does not have yet waits until it has.
 */
import { ChatError } from '../base/errors.ts';
import { Journal, type JournalledWindow } from './journal.ts';
import { acquireServingLock, type Lock } from './lock.ts';
import { Numbering } from './numbering.ts';
import type { StoredMessage, WindowRecord } from './contract/log.ts';
import type { QueuedExpiry } from './contract/queue.ts';
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

/**
 * @param path of its journal, but for the ends of the files' names: that of an embedded database
 * @param onLost the database holds something else than was told: nothing may go on
 * @throws IN_USE while another process serves with it; STORE_FAILED, DISK_FULL
 */
export async function openAhead(path: string, db: Store, onLost: (error: ChatError) => void): Promise<Store> {
  const lock = acquireServingLock(path);
  let journal: Journal | null = null;
  try {
    const opened = await Journal.open(path);
    journal = opened.journal;
    const ahead = new Ahead(db, journal, lock, onLost);
    await ahead.recover(opened.windows);
    return ahead.store();
  } catch (error) {
    await journal?.close();
    lock.release();
    throw error;
  }
}

class Ahead {
  readonly #db: Store;
  readonly #journal: Journal;
  readonly #lock: Lock;
  readonly #onLost: (error: ChatError) => void;
  readonly #numbering: Numbering;
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
  /** Whoever gives out places, or changes them in the database, does it alone. */
  #turn: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;
  /** The journal may hold what an earlier process wrote. */
  #isJournalOld = true;
  #failure: ChatError | null = null;
  #isClosed = false;

  constructor(db: Store, journal: Journal, lock: Lock, onLost: (error: ChatError) => void) {
    this.#db = db;
    this.#numbering = new Numbering((conversations, devices) => db.places(conversations, devices));
    this.#journal = journal;
    this.#lock = lock;
    this.#onLost = onLost;
  }

  /**
   * The database gets what an earlier process has kept and it lacks. Nothing is taken before it has all of it: only then may the journal be
   * cleared.
   * @throws STORE_FAILED when something between the two is missing; DISK_FULL
   */
  async recover(windows: readonly JournalledWindow[]): Promise<void> {
    const byPlace = new Map(windows.map((each) => [`${each.window.origin} ${each.from}`, each]));
    for (const origin of new Set(windows.map(({ window }) => window.origin)))
      for (;;) {
        const next = byPlace.get(`${origin} ${await this.#size(origin)}`);
        if (next === undefined) break;
        this.#add(next.window, await this.#answers(next.window), next.record);
      }
    for (const { from, window } of windows)
      if (from > this.#sizes.get(window.origin)!)
        throw new ChatError(
          'STORE_FAILED',
          'what the journal of the database holds (its files end with -ahead-0 and -ahead-1) does not follow what it has: it is an older copy or another database, or they are damaged; move them away to start without the messages in them',
        );
    try {
      await this.#flush();
    } catch (error) {
      this.#isClosed = true;
      if (this.#timer !== null) clearTimeout(this.#timer);
      throw error;
    }
  }

  store(): Store {
    const db = this.#db;
    const after =
      <A, Rest extends unknown[], T>(ask: (first: A, ...rest: Rest) => Promise<T>, concerns: (first: A) => boolean) =>
      async (first: A, ...rest: Rest): Promise<T> => {
        if (concerns(first)) await this.#flush();
        return ask(first, ...rest);
      };
    const always = () => this.#some((waiting) => !waiting.isEmpty);
    const ofSender = (fingerprint: Uint8Array) => this.#some((waiting) => waiting.hasSender(fingerprint));
    const ofDevice = (id: number) => this.#some((waiting) => waiting.waitsFor(id));
    return {
      ...db,
      logSize: (origin) => this.#size(origin),
      commitWindow: (window) => this.#alone(() => this.#commit(window)),
      commitRecords: (records, said) => this.#besides(() => db.commitRecords(records, said)),
      acknowledge: (deviceId, cursors, userId) => this.#acknowledge(deviceId, cursors, userId),
      places: after(db.places, always),
      timesAfter: after(db.timesAfter, always),
      incomplete: after(db.incomplete, always),
      batchAt: after(db.batchAt, always),
      findBatch: after(db.findBatch, ofSender),
      sessionLineage: after(db.sessionLineage, ofSender),
      sessionEnds: after(db.sessionEnds, (session) => this.#some((waiting) => waiting.hasSession(session))),
      conversationLineage: after(db.conversationLineage, ofSender),
      isCertificateLogged: async (origin, fingerprint) => {
        if (this.#some((waiting) => waiting.hasCertificate(fingerprint))) await this.#flush();
        return db.isCertificateLogged(origin, fingerprint);
      },
      backlog: after(db.backlog, ofDevice),
      queueShares: after(db.queueShares, ofDevice),
      queueUsages: (deviceIds) => this.#queueUsages(deviceIds),
      nextExpiry: () => this.#nextExpiry(),
      expire: (now, maxMessages) => this.#expire(now, maxMessages),
      complete: (origin, messages) => this.#besides(() => db.complete(origin, messages)),
      rewind: (origin, size) => this.#besides(() => db.rewind(origin, size)),
      relief: () => this.#relief(),
      close: () => this.#close(),
    };
  }

  #some(holds: (waiting: Waiting) => boolean): boolean {
    return this.#all.some(holds);
  }

  /** The newest first. */
  get #all(): readonly Waiting[] {
    return this.#leaving === null ? [this.#coming, this.#resting] : [this.#coming, this.#resting, this.#leaving];
  }

  async #size(origin: string): Promise<number> {
    const known = this.#sizes.get(origin);
    if (known !== undefined) return known;
    const size = await this.#db.logSize(origin);
    this.#sizes.set(origin, this.#sizes.get(origin) ?? size);
    return this.#sizes.get(origin)!;
  }

  /** How much of what may wait does. */
  get #fullness(): number {
    const all = this.#all;
    return Math.max(
      all.reduce((sum, { rows }) => sum + rows, 0) / FULL_ROWS,
      all.reduce((sum, { bytes }) => sum + bytes, 0) / FULL_BYTES,
    );
  }
  get #isFull(): boolean {
    return this.#fullness > 1;
  }

  #relief(): Promise<void> | null {
    if (this.#failure !== null || this.#fullness <= BUSY) return null;
    return this.#change().then(() => this.#relief() ?? undefined);
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
    return this.#journal.isClear && this.#all.every(({ isEmpty }) => isEmpty);
  }

  /** One after the other, in the order of the calls. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  /** A change in the database of what is remembered here. */
  #besides<T>(work: () => Promise<T>): Promise<T> {
    return this.#alone(async () => {
      await this.#flush();
      try {
        return await work();
      } finally {
        this.#numbering.clear();
        this.#sizes.clear();
      }
    });
  }

  async #nextExpiry(): Promise<number | null> {
    const stored = (await this.#db.nextExpiry()) ?? Infinity;
    const next = Math.min(stored, ...this.#all.map(({ expiresAt }) => expiresAt));
    return next === Infinity ? null : next;
  }

  /** Asked often, and nearly always there is nothing to do. */
  async #expire(now: number, maxMessages: number): Promise<QueuedExpiry[]> {
    const next = await this.#nextExpiry();
    return next === null || next > now ? [] : this.#besides(() => this.#db.expire(now, maxMessages));
  }

  async #commit(window: WindowRecord): Promise<StoredMessage[][]> {
    const { origin, logSize, batches } = window;
    const from = await this.#size(origin);
    if (logSize <= from) {
      for (const waiting of this.#all) {
        const known = waiting.answersOf(window);
        if (known !== null) return known;
      }
      return this.#db.commitWindow(window);
    }
    // What changes a group is rare, and others read it in the database at once.
    if (batches.some(({ messages }) => messages.some(({ isCommit }) => isCommit))) return this.#tell(window);
    // While the database fails, nothing more is taken; and what was kept for it may fill the disk, but not the memory.
    while (this.#failure === null && this.#isFull) await this.#change();
    if (this.#failure !== null || this.#isJournalOld) await this.#flush();
    const answers = await this.#answers(window);
    let record: Uint8Array;
    try {
      record = await this.#journal.append({ from, window });
    } catch {
      // The database has a disk of its own to fill, and a word of its own for what failed.
      this.#numbering.takeBack(window, answers);
      return this.#tell(window);
    }
    this.#add(window, answers, record);
    if (this.#coming.rows >= LATE_ROWS || this.#coming.bytes >= LATE_BYTES) this.#turnSoon(0);
    else this.#turnSoon(LATE_MS);
    return answers;
  }

  /** The database is told at once, of everything before as well. */
  async #tell(window: WindowRecord): Promise<StoredMessage[][]> {
    await this.#flush();
    const answers = await this.#db.commitWindow(window);
    this.#sizes.set(window.origin, window.logSize);
    this.#told.set(window.origin, window.logSize);
    this.#numbering.follow(window, answers);
    return answers;
  }

  /** @throws NOT_FOUND/conversation, NOT_FOUND/device, COUNTER_REUSED: then no places are given out */
  async #answers({ batches }: WindowRecord): Promise<StoredMessage[][]> {
    if (batches.some(({ batch }) => this.#some((waiting) => waiting.hasBatch(batch))))
      throw new ChatError('COUNTER_REUSED', 'a batch with these counters is in the log at another place', {
        field: 'batch',
      });
    return this.#numbering.giveOut(batches);
  }

  #add(window: WindowRecord, answers: StoredMessage[][], record: Uint8Array): void {
    this.#sizes.set(window.origin, window.logSize);
    this.#coming.add(window, answers, record);
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
  #flush(): Promise<void> {
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
    if (this.#all.every(({ isEmpty }) => isEmpty) && !this.#isJournalOld) return void (this.#failure = null);
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
    // Not while places are given out.
    if (this.#numbering.isLarge)
      void this.#alone(async () =>
        this.#numbering.trim(
          (key) => this.#some((waiting) => waiting.hasConversation(key)),
          (id) => this.#some((waiting) => waiting.hasDevice(id)),
        ),
      );
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

  async #acknowledge(deviceId: number, cursors: readonly number[], userId: number): Promise<void> {
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

  /** What the database is being told at this moment may be counted twice. To wait for that would be to wait as long as others write much. */
  async #queueUsages(deviceIds: readonly number[]): Promise<{ bytes: number; rows: number }[]> {
    const here = deviceIds.map((id) => this.#all.map((waiting) => waiting.usageOf(id)));
    const usages = await this.#db.queueUsages(deviceIds);
    return usages.map((stored, i) => ({
      bytes: here[i]!.reduce((sum, { bytes }) => sum + bytes, stored.bytes),
      rows: here[i]!.reduce((sum, { rows }) => sum + rows, stored.rows),
    }));
  }

  async #close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#turn;
    try {
      // What does not get there now does at the next start.
      await this.#flush()
        .then(() => this.#journal.clear())
        .catch(() => undefined);
      await this.#db.close();
    } finally {
      await this.#journal.close();
      this.#lock.release();
    }
  }
}
