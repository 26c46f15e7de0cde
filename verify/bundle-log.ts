/** One log of a bundle: who vouches for its key, and whether all its checkpoints that the bundle holds are of one history. */
import { hex, same, utf8, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { isSignedBy } from '../base/signature.ts';
import { openCheckpoint, type Checkpoint, type LogKeys } from '../transcript/checkpoint.ts';
import { openKeyStatement, parseKeyStatement, parseOrigin, type KeyStatement } from '../transcript/key-statement.ts';
import { formatVkey, parseNote, type Note, type VerifierKey } from '../transcript/note.ts';
import { followersOf, tiedTo, type Takeover } from '../transcript/takeovers.ts';
import { audienceOf } from '../transcript/statement.ts';
import { matchesServerName } from '../x509/server-name.ts';
import { BundleAttestation } from './bundle-attestation.ts';
import type { CertificateAudit } from './certificate-audit.ts';
import type { FindingCode, Findings } from './finding.ts';
import { ConsistencyFiles, largestIn, type Largest } from './consistency-files.ts';
import type { OutsideAudit } from './outside.ts';
import { partOf, type Part } from './part.ts';
import { Places } from './places.ts';
import type { Signed, SignaturesAhead } from './signatures-ahead.ts';

/** What a bundle holds of a log, as it is read. */
export class LogFiles {
  readonly folder: string;
  #checkpoint: Buffer | null = null;
  #largest: Largest | null = null;
  /** An answer of a time-stamping authority. */
  stamp: Buffer | null = null;
  /** Key statements and their signatures, by number. */
  readonly statements = new Map<number, Buffer>();
  readonly signatures = new Map<number, Buffer>();
  readonly consistency: ConsistencyFiles;
  takeovers: readonly Takeover[] = [];

  constructor(folder: string) {
    this.folder = folder;
    this.consistency = new ConsistencyFiles(folder);
  }

  get checkpoint(): Buffer | null {
    return this.#checkpoint;
  }
  set checkpoint(note: Buffer | null) {
    this.#checkpoint = note;
    this.#largest = note && largestIn(note);
  }

  /** After the checkpoint, by its name. @throws BAD_FRAME */
  addProof(size: number, bytes: Uint8Array): void {
    this.consistency.add(size, bytes, this.#largest);
  }
}

/** A note that was read, and is judged later. */
export interface ReadNote {
  readonly bytes: Uint8Array;
  readonly note: Part<Note>;
  readonly key: VerifierKey;
  /** The signature of that key, which is on its way to be checked. */
  readonly signed: Signed | null;
  /** Undefined: nobody has asked yet. Null: it was found to be wrong. */
  opened?: Checkpoint | null;
}

/** A statement that its certificate has signed. */
interface Bound {
  readonly certificate: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

export class BundleLog {
  readonly origin: string;
  readonly audience: Hash;
  /** The largest; null: the log did not sign it. */
  readonly checkpoint: Checkpoint | null;
  /** All that it has had; any of them may have signed what is here. */
  readonly #keys: LogKeys;
  readonly #signatures: SignaturesAhead;
  readonly #consistency: ConsistencyFiles;
  readonly #certificates: CertificateAudit;
  readonly #findings: Findings;
  readonly #statements: readonly Bound[];
  readonly #seen: BundleAttestation;
  /** Was a CA behind the key whenever that was asked? Null: it was not asked yet. */
  #wasCovered: boolean | null = null;
  /** The newest: messages of one window have one, and follow each other. */
  #read: ReadNote | null = null;
  /** By size, under this log's name. One for each: a second one is a fork. */
  readonly roots = new Places();

  private constructor(
    read: LogFiles,
    keys: LogKeys,
    statements: readonly Bound[],
    certificates: CertificateAudit,
    findings: Findings,
    signatures: SignaturesAhead,
    outside: OutsideAudit,
  ) {
    this.#signatures = signatures;
    this.#consistency = read.consistency;
    this.#certificates = certificates;
    this.#findings = findings;
    this.#statements = statements;
    this.#keys = keys;
    this.origin = keys[0].name;
    this.audience = audienceOf(this.origin);
    const where = `${read.folder}/checkpoint`;
    if (read.checkpoint === null) findings.add('E_FORMAT', where, 'is missing');
    this.checkpoint = read.checkpoint && this.#open(where, this.read(read.checkpoint));
    if (this.checkpoint) this.roots.add(this.origin, this.checkpoint.size, this.checkpoint.root, 0);
    this.#seen = new BundleAttestation(read, this.checkpoint !== null, outside, findings);
  }

  /** Null, and a finding, if it can't be said whose log it is. */
  static open(
    read: LogFiles,
    certificates: CertificateAudit,
    findings: Findings,
    signatures: SignaturesAhead,
    outside: OutsideAudit,
  ): BundleLog | null {
    const bound: KeyStatement[] = [];
    let tied: LogKeys | null = null;
    for (const number of new Set([...read.statements.keys(), ...read.signatures.keys()])) {
      const place = `${read.folder}/key-${String(number).padStart(2, '0')}`;
      const statement = parsed(`${place}.stmt`, read.statements.get(number), findings);
      if (statement === null) continue;
      tied ??= tiedTo(statement.log, read.takeovers);
      if (tied.every((key) => formatVkey(key) !== formatVkey(statement.log)))
        findings.add(
          'E_KEYBIND',
          `${place}.stmt`,
          'the statement is for another key than the one before, which did not agree to it',
        );
      else if (isBound(place, statement, read, number, certificates, findings)) bound.push(statement);
    }
    if (tied !== null) {
      const keys = vouchedFor(tied, bound, read, certificates);
      return new BundleLog(read, keys, bound.map(boundOf), certificates, findings, signatures, outside);
    }
    findings.add('E_FORMAT', read.folder, 'nothing names its key');
    return null;
  }

  /** A CA stands behind its key: what it contradicts itself in, a server has done. */
  get isVouched(): boolean {
    return this.#wasCovered === true;
  }

  /** Whether parties outside the server vouch for its largest checkpoint. */
  get attested(): Pick<BundleAttestation, 'isCosigned' | 'isStamped' | 'isDated'> {
    return this.#seen;
  }

  /** Takes a note apart, and has its signature checked before checkpointOf() asks for it. */
  read(bytes: Uint8Array): ReadNote {
    if (this.#read !== null && same(this.#read.bytes, bytes)) return this.#read;
    const note = partOf(bytes, parseNote);
    const key = this.#signerOf(note.value);
    const line = note.value?.signatures.find(({ name, keyId }) => name === key.name && keyId === key.keyId);
    const signed = line ? this.#signatures.offer(key.publicKey, utf8(note.value!.text), line.signature) : null;
    return (this.#read = { bytes, note, key, signed });
  }

  /** A checkpoint that a message is proven under, and its tie to the largest one. Null, and a finding, if the log did not sign it. */
  checkpointOf(where: string, read: ReadNote): Checkpoint | null {
    if (read.opened !== undefined) return read.opened;
    const found = this.#open(where, read);
    if (found) this.#tie(where, found);
    return found;
  }

  /** One that the caller holds from elsewhere. */
  known(where: string, note: Uint8Array): void {
    const found = this.#open(where, this.read(note));
    if (!found) return;
    const row = this.roots.find(this.origin, found.size);
    if (row !== undefined) return this.#compare(where, found, row);
    this.roots.add(this.origin, found.size, found.root, 0); // for the next one that the caller holds, and for the other bundle
    this.#find('W_UNLINKED', where, `no checkpoint of size ${found.size} in the bundle to compare it with`);
  }

  /** No message was there after witnesses or an authority had seen the largest checkpoint, which covers it. */
  checkTime(where: string, serverTime: number): void {
    this.#seen.checkTime(where, serverTime);
  }

  /** Whether a server certificate that was good at this time vouches for the log key at this time. What speaks against it is found once. */
  checkCoverage(where: string, at: number): boolean {
    const candidates = this.#statements.filter(({ notBefore, notAfter }) => notBefore <= at && at <= notAfter);
    const good = candidates.find((c) => !this.#certificates.judge(where, c.certificate, at, 'serverAuth').fault);
    this.#wasCovered = (this.#wasCovered ?? true) && good !== undefined;
    if (good !== undefined) return true;
    const [first] = candidates;
    if (first) this.#certificates.check(where, first.certificate, at, 'serverAuth');
    else if (this.#statements.length > 0)
      this.#findings.addOnce(this.origin, 'E_KEYBIND', where, 'no statement of the log key covers this time');
    return false;
  }

  #open(where: string, read: ReadNote): Checkpoint | null {
    const { note, key, signed } = read;
    read.opened = null;
    if (note.value === null) this.#find('E_FORMAT', where, note.fault);
    else
      try {
        read.opened = openCheckpoint(note.value, key, ({ publicKey }, text, signature) =>
          signed?.signature === signature
            ? this.#signatures.isGood(signed)
            : isSignedBy(publicKey, utf8(text), signature),
        );
      } catch (error) {
        const { code, message } = ChatError.from(error);
        if (code === 'INTERNAL') throw error;
        this.#find(code === 'SIG_FAIL' ? 'E_CKPT_SIG' : 'E_FORMAT', where, message);
      }
    return read.opened;
  }

  /** Of the keys that the log has had, one that the note names; the newest if it names none. */
  #signerOf(note: Note | null): VerifierKey {
    if (this.#keys.length === 1 || note === null) return this.#keys[0];
    const signers = new Set(note.signatures.map(({ keyId }) => keyId));
    return this.#keys.find(({ keyId }) => signers.has(keyId)) ?? this.#keys[0];
  }

  /** To the largest checkpoint, by a proof that the server made. */
  #tie(where: string, found: Checkpoint): void {
    const { size, root } = found;
    const other = this.roots.find(this.origin, size);
    if (other !== undefined) return this.#compare(where, found, other);
    this.roots.add(this.origin, size, root, 0);
    const newest = this.checkpoint;
    if (newest === null) return;
    if (size > newest.size)
      return this.#find(
        'E_CONSISTENCY',
        where,
        'a larger checkpoint than that of the bundle, which is to be the largest',
      );
    const isPrefix = this.#consistency.isPrefix(found, newest);
    if (isPrefix === undefined) this.#seen.misses(where);
    if (isPrefix === undefined)
      return this.#findings.addOnce(
        this.origin,
        'W_UNLINKED',
        where,
        'nothing shows that this checkpoint and the largest one are of one history',
      );
    if (!isPrefix)
      this.#find(
        'E_CONSISTENCY',
        this.#consistency.nameOf(size),
        'does not lead from the older checkpoint to the largest',
      );
  }

  #compare(where: string, { size, root }: Checkpoint, other: number): void {
    const code = this.isVouched ? 'E_FORK' : 'E_CONSISTENCY'; // a key of anybody's proves nothing against a server
    if (!this.roots.isAt(other, root)) this.#find(code, where, `the server signed two histories of ${size} entries`);
  }

  #find(code: FindingCode, where: string, message: string): void {
    this.#findings.add(code, where, message);
  }
}

