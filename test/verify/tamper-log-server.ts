/** Rows of a server that holds its log key, and alters what it has logged. */
import { view } from '../../base/bytes.ts';
import type { Leaf } from '../../transcript/leaf.ts';
import { decodeMs, encodeMs, KIND, type MessageStatement } from '../../transcript/statement.ts';
import { fingerprintOf } from '../support/log-writer.ts';
import { alice, at, filled, insert, LARGE, place, raw } from './log-edits.ts';
import { batch, indexOf, leafAt, leaves, relogged, type Row } from './tamper.ts';

/** Bytes before the body of an entry. */
const ENTRY_HEADER = 12;
const countOf = (nth: number) => view(leafAt(leaves, batch(nth), 'sigb').bs).readUInt32BE(64);

const editMs = (index: number, change: (ms: MessageStatement) => Partial<MessageStatement>) =>
  relogged((all) => {
    const leaf = leafAt(all, index, 'msg');
    const ms = decodeMs(leaf.ms);
    all[index] = { ...leaf, ms: encodeMs({ ...ms, ...change(ms) }) };
  });
const setTime = (index: number, change: (time: number) => number) =>
  relogged((all) => {
    all[index] = { ...all[index]!, serverTime: change(all[index]!.serverTime) };
  });
const rewritePositions = (all: Leaf[], first: number, count: number) => {
  for (let i = 0; i < count; i++) all[first + i] = { ...leafAt(all, first + i, 'msg'), position: i + 1 };
};

