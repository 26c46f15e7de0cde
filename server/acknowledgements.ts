/**
 * What devices say that they keep, on its way to the store. It is gathered for a moment, for what many devices say is written together at a
 * fraction of the price, and a device that is not believed in time only gets again what it has (docs/decisions/0012).
 */
import { ChatError, CODES } from '../base/errors.ts';
import { errorFields, type Log } from '../runtime/log.ts';
import type { User } from '../store/contract/accounts.ts';
import type { Device } from '../store/contract/devices.ts';
import type { Store } from '../store/store.ts';
import type { Outlet } from './outlet.ts';

/** How long the first waits for others. */
const GATHER_MS = 50;
/** Of one device: so many do not wait, for there is room for 2,048 on its line. */
const AT_ONCE = 256;
/** In one call of the store. */
const MAX_TOLD = 1024;
/** Before a store that failed is told again. */
const AGAIN_MS = 1000;

export interface AcknowledgementOptions {
  readonly store: Pick<Store, 'acknowledge'>;
  readonly log: Log;
  readonly gatherMs?: number;
  readonly againMs?: number;
}

/** Whose they are: a connection of a device. */
interface Keeper {
  readonly user: User;
  readonly device: Device;
  readonly outlet: Outlet;
  /** acknowledged by the device, and the store does not know it yet */
  readonly unsettled: Set<number>;
}

export class Acknowledgements {
  readonly #o: AcknowledgementOptions;
  readonly #due = new Set<Keeper>();
  /** What the store is being told, or will be again. */
  readonly #told = new Map<Keeper, readonly number[]>();
  /** Another connection of the device has taken their place; what is still read from them is told once. */
  readonly #left = new WeakSet<Keeper>();
  readonly #writing = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | null = null;

  constructor(options: AcknowledgementOptions) {
    this.#o = options;
  }

  /**
   * The device keeps these. While the store fails they are remembered and tried again, for the device says so only once; when the
   * connection ends meanwhile, they are delivered and acknowledged once more on the next.
   * @returns false if there is none among them that it was sent and has not acknowledged yet
   */
  received(keeper: Keeper, cursors: readonly number[]): boolean {
    const known = keeper.outlet.known(cursors).filter((cursor) => !keeper.unsettled.has(cursor));
    if (known.length === 0) return false;
    if (this.#left.has(keeper)) this.#write(this.#tell(keeper, known));
    else {
      for (const cursor of known) keeper.unsettled.add(cursor);
      this.#wait(keeper);
    }
    return true;
  }

  /** The connection has ended: the store is told now, before the next one reads the queue, and not again. */
  leave(keeper: Keeper): void {
    this.#left.add(keeper);
    this.#due.delete(keeper);
    const told = new Set(this.#told.get(keeper));
    this.#told.delete(keeper);
    const left = [...keeper.unsettled].filter((cursor) => !told.has(cursor));
    keeper.unsettled.clear();
    if (left.length > 0) this.#write(this.#tell(keeper, left));
  }

  /** Whether some of these had acknowledged something that the store was not told of; it is told when this resolves, or has failed. */
  async told(keepers: readonly Keeper[]): Promise<boolean> {
    const behind = keepers.filter(({ unsettled }) => unsettled.size > 0);
    for (const keeper of behind) if (!this.#told.has(keeper)) this.#settle(keeper);
    if (behind.length > 0) await Promise.all(this.#writing);
    return behind.length > 0;
  }

  /** What was gathered is in the store, or has failed. */
  async settled(): Promise<void> {
    this.#flush();
    await Promise.all(this.#writing);
  }

  #wait(keeper: Keeper): void {
    if (keeper.unsettled.size === 0 || this.#told.has(keeper)) return;
    if (keeper.unsettled.size >= AT_ONCE) return this.#settle(keeper);
    this.#due.add(keeper);
    this.#timer ??= setTimeout(() => this.#flush(), this.#o.gatherMs ?? GATHER_MS).unref();
  }

  #flush(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    for (const keeper of this.#due) this.#settle(keeper);
  }

  #settle(keeper: Keeper): void {
    this.#due.delete(keeper);
    const cursors = [...keeper.unsettled].slice(0, MAX_TOLD);
    this.#told.set(keeper, cursors);
    this.#write(this.#tell(keeper, cursors));
  }

  async #tell(keeper: Keeper, cursors: readonly number[]): Promise<void> {
    const { store, log, againMs = AGAIN_MS } = this.#o;
    try {
      await store.acknowledge(keeper.device.id, cursors, keeper.user.id);
    } catch (error) {
      const failure = ChatError.from(error);
      const line = CODES[failure.code].blame === 'us' ? log.error : log.warn;
      line('store.failed', { user: keeper.user.username, ...errorFields(failure) });
      const again = (): void => (this.#told.has(keeper) ? this.#settle(keeper) : undefined);
      if (this.#told.has(keeper)) setTimeout(again, againMs).unref();
      return;
    }
    for (const cursor of cursors) keeper.unsettled.delete(cursor);
    if (!this.#told.delete(keeper)) return;
    keeper.outlet.acknowledged(cursors);
    this.#wait(keeper);
  }

  #write(work: Promise<void>): void {
    const written = work.finally(() => this.#writing.delete(written));
    this.#writing.add(written);
  }
}
