/**
 * The signed log of one server process. A window of entries becomes one record in the write-ahead log; only when that is durable is the
 * new root signed, and only then does anybody hear of it: hash, write, fdatasync, sign, acknowledge. A checkpoint signed earlier would
 * turn a power cut into a fork signed by an honest server. After a failed write nothing is known about the disk, and the log stops for
 * good: the process should end and recover by starting again.
 */
import { join } from 'node:path';
import { equal, utf8, type Hash } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { Scratch } from '../../base/scratch.ts';
import { makeFolder } from '../../runtime/files.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { formatVkey } from '../../transcript/note.ts';
import { encodeRecord, PAGE_BYTES } from '../../transcript/wal.ts';
import { readAnchor } from './anchor.ts';
import { Certification } from './certification.ts';
import { Entries } from './entries.ts';
import { disk, diskError } from './files.ts';
import { changed, Guard, setBack } from './guard.ts';
import { serverCertificate } from './identity.ts';
import type { Takeover } from './key-succession.ts';
import { acquireLock, type Lock } from '../../store/lock.ts';
import type { Nodes } from './nodes.ts';
import { Proofs } from './proofs.ts';
import type { Publication } from './publication.ts';
import { isEmptyLog, recover, rootAt, type Recovered } from './recovery.ts';
import type { LogOptions } from './options.ts';
import { SEGMENT_BYTES, type Segments } from './segments.ts';
import { Signer, type Head, type Successor } from './signer.ts';

/** A publication that is late stops the next window here, before the entries that wait for it fill the memory. */
const MAX_UNPUBLISHED_BYTES = 64 * 1024 * 1024;
/** More than header, checkpoint, root and CRC of a record take. */
const RECORD_OVERHEAD_BYTES = 1024;

export interface Window {
  /** Unix ms, not before the last one's; the entries carry the same. */
  readonly time: number;
  /** Encoded leaves, at least one. */
  readonly entries: readonly Uint8Array[];
  /** leafHash() of each, if the caller has them already. */
  readonly leaves?: readonly Hash[];
}

export class TranscriptLog {
  readonly origin: string;
  readonly certification: Certification;
  readonly #signer: Signer;
  readonly #guard: Guard;
  readonly #nodes: Nodes;
  readonly #segments: Segments;
  readonly #publication: Publication;
  readonly #entries: Entries;
  readonly #locks: readonly Lock[];
  readonly #onFatal: (error: ChatError) => void;
  #head: Head;
  #proofs: Proofs;
  #time: number;
  #appending: Promise<unknown> | null = null;
  /** of the record that is being written */
  readonly #scratch = new Scratch();
  #publishing: Promise<void> | null = null;
  #stopped: ChatError | null = null;
  #isClosed = false;

  private constructor(options: LogOptions, signer: Signer, locks: readonly Lock[], r: Recovered) {
    this.origin = options.origin;
    this.#signer = signer;
    this.#locks = locks;
    this.#onFatal = options.onFatal;
    this.#nodes = r.nodes;
    this.#segments = r.segments;
    this.#publication = r.publication;
    this.#entries = new Entries(r.nodes, r.publication, r.entriesFrom, r.entries);
    this.#guard = new Guard(options, r.nodes);
    this.certification = new Certification(this, signer, options);
    this.#time = Math.max(r.time, options.succession?.time ?? 0); // what one log after the other says of a conversation is in order
    this.#head = signer.sign(r.nodes.size, r.nodes.root()); // the same note as before
    this.#proofs = new Proofs(r.nodes, r.nodes.size);
  }

  /**
   * Locks and recovers; `certification.certify` comes next.
   * @throws IN_USE if another process has this log or key; UNSAFE_FILE for the key file's permissions; LOG_CORRUPT, ROLLBACK or FORK
   *   if the disk contradicts what was signed; CONFIG_INVALID, BAD_CERT, BAD_FRAME/origin; DISK_FULL, LOG_FAILED
   */
  static async open(options: LogOptions): Promise<TranscriptLog> {
    const { dir, keyFile, origin, anchorFile, files = disk, segmentBytes = SEGMENT_BYTES } = options;
    const certificate = serverCertificate(origin, options.serverChain, options.serverPrivateKey);
    try {
      makeFolder(dir);
    } catch (error) {
      throw diskError(error, `making ${dir}`);
    }
    const locks: Lock[] = [];
    let log: TranscriptLog | null = null;
    try {
      locks.push(acquireLock(join(dir, 'lock')));
      locks.push(acquireLock(`${keyFile}.lock`)); // a copy of the directory must not sign with the same key
      const signer = await Signer.load(keyFile, origin, await isEmptyLog(files, dir));
      const keys = signer.keys();
      const anchor = anchorFile === undefined ? null : await readAnchor(files, anchorFile, keys);
      const recovered = await recover(files, dir, segmentBytes, keys);
      await signer.mend(recovered.entries.at(-1), recovered.nodes.size);
      log = new TranscriptLog(options, signer, locks, recovered);
      await log.#guard.settle(anchor, log.size, log.time);
      const { state } = recovered.publication;
      if (recovered.checkpointSize < state.size)
        await recovered.publication.replaceCheckpoint(utf8(signer.sign(state.size, state.root).note));
      if (log.size > 0) await log.certification.find(certificate, recovered.entries);
      await log.publish();
      return log;
    } catch (error) {
      if (log) await log.#segments.close();
      for (const lock of locks) lock.release();
      throw diskError(error, 'opening the log');
    }
  }

