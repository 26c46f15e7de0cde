/**
 * Certificates of others' devices, and whose they are. The server hands out the chains; each is judged by this profile's own authorities, and one
 * that does not hold is never kept.
 */
import { equal, hex, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import { identityOf } from '../x509/identity.ts';
import { validatePath } from '../x509/path.ts';
import type { ClientIdentity } from './identity.ts';
import { ASKED_AT_ONCE, inParallel } from './in-parallel.ts';
import type { Requester } from './requester.ts';
import type { Vault } from './vault.ts';

/** A certificate that holds, and the user whom it names. */
export interface Judged {
  readonly leaf: Certificate;
  readonly username: string;
}

export class DeviceCertificates {
  readonly #vault: Vault;
  readonly #requester: Requester;
  readonly #own: Pick<ClientIdentity, 'roots' | 'intermediates'>;

  /** @param own the authorities that are trusted */
  constructor(vault: Vault, requester: Requester, own: Pick<ClientIdentity, 'roots' | 'intermediates'>) {
    this.#vault = vault;
    this.#requester = requester;
    this.#own = own;
  }

  /**
   * A sender's certificate chain, and whose it is. A chain that does not hold is never kept, and one that is kept and does not hold is asked for
   * again: what lacks between it and the authority may be there now.
   * @param at Unix ms at which it must have been valid
   * @throws BAD_CERT, NOT_FOUND; SIG_FAIL/fingerprint when the server answers with another certificate
   */
  async validAt(fingerprint: Fingerprint, at: number): Promise<Judged> {
    const known = this.#vault.ledger.certificate(fingerprint);
    if (known === null) return this.#asked(fingerprint, at);
    try {
      return this.#judged(known, fingerprint, at);
    } catch (error) {
      if (!(error instanceof ChatError) || error.code !== 'BAD_CERT') throw error;
      return this.#asked(fingerprint, at).catch((again: unknown) => {
        throw ChatError.from(again).code === 'NOT_FOUND' ? error : again;
      });
    }
  }
  /** Whether it is still valid is the server's to know; that this authority gave it to this person must be true at any time. */
  async of(device: Fingerprint): Promise<Judged> {
    const known = this.#vault.ledger.certificate(device);
    return known === null ? this.#asked(device) : this.validAt(device, parseCertificate(known[0]!).notBefore);
  }
  /** SHA-256 of the key that a device's certificate is for. @throws as validAt() */
  async keyHash(device: Fingerprint): Promise<Uint8Array> {
    return (await this.of(device)).leaf.spkiHash;
  }
  /** Certificates that this profile does not have, many at a time; what does not hold is not kept, and is named by who asks for it next. */
  async fetch(devices: readonly Fingerprint[]): Promise<ReadonlyMap<string, Judged>> {
    const { ledger } = this.#vault;
    const missing = devices.filter((device) => ledger.certificate(device) === null);
    const chains = await inParallel(missing, ASKED_AT_ONCE, async (fingerprint) => {
      const { chain } = await this.#requester.request({ type: 'certificate_get', fingerprint }, 'certificate');
      return { fingerprint, chain };
    });
    const good = new Map<string, Judged>();
    this.#vault.transaction(() => {
      for (const { fingerprint, chain } of chains)
        try {
          good.set(hex(fingerprint), this.#judged(chain, fingerprint));
          ledger.addCertificate(fingerprint, chain);
        } catch (error) {
          if (!(error instanceof ChatError) || !isFalse(error)) throw error;
        }
    });
    return good;
  }

  async #asked(fingerprint: Fingerprint, at?: number): Promise<Judged> {
    const { chain } = await this.#requester.request({ type: 'certificate_get', fingerprint }, 'certificate');
    const judged = this.#judged(chain, fingerprint, at);
    this.#vault.ledger.addCertificate(fingerprint, chain);
    return judged;
  }
  /** @param at left out: whenever it began to be valid */
  #judged(ders: readonly Uint8Array[], fingerprint: Fingerprint, at?: number): Judged {
    if (!equal(sha256(ders[0]!), fingerprint))
      throw new ChatError('SIG_FAIL', 'the server answered with another certificate than asked for', {
        sub: 'fingerprint',
      });
    const [leaf, ...others] = ders.map(parseCertificate) as [Certificate, ...Certificate[]];
    const { roots } = this.#own;
    const intermediates = [...others, ...this.#own.intermediates];
    const purpose = 'clientAuth' as const;
    validatePath({ leaf, intermediates, roots, crls: [], at: at ?? leaf.notBefore, purpose, revocation: 'at-signing' });
    return { leaf, username: identityOf(leaf).username };
  }
}

const isFalse = ({ code }: ChatError): boolean => code === 'BAD_CERT' || code === 'SIG_FAIL';
