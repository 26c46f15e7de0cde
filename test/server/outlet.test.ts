import fc from 'fast-check';
import t from 'tap';
import type { ConversationId, Hash } from '../../base/bytes.ts';
import { encodeFrame } from '../../protocol/frame-codec.ts';
import type { Reply } from '../../protocol/messages.ts';
import { MAX_PLAINTEXT_BYTES } from '../../protocol/limits.ts';
import type { QueuedExpiry, QueueItem } from '../../store/contract/queue.ts';
import { KIND } from '../../transcript/statement.ts';
import { SharedFrames } from '../../server/delivery-frames.ts';
import { Outlet } from '../../server/outlet.ts';
import type { BatchEvidence } from '../../server/submission.ts';
import { cursorsOf, framesOf } from '../support/raw-client.ts';

const hash = Buffer.alloc(32) as Uint8Array as Hash;
const conversation = Buffer.alloc(32) as Uint8Array as ConversationId;
const ORIGIN = 'localhost/log/n1';

type Message = Extract<QueueItem, { kind: 'message' }>;

/** A queue in memory whose reads end when the test says so. */
class Desk {
  rows = new Map<number, QueueItem>();
  frames: Reply[] = [];
  /** of them, those that several get, record by record */
  shared: Reply[][] = [];
  failures: unknown[] = [];
  reads: (() => void)[] = [];
  /** reads are answered at once, with what is there when they are asked */
  isPrompt = true;
  pages = 0;
  size = 1;
  untaken = 0;
  batches = new Map<number, number>();
  outlet = new Outlet(
    (frame) => void this.frames.push(frame),
    {
      keyHashes: [hash],
      origin: ORIGIN,
      untakenBytes: () => this.untaken,
      sendShared: (template, cursors) => {
        const frames = framesOf(template, cursors);
        this.frames.push(...frames);
        this.shared.push(frames);
      },
      inTurn: (_items: number, work: () => Promise<void>) => work(),
      backlog: async (after, maxItems) => {
        this.pages++;
        const page = [...this.rows.values()]
          .filter(({ cursor }) => cursor > after)
          .sort((a, b) => a.cursor - b.cursor)
          .slice(0, maxItems);
        if (!this.isPrompt) await new Promise<void>((resolve) => this.reads.push(resolve));
        return { items: page, isWhole: page.length < maxItems };
      },
      evidence: async (firstIndex) => this.evidence(firstIndex),
    },
    (error) => void this.failures.push(error),
  );

  evidence(firstIndex: number): BatchEvidence {
    return {
      algorithm: 1,
      signature: Buffer.alloc(64),
      batch: Buffer.alloc(172),
      ack: Buffer.alloc(40),
      checkpoint: { size: this.size, note: `note ${this.size}` },
      hashes: Array.from({ length: this.batches.get(firstIndex) ?? 1 }, () => ({
        statementHash: hash,
        leafHash: hash,
      })),
    };
  }

  /** A batch is committed; the hub has not heard of it yet. */
  commit(cursors: readonly number[], firstIndex: number, bytes = 1, shared: SharedFrames | null = null): () => void {
    const items = cursors.map((cursor, i): Message => ({
      kind: 'message',
      cursor,
      origin: ORIGIN,
      batchFirstIndex: firstIndex,
      index: firstIndex + 1 + i,
      conversation,
      seq: cursor,
      statement: Buffer.alloc(248),
      parts: [Buffer.alloc(bytes)],
      group: null,
    }));
    this.batches.set(firstIndex, items.length);
    for (const item of items) this.rows.set(item.cursor, item);
    return () =>
      this.outlet.offer(
        this.evidence(firstIndex),
        items.map((item, position) => ({ ...item, position })),
        shared,
      );
  }

