/** Which certificates of senders the log has: a batch comes with its sender's own, unless it is there. */
import type { Fingerprint } from '../base/bytes.ts';
import { idKey } from '../base/id-key.ts';
import type { Store } from '../store/store.ts';

/** Remembered; of others the store is asked. */
const MAX_REMEMBERED = 50_000;

export class LoggedCertificates {
  readonly #store: Pick<Store, 'isCertificateLogged'>;
  readonly #origin: string;
  readonly #known = new Set<string>();

  /** @param origin of the log */
  constructor(store: Pick<Store, 'isCertificateLogged'>, origin: string) {
    this.#store = store;
    this.#origin = origin;
  }

  /** As far as it is remembered: nearly always. */
  isKnown(fingerprint: Fingerprint): boolean {
    return this.#known.has(idKey(fingerprint));
  }

  /** What the store says of one that is not known. */
  async ask(fingerprint: Fingerprint): Promise<boolean> {
    if (!(await this.#store.isCertificateLogged(this.#origin, fingerprint))) return false;
    this.add(fingerprint);
    return true;
  }

  /** It has come into log and store. */
  add(fingerprint: Fingerprint): void {
    if (this.#known.size >= MAX_REMEMBERED) this.#known.clear();
    this.#known.add(idKey(fingerprint));
  }
}
