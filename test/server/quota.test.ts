import t from 'tap';
import { Quota } from '../../server/quota.ts';

const LIMIT = 1_000_000;
const ROW = 512;

/** The queue of one device, as the store counts it. */
class Desk {
  readonly of = new Map<number, { bytes: number; rows: number }>();
  now = 0;
  counted = 0;
  readonly quota = new Quota(
    {
      queueUsages: async (ids) => {
        const all = [...this.of.values()];
        const sum = (key: 'bytes' | 'rows') => all.reduce((total, share) => total + share[key], 0);
        return ids.map(() => ({ bytes: sum('bytes'), rows: sum('rows') }));
      },
      queueShares: async () => {
        this.counted++;
        return [...this.of].map(([senderUserId, share]) => ({ senderUserId, ...share }));
      },
    },
    LIMIT,
    () => this.now,
  );

  async hasRoom(user: number): Promise<boolean> {
    return (await this.quota.full([1], user)).size === 0;
  }
  add(user: number, bytes: number): void {
    const share = this.of.get(user) ?? { bytes: 0, rows: 0 };
    this.of.set(user, { bytes: share.bytes + bytes, rows: share.rows + 1 });
  }
  /** Sends until it is refused; answers the cost of what the user has then. */
  async fill(user: number, bytes: number): Promise<number> {
    while (await this.hasRoom(user)) {
      this.add(user, bytes);
      this.now += 5000; // each time counted anew
    }
    const { bytes: all, rows } = this.of.get(user) ?? { bytes: 0, rows: 0 };
    return all + rows * ROW;
  }
}

t.test('each sender stops at half of what the others leave, and whoever comes later finds room', async (t) => {
  const desk = new Desk();
  const message = 1000;
  const cost = message + ROW;
  let free = LIMIT;
  for (const user of [1, 2, 3, 4, 5]) {
    const taken = await desk.fill(user, message);
    t.ok(taken > free / 2 && taken <= free / 2 + cost, `user ${user}: ${taken} of ${free}`);
    free -= taken;
    for (let before = 1; before <= user; before++) t.notOk(await desk.hasRoom(before), `${before} has his part`);
  }
  t.ok(await desk.hasRoom(6));
});

t.test('messages without a body fill it, too', async (t) => {
  const desk = new Desk();
  t.equal(await desk.fill(1, 0), Math.ceil((LIMIT / 2 + 1) / ROW) * ROW);
});

t.test(
  'the queue is counted only when it is more than half full, and then every 5 s; what came in between is his',
  async (t) => {
    const desk = new Desk();
    desk.add(1, 400_000);
    t.ok(await desk.hasRoom(1));
    t.equal(desk.counted, 0);
    desk.add(2, 200_000);
    t.ok(await desk.hasRoom(2));
    t.notOk(await desk.hasRoom(1));
    t.equal(desk.counted, 1);
    desk.add(2, 150_000);
    t.notOk(await desk.hasRoom(2), 'he cannot send past it in the meantime');
    t.ok(await desk.hasRoom(3), 'others can');
    t.equal(desk.counted, 1);
    desk.now = 5000;
    t.ok(await desk.hasRoom(3));
    t.equal(desk.counted, 2);
    desk.add(3, LIMIT);
    t.notOk(await desk.hasRoom(4), 'full is full');
  },
);

t.test('it is counted anew when the clock was set back', async (t) => {
  const desk = new Desk();
  desk.now = 1_000_000_000;
  desk.add(1, 600_000);
  t.notOk(await desk.hasRoom(1));
  desk.of.clear();
  desk.add(2, 600_000); // his own has gone
  t.notOk(await desk.hasRoom(1), 'not yet');
  desk.now -= 86_400_000;
  t.ok(await desk.hasRoom(1));
  t.equal(desk.counted, 2);
  t.ok(await desk.hasRoom(1));
  t.equal(desk.counted, 2);
});