  get size(): number {
    return this.#head.size;
  }
  get vkey(): string {
    return formatVkey(this.#signer.verifier);
  }
  /** One key of this log after the other, each with the consent of the one before. */
  get takeovers(): readonly Takeover[] {
    return this.#signer.takeovers;
  }
  /** Newest signed head; not necessarily published. */
  get latest(): Head {
    return this.#head;
  }
  /** From the tree of `latest`. */
  get proofs(): Proofs {
    return this.#proofs;
  }
  /** Server time of the newest entry. */
  get time(): number {
    return this.#time;
  }
  /** Size of the published checkpoint. */
  get publishedSize(): number {
    return this.#publication.state.size;
  }

  /** Its last record was torn when it was opened, and was cut off: it had been acknowledged to nobody. */
  get wasTorn(): boolean {
    return this.#segments.wasTorn;
  }

  /** How long nothing can be appended yet, ms; 0: no longer held. */
  get heldMs(): number {
    return this.#guard.heldMs;
  }
  /** Clients can come from now on: the wait for them begins. Answers how long it is, ms. */
  beginHold(): number {
    return this.#guard.beginHold();
  }

  /** Notes outside the log what has been signed, and that the process is alive. @throws DISK_FULL, LOG_FAILED; the log goes on */
  async anchor(): Promise<void> {
    if (this.#stopped === null) await this.#remember(this.#head.note); // else what stopped it is what must be remembered
  }

  #remember(note: string): Promise<void> {
    return this.size === 0 ? Promise.resolve() : this.#guard.note(note);
  }

  /**
   * Makes sure that a window of these entries has room. After it, append() does not fail for want of space.
   * @throws DISK_FULL or TOO_LARGE: nothing has changed; LOG_FAILED, ROLLBACK, FORK
   */
  async makeRoom(entries: readonly Uint8Array[]): Promise<void> {
    this.#check();
    if (this.#entries.heldBytes > MAX_UNPUBLISHED_BYTES) await this.publish();
    const bytes = entries.reduce((sum, entry) => sum + 2 + entry.length, RECORD_OVERHEAD_BYTES);
    await this.#segments.reserve(Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES);
  }

  /**
   * Appends one window; its first entry has the index `size` of this moment. One at a time. Durable and signed when it resolves.
   * @param successor key that takes over with this window: it signs from here on
   * @throws DISK_FULL or TOO_LARGE: nothing has changed
   * @throws LOG_FAILED, ROLLBACK, FORK: the log has stopped
   */
  async append(window: Window, successor?: Successor): Promise<Head> {
    this.#check();
    if (this.#appending !== null) throw new ChatError('INTERNAL', 'a window is being appended already');
    const work = this.#append(window, successor);
    this.#appending = work;
    try {
      return await work;
    } finally {
      this.#appending = null;
    }
  }

  async #append({ time, entries, leaves = entries.map(leafHash) }: Window, successor?: Successor): Promise<Head> {
    if (this.heldMs > 0) throw new ChatError('INTERNAL', 'the log is held');
    if (entries.length === 0 || time < this.#time) throw new RangeError('a window needs entries and no earlier time');
    await this.makeRoom(entries);
    const growth = this.#nodes.grow(leaves);
    const { size, note } = this.#head;
    const checkpoint = size === 0 ? Buffer.alloc(0) : utf8(note);
    const written = { first: size, time, checkpoint, entries, root: growth.root };
    const record = encodeRecord(written, (byteCount) => this.#scratch.zeros(byteCount));
    const place = await this.#segments.reserve(record.length); // within the room just made
    this.#check();
    const after = size + entries.length;
    let head: Head;
    try {
      // Signed while the disk is at work; nobody gets it before that is done.
      [, head] = await Promise.all([
        this.#segments.write(place, record, after),
        this.#sign(after, growth.root, successor),
      ]);
    } catch (cause) {
      throw this.halt(new ChatError('LOG_FAILED', "writing to the log's disk failed; restart to recover", { cause }));
    }
    growth.commit();
    this.#entries.push(entries);
    this.#time = time;
    this.#check(); // a rollback that came to light meanwhile: the entries are durable, and nobody gets a signature
    this.#head = head;
    this.#proofs = new Proofs(this.#nodes, after);
    return head;
  }

  async #sign(size: number, root: Hash, successor: Successor | undefined): Promise<Head> {
    if (successor) this.#signer.follow(successor);
    return this.#signer.sign(size, root);
  }

  /** Entries [from, to), each as its leaf hash says. @throws RangeError unless 0 <= from <= to <= size; LOG_CORRUPT */
  async entries(from: number, to: number): Promise<Uint8Array[]> {
    if (!(Number.isSafeInteger(from) && Number.isSafeInteger(to) && 0 <= from && from <= to && to <= this.size))
      throw new RangeError(`entries ${from}..${to} of ${this.size}`);
    return this.#entries.read(from, to);
  }

  /**
   * Writes tiles and checkpoint for the newest head, and frees what they replace in the write-ahead log. Calls while one is at work
   * wait for it and then publish what has come since.
   * @throws DISK_FULL: the checkpoint before stays valid; call again later
   * @throws LOG_FAILED, ROLLBACK, FORK: the log has stopped
   */
  async publish(): Promise<void> {
    while (this.#publishing !== null) await this.#publishing.catch(() => undefined);
    this.#check();
    if (this.#head.size === this.publishedSize && this.certification.unwritten === null) return;
    this.#publishing = this.#publish();
    try {
      await this.#publishing;
    } finally {
      this.#publishing = null;
    }
  }

  async #publish(): Promise<void> {
    const { size, root, note } = this.#head;
    const time = this.#time;
    const identity = this.certification.unwritten; // of entries below `size`
    try {
      if (size !== this.publishedSize) {
        await this.#publication.publish(size, root, time, utf8(note), {
          hashes: (level, index, width) => this.#nodes.unpublished(level, index, width),
          entries: (from, to) => this.#entries.held(from, to),
        });
        this.#nodes.published(size);
        this.#entries.published(size);
        await this.#segments.free(size);
      }
      if (identity !== null) await this.certification.write(identity);
    } catch (error) {
      const failure = diskError(error, 'publishing');
      throw failure.code === 'DISK_FULL' ? failure : this.halt(failure);
    }
  }

  /**
   * Somebody shows a checkpoint that they hold. One that this log's key has signed and that the log can't have signed means that the
   * log was set back, by a restored backup or a copied machine: then it stops, and remembers the checkpoint, so that no later start
   * goes on either. Notes of other logs and keys are ignored.
   * @throws BAD_FRAME for what is no checkpoint; ROLLBACK, FORK: the log has stopped; LOG_CORRUPT, LOG_FAILED
   */
  async present(note: string): Promise<void> {
    let shown: Pick<Head, 'size' | 'root'>;
    try {
      shown = this.#signer.open(note);
    } catch (error) {
      const failure = ChatError.from(error);
      if (failure.code === 'SIG_FAIL') return;
      throw failure;
    }
    const { size, root } = shown;
    if (size > this.size) throw this.#contradicted(note, setBack(size, this.size, 'a client holds'));
    const own = await rootAt(this.#nodes, size).catch((error: unknown) => {
      throw this.halt(diskError(error, 'comparing with a checkpoint'));
    });
    if (!equal(own, root)) throw this.#contradicted(note, changed(size, 'a client holds'));
  }

  #contradicted(note: string, error: ChatError): ChatError {
    const stopped = this.halt(error);
    void this.#remember(note).catch(() => undefined); // it stops all the same
    return stopped;
  }

