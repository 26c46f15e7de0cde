/** Rows of bundles that somebody without a key has altered. */
import { concat } from '../../base/bytes.ts';
import type { BundleMessage } from '../../transcript/bundle-writer.ts';
import { ARCHIVE_END, archived } from '../../transcript/ustar.ts';
import { bundleOf, contentOf, credentialOf } from '../support/bundle-writer.ts';
import { found, msg, plain, SEAL, sealed, type BundleRow } from './bundle-edits.ts';
import { flipped, leaves, world } from './tamper.ts';

const bob = credentialOf(world, 'bob');

/** The bytes of the archive with something done to them, and no new seal. */
const raw = (change: (bytes: Buffer) => Buffer) => () => change(Buffer.from(plain));

/** Where the header of a file is in the archive. */
function headerOf(path: string): number {
  const at = plain.indexOf(Buffer.concat([Buffer.from(path), Buffer.alloc(101 - path.length)]).subarray(0, 100));
  if (at < 0 || at % 512 !== 0) throw new RangeError(path);
  return at;
}
const sizeAt = (at: number): number => Number.parseInt(plain.toString('latin1', at + 124, at + 135), 8);
const lengthOf = (at: number): number => 512 * (1 + Math.ceil(sizeAt(at) / 512));
const cut = (bytes: Buffer, path: string): Buffer => {
  const at = headerOf(path);
  return concat(bytes.subarray(0, at), bytes.subarray(at + lengthOf(at)));
};

export const BUNDLE_OUTSIDER: readonly BundleRow[] = [
  { name: 'nothing is altered', archive: () => plain, exit: 0 },
  {
    name: 'a bit of an entry',
    archive: raw((bytes) => flipped(bytes, headerOf(msg(3, 'entry')) + 512 + 40)),
    ...found('E_SUMS', msg(3, 'entry'), false),
  },
  {
    name: 'a bit of a checkpoint',
    archive: raw((bytes) => flipped(bytes, headerOf('log/01/checkpoint') + 512 + 30)),
    ...found('E_SUMS', 'log/01/checkpoint', false),
  },
  {
    name: 'a bit of the head',
    archive: raw((bytes) => flipped(bytes, 512 + 30)),
    ...found('E_SUMS', 'BUNDLE', false),
  },
  {
    name: 'no head',
    archive: raw((bytes) => cut(bytes, 'BUNDLE')),
    ...found('E_FORMAT', 'BUNDLE', false),
  },
  {
    name: 'the time of a file',
    archive: raw((bytes) => flipped(bytes, headerOf(msg(3, 'entry')) + 140)),
    ...found('E_FORMAT', msg(3, 'entry')),
  },
  {
    name: 'bytes behind a file',
    archive: raw((bytes) => flipped(bytes, headerOf(msg(3, 'entry')) + 1023)),
    ...found('E_FORMAT', msg(3, 'entry')),
  },
  {
    name: 'the archive is cut off',
    archive: raw((bytes) => bytes.subarray(0, headerOf(msg(5, 'entry')) + 700)),
    ...found('E_FORMAT', 'archive', false),
  },
  {
    name: 'and what is announced is not there',
    archive: raw((bytes) => concat(bytes.subarray(0, headerOf(msg(5, 'batch.path'))), ARCHIVE_END)),
    ...found('E_TRUNCATED', 'BUNDLE', false),
  },
  { name: 'without its end', archive: raw((bytes) => bytes.subarray(0, -1024)), ...found('E_FORMAT', 'archive') },
  {
    name: 'longer than it is',
    archive: raw((bytes) => concat(bytes, Buffer.alloc(512))),
    ...found('E_FORMAT', 'archive'),
  },
  {
    name: 'a file taken out',
    archive: raw((bytes) => cut(bytes, msg(2, 'opening'))),
    ...found('E_SUMS', msg(2, 'opening')),
  },
  {
    name: 'the last file taken out',
    archive: raw((bytes) => cut(bytes, msg(17, 'opening'))),
    ...found('E_SUMS', msg(17, 'opening')),
  },
  {
    name: 'a text put in',
    archive: () => {
      const closed = bundleOf(world, leaves, 'ab', { messages: (m) => m.with(0, { ...m[0]!, opening: null }) });
      const path = msg(1, 'opening');
      const at = closed.indexOf(Buffer.concat([Buffer.from(msg(2, 'batch.path')), Buffer.alloc(9)]));
      const [{ opening }] = [...contentOf(world, leaves, 'ab').messages()] as [BundleMessage];
      return concat(closed.subarray(0, at), archived(path, opening!), closed.subarray(at));
    },
    ...found('E_SUMS', msg(1, 'opening')),
  },
  {
    name: 'a file put in',
    archive: raw((bytes) => {
      const at = headerOf(msg(2, 'batch.path'));
      return concat(bytes.subarray(0, at), archived('msg/000001/zzz', Buffer.from('x')), bytes.subarray(at));
    }),
    ...found('E_SUMS', 'msg/000001/zzz', false),
  },
  {
    name: 'files in another order',
    archive: raw((bytes) => {
      const [a, b] = [headerOf(msg(2, 'entry')), headerOf(msg(2, 'log.tlog-proof'))];
      const end = b + lengthOf(b);
      return concat(bytes.subarray(0, a), bytes.subarray(b, end), bytes.subarray(a, b), bytes.subarray(end));
    }),
    ...found('E_FORMAT', msg(2, 'entry'), false),
  },
  {
    name: 'the sums altered with the file',
    archive: sealed({ sums: (sums) => sums.replace(/^[0-9a-f]{64} {2}BUNDLE$/m, `${'0'.repeat(64)}  BUNDLE`) }),
    ...found('E_SUMS', 'BUNDLE'),
  },
  {
    name: 'a bit of the seal',
    archive: raw((bytes) => flipped(bytes, headerOf(SEAL) + 512 + 9)),
    ...found('E_BUNDLE_SIG', SEAL),
  },
  { name: 'no seal', archive: raw((bytes) => cut(bytes, SEAL)), ...found('E_BUNDLE_SIG', SEAL) },
  { name: 'sealed by another key', archive: sealed({ key: bob.key }), ...found('E_BUNDLE_SIG', SEAL) },
  {
    name: 'no sums',
    archive: raw((bytes) => cut(bytes, 'SHA256SUMS')),
    ...found('E_SUMS', 'SHA256SUMS'),
  },
  {
    name: 'sums that are no sums',
    archive: sealed({ sums: (sums) => sums.replace('  ', ' *') }),
    ...found('E_FORMAT', 'SHA256SUMS', false),
  },
  {
    name: 'sums without the end of a line',
    archive: sealed({ sums: (sums) => sums.slice(0, -1) }),
    ...found('E_FORMAT', 'SHA256SUMS', false),
  },
];
