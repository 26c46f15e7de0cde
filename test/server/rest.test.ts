/** For how long whoever asks for too much is not read from: with a clock, and timers, that the test moves. */
import t, { type Test } from 'tap';
import { Rest } from '../../server/rest.ts';

interface Timer {
  readonly at: number;
  readonly work: () => void;
}

function desk(t: Test) {
  const timers = new Set<Timer>();
  const made = {
    now: 1_000_000,
    over: 0,
    rest: null as unknown as Rest,
    /** Moves the clock, and runs what comes due. */
    pass(ms: number): void {
      made.now += ms;
      for (const timer of [...timers]) if (timer.at <= made.now && timers.delete(timer)) timer.work();
    },
  };
  t.intercept(globalThis, 'setTimeout', {
    value: (work: () => void, ms: number) => {
      const timer = { at: made.now + ms, work, unref: () => timer };
      timers.add(timer);
      return timer;
    },
  });
  t.intercept(globalThis, 'clearTimeout', { value: (timer: Timer) => timers.delete(timer) });
  made.rest = new Rest(
    () => made.now,
    () => made.over++,
  );
  return made;
}

t.test('nobody rests for longer than 5 s, for his pings must come in time', async (t) => {
  const d = desk(t);
  d.rest.refused(3_600_000);
  d.pass(4999);
  t.ok(d.rest.isNow);
  d.pass(1);
  t.notOk(d.rest.isNow, 'though he is told to wait for an hour');
  t.equal(d.over, 1);
  for (let i = 0; i < 10; i++) d.rest.refused(3000);
  d.pass(5000);
  t.notOk(d.rest.isNow, 'nor for many refusals together');
});

t.test('refusals during a rest make it longer; it is over once', async (t) => {
  const d = desk(t);
  d.rest.refused(1000);
  d.pass(500);
  d.rest.refused(1000);
  d.pass(1499);
  t.ok(d.rest.isNow);
  t.equal(d.over, 0);
  d.pass(1);
  t.notOk(d.rest.isNow);
  t.equal(d.over, 1);
  d.pass(10_000);
  t.equal(d.over, 1);
});

t.test('who was refused is watched for 5 s after his rest, or until something of his is admitted', async (t) => {
  const d = desk(t);
  t.notOk(d.rest.isWatched);
  d.rest.refused(1000);
  d.pass(1000);
  t.ok(d.rest.isWatched);
  d.pass(5000);
  t.ok(d.rest.isWatched);
  d.pass(1);
  t.notOk(d.rest.isWatched);
  d.rest.refused(1000);
  d.pass(1000);
  d.rest.admitted();
  t.notOk(d.rest.isWatched);
});

t.test('a rest ends with its connection, without a word', async (t) => {
  const d = desk(t);
  d.rest.refused(1000);
  d.rest.end();
  d.pass(10_000);
  t.equal(d.over, 0);
});

t.test('what others may have used up he asks for once without blame, and again when it is time', async (t) => {
  const d = desk(t);
  d.rest.refused(3000, true);
  t.strictSame([d.rest.isNow, d.rest.isWatched], [false, false]);
  d.pass(3000);
  d.rest.refused(1000, true);
  t.notOk(d.rest.isNow, 'he has waited');
  d.pass(999);
  d.rest.refused(1000, true);
  t.ok(d.rest.isNow, 'he has not');
  d.pass(1000);
  t.strictSame([d.rest.isNow, d.rest.isWatched], [false, true]);
  d.rest.refused(500);
  t.ok(d.rest.isNow, 'what he has used up himself is another thing');
});
