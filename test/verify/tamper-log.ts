/** Rows of a server that holds its log key, and of senders that sign what they should not. */
import { constants, sign as nodeSign } from 'node:crypto';
import { u16, utf8, view, type Hash } from '../../base/bytes.ts';
import { CONTEXT, sign, tbs } from '../../base/signature.ts';
import { endorseKeyStatement, signKeyStatement, type KeyStatement } from '../../transcript/key-statement.ts';
import type { Leaf } from '../../transcript/leaf.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { verifierKey } from '../../transcript/note.ts';
import { decodeMs, encodeMs, KIND, type MessageStatement } from '../../transcript/statement.ts';
import {
  compose,
  fingerprintOf,
  keyLeaves,
  noteAt,
  publicOf,
  seal,
  STORY,
  type Alterations,
  type Credential,
} from '../support/log-writer.ts';
import { ed25519 } from '../x509/maker.ts';
import { batch, files, flipped, indexOf, leafAt, leaves, relogged, resigned, world, type Row } from './tamper.ts';

/** The story's fifth batch: 256 messages of carol. */
const LARGE = batch(4);
/** Bytes before the body of an entry. */
const ENTRY_HEADER = 12;
/** What makes a close of any statement. */
const CLOSE = {
  kind: KIND.close,
  parts: 1,
  ciphertextBytes: 0,
  conversation: NO_HASH as never,
  convCtr: 0,
  prevConv: NO_HASH,
  rosterHash: NO_HASH,
  commitment: NO_HASH,
};
const filled = (byte: number) => Buffer.alloc(32, byte) as Uint8Array as Hash;
const { alice, bob, carol } = world.people as Record<'alice' | 'bob' | 'carol', Credential>;

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
/** The entry as bytes that encodeLeaf() would not make. */
const raw = (index: number, change: (entry: Buffer) => Buffer) =>
  relogged(() => undefined, { entries: (entries) => entries.with(index, change(entries[index]!)) });
const insert = (index: number, ...more: Leaf[]) =>
  relogged((all) => void all.splice(index, 0, ...more), {
    files: (all) => ['key.stmt', 'key.sig'].forEach((name) => all.set(name, files.get(name)!)),
  });
const at = (index: number) => leaves[index]!.serverTime;
/** Of one batch alone. */
const ofBatch =
  <A extends unknown[], T, U extends T>(nth: number, change: (value: T, ...rest: A) => U) =>
  (value: T, number: number, ...rest: A): T =>
    number === nth ? change(value, ...rest) : value;
const countOf = (nth: number) => view(leafAt(leaves, batch(nth), 'sigb').bs).readUInt32BE(64);
const place = (nth: number) => `entry ${batch(nth)}`;

const key = (change: (statement: KeyStatement) => Partial<KeyStatement>): Alterations => ({
  keyStatement: (statement) => ({ ...statement, ...change(statement) }),
});
const otherLogKey = ed25519().privateKey;
const otherLog = verifierKey(world.origin, publicOf(otherLogKey));
/** KEY leaf 1 with this statement and endorsement. */
const keyLeaf = (change: (statement: KeyStatement) => Partial<KeyStatement>, endorse: (text: Buffer) => Uint8Array) =>
  relogged((all) => {
    const [, made] = keyLeaves(world, world.begin, key(change));
    const leaf = leafAt([made!], 0, 'key');
    all[1] = { ...leaf, previousSignature: endorse(Buffer.from(leaf.statement)) };
  });
