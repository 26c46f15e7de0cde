/**
 * A link once the handshake is over: records in and out, in order, with back-pressure both ways, and an end that is bounded in time.
 * Made by link.ts alone.
 */
import type { TLSSocket } from 'node:tls';
import type { Fingerprint } from '../base/bytes.ts';
import { decodeSequence, type Template } from '../base/cbor.ts';
import { ChatError, type Code } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import type { Opener } from '../protocol/channel.ts';
import type { Session } from '../protocol/handshake.ts';
import type { Suite } from '../protocol/key-exchange.ts';
import { filledInRecord, frameInRecord, requestIdOf } from '../protocol/frame-codec.ts';
import type { Reply, Request } from '../protocol/messages.ts';
import type { RecordReader } from '../protocol/record.ts';
import type { Closed, Link, LinkOptions } from './link.ts';
import { Outgoing } from './outgoing.ts';
import type { Chain } from './tls.ts';
import { inLaterTurn, mayRead, Share } from './turn.ts';

/** The frames of one record's plaintext, lazily. @throws BAD_FRAME, UNKNOWN_TYPE */
export type DecodeFrames<In> = (plaintext: Uint8Array) => Generator<In>;

/** What a closing connection may take to be read by its peer. */
export const LINGER_MS = 2000;
/** A peer that reads nothing while this much waits for it is cut. */
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;

const NOTHING = Buffer.alloc(0);

/** @typeParam In frames of the peer @typeParam Out frames of this end */
export class OpenLink<In extends Request | Reply, Out extends Request | Reply> implements Link<In, Out> {
  readonly peerChain: Chain;
  readonly ownFingerprint: Fingerprint;
  readonly address: string;
  readonly suite: Suite;
  readonly confirmation: string;
  readonly exporter: Secret;
  readonly closed: Promise<Closed>;

  readonly #role: Session['role'];
  readonly #socket: TLSSocket;
  readonly #opener: Opener;
  readonly #decode: DecodeFrames<In>;

  // Incoming, from the outside in: bytes, records of the first of them, frames of the first of those. All lazy, so that a pause holds.
  readonly #reader: RecordReader;
  readonly #chunks: Buffer[] = [];
  #records: Generator<Buffer> | null;
  /** It waits for a later turn of the event loop; then nothing is read before it. */
  #record: Buffer | null = null;
  /** All that came waits for a later turn. */
  #isWaiting = false;
  readonly #share = new Share();
  #frames: Generator<In> | null = null;
  #plaintext: Buffer = NOTHING;
  #framesDone = 0;
  #onFrame: ((frame: In) => void) | null = null;
  #isPaused = false;
  #isPumping = false;
  #heardAt = performance.now();
  #receivedBytes = 0;

  readonly #outgoing: Outgoing;
  #onDrain: () => void = () => {};

  #reason: Closed | null = null;
  #isEnding = false;

