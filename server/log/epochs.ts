/**
 * The logs that one node has had, one after the other: the first in the folder of the log, `e2`, `e3`… inside of it. A later one begins
 * when the one before has lost what it had signed: nothing is ever written at an index twice, and what is left stays as it is.
 */
import { createPublicKey } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { utf8 } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { formatOrigin, parseRecovery, recoveryLines, type Recovery } from '../../transcript/key-statement.ts';
import { formatVkey, parseVkey, verifierKey, type VerifierKey } from '../../transcript/note.ts';
import { disk, replaceFile } from './files.ts';
import { loadLogKey } from './key-file.ts';
import { parseState } from './publication.ts';

/** Where everything of one epoch stands. */
export interface Epoch {
  readonly epoch: number;
  readonly dir: string;
  readonly keyFile: string;
  readonly anchorFile: string;
}

/** What the log of an epoch begins with. */
export interface Succession extends Recovery {
  /** Key of the log before. */
  readonly previous: VerifierKey;
}

const FILE = 'recovery';

/** The folder of the log, and that for the keys. */
export function epochAt(dir: string, stateDir: string, epoch: number): Epoch {
  const name = epoch === 1 ? 'log' : `log-e${epoch}`;
  return {
    epoch,
    dir: epoch === 1 ? dir : join(dir, `e${epoch}`),
    keyFile: join(stateDir, `${name}.key`),
    anchorFile: join(stateDir, `${name}.anchor`),
  };
}

/** The one that is written now. */
export function newestEpoch(dir: string, stateDir: string): Epoch {
  const names = existsSync(dir) ? readdirSync(dir) : [];
  const found = names.flatMap((name) => /^e([2-9]|[1-9][0-9]{1,8})$/.exec(name)?.[1] ?? []).map(Number);
  return epochAt(dir, stateDir, Math.max(1, ...found));
}

export const originOf = ({ epoch }: Epoch, host: string, node: string): string => formatOrigin({ host, node, epoch });

/** Null for the first epoch. @throws LOG_CORRUPT if it cannot be read */
export function successionOf({ epoch, dir }: Epoch): Succession | null {
  if (epoch === 1) return null;
  try {
    const text = readFileSync(join(dir, FILE), 'utf8');
    const [, vkey, kept, known] = /^chatlog\/v1 recovery\nprevious (.+)\nkept (.+)\nknown (.+)\n$/.exec(text) ?? [];
    return { previous: parseVkey(vkey ?? ''), ...parseRecovery(kept ?? '', known ?? '') };
  } catch (cause) {
    throw new ChatError('LOG_CORRUPT', `${join(dir, FILE)} is missing or malformed; restore it`, { cause });
  }
}

/** What the log of an epoch opens with. Null for the first. @throws LOG_CORRUPT, UNSAFE_FILE, CONFIG_INVALID */
export function inherit(at: Epoch, dir: string, stateDir: string) {
  const recovery = successionOf(at);
  if (recovery === null) return null;
  const { dir: before, keyFile } = epochAt(dir, stateDir, at.epoch - 1);
  const time = timeOf(before);
  if (!existsSync(keyFile)) return { recovery, previousKey: null, time };
  const previousKey = loadLogKey(keyFile, false);
  const vkey = formatVkey(verifierKey(recovery.previous.name, createPublicKey(previousKey)));
  return { recovery, previousKey: vkey === formatVkey(recovery.previous) ? previousKey : null, time };
}

/** Server time of the last entry that is left of a log; 0: that is lost as well. */
function timeOf(dir: string): number {
  try {
    return parseState(readFileSync(join(dir, 'state'))).time;
  } catch {
    return 0;
  }
}

/** Makes an empty epoch; it is there as a whole, or not at all. Durable when it resolves. */
export async function makeEpoch({ dir }: Epoch, { previous, ...recovery }: Succession): Promise<void> {
  const temporary = `${dir}.tmp`;
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { mode: 0o700 });
  const lines = ['chatlog/v1 recovery', `previous ${formatVkey(previous)}`, ...recoveryLines(recovery)];
  await replaceFile(disk, join(temporary, FILE), utf8(`${lines.join('\n')}\n`));
  await disk.syncDirectory(temporary);
  renameSync(temporary, dir);
  await disk.syncDirectory(join(dir, '..'));
}
