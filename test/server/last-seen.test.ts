import t from 'tap';
import { ChatError } from '../../base/errors.ts';
import { LastSeen } from '../../server/last-seen.ts';
import type { Seen } from '../../store/contract/accounts.ts';
import { memoryLog } from '../support/pair.ts';

/** What is gathered waits until it is asked for: no test waits for a clock. */
const NEVER_MS = 2 ** 30;

function desk(gatherMs = NEVER_MS) {
  const calls: (readonly Seen[])[] = [];
  const log = memoryLog();
  const world = { calls, log, answer: Promise.resolve() };
  const setLastSeen = async (seen: readonly Seen[]): Promise<void> => {
    calls.push(seen);
    await world.answer;
  };
  return Object.assign(world, { all: new LastSeen({ store: { setLastSeen }, log: log.log, gatherMs }) });
}
const user = (id: number, lastSeen: number | null = null) => ({ id, lastSeen });

t.test('who leaves in a short time is written together, each once and with his newest time', async (t) => {
  const { all, calls } = desk(5);
  all.saw(1, 10);
  all.saw(2, 11);
  all.saw(1, 12);
  t.strictSame(calls, []);
  while (calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  const first = [
    { userId: 1, at: 12 },
    { userId: 2, at: 11 },
  ];
  t.strictSame(calls, [first]);
  all.saw(3, 13);
  while (calls.length === 1) await new Promise((resolve) => setTimeout(resolve, 1));
  t.strictSame(calls, [first, [{ userId: 3, at: 13 }]], 'and what comes later as well');
});

t.test('what the store does not know yet is known here', async (t) => {
  const world = desk();
  const { all, calls } = world;
  t.strictSame([all.of(user(1)), all.of(user(1, 5))], [null, 5]);
  all.saw(1, 10);
  t.equal(all.of(user(1, 5)), 10, 'gathered');
  const gate = Promise.withResolvers<void>();
  world.answer = gate.promise;
  const settled = all.settled();
  while (calls.length === 0) await null;
  t.equal(all.of(user(1, 5)), 10, 'being written');
  all.saw(1, 20);
  const again = all.settled();
  t.equal(all.of(user(1, 5)), 20, 'newer than what is being written');
  gate.resolve();
  await settled;
  t.equal(all.of(user(1, 10)), 20);
  await again;
  t.strictSame(
    calls.flat(),
    [10, 20].map((at) => ({ userId: 1, at })),
    'one after the other',
  );
  t.equal(all.of(user(1, 20)), 20);
  t.equal(all.of(user(1, 21)), 21, 'forgotten when the store has it');
});

// Fails when what was written is forgotten at once: who was read from the store before has an older time.
t.test('what the store was told is known here also of who was looked up before', async (t) => {
  const { all } = desk();
  const before = user(1, 10);
  all.saw(1, 20);
  await all.settled();
  t.equal(all.of(before), 20);
});

t.test('a crowd that leaves is written in pieces, and one that cannot be written holds nobody up', async (t) => {
  const world = desk();
  const { all, calls, log } = world;
  for (let id = 1; id <= 600; id++) all.saw(id, id);
  await all.settled();
  t.strictSame(
    calls.map(({ length }) => length),
    [256, 256, 88],
  );
  world.answer = Promise.reject(new ChatError('STORE_FAILED', 'the database is away'));
  all.saw(1, 601);
  await all.settled();
  t.match(log.lines.at(-1), { event: 'store.failed', code: 'STORE_FAILED' });
  world.answer = Promise.resolve();
  all.saw(1, 602);
  await all.settled();
  t.strictSame(calls.at(-1), [{ userId: 1, at: 602 }]);
});
