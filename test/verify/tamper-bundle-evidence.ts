/** Rows of an exporter who alters what stands behind a message, and seals that. */
import { concat } from '../../base/bytes.ts';
import { formatPath, parsePath } from '../../transcript/bundle.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { BS_BYTES } from '../../transcript/statement.ts';
import { bundleOf } from '../support/bundle-writer.ts';
import { file, first, found, msg, swapped, text, withMessages, without, type BundleRow } from './bundle-edits.ts';
import { flipped, leaves, world } from './tamper.ts';

/** A batch that the server has logged twice, and messages of it from both places. */
const replayed = () => {
  const last = leaves.findLastIndex((leaf) => leaf.type === 'sigb');
  return bundleOf(world, [...leaves, ...leaves.slice(last)], 'ab', { messages: (m) => m.toSpliced(9, 9) });
};

export const BUNDLE_EVIDENCE: readonly BundleRow[] = [
  { name: 'a batch from two places', archive: replayed, ...found('E_ORDER', msg(10)) },
  {
    name: 'one signature of several of a batch',
    archive: file(msg(3, 'batch.sig'), (b) => flipped(b, 12)),
    ...found('E_BATCH_SIG', msg(3, 'batch.sig')),
  },
  {
    name: 'another position in the entry',
    archive: file(msg(2, 'entry'), (b) => flipped(b, 3, 1)),
    ...found('E_BATCH_PATH', msg(2, 'batch.path'), false),
  },
  {
    name: 'an altered message beside the true one accuses nobody',
    archive: withMessages(([a, ...rest]) => [a!, { ...a!, entry: flipped(a!.entry, 100) }, ...rest]),
    ...found('E_CTR_REGRESS', msg(2), false),
  },
  {
    name: 'a bit of an entry, sealed',
    archive: file(msg(3, 'entry'), (b) => flipped(b, 100)),
    ...found('E_INCLUSION', msg(3, 'log.tlog-proof'), false),
  },
  {
    name: 'which is not what was signed either',
    archive: file(msg(3, 'entry'), (b) => flipped(b, 100)),
    ...found('E_BATCH_PATH', msg(3, 'batch.path'), false),
  },
  {
    name: 'another server time',
    archive: file(first.entry, (b) => flipped(b, 11)),
    ...found('E_INCLUSION', first.proof),
  },
  {
    name: 'another text',
    archive: file(first.opening, (b) => flipped(b, b.length - 1)),
    ...found('E_COMMIT', first.opening),
  },
  {
    name: 'another key of the commitment',
    archive: file(first.opening, (b) => flipped(b, 0)),
    ...found('E_COMMIT', first.opening),
  },
  {
    name: 'a text that is longer',
    archive: file(first.opening, (b) => concat(b, Buffer.of(0))),
    ...found('E_COMMIT', first.opening),
  },
  {
    name: 'no text at all',
    archive: file(first.opening, (b) => b.subarray(0, 32)),
    ...found('E_COMMIT', first.opening),
  },
  {
    name: 'not even a key',
    archive: file(first.opening, (b) => b.subarray(0, 31)),
    ...found('E_COMMIT', first.opening),
  },
  {
    name: 'openings swapped',
    archive: swapped(msg(2, 'opening'), msg(3, 'opening')),
    ...found('E_COMMIT', msg(2, 'opening'), false),
  },
  { name: 'a text that is not disclosed', archive: without(first.opening), exit: 0 },
  {
    name: 'proofs swapped',
    archive: swapped(msg(2, 'log.tlog-proof'), msg(3, 'log.tlog-proof')),
    ...found('E_INCLUSION', msg(3, 'log.tlog-proof'), false),
  },
  {
    name: 'the place before',
    archive: file(
      first.proof,
      text((t) => t.replace('index 4', 'index 3')),
    ),
    ...found('E_INCLUSION', first.proof),
  },
  {
    name: 'a place beyond the tree',
    archive: file(
      first.proof,
      text((t) => t.replace('index 4', 'index 400')),
    ),
    ...found('E_INCLUSION', first.proof, false),
  },
  {
    name: 'a proof with a hash too many',
    archive: file(
      first.proof,
      text((t) => t.replace('\n\n', `\n${Buffer.alloc(32).toString('base64')}\n\n`)),
    ),
    ...found('E_INCLUSION', first.proof),
  },
  {
    name: 'a malformed proof',
    archive: file(
      first.proof,
      text((t) => t.replace('index', 'Index')),
    ),
    ...found('E_FORMAT', first.proof),
  },
  {
    name: 'a proof in a log that nobody knows',
    archive: file(
      first.proof,
      text((t) => t.replace('example.org', 'example.com')),
    ),
    ...found('E_KEYBIND', first.proof, false, 12),
  },
  {
    name: 'a checkpoint that the log did not sign',
    archive: file(
      first.proof,
      text((t) => t.replace('\n5\n', '\n6\n')),
    ),
    ...found('E_CKPT_SIG', first.proof),
  },
  {
    name: 'paths swapped',
    archive: swapped(msg(2, 'batch.path'), msg(3, 'batch.path')),
    ...found('E_BATCH_PATH', msg(2, 'batch.path'), false),
  },
  {
    name: 'a path from another place',
    archive: file(msg(2, 'batch.path'), (b) => formatPath({ ...parsePath(b), index: 1 })),
    ...found('E_BATCH_PATH', msg(2, 'batch.path')),
  },
  {
    name: 'a path in a larger batch',
    archive: file(msg(2, 'batch.path'), (b) => formatPath({ ...parsePath(b), size: 4 })),
    ...found('E_BATCH_PATH', msg(2, 'batch.path')),
  },
  {
    name: 'a malformed path',
    archive: file(msg(2, 'batch.path'), (b) => concat(b, Buffer.from('\n'))),
    ...found('E_FORMAT', msg(2, 'batch.path')),
  },
  {
    name: 'the signature of another batch',
    archive: swapped(msg(1, 'batch.sig'), msg(4, 'batch.sig')),
    ...found('E_BATCH_SIG', msg(1, 'batch.sig'), false),
  },
  {
    name: 'an empty signature',
    archive: file(msg(1, 'batch.sig'), () => Buffer.alloc(0)),
    ...found('E_BATCH_SIG', msg(1, 'batch.sig')),
  },
  {
    name: 'a signature under another context',
    archive: file(msg(1, 'batch.tbs'), (b) => flipped(b, 70)),
    ...found('E_FORMAT', msg(1, 'batch.tbs'), false),
  },
  {
    name: 'a malformed batch statement',
    archive: file(msg(1, 'batch.tbs'), (b) => flipped(b, b.length - BS_BYTES)),
    ...found('E_FORMAT', msg(1, 'batch.tbs'), false),
  },
  {
    name: 'the batch statement of another batch',
    archive: swapped(msg(1, 'batch.tbs'), msg(4, 'batch.tbs')),
    ...found('E_BATCH_PATH', msg(1, 'batch.path'), false),
  },
  {
    name: 'the entry of a batch in place of that of a message',
    archive: file(first.entry, () => encodeLeaf(leaves[3]!)),
    ...found('E_FORMAT', first.entry, false),
  },
  {
    name: 'an entry that is none',
    archive: file(first.entry, () => Buffer.from('hello')),
    ...found('E_FORMAT', first.entry, false),
  },
  ...['batch.path', 'batch.sig', 'batch.tbs', 'entry', 'log.tlog-proof'].map((name) => ({
    name: `no ${name}`,
    archive: without(msg(6, name)),
    ...found('E_FORMAT', msg(6, name), false),
  })),
];
