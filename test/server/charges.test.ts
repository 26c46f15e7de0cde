import t from 'tap';
import { Charges } from '../../server/charges.ts';
import { RateLimit } from '../../server/rate-limit.ts';

const REFUSED = { code: 'RATE_LIMIT' };
const AT = 'msg_send.messages[0].statement';
const limit = (units: number): RateLimit => new RateLimit(units, () => 0);

t.test('messages to few devices cost nothing more; to many, as many messages and deliveries', async (t) => {
  const [sends, rooms] = [limit(100), limit(1000)];
  sends.take('ann', 2);
  const { charge } = new Charges('ann', 2, sends, rooms);
  charge('few', 2, 8, AT);
  charge('room', 2, 9, AT);
  t.doesNotThrow(() => sends.check('ann', 96));
  t.throws(() => sends.check('ann', 97), REFUSED, 'two, and one more for each');
  t.doesNotThrow(() => rooms.check('room', 982));
  t.throws(() => rooms.check('room', 983), REFUSED, '18 deliveries');
  t.doesNotThrow(() => rooms.check('few', 1000));
});

t.test('what one of the limits refuses takes nothing from the other', async (t) => {
  const [sends, rooms] = [limit(100), limit(1000)];
  sends.take('ann', 90);
  t.throws(
    () => new Charges('ann', 1, sends, rooms).charge('room', 1, 100, AT),
    REFUSED,
    '11 more than there are for her',
  );
  t.doesNotThrow(() => rooms.check('room', 1000));
  rooms.take('room', 950);
  const usedUp = { ...REFUSED, sub: 'room', field: AT, retryAfterMs: 3000 };
  t.throws(() => new Charges('bob', 1, sends, rooms).charge('room', 1, 100, AT), usedUp, '100 deliveries of 50');
  t.doesNotThrow(() => sends.check('bob', 100));
});

t.test('a batch that costs more than can be saved up passes when nothing was taken before it', async (t) => {
  const sends = limit(10);
  sends.take('ann', 4);
  t.doesNotThrow(() => new Charges('ann', 4, sends, limit(1e9)).charge('room', 4, 500, AT));
  t.throws(() => sends.check('ann', 1), REFUSED, 'and is paid back');
});

t.test('a conversation gets back what a refused batch has paid, and its sender does not', async (t) => {
  const [sends, rooms] = [limit(100), limit(1000)];
  sends.take('ann', 2);
  const charges = new Charges('ann', 2, sends, rooms);
  charges.charge('room', 2, 450, AT);
  t.throws(() => rooms.check('room', 101), REFUSED);
  charges.giveBack();
  charges.giveBack();
  t.doesNotThrow(() => rooms.take('room', 1000));
  t.throws(() => rooms.check('room', 1), REFUSED, 'and no more than that');
  t.throws(() => sends.check('ann', 99), REFUSED);
});

t.test('what a refused batch gives back it gives back once', async (t) => {
  const [sends, rooms] = [limit(1000), limit(1000)];
  const charges = new Charges('ann', 2, sends, rooms);
  charges.charge('room', 2, 200, AT);
  rooms.take('room', 600);
  charges.giveBack();
  charges.giveBack();
  t.doesNotThrow(() => rooms.check('room', 400));
  t.throws(() => rooms.check('room', 401), REFUSED, 'what others have taken stays taken');
});

t.test('one that goes to several rooms is lent what it costs in all of them, and not only in the first', async (t) => {
  const [sends, rooms] = [limit(10), limit(1e9)];
  sends.take('ann', 2);
  const { charge } = new Charges('ann', 2, sends, rooms);
  charge('first', 1, 500, AT);
  t.doesNotThrow(() => charge('second', 1, 500, AT), 'it would be refused for ever');
  t.throws(() => sends.check('ann', 1), { ...REFUSED, retryAfterMs: 618_000 }, 'and is paid back');
});
