/**
 * What is known of clients that were let in: their certificates, parsed, and the paths that were found for them. A parsed certificate
 * is what its bytes say and never outdated; a path is believed until anything that it depends on changes, and forgotten with `forget()`
 * when lists, authorities or the deny list do. Only what was admitted gets in here, so that strangers cannot fill it.
 */
import { hex } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';
import type { Chain } from '../runtime/tls.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import type { Crl } from '../x509/crl.ts';
import { MAX_PATH_LENGTH } from '../x509/path.ts';

/** Clients, those connected among them: about 6 kB each of those who are not. */
const MAX_PATHS = 4096;
const MAX_CERTIFICATES = 2 * MAX_PATHS;

interface Path {
  readonly chain: Chain;
  /** Unix ms, both included: the verdict of any moment in between is the same. */
  readonly from: number;
  readonly until: number;
}

export class Admitted {
  /** The one used last stands last. */
  readonly #certificates = new Map<string, Certificate>();
  readonly #paths = new Map<string, Path>();

  /** @throws as parseCertificate() */
  readonly parse = (der: Uint8Array): Certificate =>
    used(this.#certificates, hex(sha256(der))) ?? parseCertificate(der);

  /** The path that was found for these, if it would be found again at this moment. */
  find(presented: readonly Certificate[], at: number): Chain | null {
    const path = used(this.#paths, keyOf(presented));
    return path !== undefined && path.from <= at && at <= path.until ? path.chain : null;
  }

  /** @param crls that were asked @param graceMs how long after its nextUpdate each is believed */
  add(presented: readonly Certificate[], chain: Chain, at: number, crls: readonly Crl[], graceMs: number): void {
    const ends = [
      ...chain.map(({ notAfter }) => notAfter),
      ...crls.map(({ nextUpdate }) => nextUpdate + graceMs),
      // A list that is not in force yet may name somebody when it is.
      ...crls.flatMap(({ thisUpdate }) => (thisUpdate > at ? [thisUpdate - 1] : [])),
    ];
    if (presented.length <= MAX_PATH_LENGTH)
      keep(this.#paths, keyOf(presented), { chain, from: at, until: Math.min(...ends) }, MAX_PATHS);
    for (const certificate of chain)
      keep(this.#certificates, hex(certificate.fingerprint), certificate, MAX_CERTIFICATES);
  }

  /** Paths have to be found anew. */
  forget(): void {
    this.#paths.clear();
  }
}

const keyOf = (presented: readonly Certificate[]): string =>
  presented.map(({ fingerprint }) => hex(fingerprint)).join();

function used<T>(map: Map<string, T>, key: string): T | undefined {
  const value = map.get(key);
  if (value === undefined) return undefined;
  map.delete(key);
  map.set(key, value);
  return value;
}

function keep<T>(map: Map<string, T>, key: string, value: T, limit: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= limit) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    break;
  }
}