  expiry(cursor: number): () => void {
    const expiry: QueuedExpiry = {
      deviceId: 1,
      cursor,
      conversation,
      message: hash,
      by: 'bob',
      at: 1,
    };
    this.rows.set(cursor, { kind: 'expired', ...expiry });
    return () => this.outlet.offerExpiry(expiry);
  }

  acknowledge(cursors: readonly number[]): void {
    const known = this.outlet.known(cursors);
    for (const cursor of known) this.rows.delete(cursor);
    this.outlet.acknowledged(known);
  }

  get sent(): number[] {
    return cursorsOf(this.frames);
  }
}

const turn = (): Promise<void> => new Promise(setImmediate);

async function live(): Promise<Desk> {
  const desk = new Desk();
  await desk.outlet.pump();
  return desk;
}

t.test(
  'what others get as well is sent with its checkpoint, unless the device has that, and has its place on the line',
  async (t) => {
    const [alice, bob] = [await live(), await live()];
    const shared = new SharedFrames();
    alice.size = bob.size = 7;
    alice.commit([1, 2], 10, 1, shared)();
    bob.commit([3], 20)();
    bob.commit([4, 5], 10, 1, shared)();
    t.strictSame(
      alice.shared.map((frames) => frames.map(({ type }) => type)),
      [['checkpoint', 'msg_deliver']],
    );
    t.strictSame(
      bob.shared.map((frames) => frames.map(({ type }) => type)),
      [['msg_deliver']],
    );
    t.strictSame(
      [alice.sent, bob.sent],
      [
        [1, 2],
        [3, 4, 5],
      ],
    );
    t.strictSame(bob.outlet.known([3, 4, 5, 6]), [3, 4, 5]);
    t.strictSame(alice.frames, [
      { note: 'note 7', type: 'checkpoint' },
      { ...bob.frames.at(-1), items: (alice.frames[1] as Reply<'msg_deliver'>).items },
    ]);
  },
);

t.test('what waited, then what comes; a checkpoint before each new size, and only then', async (t) => {
  const desk = new Desk();
  desk.commit([1, 2], 10);
  desk.expiry(3);
  desk.commit([4], 20);
  t.equal(desk.outlet.isBehind, true);
  await desk.outlet.pump();
  t.equal(desk.outlet.isBehind, false);
  t.strictSame(desk.sent, [1, 2, 3, 4], 'they have their place among the messages');
  desk.size = 2;
  desk.commit([5], 30)();
  t.strictSame(desk.sent, [1, 2, 3, 4, 5], 'at once');
  t.strictSame(
    desk.frames.map(({ type }) => type),
    ['checkpoint', 'msg_deliver', 'msg_expired', 'msg_deliver', 'checkpoint', 'msg_deliver'],
  );
  const [first] = desk.frames.filter((f) => f.type === 'msg_deliver');
  t.equal(first?.items.length, 2);
});

t.test('a page that is faster than the hub: what it brought is not sent again', async (t) => {
  const desk = new Desk();
  const offer = desk.commit([1, 2], 10);
  const expiry = desk.expiry(3);
  const last = desk.commit([4], 20);
  await desk.outlet.pump();
  desk.acknowledge([1]);
  offer();
  expiry();
  last();
  await turn();
  t.strictSame(desk.sent, [1, 2, 3, 4]);
});

t.test('a line that the kernel does not take gets nothing more until it has', async (t) => {
  const desk = await live();
  const pages = desk.pages;
  desk.untaken = 256 * 1024 + 1;
  desk.commit([1, 2], 10)();
  desk.commit([3], 20)();
  await turn();
  t.strictSame(desk.sent, []);
  t.equal(desk.pages, pages, 'nor is the queue read for it');
  t.equal(desk.outlet.isBehind, true);
  desk.untaken = 0;
  await desk.outlet.pump();
  t.strictSame(desk.sent, [1, 2, 3]);
  t.equal(desk.outlet.isBehind, false);
});