const LATER = world.begin + 61_500;
/** The server states its key anew, under the certificate that it has. */
const restated = (ends: number, begins: number) => {
  const first = key(() => ({ notAfter: ends }));
  const second = key(() => ({ notBefore: begins }));
  const list = compose(world, STORY, first);
  list.splice(batch(6), 0, ...keyLeaves(world, LATER, second));
  return seal(world, list);
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
    name: 'messages behind the close of their session, signed',
    files: () => resigned({ ms: ofBatch(2, (ms) => ({ ...ms, ...CLOSE })) }),
    exit: 10,
    code: 'E_CLOSED',
    where: `entry ${batch(2) + 2}`,
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
    name: 'another batch signature',
    files: () => resigned({ signature: ofBatch(2, (s) => ({ ...s, signature: flipped(s.signature, 9) })) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(2),
    isAlone: true,
  },
  {
    name: "signed with another person's key",
    files: () => resigned({ signer: ofBatch(2, () => bob) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(2),
    isAlone: true,
  },
  {
    name: "signed with another person's key of the same kind",
    files: () => resigned({ signer: ofBatch(3, (own) => ({ ...own, key: otherLogKey })) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(3),
    isAlone: true,
  },
  {
    name: 'signed without the context',
    files: () =>
      resigned({ signature: ofBatch(3, (s) => ({ ...s, signature: nodeSign(null, Buffer.from(s.bs), carol.key) })) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(3),
    isAlone: true,
  },
  {
    name: 'signed under the context of a handshake',
    files: () =>
      resigned({ signature: ofBatch(3, (s) => ({ ...s, ...sign(carol.key, CONTEXT.clientHandshake, s.bs) })) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(3),
    isAlone: true,
  },
  {
    name: 'RSA signature in PKCS #1 v1.5',
    files: () =>
      resigned({
        signature: ofBatch(2, (s) => ({
          ...s,
          signature: nodeSign('sha256', tbs(CONTEXT.senderBatch, s.bs), alice.key),
        })),
      }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(2),
    isAlone: true,
  },
  {
    name: 'RSA-PSS signature with another length of salt',
    files: () =>
      resigned({
        signature: ofBatch(2, (s) => ({
          ...s,
          signature: nodeSign('sha256', tbs(CONTEXT.senderBatch, s.bs), {
            key: alice.key,
            padding: constants.RSA_PKCS1_PSS_PADDING,
            saltLength: 20,
          }),
        })),
      }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(2),
    isAlone: true,
  },
  {
    name: "an algorithm that is not the key's",
    files: () => resigned({ signature: ofBatch(2, (s) => ({ ...s, algorithm: 1 })) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(2),
    isAlone: true,
  },
  {
    name: 'batch for another log',
    files: () => resigned({ bs: ofBatch(2, (bs) => ({ ...bs, audience: filled(1) })) }),
    exit: 10,
    code: 'E_AUDIENCE',
    where: place(2),
    isAlone: true,
  },
  {
    name: 'batch root of other messages, signed',
    files: () => resigned({ bs: ofBatch(2, (bs) => ({ ...bs, batchRoot: filled(1) })) }),
    exit: 10,
    code: 'E_BATCH_ROOT',
    where: place(2),
    isAlone: true,
  },
  {
    name: 'no link to the batch before',
    files: () => resigned({ bs: ofBatch(2, (bs) => ({ ...bs, prevBatch: NO_HASH })) }),
    exit: 10,
    code: 'E_BATCH_CHAIN',
    where: place(2),
    isAlone: true,
  },
  {
    name: 'session counter jumps, in statement and messages',
    files: () =>
      resigned({
        bs: ofBatch(11, (bs) => ({ ...bs, firstCtr: bs.firstCtr + 1 })),
        ms: ofBatch(11, (ms) => ({ ...ms, sessionCtr: ms.sessionCtr + 1 })),
      }),
    exit: 10,
    code: 'E_CTR_GAP',
    where: place(11),
    isAlone: true,
  },
  {
    name: 'session counter jumps within a batch',
    files: () =>
      resigned({
        ms: ofBatch(11, (ms, position) => ({ ...ms, sessionCtr: ms.sessionCtr + (position === 9 ? 1 : 0) })),
      }),
    exit: 10,
    code: 'E_CTR_GAP',
    where: `entry ${batch(11) + 9}`,
    isAlone: true,
  },
  {
    name: 'session counter stands still within a batch',
    files: () =>
      resigned({
        ms: ofBatch(11, (ms, position) => ({ ...ms, sessionCtr: ms.sessionCtr - (position === 9 ? 1 : 0) })),
      }),
    exit: 10,
    code: 'E_CTR_REGRESS',
    where: `entry ${batch(11) + 9}`,
    isAlone: true,
  },
  {
    name: 'conversation counter jumps',
    files: () =>
      resigned({ ms: ofBatch(11, (ms, position) => ({ ...ms, convCtr: ms.convCtr + (position === 9 ? 1 : 0) })) }),
    exit: 10,
    code: 'E_CONV_GAP',
    where: `entry ${batch(11) + 9}`,
    isAlone: true,
  },
  {
    name: 'conversation counter begins with 2',
    files: () => resigned({ ms: ofBatch(3, (ms) => ({ ...ms, convCtr: 2 })) }),
    exit: 10,
    code: 'E_CONV_GAP',
    where: `entry ${batch(3) + 1}`,
  },
  {
    name: 'broken link',
    files: () =>
      resigned({ ms: ofBatch(11, (ms, position) => (position === 9 ? { ...ms, prevConv: filled(1) } : ms)) }),
    exit: 10,
    code: 'E_CONV_LINK',
    where: `entry ${batch(11) + 9}`,
    isAlone: true,
  },
  {
    name: 'no link within a session',
    files: () => resigned({ ms: ofBatch(11, (ms, position) => (position === 9 ? { ...ms, prevConv: NO_HASH } : ms)) }),
    exit: 10,
    code: 'E_CONV_LINK',
    where: `entry ${batch(11) + 9}`,
    isAlone: true,
  },
  {
    name: 'link across sessions to another message',
    files: () => resigned({ ms: ofBatch(5, (ms, position) => (position === 1 ? { ...ms, prevConv: filled(1) } : ms)) }),
    exit: 10,
    code: 'E_CONV_LINK',
    where: `entry ${batch(5) + 1}`,
    isAlone: true,
  },
  {
    name: 'a device that lost its state: a warning',
    files: () => resigned({ ms: ofBatch(5, (ms, position) => (position === 1 ? { ...ms, prevConv: NO_HASH } : ms)) }),
    exit: 0,
    code: 'W_CONV_RESTART',
    where: `entry ${batch(5) + 1}`,
    isAlone: true,
  },
  {
    name: 'a link to a message elsewhere: a warning',
    files: () => resigned({ ms: ofBatch(5, (ms, position) => (position === 2 ? { ...ms, prevConv: filled(1) } : ms)) }),
    exit: 0,
    code: 'W_CONV_ELSEWHERE',
    where: `entry ${batch(5) + 2}`,
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

export const FORM: readonly Row[] = [
  {
    name: 'an entry of type 7',
    files: () => raw(LARGE - 2, (entry) => (entry.writeUInt8(7), entry)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE - 2}`,
  },
  {
    name: 'reserved byte',
    files: () => raw(LARGE + 3, (entry) => flipped(entry, 1)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE + 3}`,
    isAlone: true,
  },
  {
    name: 'a malformed message, and one more than the batch has',
    files: () =>
      relogged((all) => void all.splice(batch(3) + 2, 0, { ...leafAt(all, batch(3) + 1, 'msg'), position: 2 }), {
        entries: (entries) => entries.with(batch(3) + 1, flipped(entries[batch(3) + 1]!, 1)),
      }),
    exit: 10,
    code: 'E_ORDER',
    where: `entry ${batch(3) + 2}`,
  },
  {
    name: 'an empty entry',
    files: () => raw(indexOf('time', 0), () => Buffer.alloc(0)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${indexOf('time', 0)}`,
    isAlone: true,
  },
  {
    name: 'a byte after the entry',
    files: () => raw(LARGE, (entry) => Buffer.concat([entry, Buffer.alloc(1)])),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE}`,
  },
  {
    name: 'a time beyond 2^53',
    files: () => raw(indexOf('time', 0), (entry) => entry.fill(0xff, 4, 12)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${indexOf('time', 0)}`,
    isAlone: true,
  },
  {
    name: 'the last time that a number holds',
    files: () =>
      raw(leaves.length - 10, (entry) => (entry.writeUInt32BE(0x1fffff, 4), entry.writeUInt32BE(0xffffffff, 8), entry)),
    exit: 10,
    code: 'E_KEYBIND',
    where: `entry ${leaves.length - 10}`,
  },
  {
    name: 'a message statement of unknown kind',
    files: () => raw(LARGE + 9, (entry) => (entry.writeUInt8(9, 12 + 8), entry)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE + 9}`,
    isAlone: true,
  },
  {
    name: 'a message statement with another magic',
    files: () => raw(LARGE + 9, (entry) => flipped(entry, 12)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE + 9}`,
    isAlone: true,
  },
  {
    name: 'a batch statement with another magic',
    files: () => raw(batch(3), (entry) => flipped(entry, entry.length - 172)),
    exit: 10,
    code: 'E_FORMAT',
    where: place(3),
  },
  {
    name: 'a chain that is none',
    files: () => insert(batch(3), { type: 'cert', serverTime: at(batch(3)), chain: [Buffer.from('certificate')] }),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${batch(3)}`,
    isAlone: true,
  },
  {
    name: 'a key statement that is none',
    files: () =>
      insert(batch(3), { ...leafAt(leaves, 1, 'key'), serverTime: at(batch(3)), statement: utf8('hello\n') }),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${batch(3)}`,
    isAlone: true,
  },
  {
    name: 'LINK: a checkpoint of another log',
    files: () =>
      insert(batch(3), {
        type: 'link',
        serverTime: at(batch(3)),
        checkpoint: noteAt({ ...world, origin: 'chat.example.org/log/n2' }, leaves),
      }),
    exit: 0,
  },
  {
    name: 'LINK: no signed note',
    files: () =>
      insert(batch(3), { type: 'link', serverTime: at(batch(3)), checkpoint: utf8('chat.example.org/log/n2\n7\n') }),
    exit: 10,
    code: 'E_LINK',
    where: `entry ${batch(3)}`,
    isAlone: true,
  },
  {
    name: 'LINK: the log itself',
    files: () => insert(batch(3), { type: 'link', serverTime: at(batch(3)), checkpoint: noteAt(world, leaves, 3) }),
    exit: 10,
    code: 'E_LINK',
    where: `entry ${batch(3)}`,
    isAlone: true,
  },
  {
    name: 'TIME: with a token',
    files: () => insert(batch(3), { type: 'time', serverTime: at(batch(3)), token: Buffer.alloc(800, 0x30) }),
    exit: 0,
  },
  {
    name: 'CRL: a list that nobody has',
    files: () =>
      insert(batch(3), { type: 'crl', serverTime: at(batch(3)), digest: filled(1), thisUpdate: 1, nextUpdate: 0 }),
    exit: 0,
    code: 'W_CRL_MISSING',
    where: place(3),
    isAlone: true,
  },
  {
    name: 'the longest entry',
    files: () => insert(batch(3), { type: 'time', serverTime: at(batch(3)), token: Buffer.alloc(65535 - 12) }),
    exit: 0,
  },
  {
    name: 'a bundle whose lengths say otherwise',
    files: () =>
      relogged(() => undefined, {
        files: (all) =>
          all.set('tile/entries/000', Buffer.concat([u16(65535), all.get('tile/entries/000')!.subarray(2)])),
      }),
    exit: 10,
    code: 'E_ENTRIES',
    where: 'tile/entries/000',
  },
];

/** As many statements more, each good for its own instant alone. */
const withStatements = (count: number) =>
  insert(
    batch(6),
    ...Array.from(
      { length: count },
      () =>
        keyLeaves(
          world,
          LATER,
          key(() => ({ notBefore: LATER, notAfter: LATER })),
        )[1]!,
    ),
  );

export const LOG_KEY: readonly Row[] = [
  {
    name: 'key.sig of the statement before, as between the two steps of a renewal',
    files: () => {
      const list = compose(world, STORY);
      const before = leafAt(list, 1, 'key');
      list.splice(
        batch(6),
        0,
        ...keyLeaves(
          world,
          LATER,
          key(({ notAfter }) => ({ notAfter: notAfter + 1 })),
        ),
      );
      const signature = Buffer.concat([Buffer.of(before.algorithm), before.signature]);
      return seal(world, list, { files: (all) => void all.set('key.sig', signature) });
    },
    exit: 0,
    code: 'W_KEY_FILES',
    where: 'key.sig',
    isAlone: true,
  },
  {
    name: 'no certificate at the beginning',
    files: () => relogged((all) => all.slice(1)),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 0',
  },
  {
    name: 'no statement at the beginning',
    files: () =>
      relogged((all) => void all.splice(1, 1), {
        files: (all) => ['key.stmt', 'key.sig'].forEach((name) => all.set(name, seal(world, leaves).get(name)!)),
      }),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'something else before it',
    files: () => insert(1, { type: 'time', serverTime: world.begin, token: Buffer.alloc(0) }),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'a statement that begins too late',
    files: () => resigned(key(() => ({ notBefore: world.begin + 1 }))),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
    isAlone: true,
  },
  {
    name: 'a statement that ends too early',
    files: () => resigned(key(() => ({ notAfter: world.begin + 90_999 }))),
    exit: 12,
    code: 'E_KEYBIND',
    where: place(11),
    isAlone: true,
  },
  {
    name: 'a statement that ends with the last entry',
    files: () => resigned(key(() => ({ notAfter: world.begin + 91_000 }))),
    exit: 0,
  },
  { name: 'a second statement in time', files: () => restated(LATER, LATER), exit: 0 },
  {
    name: 'a second statement after a gap',
    files: () => restated(LATER, LATER + 1000),
    exit: 12,
    code: 'E_KEYBIND',
    where: `entry ${batch(6) + 2}`,
    isAlone: true,
  },
  {
    name: 'a signature by another key',
    files: () =>
      relogged(
        (all) =>
          void (all[1] = {
            ...leafAt(all, 1, 'key'),
            signature: signKeyStatement(leafAt(all, 1, 'key').statement, bob.key).subarray(1),
          }),
      ),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'vouched for by the certificate of a person',
    files: () => {
      const [cert, stmt] = keyLeaves(world, world.begin, {}, bob);
      return relogged((all) => void all.splice(0, 2, cert!, stmt!));
    },
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'for another log key than that of key.stmt',
    files: () =>
      insert(
        batch(3),
        ...keyLeaves(
          world,
          at(batch(3)),
          key(() => ({ log: otherLog })),
        ),
      ),
    exit: 12,
    code: 'E_KEYBIND',
    where: `entry ${batch(3) + 1}`,
  },
  {
    name: 'for another host',
    files: () => {
      const origin = 'chat.example.com/log/n1';
      const other = { ...world, origin, log: verifierKey(origin, publicOf(world.logKey)) };
      return seal(other, compose(other));
    },
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'in place of an earlier key, which agreed',
    files: () =>
      keyLeaf(
        () => ({ previous: otherLog }),
        (text) => endorseKeyStatement(text, otherLogKey),
      ),
    exit: 0,
  },
  {
    name: 'in place of an earlier key, which did not say so',
    files: () =>
      keyLeaf(
        () => ({ previous: otherLog }),
        () => Buffer.alloc(0),
      ),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
    isAlone: true,
  },
  {
    name: 'in place of an earlier key, and another agreed',
    files: () =>
      keyLeaf(
        () => ({ previous: otherLog }),
        (text) => endorseKeyStatement(text, world.logKey),
      ),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
    isAlone: true,
  },
  {
    name: 'in place of no key, and one agreed',
    files: () =>
      keyLeaf(
        () => ({}),
        (text) => endorseKeyStatement(text, otherLogKey),
      ),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
    isAlone: true,
  },
  { name: 'the newest 64 statements count', files: () => withStatements(63), exit: 0 },
  {
    name: 'and no more',
    files: () => withStatements(64),
    exit: 12,
    code: 'E_KEYBIND',
    where: `entry ${batch(6) + 64}`,
    isAlone: true,
  },
  { name: 'a repeated statement', files: () => insert(batch(3), ...keyLeaves(world, at(batch(3)))), exit: 0 },
];
