/**
 * The part of a statement of kind 6, with which a session begins: where the device's session before ends. It is not in the log, only its
 * hash; whoever knows how the sessions of a log end makes the part again and compares. docs/TRANSCRIPT.md §a, §b.
 */
import { concat, readU64, u64, type Hash, type SessionId } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { leafHash } from './merkle.ts';
import { OPEN_BYTES, SESSION_BYTES } from './statement.ts';

/** The last statement of a session: its counter, and leaf(BS) of its batch. */
export interface SessionEnd {
  readonly session: SessionId;
  readonly lastCtr: number;
  readonly lastBatch: Hash;
}

/** 56 bytes. @param before null: there is none, or the device has lost what it knew */
export const encodeOpening = (before: SessionEnd | null): Buffer =>
  before === null ? Buffer.alloc(OPEN_BYTES) : concat(before.session, u64(before.lastCtr), before.lastBatch);

/** Views of `part`; null for zeros. @throws BAD_FRAME unless it is 56 bytes with a counter, or zeros */
export function decodeOpening(part: Uint8Array): SessionEnd | null {
  if (part.length !== OPEN_BYTES) bad('opening', `${OPEN_BYTES} bytes`);
  if (part.every((byte) => byte === 0)) return null;
  const lastCtr = readU64(Buffer.from(part.buffer, part.byteOffset, part.length), SESSION_BYTES, 'opening.last_ctr');
  if (lastCtr === 0) bad('opening.last_ctr', 'a counter of the session before');
  const session = part.subarray(0, SESSION_BYTES) as SessionId;
  return { session, lastCtr, lastBatch: part.subarray(SESSION_BYTES + 8) as Uint8Array as Hash };
}

/** What a statement of kind 6 has as its ciphertext hash. */
export const openingHash = (before: SessionEnd | null): Hash => leafHash(encodeOpening(before));
