/** Values for the tests of this room: our frozen vectors, keys from seeds, batches of a sender, and how properties are run. */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import type { ConversationId, Fingerprint, Hash, SessionId } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { CONTEXT, sign } from '../../base/signature.ts';
import { leafHash, NO_HASH, rootOf } from '../../transcript/merkle.ts';
import { parseVkey, verifierKey } from '../../transcript/note.ts';
import {
  audienceOf,
  encodeBs,
  encodeMs,
  type BatchStatement,
  type MessageStatement,
} from '../../transcript/statement.ts';

export const vectors = JSON.parse(readFileSync(new URL('../vectors/ours/transcript.json', import.meta.url), 'utf8'));
export const unhex = (text: string): Buffer => Buffer.from(text, 'hex');
export const hash = (text: string): Hash => unhex(text) as Uint8Array as Hash;

/** RFC 8410 §7: the private key structure around a seed of 32 bytes. */
export const ed25519 = (seed: Uint8Array): KeyObject =>
  createPrivateKey({
    key: Buffer.concat([unhex('302e020100300506032b657004220420'), seed]),
    format: 'der',
    type: 'pkcs8',
  });

export const origin: string = vectors.log.origin;
export const logKey = ed25519(unhex(vectors.log.seed));
export const log = parseVkey(vectors.log.vkey);
export const strangerKey = ed25519(Buffer.alloc(32, 9));
/** Another key under the log's name. */
export const impostor = verifierKey(origin, createPublicKey(strangerKey));

/** Statement fields in the vectors are hexadecimal. */
export const fields = <T>(json: Record<string, string | number>): T =>
  Object.fromEntries(Object.entries(json).map(([k, v]) => [k, typeof v === 'string' ? unhex(v) : v])) as T;

export const filled = (byte: number, length = 32): Buffer => Buffer.alloc(length, byte);
export const fingerprint = filled(0xa1) as Uint8Array as Fingerprint;
export const session = filled(0xb1, 16) as Uint8Array as SessionId;
export const conversation = filled(0xc1) as Uint8Array as ConversationId;

export const ms = (change: Partial<MessageStatement> = {}): MessageStatement => ({
  kind: 1,
  parts: 1,
  ciphertextBytes: 10,
  sender: fingerprint,
  session,
  sessionCtr: 1,
  clientTime: 1750000000000,
  conversation,
  convCtr: 1,
  prevConv: NO_HASH,
  rosterHash: filled(1) as Uint8Array as Hash,
  commitment: filled(2) as Uint8Array as Hash,
  ciphertextHash: filled(3) as Uint8Array as Hash,
  ...change,
});

/** A batch statement over these messages. */
export const bs = (messages: readonly Uint8Array[], change: Partial<BatchStatement> = {}): BatchStatement => ({
  sender: fingerprint,
  session,
  firstCtr: 1,
  count: messages.length,
  signTime: 1750000000000,
  prevBatch: NO_HASH,
  batchRoot: rootOf(messages.map(leafHash)),
  audience: audienceOf(origin),
  ...change,
});

/** The first batch of a session: `count` linked messages in one conversation. */
export function sentBatch(count: number) {
  const messages: Buffer[] = [];
  let prevConv = NO_HASH;
  for (let i = 1; i <= count; i++) {
    const encoded = encodeMs(ms({ sessionCtr: i, convCtr: i, prevConv }));
    messages.push(encoded);
    prevConv = leafHash(encoded);
  }
  const statement = encodeBs(bs(messages));
  const { algorithm, signature } = sign(strangerKey, CONTEXT.senderBatch, statement);
  return { algorithm, signature, bs: statement, messages };
}

const isFuzz = process.env['FUZZ'] === '1';
/** Fixed seed; FUZZ=1: a random one and 100 times as many runs. */
export function property<T>(arbitrary: fc.Arbitrary<T>, holds: (value: T) => void, numRuns = 300): void {
  fc.assert(fc.property(arbitrary, holds), isFuzz ? { numRuns: numRuns * 100 } : { seed: 20260101, numRuns });
}

/** Damaged copies of a good value, and arbitrary bytes. */
export const damaged = (...good: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    fc.uint8Array({ maxLength: 400 }),
    fc
      .tuple(fc.constantFrom(...good), fc.nat(), fc.integer({ min: 1, max: 255 }))
      .map(([bytes, at, mask]) => bytes.map((byte, i) => (i === at % bytes.length ? byte ^ mask : byte))),
    fc.tuple(fc.constantFrom(...good), fc.nat()).map(([bytes, at]) => bytes.slice(0, at % bytes.length)),
    fc
      .tuple(fc.constantFrom(...good), fc.uint8Array({ minLength: 1, maxLength: 40 }))
      .map(([bytes, more]) => Buffer.concat([bytes, more])),
  );

/** Whatever the bytes: a value with exactly this encoding, or BAD_FRAME with a field; nothing else is thrown. */
export function decodesStrictly<T>(
  arbitrary: fc.Arbitrary<Uint8Array>,
  decode: (bytes: Uint8Array) => T,
  encode: (value: T, bytes: Uint8Array) => Uint8Array,
): void {
  property(arbitrary, (bytes) => {
    let value: T;
    try {
      value = decode(bytes);
    } catch (error) {
      if (error instanceof ChatError && error.code === 'BAD_FRAME' && error.field !== undefined) return;
      throw error;
    }
    if (Buffer.compare(encode(value, bytes), bytes) !== 0) throw new Error('two encodings of one value');
  });
}

/** Asserts the code and the field (or sub) of a refusal. */
export const refuses = (
  test: Pick<typeof t, 'throws'>,
  run: () => unknown,
  code: string,
  detail: string,
  name: string,
) => test.throws(run, code === 'BAD_FRAME' ? { code, field: detail } : { code, sub: detail }, name);
