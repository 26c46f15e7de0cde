/**
 * Every rule about the contents of one log, entry by entry in order: form, time, batches, sender signatures, certificates at the time
 * of signing, counters and links. Reads nothing itself; the tree is checked by whoever feeds it. docs/TRANSCRIPT.md §f.
 */
import { hex, view, type Fingerprint, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { CONTEXT, verify } from '../base/signature.ts';
import { peekCheckpoint } from '../transcript/checkpoint.ts';
import {
  agrees,
  openKeyStatement,
  parseKeyStatement,
  parseOrigin,
  recoveryLines,
  type KeyStatement,
  type Recovery,
} from '../transcript/key-statement.ts';
import { decodeLeaf, type KeyLeaf, type Leaf, type MsgLeaf, type SigbLeaf, type TimeLeaf } from '../transcript/leaf.ts';
import { judge, type LineageState } from '../transcript/lineage.ts';
import { LineageMemory } from '../transcript/lineage-memory.ts';
import { leafHash } from '../transcript/merkle.ts';
import { formatVkey, type VerifierKey } from '../transcript/note.ts';
import { audienceOf, decodeBs, decodeMs, type BatchStatement } from '../transcript/statement.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { matchesServerName } from '../x509/server-name.ts';
import { CertificateAudit, type Trust } from './certificate-audit.ts';
import { checkCrlEntry, type Lists } from './crl-files.ts';
import type { FindingCode, Findings } from './finding.ts';
import { MAX_SKEW_MS } from './outside.ts';

/** Key statements that may cover an entry: the newest. A server makes one for each certificate it gets. */
const MAX_STATEMENTS = 64;

export interface Tally {
  entries: number;
  batches: number;
  messages: number;
  /** Fingerprints of those whose signature was found good, in hexadecimal. */
  readonly senders: Set<string>;
  firstTime: number | null;
  lastTime: number | null;
}

/** A batch whose entries are still coming. */
interface OpenBatch {
  readonly at: number;
  readonly leaf: SigbLeaf;
  readonly count: number;
  readonly messages: { readonly at: number; readonly bytes: Uint8Array }[];
  /** Entries of the batch that were met, also those that are malformed. */
  slots: number;
  /** Entries are malformed, missing or out of order: that was found, and what follows from it is not found again. */
  isDamaged: boolean;
}

/** From when to when a certificate vouches for the log key; in [from, until). */
interface Coverage {
  readonly certificate: string;
  readonly from: number;
  readonly until: number;
}

export class LogAudit {
  readonly tally: Tally = { entries: 0, batches: 0, messages: 0, senders: new Set(), firstTime: null, lastTime: null };
  /** Index of the newest message. */
  lastMessage: number | null = null;
  readonly #findings: Findings;
  readonly #log: VerifierKey;
  readonly #audience: Hash;
  readonly #certificates: CertificateAudit;
  readonly #lists: Lists;
  readonly #onStamp: (index: number, leaf: TimeLeaf) => void;
  readonly #lineage: LineageMemory;
  #statements: Coverage[] = [];
  readonly #logged = new Set<string>();
  readonly #signatures = new Set<string>();
  #covered = { from: 0, until: 0 };
  #open: OpenBatch | null = null;
  #time = 0;
  /** Each with the entry that made it the log's; the one before has agreed. Vouched: a good certificate has signed for it. */
  readonly #keys: { readonly key: VerifierKey; readonly from: number; isVouched: boolean }[] = [];
  #vouched: KeyStatement | null = null;
  /** What the first statement says of the log before, in words for comparison. */
  #recovery: string | null = null;

  /**
   * @param lists that the server has kept
   * @param onStamp gets each TIME entry that is not empty
   * @param earlier what the log of the epoch before says of sessions, if that is at hand
   */
  constructor(
    log: VerifierKey,
    trust: Trust,
    findings: Findings,
    lists: Lists,
    onStamp: (index: number, leaf: TimeLeaf) => void = () => {},
    earlier?: LineageState,
  ) {
    this.#onStamp = onStamp;
    this.#log = log;
    this.#lists = lists;
    this.#findings = findings;
    this.#audience = audienceOf(log.name);
    this.#lineage = new LineageMemory(parseOrigin(log.name).epoch > 1, earlier);
    const names = new Map([...lists].map(([digest, crl]) => [crl, `crl/${digest}.crl`]));
    this.#certificates = new CertificateAudit({ ...trust, crls: [...trust.crls, ...names.keys()], names }, findings);
  }

  entry(index: number, bytes: Uint8Array): void {
    this.tally.entries++;
    const where = `entry ${index}`;
    const leaf = this.#decoded(where, bytes);
    if (leaf === null) {
      if (this.#open) this.#open.isDamaged = true;
      return this.#fillSlot();
    }
    if (leaf.serverTime < this.#time) this.#find('E_TIME_ORDER', where, 'the server time goes back');
    this.#time = Math.max(this.#time, leaf.serverTime);
    this.tally.firstTime ??= leaf.serverTime;
    this.tally.lastTime = this.#time;

    if (leaf.type === 'msg') return this.#message(index, where, leaf);
    this.#closeBatch();
    // And so the first one is its certificate.
    if (index === 1 && leaf.type !== 'key')
      this.#find('E_KEYBIND', where, 'a log begins with the server certificate and its key statement');
    if (leaf.type === 'cert') return this.#chain(where, leaf.chain);
    if (leaf.type === 'key') this.#key(index, where, leaf);
    this.#checkCoverage(where, leaf.serverTime);
    if (leaf.type === 'crl') checkCrlEntry(where, leaf, this.#lists.get(hex(leaf.digest)), this.#findings);
    if (leaf.type === 'link') this.#link(where, leaf.checkpoint);
    if (leaf.type === 'time' && leaf.stamp.length > 0) this.#onStamp(index, leaf);
    if (leaf.type !== 'sigb') return;
    const count = view(leaf.bs).readUInt32BE(64); // decodeLeaf() has compared it with the leaf's own
    this.#open = { at: index, leaf, count, messages: [], slots: 0, isDamaged: false };
  }

  end(): void {
    this.#closeBatch();
    const [first] = this.#keys;
    if (first && this.#keys.every(({ key }) => formatVkey(key) !== formatVkey(this.#log)))
      this.#find('E_KEYBIND', `entry ${first.from}`, 'the statement is for another log key than that of key.stmt');
    this.#certificates.end();
    if (this.tally.messages === 0) this.#find('W_EMPTY', 'log', 'no message in it: nothing was proven');
  }

  /** What it says of the sessions of its senders. After end(). */
  get lineage(): LineageState {
    return this.#lineage;
  }

  /** The key that signs a checkpoint of this size: that of the newest statement in it. After end(). */
  keyAt(size: number): VerifierKey {
    return this.#keys.findLast(({ from }) => from < size)?.key ?? this.#log;
  }

  /** Whether a good certificate stands behind that key: what it contradicts itself in, the server has done, and nobody else can have. After end(). */
  isVouched(size: number): boolean {
    return this.#keys.findLast(({ from }) => from < size)?.isVouched ?? false;
  }
  /** The first statement of the log's key that a good certificate has signed; null: there is none. After end(). */
  get vouched(): KeyStatement | null {
    return this.#vouched;
  }

  /** The files that name the log's key are copies of what the log says of it. After end(). */
  keyFiles(text: Uint8Array, signature: Uint8Array): void {
    if (this.#logged.size === 0)
      return this.#find('E_KEYBIND', 'key.stmt', 'no key statement was found in the log: nothing vouches for its key');
    if (!this.#logged.has(nameOf(text))) this.#find('E_LEAF', 'key.stmt', 'is not a statement that the log has');
    else if (this.#logged.has(nameOf(text, signature))) return;
    else if (this.#signatures.has(nameOf(signature)))
      this.#find('W_KEY_FILES', 'key.sig', 'is of another statement of this log: the server was replacing the two');
    else this.#find('E_LEAF', 'key.sig', 'is not the signature that the log has for this statement');
  }

  #decoded(where: string, bytes: Uint8Array): Leaf | null {
    try {
      return decodeLeaf(bytes);
    } catch (error) {
      this.#malformed(where, error);
      return null;
    }
  }

  #message(index: number, where: string, { position, serverTime, ms }: MsgLeaf): void {
    const open = this.#open;
    if (open === null) return this.#find('E_ORDER', where, 'a message outside a batch');
    if (position !== open.slots + 1 && !open.isDamaged) {
      this.#find('E_ORDER', where, `position ${position} in its batch, want ${open.slots + 1}`);
      open.isDamaged = true;
    }
    if (serverTime !== open.leaf.serverTime)
      this.#find('E_TIME_ORDER', where, 'another server time than the batch that it belongs to');
    open.messages.push({ at: index, bytes: ms });
    this.tally.messages++;
    this.lastMessage = index;
    this.#fillSlot();
  }

  #fillSlot(): void {
    if (this.#open && ++this.#open.slots === this.#open.count) this.#closeBatch();
  }

  #closeBatch(): void {
    const open = this.#open;
    this.#open = null;
    if (open === null) return;
    const { at, leaf } = open;
    const where = `entry ${at}`;
    this.tally.batches++;
    let bs: BatchStatement;
    try {
      bs = decodeBs(leaf.bs);
    } catch (error) {
      return this.#malformed(where, error);
    }
    this.#checkSender(where, leaf, bs.sender);
    const messages = open.messages.flatMap(({ at: entry, bytes }) => {
      try {
        return [{ at: entry, ms: decodeMs(bytes), leaf: leafHash(bytes) }];
      } catch (error) {
        this.#malformed(`entry ${entry}`, error);
        open.isDamaged = true;
        return [];
      }
    });
    const { findings, change } = judge({ bs, leaf: leafHash(leaf.bs), messages }, this.#audience, this.#lineage);
    this.#lineage.apply(change);
    for (const { code, position, message } of findings) {
      if (open.isDamaged && (position > 0 || code === 'E_BATCH_SHORT')) continue;
      this.#find(code, position === 0 ? where : `entry ${messages[position - 1]!.at}`, message);
    }
    const skewed = messages.find(({ ms }) => Math.abs(ms.clientTime - leaf.serverTime) > MAX_SKEW_MS);
    if (skewed)
      this.#find('W_SKEW', `entry ${skewed.at}`, 'the clocks of client and server differ by more than 5 minutes');
  }

  #checkSender(where: string, { algorithm, bs, signature, serverTime }: SigbLeaf, sender: Fingerprint): void {
    const name = hex(sender);
    const own = this.#certificates.certificate(name);
    if (own === undefined)
      return this.#findings.addOnce(name, 'E_CERT_UNKNOWN', where, 'the log has no certificate of this sender so far');
    if (verify(own.publicKey, algorithm, CONTEXT.senderBatch, bs, signature)) this.tally.senders.add(name);
    else this.#find('E_BATCH_SIG', where, 'the sender did not sign this batch');
    this.#certificates.check(where, name, serverTime, 'clientAuth');
  }

  #chain(where: string, ders: readonly Uint8Array[]): void {
    try {
      // Copies: a certificate is kept, and would keep the whole bundle that it was read with.
      const [own, ...intermediates] = ders.map((der) => parseCertificate(Buffer.from(der)));
      if (own) this.#certificates.add(own, intermediates);
    } catch (error) {
      this.#malformed(where, error);
    }
  }

  /** The log's key, vouched for by a server certificate: the first, or one that came after it. */
  #key(
    index: number,
    where: string,
    { statement: text, algorithm, signature, previousSignature, serverTime }: KeyLeaf,
  ): void {
    const signed = Buffer.concat([Buffer.of(algorithm), signature]);
    try {
      const { serverCertificate } = parseKeyStatement(text);
      const name = hex(serverCertificate);
      const own = this.#certificates.certificate(name);
      if (own === undefined)
        return this.#find('E_KEYBIND', where, 'the log has no certificate of the server that vouches for its key');
      const statement = openKeyStatement(text, signed, own.publicKey);
      if (statement.log.name !== this.#log.name)
        return this.#find('E_KEYBIND', where, 'the statement is for another log than that of key.stmt');
      if (!matchesServerName(own, parseOrigin(statement.log.name).host))
        return this.#find('E_KEYBIND', where, 'the server certificate is for another host than the log');
      const current = this.#keys.at(-1);
      const isNew = current !== undefined && formatVkey(current.key) !== formatVkey(statement.log);
      const isNext = isNew && statement.previous !== null && formatVkey(statement.previous) === formatVkey(current.key);
      if (!agrees(statement, text, previousSignature) || (isNew && !isNext)) {
        this.#find('E_KEYBIND', where, 'the earlier log key did not agree to its successor');
        if (isNew) return;
      }
      if (current === undefined || isNew) this.#keys.push({ key: statement.log, from: index, isVouched: false });
      this.#checkRecovery(where, statement.recovery);
      if (this.#certificates.check(where, name, serverTime, 'serverAuth').fault === null) {
        this.#keys.at(-1)!.isVouched = true;
        this.#vouched ??= statement;
      }
      const { notBefore, notAfter } = statement;
      this.#statements = [
        { certificate: name, from: notBefore, until: notAfter + 1 },
        ...this.#statements.slice(0, MAX_STATEMENTS - 1),
      ];
      this.#covered = { from: 0, until: 0 };
      this.#logged.add(nameOf(text)).add(nameOf(text, signed));
      this.#signatures.add(nameOf(signed));
    } catch (error) {
      const failure = ChatError.from(error);
      if (failure.code === 'SIG_FAIL') this.#find('E_KEYBIND', where, failure.message);
      else this.#malformed(where, failure);
    }
  }

  /** Of a later epoch: all its statements must say the same of the log before. */
  #checkRecovery(where: string, recovery: Recovery | null): void {
    if (recovery === null) return;
    const words = recoveryLines(recovery).join('\n');
    if (this.#recovery !== null && this.#recovery !== words)
      this.#find('E_KEYBIND', where, 'says something else of what was lost than the statement before');
    const { kept, known } = recovery;
    if (this.#recovery === null && known.size > kept)
      this.#find(
        'W_LOST',
        where,
        `the server says that entries ${kept} to ${known.size - 1} of the log before are lost`,
      );
    this.#recovery ??= words;
  }

  /** Whether a server certificate that was good at this time vouches for the log key at this time. */
  #checkCoverage(where: string, at: number): void {
    if (this.#covered.from <= at && at < this.#covered.until) return;
    const candidates = this.#statements.filter(({ from, until }) => from <= at && at < until);
    for (const { certificate, from, until } of candidates) {
      const judged = this.#certificates.judge(where, certificate, at, 'serverAuth');
      if (judged.fault) continue;
      this.#covered = { from: Math.max(from, judged.from), until: Math.min(until, judged.until) };
      return;
    }
    const [newest] = candidates;
    if (newest) this.#certificates.check(where, newest.certificate, at, 'serverAuth');
    else this.#findings.addOnce('coverage', 'E_KEYBIND', where, 'no statement of the log key covers this time');
  }

  /** Another node's checkpoint. Its key is not known here, so that only its form can be judged. */
  #link(where: string, note: Uint8Array): void {
    try {
      if (peekCheckpoint(note).origin === this.#log.name) this.#find('E_LINK', where, 'a link of the log to itself');
    } catch (error) {
      this.#find('E_LINK', where, ChatError.from(error).message);
    }
  }

  /** @throws the error again if it is a defect of this software */
  #malformed(where: string, error: unknown): void {
    const { code, message } = ChatError.from(error);
    if (code === 'INTERNAL') throw error;
    this.#find('E_FORMAT', where, message);
  }

  #find(code: FindingCode, where: string, message: string): void {
    this.#findings.add(code, where, message);
  }
}

const nameOf = (...parts: readonly Uint8Array[]): string => parts.map((part) => hex(sha256(part))).join(' ');
