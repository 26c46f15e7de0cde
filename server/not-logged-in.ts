/**
 * Links that nobody has logged in on yet. Each takes a place that others behind the same address may want, and costs no more than a
 * certificate: so of one key there are few. The oldest makes room, for an honest one is logged in after moments.
 */
import { hex } from '../base/bytes.ts';
import type { ServerLink } from '../runtime/link.ts';

/** Of one certificate key. */
const MAX_LINKS = 8;

export class NotLoggedIn {
  /** SHA-256 of the key, in hexadecimal → its links, the oldest first */
  readonly #links = new Map<string, Set<ServerLink>>();

  /** Until it is logged in on, or closes. */
  add(link: ServerLink): void {
    const key = hex(link.peerChain[0].spkiHash);
    const links = this.#links.get(key) ?? new Set();
    this.#links.set(key, links.add(link));
    void link.closed.then(() => this.delete(link));
    if (links.size <= MAX_LINKS) return;
    const [oldest] = links;
    this.delete(oldest!);
    oldest!.close('CONNECTION_LOST');
  }

  delete(link: ServerLink): void {
    const key = hex(link.peerChain[0].spkiHash);
    const links = this.#links.get(key);
    if (links?.delete(link) && links.size === 0) this.#links.delete(key);
  }
}