  /** The published checkpoint, a signed note with the cosignatures that it has; null: there is none. @throws the disk's error */
  published(): Promise<Buffer | null> {
    return this.#publication.checkpoint();
  }

  /** The newest of those with the most cosignatures; null: there is none. @throws the disk's error */
  cosigned(): Promise<Buffer | null> {
    return this.#publication.cosigned();
  }

  /** @throws DISK_FULL, LOG_FAILED: the log goes on, as it needs no cosignature; as Publication.cosign() */
  async cosign(note: Uint8Array, isBest: boolean): Promise<void> {
    this.#check();
    await this.#publication.cosign(note, isBest).catch((error: unknown) => {
      throw diskError(error, 'keeping cosignatures');
    });
  }

  /** No more is signed, for good. @returns why: what has stopped it before, if something has */
  halt(error: ChatError): ChatError {
    if (this.#stopped !== null) return this.#stopped;
    this.#stopped = error;
    this.#onFatal(error);
    return error;
  }

  /** Publishes, and lets another process have the log. A log that has stopped is only unlocked. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#appending?.catch(() => undefined);
    try {
      if (this.#stopped === null) {
        await this.publish();
        await this.anchor();
      }
    } finally {
      await this.#guard.noted();
      while (this.#publishing !== null) await this.#publishing.catch(() => undefined);
      this.#stopped ??= new ChatError('SHUTTING_DOWN', 'the log is closed');
      await this.#segments.close();
      for (const lock of this.#locks) lock.release();
    }
  }

  #check(): void {
    if (this.#stopped !== null) throw this.#stopped;
  }
}
