/**
 * Device bindings that this profile has: they say whose device has which MLS key, and what is judged in a group needs those of its members. What is
 * missing is asked for when something has failed for it, and then that is done again.
 */
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { bindingName } from './e2ee/binding.ts';
import { MissingBindings } from './e2ee/judge.ts';
import { ASKED_AT_ONCE, inParallel } from './in-parallel.ts';
import type { Session } from './session.ts';
import type { Vault } from './vault.ts';

const MAX_ROUNDS = 4;

export class Bindings {
  readonly #vault: Vault;
  readonly #all: Map<string, Uint8Array>;

  constructor(vault: Vault) {
    this.#vault = vault;
    this.#all = vault.keys.bindings();
  }

  /** By name; what comes later is in it as well. */
  get all(): ReadonlyMap<string, Uint8Array> {
    return this.#all;
  }
  /** @param hash of one that a group was judged with */
  of(hash: Uint8Array): Uint8Array {
    return this.#all.get(hex(hash))!;
  }

  /** Does it again when bindings had to be fetched. @throws SIG_FAIL/binding for another binding than was asked for; NOT_FOUND/binding */
  async resolving<T>(session: Session, work: () => Promise<T>): Promise<T> {
    for (let round = 1; ; round++)
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof MissingBindings) || round === MAX_ROUNDS) throw error;
        await this.#fetch(session, error.names);
      }
  }
  add(binding: Uint8Array): void {
    const name = bindingName(binding);
    if (!this.#all.has(name)) this.#vault.keys.addBinding(binding);
    this.#all.set(name, binding);
  }

  /** What has come is kept, also if something else has not. */
  async #fetch(session: Session, names: readonly string[]): Promise<void> {
    const fetched: Uint8Array[] = [];
    try {
      await inParallel(names, ASKED_AT_ONCE, async (name) => {
        const hash = Buffer.from(name, 'hex');
        const { binding } = await session.requester.request({ type: 'binding_get', hash }, 'binding');
        if (bindingName(binding) !== name)
          throw new ChatError('SIG_FAIL', 'the server answered with another device binding than asked for', {
            sub: 'binding',
          });
        fetched.push(binding);
      });
    } finally {
      this.#vault.transaction(() => {
        for (const binding of fetched) this.add(binding);
      });
    }
  }
}
