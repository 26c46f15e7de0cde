/**
 * The files of an evidence bundle, in the order of the archive, and what is judged as soon as the last file that it needs is there: the seal with
 * the certificates, each log with its files, the messages one by one. docs/TRANSCRIPT.md §f.
 */
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256Hex } from '../base/hash.ts';
import { algorithmOf, CONTEXT, verify } from '../base/signature.ts';
import {
  MAX_BUNDLE_CERTIFICATES,
  parseHead,
  type BundleHead,
  type BundleName,
  type MessageFile,
} from '../transcript/bundle.ts';
import { parseOrigin } from '../transcript/key-statement.ts';
import { parseTakeovers } from '../transcript/takeovers.ts';
import type { ArchivedFile } from '../transcript/ustar.ts';
import { parsePem, type Certificate } from '../x509/certificate.ts';
import { EKU } from '../x509/extensions.ts';
import { matchesServerName } from '../x509/server-name.ts';
import type { AuditedBundle, BundleOptions } from './bundle.ts';
import { BundleCrls } from './bundle-crls.ts';
import { BundleLog, LogFiles } from './bundle-log.ts';
import { BundleMessages, type JudgedMessage } from './bundle-messages.ts';
import { SumList } from './bundle-sums.ts';
import { CertificateAudit, MAX_INTERMEDIATES, type Trust } from './certificate-audit.ts';
import type { CheckName } from './checks.ts';
import type { FindingCode, Findings } from './finding.ts';
import { originIn } from './message-files.ts';
import { OutsideAudit } from './outside.ts';
import type { SignaturesAhead } from './signatures-ahead.ts';

/** A thread pays from a thousand files on. */
const LARGE_SUMS_BYTES =
  1000 * '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef  msg/000001/entry\n'.length;

/** Only for servers: whoever's certificate is for both speaks as a member. */
const isForServers = ({ extKeyUsage = [] }: Certificate): boolean =>
  extKeyUsage.includes(EKU.serverAuth) && !extKeyUsage.includes(EKU.clientAuth);

/** Of the intermediates of all certificates, those that may be on a path from this one, as many as are kept. @param named by subject */
function above(own: Certificate, named: ReadonlyMap<string, readonly Certificate[]>): Certificate[] {
  const found = new Set([own]);
  for (const below of found) {
    for (const ca of named.get(hex(below.issuer.der))?.slice(0, MAX_INTERMEDIATES) ?? []) found.add(ca);
    if (found.size > MAX_INTERMEDIATES) break;
  }
  found.delete(own);
  return [...found];
}

/** A message whose files are still coming. */
interface OpenMessage {
  readonly number: number;
  readonly files: Map<MessageFile, Buffer>;
  /** Nothing was found against the files as such. */
  isSound: boolean;
}

export class BundleAudit {
  readonly #trust: Trust;
  readonly #findings: Findings;
  readonly #options: BundleOptions;
  readonly #signatures: SignaturesAhead;
  #head: BundleHead | null = null;
  #headDigest: string | null = null;
  #sums: Buffer | null = null;
  #list: SumList | null = null;
  #seal: Buffer | null = null;
  readonly #certificates = new Map<string, Certificate>();
  readonly #intermediates: Certificate[] = [];
  readonly #crls: BundleCrls;
  #audit: CertificateAudit | null = null;
  #isByServer = false;
  #isSealJudged = false;
  readonly #logFiles = new Map<number, LogFiles>();
  readonly #logs = new Map<string, BundleLog>();
  #messages: BundleMessages | null = null;
  #open: OpenMessage | null = null;

  constructor(trust: Trust, findings: Findings, options: BundleOptions, signatures: SignaturesAhead) {
    this.#signatures = signatures;
    this.#trust = trust;
    this.#findings = findings;
    this.#crls = new BundleCrls(findings);
    this.#options = options;
  }