function parsed(where: string, text: Buffer | undefined, findings: Findings): KeyStatement | null {
  try {
    if (text !== undefined) return parseKeyStatement(text);
    findings.add('E_FORMAT', where, 'is missing');
  } catch (error) {
    const { code, message } = ChatError.from(error);
    if (code === 'INTERNAL') throw error;
    findings.add('E_FORMAT', where, message);
  }
  return null;
}

/** Whether the certificate that the statement names has signed it, and is that of the log's host. */
function isBound(
  place: string,
  { serverCertificate, log }: KeyStatement,
  read: LogFiles,
  number: number,
  certificates: CertificateAudit,
  findings: Findings,
): boolean {
  const certificate = certificates.certificate(hex(serverCertificate));
  const signature = read.signatures.get(number);
  if (signature === undefined) findings.add('E_FORMAT', `${place}.sig`, 'is missing');
  else if (certificate === undefined)
    findings.add('E_KEYBIND', `${place}.stmt`, 'the bundle has no certificate of the server that vouches for the key');
  else if (!matchesServerName(certificate, parseOrigin(log.name).host))
    findings.add('E_KEYBIND', `${place}.stmt`, 'the server certificate is for another host than the log');
  else {
    try {
      openKeyStatement(read.statements.get(number)!, signature, certificate.publicKey);
      return true;
    } catch (error) {
      const { code, message } = ChatError.from(error);
      if (code === 'INTERNAL') throw error;
      findings.add('E_KEYBIND', `${place}.sig`, message);
    }
  }
  return false;
}

