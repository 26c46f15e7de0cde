/** What the server is told to be kept, and when. Nothing here waits for a clock: what is gathered waits for ever, or not at all. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ConversationId, Hash } from '../../base/bytes.ts';
import { Acknowledgements } from '../../client/acknowledgements.ts';
import type { AppEvent } from '../../client/app-event.ts';
import type { Reply } from '../../protocol/messages.ts';
import { Outlet } from '../../server/outlet.ts';
import type { BatchEvidence } from '../../server/submission.ts';
import { cursorsOf } from '../support/raw-client.ts';
import { drop, ScriptedServer, type Delivery } from './scripted-server.ts';
import { accepted, isAlarm, isLost, isMessage, logIn, quiet, say, told, type Side } from './side.ts';

const NEVER_MS = 2 ** 30;
const MIB = 1024 * 1024;

const turn = (): Promise<void> => new Promise(setImmediate);
const upTo = (count: number, from = 1): number[] => Array.from({ length: count - from + 1 }, (_, i) => from + i);
/** Alice, who tells nothing because of the time alone. */
const patient = (t: Test): Promise<Side> =>
  logIn(t, new ScriptedServer(), join(t.testdir({}), 'p'), true, { gatherMs: NEVER_MS });
const logged = async (server: ScriptedServer, sent: ReturnType<ScriptedServer['compose']>): Promise<Delivery> => {
  const frame = await sent;
  return server.delivery(frame, server.append(frame));
};
const shown = (side: Side, text: string): Promise<AppEvent> =>
  side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === text);

t.test('what comes within the time is told together, and what comes after it for itself', async (t) => {
  const late = setTimeout(() => t.fail('not told'), 10_000); // and it keeps the process: the other timer does not
  t.teardown(() => clearTimeout(late));
  const frames: number[][] = [];
  let isTold = Promise.withResolvers<void>();
  const gathered = new Acknowledgements((cursors) => (frames.push(cursors), isTold.resolve()), 1);
  for (const cursor of upTo(10)) gathered.add(cursor);
  t.strictSame(frames, []);
  await isTold.promise;
  t.strictSame(frames, [upTo(10)]);
  isTold = Promise.withResolvers();
  gathered.add(11);
  await isTold.promise;
  t.strictSame(frames, [upTo(10), [11]]);
  gathered.flush();
  t.equal(frames.length, 2, 'nothing is said of nothing');
});

t.test('so many, or so large, that they do not wait', (t) => {
  const frames: number[][] = [];
  const gathered = new Acknowledgements((cursors) => frames.push(cursors), NEVER_MS);
  for (const cursor of upTo(70)) gathered.add(cursor);
  t.strictSame(frames, [upTo(32), upTo(64, 33)]);
  gathered.flush();
  t.strictSame(frames.at(-1), upTo(70, 65));
  frames.length = 0;
  gathered.add(101, [Buffer.alloc(MIB / 2), Buffer.alloc(MIB / 2 - 1)]);
  gathered.add(102);
  t.strictSame(frames, []);
  gathered.add(103, [Buffer.alloc(1)]);
  t.strictSame(frames, [[101, 102, 103]]);
  gathered.add(104, [Buffer.alloc(MIB - 1)]);
  t.equal(frames.length, 1, 'counted anew');
  t.end();
});

// Fails when as much is held back as there is room for on the line: it would stand still until the time is over.
for (const [what, count, bytes] of [
  ['many', 5000, 1],
  ['large', 40, 1_000_000],
  ['middling', 2000, 10_000],
] as const)
  t.test(`a long queue of ${what} messages comes in without the time being over once`, async (t) => {
    const parts = [Buffer.alloc(bytes)];
    const came: number[] = [];
    const coming: number[] = [];
    const row = (cursor: number) => ({
      kind: 'message' as const,
      cursor,
      origin: 'o',
      batchFirstIndex: cursor * 2,
      index: cursor * 2 + 1,
      conversation: Buffer.alloc(32) as Uint8Array as ConversationId,
      seq: cursor,
      statement: Buffer.alloc(248),
      parts,
      group: null,
    });
    const hash = Buffer.alloc(32) as Uint8Array as Hash;
    const evidence: BatchEvidence = {
      algorithm: 1,
      signature: Buffer.alloc(64),
      batch: Buffer.alloc(172),
      ack: Buffer.alloc(40),
      checkpoint: { size: 1, note: 'note' },
      hashes: [{ statementHash: hash, leafHash: hash }],
    };
    const outlet = new Outlet(
      (frame: Reply) => coming.push(...cursorsOf([frame])),
      {
        keyHashes: [],
        origin: 'o',
        untakenBytes: () => 0,
        sendShared: () => t.fail('it is the only one'),
        inTurn: (_items: number, work: () => Promise<void>) => work(),
        backlog: async (after, max) => {
          const items = upTo(Math.min(count, after + max), after + 1).map(row);
          return { items, isWhole: items.length < max };
        },
        evidence: async () => evidence,
      },
      (error) => t.fail(String(error)),
    );
    const gathered = new Acknowledgements((cursors) => outlet.acknowledged(outlet.known(cursors)), NEVER_MS);
    void outlet.pump();
    for (let still = 0; still < 20; still++) {
      await turn();
      for (const cursor of coming.splice(0)) {
        came.push(cursor);
        gathered.add(cursor, parts);
        still = 0;
      }
    }
    t.strictSame(came, upTo(count));
  });

