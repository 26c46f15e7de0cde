/** Rows of a server that cuts a session, and of senders that open or close one as they should not. */
import type { Leaf } from '../../transcript/leaf.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { encodeOpening } from '../../transcript/opening.ts';
import { ciphertextHash } from '../../transcript/statement.ts';
import { compose, seal, sessionOf, type Alterations, type Step } from '../support/log-writer.ts';
import { world, type Row } from './tamper.ts';

/** Alice closes a session and opens the next; so does Bob, who only goes on; Alice comes back a third time. */
const SESSIONS: readonly Step[] = [
  { sender: 'alice', opens: null, conversations: ['ab'], at: 0 },
  { sender: 'bob', opens: null, conversations: ['ab', 'bc'], at: 1000 },
  { sender: 'alice', conversations: ['ab', 'notes'], closes: true, at: 2000 },
  { sender: 'alice', session: 1, opens: 0, conversations: ['notes'], at: 60_000 },
  { sender: 'bob', session: 1, opens: 0, conversations: ['bc'], at: 61_000 },
  { sender: 'alice', session: 1, conversations: [], closes: true, at: 62_000 },
  { sender: 'alice', session: 2, opens: 1, conversations: ['ab'], at: 63_000 },
];
const honest = compose(world, SESSIONS);
const batches = honest.flatMap((leaf, i) => (leaf.type === 'sigb' ? [i] : []));
const countAt = (index: number): number => {
  const leaf = honest[index]!;
  return leaf.type === 'sigb' ? Buffer.from(leaf.bs).readUInt32BE(64) : 0;
};
/** The log without some of its batches, as a server that has its key would sign it. */
const without = (...dropped: readonly number[]) => {
  const gone = (i: number): boolean => dropped.some((n) => i >= batches[n]! && i <= batches[n]! + countAt(batches[n]!));
  return seal(
    world,
    honest.filter((_: Leaf, i: number) => !gone(i)),
  );
};
const lengthOf = (...numbers: readonly number[]): number =>
  numbers.reduce((sum, n) => sum + 1 + countAt(batches[n]!), 0);
const opening = (nth: number): number => batches[nth]! + 1;
const resigned = (alter: Alterations) => seal(world, compose(world, SESSIONS, alter));
/** The opening of the nth batch says this. */
const says = (nth: number, part: Uint8Array) =>
  resigned({
    ms: (ms, batch, position) =>
      batch === nth && position === 1 ? { ...ms, ciphertextHash: ciphertextHash([part]) } : ms,
  });

export const SESSION_ROWS: readonly Row[] = [
  { name: 'sessions that follow each other', files: () => seal(world, honest), exit: 0 },
  {
    name: 'LIMIT: the last session removed',
    files: () => without(6),
    exit: 0,
  },
  {
    name: 'the last batch of an earlier session removed',
    files: () => without(2),
    exit: 10,
    code: 'E_SESSION_LINK',
    where: `entry ${opening(3) - lengthOf(2)}`,
  },
  {
    name: 'the close of an earlier session removed',
    files: () => without(5),
    exit: 10,
    code: 'E_SESSION_LINK',
    where: `entry ${opening(6) - lengthOf(5)}`,
    isAlone: true,
  },
  {
    name: 'an earlier session removed as a whole, with nothing that links to it',
    files: () => {
      const story = SESSIONS.filter((_, i) => i !== 1);
      return seal(
        world,
        compose(world, story, {
          ms: (ms, batch, position) =>
            batch === 3 && position === 1
              ? { ...ms, ciphertextHash: ciphertextHash([encodeOpening(named(ms.prevConv))]) }
              : ms,
        }),
      );
    },
    exit: 10,
    code: 'E_SESSION_LINK',
    where: `entry ${opening(4) - lengthOf(1)}`,
  },
  {
    name: 'an opening that names another end of the session before',
    files: () => says(6, encodeOpening({ session: sessionOf('alice', 1), lastCtr: 2, lastBatch: NO_HASH })),
    exit: 10,
    code: 'E_SESSION_LINK',
    where: `entry ${opening(6)}`,
    isAlone: true,
  },
  {
    name: 'a device that lost its state opens a session and names none: a warning',
    files: () => says(3, encodeOpening(null)),
    exit: 0,
    code: 'W_SESSION_RESTART',
    where: `entry ${opening(3)}`,
    isAlone: true,
  },
  {
    name: 'a session goes on behind its close',
    files: () =>
      seal(world, compose(world, [...SESSIONS, { sender: 'alice', session: 1, conversations: ['ab'], at: 64_000 }])),
    exit: 10,
    code: 'E_CLOSED',
    where: `entry ${honest.length + 1}`,
    isAlone: true,
  },
  {
    name: 'an opening in the middle of a session',
    files: () => resigned({ ms: (ms, batch, position) => (batch === 1 && position === 2 ? { ...ms, ...SECOND } : ms) }),
    exit: 10,
    code: 'E_CTR_REGRESS',
    where: `entry ${batches[1]! + 2}`,
  },
];

function named(prevConv: Uint8Array) {
  return { session: sessionOf('bob', 0), lastCtr: 3, lastBatch: Buffer.from(prevConv).fill(7) as never };
}

/** What makes an opening of any statement. */
const SECOND = {
  kind: 6 as const,
  parts: 1,
  ciphertextBytes: 56,
  sessionCtr: 1,
  conversation: NO_HASH as never,
  convCtr: 0,
  prevConv: NO_HASH,
  rosterHash: NO_HASH,
  commitment: NO_HASH,
  ciphertextHash: ciphertextHash([encodeOpening(null)]),
};
