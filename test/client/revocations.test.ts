/** Revocation lists out of a server's log: which are asked for, and what a server that lies is refused with. */
import t from 'tap';
import { hex, type Hash } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { sha256 } from '../../base/hash.ts';
import { loggedCrls, type AskCrl } from '../../client/revocations.ts';
import type { Reply } from '../../protocol/messages.ts';
import { decodeLeaf, encodeLeaf } from '../../transcript/leaf.ts';
import { leafHash, nodesOver, Tree } from '../../transcript/merkle.ts';
import { parseCrl } from '../../x509/crl.ts';
import { compose, genCerts, noteAt } from '../support/log-writer.ts';
import { authority, list, type Made } from '../x509/maker.ts';

const { ca, key, world } = genCerts();
const BEGIN = world.begin;
const root: Made = {
  der: Buffer.from(ca.der),
  pair: { publicKey: ca.publicKey, privateKey: key },
  subject: Buffer.from(ca.subject.der),
  serial: 0,
};
const HOUR = 3_600_000;
/** One list an hour, in force for two; and a large one at last. */
const lists = [0, 1, 2, 3, 4, 5].map((hour) => ({
  der: list(root, {
    from: BEGIN + hour * HOUR,
    until: BEGIN + (hour + 2) * HOUR,
    revoked: hour === 5 ? Array.from({ length: 30_000 }, (_, i) => 1000 + i) : [],
  }),
  at: hour * HOUR,
}));
const leaves = compose(
  world,
  lists.map(({ der, at }) => ({
    at,
    leaf: (serverTime: number) => {
      const { thisUpdate, nextUpdate } = parseCrl(der);
      return { type: 'crl' as const, serverTime, digest: sha256(der) as Uint8Array as Hash, thisUpdate, nextUpdate };
    },
  })),
);
const entries = leaves.map(encodeLeaf);
const note = noteAt(world, leaves);
const tree = new Tree(entries.length, nodesOver(entries.map(leafHash)));
const first = entries.length - lists.length;
const issuer = sha256(ca.subject.der);

/** As the server does it. */
const honest: AskCrl = async (of, number, offset, size) => {
  const found = lists[lists.length - 1 - number];
  if (hex(of) !== hex(issuer) || found === undefined || size !== entries.length)
    throw new ChatError('NOT_FOUND', 'no such list');
  const index = first + lists.indexOf(found);
  return {
    type: 'crl',
    id: 1,
    count: lists.length,
    index,
    server_time: leaves[index]!.serverTime,
    size: found.der.length,
    piece: found.der.subarray(offset, offset + 262_144),
    path: tree.inclusion(index),
  };
};
const certificates = [...Object.values(world.people), world.server].map(({ chain }) => chain[0]!);
const between = (from: number, to: number, ask = honest) =>
  loggedCrls(certificates, { first: BEGIN + from, last: BEGIN + to }, note, ask);
const hours = async (from: number, to: number) =>
  (await between(from, to)).map(({ der }) => lists.findIndex((one) => one.der.equals(der)));

t.test('the newest, and those in force', async (t) => {
  t.ok(lists[5]!.der.length > 262_144, 'which comes in pieces');
  t.same(await hours(5.1 * HOUR, 5.2 * HOUR), [5], 'one that is both is there once');
  t.same(await hours(2.1 * HOUR, 2.2 * HOUR), [5, 2]);
  t.same(await hours(1.5 * HOUR, 3.5 * HOUR), [5, 3, 2, 1]);
  t.same(await hours(0, 0), [5, 0]);
  t.same(await hours(-2 * HOUR, -HOUR), [5], 'before there was any');
  const [found] = await between(2.1 * HOUR, 2.2 * HOUR);
  t.match(decodeLeaf(found!.logged!.entry), { type: 'crl', digest: sha256(lists[5]!.der) });
  const strange = authority('Elsewhere');
  t.same(await loggedCrls([strange.der], { first: BEGIN, last: BEGIN }, note, honest), [], 'an issuer without lists');
});

t.test('a server that lies', async (t) => {
  const lie =
    (change: (reply: Reply<'crl'>) => Partial<Reply<'crl'>>): AskCrl =>
    async (...query) => {
      const reply = await honest(...query);
      return { ...reply, ...change(reply) };
    };
  const forged = list(root, { from: BEGIN, until: BEGIN + HOUR });
  for (const [name, ask, want] of [
    ['another list', lie(() => ({ piece: forged, size: forged.length })), { code: 'SIG_FAIL', sub: 'crl' }],
    ['another time', lie((r) => ({ server_time: r.server_time + 1 })), { code: 'SIG_FAIL', sub: 'crl' }],
    ['another place', lie((r) => ({ index: r.index - 1 })), { code: 'SIG_FAIL', sub: 'crl' }],
    ['no path', lie(() => ({ path: [] })), { code: 'SIG_FAIL', sub: 'crl' }],
    ['a list that never ends', lie(() => ({ size: 17 * 1024 * 1024 })), { code: 'TOO_LARGE' }],
    ['a list that stops', lie((r) => ({ size: r.size + 1 })), { code: 'SIG_FAIL', sub: 'crl' }],
    ['no list at all', lie(() => ({ piece: Buffer.from('x'), size: 1 })), { code: 'BAD_CERT' }],
  ] as const)
    await t.rejects(between(0, 0, ask), want, name);
  const other: AskCrl = (_, ...rest) => honest(issuer, ...rest);
  await t.rejects(
    loggedCrls([authority('Elsewhere').der], { first: BEGIN, last: BEGIN }, note, other),
    { code: 'SIG_FAIL', sub: 'crl' },
    'a list of another issuer',
  );
});