t.test('commits that end in another order than that of their cursors are all sent', async (t) => {
  const desk = await live();
  const early = desk.commit([1], 10);
  desk.expiry(2)();
  early();
  t.strictSame(desk.sent, [2, 1], 'live');

  // Behind: a page was asked for from above the one that comes late.
  desk.isPrompt = false;
  const late = desk.commit([3], 20);
  desk.expiry(4)();
  const many = Array.from({ length: 2048 }, (_, i) => 5 + i);
  desk.commit(many, 30)();
  late();
  while (desk.reads.length > 0 || desk.outlet.isBehind) {
    desk.reads.shift()?.();
    await turn();
    desk.acknowledge(desk.sent);
  }
  t.strictSame(
    [...desk.sent].sort((a, b) => a - b),
    [1, 2, 3, 4, ...many],
    'each, and once',
  );
});

t.test('what is acknowledged while a page is read is not sent again', async (t) => {
  const desk = await live();
  desk.commit([1, 2], 10)();
  desk.isPrompt = false;
  const many = Array.from({ length: 2048 }, (_, i) => 3 + i);
  desk.commit(many, 30)(); // does not fit beside the two
  await turn();
  t.equal(desk.reads.length, 1, 'a page is being read');
  desk.acknowledge([1, 2]);
  desk.reads.shift()!();
  await turn();
  t.strictSame(desk.sent.slice(0, 4), [1, 2, 3, 4]);
});

t.test('an old batch, split by pages, with its evidence each time', async (t) => {
  const desk = new Desk();
  const cursors = Array.from({ length: 600 }, (_, i) => i + 1);
  desk.commit(cursors, 10);
  await desk.outlet.pump();
  const frames = desk.frames.filter((f) => f.type === 'msg_deliver');
  t.strictSame(
    frames.map((f) => f.items.filter((i) => 'cursor' in i).length),
    [32, 256, 256, 56],
  );
  t.ok(
    frames.every((f) => f.items.length === 600),
    'all leaves of the batch',
  );
  t.strictSame(desk.sent, cursors);
  t.equal('cursor' in frames[1]!.items[32]!, true, 'each in its place');
  t.equal('cursor' in frames[1]!.items[31]!, false);
});

t.test('a frame fits a record, whatever the batch', async (t) => {
  const desk = await live();
  desk.commit([1], 10, 1_015_808)();
  desk.commit(
    Array.from({ length: 1000 }, (_, i) => 2 + i),
    20,
    1000,
  )();
  t.equal(desk.sent.length, 1001);
  for (const frame of desk.frames) t.ok(encodeFrame(frame).length <= MAX_PLAINTEXT_BYTES);
});

t.test('a line that is full: by number, by bytes; half of it must be free before it moves', async (t) => {
  const desk = new Desk();
  const cursors = Array.from({ length: 5000 }, (_, i) => i + 1);
  for (let at = 0; at < 5000; at += 1000) desk.commit(cursors.slice(at, at + 1000), 10_000 + at * 2);
  await desk.outlet.pump();
  t.equal(desk.sent.length, 2048);
  const { pages } = desk;
  desk.commit([5001], 90_000)();
  desk.acknowledge([1, 2, 3]);
  await turn();
  t.equal(desk.pages, pages, 'nothing is read for nothing');
  t.equal(desk.sent.length, 2048);
  desk.acknowledge(cursors.slice(0, 1024));
  while (desk.sent.length < 3072) await turn();
  for (let i = 0; i < 10; i++) (desk.acknowledge(desk.sent), await turn());
  t.strictSame(desk.sent, [...cursors, 5001]);

  const heavy = new Desk();
  for (let i = 1; i <= 8; i++) heavy.commit([i], i * 10, 1_000_000);
  await heavy.outlet.pump();
  t.strictSame(heavy.sent, [1, 2, 3, 4, 5], '4 MiB, and the message that went over it');
  t.equal(heavy.outlet.isBehind, true);
  heavy.acknowledge([1, 2, 3]);
  await turn();
  t.strictSame(heavy.sent, [1, 2, 3, 4, 5, 6, 7, 8]);
  heavy.acknowledge(heavy.sent);
  await turn();
  heavy.commit([9], 90, 1_000_000)();
  t.strictSame(heavy.sent.at(-1), 9, 'at once again');
});

