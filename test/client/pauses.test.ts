/** How long what cannot be written waits. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { equal, hex, type ConversationId } from '../../base/bytes.ts';
import { Pauses } from '../../client/pauses.ts';

const look = (pauses: Pauses, most = Infinity, idle: readonly ConversationId[] = []): ConversationId[] =>
  pauses.look(most, (id) => idle.includes(id), new Set());
const idOf = (): ConversationId => randomBytes(32) as Uint8Array as ConversationId;

t.test('each time for longer, up to half a minute, until it goes', (t) => {
  let now = 1_000_000;
  const pauses = new Pauses(() => now);
  const id = idOf();
  const waits: number[] = [];
  for (let i = 0; i < 7; i++) {
    pauses.add(id);
    const [end] = pauses.ends;
    waits.push(end! - now);
    t.ok(look(pauses).some((each) => equal(each, id)));
    now = end!;
    t.strictSame(look(pauses), [], 'over');
  }
  t.strictSame(waits, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  pauses.end(id);
  pauses.add(id);
  t.strictSame(pauses.ends, [now + 1000], 'from the beginning');
  pauses.add(id, 90_000);
  t.strictSame(pauses.ends, [now + 90_000], 'as long as the server says');
  t.end();
});

t.test('what waits for a given time has failed at nothing', (t) => {
  let now = 1_000_000;
  const pauses = new Pauses(() => now);
  const [id, other] = [idOf(), idOf()];
  pauses.until(id, now + 3000);
  pauses.add(other);
  t.strictSame(look(pauses), [id, other]);
  now += 3000;
  t.strictSame(pauses.ends, [now, now - 2000], 'both have ended since it was looked: at once');
  t.strictSame(look(pauses), []);
  t.strictSame(pauses.ends, [], 'and then they are no reason any more');
  pauses.add(id);
  t.strictSame(pauses.ends, [now + 1000]);
  pauses.endAll();
  t.strictSame([look(pauses), pauses.ends, pauses.has(id)], [[], [], true]);
  pauses.add(id);
  t.strictSame(pauses.ends, [now + 1000], 'from the beginning');
  t.end();
});

t.test('the clock is set back: nothing waits for it to come round again', (t) => {
  let now = 100_000_000;
  const pauses = new Pauses(() => now);
  const [id, other] = [idOf(), idOf()];
  pauses.add(id);
  pauses.until(other, now + 3000);
  look(pauses);
  now -= 86_400_000;
  t.strictSame(pauses.ends, [now + 1000, now + 3000], 'no longer than was meant');
  t.strictSame(look(pauses), []);
  t.strictSame(pauses.ends, [], 'both were tried: nobody wakes up for them');
  pauses.add(id);
  t.strictSame(pauses.ends, [now + 2000], 'one that was in vain again');
  t.end();
});

t.test(
  'of those whose time is over a few are looked at, which have waited longest, and the others at once after them',
  (t) => {
    let now = 1_000_000;
    const pauses = new Pauses(() => now);
    const ids = [idOf(), idOf(), idOf(), idOf()] as const;
    for (const id of ids) (pauses.add(id), now++);
    now += 1000;
    t.strictSame(look(pauses, 2), [ids[2], ids[3]]);
    t.ok(pauses.ends.every((end) => end <= now) && pauses.ends.length === 2, 'they are a reason not to sleep');
    t.strictSame(look(pauses, 2, [ids[0]]), [ids[3]], 'where there is nothing to do nobody looks');
    t.notOk(pauses.has(ids[0]));
    t.strictSame(
      pauses.look(2, () => false, new Set([hex(ids[1])])),
      [ids[1]],
      'nor where somebody just has',
    );
    t.ok(pauses.ends.length === 1);
    t.end();
  },
);
