import t from 'tap';
import { RateLimit } from '../../server/rate-limit.ts';

t.test('a burst at once, then as much as flows in, each by himself', async (t) => {
  let now = 0;
  const limit = new RateLimit(60, () => now);
  for (let i = 0; i < 3; i++) limit.check('a', 60); // which takes nothing
  limit.take('a', 60);
  t.throws(() => limit.check('a', 1), { code: 'RATE_LIMIT', retryAfterMs: 1000 });
  t.throws(() => limit.take('a', 1), { code: 'RATE_LIMIT', retryAfterMs: 1000 });
  t.throws(() => limit.take('a', 5), { code: 'RATE_LIMIT', retryAfterMs: 5000 }, 'longer for more');
  limit.take('b', 1);
  now = 500;
  t.throws(() => limit.take('a', 1), { code: 'RATE_LIMIT', retryAfterMs: 500 });
  now = 1001;
  limit.take('a', 1);
  t.throws(() => limit.take('a', 1), { code: 'RATE_LIMIT' }, 'what was refused took nothing, what was taken did');
  now = 3_600_000;
  limit.take('a', 60);
  t.throws(() => limit.take('a', 1), { code: 'RATE_LIMIT' }, 'no more than a burst is saved up');
});

t.test('more than a burst passes when the bucket is full, and is paid back', async (t) => {
  let now = 0;
  const limit = new RateLimit(60, () => now);
  limit.take('a', 180);
  now = 120_000;
  t.throws(() => limit.take('a', 1), { code: 'RATE_LIMIT', retryAfterMs: 1000 });
  now = 179_000;
  t.throws(() => limit.take('a', 60), { code: 'RATE_LIMIT', retryAfterMs: 1000 });
  now = 180_000;
  limit.take('a', 60);
});

t.test('who is idle is forgotten, who owes is not, and the looking costs little', async (t) => {
  let now = 0;
  const limit = new RateLimit(60, () => now);
  limit.take('debtor', 600);
  for (let i = 0; i < 9_990; i++) limit.take(`${i}`, 1);
  now = 1000;
  for (let i = 0; i < 100; i++) limit.take(`new ${i}`, 60);
  t.ok(limit.size < 200, `${limit.size} are left`);
  t.throws(() => limit.take('debtor', 1), { code: 'RATE_LIMIT' });
  t.throws(() => limit.take('new 1', 60), { code: 'RATE_LIMIT' });

  // Ten times as many who are all active: not each take may look at all.
  let looks = 0;
  const busy = new RateLimit(60, () => (looks++, 0));
  for (let i = 0; i < 100_000; i++) busy.take(`${i}`, 1);
  t.equal(busy.size, 100_000);
  t.ok(looks < 100_010, `looked through ${looks - 100_000} times`);
});

t.test('what is given back is there again, no more than a burst, and nothing to who is not known', async (t) => {
  let now = 0;
  const limit = new RateLimit(60, () => now);
  limit.take('a', 50);
  limit.giveBack('a', 20);
  limit.take('a', 30);
  t.throws(() => limit.take('a', 1), { code: 'RATE_LIMIT' });
  now = 59_000;
  limit.take('a', 1);
  limit.giveBack('a', 50);
  limit.take('a', 60);
  t.throws(() => limit.take('a', 1), { code: 'RATE_LIMIT' });
  t.doesNotThrow(() => limit.giveBack('stranger', 50));
  t.equal(limit.size, 1);
});

t.test('who owes is not forgotten either when the process has run for long', async (t) => {
  let now = 86_400_000;
  const limit = new RateLimit(60, () => now);
  for (let i = 0; i < 9_990; i++) limit.take(`${i}`, 1);
  limit.take('debtor', 600);
  now += 1000;
  for (let i = 0; i < 100; i++) limit.take(`new ${i}`, 1);
  t.ok(limit.size < 200, `${limit.size} are left`);
  t.throws(() => limit.take('debtor', 1), { code: 'RATE_LIMIT' });
});