t.test('few that are large: the line moves when half of the bytes are free', async (t) => {
  const desk = new Desk();
  for (let i = 1; i <= 8; i++) desk.commit([i], i * 10, 1_000_000);
  await desk.outlet.pump();
  const { pages } = desk;
  for (const cursor of [1, 2]) {
    desk.acknowledge([cursor]);
    await turn();
    t.equal(desk.pages, pages, `not after ${cursor} of five`);
  }
  desk.acknowledge([3]);
  await turn();
  t.strictSame(desk.sent, [1, 2, 3, 4, 5, 6, 7, 8]);
});

// Fails when a client gets more than it was promised: one that has to wait for something would give the server up.
t.test('a message in a large batch has the hashes of all the others beside it, and they take room', async (t) => {
  const desk = new Desk();
  const hears = (cursor: number): (() => void) => {
    const offer = desk.commit([cursor], cursor * 2000);
    desk.batches.set(cursor * 2000, 1024);
    return offer;
  };
  const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
  for (const cursor of upTo(100)) hears(cursor);
  await desk.outlet.pump();
  const most = 43; // of 1,023 hashes of 96 bytes: 4 MiB, and the one that goes over it
  t.strictSame(desk.sent, upTo(most));
  const bytes = desk.frames.reduce((sum, frame) => sum + encodeFrame(frame).length, 0);
  t.ok(bytes > 3.5 * 2 ** 20 && bytes < 4.5 * 2 ** 20, `${bytes} bytes`);
  desk.acknowledge(upTo(21));
  await turn();
  t.strictSame(desk.sent, upTo(most), 'half of it must be free');
  desk.acknowledge([22]);
  await turn();
  t.strictSame(desk.sent, upTo(22 + most));
  for (let i = 0; i < 5; i++) (desk.acknowledge(desk.sent), await turn());
  t.strictSame([desk.sent, desk.outlet.isBehind], [upTo(100), false]);

  desk.frames = [];
  for (let cursor = 101; cursor <= 200; cursor++) hears(cursor)();
  await turn();
  t.equal(desk.sent.length, most, 'the same of what comes live');
  for (let i = 0; i < 5; i++) (desk.acknowledge(desk.sent), await turn());
  t.strictSame(
    desk.sent,
    upTo(100).map((cursor) => 100 + cursor),
  );
});

t.test(
  'a batch larger than the line goes at once where nothing else is on its way, and waits where something is',
  async (t) => {
    const desk = await live();
    const { pages } = desk;
    desk.commit([1, 2, 3, 4, 5], 10, 1_000_000)();
    t.strictSame([desk.sent, desk.pages], [[1, 2, 3, 4, 5], pages]);

    const busy = await live();
    busy.commit([1, 2, 3], 10, 1_000_000)();
    busy.commit([4, 5, 6, 7], 20, 1_000_000)();
    await turn();
    t.strictSame(busy.sent, [1, 2, 3, 4, 5], 'as much as there is room for');
  },
);

t.test('what has expired keeps its place: not before what waits, and not on a line that is full', async (t) => {
  const desk = new Desk();
  desk.isPrompt = false;
  desk.commit([1], 10);
  const expire = desk.expiry(2);
  void desk.outlet.pump();
  expire();
  t.strictSame(desk.sent, [], 'the page comes first');
  desk.reads.shift()!();
  await turn();
  t.strictSame(desk.sent, [1, 2]);

  const full = await live();
  const many = Array.from({ length: 2048 }, (_, i) => i + 1);
  full.commit(many, 10)();
  full.expiry(2049)();
  await turn();
  t.equal(full.sent.length, 2048);
  full.acknowledge(many.slice(0, 1024));
  await turn();
  t.equal(full.sent.at(-1), 2049);
});

