/** Rows of bundles of a server with the log key, and of senders that lie. */
import type { Hash } from '../../base/bytes.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { verifierKey } from '../../transcript/note.ts';
import { bundleOf, contentOf, credentialOf } from '../support/bundle-writer.ts';
import { compose, fingerprintOf, STORY, type Step, type World } from '../support/log-writer.ts';
import { BEGIN, first, found, msg, type BundleRow } from './bundle-edits.ts';
import { batchOf, inBatch, made, relogged, zeros } from './bundle-stories.ts';
import { rogueKey, roguePublic } from './rogue-log.ts';
import { flipped, world } from './tamper.ts';

const alice = credentialOf(world, 'alice');

/** The story with a batch that has another server time. */
const later = STORY.with(9, { ...STORY[9]!, at: 59_000 });

/** Two histories of one log, in each of which there is another message at one index; both were shown to alice. */
const begun = { sender: 'alice', conversations: ['ab'], at: 0 };
const one = compose(world, [begun, { sender: 'bob', conversations: ['ab'], at: 1000 }]);
const pause: Step = { leaf: (serverTime) => ({ type: 'time', serverTime, stamp: Buffer.alloc(0) }), at: 1000 };
const other = compose(world, [begun, pause, { sender: 'alice', conversations: ['ab', 'ab'], at: 2000 }]);
const bobs = () => [...contentOf(world, one, 'ab').messages()][1]!;