  /** @param file what its name says that it is */
  file({ name, bytes, faults }: ArchivedFile, file: BundleName | null): void {
    const before = this.#findings.errors;
    for (const fault of faults) this.#find('E_FORMAT', name, fault);
    if (file?.is !== 'sums' && file?.is !== 'seal') this.#checkSum(name, sha256Hex(bytes));
    if (file === null) return this.#find('E_FORMAT', name, 'is no file of a bundle');
    const isSound = this.#findings.errors === before;
    try {
      this.#take(file, name, bytes);
    } catch (error) {
      const { code, message } = ChatError.from(error);
      if (code === 'INTERNAL') throw error;
      this.#find('E_FORMAT', name, message);
    }
    if (this.#open && !isSound) this.#open.isSound = false;
  }

  end(): AuditedBundle {
    const messages = this.#closeLogs();
    this.#closeMessage();
    messages.end();
    this.#list?.end();
    const { count, receipts } = messages;
    if (this.#list === null) this.#find('E_SUMS', 'SHA256SUMS', 'is missing');
    if (this.#head === null && this.#headDigest === null) this.#find('E_FORMAT', 'BUNDLE', 'is missing');
    if (this.#head && this.#head.messages !== count)
      this.#find('E_TRUNCATED', 'BUNDLE', `${this.#head.messages} messages are announced, and ${count} are here`);
    if (this.#options.requiresReceipts) receipts.require();
    if (count === receipts.count) this.#find('W_EMPTY', 'BUNDLE', 'no message in it: nothing was proven');
    for (const { name, note } of this.#options.known ?? []) this.#known(name, note);
    this.#authorities().end();
    return {
      head: this.#head,
      exporterRole: this.#isByServer ? 'server' : 'member',
      logs: [...this.#logs.values()],
      certificates: this.#authorities(),
      messages: count - receipts.count,
      receipts: receipts.count,
      receiptsOf: receipts.receipts,
      disclosed: messages.disclosed,
      batches: messages.batches,
      senders: messages.signers,
      firstTime: messages.firstTime,
      lastTime: messages.lastTime,
      stated: messages.stated,
      placed: messages.placed,
      unmade: this.#unmade(messages),
    };
  }

  #unmade(messages: BundleMessages): ReadonlySet<CheckName> {
    const unmade = new Set(messages.unmade);
    if (!this.#isSealJudged) unmade.add('seal').add('certificates');
    if ([...this.#logs.values()].some(({ checkpoint }) => checkpoint === null)) unmade.add('checkpoints');
    return unmade;
  }

  /** @throws BAD_FRAME, BAD_CERT */
  #take(file: BundleName, name: string, bytes: Buffer): void {
    switch (file.is) {
      case 'head':
        this.#head = parseHead(bytes);
        return;
      case 'sums':
        this.#sums = bytes;
        this.#list = new SumList(bytes, this.#findings);
        if (bytes.length > LARGE_SUMS_BYTES && this.#options.threads !== 1) this.#signatures.start();
        if (this.#headDigest !== null) this.#list.check('BUNDLE', this.#headDigest);
        return;
      case 'seal':
        this.#seal = Buffer.from(bytes);
        return;
      case 'certificate':
        return this.#certificate(file.fingerprint, name, bytes);
      case 'chain':
        this.#intermediates.push(...this.#within(parsePem(Buffer.from(bytes).toString('latin1'))));
        return;
      case 'crl':
        return this.#crls.take(file.number, 'pem', name, Buffer.from(bytes));
      case 'crl_entry':
        return this.#crls.take(file.number, 'entry', name, bytes);
      case 'crl_proof':
        return this.#crls.take(file.number, 'tlog-proof', name, bytes);
      case 'checkpoint':
      case 'stamp':
      case 'takeovers':
      case 'statement':
      case 'statement_sig':
      case 'consistency': {
        this.#authorities();
        if (this.#messages !== null) return; // out of order: told already
        const log = this.#logFiles.get(file.number) ?? new LogFiles(name.slice(0, 'log/01'.length));
        this.#logFiles.set(file.number, log);
        if (file.is === 'checkpoint') log.checkpoint = Buffer.from(bytes);
        else if (file.is === 'stamp') log.stamp = Buffer.from(bytes);
        else if (file.is === 'statement') log.statements.set(file.key, Buffer.from(bytes));
        else if (file.is === 'statement_sig') log.signatures.set(file.key, Buffer.from(bytes));
        else if (file.is === 'takeovers') log.takeovers = parseTakeovers(bytes);
        else if (file.is === 'consistency') log.addProof(file.size, bytes);
        return;
      }
      case 'message':
        this.#closeLogs();
        if (this.#open?.number !== file.number) {
          this.#closeMessage();
          this.#open = { number: file.number, files: new Map(), isSound: true };
        }
        this.#open.files.set(file.file, bytes);
    }
  }

  #checkSum(name: string, digest: string): void {
    if (this.#list === null && name === 'BUNDLE') this.#headDigest = digest;
    else this.#list?.check(name, digest);
  }

  #certificate(fingerprint: string, name: string, bytes: Buffer): void {
    const [own, ...more] = parsePem(Buffer.from(bytes).toString('latin1'));
    if (more.length > 0 || hex(own!.fingerprint) !== fingerprint)
      return this.#find('E_FORMAT', name, 'is not the one certificate of this fingerprint');
    this.#within([own!]);
    this.#certificates.set(fingerprint, own!);
  }

  #within(more: readonly Certificate[]): readonly Certificate[] {
    if (this.#certificates.size + this.#intermediates.length + more.length > MAX_BUNDLE_CERTIFICATES)
      throw new ChatError('BAD_FRAME', `more than ${MAX_BUNDLE_CERTIFICATES} certificates`);
    return more;
  }

  /** All certificates and lists have been read, and so the seal can be judged. */
  #authorities(): CertificateAudit {
    if (this.#audit) return this.#audit;
    const crls = [...this.#trust.crls, ...this.#crls.names.keys()];
    this.#audit = new CertificateAudit({ ...this.#trust, crls, names: this.#crls.names }, this.#findings);
    const named = Map.groupBy(this.#intermediates, ({ subject }) => hex(subject.der));
    for (const certificate of this.#certificates.values()) this.#audit.add(certificate, above(certificate, named));
    if (this.#head) this.#checkSeal(this.#audit, this.#head);
    return this.#audit;
  }

  #checkSeal(audit: CertificateAudit, { exporter, created }: BundleHead): void {
    const where = 'SHA256SUMS.sig';
    const name = hex(exporter);
    const own = audit.certificate(name);
    if (own === undefined)
      return this.#find('E_CERT_UNKNOWN', 'BUNDLE', 'the bundle has no certificate of its exporter');
    if (this.#sums === null) return;
    this.#isSealJudged = true;
    const signature = this.#seal ?? Buffer.alloc(0);
    if (!verify(own.publicKey, algorithmOf(own.publicKey), CONTEXT.bundle, this.#sums, signature))
      this.#find('E_BUNDLE_SIG', where, 'the exporter did not seal these files');
    this.#isByServer = isForServers(own);
    audit.check(where, name, created, this.#isByServer ? 'serverAuth' : 'clientAuth');
  }

  /** A server may export what it logs itself, and nothing of others. */
  #checkServer(): void {
    const own = this.#head && this.#audit?.certificate(hex(this.#head.exporter));
    if (!this.#isByServer || !own) return;
    if (![...this.#logs.keys()].some((origin) => matchesServerName(own, parseOrigin(origin).host)))
      this.#find('E_CERT_USAGE', 'SHA256SUMS.sig', 'a server exported what is in no log of its own');
  }

  /** All of every log but the messages has been read. */
  #closeLogs(): BundleMessages {
    if (this.#messages) return this.#messages;
    const certificates = this.#authorities();
    const logs = this.#logs;
    const lists = [...this.#crls.names.keys(), ...this.#trust.crls];
    const outside = new OutsideAudit({ ...this.#trust, crls: lists }, this.#findings);
    for (const read of this.#logFiles.values()) {
      const log = BundleLog.open(read, certificates, this.#findings, this.#signatures, outside);
      if (log && logs.has(log.origin)) this.#find('E_FORMAT', read.folder, 'is the same log as one before');
      else if (log) logs.set(log.origin, log);
    }
    this.#checkServer();
    this.#crls.judge((origin) => logs.get(origin));
    const onMessage = (message: JudgedMessage): void => {
      this.#options.onMessage?.(message);
      const { count } = this.#messages!;
      this.#options.onProgress?.(count, this.#head?.messages ?? count);
    };
    this.#messages = new BundleMessages(this.#head, logs, certificates, this.#findings, this.#signatures, onMessage);
    return this.#messages;
  }

  #closeMessage(): void {
    const open = this.#open;
    this.#open = null;
    if (open) this.#messages!.add(open.number, open.files, open.isSound);
  }

  #known(name: string, note: Uint8Array): void {
    const log = this.#logs.get(originIn(note));
    if (log) log.known(name, note);
    else this.#find('E_CKPT_SIG', name, 'is of a log whose key the bundle does not have');
  }

  #find(code: FindingCode, where: string, message: string): void {
    this.#findings.add(code, where, message);
  }
}
