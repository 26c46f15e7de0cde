import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { ChatError } from '../../base/errors.ts';
import { Acknowledgements } from '../../server/acknowledgements.ts';
import { Outlet } from '../../server/outlet.ts';
import type { User } from '../../store/contract/accounts.ts';
import type { Device } from '../../store/contract/devices.ts';
import { memoryLog } from '../support/pair.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));
/** What is gathered waits until it is asked for: no test waits for a clock. */
const NEVER_MS = 2 ** 30;

class Desk {
  readonly told: [device: number, cursors: readonly number[], user: number][] = [];
  readonly log = memoryLog();
  readonly all: Acknowledgements;
  isDown = false;
  answer: Promise<void> = Promise.resolve();

  constructor(gatherMs = NEVER_MS) {
    const acknowledge = async (device: number, cursors: readonly number[], user: number) => {
      this.told.push([device, cursors, user]);
      if (this.isDown) throw new ChatError('STORE_FAILED', 'the database is away');
      await this.answer;
    };
    this.all = new Acknowledgements({ store: { acknowledge }, log: this.log.log, gatherMs, againMs: 1 });
  }

  /** A connection that `count` messages were sent on, with cursors from 1. */
  async keeper(id: number, count: number) {
    const source = {
      keyHashes: [],
      origin: 'o',
      inTurn: (_items: number, work: () => Promise<void>) => work(),
      backlog: async (after: number) => ({
        isWhole: count - after < 256,
        items: Array.from({ length: Math.min(256, count - after) }, (_, i) => ({
          kind: 'expired' as const,
          cursor: after + i + 1,
          conversation: new Uint8Array(32) as never,
          message: new Uint8Array(32) as never,
          by: 'bob',
          at: 0,
        })),
      }),
      untakenBytes: () => 0,
      sendShared: () => t.fail('there are no messages'),
      evidence: () => Promise.reject(new Error('there are no messages')),
    };
    const outlet = new Outlet(
      () => {},
      source,
      (error) => t.fail(String(error)),
    );
    await outlet.pump();
    const user = { id: id * 10, username: `user${id}` } as User;
    return { user, device: { id } as Device, outlet, unsettled: new Set<number>() };
  }
}
const upTo = (count: number, from = 1) => Array.from({ length: count - from + 1 }, (_, i) => from + i);

t.test('what several devices say in a short time is told together, and what was not sent never', async (t) => {
  const desk = new Desk(5);
  const [a, b] = [await desk.keeper(1, 3), await desk.keeper(2, 3)];
  desk.all.received(a, [1, 99]);
  desk.all.received(b, [1]);
  desk.all.received(a, [2]);
  desk.all.received(b, []);
  t.strictSame(desk.told, []);
  while (desk.told.length < 2) await sleep(1);
  t.strictSame(desk.told, [
    [1, [1, 2], 10],
    [2, [1], 20],
  ]);
  await desk.all.settled();
  t.strictSame([a.outlet.known([1, 2, 3]), a.unsettled.size], [[3], 0], 'and their room is free');
  t.equal(desk.told.length, 2);
});

t.test('many of one device do not wait', async (t) => {
  const desk = new Desk();
  const a = await desk.keeper(1, 2000);
  desk.all.received(a, upTo(255));
  t.equal(desk.told.length, 0);
  const answer = Promise.withResolvers<void>();
  desk.answer = answer.promise;
  desk.all.received(a, [256]);
  t.strictSame(desk.told, [[1, upTo(256), 10]]);
  desk.all.received(a, upTo(1900, 257));
  t.equal(desk.told.length, 1, 'one call at a time for each');
  answer.resolve();
  await turn();
  t.strictSame(
    desk.told.map(([, cursors]) => cursors),
    [upTo(256), upTo(1280, 257), upTo(1900, 1281)],
  );
  await desk.all.settled();
  t.strictSame(a.outlet.known([1, 1900, 1901]), [1901]);
});

t.test('who leaves has said it: the store is told before the next connection asks it', async (t) => {
  const desk = new Desk();
  const a = await desk.keeper(1, 600);
  const answer = Promise.withResolvers<void>();
  desk.answer = answer.promise;
  desk.all.received(a, upTo(300));
  desk.all.received(a, upTo(310, 301));
  desk.all.leave(a);
  desk.all.leave(a);
  t.strictSame(
    desk.told.map(([, cursors]) => cursors),
    [upTo(300), upTo(310, 301)],
    'at once, and nothing twice',
  );
  let isSettled = false;
  const settled = desk.all.settled().then(() => (isSettled = true));
  await turn();
  t.notOk(isSettled, 'a stop waits for the store');
  answer.resolve();
  await settled;

  const b = await desk.keeper(2, 3);
  desk.isDown = true;
  desk.all.received(b, [1]);
  const failing = desk.all.settled();
  desk.all.received(b, [2]);
  await failing;
  desk.all.leave(b);
  const before = desk.told.length;
  await sleep(10);
  t.equal(desk.told.length, before, 'and is tried no more when it fails');
  desk.all.received(b, [3]);
  desk.all.received(b, [99]);
  await desk.all.settled();
  await sleep(10);
  t.strictSame(desk.told.slice(before), [[2, [3], 20]], 'what is read from the old connection is told once');
  t.match(desk.log.lines.at(-1), { event: 'store.failed', code: 'STORE_FAILED' });
});

t.test('while the store is away nothing is forgotten', async (t) => {
  const desk = new Desk();
  const a = await desk.keeper(1, 5);
  desk.isDown = true;
  desk.all.received(a, [1]);
  await desk.all.settled();
  desk.all.received(a, [2]);
  while (desk.told.length < 3) await sleep(1);
  t.strictSame(a.outlet.known([1, 2]), [1, 2]);
  desk.isDown = false;
  while (a.unsettled.size > 0) await sleep(1);
  t.strictSame(desk.told.at(-1), [1, [1, 2], 10]);
  t.strictSame(a.outlet.known([1, 2, 3]), [3]);
});

t.test('a stop writes what was gathered', async (t) => {
  const desk = new Desk();
  desk.all.received(await desk.keeper(1, 5), [4]);
  await desk.all.settled();
  t.strictSame(desk.told, [[1, [4], 10]]);
});
