/**
 * Who vouches for the log's key, and how another key takes over from it: each is a CERT and a KEY leaf, an append as any other. It also
 * keeps in mind what of that is in the log, and what is not yet beside it.
 */
import { hex, utf8, type Fingerprint } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { parseKeyStatement } from '../../transcript/key-statement.ts';
import type { Certificate } from '../../x509/certificate.ts';
import { disk, diskError } from './files.ts';
import {
  identityEntries,
  identityIn,
  issueIdentity,
  readIdentity,
  serverCertificate,
  writeIdentity,
  type LogIdentity,
  type ServerIdentity,
} from './identity.ts';
import { takeoverIn } from './key-succession.ts';
import type { TranscriptLog } from './log.ts';
import type { LogOptions } from './options.ts';
import type { Signer } from './signer.ts';

export class Certification {
  readonly #log: TranscriptLog;
  readonly #signer: Signer;
  readonly #options: LogOptions;
  /** The newest statement, and each that this process knows to be in the log, by its certificate's fingerprint. */
  #newest: LogIdentity | null = null;
  readonly #logged = new Map<string, LogIdentity>();
  /** Each window asks. */
  #coverage: { readonly of: LogIdentity; readonly until: number } | null = null;
  /** In the log, and not yet beside it: `key.stmt` follows the checkpoint that covers it. */
  #unwritten: LogIdentity | null = null;

  constructor(log: TranscriptLog, signer: Signer, options: LogOptions) {
    this.#log = log;
    this.#signer = signer;
    this.#options = options;
  }

  /** Looks for the statement of this certificate and the log's key, beside the log and among its last entries. @throws the disk's error */
  async find(certificate: Certificate, entries: readonly Uint8Array[]): Promise<void> {
    const { dir, files = disk } = this.#options;
    const { verifier } = this.#signer;
    const written = await readIdentity(files, dir, verifier, certificate);
    const found = written ?? identityIn(entries, verifier, certificate);
    if (found === null) return;
    this.#logged.set(hex(certificate.fingerprint), found);
    this.#newest = found;
    if (written === null) this.#unwritten = found;
  }

  /** @throws INTERNAL before certify() */
  get identity(): LogIdentity {
    if (this.#newest === null) throw new ChatError('INTERNAL', 'the log is not certified');
    return this.#newest;
  }
  /** The end of what the newest statement covers, Unix ms; that moment belongs to it. @throws as identity */
  get coveredUntil(): number {
    const { identity } = this;
    if (this.#coverage?.of !== identity)
      this.#coverage = { of: identity, until: parseKeyStatement(utf8(identity.statement)).notAfter };
    return this.#coverage.until;
  }
  /** What this server certificate vouches with; of one that it does not know, what the newest does. @throws as identity */
  identityOf(certificate: Fingerprint): LogIdentity {
    return this.#logged.get(hex(certificate)) ?? this.identity;
  }
  /** Of entries in the log; its files are for the next publication to write. */
  get unwritten(): LogIdentity | null {
    return this.#unwritten;
  }

  /**
   * Sees to it that the server's present certificate vouches for the log key: if it is new, a CERT and a KEY leaf are appended. Not part
   * of opening the log, for first whatever has been applied elsewhere and is not in the recovered log must be forgotten, or these leaves
   * would stand in its place unnoticed. While the log is held the statement is only made, and `vouch` appends it later.
   * @throws as TranscriptLog.append()
   */
  async certify(): Promise<void> {
    const { origin, serverChain: chain, serverPrivateKey: privateKey } = this.#options;
    if (this.#newest === null && this.#log.heldMs > 0)
      this.#newest = issueIdentity(this.#signer.verifier, serverCertificate(origin, chain, privateKey), privateKey);
    else if (this.#newest === null) await this.vouch({ chain, privateKey });
    await this.#log.publish();
  }

  /**
   * Another server certificate vouches for the log key from now on: a CERT and a KEY leaf are appended, unless it has done so before.
   * One at a time, as all appends. Files follow with the next publication.
   * @throws BAD_CERT, CONFIG_INVALID for a certificate that can't vouch for this log; as TranscriptLog.append()
   */
  async vouch({ chain, privateKey }: ServerIdentity): Promise<void> {
    const { origin, succession } = this.#options;
    const certificate = serverCertificate(origin, chain, privateKey);
    let identity = this.#logged.get(hex(certificate.fingerprint));
    if (identity === undefined) {
      identity = issueIdentity(this.#signer.verifier, certificate, privateKey, succession?.recovery);
      const time = this.#time();
      await this.#log.append({ time, entries: identityEntries(identity, chain, time, succession?.previousKey) });
    }
    this.#keep(certificate, identity);
  }

  /** Whether a key was prepared, and has not taken over yet. @throws CONFIG_INVALID, UNSAFE_FILE */
  get isTakeoverDue(): boolean {
    return this.#signer.prepared() !== null;
  }

  /**
   * Lets the key take over that was prepared, if there is one: a CERT and a KEY leaf are appended, which both keys have signed, and the
   * new one signs from there on. One at a time, as all appends.
   * @throws BAD_CERT, CONFIG_INVALID, UNSAFE_FILE; as TranscriptLog.append()
   */
  async takeOver({ chain, privateKey }: ServerIdentity): Promise<boolean> {
    const { origin, succession } = this.#options;
    const next = this.#signer.prepared();
    if (next === null) return false;
    const certificate = serverCertificate(origin, chain, privateKey);
    const { key, verifier } = this.#signer;
    const identity = issueIdentity(next.verifier, certificate, privateKey, succession?.recovery, verifier);
    const time = this.#time();
    const entries = identityEntries(identity, chain, time, key);
    const after = this.#log.size + entries.length;
    await this.#log.append({ time, entries }, next);
    const takeover = takeoverIn(entries.at(-1), after, next.key, origin);
    if (takeover === null) throw new ChatError('INTERNAL', 'a takeover that is none');
    try {
      await this.#signer.install(takeover);
    } catch (error) {
      throw this.#log.halt(diskError(error, 'putting the new key in its place'));
    }
    this.#logged.clear(); // they vouch for the key before
    this.#keep(certificate, identity);
    return true;
  }

  /** Only when the published checkpoint covers its entry. @throws the disk's error */
  async write(identity: LogIdentity): Promise<void> {
    const { dir, files = disk } = this.#options;
    await writeIdentity(files, dir, identity);
    if (this.#unwritten === identity) this.#unwritten = null; // else another has come meanwhile
  }

  #time(): number {
    return Math.max(this.#options.now(), this.#log.time);
  }

  #keep(certificate: Certificate, identity: LogIdentity): void {
    this.#logged.set(hex(certificate.fingerprint), identity);
    this.#newest = identity;
    this.#unwritten = identity;
  }
}
