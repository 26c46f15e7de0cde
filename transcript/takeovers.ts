/**
 * How one key of a log came to take the place of another: a key statement that names the one before as previous, signed by that one. The
 * whole row, oldest first, ties any key that the log has had to any other. docs/TRANSCRIPT.md §c.
 */
import { base64, fromBase64, utf8 } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import type { LogKeys } from './checkpoint.ts';
import { isEndorsed, parseKeyStatement } from './key-statement.ts';
import { formatVkey, type VerifierKey } from './note.ts';

export interface Takeover {
  readonly statement: Uint8Array;
  /** By the key that the statement names as previous. */
  readonly endorsement: Uint8Array;
}

export const MAX_TAKEOVERS = 64;

/** A line for each: statement and signature in base64. */
export const formatTakeovers = (takeovers: readonly Takeover[]): Buffer =>
  utf8(takeovers.map(({ statement, endorsement }) => `${base64(statement)} ${base64(endorsement)}\n`).join(''));

/** @throws BAD_FRAME naming takeovers */
export function parseTakeovers(bytes: Uint8Array): Takeover[] {
  const lines = Buffer.from(bytes).toString('latin1').split('\n');
  if (lines.pop() !== '' || lines.length === 0 || lines.length > MAX_TAKEOVERS)
    bad('takeovers', `1..${MAX_TAKEOVERS} lines`);
  return lines.map((line) => {
    const [statement, endorsement, ...more] = line.split(' ').map(fromBase64);
    if (!statement || !endorsement || more.length > 0) bad('takeovers', 'a statement and a signature on each line');
    parseKeyStatement(statement);
    return { statement, endorsement };
  });
}

/**
 * All keys of the log of this one that are tied to it, itself first; what is not signed by the key before ties nothing. That a key was there
 * before this one is its own word alone: anybody can make a key that agrees to another as its successor.
 */
export const tiedTo = (key: VerifierKey, takeovers: readonly Takeover[]): Keys => reached([key], takeovers, true);

/** Those that came after any of these, themselves first: a key that was replaced never comes back. @param keys of one log */
export const followersOf = (keys: LogKeys, takeovers: readonly Takeover[]): Keys => reached(keys, takeovers, false);

type Keys = [VerifierKey, ...VerifierKey[]];

function reached(keys: LogKeys, takeovers: readonly Takeover[], isBothWays: boolean): Keys {
  const [key] = keys;
  const found: Keys = [...keys];
  const has = (other: VerifierKey): boolean => found.some((each) => formatVkey(each) === formatVkey(other));
  const steps = takeovers.flatMap(({ statement: text, endorsement }) => {
    const statement = parseKeyStatement(text);
    const { previous, log } = statement;
    const isStep = previous?.name === key.name && log.name === key.name && isEndorsed(statement, text, endorsement);
    return isStep && previous ? [[previous, log] as const] : [];
  });
  for (let before = 0; before < found.length;) {
    before = found.length;
    for (const [older, newer] of steps) {
      if (has(older) && !has(newer)) found.push(newer);
      if (isBothWays && has(newer) && !has(older)) found.push(older);
    }
  }
  return found;
}
