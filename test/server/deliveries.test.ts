import t from 'tap';
import { Deliveries } from '../../server/deliveries.ts';
import type { OutgoingItem, SharedFrames } from '../../server/delivery-frames.ts';
import type { Outlet } from '../../server/outlet.ts';
import type { Accepted, BatchEvidence } from '../../server/submission.ts';

const turn = (): Promise<void> => new Promise(setImmediate);

/** Devices 0..n-1 are connected; what each is offered is noted by the first index of its batch. */
class Desk {
  readonly offers: [device: number, batch: number, cursors: number[]][] = [];
  readonly shared: (SharedFrames | undefined)[] = [];
  readonly #connected: Set<number>;
  readonly deliveries = new Deliveries((device) =>
    this.#connected.has(device)
      ? ({
          offer: ({ ack }: BatchEvidence, items: readonly OutgoingItem[], shared?: SharedFrames) => {
            this.offers.push([device, ack[0]!, items.map(({ cursor }) => cursor)]);
            this.shared.push(shared);
          },
        } as Outlet)
      : undefined,
  );

  constructor(devices: number) {
    this.#connected = new Set(Array(devices).keys());
  }
  cut(device: number): void {
    this.#connected.delete(device);
  }
  /** @param batch is its first index as well */
  send(batch: number, recipients: readonly number[], messages = 1): Promise<void> | void {
    return this.deliveries.deliver({
      firstIndex: batch,
      serverTime: 1,
      repeated: false,
      unoffered: false,
      evidence: { ack: Buffer.of(batch) } as unknown as BatchEvidence,
      messages: Array.from({ length: messages }, (_, m) => ({
        recipients,
        cursors: recipients.map((device) => 1000 * batch + 10 * device + m),
      })),
    } as unknown as Accepted);
  }
}

t.test('what few get leaves at once; who is not there gets none', async (t) => {
  const desk = new Desk(3);
  t.equal(desk.send(1, [0, 2, 7], 2), undefined);
  t.strictSame(desk.offers, [
    [0, 1, [1000, 1001]],
    [2, 1, [1020, 1021]],
  ]);
});

t.test('what many get leaves in slices, and others are heard between them', async (t) => {
  const desk = new Desk(300);
  const all = [...Array(250).keys()];
  let isDone = false;
  const done = Promise.resolve(desk.send(1, all)).then(() => (isDone = true));
  await turn();
  const first = desk.offers.length;
  t.ok(first > 0 && first < 100, `${first} in one turn`);
  t.equal(desk.send(2, [299]), undefined, 'between two others it takes no time');
  t.strictSame(desk.offers.at(-1), [299, 2, [4990]]);
  t.notOk(isDone);
  await done;
  t.strictSame(
    desk.offers.filter(([, batch]) => batch === 1).map(([device]) => device),
    all,
    'all of them, once',
  );
});

t.test('what many get of one batch is made once for all of them', async (t) => {
  const desk = new Desk(30);
  const all = [...Array(30).keys()];
  await Promise.all([desk.send(1, all), desk.send(2, all)]);
  const [first, second] = [1, 2].map(
    (batch) => new Set(desk.shared.filter((_, i) => desk.offers[i]![1] === batch)),
  ) as [Set<unknown>, Set<unknown>];
  t.strictSame([first.size, second.size], [1, 1]);
  t.not([...first][0], [...second][0]);
  const few = new Desk(2);
  void few.send(1, [0, 1]);
  t.strictSame(few.shared, [undefined, undefined], 'and for few it is not worth while');
});

t.test('a device gets what came first first, also what few get, and all of it together', async (t) => {
  const desk = new Desk(200);
  const all = [...Array(200).keys()];
  const done = [desk.send(1, all), desk.send(2, [199]), desk.send(3, all.slice(100))];
  t.ok(
    done.every((each) => each instanceof Promise),
    'it waits behind the first',
  );
  await Promise.all(done);
  t.strictSame(
    desk.offers.filter(([device]) => device === 199).map(([, batch]) => batch),
    [1, 2, 3],
  );
  const at = desk.offers.findIndex(([device]) => device === 150);
  t.strictSame(
    desk.offers.slice(at, at + 2).map(([device, batch]) => [device, batch]),
    [
      [150, 1],
      [150, 3],
    ],
    'in one turn, and so in one write',
  );
});

t.test(
  'what is for different devices in one batch comes to each in one piece, in the order of the batch',
  async (t) => {
    const desk = new Desk(9);
    const all = [0, 1, 2, 3, 4, 5];
    const message = (recipients: readonly number[], position: number, isQueued = true) => ({
      recipients,
      cursors: isQueued ? recipients.map((device) => 10 * device + position) : [],
    });
    const messages = [
      message(all, 0),
      message([5, 3, 8], 1),
      message(all, 2, false), // was queued when it came the first time
      message(all, 3),
      message([3], 4),
    ];
    await desk.deliveries.deliver({
      evidence: { ack: Buffer.of(1) },
      messages,
    } as unknown as Accepted);
    t.strictSame(
      desk.offers.map(([device, , cursors]) => [device, cursors]),
      [
        [0, [0, 3]],
        [1, [10, 13]],
        [2, [20, 23]],
        [3, [30, 31, 33, 34]],
        [4, [40, 43]],
        [5, [50, 51, 53]],
        [8, [81]],
      ],
    );
  },
);

t.test('who leaves meanwhile keeps nobody waiting', async (t) => {
  const desk = new Desk(100);
  const done = desk.send(1, [...Array(100).keys()]);
  desk.cut(99);
  await done;
  t.equal(desk.offers.length, 99);
});
