import t from 'tap';
import { chargesOf } from '../../server/charges.ts';
import { RateLimit } from '../../server/rate-limit.ts';

const REFUSED = { code: 'RATE_LIMIT' };
const limit = (units: number): RateLimit => new RateLimit(units, () => 0);

t.test('messages to few devices cost nothing more; to many, as many messages and deliveries', async (t) => {
  const [sends, rooms] = [limit(100), limit(1000)];
  sends.take('ann', 2);
  const charge = chargesOf('ann', 2, sends, rooms);
  charge('few', 2, 8);
  charge('room', 2, 9);
  t.doesNotThrow(() => sends.check('ann', 96));
  t.throws(() => sends.check('ann', 97), REFUSED, 'two, and one more for each');
  t.doesNotThrow(() => rooms.check('room', 982));
  t.throws(() => rooms.check('room', 983), REFUSED, '18 deliveries');
  t.doesNotThrow(() => rooms.check('few', 1000));
});

t.test('what one of the limits refuses takes nothing from the other', async (t) => {
  const [sends, rooms] = [limit(100), limit(1000)];
  sends.take('ann', 90);
  t.throws(() => chargesOf('ann', 1, sends, rooms)('room', 1, 100), REFUSED, '11 more than there are for her');
  t.doesNotThrow(() => rooms.check('room', 1000));
  rooms.take('room', 950);
  t.throws(() => chargesOf('bob', 1, sends, rooms)('room', 1, 100), REFUSED, '100 deliveries of 50');
  t.doesNotThrow(() => sends.check('bob', 100));
});

t.test('a batch that costs more than can be saved up passes when nothing was taken before it', async (t) => {
  const sends = limit(10);
  sends.take('ann', 4);
  t.doesNotThrow(() => chargesOf('ann', 4, sends, limit(1e9))('room', 4, 500));
  t.throws(() => sends.check('ann', 1), REFUSED, 'and is paid back');
});
