/**
 * An evidence bundle against a set of CA certificates: reads hostile input once, file by file, with a cap on every file, and never stops at
 * the first finding. Names in the archive are names of evidence, and never of files on this machine. docs/TRANSCRIPT.md §f.
 */
import { equal, hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256Hex } from '../base/hash.ts';
import { algorithmOf, CONTEXT, MAX_SIGNATURE_BYTES, verify } from '../base/signature.ts';
import {
  MAX_BUNDLE_MESSAGES,
  MESSAGE_FILES,
  parseHead,
  parseName,
  type BundleHead,
  type BundleName,
  type MessageFile,
} from '../transcript/bundle.ts';
import { parseOrigin } from '../transcript/key-statement.ts';
import { MAX_ENTRY_BYTES } from '../transcript/leaf.ts';
import { MAX_NOTE_BYTES } from '../transcript/note.ts';
import { parseTakeovers } from '../transcript/takeovers.ts';
import { UstarReader, type ArchivedFile } from '../transcript/ustar.ts';
import { parsePem, type Certificate } from '../x509/certificate.ts';
import { EKU } from '../x509/extensions.ts';
import { matchesServerName } from '../x509/server-name.ts';
import { MAX_CRL_BYTES } from '../x509/crl.ts';
import { BundleCrls } from './bundle-crls.ts';
import { BundleLineage, type Statement } from './bundle-lineage.ts';
import { BundleLog, LogFiles } from './bundle-log.ts';
import { MessageAudit, originIn, type ReadMessage } from './bundle-message.ts';
import { BundleReceipts, type MessageReceipt } from './bundle-receipts.ts';
import { SumList } from './bundle-sums.ts';
import { SignaturesAhead, type Confirmed } from './signatures-ahead.ts';
import { CertificateAudit, type Trust } from './certificate-audit.ts';
import type { FindingCode, Findings } from './finding.ts';
import type { KnownCheckpoint } from './log-directory.ts';
import { OutsideAudit } from './outside.ts';

const KB = 1024;
const LINE_BYTES = 64 + 2 + 36 + 1;
const FILES_OF_ALL_MESSAGES = MAX_BUNDLE_MESSAGES * (MESSAGE_FILES.length + 1);
/** Certificates and intermediates: each is kept. */
const MAX_CERTIFICATES = 4096;

/** Largest size of each kind of file. */
function limitOf(name: string): number {
  const file = parseName(name);
  switch (file?.is) {
    case undefined:
      return 64 * KB; // reported as what it is, and read over
    case 'sums':
      return FILES_OF_ALL_MESSAGES * LINE_BYTES;
    case 'seal':
      return MAX_SIGNATURE_BYTES;
    case 'crl':
      return 2 * MAX_CRL_BYTES;
    case 'crl_entry':
    case 'crl_proof':
      return MAX_ENTRY_BYTES + KB;
    case 'chain':
      return 1024 * KB;
    case 'message':
      return file.file === 'opening' ? 4 * 1024 * KB : MAX_ENTRY_BYTES + KB;
    case 'checkpoint':
      return MAX_NOTE_BYTES;
    case 'statement':
    case 'statement_sig':
    case 'stamp':
      return 64 * KB;
    case 'takeovers':
      return 256 * KB;
    case 'consistency':
      return MAX_NOTE_BYTES + 8 * KB;
    case 'head':
    case 'certificate':
      return 128 * KB;
  }
}

/** A message, told in the order of the bundle as soon as it was judged. */
export interface JudgedMessage extends ReadMessage {
  readonly number: number;
  /** Nothing was found against it. */
  readonly isGood: boolean;
}

