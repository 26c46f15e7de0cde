/** What is remembered of a log, beside the rules that use it (test/transcript/lineage.test.ts). */
import t from 'tap';
import type { Fingerprint, Hash, SessionId } from '../../base/bytes.ts';
import type { LineageChange } from '../../transcript/lineage.ts';
import { LineageMemory } from '../../transcript/lineage-memory.ts';
import { openingHash } from '../../transcript/opening.ts';
import { conversation, filled, fingerprint, session } from './sample.ts';

const hash = (byte: number): Hash => filled(byte) as Uint8Array as Hash;
const change = (more: Partial<LineageChange> = {}): LineageChange => ({
  sender: fingerprint,
  session,
  lastCtr: 3,
  lastBatch: hash(1),
  isClosed: false,
  conversations: [{ conversation, convCtr: 2, lastLeaf: hash(2) }],
  ...more,
});
const endOf = ({ lastCtr, lastBatch }: LineageChange) => openingHash({ session, lastCtr, lastBatch });

t.test('counters, links and senders', (t) => {
  const memory = new LineageMemory();
  const stranger = filled(0xa9) as Uint8Array as Fingerprint;
  t.notOk(memory.hasSession(fingerprint));
  memory.apply(change());
  t.match(memory.session(fingerprint, session), { lastCtr: 3, isClosed: false, isCarried: false });
  t.equal(memory.convCtr(fingerprint, session, conversation), 2);
  t.same(memory.lastLeaf(fingerprint, conversation), hash(2));
  t.ok(memory.hasSession(fingerprint));
  t.notOk(memory.hasSession(stranger));
  t.equal(memory.session(stranger, session), undefined);
  t.end();
});

t.test('a session ends in one way at a time', (t) => {
  const memory = new LineageMemory();
  const [first, second] = [change(), change({ lastCtr: 4, lastBatch: hash(3) })];
  memory.apply(first);
  t.ok(memory.hasEnd(endOf(first)));
  memory.apply(second);
  t.notOk(memory.hasEnd(endOf(first)));
  t.ok(memory.hasEnd(endOf(second)));
  const other = filled(0xb9, 16) as Uint8Array as SessionId;
  memory.apply(change({ session: other }));
  t.ok(memory.hasEnd(endOf(second)), 'another session changes nothing');
  t.ok(memory.hasEnd(openingHash({ session: other, lastCtr: 3, lastBatch: hash(1) })));
  t.end();
});

t.test('what a batch is known by again is copied', (t) => {
  const memory = new LineageMemory();
  const [batchRoot, prevBatch] = [hash(5), hash(6)];
  memory.apply(change({ last: { firstCtr: 1, count: 3, batchRoot, prevBatch } }));
  batchRoot.fill(0);
  prevBatch.fill(0);
  t.match(memory.session(fingerprint, session)?.last, {
    firstCtr: 1,
    count: 3,
    batchRoot: hash(5),
    prevBatch: hash(6),
  });
  t.end();
});