t.test('what was skipped is remembered only as long as a page may bring it', async (t) => {
  const desk = new Desk();
  desk.commit([1], 10);
  await desk.outlet.pump();
  t.notOk(desk.outlet.skipped([99]), 'it was never sent');
  t.notOk(desk.outlet.hasSkipped);
  t.ok(desk.outlet.skipped([1]));
  t.ok(desk.outlet.hasSkipped);
  t.strictSame(desk.outlet.known([1]), [], 'no page brings that again');
  const cursors = Array.from({ length: 2049 }, (_, i) => i + 2);
  for (const cursor of cursors) {
    desk.commit([cursor], cursor * 10)();
    desk.outlet.skipped([cursor]);
  }
  while (desk.outlet.isBehind) await turn();
  t.strictSame(desk.outlet.known(cursors), [], 'so many are not remembered: a page has passed them');
  t.equal(desk.sent.length, 2050, 'and has sent none of them again');
});

t.test('an invitation: each device gets what is for it, from the queue and live', async (t) => {
  const invitation = [Buffer.alloc(9), Buffer.alloc(9), Buffer.alloc(9), Buffer.alloc(40, 1), Buffer.alloc(40)];
  const statement = Buffer.alloc(248).fill(KIND.membership, 8, 9);
  const desk = new Desk();
  const commit = (cursor: number) => {
    desk.commit([cursor], cursor * 10);
    const item = { ...(desk.rows.get(cursor) as Message), statement, parts: invitation };
    desk.rows.set(cursor, item);
    return () => desk.outlet.offer(desk.evidence(cursor * 10), [{ ...item, position: 0 }]);
  };
  commit(1);
  await desk.outlet.pump();
  commit(2)();
  const shown = desk.frames.flatMap((frame) =>
    frame.type === 'msg_deliver' ? frame.items.map((item) => 'cursor' in item && item.parts) : [],
  );
  const own = [0, 1, 2, 4].map((i) => invitation[i]);
  t.strictSame(shown, [own, own]);
});

t.test('what is skipped makes room, is not sent again here, and stays in the queue', async (t) => {
  const desk = new Desk();
  const cursors = Array.from({ length: 5000 }, (_, i) => i + 1);
  for (let at = 0; at < 5000; at += 1000) desk.commit(cursors.slice(at, at + 1000), 10_000 + at * 2);
  await desk.outlet.pump();
  t.equal(desk.sent.length, 2048);
  for (let i = 0; i < 10; i++) (desk.outlet.skipped(desk.sent), await turn());
  while (desk.outlet.isBehind) (desk.outlet.skipped(desk.sent), await turn());
  t.strictSame(desk.sent, cursors, 'all of it, once');
  t.equal(desk.rows.size, 5000, 'and all of it still waits');

  desk.outlet.skipped([9999]);
  for (let i = 5001; i <= 9000; i++) {
    desk.commit([i], i * 10)();
    desk.outlet.skipped([i]);
    if (desk.outlet.isBehind) await turn();
  }
  while (desk.outlet.isBehind) await turn();
  t.strictSame(
    desk.sent.slice(5000),
    Array.from({ length: 4000 }, (_, i) => 5001 + i),
    'live ones, too',
  );
  t.strictSame(desk.outlet.known([9000]), [9000], 'the true copy may come, and is acknowledged');
  desk.acknowledge([9000]);
  t.notOk(desk.rows.has(9000));
  t.strictSame(desk.outlet.known([9000]), []);
});

