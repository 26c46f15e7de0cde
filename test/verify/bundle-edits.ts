/** One kind of row for the whole tamper matrix of bundles, and how the bundle that they start from is altered. */
import type { BundleContent, BundleMessage } from '../../transcript/bundle-writer.ts';
import type { FindingCode } from '../../verify/finding.ts';
import { bundleOf, type BundleAlterations } from '../support/bundle-writer.ts';
import type { Made } from '../x509/maker.ts';
import type { OutsideCase } from './judge.ts';
import { ca, caKey, leaves, world } from './tamper.ts';

export interface BundleRow {
  readonly name: string;
  readonly archive: () => Buffer;
  readonly other?: () => Buffer;
  readonly known?: () => readonly Uint8Array[];
  readonly crls?: readonly Uint8Array[];
  /** DER, trusted in addition to the authority of gen-certs.sh. */
  readonly roots?: readonly Uint8Array[];
  readonly at?: number;
  readonly outside?: OutsideCase;
  readonly exit: number;
  readonly code?: FindingCode;
  readonly where?: string;
  readonly isAlone?: boolean;
}

export const BEGIN = world.begin;
export const root: Made = {
  der: Buffer.from(ca.der),
  pair: { publicKey: ca.publicKey, privateKey: caKey },
  subject: Buffer.from(ca.subject.der),
  serial: 0,
};
export const SEAL = 'SHA256SUMS.sig';
export const msg = (number: number, file = ''): string => `msg/${String(number).padStart(6, '0')}${file && `/${file}`}`;

export const plain: Buffer = bundleOf(world, leaves, 'ab');
export const sealed = (alter: BundleAlterations) => () => bundleOf(world, leaves, 'ab', alter);
export const withFiles = (files: (files: Map<string, Buffer>) => void) => sealed({ files });
export const file = (path: string, change: (bytes: Buffer) => Buffer) =>
  withFiles((files) => {
    const bytes = files.get(path);
    if (bytes === undefined) throw new RangeError(path);
    files.set(path, change(bytes));
  });
export const without = (...paths: string[]) =>
  withFiles((files) => {
    for (const path of paths) if (!files.delete(path)) throw new RangeError(path);
  });
export const swapped = (a: string, b: string) =>
  withFiles((files) => {
    const [left, right] = [files.get(a)!, files.get(b)!];
    files.set(a, right).set(b, left);
  });
export const withMessages = (change: (messages: BundleMessage[]) => BundleMessage[]) => sealed({ messages: change });
export const selective: NonNullable<BundleAlterations['head']> = (head) => ({ ...head, profile: 'selective' });
export const withContent = (content: (content: BundleContent) => BundleContent) => sealed({ content });
export const found = (code: FindingCode, where: string, isAlone = true, exit = 10) => ({ exit, code, where, isAlone });
export const first = {
  path: msg(1),
  entry: msg(1, 'entry'),
  opening: msg(1, 'opening'),
  proof: msg(1, 'log.tlog-proof'),
};
export const text = (change: (text: string) => string) => (bytes: Buffer) => Buffer.from(change(bytes.toString()));
