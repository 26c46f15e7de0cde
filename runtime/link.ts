/**
 * One connection from the first byte of TLS to its end: the only adapter between a TLS socket and the pure state machines of protocol/.
 * It moves records and keeps the timers; what the peer may say, and when, is decided in protocol/; who it is, by `admit`.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { concat, type Fingerprint } from '../base/bytes.ts';
import type { Template } from '../base/cbor.ts';
import { ChatError, type Code } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { startClient, startServer, step, type Effect, type State } from '../protocol/handshake.ts';
import { refusalRecord, REPORTED } from '../protocol/hello.ts';
import { DEFAULT_SUITES, ephemeral, respond, type Suite } from '../protocol/key-exchange.ts';
import { HANDSHAKE_TIMEOUT_MS, MAX_RECORD_BYTES } from '../protocol/limits.ts';
import { decodeReplies, decodeRequests } from '../protocol/frame-codec.ts';
import type { Reply, Request } from '../protocol/messages.ts';
import { RecordReader } from '../protocol/record.ts';
import type { Certificate } from '../x509/certificate.ts';
import { LINGER_MS, OpenLink, type DecodeFrames } from './open-link.ts';
import { presentedBy, tlsExporter, tlsFailure, type Chain, type Credentials } from './tls.ts';

/** How a connection ended: with a code, or null when either side said `bye` or simply closed between two records. */
export interface Closed {
  readonly code: Code | null;
  readonly sub?: string;
}

export interface Link<In, Out> {
  /** the peer's chain as it was validated, leaf first, trust anchor last */
  readonly peerChain: Chain;
  readonly ownFingerprint: Fingerprint;
  /** of the peer, for logs */
  readonly address: string;
  readonly suite: Suite;
  /** 16 hex digits, equal on both ends, safe to show */
  readonly confirmation: string;
  /** 32 bytes, equal on both ends, of this connection alone: binds the login proof to it */
  readonly exporter: Secret;

  /**
   * Frames of one tick leave together, in few records and one write. Ignored once closed.
   * @throws TOO_LARGE for a frame that no record can hold
   */
  send(frame: Out): void;
  /** The same for frames that others get as well. @param numbers for the holes of the template */
  sendShared(frames: Template, numbers: readonly number[]): void;
  /** Bytes accepted by send() that the kernel has not taken yet. */
  readonly queuedBytes: number;
  /** Bytes that have come since it is open, also those of a record that is not whole yet. */
  readonly receivedBytes: number;
  /** Called with each frame in order, one at a time; frames that arrived before the handler was set wait for it. */
  onFrame(handler: (frame: In) => void): void;
  /** Called whenever queuedBytes falls to 0 after having been more. */
  onDrain(handler: () => void): void;
  /** Stops handing out frames, also those already decrypted, and lets the peer feel it. */
  pause(): void;
  resume(): void;
  /** Says `error` or `bye` where possible, then ends; destroys what is left after 2 s. Repeating it does nothing. */
  close(code?: Code, sub?: string): void;
  /** Resolves once, never rejects. */
  readonly closed: Promise<Closed>;
}

export type ServerLink = Link<Request, Reply>;
export type ClientLink = Link<Reply, Request>;

export interface LinkOptions {
  readonly own: Credentials;
  /** Finds the path from the peer's certificate to an authority. Called once, before anything the peer said is read. @throws BAD_CERT */
  readonly admit: (presented: readonly [Certificate, ...Certificate[]]) => Chain;
  /** As parseCertificate(), which it is if left out: a server knows many of its peers. */
  readonly parse?: (der: Uint8Array) => Certificate;
  /** in order of preference */
  readonly suites?: readonly Suite[];
  /** for TLS and handshake together, from the call on */
  readonly timeoutMs?: number;
  /** A link from which no whole record came for so long is ended. The client's pings keep it open. */
  readonly idleMs?: number;
  /** largest record that is accepted, at most and by default 1 MiB */
  readonly maxRecordBytes?: number;
}

