/** Under which checkpoint the operator proves messages: the newest that somebody outside vouches for, if it covers them, else the published one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { peekCheckpoint } from '../transcript/checkpoint.ts';
import { parseNote } from '../transcript/note.ts';
import type { Stamp } from '../transcript/stamp.ts';
import type { PublishedLog } from './transcript-files.ts';

export interface ShownCheckpoint {
  readonly note: Uint8Array;
  readonly size: number;
  /** Time-stamp token over the note. */
  readonly token: Uint8Array | null;
}

/**
 * Stamped comes before cosigned: what is stamped has the cosignatures that it had.
 * @param stamp the newest of the log
 * @param last index of the last message that is to be proven
 * @throws BAD_FRAME for a damaged note
 */
export function shownCheckpoint(
  dir: string,
  { checkpoint, note }: PublishedLog,
  stamp: Stamp | null,
  last: number,
): ShownCheckpoint {
  if (stamp !== null) {
    const { size } = peekCheckpoint(stamp.checkpoint);
    if (size > last) return { note: Buffer.from(stamp.checkpoint), size, token: Buffer.from(stamp.token) };
  }
  const cosigned = cosignedIn(dir);
  if (cosigned !== null && signersOf(cosigned) > signersOf(note)) {
    const { size } = peekCheckpoint(cosigned);
    if (size > last && size <= checkpoint.size) return { note: cosigned, size, token: null };
  }
  return { note, size: checkpoint.size, token: null };
}

const signersOf = (note: Uint8Array): number => parseNote(note).signatures.length;

function cosignedIn(dir: string): Buffer | null {
  try {
    return readFileSync(join(dir, 'cosigned'));
  } catch {
    return null; // no witness has cosigned anything
  }
}
