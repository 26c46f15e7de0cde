/** One log of a bundle: who vouches for its key, and whether all its checkpoints that the bundle holds are of one history. */
import { equal, hex, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { parseConsistency } from '../transcript/bundle.ts';
import { openCheckpoint, type Checkpoint } from '../transcript/checkpoint.ts';
import { openKeyStatement, parseKeyStatement, parseOrigin, type KeyStatement } from '../transcript/key-statement.ts';
import { isConsistent } from '../transcript/merkle.ts';
import { audienceOf } from '../transcript/statement.ts';
import { matchesServerName } from '../x509/server-name.ts';
import type { CertificateAudit } from './certificate-audit.ts';
import type { FindingCode, Findings } from './finding.ts';

interface Proof {
  readonly where: string;
  readonly path: readonly Hash[];
  readonly note: string;
}

/** What a bundle holds of a log, as it is read. */
export class LogFiles {
  readonly folder: string;
  readonly files = new Map<string, Buffer>();
  readonly proofs = new Map<number, Proof>();

  constructor(folder: string) {
    this.folder = folder;
  }

  /** @throws BAD_FRAME */
  addProof(where: string, size: number, bytes: Uint8Array): void {
    const { from, proof, checkpoint } = parseConsistency(bytes);
    if (from !== size) throw new ChatError('BAD_FRAME', 'is for another size than its name');
    this.proofs.set(size, { where, path: proof, note: digestOf(checkpoint) });
  }
}

export class BundleLog {
  readonly origin: string;
  readonly audience: Hash;
  /** The largest; null: the log did not sign it. */
  readonly checkpoint: Checkpoint | null;
  readonly statement: KeyStatement;
  /** A CA stands behind its key, as far as was asked: what it contradicts itself in, a server has done. */
  isVouched = true;
  readonly #folder: string;
  readonly #note: string;
  readonly #proofs: ReadonlyMap<number, Proof>;
  readonly #certificates: CertificateAudit;
  readonly #findings: Findings;
  /** By digest of the note; null: it was found to be wrong. */
  readonly #opened = new Map<string, Checkpoint | null>();
  /** One for each size: a second one is a fork. */
  readonly #roots = new Map<number, Hash>();

  private constructor(read: LogFiles, statement: KeyStatement, certificates: CertificateAudit, findings: Findings) {
    this.#folder = read.folder;
    this.#proofs = read.proofs;
    this.#certificates = certificates;
    this.#findings = findings;
    this.statement = statement;
    this.origin = statement.log.name;
    this.audience = audienceOf(this.origin);
    const note = read.files.get('checkpoint') ?? Buffer.alloc(0);
    this.#note = digestOf(note);
    this.checkpoint = this.#open(`${this.#folder}/checkpoint`, note);
    if (this.checkpoint) this.#roots.set(this.checkpoint.size, this.checkpoint.root);
  }

  /** Null, and a finding, if it can't be said whose log it is. */
  static open(read: LogFiles, certificates: CertificateAudit, findings: Findings): BundleLog | null {
    const where = `${read.folder}/key.stmt`;
    for (const name of ['checkpoint', 'key.sig', 'key.stmt'])
      if (!read.files.has(name)) findings.add('E_FORMAT', `${read.folder}/${name}`, 'is missing');
    const text = read.files.get('key.stmt');
    if (text === undefined) return null;
    try {
      const statement = parseKeyStatement(text);
      const log = new BundleLog(read, statement, certificates, findings);
      log.#checkBinding(where, text, read.files.get('key.sig') ?? Buffer.alloc(0));
      return log;
    } catch (error) {
      const { code, message } = ChatError.from(error);
      if (code === 'INTERNAL') throw error;
      findings.add('E_FORMAT', where, message);
      return null;
    }
  }

  /** Sizes and roots that the log has signed, as far as this bundle shows. */
  get roots(): ReadonlyMap<number, Hash> {
    return this.#roots;
  }

  /** A checkpoint that a message is proven under, and its tie to the largest one. Null, and a finding, if the log did not sign it. */
  checkpointOf(where: string, note: Uint8Array): Checkpoint | null {
    const digest = digestOf(note);
    const known = this.#opened.get(digest);
    if (known !== undefined) return known;
    const found = this.#open(where, note);
    if (found) this.#tie(where, found);
    return found;
  }

  /** One that the caller holds from elsewhere. */
  known(where: string, note: Uint8Array): void {
    const found = this.#open(where, note);
    if (!found) return;
    const root = this.#roots.get(found.size);
    if (root !== undefined) this.#compare(where, found, root);
    else this.#find('W_UNLINKED', where, `no checkpoint of size ${found.size} in the bundle to compare it with`);
  }

  /** Whether a server certificate that was good at this time vouches for the log key at this time. */
  checkCoverage(where: string, at: number): void {
    const { notBefore, notAfter, serverCertificate } = this.statement;
    if (at < notBefore || at > notAfter)
      this.#findings.addOnce(this.origin, 'E_KEYBIND', where, 'the statement of the log key does not cover this time');
    const name = hex(serverCertificate);
    if (this.#certificates.certificate(name) === undefined) return; // found by open()
    if (this.#certificates.check(where, name, at, 'serverAuth').fault) this.isVouched = false;
  }

  #checkBinding(where: string, text: Uint8Array, signature: Uint8Array): void {
    const { serverCertificate, log } = this.statement;
    const certificate = this.#certificates.certificate(hex(serverCertificate));
    if (certificate === undefined)
      return this.#unbound(where, 'the bundle has no certificate of the server that vouches for the log key');
    try {
      openKeyStatement(text, signature, certificate.publicKey);
    } catch (error) {
      const { code, message } = ChatError.from(error);
      if (code === 'INTERNAL') throw error;
      this.#unbound(`${this.#folder}/key.sig`, message);
    }
    if (!matchesServerName(certificate, parseOrigin(log.name).host))
      this.#unbound(where, 'the server certificate is for another host than the log');
  }

  #unbound(where: string, message: string): void {
    this.isVouched = false;
    this.#find('E_KEYBIND', where, message);
  }

  #open(where: string, note: Uint8Array): Checkpoint | null {
    let found: Checkpoint | null = null;
    try {
      found = openCheckpoint(note, this.statement.log);
    } catch (error) {
      const { code, message } = ChatError.from(error);
      if (code === 'INTERNAL') throw error;
      this.#find(code === 'SIG_FAIL' ? 'E_CKPT_SIG' : 'E_FORMAT', where, message);
    }
    this.#opened.set(digestOf(note), found);
    return found;
  }

  /** To the largest checkpoint, by a proof that the server made. */
  #tie(where: string, found: Checkpoint): void {
    const { size, root } = found;
    const other = this.#roots.get(size);
    if (other !== undefined) return this.#compare(where, found, other);
    this.#roots.set(size, root);
    const newest = this.checkpoint;
    if (newest === null) return;
    if (size > newest.size)
      return this.#find(
        'E_CONSISTENCY',
        where,
        'a larger checkpoint than that of the bundle, which is to be the largest',
      );
    const proof = this.#proofs.get(size);
    if (proof === undefined)
      return this.#findings.addOnce(
        this.origin,
        'W_UNLINKED',
        where,
        'nothing shows that this checkpoint and the largest one are of one history',
      );
    if (proof.note !== this.#note || !isConsistent(size, root, newest.size, newest.root, proof.path))
      this.#find('E_CONSISTENCY', proof.where, 'does not lead from the older checkpoint to the largest');
  }

  #compare(where: string, { size, root }: Checkpoint, other: Hash): void {
    const code = this.isVouched ? 'E_FORK' : 'E_CONSISTENCY'; // a key of anybody's proves nothing against a server
    if (!equal(root, other)) this.#find(code, where, `the server signed two histories of ${size} entries`);
  }

  #find(code: FindingCode, where: string, message: string): void {
    this.#findings.add(code, where, message);
  }
}

const digestOf = (note: Uint8Array): string => hex(sha256(note));