export interface BundleOptions {
  readonly known?: readonly KnownCheckpoint[];
  /** Each message must have a receipt of a recipient. */
  readonly requiresReceipts?: boolean;
  readonly onMessage?: (message: JudgedMessage) => void;
  /** 1: signatures are checked on this thread alone; findings are the same. 2 if left out. */
  readonly threads?: 1 | 2;
  /** `total` is what the bundle says. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface AuditedBundle {
  readonly head: BundleHead | null;
  /** server: its operator has exported what the server has, which is no content. */
  readonly exporterRole: 'member' | 'server';
  readonly logs: readonly BundleLog[];
  readonly certificates: CertificateAudit;
  /** Messages and commits; and receipts, which are counted for themselves. */
  readonly messages: number;
  readonly receipts: number;
  /** By number of the message: what recipients have signed about it. */
  readonly receiptsOf: ReadonlyMap<number, readonly MessageReceipt[]>;
  readonly disclosed: number;
  readonly batches: number;
  /** Of those whose signature was found good, in hexadecimal. */
  readonly senders: ReadonlySet<string>;
  readonly firstTime: number | null;
  readonly lastTime: number | null;
  /** What was signed under each sender, session and counter; what is proven to stand at each place of each log. */
  readonly stated: ReadonlyMap<string, Statement>;
  readonly placed: ReadonlyMap<string, Statement>;
}

/** Checks everything that a bundle can show. @param chunks the archive, in whatever pieces @throws BAD_FRAME if it is none */
export function auditBundle(
  chunks: Iterable<Uint8Array>,
  trust: Trust,
  findings: Findings,
  options: BundleOptions = {},
): AuditedBundle {
  const ahead = new SignaturesAhead((file) => audit.file(file), options.threads !== 1);
  const audit = new BundleAudit(trust, findings, options, ahead);
  const reader = new UstarReader(limitOf);
  let files = 0;
  try {
    for (const chunk of chunks) {
      for (const file of reader.push(chunk)) {
        files++;
        ahead.push(file);
      }
      if (reader.fault !== null) break;
    }
    ahead.end();
  } finally {
    ahead.close();
  }
  reader.end();
  if (files === 0) throw new ChatError('BAD_FRAME', `is no bundle: the archive ${reader.fault ?? 'is empty'}`);
  if (reader.fault !== null) findings.add('E_FORMAT', 'archive', `${reader.fault}: nothing behind it was checked`);
  return audit.end();
}

/** Only for servers: whoever's certificate is for both speaks as a member. */
const isForServers = ({ extKeyUsage = [] }: Certificate): boolean =>
  extKeyUsage.includes(EKU.serverAuth) && !extKeyUsage.includes(EKU.clientAuth);

/** A message whose files are still coming. */
interface OpenMessage {
  readonly number: number;
  readonly files: Map<MessageFile, Buffer>;
  /** Nothing was found against the files as such. */
  isSound: boolean;
}

class BundleAudit {
  readonly #trust: Trust;
  readonly #findings: Findings;
  readonly #options: BundleOptions;
  readonly #confirmed: Confirmed;
  #head: BundleHead | null = null;
  #headDigest: string | null = null;
  #sums: Buffer | null = null;
  #list: SumList | null = null;
  #seal: Buffer | null = null;
  readonly #certificates = new Map<string, Certificate>();
  readonly #intermediates: Certificate[] = [];
  readonly #crls = new BundleCrls();
  #audit: CertificateAudit | null = null;
  #isByServer = false;
  readonly #logFiles = new Map<number, LogFiles>();
  #logs: ReadonlyMap<string, BundleLog> | null = null;
  #messages: MessageAudit | null = null;
  #lineage: BundleLineage | null = null;
  #receipts: BundleReceipts | null = null;
  #open: OpenMessage | null = null;
  readonly #placed = new Map<string, Statement>();
  readonly #lastIndex = new Map<string, { readonly index: number; readonly time: number }>();
  #order = '';
  #lastNumber = 0;
  #count = 0;
  #disclosed = 0;
  #firstTime: number | null = null;
  #lastTime: number | null = null;

  constructor(trust: Trust, findings: Findings, options: BundleOptions, confirmed: Confirmed) {
    this.#confirmed = confirmed;
    this.#trust = trust;
    this.#findings = findings;
    this.#options = options;
  }