t.test('of one delivery a part is kept and the rest skipped: it makes no difference what is said first', async (t) => {
  const cursors = Array.from({ length: 3000 }, (_, i) => i + 1);
  const isKept = (cursor: number): boolean => cursor % 3 === 0;
  const outcome = async (isKeptFirst: boolean) => {
    const desk = new Desk();
    for (let at = 0; at < 3000; at += 1000) desk.commit(cursors.slice(at, at + 1000), 10_000 + at * 2);
    await desk.outlet.pump();
    for (let from = 0; from < 3000;) {
      const came = desk.sent.slice(from);
      const says = [
        () => desk.acknowledge(came.filter(isKept)),
        () => desk.outlet.skipped(came.filter((cursor) => !isKept(cursor))),
      ];
      for (const say of isKeptFirst ? says : says.toReversed()) (say(), await turn());
      while (desk.outlet.isBehind && desk.sent.length === from + came.length) await turn();
      from += came.length;
    }
    return { sent: desk.sent, left: [...desk.rows.keys()], hasSkipped: desk.outlet.hasSkipped };
  };
  const want = { sent: cursors, left: cursors.filter((cursor) => !isKept(cursor)), hasSkipped: true };
  t.strictSame(await outcome(true), want);
  t.strictSame(await outcome(false), want);
});

t.test('acknowledgements of what was never sent change nothing', async (t) => {
  const desk = await live();
  desk.commit([1], 10)();
  t.strictSame(desk.outlet.known([7, 1, 0]), [1]);
  t.strictSame((desk.acknowledge([1]), desk.outlet.known([1])), []);
});

t.test('what another log has cannot be proven here, and does not keep the rest', async (t) => {
  const desk = new Desk();
  desk.commit([1], 10);
  desk.commit([2], 20);
  desk.rows.set(1, { ...(desk.rows.get(1) as Message), origin: 'other/log/n1' });
  await desk.outlet.pump();
  t.strictSame(desk.sent, [2]);
  t.equal(desk.outlet.isBehind, false);
});

t.test('a close while a page is read or evidence is made; a failure is told once', async (t) => {
  const desk = new Desk();
  desk.isPrompt = false;
  desk.commit([1], 10);
  void desk.outlet.pump();
  desk.outlet.close();
  desk.reads.shift()!();
  await turn();
  t.strictSame(desk.frames, []);
  t.equal(desk.reads.length, 0);

  const late = new Desk();
  late.isPrompt = false;
  late.commit([1], 10);
  late.expiry(2);
  void late.outlet.pump();
  late.reads.shift()!();
  late.outlet.close();
  await turn();
  t.strictSame(late.frames, [], 'nor what of the page comes after');

  const turnOf = Promise.withResolvers<void>();
  const waiting = new Outlet(
    () => t.fail('nothing is sent'),
    {
      keyHashes: [hash],
      origin: ORIGIN,
      untakenBytes: () => 0,
      sendShared: () => t.fail('nothing is sent'),
      inTurn: (_items: number, work: () => Promise<void>) => turnOf.promise.then(work),
      backlog: async () => (t.fail('nothing is read'), { items: [], isWhole: true }),
      evidence: async () => late.evidence(10),
    },
    () => t.fail('nothing has failed'),
  );
  const itsTurn = waiting.pump();
  waiting.close();
  turnOf.resolve();
  await itsTurn;

  const slow = new Desk();
  slow.commit([1], 10);
  const made = Promise.withResolvers<BatchEvidence>();
  const closing = new Outlet(
    () => t.fail('nothing is sent'),
    {
      keyHashes: [hash],
      origin: ORIGIN,
      untakenBytes: () => 0,
      sendShared: () => t.fail('nothing is sent'),
      inTurn: (_items: number, work: () => Promise<void>) => work(),
      backlog: async () => ({ items: [...slow.rows.values()], isWhole: false }),
      evidence: () => made.promise,
    },
    () => t.fail('nothing has failed'),
  );
  const pumping = closing.pump();
  await turn();
  closing.close();
  made.resolve(slow.evidence(10));
  await pumping;

  const broken = new Desk();
  broken.commit([1], 10);
  const cause = new Error('no such table');
  const outlet = new Outlet(
    () => t.fail('nothing is sent'),
    {
      keyHashes: [hash],
      origin: ORIGIN,
      untakenBytes: () => 0,
      sendShared: () => t.fail('nothing is sent'),
      inTurn: (_items: number, work: () => Promise<void>) => work(),
      backlog: async () => ({ items: [...broken.rows.values()], isWhole: false }),
      evidence: async () => Promise.reject(cause),
    },
    (error) => void broken.failures.push(error),
  );
  await outlet.pump();
  outlet.acknowledged([]);
  await turn();
  t.strictSame(broken.failures, [cause]);
});