export const BUNDLE_SERVER: readonly BundleRow[] = [
  {
    name: 'another entry at the same place',
    archive: () => bundleOf(world, other, 'ab', { messages: (m) => m.toSpliced(1, 0, bobs()) }),
    ...found('E_FORK', msg(3), false, 14),
  },
  {
    name: 'signed without the context',
    archive: made({
      signature: (signed, b) => (b === 1 ? { ...signed, signature: flipped(signed.signature, 12) } : signed),
    }),
    ...found('E_BATCH_SIG', msg(2, 'batch.sig'), false),
  },
  {
    name: 'signed by somebody else',
    archive: made({ signer: (who, b) => (b === 1 ? alice : who) }),
    ...found('E_BATCH_SIG', msg(2, 'batch.sig'), false),
  },
  {
    name: 'signed for another log',
    archive: made(batchOf(1, (bs) => ({ ...bs, audience: zeros(32) as Hash }))),
    ...found('E_AUDIENCE', msg(2, 'batch.tbs'), false),
  },
  {
    name: 'a statement of another session',
    archive: made(inBatch(1, 1, (ms) => ({ ...ms, session: zeros(16) as typeof ms.session }))),
    ...found('E_LEAF', msg(2, 'entry'), false),
  },
  {
    name: 'a statement of another sender',
    archive: made(inBatch(1, 1, (ms) => ({ ...ms, sender: fingerprintOf(alice) }))),
    ...found('E_LEAF', msg(2, 'entry'), false),
  },
  {
    name: 'a jump of the session counter in a batch',
    archive: made(inBatch(1, 2, (ms) => ({ ...ms, sessionCtr: 7 }))),
    ...found('E_CTR_GAP', msg(3, 'entry'), false),
  },
  {
    name: 'a jump of the conversation counter',
    archive: made(inBatch(1, 2, (ms) => ({ ...ms, convCtr: 7 }))),
    ...found('E_CONV_GAP', msg(3), false),
  },
  {
    name: 'a conversation counter that goes back',
    archive: made(inBatch(1, 2, (ms) => ({ ...ms, convCtr: 1 }))),
    ...found('E_CONV_GAP', msg(3), false),
  },
  {
    name: 'a broken link',
    archive: made(inBatch(1, 2, (ms) => ({ ...ms, prevConv: Buffer.alloc(32, 1) as Uint8Array as Hash }))),
    ...found('E_CONV_LINK', msg(3), false),
  },
  {
    name: 'no link',
    archive: made(inBatch(1, 2, (ms) => ({ ...ms, prevConv: NO_HASH }))),
    ...found('E_CONV_LINK', msg(3), false),
  },
  {
    name: 'a first message that follows another',
    archive: made(inBatch(1, 1, (ms) => ({ ...ms, prevConv: Buffer.alloc(32, 1) as Uint8Array as Hash }))),
    exit: 10,
    code: 'E_COMMIT',
    where: msg(2, 'opening'),
  },
  {
    name: 'which is in another log',
    archive: () =>
      bundleOf(
        world,
        compose(
          world,
          STORY,
          inBatch(1, 1, (ms) => ({ ...ms, prevConv: Buffer.alloc(32, 1) as Uint8Array as Hash })),
        ),
        'ab',
        { messages: (m) => m.map((one) => ({ ...one, opening: null })) },
      ),
    exit: 0,
    code: 'W_CONV_ELSEWHERE',
    where: msg(2),
  },
  {
    name: 'a session that begins anew',
    archive: () =>
      bundleOf(
        world,
        compose(
          world,
          STORY,
          inBatch(5, 1, (ms) => ({ ...ms, prevConv: NO_HASH })),
        ),
        'ab',
        { messages: (m) => m.map((one) => ({ ...one, opening: null })) },
      ),
    exit: 0,
    code: 'W_CONV_RESTART',
    where: msg(6),
  },
  {
    name: 'a batch that follows another',
    archive: made(batchOf(2, (bs) => ({ ...bs, prevBatch: zeros(32) as Hash }))),
    ...found('E_BATCH_CHAIN', msg(4, 'batch.tbs')),
  },
  {
    name: 'a first batch that follows another',
    archive: made(batchOf(0, (bs) => ({ ...bs, prevBatch: Buffer.alloc(32, 1) as Uint8Array as Hash }))),
    ...found('E_BATCH_CHAIN', msg(1, 'batch.tbs'), false),
  },
  {
    name: 'a batch that begins before the last one ends',
    archive: made(batchOf(2, (bs) => ({ ...bs, firstCtr: 1 }))),
    ...found('E_CTR_REGRESS', msg(4, 'batch.tbs'), false),
  },
  {
    name: 'two messages with one counter',
    archive: made({
      ...batchOf(2, (bs) => ({ ...bs, firstCtr: 1 })),
      ms: (ms, batch) => (batch === 2 ? { ...ms, sessionCtr: 1 } : ms),
    }),
    ...found('E_DOUBLE', msg(4), false, 14),
  },
  {
    name: 'clocks that differ',
    archive: () =>
      bundleOf(
        world,
        compose(
          world,
          STORY,
          inBatch(0, 1, (ms) => ({ ...ms, clientTime: ms.clientTime - 300_000 })),
        ),
        'ab',
        { messages: (m) => m.map((one) => ({ ...one, opening: null })) },
      ),
    exit: 0,
    code: 'W_SKEW',
    where: first.entry,
  },
  { name: 'a server time that goes back', archive: made({}, later), ...found('E_TIME_ORDER', msg(7), false) },
  {
    name: 'a message logged with another time than its batch',
    archive: relogged((copy) => {
      const leaf = copy[8]!;
      if (leaf.type === 'msg') copy[8] = { ...leaf, serverTime: leaf.serverTime + 1 };
    }),
    ...found('E_ORDER', msg(3), false),
  },
  {
    name: 'a server certificate as a sender',
    archive: () =>
      bundleOf(
        { ...world, people: { ...world.people, bob: world.server } },
        compose({ ...world, people: { ...world.people, bob: world.server } }),
        'ab',
      ),
    ...found('E_CERT_USAGE', msg(2, 'batch.sig'), false, 12),
  },
  {
    name: 'times that the statement of the log key does not cover',
    archive: made({ keyStatement: (s) => ({ ...s, notAfter: BEGIN + 500 }) }),
    ...found('E_KEYBIND', msg(2, 'log.tlog-proof'), true, 12),
  },
  {
    name: 'a log of another host',
    archive: () => {
      const elsewhere: World = {
        ...world,
        origin: 'chat.example.com/log/n1',
        log: verifierKey('chat.example.com/log/n1', roguePublic),
        logKey: rogueKey,
      };
      return bundleOf(elsewhere, compose(elsewhere), 'ab');
    },
    ...found('E_KEYBIND', 'log/01/key-01.stmt', true, 12),
  },
];