/** A link whose peer pings every 30 s or less has ended when nothing came for so long. */
export const IDLE_MS = 90_000;

/**
 * Takes over an accepted socket before its TLS handshake.
 * @param socket `new TLSSocket(accepted, serverTlsOptions(…))`
 * @throws BAD_CERT, HANDSHAKE_TIMEOUT, CONNECTION_LOST, …; a failure of TLS itself has field `tls`. The socket is then closed
 */
export const openServerLink = (socket: TLSSocket, options: LinkOptions): Promise<ServerLink> =>
  openLink<Request, Reply>('server', socket, { idleMs: IDLE_MS, ...options }, decodeRequests);

/**
 * Takes over a socket of `tls.connect(clientTlsOptions(…))`, in the tick in which it was made.
 * @throws UNREACHABLE, BAD_CERT, HANDSHAKE_TIMEOUT, CONNECTION_LOST, …, also what the server refused it with (then `cause` is
 *   REPORTED of protocol/hello.ts). The socket is then closed
 */
export const openClientLink = (socket: TLSSocket, options: LinkOptions): Promise<ClientLink> =>
  openLink<Reply, Request>('client', socket, options, decodeReplies);

/**
 * Resolves when an accepted socket has something to read, for the TLSSocket that is then made of it in the same turn of the event loop. To one
 * that is given bytes that were read before, Node allots a buffer of their length and then one of 16 KiB; for its own first read it allots
 * 64 KiB, which then stay as long as the connection. And who only connects costs no TLS.
 * @throws HANDSHAKE_TIMEOUT, CONNECTION_LOST; the socket is then closed
 */
export function firstBytes(accepted: Socket, timeoutMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const settle = (error?: ChatError): void => {
    clearTimeout(timer);
    for (const event of ['end', 'close'] as const) accepted.off(event, onEnd);
    accepted.off('readable', onReadable);
    if (error === undefined) return resolve();
    accepted.destroy();
    reject(error);
  };
  const onReadable = (): void => {
    if (accepted.readableLength > 0) settle();
  };
  const onEnd = (): void => settle(lostBeforeTls());
  const timer = setTimeout(() => settle(lateFor('tls')), timeoutMs);
  for (const event of ['end', 'close'] as const) accepted.on(event, onEnd);
  accepted.on('readable', onReadable);
  accepted.read(0);
  return promise;
}

const lostBeforeTls = (): ChatError =>
  new ChatError('CONNECTION_LOST', 'the peer closed before TLS was complete', { field: 'tls' });
const lateFor = (field: 'tls' | 'handshake'): ChatError =>
  new ChatError('HANDSHAKE_TIMEOUT', 'the connection was not open in time', { field });

type Role = 'client' | 'server';