t.test('ten deliveries, one after the other: one frame', async (t) => {
  const side = await patient(t);
  const { server } = side;
  for (const n of upTo(10)) {
    await server.say(server.latest, 'bob', [`${n}`]);
    await shown(side, `${n}`);
  }
  await turn();
  t.strictSame(told(side), []);
  await quiet(side);
  t.strictSame(told(side), [upTo(10)]);
});

t.test('by itself, after a while', async (t) => {
  const side = await logIn(t, new ScriptedServer(), join(t.testdir({}), 'p'), true, { gatherMs: 1 });
  const { server } = side;
  const isTold = new Promise<void>((resolve) => {
    server.script = ({ type }) => (type === 'msg_received' && resolve(), false);
  });
  await server.say(server.latest, 'bob', ['hello']);
  await isTold;
  t.strictSame(told(side), [[1]]);
});

t.test('who goes tells it before: nothing comes again', async (t) => {
  const side = await patient(t);
  const { server } = side;
  await server.say(server.latest, 'bob', ['one']);
  await server.say(server.latest, 'bob', ['two']);
  await shown(side, 'two');
  t.strictSame(told(side), []);
  await side.app.close();
  await turn();
  t.strictSame(told(side), [[1, 2]]);
});

t.test('a connection that is ended because of what came: what was kept is told before', async (t) => {
  const side = await patient(t);
  const { server } = side;
  await server.say(server.latest, 'bob', ['good']);
  await shown(side, 'good');
  const sent = await server.compose('bob', ['under a checkpoint of another history']);
  const first = server.append(sent);
  server.entries[0] = Buffer.from('another');
  server.latest.send({ type: 'checkpoint', note: server.note().toString() });
  server.latest.send(server.delivery(sent, first));
  t.match(await side.until(isLost), { willRetry: false });
  await turn();
  t.match(await side.until(isAlarm), { error: { code: 'FORK' } });
  t.strictSame(told(side), [[1, 2]], 'the second as well: it was in the log that was shown until then');
});

t.test('where what waited has come in, it is told', async (t) => {
  const side = await patient(t);
  const { server } = side;
  const waiting = await logged(server, server.composeCommit());
  let isStale = true;
  server.script = (frame, link) => {
    if (frame.type === 'sync') link.send(waiting);
    if (frame.type !== 'msg_send' || !isStale) return false;
    isStale = false;
    link.send({ type: 'error', id: frame.id, code: 'STALE', sub: 'epoch' });
    return true;
  };
  await accepted(side, say(side, 'in the state that the commit made'));
  t.strictSame(told(side), [[1]]);
});

t.test('the connection is lost before it is told: all of it comes again, and nothing is new in it', async (t) => {
  const side = await patient(t);
  const { server } = side;
  const mine = [await accepted(side, say(side, 'mine')), await accepted(side, say(side, 'too late'))] as const;
  const deliveries: Reply<'msg_deliver' | 'msg_expired'>[] = [
    await logged(server, server.compose('bob', ['one'])),
    await logged(server, server.composeCommit()),
    await logged(server, server.compose('bob', ['two', 'three'])),
    await logged(server, server.receipt('bob', [mine[0].hash!])),
    {
      type: 'msg_expired',
      cursor: 100,
      conversation: side.id,
      message: mine[1].hash!,
      by: 'bob',
      at: server.time,
    },
  ];
  for (const frame of deliveries) server.latest.send(frame);
  const isExpired = (e: AppEvent): boolean => e.on === 'state' && e.message.state === 'failed';
  await side.until(isExpired);
  t.strictSame(told(side), []);
  drop(server.latest);
  await side.until(isLost);
  await side.until(() => side.events.filter(({ on }) => on === 'connected').length === 2);
  await turn();
  t.strictSame(told(side), [], 'what was gathered went with the connection');
  const before = side.events.length;
  for (const frame of deliveries) server.latest.send(frame);
  await server.say(server.latest, 'bob', ['four']);
  await shown(side, 'four');
  await quiet(side);
  t.strictSame(told(side).flat(), [1, 2, 3, 4, 5, 100, 6], 'told on the new one');
  t.strictSame(side.shown(), ['one', 'two', 'three', 'four']);
  t.strictSame(
    side.events.slice(before).filter((e) => !isMessage(e)),
    [],
    'no warning, no alarm, no change of what was known',
  );
  t.equal(side.app.vault.message(mine[0].row)?.state, 'delivered');
});
