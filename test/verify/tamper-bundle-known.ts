/** Rows of bundles beside checkpoints and bundles from elsewhere. */
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { encodeLeaf, type Leaf } from '../../transcript/leaf.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { bundleOf, credentialOf, type BundleAlterations } from '../support/bundle-writer.ts';
import { compose, headOf, noteAt, STORY } from '../support/log-writer.ts';
import { BEGIN, file, first, found, msg, plain, withContent, withMessages, type BundleRow } from './bundle-edits.ts';
import { inBatch, made } from './bundle-stories.ts';
import { rogueContent, rogueKey, rogueTwice } from './rogue-log.ts';
import { flipped, leaves, world } from './tamper.ts';

const alice = credentialOf(world, 'alice');

const fork = (): Leaf[] => {
  const story = STORY.toSpliced(9, 1, { sender: 'bob', conversations: ['bc'], at: 63_000 });
  const other = compose(world, story);
  const from = leaves.findLastIndex((leaf) => leaf.type === 'sigb' && leaf.serverTime === BEGIN + 63_000);
  return [...leaves.slice(0, from), ...other.slice(from)];
};
const short = leaves.slice(
  0,
  leaves.findLastIndex((leaf) => leaf.type === 'sigb'),
);

/** The last batch is logged once more, a second later. */
const twice: readonly Leaf[] = [
  ...leaves,
  ...leaves.slice(short.length).map((leaf) => ({ ...leaf, serverTime: leaf.serverTime + 1000 })),
];

/** The first batch with another time, as somebody has logged it. */
const delayed = (content: NonNullable<BundleAlterations['content']>) => () => {
  const later = leaves.map((leaf, i) => (i === 3 || i === 4 ? { ...leaf, serverTime: leaf.serverTime + 1 } : leaf));
  return bundleOf(world, later, 'ab', { content });
};

export const BUNDLE_KNOWN: readonly BundleRow[] = [
  { name: 'the last checkpoint', archive: () => plain, known: () => [noteAt(world, leaves)], exit: 0 },
  {
    name: 'one that a message is proven under',
    archive: () => plain,
    known: () => [noteAt(world, leaves, 10)],
    exit: 0,
  },
  {
    name: 'one of another size',
    archive: () => plain,
    known: () => [noteAt(world, leaves, 8)],
    exit: 0,
    code: 'W_UNLINKED',
    where: 'known 1',
  },
  {
    name: 'one of another history',
    archive: () => plain,
    known: () => [signCheckpoint({ ...headOf(world, []), size: 10, root: NO_HASH }, world.logKey)],
    ...found('E_FORK', 'known 1', true, 14),
  },
  {
    name: 'two that contradict each other, of a size that the bundle does not have',
    archive: () => plain,
    known: () => [
      noteAt(world, leaves, 8),
      signCheckpoint({ ...headOf(world, []), size: 8, root: NO_HASH }, world.logKey),
    ],
    ...found('E_FORK', 'known 2', false, 14),
  },
  {
    name: 'one that contradicts the other bundle',
    archive: withMessages((m) => m.slice(0, 1)),
    other: () => plain,
    known: () => [signCheckpoint({ ...headOf(world, []), size: 10, root: NO_HASH }, world.logKey)],
    ...found('E_FORK', world.origin, false, 14),
  },
  {
    name: 'one that only the other bundle has',
    archive: withMessages((m) => m.slice(0, 1)),
    other: () => plain,
    known: () => [noteAt(world, leaves, 10)],
    exit: 0,
    code: 'W_UNLINKED',
    where: 'known 1',
  },
  {
    name: 'one that the log did not sign',
    archive: () => plain,
    known: () => [signCheckpoint(headOf(world, leaves.slice(0, 10).map(encodeLeaf)), rogueKey)],
    ...found('E_CKPT_SIG', 'known 1'),
  },
  {
    name: 'one of another log',
    archive: () => plain,
    known: () => [signCheckpoint({ ...headOf(world, []), origin: 'chat.example.com/log/n1' }, rogueKey)],
    ...found('E_CKPT_SIG', 'known 1'),
  },
  {
    name: 'two checkpoints of one size in one bundle',
    archive: withMessages((m) =>
      m.map((one, i) =>
        i === 2
          ? {
              ...one,
              proof: {
                ...one.proof,
                checkpoint: signCheckpoint({ ...headOf(world, []), size: 10, root: NO_HASH }, world.logKey),
              },
            }
          : one,
      ),
    ),
    ...found('E_FORK', msg(3, 'log.tlog-proof'), false, 14),
  },

  {
    name: 'the bundle of the other party',
    archive: () => plain,
    other: () => bundleOf(world, leaves, 'ab', {}, 'bob'),
    exit: 0,
  },
  {
    name: 'a bundle of less',
    archive: () => plain,
    other: () => bundleOf(world, short, 'ab', {}, 'bob'),
    exit: 0,
    code: 'W_MISSING',
    where: 'other',
  },
  {
    name: 'a bundle of more',
    archive: () => bundleOf(world, short, 'ab', {}, 'bob'),
    other: () => plain,
    exit: 0,
    code: 'W_MISSING',
    where: 'other',
  },
  {
    name: 'a bundle of another conversation',
    archive: () => plain,
    other: () => bundleOf(world, leaves, 'bc', {}, 'bob'),
    ...found('E_INPUT', 'other', true, 13),
  },
  {
    name: 'a bundle of a forked log',
    archive: () => plain,
    other: () => bundleOf(world, fork(), 'ab', {}, 'bob'),
    ...found('E_FORK', world.origin, false, 14),
  },
  {
    name: 'a sender who says different things',
    archive: () => plain,
    other: made(inBatch(0, 1, (ms) => ({ ...ms, clientTime: ms.clientTime - 1 }))),
    ...found('E_DOUBLE', msg(1), false, 14),
  },
  {
    name: 'and the server another thing at one place',
    archive: () => plain,
    other: made(inBatch(0, 1, (ms) => ({ ...ms, clientTime: ms.clientTime - 1 }))),
    ...found('E_FORK', msg(1), false, 14),
  },
  {
    name: 'a server that logs once more what was signed, and shows it to the other party so',
    archive: () => bundleOf(world, twice, 'ab', { messages: (all) => all.slice(0, -9) }),
    other: () => bundleOf(world, twice, 'ab', { messages: (all) => all.toSpliced(-18, 9) }, 'bob'),
    ...found('E_CTR_REGRESS', msg(9), false),
  },
  {
    name: 'another text that the sender did not sign is held against nobody',
    archive: () => plain,
    other: file(first.entry, (b) => flipped(b, 100)),
    exit: 0,
    code: 'W_MISSING',
    where: 'other',
  },
  {
    name: 'nor a log whose key nobody vouches for',
    archive: () => plain,
    other: withContent((content) => rogueContent(alice, content)),
    exit: 0,
  },
  {
    name: 'nor what such a log says twice',
    archive: rogueTwice,
    ...found('E_CONSISTENCY', msg(3, 'log.tlog-proof'), false),
  },
  {
    name: 'nor what such a log has at a place',
    archive: () => plain,
    other: delayed((content) => rogueContent(alice, content)),
    exit: 0,
  },
  {
    name: 'while the server is, for another entry at a place',
    archive: () => plain,
    other: delayed((content) => content),
    ...found('E_FORK', msg(1), false, 14),
  },
];
