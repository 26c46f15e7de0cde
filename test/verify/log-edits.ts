/** How rows of logs alter entries, put entries in, and say where. */
import type { Hash } from '../../base/bytes.ts';
import type { Leaf } from '../../transcript/leaf.ts';
import { verifierKey } from '../../transcript/note.ts';
import { publicOf, type Credential } from '../support/log-writer.ts';
import { ed25519 } from '../x509/maker.ts';
import { batch, files, leaves, relogged, world } from './tamper.ts';

/** The story's fifth batch: 256 messages of carol. */
export const LARGE = batch(4);
export const filled = (byte: number) => Buffer.alloc(32, byte) as Uint8Array as Hash;
export const { alice, bob, carol } = world.people as Record<'alice' | 'bob' | 'carol', Credential>;
/** The entry as bytes that encodeLeaf() would not make. */
export const raw = (index: number, change: (entry: Buffer) => Buffer) =>
  relogged(() => undefined, { entries: (entries) => entries.with(index, change(entries[index]!)) });
export const insert = (index: number, ...more: Leaf[]) =>
  relogged((all) => void all.splice(index, 0, ...more), {
    files: (all) => ['key.stmt', 'key.sig'].forEach((name) => all.set(name, files.get(name)!)),
  });
export const at = (index: number) => leaves[index]!.serverTime;
/** Of one batch alone. */
export const ofBatch =
  <A extends unknown[], T, U extends T>(nth: number, change: (value: T, ...rest: A) => U) =>
  (value: T, number: number, ...rest: A): T =>
    number === nth ? change(value, ...rest) : value;
export const place = (nth: number) => `entry ${batch(nth)}`;

export const otherLogKey = ed25519().privateKey;
export const otherLog = verifierKey(world.origin, publicOf(otherLogKey));