t.test('whatever comes in whatever order: everything once, nothing twice', async () => {
  const events = fc.array(
    fc.record({
      kind: fc.constantFrom('batch', 'expiry', 'large'),
      size: fc.integer({ min: 1, max: 700 }),
      delay: fc.nat(5),
    }),
    { minLength: 1, maxLength: 30 },
  );
  const seed = process.env['FUZZ'] ? {} : { seed: 20_260_101 };
  await fc.assert(
    fc.asyncProperty(
      events,
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 50, maxLength: 50 }),
      async (list, luck) => {
        const desk = new Desk();
        desk.isPrompt = false;
        let [cursor, dice] = [0, 0];
        const chance = (): number => luck[dice++ % luck.length]!;
        void desk.outlet.pump();
        const pending: (() => void)[] = [];
        const stir = async (): Promise<void> => {
          if (chance() < 0.6) desk.reads.shift()?.();
          if (chance() < 0.5) pending.splice(Math.floor(chance() * pending.length), 1)[0]?.();
          if (chance() < 0.4) desk.acknowledge(desk.sent.slice(-Math.floor(chance() * 3000)));
          await turn();
        };
        for (const { kind, size, delay } of list) {
          const count = kind === 'batch' ? size : 1;
          const cursors = Array.from({ length: count }, () => ++cursor);
          pending.push(
            kind === 'expiry'
              ? desk.expiry(cursors[0]!)
              : desk.commit(cursors, cursor * 2000, kind === 'large' ? 900_000 : 1),
          );
          for (let i = 0; i < delay; i++) await stir();
        }
        for (const offer of pending.splice(0)) offer();
        for (let i = 0; i < 10_000 && desk.sent.length < cursor; i++) {
          desk.reads.shift()?.();
          await turn();
          desk.acknowledge(desk.sent);
        }
        const sent = desk.sent.sort((a, b) => a - b);
        return sent.length === cursor && sent.every((each, i) => each === i + 1) && desk.failures.length === 0;
      },
    ),
    { numRuns: process.env['FUZZ'] ? 3000 : 30, ...seed },
  );
});

t.test('sync: resolves when what waits has been sent, also what the hub has not heard of', async (t) => {
  const desk = await live();
  desk.commit([1], 10); // in the store; its commit is not answered yet
  await desk.outlet.sync();
  t.strictSame(desk.sent, [1]);
  t.equal(desk.outlet.isBehind, false);
  await Promise.all([desk.outlet.sync(), desk.outlet.sync()]);
  t.strictSame(desk.sent, [1], 'once');

  desk.isPrompt = false;
  let isDone = false;
  const sync = desk.outlet.sync().then(() => (isDone = true));
  desk.commit([2], 20)(); // while the page is read that does not have it
  desk.reads.shift()!();
  await turn();
  t.equal(isDone, true, 'what has come later is not waited for');
  t.strictSame(desk.sent, [1, 2]);

  isDone = false;
  desk.outlet.look();
  const asked = desk.outlet.sync().then(() => (isDone = true));
  desk.reads.shift()!();
  await turn();
  t.equal(isDone, false, 'that page was begun before it was asked');
  desk.reads.shift()!();
  await Promise.all([sync, asked]);
});

