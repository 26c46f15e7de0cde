/**
 * The server's certificate and the authorities whose clients it believes, while it runs: both are read again when the operator says so. A
 * certificate is shown to clients when it vouches for the log, and not before. While nothing new may be signed, that waits.
 */
import { equal, hex } from '../base/bytes.ts';
import type { LoadedServerConfig } from '../runtime/config.ts';
import { errorFields, type Log } from '../runtime/log.ts';
import type { Authorities, Credentials } from '../runtime/tls.ts';
import { readTls } from './configuration.ts';
import type { CrlHistory } from './crl-history.ts';
import type { Listener } from './listener.ts';
import { serverIdentity } from './log/identity.ts';
import type { TranscriptLog } from './log/log.ts';
import type { Revocation } from './revocation.ts';
import type { Sequencer } from './sequencer.ts';

export interface RenewalOptions {
  readonly config: LoadedServerConfig;
  /** what the server has begun with */
  readonly own: Credentials;
  readonly authorities: Authorities;
  readonly listener: Listener;
  readonly revocation: Revocation;
  readonly transcript: TranscriptLog;
  readonly sequencer: Sequencer;
  readonly crls: CrlHistory;
  readonly log: Log;
  readonly now: () => number;
  /** what could not be finished when the files were read can be now: they are to be read again */
  readonly onDue: () => void;
}

export class Renewal {
  readonly #o: RenewalOptions;
  #own: Credentials;
  #authorities: Authorities;
  #isHeld = false;
  /** Files were to be read again meanwhile. */
  #isDue = false;

  constructor(options: RenewalOptions) {
    this.#o = options;
    this.#own = options.own;
    this.#authorities = options.authorities;
  }

  /** That clients are shown. */
  get own(): Credentials {
    return this.#own;
  }

  /** No batches for so long, until clients have shown what they hold; then the certificate vouches for the log anew. @returns ends the wait */
  hold(heldMs: number): () => void {
    const { transcript, sequencer, log } = this.#o;
    this.#isHeld = true;
    const held = { size: transcript.size, ms: Math.ceil(heldMs) };
    // Who had it rotated may think that the key before is out of use.
    if (transcript.certification.isTakeoverDue) log.warn('transcript.held', { ...held, reason: 'rotate' });
    else log.info('transcript.held', held);
    sequencer.hold();
    const timer = setTimeout(() => void this.#goOn(), heldMs + 10); // a timer may be early
    return () => clearTimeout(timer);
  }

  async #goOn(): Promise<void> {
    const { sequencer, crls, log, onDue } = this.#o;
    try {
      await sequencer.vouch(serverIdentity(this.#own));
      await crls.flush();
    } catch (error) {
      log.warn('transcript.failed', errorFields(error));
    }
    this.#isHeld = false;
    sequencer.release();
    if (this.#isDue) onDue();
  }

  /** @throws as readTls(), and Sequencer.vouch(): then all is as it was, but for the authorities */
  async readAgain(): Promise<void> {
    const { config, listener, revocation, sequencer, crls, log, now } = this.#o;
    const { own, authorities } = readTls(config, now());
    this.#authorities = authorities;
    listener.renew(this.#own, authorities);
    revocation.renew(authorities);
    if (this.#isHeld) return void (this.#isDue = true); // the rest is entries of the log
    await crls.flush();
    if (equal(own.chain[0].fingerprint, this.#own.chain[0].fingerprint)) return;
    // Nobody is shown a certificate that does not vouch for the log yet.
    await sequencer.vouch(serverIdentity(own));
    this.#own = own;
    listener.renew(own, this.#authorities);
    revocation.watchOwn(own.chain[0]);
    log.info('certificate.renewed', { subject: own.chain[0].subject.text, fingerprint: hex(own.chain[0].fingerprint) });
  }
}