/**
 * Of keys that are tied to each other, those behind which a server stands: a certificate that was good has signed a statement for them, or that
 * they were replaced, or a key of these has agreed to them. Any other says of itself alone that it was the log's.
 */
function vouchedFor(
  tied: LogKeys,
  bound: readonly KeyStatement[],
  { folder, takeovers }: LogFiles,
  certificates: CertificateAudit,
): LogKeys {
  if (tied.length === 1) return tied; // who vouches for it is asked at the time of each message
  const isGood = ({ certificate, notBefore, notAfter }: Bound): boolean =>
    certificates.isEverGood(folder, certificate, 'serverAuth', notBefore, notAfter);
  const named = bound
    .filter((statement) => isGood(boundOf(statement)))
    .flatMap(({ log, previous }) => (previous?.name === log.name ? [log, previous] : [log]));
  const [one = tied[0], ...more] = named;
  const vouched = new Set(followersOf([one, ...more], takeovers).map((key) => formatVkey(key)));
  const [first = one, ...others] = tied.filter((key) => vouched.has(formatVkey(key)));
  return [first, ...others];
}

const boundOf = ({ serverCertificate, notBefore, notAfter }: KeyStatement): Bound => ({
  certificate: hex(serverCertificate),
  notBefore,
  notAfter,
});
