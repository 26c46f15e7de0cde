/**
 * Signatures of a bundle on a second thread: files pass through here some way ahead of where they are judged, and what is signed in them
 * is given to the thread. It can only confirm: what it has not confirmed when the judge asks is checked there as ever, so that findings
 * and their order are those of one thread. While the thread is at what the judge asks for, the first one does what comes behind it. Memory
 * is bounded by the files that are held back.
 */
import { Worker } from 'node:worker_threads';
import { concat, fromUtf8 } from '../base/bytes.ts';
import { sha256, sha256Hex } from '../base/hash.ts';
import { openBatchTbs, parseName } from '../transcript/bundle.ts';
import { parseKeyStatement } from '../transcript/key-statement.ts';
import { formatVkey } from '../transcript/note.ts';
import type { ArchivedFile } from '../transcript/ustar.ts';
import { BATCH, SignatureCheck } from './signature-check.ts';
import { SignatureSlots, SLOTS } from './signature-slots.ts';

/** What is signed and what was signed; who signs is a batch statement's own sender, or a log. */
interface Job {
  /** Counted through. */
  readonly number: number;
  /** Number of the log, or BATCH. */
  readonly log: number;
  readonly body: Uint8Array;
  readonly signature: Uint8Array;
}
/** What the thread is sent: few objects, for each costs more to send than a thousand bytes. */
export interface Work {
  /** of SignatureSlots */
  readonly words: Int32Array;
  readonly certificates: readonly (readonly [fingerprint: string, pem: string])[];
  /** Of logs that are new to the thread; counted through from the first letter on. */
  readonly vkeys: readonly string[];
  /** Four numbers for each job: its own, log or BATCH, bytes of the body, bytes of the signature. */
  readonly jobs: Int32Array;
  /** Bodies and signatures, one behind the other. */
  readonly bytes: Uint8Array;
}

/** Who is asked whether a signature has been found good already. `false` says nothing. */
export interface Confirmed {
  /** @param key hash of batch statement and signature, as batchKey() makes it */
  batch(key: string): boolean;
  /** @param digest of the note, in hexadecimal */
  note(digest: string, vkey: string): boolean;
}
/** The statement names the signer. */
export const batchKey = (statement: Uint8Array, signature: Uint8Array): string =>
  sha256Hex(concat(statement, sha256(signature)));

/** Files that are held back, at most. */
const MAX_FILES = 2048;
const MAX_BYTES = 8 * 1024 * 1024;
/** Jobs in one letter to the thread. */
const LETTER = 32;
/** A thread pays from so many files on: a line of SHA256SUMS for each. */
const FEW_FILES = 1000;
const LINE_BYTES = 64 + 2 + 'msg/000001/entry'.length + 1;
/** A signature takes a millisecond at most: a thread that does not answer for so long is not asked any more. */
const PATIENCE_MS = 2000;

export class SignaturesAhead implements Confirmed {
  readonly #judge: (file: ArchivedFile) => void;
  readonly #held: ArchivedFile[] = [];
  #heldFrom = 0;
  #heldBytes = 0;
  #worker: Worker | null = null;
  #isLost = false;
  readonly #slots = new SignatureSlots();
  /** Key → job. */
  readonly #jobOf = new Map<string, number>();
  /** The newest job of each slot, until somebody has asked for it, and its key. */
  readonly #placed = Array.from<{ readonly key: string; job: Job | null } | undefined>({ length: SLOTS });
  /** Jobs [#begun, #next) may be waiting. */
  #next = 0;
  #begun = 0;
  #jobs: Job[] = [];
  readonly #check = new SignatureCheck();
  readonly #logs: string[] = [];
  #sentLogs = 0;
  #certificates: (readonly [string, string])[] = [];
  /** By origin. */
  readonly #vkeys = new Map<string, string>();
  #signature: { readonly folder: string; readonly bytes: Uint8Array } | null = null;

  /** @param judge gets each file, in order, later @param hasThread whether there is a second thread at all */
  constructor(judge: (file: ArchivedFile) => void, hasThread: boolean) {
    this.#judge = judge;
    this.#isLost = !hasThread;
  }

