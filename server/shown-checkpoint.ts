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
  if (cosigned !== null && cosigned.signers > parseNote(note).signatures.length) {
    const { size } = cosigned;
    if (size > last && size <= checkpoint.size) return { note: cosigned.note, size, token: null };
  }
  return { note, size: checkpoint.size, token: null };
}

/** Null: no witness has cosigned anything, or the file is damaged, and says nothing. */
function cosignedIn(dir: string): { readonly note: Buffer; readonly size: number; readonly signers: number } | null {
  try {
    const note = readFileSync(join(dir, 'cosigned'));
    return { note, size: peekCheckpoint(note).size, signers: parseNote(note).signatures.length };
  } catch {
    return null;
  }
}
