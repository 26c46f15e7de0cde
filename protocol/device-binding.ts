/**
 * A device binding, as bytes (docs/PROTOCOL.md §5.9): the key of a person's certificate signs that an Ed25519 key, by which a device is in
 * groups, is theirs. And what that key signs when the device goes on with another certificate: whoever has a device's mail can tell
 * by it that the next one is the same device (docs/decisions/0025). Nothing is judged here.
 */
import { createPrivateKey, createPublicKey, sign as nodeSign } from 'node:crypto';
import { Cursor } from '../base/cursor.ts';
import { concat, equal, readU64, u16, u32, u64, utf8, view, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { ALGORITHM, CONTEXT, tbs, verify } from '../base/signature.ts';

export const DEVICE_ID_BYTES = 16;
export const MLS_KEY_BYTES = 32;
/** A chain of RSA-4096 certificates has some 8 kB. */
export const MAX_BINDING_BYTES = 65_536;
export const MAX_CERTIFICATES = 9;
export const MAX_NAME_BYTES = 255;
const HASH_BYTES = 32;

/** What the certificate key signs. */
export interface BindingStatement {
  readonly organisation: string;
  readonly user: string;
  /** 16 random bytes, kept for the life of the device, over renewed certificates and MLS keys. */
  readonly deviceId: Uint8Array;
  /** Ed25519, raw, 32 bytes. */
  readonly mlsKey: Uint8Array;
  /** Unix ms; both ends belong to the validity, which lies inside that of the certificate. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface Decoded {
  readonly body: Uint8Array;
  readonly statement: BindingStatement;
  readonly certificateHash: Uint8Array;
  readonly algorithm: number;
  readonly signature: Uint8Array;
  readonly chain: readonly Uint8Array[];
}

const MAGIC = utf8('chat-db1');
const KEY_TYPE = utf8('ed25519');

export function encodeStatement(s: BindingStatement, certificateHash: Uint8Array): Buffer {
  if (s.deviceId.length !== DEVICE_ID_BYTES || s.mlsKey.length !== MLS_KEY_BYTES)
    throw new RangeError('a device id has 16 bytes and an MLS key 32');
  return concat(
    MAGIC,
    short(utf8(s.organisation)),
    short(utf8(s.user)),
    s.deviceId,
    certificateHash,
    short(KEY_TYPE),
    s.mlsKey,
    u64(s.notBefore),
    u64(s.notAfter),
  );
}

export function encodeBinding(
  body: Uint8Array,
  algorithm: number,
  signature: Uint8Array,
  chain: readonly Uint8Array[],
): Buffer {
  const certificates = chain.flatMap((der) => [u32(der.length), der]);
  return concat(
    u16(body.length),
    body,
    Buffer.of(algorithm),
    u16(signature.length),
    signature,
    Buffer.of(chain.length),
    ...certificates,
  );
}

/** Nothing of it is proven. @throws BAD_FRAME, TOO_LARGE */
export function decodeBinding(binding: Uint8Array): Decoded {
  if (binding.length > MAX_BINDING_BYTES)
    throw new ChatError('TOO_LARGE', `a binding of ${binding.length} bytes`, { field: 'binding' });
  const reader = new Cursor(binding, 'binding');
  const body = reader.take(reader.u16());
  const algorithm = reader.u8();
  const signature = reader.take(reader.u16());
  const count = reader.u8();
  if (count === 0 || count > MAX_CERTIFICATES) reader.refuse(undefined, `1..${MAX_CERTIFICATES} certificates`);
  const chain = Array.from({ length: count }, () => reader.take(reader.u32()));
  reader.end();
  const inner = new Cursor(body, 'binding.statement');
  if (!equal(inner.take(MAGIC.length), MAGIC)) inner.refuse(undefined, 'a device binding of this version');
  const organisation = inner.text(inner.u8());
  const user = inner.text(inner.u8());
  const deviceId = inner.take(DEVICE_ID_BYTES);
  const certificateHash = inner.take(HASH_BYTES);
  if (!equal(inner.take(inner.u8()), KEY_TYPE)) inner.refuse(undefined, 'a key of type ed25519');
  const mlsKey = inner.take(MLS_KEY_BYTES);
  const times = view(inner.take(16));
  inner.end();
  const [notBefore, notAfter] = [readU64(times, 0, 'binding.notBefore'), readU64(times, 8, 'binding.notAfter')];
  const statement = { organisation, user, deviceId, mlsKey, notBefore, notAfter };
  return { body, statement, certificateHash, algorithm, signature, chain };
}

function short(bytes: Uint8Array): Buffer {
  if (bytes.length === 0 || bytes.length > MAX_NAME_BYTES) throw new RangeError('a name has 1..255 bytes');
  return concat(Buffer.of(bytes.length), bytes);
}

/** What of a login shows that the device is one that the server knows under another certificate. */
export interface Continuity {
  /** by the certificate before */
  readonly binding: Uint8Array;
  /** by the device's MLS key */
  readonly signature: Uint8Array;
}

/** @param mlsPrivateKey raw, 32 bytes */
export function continuityOf(
  binding: Uint8Array,
  mlsPrivateKey: Uint8Array,
  before: Uint8Array,
  next: Fingerprint,
): Continuity {
  const key = createPrivateKey({ key: view(mlsPrivateKey), format: 'raw-private', asymmetricKeyType: 'ed25519' });
  return { binding, signature: nodeSign(null, tbs(CONTEXT.deviceContinuity, concat(before, next)), key) };
}

/** Whether the device of this binding has signed that it goes on under the certificate `next`. */
export function isContinued(
  { statement, certificateHash }: Decoded,
  signature: Uint8Array,
  next: Fingerprint,
): boolean {
  const key = createPublicKey({ key: view(statement.mlsKey), format: 'raw-public', asymmetricKeyType: 'ed25519' });
  return verify(key, ALGORITHM.ed25519, CONTEXT.deviceContinuity, concat(certificateHash, next), signature);
}
