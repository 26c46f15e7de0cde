/**
 * What a TIME entry holds, if it is not empty: a published checkpoint, and the RFC 3161 token over exactly these bytes. The note stands
 * beside its token, for nobody could make it again from the tree: its cosignatures are not there. docs/decisions/0019.
 * Body: length u16 ‖ signed note ‖ token.
 */
import { concat, u16 } from '../base/bytes.ts';
import { Cursor } from '../base/cursor.ts';
import { bad } from '../base/decode.ts';
import { sha256 } from '../base/hash.ts';

export interface Stamp {
  /** Signed note, with the cosignatures that it had. */
  readonly checkpoint: Uint8Array;
  /** DER of the time-stamp token. */
  readonly token: Uint8Array;
}

/** @throws BAD_FRAME naming stamp.checkpoint or stamp.token: both are there */
export function encodeStamp({ checkpoint, token }: Stamp): Buffer {
  if (checkpoint.length > 0xffff) bad('stamp.checkpoint', 'at most 65535 bytes');
  const bytes = concat(u16(checkpoint.length), checkpoint, token);
  decodeStamp(bytes);
  return bytes;
}

/** Views of `bytes`; neither is looked into. @throws BAD_FRAME naming stamp.checkpoint or stamp.token */
export function decodeStamp(bytes: Uint8Array): Stamp {
  const c = new Cursor(bytes, 'stamp');
  const length = c.u16('checkpoint');
  if (length === 0) c.refuse('checkpoint', 'a signed note');
  const checkpoint = c.take(length, 'checkpoint');
  const token = c.rest();
  if (token.length === 0) c.refuse('token', 'a time-stamp token');
  return { checkpoint, token };
}

/** What a token over this note bears. */
export const imprintOf = (note: Uint8Array): Buffer => sha256(note);