t.test('whoever is written to while each page is read catches up all the same', async (t) => {
  const desk = new Desk();
  desk.isPrompt = false;
  desk.commit([1, 2], 10);
  void desk.outlet.pump();
  desk.commit([3], 20)();
  desk.commit([4, 5], 30)();
  t.strictSame(desk.sent, [], 'they wait for the page');
  desk.reads.shift()!();
  await turn();
  t.strictSame(desk.sent, [1, 2, 3, 4, 5]);
  t.notOk(desk.outlet.isBehind);
  t.equal(desk.pages, 1);
  desk.commit([6], 40)();
  t.strictSame(desk.sent, [1, 2, 3, 4, 5, 6], 'at once');

  // What the page brings is not sent again, and what an expiry took the place of is read.
  const again = new Desk();
  again.isPrompt = false;
  const late = again.commit([1], 10);
  void again.outlet.pump();
  late();
  again.reads.shift()!();
  await turn();
  t.strictSame([again.sent, again.outlet.isBehind], [[1], false]);
  again.outlet.look();
  again.expiry(2)();
  again.reads.shift()!();
  await turn();
  t.ok(again.outlet.isBehind);
  again.reads.shift()!();
  await turn();
  t.strictSame([again.sent, again.outlet.isBehind], [[1, 2], false]);
});

t.test(
  'of what comes while a page is read, a little is held; whoever waits for what was there waits for no more',
  async (t) => {
    for (const [count, bytes] of [
      [65, 1],
      [3, 30_000],
    ] as const) {
      const desk = await live();
      desk.isPrompt = false;
      let isDone = false;
      void desk.outlet.sync().then(() => (isDone = true));
      const cursors = Array.from({ length: count }, (_, i) => i + 1);
      for (const cursor of cursors) desk.commit([cursor], cursor * 10, bytes)();
      desk.reads.shift()!();
      await turn();
      t.ok(isDone);
      t.strictSame([desk.sent, desk.outlet.isBehind], [[], true], 'the page was empty, and what came is too much');
      for (let reads = 0; reads < 4; reads++) {
        desk.reads.shift()?.();
        await turn();
      }
      t.strictSame([desk.sent, desk.outlet.isBehind], [cursors, false], 'it is read, in its order');
    }
  },
);

t.test('what is held goes no further than there is room', async (t) => {
  const desk = await live();
  const cursors = Array.from({ length: 2047 }, (_, i) => i + 1);
  for (const cursor of cursors) desk.commit([cursor], cursor * 10)();
  desk.isPrompt = false;
  desk.outlet.look();
  for (const cursor of [2048, 2049, 2050]) desk.commit([cursor], cursor * 10)();
  for (let reads = 0; reads < 20; reads++) {
    desk.reads.shift()?.();
    await turn();
  }
  t.strictSame([desk.sent.length, desk.outlet.isBehind], [2048, true]);
  desk.acknowledge(cursors);
  for (let reads = 0; reads < 20; reads++) {
    desk.reads.shift()?.();
    await turn();
  }
  t.strictSame([desk.sent.slice(2046), desk.outlet.isBehind], [[2047, 2048, 2049, 2050], false]);
});

t.test('sync: waits for acknowledgements where the line is full, and not everybody may', async (t) => {
  const desk = new Desk();
  const cursors = Array.from({ length: 2049 }, (_, i) => i + 1);
  for (const cursor of cursors) desk.commit([cursor], cursor * 10);
  await desk.outlet.pump();
  let done = 0;
  for (let i = 0; i < 32; i++) void desk.outlet.sync().then(() => done++);
  t.throws(() => desk.outlet.sync(), { code: 'RATE_LIMIT', retryAfterMs: 1000 });
  await turn();
  t.equal(done, 0);
  t.equal(desk.sent.length, 2048);
  desk.acknowledge(cursors.slice(0, 1024));
  while (done < 32) await turn();
  t.equal(desk.sent.length, 2049);
  await desk.outlet.sync();
});
