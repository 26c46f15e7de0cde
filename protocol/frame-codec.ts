/**
 * Frames to the bytes of a record's plaintext, and back. Decoding is strict: unknown types, unknown fields and values out of range are errors
 * that name the field.
 */
import { decodeSequence, encode, encodeAt, Template, type Encodable, type Value } from '../base/cbor.ts';
import { bad, type Decode } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { replies, requests, type Reply, type Request } from './messages.ts';
import { HEADER_BYTES, recordFor } from './unsealed.ts';

/** The requests of one record. @throws BAD_FRAME naming the field, UNKNOWN_TYPE; frames before the fault were yielded */
export const decodeRequests = (plaintext: Uint8Array): Generator<Request> => decodeFrames<Request>(requests, plaintext);
/** The replies and notices of one record. @throws BAD_FRAME naming the field, UNKNOWN_TYPE */
export const decodeReplies = (plaintext: Uint8Array): Generator<Reply> => decodeFrames<Reply>(replies, plaintext);

/** The `id` of a frame that failed to decode, so that its error can be addressed; undefined when there is none to be read. */
export function requestIdOf(value: Value): number | undefined {
  const id = value instanceof Map ? (value.get('id') as Value | undefined) : undefined;
  return typeof id === 'number' && Number.isSafeInteger(id) && id > 0 && id < 2 ** 32 ? id : undefined;
}

export const encodeFrame = (frame: Request | Reply): Buffer => encode(frame as unknown as Encodable);
/** With room around it for a record of its own. */
export const frameInRecord = (frame: Request | Reply): Buffer =>
  encodeAt(HEADER_BYTES, recordFor, frame as unknown as Encodable);

/** Frames of one record that several peers get alike but for some numbers, which are HOLE: they are encoded once. */
export const templateOf = (...frames: readonly Reply[]): Template =>
  new Template(...(frames as unknown as readonly Encodable[]));
/** With room around it as above. @param numbers for the holes, in the order of the encoding */
export const filledInRecord = (template: Template, numbers: readonly number[]): Buffer =>
  template.encodeAt(HEADER_BYTES, recordFor, numbers);

function* decodeFrames<F>(table: Record<string, Decode<unknown>>, plaintext: Uint8Array): Generator<F> {
  for (const value of decodeSequence(plaintext)) yield decodeFrame<F>(table, value);
}

function decodeFrame<F>(table: Record<string, Decode<unknown>>, value: Value): F {
  if (!(value instanceof Map)) return bad('frame', 'a map');
  const type = value.get('type') as Value | undefined;
  if (typeof type !== 'string') return bad('frame.type', 'text');
  if (!Object.hasOwn(table, type))
    throw new ChatError('UNKNOWN_TYPE', 'no frame has this type', { field: 'frame.type' });
  return (table[type] as Decode<F>)(value, type);
}
