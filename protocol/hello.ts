/** The maps of the handshake, encoded and strictly decoded (docs/PROTOCOL.md §2). What follows from them is handshake.ts's business. */
import { decode, encode, type Encodable, type Value } from '../base/cbor.ts';
import { bad, bytes, list, literal, optional, record, uint, type Decode, type Decoded } from '../base/decode.ts';
import { ChatError, CODES, type Code } from '../base/errors.ts';
import { MAX_SIGNATURE_BYTES } from '../base/signature.ts';
import {
  CLIENT_SHARE_BYTES,
  isSuite,
  RANDOM_BYTES,
  SERVER_SHARE_BYTES,
  SUITE_SHARES,
  type Share,
  type Shares,
} from './key-exchange.ts';
import { MAX_OFFERED_SUITES } from './limits.ts';
import { encodeRecord } from './record.ts';

export const VERSION = 1;
const MAX_SUITE = 65_535;
const SHARES = ['x25519', 'mlkem768', 'ffdhe3072'] as const;

/** Text of a peer that people may see: nothing in it can steer a terminal or a log. */
const token =
  (maxChars: number): Decode<string> =>
  (v, f) =>
    typeof v === 'string' && v.length <= maxChars && /^[A-Za-z0-9_.?[\]]+$/.test(v)
      ? v
      : bad(f, `1..${maxChars} letters, digits or _.?[]`);
const code: Decode<Code> = (v, f) =>
  typeof v === 'string' && Object.hasOwn(CODES, v) ? (v as Code) : bad(f, 'a known error code');

const decoders = {
  client_hello: record({
    type: literal('client_hello'),
    version: literal(VERSION),
    suites: list(uint(MAX_SUITE), MAX_OFFERED_SUITES, 1),
    random: bytes(RANDOM_BYTES),
    x25519: optional(bytes(CLIENT_SHARE_BYTES.x25519)),
    mlkem768: optional(bytes(CLIENT_SHARE_BYTES.mlkem768)),
    ffdhe3072: optional(bytes(CLIENT_SHARE_BYTES.ffdhe3072)),
  }),
  server_hello: record({
    type: literal('server_hello'),
    version: literal(VERSION),
    suite: uint(MAX_SUITE),
    random: bytes(RANDOM_BYTES),
    x25519: optional(bytes(SERVER_SHARE_BYTES.x25519)),
    mlkem768: optional(bytes(SERVER_SHARE_BYTES.mlkem768)),
    ffdhe3072: optional(bytes(SERVER_SHARE_BYTES.ffdhe3072)),
  }),
  server_auth: record(auth('server_auth')),
  client_auth: record(auth('client_auth')),
  error: record({
    type: literal('error'),
    code,
    sub: optional(token(64)),
    field: optional(token(128)),
    retry_after_ms: optional(uint()),
  }),
};
type Decoders = typeof decoders;
export type HelloType = keyof Decoders;
export type Hello<T extends HelloType> = Decoded<Decoders[T]>;

function auth<const T extends 'server_auth' | 'client_auth'>(type: T) {
  return {
    type: literal(type),
    binding: bytes(32),
    algorithm: uint(3, 1),
    signature: bytes(1, MAX_SIGNATURE_BYTES),
    finished: bytes(32),
  };
}

/**
 * The one map in `plaintext`, which must be of type `want`.
 * @throws BAD_FRAME naming the field, UNKNOWN_TYPE, UNSUPPORTED_VERSION; or, for an `error` map, the error that the peer reports,
 *   with `cause` being REPORTED
 */
export function decodeHello<T extends Exclude<HelloType, 'error'>>(want: T, plaintext: Uint8Array): Hello<T> {
  const value = decode(plaintext);
  if (!(value instanceof Map)) return bad('frame', 'a map');
  const type = value.get('type') as Value | undefined;
  if (typeof type !== 'string') return bad('frame.type', 'text');
  if (!Object.hasOwn(decoders, type))
    throw new ChatError('UNKNOWN_TYPE', 'no handshake message has this type', { field: 'frame.type' });
  if (type === 'error') throw reported(decoders.error(value, 'error'));
  if (type !== want) return bad('frame.type', want);
  const version = value.get('version') as Value | undefined;
  if ((want === 'client_hello' || want === 'server_hello') && typeof version === 'number' && version !== VERSION)
    throw new ChatError('UNSUPPORTED_VERSION', `peer speaks version ${version}`, { field: `${want}.version` });
  const hello = (decoders[want] as Decode<Hello<T>>)(value, want);
  if (hello.type === 'client_hello') {
    if (new Set(hello.suites).size !== hello.suites.length) bad('client_hello.suites', 'no suite twice');
    onlyShares(hello, 'client_hello', new Set(hello.suites.filter(isSuite).flatMap((suite) => SUITE_SHARES[suite])));
  }
  if (hello.type === 'server_hello') {
    if (!isSuite(hello.suite)) return bad('server_hello.suite', 'a suite that was offered');
    onlyShares(hello, 'server_hello', new Set(SUITE_SHARES[hello.suite]));
  }
  return hello;
}

export const encodeHello = (hello: Hello<HelloType>): Buffer => encode(hello as unknown as Encodable);

/** What marks an error that the peer reported, in contrast to one that we found in what it sent. */
export const REPORTED = Symbol('reported by the peer');

/** The plaintext of an `error` map: the peer gets code, sub, field and waiting time, never message or cause. */
export const encodeError = (error: ChatError): Buffer =>
  encode({
    type: 'error',
    code: error.code,
    sub: error.sub,
    field: error.field,
    retry_after_ms: error.retryAfterMs,
  });

/**
 * A record that refuses a client before its handshake began (BAD_CERT for a certificate that TLS let through to be told why,
 * RATE_LIMIT, SHUTTING_DOWN). Write it, then close.
 */
export const refusalRecord = (error: ChatError): Buffer => encodeRecord(encodeError(error));

function reported(error: Hello<'error'>): ChatError {
  const { code, sub, field, retry_after_ms: retryAfterMs } = error;
  return new ChatError(code, `the peer ended the handshake: ${code}${sub === undefined ? '' : `/${sub}`}`, {
    ...(sub === undefined ? {} : { sub }),
    ...(field === undefined ? {} : { field }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    cause: REPORTED,
  });
}

/** A share is present exactly when a suite needs it. */
function onlyShares(shares: Shares, name: string, needed: ReadonlySet<Share>): void {
  for (const share of SHARES)
    if ((shares[share] !== undefined) !== needed.has(share))
      bad(`${name}.${share}`, needed.has(share) ? 'this field' : 'no share that no suite needs');
}
