/**
 * Whose devices this profile has met in groups, and word for the person of those that are new, have another certificate or authority, or are out.
 */
import { equal, hex, utf8, type Fingerprint } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import type { Bindings } from './bindings.ts';
import { readBinding } from './e2ee/binding.ts';
import type { Member } from './e2ee/sketch.ts';
import type { ClientIdentity } from './identity.ts';
import { seenCertificates } from './marks.ts';
import { isSameIdentity } from './renewal.ts';
import type { Vault } from './vault.ts';

export class Acquaintances {
  readonly #vault: Vault;
  readonly #own: ClientIdentity;
  readonly #bindings: Bindings;
  readonly #now: () => number;

  constructor(vault: Vault, own: ClientIdentity, bindings: Bindings, now: () => number) {
    this.#vault = vault;
    this.#own = own;
    this.#bindings = bindings;
    this.#now = now;
  }

  /**
   * Remembers devices, and leaves word of those that are new; inside a transaction. Whoever is met for the first time has no new ones; but of one's
   * own devices the first is this one.
   */
  meet(devices: readonly Member[]): void {
    const { keys, notices } = this.#vault;
    const strangers = new Set<string>();
    for (const { user, deviceId, certificate, bindingHash } of devices) {
      const { mlsKey, certificate: der } = readBinding(this.#bindings.of(bindingHash));
      const meeting = keys.meet(user, deviceId, certificate, mlsKey);
      if (meeting === 'known') continue;
      const found = parseCertificate(der);
      const issuer = found.issuer.text;
      const isNewIssuer = keys.meetIssuer(user, issuer) === 'new';
      const isOwn = user === this.#own.username;
      if (meeting === 'first' && !isOwn) strangers.add(user);
      if (strangers.has(user) || equal(certificate, this.#own.fingerprint)) continue;
      if (isOwn && meeting === 'renewed') this.#inherit(deviceId, found);
      const now = this.#now();
      const which = shortName(certificate);
      const whose = isOwn ? 'of yours' : `of ${user}`;
      if (meeting === 'renewed') notices.add(now, `a device ${whose} has a new certificate (${which})`);
      else notices.add(now, isOwn ? `you use another device (${which})` : `${user} uses a new device (${which})`);
      if (isNewIssuer) notices.add(now, `a certificate ${whose} is issued by another authority than before: ${issuer}`);
      const over = seenCertificates(this.#vault, user, [found], false, now);
      if (over !== null) notices.add(now, over);
    }
  }

  /**
   * Leaves word of devices that are in a group no more, of people who have others in it; inside a transaction. Such a device goes out of one group
   * after the other, and that is told once. @param after who is in it now
   */
  parted(gone: readonly Member[], after: readonly Member[]): void {
    for (const { user, deviceId, certificate } of gone) {
      const theirs = after.filter((each) => each.user === user);
      const isHere = theirs.some((each) => equal(each.deviceId, deviceId) || equal(each.certificate, certificate));
      if (theirs.length === 0 || isHere || equal(certificate, this.#own.fingerprint)) continue;
      const whose = user === this.#own.username ? 'of yours' : `of ${user}`;
      const text = `a device ${whose} is out: it is revoked, or has expired (${shortName(certificate)})`;
      this.#vault.notices.add(this.#now(), text, sha256(utf8('out '), certificate));
    }
  }

  /** What was decided about a device of this user holds when it goes on with another certificate. */
  #inherit(deviceId: Uint8Array, certificate: Certificate): void {
    const { keys, handovers, ledger } = this.#vault;
    const isEarlier = (approved: Uint8Array): boolean => {
      const [der] = ledger.certificate(approved as Fingerprint) ?? [];
      const isMet = keys.hasMet(this.#own.username, deviceId, approved);
      return isMet && der !== undefined && isSameIdentity(parseCertificate(der), certificate);
    };
    handovers.inherit(certificate.fingerprint, isEarlier, this.#now());
  }
}

const shortName = (certificate: Uint8Array): string => `certificate ${hex(certificate).slice(0, 16)}…`;
