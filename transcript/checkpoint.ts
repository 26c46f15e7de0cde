/**
 * Checkpoints (C2SP tlog-checkpoint): a signed note of exactly three lines, origin, size and root. Extension lines, which C2SP allows,
 * are refused: nothing here would audit them. The log's key name is its origin.
 */
import type { KeyObject } from 'node:crypto';
import { base64, equal, fromBase64, type Hash } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { EMPTY_ROOT, HASH_BYTES } from './merkle.ts';
import { formatNote, openNote, parseNote, signNote, type Note, type NoteCheck, type VerifierKey } from './note.ts';

export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Hash;
}

/** Of one log, at least one. */
export type LogKeys = readonly [VerifierKey, ...VerifierKey[]];

/** The note text: what is signed. */
export const checkpointText = ({ origin, size, root }: Checkpoint): string => `${origin}\n${size}\n${base64(root)}\n`;

/** @throws BAD_FRAME naming checkpoint.lines, .origin, .size or .root; a size of 0 has the root of nothing */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = text.split('\n');
  const [origin, number, encoded] = lines;
  if (lines.length !== 4 || lines[3] !== '') bad('checkpoint.lines', 'exactly three lines');
  if (origin === undefined || origin === '') bad('checkpoint.origin', 'an origin');
  const size = decimal(number ?? '') ?? bad('checkpoint.size', 'a decimal number without leading zeros');
  const root = fromBase64(encoded ?? '');
  if (root === null || root.length !== HASH_BYTES) bad('checkpoint.root', '32 bytes in base64');
  if (size === 0 && !equal(root, EMPTY_ROOT)) bad('checkpoint.root', 'the root of an empty tree');
  return { origin, size, root: root as Uint8Array as Hash };
}

/** A signed note with the log's signature alone. @throws BAD_FRAME for an origin that can't be a key name */
export function signCheckpoint(checkpoint: Checkpoint, logKey: KeyObject): Buffer {
  const text = checkpointText(checkpoint);
  parseCheckpoint(text);
  return formatNote(text, [signNote(text, checkpoint.origin, logKey)]);
}

/**
 * The checkpoint in a signed note, verified; other signatures (witnesses) are ignored.
 * @param note as of openNote()
 * @param log the log's key, whose name is its origin; or all that it has had, any of which may have signed
 * @param isSigned as of openNote()
 * @throws BAD_FRAME as parseNote() and parseCheckpoint(), or field checkpoint.origin if it is another log's
 * @throws SIG_FAIL/note unless the log signed it
 */
export function openCheckpoint(note: Uint8Array | Note, log: VerifierKey | LogKeys, isSigned?: NoteCheck): Checkpoint {
  const keys: LogKeys = 'name' in log ? [log] : log;
  const checkpoint = parseCheckpoint(openNote(note, keys, isSigned).text);
  if (checkpoint.origin !== keys[0].name) bad('checkpoint.origin', keys[0].name);
  return checkpoint;
}

/** What a signed note says, without any check of who says so. @throws BAD_FRAME */
export const peekCheckpoint = (note: Uint8Array): Checkpoint => parseCheckpoint(parseNote(note).text);

/** ASCII decimal without leading zeros, up to 2^53-1; null otherwise. */
export function decimal(text: string): number | null {
  if (text.length < 1 || text.length > MAX_DIGITS || (text.length > 1 && text.startsWith('0'))) return null;
  let value = 0;
  for (let at = 0; at < text.length; at++) {
    const digit = text.charCodeAt(at) - ZERO_DIGIT;
    if (digit < 0 || digit > 9) return null;
    value = 10 * value + digit;
  }
  return Number.isSafeInteger(value) ? value : null;
}
const MAX_DIGITS = 16;
const ZERO_DIGIT = 0x30;
