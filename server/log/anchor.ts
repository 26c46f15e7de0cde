/**
 * What this log is known to have signed, kept outside of its directory: the newest checkpoint, and when the process was last alive. A
 * directory that was put back from a backup is smaller than its anchor; and how long nobody was there says how long to wait for clients.
 */
import { dirname } from 'node:path';
import { utf8 } from '../../base/bytes.ts';
import { decimal, openCheckpoint, type Checkpoint, type LogKeys } from '../../transcript/checkpoint.ts';
import { replaceFile, type Files } from './files.ts';

export interface Anchor {
  readonly checkpoint: Checkpoint;
  /** Unix ms */
  readonly time: number;
}

const HEAD = /^chatlog\/v1 anchor\ntime ([0-9]+)\n\n/;

/** Null: there is none that a key of this log has signed. */
export async function readAnchor(files: Files, path: string, log: LogKeys): Promise<Anchor | null> {
  const bytes = await files.readFile(path);
  const head = HEAD.exec(bytes?.subarray(0, 64).toString('latin1') ?? '');
  const time = decimal(head?.[1] ?? '');
  if (bytes === null || head === null || time === null) return null;
  try {
    return { checkpoint: openCheckpoint(bytes.subarray(head[0].length), log), time };
  } catch {
    return null; // of another log that this folder had, or written by halves: it says nothing of this one
  }
}

/** Durable when it resolves. */
export async function writeAnchor(files: Files, path: string, note: string, time: number): Promise<void> {
  await replaceFile(files, path, utf8(`chatlog/v1 anchor\ntime ${time}\n\n${note}`));
  await files.syncDirectory(dirname(path));
}

/** A restart that is as quick as this is no restored backup, and nobody waits for anybody. */
const SHORT_ABSENCE_MS = 10_000;

/**
 * How long nothing may be signed after a start, ms: until whoever is online has come back. A client's pauses double, so that after an
 * absence of d its next attempt is at most 2d away.
 * @param alive when the process was last alive, Unix ms; @param settleMs at most so long, 0: never
 */
export function holdMs(alive: number, now: number, settleMs: number): number {
  const absence = now - alive;
  if (absence < 0) return settleMs; // the clock says nothing
  return absence < SHORT_ABSENCE_MS ? 0 : Math.min(settleMs, 2 * absence);
}