  push(file: ArchivedFile): void {
    this.#look(file);
    this.#held.push(file);
    this.#heldBytes += file.bytes.length;
    while (this.#held.length - this.#heldFrom > MAX_FILES || this.#heldBytes > MAX_BYTES) this.#release();
  }

  /** All that is held back is judged. */
  end(): void {
    this.#send();
    while (this.#heldFrom < this.#held.length) this.#release();
  }

  /** Lets go of the thread. */
  close(): void {
    this.#worker?.ref(); // until it has ended: a thread that nobody waits for leaves its port behind
    void this.#worker?.terminate();
    this.#worker = null;
  }

  batch(key: string): boolean {
    return this.#isConfirmed(`batch ${key}`);
  }
  note(digest: string, vkey: string): boolean {
    return this.#isConfirmed(`note ${digest} ${vkey}`);
  }

  #isConfirmed(key: string): boolean {
    const job = this.#jobOf.get(key);
    if (job === undefined || this.#isLost) return false;
    // What nobody has begun is done here: both threads work until there is nothing left.
    const isGood = this.#slots.isGood(job, PATIENCE_MS, () => this.#help());
    this.#isLost ||= isGood === null;
    const placed = this.#placed[job % SLOTS];
    if (placed?.key === key) placed.job = null; // nor is its file kept any longer
    return isGood === true;
  }

  /** Does the oldest job that nobody has begun. @returns whether there was one */
  #help(): boolean {
    this.#begun = Math.max(this.#begun, this.#next - SLOTS);
    while (this.#begun < this.#next) {
      const job = this.#placed[this.#begun++ % SLOTS]?.job;
      if (!job || !this.#slots.take(job.number)) continue;
      this.#slots.answer(job.number, this.#check.isGood(job.log, job.body, job.signature));
      return true;
    }
    return false;
  }

  #release(): void {
    const file = this.#held[this.#heldFrom++]!;
    this.#heldBytes -= file.bytes.length;
    if (this.#heldFrom === MAX_FILES) {
      this.#held.splice(0, this.#heldFrom);
      this.#heldFrom = 0;
    }
    this.#judge(file);
  }

  #look({ name, bytes }: ArchivedFile): void {
    if (name.startsWith('msg/')) {
      if (this.#worker === null) return;
      const folder = name.slice(0, 'msg/000000'.length);
      if (name.endsWith('/batch.sig')) this.#signature = { folder, bytes };
      else if (name.endsWith('/batch.tbs') && this.#signature?.folder === folder)
        this.#batch(bytes, this.#signature.bytes);
      else if (name.endsWith('/log.tlog-proof')) this.#note(bytes);
      return;
    }
    const file = parseName(name);
    if (file?.is === 'certificate') this.#certificate(file.fingerprint, Buffer.from(bytes).toString('latin1'));
    else if (file?.is === 'statement') this.#statement(bytes);
    else if (file?.is === 'sums' && bytes.length > FEW_FILES * LINE_BYTES && !this.#isLost)
      this.#worker ??= this.#start();
  }

  #certificate(fingerprint: string, pem: string): void {
    if (this.#worker === null) return;
    this.#check.addCertificate(fingerprint, pem);
    this.#certificates.push([fingerprint, pem]);
  }

  #statement(bytes: Uint8Array): void {
    try {
      const { log } = parseKeyStatement(bytes);
      if (!this.#vkeys.has(log.name)) this.#vkeys.set(log.name, formatVkey(log));
    } catch {
      // The judge says what is wrong with it.
    }
  }

  #batch(tbs: Uint8Array, signature: Uint8Array): void {
    try {
      const statement = openBatchTbs(tbs);
      this.#add(`batch ${batchKey(statement, signature)}`, { log: BATCH, body: statement, signature });
    } catch {
      // As above.
    }
  }

  #note(proof: Uint8Array): void {
    const end = Buffer.from(proof.buffer, proof.byteOffset, proof.length).indexOf('\n\n');
    const note = proof.subarray(end + 2);
    const vkey = this.#vkeys.get(fromUtf8(note.subarray(0, Math.max(0, note.indexOf(0x0a)))) ?? '');
    if (end < 0 || vkey === undefined) return;
    this.#add(`note ${sha256Hex(note)} ${vkey}`, { log: this.#logOf(vkey), body: note, signature: NOTHING });
  }

  #add(key: string, job: Omit<Job, 'number'>): void {
    if (this.#jobOf.has(key) || this.#isLost) return;
    const number = this.#next++;
    const slot = number % SLOTS;
    const before = this.#placed[slot];
    if (before !== undefined) this.#jobOf.delete(before.key);
    this.#placed[slot] = undefined;
    if (!this.#slots.offer(number)) return; // the thread is still at work for a file that was judged long ago
    const numbered = { ...job, number };
    this.#placed[slot] = { key, job: numbered };
    this.#jobOf.set(key, number);
    this.#jobs.push(numbered);
    if (this.#jobs.length >= LETTER) this.#send();
  }

  #send(): void {
    if (this.#jobs.length === 0 || this.#worker === null) return;
    const numbers = new Int32Array(4 * this.#jobs.length);
    const parts: Uint8Array[] = [];
    for (const [i, { number, log, body, signature }] of this.#jobs.entries()) {
      numbers.set([number, log, body.length, signature.length], 4 * i);
      parts.push(body, signature);
    }
    const bytes = joined(parts);
    const vkeys = this.#logs.slice(this.#sentLogs);
    this.#sentLogs = this.#logs.length;
    const { words } = this.#slots;
    const work: Work = { words, certificates: this.#certificates, vkeys, jobs: numbers, bytes };
    this.#worker.postMessage(work, [numbers.buffer, bytes.buffer]);
    this.#jobs = [];
    this.#certificates = [];
  }

  #logOf(vkey: string): number {
    const known = this.#logs.indexOf(vkey);
    if (known >= 0) return known;
    this.#check.addLog(vkey);
    return this.#logs.push(vkey) - 1;
  }

  #start(): Worker {
    const suffix = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const worker = new Worker(new URL(`./signature-thread.${suffix}`, import.meta.url));
    worker.on('error', () => (this.#isLost = true));
    worker.unref();
    return worker;
  }
}
const NOTHING = new Uint8Array(0);

/** In memory of its own, which can be handed over. */
function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
