import t from 'tap';
import { FairQueue, type Place } from '../../server/fair-queue.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

/** Work that notes when its turn comes. */
class Desk {
  readonly queue: FairQueue;
  readonly order: string[] = [];
  readonly places = new Map<string, Place>();

  constructor(capacity: number) {
    this.queue = new FairQueue(capacity);
  }
  /** @param name is noted */
  ask(name: string, user: number, cost: number): void {
    const place = this.queue.place(user, cost);
    this.places.set(name, place);
    const entrance = place.enter();
    if (entrance === null) this.order.push(name);
    else void entrance.then(() => this.order.push(name));
  }
  leave(name: string): void {
    this.places.get(name)!.leave();
  }
  /** All that are in leave one after another, until nobody is. */
  async serve(): Promise<void> {
    for (let served = 0; served < this.order.length; served++) {
      this.leave(this.order[served]!);
      await turn();
    }
  }
}

t.test(
  'what has room goes in at once, and what has none waits for the next turn after somebody has left',
  async (t) => {
    const desk = new Desk(100);
    desk.ask('a', 1, 60);
    desk.ask('b', 2, 40);
    desk.ask('c', 3, 1);
    t.strictSame(desk.order, ['a', 'b']);
    desk.leave('b');
    await Promise.resolve();
    t.strictSame(desk.order, ['a', 'b'], 'those who have come meanwhile are heard first');
    await turn();
    t.strictSame(desk.order, ['a', 'b', 'c']);
    t.equal(desk.places.get('c')!.enter(), null, 'it is in already');
    desk.leave('b');
    desk.ask('d', 4, 40);
    desk.ask('e', 5, 40);
    t.strictSame(desk.order, ['a', 'b', 'c'], 'leaving twice makes no more room');
  },
);

t.test('something larger than everything goes in alone, and small ones beside it', async (t) => {
  const desk = new Desk(100);
  desk.ask('huge', 1, 5000);
  desk.ask('huge too', 2, 5000);
  desk.ask('small', 3, 20);
  await turn();
  t.strictSame(desk.order, ['huge', 'small']);
  desk.leave('huge');
  await turn();
  t.strictSame(desk.order, ['huge', 'small', 'huge too']);
});

t.test('whoever asks for little is next, however many others were there before', async (t) => {
  const desk = new Desk(100);
  for (let user = 0; user < 50; user++) desk.ask(`flood ${user}`, user, 100);
  for (let served = 0; served < 40; served++) {
    desk.leave(desk.order[served]!);
    await turn();
  }
  t.equal(desk.order.length, 41);
  desk.leave(desk.order[40]!);
  desk.ask('calm', 99, 5);
  await turn();
  t.ok(desk.order.slice(41, 43).includes('calm'), 'it went in before the last eight, perhaps beside the first of them');
  t.ok(desk.order.length <= 43);
});

t.test('who asks for less than a share is next each time, however long others go on', async (t) => {
  const desk = new Desk(100);
  let next = 0;
  let served = 0;
  const flood = (): void => desk.ask(`flood ${next}`, next++ % 50, 50);
  const serve = async (): Promise<void> => {
    desk.leave(desk.order[served++]!);
    await turn();
  };
  while (next < 400) flood();
  while (served < 200) await serve(); // nobody has more left than others
  for (let round = 0; round < 20; round++) {
    desk.ask(`calm ${round}`, 99, 30);
    const before = desk.order.length;
    await serve();
    t.equal(desk.order[before], `calm ${round}`);
    for (let i = 0; i < 40; i++) {
      flood();
      await serve();
    }
  }
});

t.test('each user has the same share, in what it costs, and its own in the order in which they came', async (t) => {
  const desk = new Desk(40);
  desk.ask('first', 9, 40);
  for (let i = 0; i < 4; i++) desk.ask(`dear ${i}`, 1, 40);
  for (let i = 0; i < 16; i++) desk.ask(`cheap ${i}`, 2, 10);
  await desk.serve();
  t.equal(desk.order.length, 21);
  for (const name of ['dear', 'cheap']) {
    const own = desk.order.filter((each) => each.startsWith(name));
    t.strictSame(
      own,
      own.map((_, i) => `${name} ${i}`),
    );
  }
  const half = desk.order.slice(1, 11);
  t.equal(half.filter((name) => name.startsWith('dear')).length, 2, 'two of 40 while eight of 10');
});

t.test('who has had much while others waited has no more than they when it asks again', async (t) => {
  const desk = new Desk(10);
  desk.ask('a 0', 1, 10);
  desk.ask('a 1', 1, 10);
  desk.ask('b 0', 2, 10);
  desk.leave('a 0');
  await turn();
  t.strictSame(desk.order, ['a 0', 'a 1']);
  desk.ask('a 2', 1, 10);
  desk.ask('b 1', 2, 10);
  await desk.serve();
  t.strictSame(desk.order.slice(2), ['b 0', 'a 2', 'b 1']);
});

t.test('when nothing can be done for anybody all are let in, to be refused', async (t) => {
  const desk = new Desk(10);
  for (let user = 0; user < 5; user++) desk.ask(`${user}`, user, 10);
  desk.queue.open();
  await turn();
  t.equal(desk.order.length, 5);
  for (const name of desk.order) desk.leave(name);
  desk.ask('next', 1, 10);
  t.equal(desk.order.at(-1), 'next', 'and nothing is left of them');
});

t.test('of those whose turn would be over at the same time, who came first goes first', async (t) => {
  const desk = new Desk(10);
  desk.ask('first', 0, 10);
  const names = Array.from({ length: 40 }, (_, i) => `${i}`);
  for (const [i, name] of names.entries()) desk.ask(name, i + 1, 10);
  await desk.serve();
  t.strictSame(desk.order.slice(1), names);
});

t.test('who has come and gone is forgotten, also while somebody always waits', async (t) => {
  const desk = new Desk(10);
  let [served, most, isAlwaysBusy] = [0, 0, true];
  for (let i = 0; i < 5; i++) desk.ask(`flood ${i}`, 0, 10);
  for (let user = 1; user <= 2500; user++) {
    desk.ask(`${user}`, user, 1);
    desk.ask(`flood ${user + 5}`, 0, 10);
    for (const goal = served + 2; served < goal;) {
      desk.leave(desk.order[served++]!);
      await turn();
    }
    most = Math.max(most, desk.queue.users);
    isAlwaysBusy &&= desk.queue.isBusy;
  }
  t.ok(isAlwaysBusy);
  t.ok(desk.order.includes('2500'), 'all of them had their turn');
  t.ok(most < 1100, `${most} at once`);
});