  constructor(
    socket: TLSSocket,
    { role, suite, sealer, opener, exporter, confirmation }: Session,
    reader: RecordReader,
    records: Generator<Buffer> | null,
    decode: DecodeFrames<In>,
    peerChain: Chain,
    ownFingerprint: Fingerprint,
    address: string,
    { idleMs }: LinkOptions,
  ) {
    this.#role = role;
    this.#socket = socket;
    this.#opener = opener;
    this.#outgoing = new Outgoing(socket, sealer, () => {
      if (!this.#isEnding) this.#onDrain();
    });
    this.#reader = reader;
    this.#records = records;
    this.#decode = decode;
    this.peerChain = peerChain;
    this.ownFingerprint = ownFingerprint;
    this.address = address;
    this.suite = suite;
    this.confirmation = confirmation.toString('hex');
    this.exporter = exporter;
    const { promise, resolve } = Promise.withResolvers<Closed>();
    this.closed = promise;
    const idle = idleMs === undefined ? undefined : setInterval(() => this.#checkIdle(idleMs), Math.ceil(idleMs / 3));
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('end', () => this.#peerEnded());
    socket.on('error', () => (this.#reason ??= { code: 'CONNECTION_LOST' }));
    socket.on('close', () => {
      clearInterval(idle);
      this.#isEnding = true;
      this.#outgoing.drop();
      sealer.wipe();
      opener.wipe();
      resolve(this.#reason ?? { code: 'CONNECTION_LOST' });
    });
    this.#pump(); // nobody listens yet: this only pauses the socket
  }

  send(frame: Out): void {
    if (this.#isEnding) return;
    this.#outgoing.push(frameInRecord(frame), frame.type);
    this.#checkQueued();
  }

  sendShared(frames: Template, numbers: readonly number[]): void {
    if (this.#isEnding) return;
    this.#outgoing.push(filledInRecord(frames, numbers), 'frames');
    this.#checkQueued();
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }
  get queuedBytes(): number {
    return this.#outgoing.queuedBytes;
  }

  onFrame(handler: (frame: In) => void): void {
    this.#onFrame = handler;
    queueMicrotask(() => this.#pump()); // not before the caller has finished its own line
  }

  onDrain(handler: () => void): void {
    this.#onDrain = handler;
  }

  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#heardAt = performance.now(); // it was us who did not listen
    this.#pump();
  }

  close(code?: Code, sub?: string): void {
    if (this.#isEnding) return;
    this.#reason ??= { code: code ?? null, ...(sub === undefined ? {} : { sub }) };
    this.#end(this.#farewell(code, sub));
  }

  // ---- incoming ------------------------------------------------------------------------------------------------------------------
  #take(chunk: Buffer): void {
    if (this.#isEnding) return;
    this.#receivedBytes += chunk.length;
    this.#chunks.push(chunk);
    this.#pump();
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      while (!this.#isHeld && this.#advance());
    } catch (error) {
      this.#refuse(ChatError.from(error));
    } finally {
      this.#isPumping = false;
    }
    if (this.#isEnding) return;
    if (this.#isHeld) this.#socket.pause();
    else this.#socket.resume();
  }

  get #isHeld(): boolean {
    return this.#isPaused || this.#isEnding || this.#isWaiting || this.#onFrame === null || this.#record !== null;
  }

  /** One frame, record or chunk further. False when nothing is left, or not for now. */
  #advance(): boolean {
    if (this.#role === 'server' && !this.#share.take()) {
      this.#goOnLater();
      return false;
    }
    if (this.#frames !== null) {
      const frame = this.#frames.next();
      if (frame.done) {
        this.#frames = null;
        this.#plaintext = NOTHING;
      } else {
        this.#framesDone++;
        this.#deliver(frame.value);
      }
      return true;
    }
    const record = this.#records?.next();
    if (record !== undefined && !record.done) {
      if (this.#role === 'client' || mayRead(record.value.length)) this.#open(record.value);
      else this.#openLater(record.value);
      return true;
    }
    const chunk = this.#chunks.shift();
    this.#records = chunk === undefined ? null : this.#reader.push(chunk);
    return chunk !== undefined;
  }

  #open(record: Buffer): void {
    this.#plaintext = this.#opener.open(record);
    this.#heardAt = performance.now(); // whole records only: a drip of bytes is silence
    this.#framesDone = 0;
    if (this.#plaintext.length > 0) this.#frames = this.#decode(this.#plaintext); // none: new keys
  }

  #goOnLater(): void {
    this.#isWaiting = true;
    inLaterTurn(() => {
      this.#isWaiting = false;
      this.#pump();
    });
  }

  #openLater(record: Buffer): void {
    this.#record = record;
    inLaterTurn(() => {
      this.#record = null;
      if (this.#isEnding) return;
      try {
        mayRead(record.length);
        this.#open(record);
      } catch (error) {
        return this.#refuse(ChatError.from(error));
      }
      this.#pump();
    });
  }

  #deliver(frame: In): void {
    if (frame.type === 'bye') this.#reason ??= { code: ('code' in frame ? frame.code : null) ?? null };
    if (frame.type === 'error' && frame.id === undefined)
      this.#reason ??= { code: frame.code, ...(frame.sub === undefined ? {} : { sub: frame.sub }) };
    this.#onFrame?.(frame);
    if (frame.type === 'bye') this.close();
  }

  /** The peer broke a rule, or its server refused us: the first error is the last thing that is heard of it. */
  #refuse(error: ChatError): void {
    if (this.#isEnding) return;
    const { code, sub, field } = error;
    this.#reason ??= { code, ...(sub === undefined ? {} : { sub }) };
    if (this.#role === 'client') return this.#end({ type: 'bye' });
    const id = this.#idOfFailed();
    this.#end({
      type: 'error',
      ...(id === undefined ? {} : { id }),
      code,
      ...(sub === undefined ? {} : { sub }),
      ...(field === undefined ? {} : { field }),
    });
  }

  /** The id in the frame that did not decode, if that can be read. */
  #idOfFailed(): number | undefined {
    if (this.#frames === null) return undefined; // it was the record that failed
    try {
      let at = 0;
      for (const value of decodeSequence(this.#plaintext)) if (at++ === this.#framesDone) return requestIdOf(value);
    } catch {
      // not CBOR: there is no id
    }
    return undefined;
  }

  #peerEnded(): void {
    const isWhole = this.#reader.isBetweenRecords && this.#records === null && this.#chunks.length === 0;
    this.#reason ??= { code: isWhole ? null : 'CONNECTION_LOST' };
    if (!this.#isEnding) this.#end(null);
  }

  #checkIdle(idleMs: number): void {
    if (!this.#isPaused && performance.now() - this.#heardAt > idleMs) this.#cut({ code: 'CONNECTION_LOST' });
  }

  // ---- outgoing, and the end ---------------------------------------------------------------------------------------------------------
  #checkQueued(): void {
    if (this.queuedBytes > MAX_QUEUED_BYTES) this.#cut({ code: 'QUOTA' });
  }

  /** A stop for the whole server is no fault of the peer; everything else with a code is an error. A client has no errors to send. */
  #farewell(code: Code | undefined, sub: string | undefined): Request | Reply {
    if (this.#role === 'client' || code === undefined) return { type: 'bye' };
    if (code === 'SHUTTING_DOWN') return { type: 'bye', code };
    return { type: 'error', code, ...(sub === undefined ? {} : { sub }) };
  }

  /** What was sent before leaves first. */
  #end(farewell: Request | Reply | null): void {
    this.#isEnding = true;
    this.#chunks.length = 0;
    this.#records = null;
    this.#frames = null;
    if (farewell !== null) this.#outgoing.push(frameInRecord(farewell), farewell.type);
    this.#outgoing.flush();
    const timer = setTimeout(() => this.#socket.destroy(), LINGER_MS);
    this.#socket.once('close', () => clearTimeout(timer));
    this.#socket.end();
    this.#socket.resume(); // and what comes is thrown away
  }

  /** There is no use in last words. */
  #cut(reason: Closed): void {
    this.#reason ??= reason;
    this.#isEnding = true;
    this.#socket.destroy();
  }
}