export const SERVER: readonly Row[] = [
  {
    name: 'ciphertext hash',
    files: () => editMs(LARGE + 9, () => ({ ciphertextHash: filled(1) })),
    exit: 10,
    code: 'E_BATCH_ROOT',
    where: place(4),
  },
  {
    name: 'commitment',
    files: () => editMs(LARGE + 9, () => ({ commitment: filled(1) })),
    exit: 10,
    code: 'E_BATCH_ROOT',
    where: place(4),
  },
  {
    name: 'client time',
    files: () => editMs(LARGE + 256, (ms) => ({ clientTime: ms.clientTime + 1 })),
    exit: 10,
    code: 'E_BATCH_ROOT',
    where: place(4),
  },
  {
    name: 'audience of a message',
    files: () => editMs(LARGE + 9, () => ({ rosterHash: filled(1) })),
    exit: 10,
    code: 'E_BATCH_ROOT',
    where: place(4),
  },
  {
    name: 'another sender in the message than in the batch',
    files: () => editMs(LARGE + 9, () => ({ sender: fingerprintOf(alice) })),
    exit: 10,
    code: 'E_LEAF',
    where: `entry ${LARGE + 9}`,
  },
  {
    name: 'message dropped',
    files: () => relogged((all) => void all.splice(LARGE + 9, 1)),
    exit: 10,
    code: 'E_ORDER',
    where: `entry ${LARGE + 9}`,
    isAlone: true,
  },
  {
    name: 'message dropped and positions rewritten',
    files: () => relogged((all) => (all.splice(LARGE + 9, 1), rewritePositions(all, LARGE + 1, 255))),
    exit: 10,
    code: 'E_BATCH_SHORT',
    where: place(4),
  },
  {
    name: 'last message of the log dropped',
    files: () => relogged((all) => void all.pop()),
    exit: 10,
    code: 'E_BATCH_SHORT',
    where: place(11),
  },
  {
    name: 'all messages of a batch dropped',
    files: () => relogged((all) => void all.splice(batch(2) + 1, 3)),
    exit: 10,
    code: 'E_BATCH_SHORT',
    where: place(2),
  },
  {
    name: 'messages reordered',
    files: () => relogged((all) => void all.splice(LARGE + 9, 2, all[LARGE + 10]!, all[LARGE + 9]!)),
    exit: 10,
    code: 'E_ORDER',
    where: `entry ${LARGE + 9}`,
  },
  {
    name: 'messages reordered and positions rewritten',
    files: () =>
      relogged((all) => {
        all.splice(LARGE + 9, 2, all[LARGE + 10]!, all[LARGE + 9]!);
        rewritePositions(all, LARGE + 1, 256);
      }),
    exit: 10,
    code: 'E_BATCH_ROOT',
    where: place(4),
  },
  {
    name: 'message without a batch',
    files: () => relogged((all) => void all.splice(batch(3), 1)),
    exit: 10,
    code: 'E_ORDER',
    where: `entry ${batch(3)}`,
  },
  {
    name: 'message after its batch is complete',
    files: () => insert(batch(3) + 2, { ...leafAt(leaves, batch(3) + 1, 'msg'), position: 2 }),
    exit: 10,
    code: 'E_ORDER',
    where: `entry ${batch(3) + 2}`,
  },
  {
    name: 'a receipt that is counted in a conversation',
    files: () => raw(LARGE + 9, (entry) => Buffer.from(entry.with(ENTRY_HEADER + 8, KIND.read))),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE + 9}`,
  },
  {
    name: 'batch dropped',
    files: () => relogged((all) => void all.splice(batch(2), 4)),
    exit: 10,
    code: 'E_CTR_GAP',
    where: `entry ${batch(10) - 4}`,
  },
  {
    name: 'batch dropped, seen by the chain of batches',
    files: () => relogged((all) => void all.splice(batch(2), 4)),
    exit: 10,
    code: 'E_BATCH_CHAIN',
    where: `entry ${batch(10) - 4}`,
  },
  {
    name: 'first batch of a session dropped',
    files: () => relogged((all) => void all.splice(batch(0), 2)),
    exit: 10,
    code: 'E_CTR_GAP',
    where: `entry ${batch(2) - 2}`,
  },
  {
    name: 'batch replayed',
    files: () =>
      relogged((all) => [
        ...all,
        ...all.slice(batch(2), batch(2) + 4).map((leaf) => ({ ...leaf, serverTime: at(583) })),
      ]),
    exit: 10,
    code: 'E_CTR_REGRESS',
    where: `entry ${leaves.length}`,
  },
  {
    name: 'two batches of a session swapped',
    files: () =>
      relogged((all) => {
        const [a, b] = [all.slice(batch(8), batch(8) + 2), all.slice(batch(1), batch(1) + 4)];
        const moved = (some: Leaf[], serverTime: number) => some.map((leaf) => ({ ...leaf, serverTime }));
        all.splice(batch(8), 2, ...moved(b, at(batch(8))));
        all.splice(batch(1), 4, ...moved(a, at(batch(1))));
      }),
    exit: 10,
    code: 'E_CTR_GAP',
    where: place(1),
  },
  {
    name: 'LIMIT: two batches of different senders swapped',
    files: () =>
      relogged((all) => {
        const [first, second] = [batch(6), batch(7)];
        const [a, b] = [all.slice(first, second), all.slice(second, batch(8))];
        return [...all.slice(0, first), ...b, ...a, ...all.slice(batch(8))];
      }),
    exit: 0,
  },
  {
    name: 'time set back',
    files: () => setTime(indexOf('time', 0), (time) => time - 58_000),
    exit: 10,
    code: 'E_TIME_ORDER',
    where: `entry ${indexOf('time', 0)}`,
  },
  {
    name: 'a batch set back',
    files: () =>
      relogged((all) =>
        all.map((leaf, i) =>
          i > LARGE && i < LARGE + 257 ? leaf : i === LARGE ? { ...leaf, serverTime: 1000 } : leaf,
        ),
      ),
    exit: 10,
    code: 'E_TIME_ORDER',
    where: `entry ${LARGE}`,
  },
  {
    name: 'two times in one batch',
    files: () => setTime(LARGE + 256, (time) => time + 1),
    exit: 10,
    code: 'E_TIME_ORDER',
    where: `entry ${LARGE + 256}`,
    isAlone: true,
  },
  {
    name: 'LIMIT: times off by five minutes',
    files: () => relogged((all) => all.map((leaf) => ({ ...leaf, serverTime: leaf.serverTime + 299_980 }))),
    exit: 0,
  },
  {
    name: 'clock jump: a warning, for who is wrong can not be told',
    files: () =>
      relogged((all) =>
        all.map((leaf, i) => (i >= batch(11) ? { ...leaf, serverTime: leaf.serverTime + 300_000 } : leaf)),
      ),
    exit: 0,
    code: 'W_SKEW',
    where: `entry ${batch(11) + 1}`,
    isAlone: true,
  },
  {
    name: 'an earlier session removed: the later one links to what is not there',
    files: () =>
      relogged((all) => all.filter((_, i) => ![0, 2, 10].some((n) => i >= batch(n) && i <= batch(n) + countOf(n)))),
    exit: 10,
    code: 'E_CONV_LINK',
    where: `entry ${batch(11) + 1 - 2 - 4 - 2}`,
  },
];