  file({ name, bytes, faults }: ArchivedFile): void {
    const before = this.#findings.errors;
    for (const fault of faults) this.#find('E_FORMAT', name, fault);
    const file = parseName(name);
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
    const logs = this.#closeLogs();
    this.#closeMessage();
    this.#list?.end();
    if (this.#sums === null) this.#find('E_SUMS', 'SHA256SUMS', 'is missing');
    if (this.#head === null && this.#headDigest === null) this.#find('E_FORMAT', 'BUNDLE', 'is missing');
    if (this.#head && this.#head.messages !== this.#count)
      this.#find('E_TRUNCATED', 'BUNDLE', `${this.#head.messages} messages are announced, and ${this.#count} are here`);
    if (this.#options.requiresReceipts) this.#receipts?.require();
    const receipts = this.#receipts?.count ?? 0;
    if (this.#count === 0) this.#find('W_EMPTY', 'BUNDLE', 'no message in it: nothing was proven');
    for (const { name, note } of this.#options.known ?? []) this.#known(logs, name, note);
    this.#authorities().end();
    return {
      head: this.#head,
      exporterRole: this.#isByServer ? 'server' : 'member',
      logs: [...logs.values()],
      certificates: this.#authorities(),
      messages: this.#count - receipts,
      receipts,
      receiptsOf: this.#receipts?.receipts ?? new Map<number, MessageReceipt[]>(),
      disclosed: this.#disclosed,
      batches: this.#messages?.batches ?? 0,
      senders: this.#messages?.signers ?? new Set(),
      firstTime: this.#firstTime,
      lastTime: this.#lastTime,
      stated: this.#lineage?.stated ?? new Map<string, Statement>(),
      placed: this.#placed,
    };
  }

  /** @throws BAD_FRAME, BAD_CERT */
  #take(file: BundleName, name: string, bytes: Buffer): void {
    switch (file.is) {
      case 'head':
        this.#head = parseHead(bytes);
        return;
      case 'sums':
        this.#sums = Buffer.from(bytes);
        this.#list = new SumList(bytes, this.#findings);
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
        if (this.#logs !== null) return; // out of order: told already
        const log = this.#logFiles.get(file.number) ?? new LogFiles(name.slice(0, 'log/01'.length));
        this.#logFiles.set(file.number, log);
        if (file.is === 'checkpoint') log.checkpoint = Buffer.from(bytes);
        else if (file.is === 'stamp') log.stamp = Buffer.from(bytes);
        else if (file.is === 'statement') log.statements.set(file.key, Buffer.from(bytes));
        else if (file.is === 'statement_sig') log.signatures.set(file.key, Buffer.from(bytes));
        else if (file.is === 'takeovers') log.takeovers = parseTakeovers(bytes);
        else if (file.is === 'consistency') log.addProof(name, file.size, bytes);
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
    if (this.#certificates.size + this.#intermediates.length + more.length > MAX_CERTIFICATES)
      throw new ChatError('BAD_FRAME', `more than ${MAX_CERTIFICATES} certificates`);
    return more;
  }

  /** All certificates and lists have been read, and so the seal can be judged. */
  #authorities(): CertificateAudit {
    if (this.#audit) return this.#audit;
    const crls = [...this.#trust.crls, ...this.#crls.names.keys()];
    this.#audit = new CertificateAudit({ ...this.#trust, crls, names: this.#crls.names }, this.#findings);
    for (const certificate of this.#certificates.values()) this.#audit.add(certificate, this.#intermediates);
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
    const signature = this.#seal ?? Buffer.alloc(0);
    if (!verify(own.publicKey, algorithmOf(own.publicKey), CONTEXT.bundle, this.#sums, signature))
      this.#find('E_BUNDLE_SIG', where, 'the exporter did not seal these files');
    this.#isByServer = isForServers(own);
    audit.check(where, name, created, this.#isByServer ? 'serverAuth' : 'clientAuth');
  }

  /** A server may export what it logs itself, and nothing of others. */
  #checkServer(logs: ReadonlyMap<string, BundleLog>): void {
    const own = this.#head && this.#audit?.certificate(hex(this.#head.exporter));
    if (!this.#isByServer || !own) return;
    if (![...logs.keys()].some((origin) => matchesServerName(own, parseOrigin(origin).host)))
      this.#find('E_CERT_USAGE', 'SHA256SUMS.sig', 'a server exported what is in no log of its own');
  }

  /** All of every log but the messages has been read. */
  #closeLogs(): ReadonlyMap<string, BundleLog> {
    if (this.#logs) return this.#logs;
    const certificates = this.#authorities();
    const logs = new Map<string, BundleLog>();
    const lists = [...this.#crls.names.keys(), ...this.#trust.crls];
    const outside = new OutsideAudit({ ...this.#trust, crls: lists }, this.#findings);
    for (const read of this.#logFiles.values()) {
      const log = BundleLog.open(read, certificates, this.#findings, this.#confirmed, outside);
      if (log && logs.has(log.origin)) this.#find('E_FORMAT', read.folder, 'is the same log as one before');
      else if (log) logs.set(log.origin, log);
    }
    this.#logs = logs;
    this.#checkServer(logs);
    this.#crls.judge((origin) => logs.get(origin), this.#findings);
    const { conversation = null, profile = 'complete' } = this.#head ?? {};
    const logOf = (origin: string) => logs.get(origin);
    this.#messages = new MessageAudit(conversation, logOf, certificates, this.#findings, this.#confirmed);
    this.#lineage = new BundleLineage(profile, this.#findings);
    this.#receipts = new BundleReceipts(certificates, this.#findings);
    return logs;
  }

  #closeMessage(): void {
    const open = this.#open;
    this.#open = null;
    if (open === null) return;
    const { number, files, isSound } = open;
    const where = `msg/${String(number).padStart(6, '0')}`;
    const before = this.#findings.errors;
    this.#count++;
    if (number !== this.#lastNumber + 1) this.#find('E_ORDER', where, `want message ${this.#lastNumber + 1}`);
    this.#lastNumber = number;
    const read = this.#messages!.check(where, files);
    this.#follow(where, read);
    this.#receipts!.add(where, number, files, read, isSound && this.#findings.errors === before);
    if (read.plaintext) this.#disclosed++;
    this.#options.onMessage?.({ ...read, number, isGood: isSound && this.#findings.errors === before });
    this.#options.onProgress?.(this.#count, this.#head?.messages ?? this.#count);
  }

  /** After the message before it. */
  #follow(
    where: string,
    { leaf, ms, bs, bsLeaf, msLeaf, entryLeaf, log, index, isSigned, isIncluded }: ReadMessage,
  ): void {
    if (!leaf) return;
    const { serverTime } = leaf;
    this.#firstTime = Math.min(this.#firstTime ?? serverTime, serverTime);
    this.#lastTime = Math.max(this.#lastTime ?? serverTime, serverTime);
    if (log && index !== null) {
      this.#checkOrder(where, log, index, serverTime);
      log.checkTime(where, serverTime);
      if (isIncluded) this.#placed.set(`${log.origin} ${index}`, { leaf: hex(entryLeaf!), where });
    }
    if (!ms || !bs || !bsLeaf || !msLeaf || !equal(ms.sender, bs.sender) || !equal(ms.session, bs.session)) return;
    const batchIndex = index === null ? null : index - leaf.position;
    this.#lineage!.add({ where, ms, msLeaf, bs, bsLeaf, batchIndex, serverTime, isSigned });
  }

  #checkOrder(where: string, log: BundleLog, index: number, time: number): void {
    const number = [...this.#logs!.values()].indexOf(log);
    const order = [time, number, index].map((value) => String(value).padStart(16, '0')).join(' ');
    if (order <= this.#order) this.#find('E_ORDER', where, 'comes before the message before it');
    this.#order = order;
    const last = this.#lastIndex.get(log.origin);
    if (last && Math.sign(index - last.index) * Math.sign(time - last.time) < 0)
      this.#find('E_TIME_ORDER', where, 'the server time goes back');
    this.#lastIndex.set(log.origin, { index, time });
  }

  #known(logs: ReadonlyMap<string, BundleLog>, name: string, note: Uint8Array): void {
    const log = logs.get(originIn(note));
    if (log) log.known(name, note);
    else this.#find('E_CKPT_SIG', name, 'is of a log whose key the bundle does not have');
  }

  #find(code: FindingCode, where: string, message: string): void {
    this.#findings.add(code, where, message);
  }
}
