/** `--witness`, `--quorum`, `--tsa` and `--require` of the command line: whose word counts beside that of the server, and what must be there. */
import { parseWitness, parseWitnesses, isSameWitness, type WitnessKey } from '../transcript/cosignature.ts';
import type { Certificate } from '../x509/certificate.ts';
import type { Outside } from './outside.ts';

export const REQUIREMENTS = ['recipient-receipt', 'timestamp'] as const;
export type Requirement = (typeof REQUIREMENTS)[number];

export interface OutsideFlags {
  readonly witness?: readonly string[];
  readonly quorum?: string;
  readonly tsa?: readonly string[];
  readonly require?: readonly string[];
}

/** What makes no sense, in words. */
export class FlagFault extends Error {}

/** Each value may hold several, with commas between. @throws FlagFault */
export function requirementsOf(values: readonly string[] = []): ReadonlySet<Requirement> {
  const words = values.flatMap((value) => value.split(','));
  const known = (word: string): Requirement =>
    REQUIREMENTS.find((each) => each === word) ?? fault(`--require: want ${REQUIREMENTS.join(' or ')}`);
  return new Set(words.map(known));
}

/**
 * @param readWitnesses the vkeys in a file; finds what is wrong with it, and then answers none
 * @param readRoots the certificates in a file, likewise
 * @throws FlagFault
 */
export function outsideOf(
  { witness = [], quorum, tsa = [], require }: OutsideFlags,
  readWitnesses: (path: string) => readonly WitnessKey[],
  readRoots: (path: string) => readonly Certificate[],
): Outside {
  const requiresStamp = requirementsOf(require).has('timestamp');
  if (requiresStamp && tsa.length === 0) fault('--require timestamp: want --tsa, for without it no time-stamp counts');
  if (quorum !== undefined && witness.length === 0) fault('--quorum: want --witness');
  const lists = witness.map((value) => (isVkey(value) ? [witnessOf(value)] : readWitnesses(value)));
  const witnesses = lists.flat();
  if (witnesses.some((one, i) => witnesses.slice(0, i).some((other) => isSameWitness(one, other))))
    fault('--witness: one key twice would count twice');
  const isRead = lists.every((list) => list.length > 0); // what is wrong with a file has been found
  const count = quorum === undefined ? witnesses.length : Number(quorum);
  if (quorum !== undefined && isRead && !(/^[1-9]\d{0,2}$/.test(quorum) && count <= witnesses.length))
    fault(`--quorum: want 1..${witnesses.length}, as many as there are witnesses`);
  return { witnesses, quorum: count, stampRoots: tsa.flatMap(readRoots), requiresStamp };
}

/** Whose file is named so has to write ./ before it. */
const isVkey = (value: string): boolean => /^[^+/]+(\/[^+]+)?\+[0-9a-f]{8}\+/.test(value);

function witnessOf(vkey: string): WitnessKey {
  try {
    return parseWitness(vkey);
  } catch (error) {
    return fault(`--witness: ${(error as Error).message}`);
  }
}

/** @throws BAD_FRAME */
export const witnessesIn = (bytes: Buffer): WitnessKey[] => parseWitnesses(bytes.toString('utf8'));

function fault(message: string): never {
  throw new FlagFault(message);
}
