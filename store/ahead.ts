/**
 * A database that is told later: commit windows are kept whole in a journal on this machine, and acknowledged when they are on the
 * disk there. Some time later the database gets them, many in one transaction, without rows for what its recipients have acknowledged
 * meanwhile, which is nearly everything between people who are connected (docs/decisions/0021).
 *
 * It must be the only one that writes windows, acknowledgements and expiries: seq and cursors are given out here (numbering.ts). Whoever
 * asks for what the database does not have yet (write-behind.ts) waits until it has.
 */
import { ChatError } from '../base/errors.ts';
import { Journal, type JournalledWindow } from './journal.ts';
import { acquireServingLock, type Lock } from './lock.ts';
import { Numbering } from './numbering.ts';
import type { StoredMessage, WindowRecord } from './contract/log.ts';
import type { QueuedExpiry } from './contract/queue.ts';
import type { Store } from './store.ts';
import { WriteBehind } from './write-behind.ts';

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
  readonly #behind: WriteBehind;
  readonly #numbering: Numbering;
  /** Whoever gives out places, or changes them in the database, does it alone. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(db: Store, journal: Journal, lock: Lock, onLost: (error: ChatError) => void) {
    this.#db = db;
    this.#numbering = new Numbering((conversations, devices) => db.places(conversations, devices));
    this.#journal = journal;
    this.#lock = lock;
    this.#behind = new WriteBehind({ db, journal, onLost, onTold: () => this.#trim() });
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
        const next = byPlace.get(`${origin} ${await this.#behind.size(origin)}`);
        if (next === undefined) break;
        this.#behind.add(next.window, await this.#answers(next.window), next.record);
      }
    for (const { from, window } of windows)
      if (from > (await this.#behind.size(window.origin)))
        throw new ChatError(
          'STORE_FAILED',
          'what the journal of the database holds (its files end with -ahead-0 and -ahead-1) does not follow what it has: it is an older copy or another database, or they are damaged; move them away to start without the messages in them',
        );
    try {
      await this.#behind.flush();
    } catch (error) {
      this.#behind.stop();
      throw error;
    }
  }

  store(): Store {
    const db = this.#db;
    const after =
      <A, Rest extends unknown[], T>(ask: (first: A, ...rest: Rest) => Promise<T>, concerns: (first: A) => boolean) =>
      async (first: A, ...rest: Rest): Promise<T> => {
        if (concerns(first)) await this.#behind.flush();
        return ask(first, ...rest);
      };
    const always = () => this.#behind.some((waiting) => !waiting.isEmpty);
    const ofSender = (fingerprint: Uint8Array) => this.#behind.some((waiting) => waiting.hasSender(fingerprint));
    const ofDevice = (id: number) => this.#behind.some((waiting) => waiting.waitsFor(id));
    return {
      ...db,
      logSize: (origin) => this.#behind.size(origin),
      commitWindow: (window) => this.#alone(() => this.#commit(window)),
      commitRecords: (records, said) => this.#besides(() => db.commitRecords(records, said)),
      acknowledge: (deviceId, cursors, userId) => this.#behind.acknowledge(deviceId, cursors, userId),
      places: after(db.places, always),
      timesAfter: after(db.timesAfter, always),
      incomplete: after(db.incomplete, always),
      batchAt: after(db.batchAt, always),
      findBatch: after(db.findBatch, ofSender),
      sessionLineage: after(db.sessionLineage, ofSender),
      sessionEnds: after(db.sessionEnds, (session) => this.#behind.some((waiting) => waiting.hasSession(session))),
      conversationLineage: after(db.conversationLineage, ofSender),
      isCertificateLogged: async (origin, fingerprint) => {
        if (this.#behind.some((waiting) => waiting.hasCertificate(fingerprint))) await this.#behind.flush();
        return db.isCertificateLogged(origin, fingerprint);
      },
      backlog: after(db.backlog, ofDevice),
      queueShares: after(db.queueShares, ofDevice),
      queueUsages: (deviceIds) => this.#queueUsages(deviceIds),
      nextExpiry: () => this.#nextExpiry(),
      expire: (now, maxMessages) => this.#expire(now, maxMessages),
      complete: (origin, messages) => this.#besides(() => db.complete(origin, messages)),
      rewind: (origin, size) => this.#besides(() => db.rewind(origin, size)),
      relief: () => this.#behind.relief(),
      close: () => this.#close(),
    };
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
      await this.#behind.flush();
      try {
        return await work();
      } finally {
        this.#numbering.clear();
        this.#behind.forgetSizes();
      }
    });
  }

  async #nextExpiry(): Promise<number | null> {
    const stored = (await this.#db.nextExpiry()) ?? Infinity;
    const next = Math.min(stored, ...this.#behind.all.map(({ expiresAt }) => expiresAt));
    return next === Infinity ? null : next;
  }

  /** Asked often, and nearly always there is nothing to do. */
  async #expire(now: number, maxMessages: number): Promise<QueuedExpiry[]> {
    const next = await this.#nextExpiry();
    return next === null || next > now ? [] : this.#besides(() => this.#db.expire(now, maxMessages));
  }

  async #commit(window: WindowRecord): Promise<StoredMessage[][]> {
    const { origin, logSize, batches } = window;
    const from = await this.#behind.size(origin);
    if (logSize <= from) {
      for (const waiting of this.#behind.all) {
        const known = waiting.answersOf(window);
        if (known !== null) return known;
      }
      return this.#db.commitWindow(window);
    }
    // What changes a group is rare, and others read it in the database at once.
    if (batches.some(({ messages }) => messages.some(({ isCommit }) => isCommit))) return this.#tell(window);
    const room = this.#behind.room();
    if (room !== null) await room;
    const answers = await this.#answers(window);
    let record: Uint8Array;
    try {
      record = await this.#journal.append({ from, window });
    } catch {
      // The database has a disk of its own to fill, and a word of its own for what failed.
      this.#numbering.takeBack(window, answers);
      return this.#tell(window);
    }
    this.#behind.add(window, answers, record);
    this.#behind.tellLater();
    return answers;
  }

  /** The database is told at once, of everything before as well. */
  async #tell(window: WindowRecord): Promise<StoredMessage[][]> {
    await this.#behind.flush();
    const answers = await this.#db.commitWindow(window);
    this.#behind.follow(window);
    this.#numbering.follow(window, answers);
    return answers;
  }

  /** @throws NOT_FOUND/conversation, NOT_FOUND/device, COUNTER_REUSED: then no places are given out */
  async #answers({ batches }: WindowRecord): Promise<StoredMessage[][]> {
    if (batches.some(({ batch }) => this.#behind.some((waiting) => waiting.hasBatch(batch))))
      throw new ChatError('COUNTER_REUSED', 'a batch with these counters is in the log at another place', {
        field: 'batch',
      });
    return this.#numbering.giveOut(batches);
  }

  /** Not while places are given out. */
  #trim(): void {
    if (!this.#numbering.isLarge) return;
    void this.#alone(async () =>
      this.#numbering.trim(
        (key) => this.#behind.some((waiting) => waiting.hasConversation(key)),
        (id) => this.#behind.some((waiting) => waiting.hasDevice(id)),
      ),
    );
  }

  /** What the database is being told at this moment may be counted twice. To wait for that would be to wait as long as others write much. */
  async #queueUsages(deviceIds: readonly number[]): Promise<{ bytes: number; rows: number }[]> {
    const here = deviceIds.map((id) => this.#behind.all.map((waiting) => waiting.usageOf(id)));
    const usages = await this.#db.queueUsages(deviceIds);
    return usages.map((stored, i) => ({
      bytes: here[i]!.reduce((sum, { bytes }) => sum + bytes, stored.bytes),
      rows: here[i]!.reduce((sum, { rows }) => sum + rows, stored.rows),
    }));
  }

  async #close(): Promise<void> {
    this.#behind.stop();
    await this.#turn;
    try {
      await this.#behind.end();
      await this.#db.close();
    } finally {
      await this.#journal.close();
      this.#lock.release();
    }
  }
}
