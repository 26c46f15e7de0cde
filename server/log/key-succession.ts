/**
 * The keys that one log has had. A new one is prepared in a file beside the old one's, takes over with a KEY entry that both have signed,
 * and its file then replaces the other. A crash in between is mended at the next start: the entry decides.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { existsSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { base64, fromBase64, utf8 } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { decimal } from '../../transcript/checkpoint.ts';
import { agrees, parseKeyStatement } from '../../transcript/key-statement.ts';
import { decodeLeaf } from '../../transcript/leaf.ts';
import { formatVkey, verifierKey, type VerifierKey } from '../../transcript/note.ts';
import { disk, replaceFile } from './files.ts';
import { createLogKey, loadLogKey } from './key-file.ts';

/** One key taking over from another. */
export interface Takeover {
  /** Index of its KEY entry: the key before has signed no larger checkpoint. */
  readonly size: number;
  readonly statement: string;
  /** Of the key before, over the statement. */
  readonly endorsement: Uint8Array;
}
/** A key of this log that signs no more. */
export interface FormerKey {
  readonly key: VerifierKey;
  readonly size: number;
}

const listOf = (keyFile: string): string => keyFile.replace(/(\.key)?$/, '.takeovers');
const nextOf = (keyFile: string): string => `${keyFile}.next`;

/** Makes the key that is to take over. @returns false: there is one already @throws NOT_FOUND without a key before it */
export function prepareKey(keyFile: string): boolean {
  if (!existsSync(keyFile))
    throw new ChatError('NOT_FOUND', `${keyFile} is missing: there is no log to give another key`, {
      field: 'transcript.key',
    });
  if (existsSync(nextOf(keyFile))) return false;
  createLogKey(nextOf(keyFile));
  return true;
}

/** Null: none is prepared. @throws UNSAFE_FILE, CONFIG_INVALID */
export function preparedKey(keyFile: string): KeyObject | null {
  return existsSync(nextOf(keyFile)) ? loadLogKey(nextOf(keyFile), false) : null;
}

/** In the order in which they happened. @throws LOG_CORRUPT */
export async function readTakeovers(keyFile: string): Promise<Takeover[]> {
  const path = listOf(keyFile);
  const text = (await disk.readFile(path))?.toString('latin1') ?? '';
  const corrupt = (): never => {
    throw new ChatError('LOG_CORRUPT', `${path} is not readable; restore it`);
  };
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [number = '', statement = '', signature = '', ...more] = line.split(' ');
      const [size, bytes, endorsement] = [decimal(number), fromBase64(statement), fromBase64(signature)];
      if (size === null || bytes === null || endorsement === null || more.length > 0) return corrupt();
      const parsed = parseKeyStatement(bytes);
      if (parsed.previous === null || !agrees(parsed, bytes, endorsement)) return corrupt();
      return { size, statement: bytes.toString('utf8'), endorsement };
    });
}

export const formerKeys = (takeovers: readonly Takeover[]): FormerKey[] =>
  takeovers.map(({ size, statement }) => ({ key: parseKeyStatement(utf8(statement)).previous!, size }));

/** The prepared key is the log's from now on. Durable when it resolves; done again it changes nothing. */
export async function install(keyFile: string, before: readonly Takeover[], takeover: Takeover): Promise<Takeover[]> {
  const all = before.some(({ statement }) => statement === takeover.statement) ? [...before] : [...before, takeover];
  const lines = all.map((t) => `${t.size} ${base64(utf8(t.statement))} ${base64(t.endorsement)}\n`);
  await replaceFile(disk, listOf(keyFile), utf8(lines.join('')));
  await disk.syncDirectory(dirname(keyFile));
  renameSync(nextOf(keyFile), keyFile);
  await disk.syncDirectory(dirname(keyFile));
  return all;
}

/** Whether the newest entry of a log lets the prepared key take over: then a crash has kept it from its place. */
export function takeoverIn(
  entry: Uint8Array | undefined,
  size: number,
  next: KeyObject,
  origin: string,
): Takeover | null {
  if (entry === undefined) return null;
  const leaf = decodeLeaf(entry);
  if (leaf.type !== 'key') return null;
  const statement = parseKeyStatement(leaf.statement);
  const isNext = formatVkey(statement.log) === formatVkey(verifierKey(origin, createPublicKey(next)));
  if (!isNext || statement.previous === null) return null;
  const text = Buffer.from(leaf.statement).toString('utf8');
  return { size: size - 1, statement: text, endorsement: Buffer.from(leaf.previousSignature) };
}