function openLink<In extends Request | Reply, Out extends Request | Reply>(
  role: Role,
  socket: TLSSocket,
  options: LinkOptions,
  decode: DecodeFrames<In>,
): Promise<OpenLink<In, Out>> {
  const { own, admit, suites = DEFAULT_SUITES, timeoutMs = HANDSHAKE_TIMEOUT_MS } = options;
  const { promise, resolve, reject } = Promise.withResolvers<OpenLink<In, Out>>();
  const deadlineMs = performance.now() + timeoutMs;
  const address = socket.remoteAddress ?? 'unknown';
  const reader = new RecordReader();
  let state: State | null = null; // null: TLS is not complete
  let peerChain: Chain | null = null;

  const detach = () => {
    clearTimeout(timer);
    for (const [event, listener] of listeners) socket.off(event, listener);
  };
  const fail = (error: ChatError, farewell: Buffer | null = null) => {
    detach();
    depart(socket, farewell);
    reject(error);
  };

  const onSecure = () => {
    try {
      const presented = presentedBy(socket, options.parse);
      peerChain = admit(presented);
      const [peer] = peerChain;
      const fingerprints = [own.chain[0].fingerprint, peer.fingerprint];
      const binding = concat(tlsExporter(socket), ...(role === 'server' ? fingerprints : fingerprints.reverse()));
      const endpoint = { privateKey: own.privateKey, peerPublicKey: peer.publicKey, binding, deadlineMs };
      if (role === 'server') state = startServer(endpoint, suites, respond);
      else follow(startClient(endpoint, ephemeral(suites)), null);
    } catch (error) {
      const refused = ChatError.from(error);
      return fail(refused, role === 'server' ? refusalRecord(refused) : null);
    }
    socket.on('data', onData);
  };

  const onData = (chunk: Buffer) => {
    const records = reader.push(chunk);
    try {
      for (let next = records.next(); !next.done; next = records.next())
        if (state === null || follow(step(state, { on: 'record', payload: next.value }), records)) return;
    } catch (thrown) {
      const error = ChatError.from(thrown); // of the reader: step() never throws
      if (state === null || !follow(step(state, { on: 'fault', error }), null)) fail(error);
    }
  };

  /** True when the handshake is over. */
  const follow = ([next, effects]: readonly [State, readonly Effect[]], records: Generator<Buffer> | null): boolean => {
    state = next;
    const sends = effects.flatMap((effect) => (effect.do === 'send' ? [effect.record] : []));
    const last = effects.at(-1);
    if (last?.do === 'close') {
      fail(closeError(last), sends.length === 0 ? null : concat(...sends));
      return true;
    }
    if (sends.length > 0) socket.write(concat(...sends));
    if (last?.do !== 'open' || peerChain === null) return false;
    detach();
    reader.maxRecordBytes = Math.min(options.maxRecordBytes ?? MAX_RECORD_BYTES, MAX_RECORD_BYTES);
    resolve(
      new OpenLink(
        socket,
        last.session,
        reader,
        records,
        decode,
        peerChain,
        own.chain[0].fingerprint,
        address,
        options,
      ),
    );
    return true;
  };

  const onTimeout = () => {
    const late = lateFor(state ? 'handshake' : 'tls');
    if (state === null || !follow(step(state, { on: 'tick', nowMs: Math.max(performance.now(), deadlineMs) }), null))
      fail(late);
  };
  const onEnd = () => {
    if (state === null || !follow(step(state, { on: 'eof' }), null)) fail(lostBeforeTls());
  };
  const onError = (error: Error) => {
    if (state === null) fail(tlsFailure(error));
    else fail(new ChatError('CONNECTION_LOST', 'the connection broke during the handshake', { cause: error }));
  };

  const timer = setTimeout(onTimeout, timeoutMs);
  const listeners = [
    [role === 'server' ? 'secure' : 'secureConnect', onSecure],
    ['data', onData],
    ['end', onEnd],
    ['close', onEnd],
    ['error', onError],
  ] as const satisfies readonly (readonly [string, (...args: never[]) => void])[];
  socket.on('error', ignore); // for as long as the socket lives: without one the process ends
  for (const [event, listener] of listeners) if (event !== 'data') socket.on(event, listener);
  socket.setNoDelay(true); // frames of one tick are gathered here already
  return promise;
}

/** Not made where the handshake is: what is made there keeps all of it in memory as long as the socket lives. */
const ignore = (): void => {};

function closeError(effect: Effect & { do: 'close' }): ChatError {
  const { code, sub, field, retryAfterMs, by } = effect;
  const message = by === 'peer' ? `the peer ended the handshake: ${code}` : `the handshake failed: ${code}`;
  return new ChatError(code, sub === undefined ? message : `${message}/${sub}`, {
    ...(sub === undefined ? {} : { sub }),
    ...(field === undefined ? {} : { field }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(by === 'peer' ? { cause: REPORTED } : {}),
  });
}

/** Last words, then the end. What the peer still sends is thrown away unread: a reset would take our words out of its buffer. */
function depart(socket: TLSSocket, farewell: Buffer | null): void {
  if (farewell === null || socket.destroyed) return void socket.destroy();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => clearTimeout(timer));
  socket.end(farewell);
  socket.resume();
}
