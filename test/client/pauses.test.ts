/** How long what cannot be written waits. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { equal, type ConversationId } from '../../base/bytes.ts';
import { Pauses } from '../../client/pauses.ts';

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
    t.ok(pauses.look().some((each) => equal(each, id)));
    now = end!;
    t.strictSame(pauses.look(), [], 'over');
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
  t.strictSame(pauses.look(), [id, other]);
  now += 3000;
  t.strictSame(pauses.ends, [now, now - 2000], 'both have ended since it was looked: at once');
  t.strictSame(pauses.look(), []);
  t.strictSame(pauses.ends, [], 'and then they are no reason any more');
  pauses.add(id);
  t.strictSame(pauses.ends, [now + 1000]);
  pauses.clear();
  t.strictSame([pauses.ends, pauses.look()], [[], []]);
  t.end();
});

t.test('the clock is set back: nothing waits for it to come round again', (t) => {
  let now = 100_000_000;
  const pauses = new Pauses(() => now);
  const [id, other] = [idOf(), idOf()];
  pauses.add(id);
  pauses.until(other, now + 3000);
  pauses.look();
  now -= 86_400_000;
  t.strictSame(pauses.ends, [now + 1000, now + 3000], 'no longer than was meant');
  t.strictSame(pauses.look(), []);
  t.end();
});
