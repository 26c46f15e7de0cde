/** One kind of row for the whole tamper matrix, and the log that the rows start from. */
import type { Leaf } from '../../transcript/leaf.ts';
import type { Certificate } from '../../x509/certificate.ts';
import type { FindingCode } from '../../verify/finding.ts';
import type { OutsideCase } from './judge.ts';
import { compose, genCerts, seal, type Alterations, type SealAlterations, type Step } from '../support/log-writer.ts';

export interface Row {
  readonly name: string;
  readonly files: () => ReadonlyMap<string, Uint8Array>;
  /** What to do in the directory beyond writing files. */
  readonly prepare?: (dir: string) => void;
  /** Checkpoints held from elsewhere. */
  readonly known?: () => readonly Uint8Array[];
  /** Trusted in addition to the authority of gen-certs.sh. */
  readonly roots?: readonly Certificate[];
  readonly crls?: readonly Uint8Array[];
  readonly outside?: OutsideCase;
  readonly exit: number;
  /** Must be among the findings, at this place; for a row that stays VALID: the only one beside W_NO_CRL. */
  readonly code?: FindingCode;
  readonly where?: string;
  /** No finding but this one and W_NO_CRL. */
  readonly isAlone?: boolean;
}

export const { ca, key: caKey, world } = genCerts();
/** Signatures differ each time they are made, so what must have the same root is made of these same leaves. */
export const leaves: readonly Leaf[] = compose(world);
export const files: ReadonlyMap<string, Buffer> = seal(world, leaves);

/** A log of a server that has its key and alters what it logs. */
export const relogged = (change: (leaves: Leaf[]) => Leaf[] | void, alter: SealAlterations = {}) => {
  const copy = leaves.slice();
  return seal(world, change(copy) ?? copy, alter);
};
/** A log of senders that sign something else. */
export const resigned = (alter: Alterations, story?: readonly Step[]) => seal(world, compose(world, story, alter));

/** The files with one of them changed. */
export function altered(path: string, change: (bytes: Buffer) => Uint8Array): Map<string, Uint8Array> {
  const copy = new Map<string, Uint8Array>(files);
  const bytes = files.get(path);
  if (bytes === undefined) throw new RangeError(path);
  copy.set(path, change(Buffer.from(bytes)));
  return copy;
}
export function without(path: string): Map<string, Uint8Array> {
  const copy = new Map<string, Uint8Array>(files);
  if (!copy.delete(path)) throw new RangeError(path);
  return copy;
}

/** Index of the leaf of a type, counted from 0. */
export function indexOf(type: Leaf['type'], nth: number): number {
  const found = leaves.flatMap((leaf, i) => (leaf.type === type ? [i] : []))[nth];
  if (found === undefined) throw new RangeError(`${type} ${nth}`);
  return found;
}
/** Index of the SIGB leaf of the story's nth batch. */
export const batch = (nth: number): number => indexOf('sigb', nth);

/** The leaf at an index, which must be of this type. */
export function leafAt<T extends Leaf['type']>(
  list: readonly Leaf[],
  index: number,
  type: T,
): Extract<Leaf, { type: T }> {
  const leaf = list[index];
  if (leaf?.type !== type) throw new RangeError(`leaf ${index} is no ${type}`);
  return leaf as Extract<Leaf, { type: T }>;
}

/** A copy with one bit changed. */
export function flipped(bytes: Uint8Array, offset: number, bit = 0): Buffer {
  const copy = Buffer.from(bytes);
  copy[offset]! ^= 1 << bit;
  return copy;
}
