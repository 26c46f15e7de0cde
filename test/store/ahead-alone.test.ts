/** A store ahead of a database of which only is written down what it is told: what is asked of it and when, and what is kept from it. */
import { readdirSync, readlinkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { ChatError } from '../../base/errors.ts';
import { openAhead } from '../../store/ahead.ts';
import { decodeWindow } from '../../store/journal-record.ts';
import type { User } from '../../store/contract/accounts.ts';
import type { Device, NewDevice } from '../../store/contract/devices.ts';
import type { StoredMessage, WindowRecord } from '../../store/contract/log.ts';
import type { Store } from '../../store/store.ts';
import { NOW, World } from '../support/store-world.ts';
import { testFolder } from '../support/folder.ts';

const down = new ChatError('STORE_FAILED', 'down');
const turn = (): Promise<void> => new Promise(setImmediate);

/** Knows how far each log is and how many of its messages there are. */
class Told {
  readonly calls: string[] = [];
  readonly sizes = new Map<string, number>();
  /** how the next telling fails, until it is null again */
  failure: ChatError | null = null;
  /** what comes before each telling */
  gate: Promise<unknown> = Promise.resolve();
  /** the telling is done, and nobody hears it */
  isUnheard = false;
  expiry: number | null = null;
  #ids = 0;
  #seq = 0;

  store(): Store {
    const known: Partial<Store> = {
      createUser: async (user) => ({ ...user, id: ++this.#ids }) as unknown as User,
      addDevice: async (device: NewDevice) => ({
        device: { ...device, id: ++this.#ids } as unknown as Device,
        isNew: true,
        keyHashes: [],
        renewed: null,
      }),
      openDirect: async (_a, _b, id) => ({ id }) as Awaited<ReturnType<Store['openDirect']>>,
      logSize: async (origin) => this.#size(origin),
      places: async (conversations, devices) => {
        this.calls.push('places');
        return { seqs: conversations.map(() => this.#seq), cursors: devices.map(() => this.#seq) };
      },
      commitWindow: async (window) => {
        this.calls.push('window');
        return this.#window(window);
      },
      commitRecords: async (records) => {
        this.calls.push(`told ${records.length}`);
        await this.gate;
        if (this.failure) throw this.failure;
        for (const record of records) this.#window(decodeWindow(record).window);
        if (this.isUnheard) throw down;
      },
      acknowledge: async (_device, cursors) => void this.calls.push(`kept ${cursors.join()}`),
      nextExpiry: async () => this.expiry,
      expire: async () => {
        this.calls.push('expire');
        return [];
      },
      queueUsages: async (ids) => ids.map(() => ({ bytes: 1000, rows: 100 })),
      timesAfter: async () => 0,
      rewind: async (origin, size) => void this.sizes.set(origin, size),
      close: async () => void this.calls.push('close'),
    };
    return known as Store;
  }
  #size(origin: string): number {
    return this.sizes.get(origin) ?? 0;
  }
  #window({ origin, logSize, batches }: WindowRecord): StoredMessage[][] {
    this.sizes.set(origin, logSize);
    return batches.map(({ messages }) =>
      messages.map(({ content }) => {
        const seq = ++this.#seq;
        return { seq, cursors: (content?.recipients ?? []).map(() => seq) };
      }),
    );
  }
}

async function setting(t: Test) {
  const path = join(testFolder(t), 'chat.db');
  const db = new Told();
  const losses: string[] = [];
  const open = (): Promise<Store> => openAhead(path, db.store(), ({ code }) => void losses.push(code));
  const ahead = await open();
  const w = await World.open(ahead);
  /** What was asked of the database meanwhile. */
  const asked = (): string[] => db.calls.splice(0);
  const flush = (): Promise<unknown> => ahead.timesAfter('', 0);
  const isOpen = (): boolean =>
    readdirSync('/proc/self/fd').some((fd) => {
      try {
        return readlinkSync(join('/proc/self/fd', fd)).startsWith(`${path}-ahead-`);
      } catch {
        return false; // closed meanwhile
      }
    });
  t.teardown(() => ahead.close().catch(() => undefined));
  return { path, db, ahead, w, losses, asked, flush, open, isOpen };
}
/** Devices, more than there are. */
const many = (count: number): number[] => Array.from({ length: count }, (_, i) => 1000 + i);

t.test('after the database has failed and works again, nobody waits for it any more', async (t) => {
  const { db, w, flush, ahead } = await setting(t);
  await w.send();
  db.failure = down;
  await t.rejects(flush(), { code: 'STORE_FAILED' });
  db.failure = null;
  await flush();
  const gate = Promise.withResolvers<void>();
  db.gate = gate.promise;
  await w.send();
  const told = flush();
  await w.send({ count: 2 });
  t.equal(await ahead.logSize(w.origin), w.size, 'and how far the log is is known here');
  gate.resolve();
  await told;
});

t.test(
  'what failed and was done all the same is not told again; what was acknowledged of it meanwhile is',
  async (t) => {
    const { db, w, asked, flush, ahead } = await setting(t);
    const { stored } = await w.send({ recipients: [w.devices.b1.id, w.devices.b2.id] });
    db.isUnheard = true;
    await t.rejects(flush(), { code: 'STORE_FAILED' });
    asked();
    await ahead.acknowledge(w.devices.b1.id, [stored[0]!.cursors[0]!], w.bob.id);
    t.strictSame(asked(), [], 'it rests here');
    db.isUnheard = false;
    await flush();
    t.strictSame(asked(), ['kept 1']);
    await flush();
    t.strictSame(asked(), []);
  },
);

t.test('what fails for want of room, or of an answer, is no loss; other places than were told are one', async (t) => {
  const { db, w, losses, flush } = await setting(t);
  await w.send();
  for (const failure of [new ChatError('DISK_FULL', ''), down]) {
    db.failure = failure;
    await t.rejects(flush(), { code: failure.code });
  }
  t.strictSame(losses, []);
  db.failure = new ChatError('STORE_FAILED', '', { sub: 'places' });
  await t.rejects(flush(), { code: 'STORE_FAILED' });
  db.failure = new ChatError('LOG_CORRUPT', '');
  await t.rejects(flush(), { code: 'LOG_CORRUPT' });
  t.strictSame(losses, ['STORE_FAILED', 'LOG_CORRUPT']);
  db.failure = null;
});

t.test('what changes a group is told at once, behind all that was before, and numbers go on after it', async (t) => {
  const { w, asked } = await setting(t);
  const seqs = [(await w.send()).stored[0]!.seq];
  t.notOk(asked().includes('window'));
  const group = { generation: 1, epoch: 0 };
  seqs.push((await w.send({ isCommit: true, group, groupInfo: Buffer.from('info') })).stored[0]!.seq);
  t.strictSame(asked(), ['told 1', 'window']);
  seqs.push((await w.send()).stored[0]!.seq);
  t.strictSame(seqs, [1, 2, 3]);
  t.strictSame(asked(), [], 'what was told is followed, and not asked for');
});

t.test('a window again: answered here while it waits, and by the database when it does not', async (t) => {
  const { w, asked, flush, ahead } = await setting(t);
  const { window, stored } = await w.send();
  asked();
  t.strictSame(await ahead.commitWindow(window), [stored]);
  t.strictSame(asked(), []);
  await flush();
  asked();
  await ahead.commitWindow(window);
  t.strictSame(asked(), ['window']);
});

t.test('the counters of a batch that waits, at another place of the log', async (t) => {
  const { w, ahead } = await setting(t);
  const { batch, messages } = await w.send();
  const again = w.window([{ batch: { ...batch, firstIndex: w.size }, messages }]);
  w.size += 2;
  await t.rejects(ahead.commitWindow({ ...again, logSize: w.size }), { code: 'COUNTER_REUSED', field: 'batch' });
  t.equal((await w.send()).stored[0]!.seq, 2, 'no place was given out for it');
});

t.test('when the first expires, of what waits and of what is stored; before that nothing is asked', async (t) => {
  const { db, w, asked, flush, ahead } = await setting(t);
  t.equal(await ahead.nextExpiry(), null);
  t.strictSame(await ahead.expire(NOW, 10), []);
  db.expiry = NOW + 2000;
  t.equal(await ahead.nextExpiry(), NOW + 2000);
  await w.send({ expiresAt: NOW + 1000 });
  t.equal(await ahead.nextExpiry(), NOW + 1000);
  asked();
  await ahead.expire(NOW + 999, 10);
  t.strictSame(asked(), []);
  await ahead.expire(NOW + 1000, 10);
  t.strictSame(asked(), ['told 1', 'expire']);
  await flush();
});

t.test('how much waits for a device: here and there', async (t) => {
  const { w, ahead, flush } = await setting(t);
  const { b1 } = w.devices;
  await w.send({ recipients: [b1.id], parts: [Buffer.alloc(50)] });
  t.strictSame(await ahead.queueUsages([b1.id]), [{ bytes: 1050, rows: 101 }]);
  await flush();
  t.strictSame(await ahead.queueUsages([b1.id]), [{ bytes: 1000, rows: 100 }]);
});

t.test('acknowledged: here what waits, in the database what it has', async (t) => {
  const { w, ahead, asked, flush } = await setting(t);
  const { b1 } = w.devices;
  await w.send({ recipients: [b1.id] });
  await flush();
  await w.send({ recipients: [b1.id] });
  asked();
  await ahead.acknowledge(b1.id, [2], w.bob.id);
  t.strictSame(asked(), []);
  await ahead.acknowledge(b1.id, [1, 2], w.bob.id);
  t.strictSame(asked(), ['kept 1,2'], 'what is not here any more may be there');
});

t.test('whoever brings much waits for relief, and nobody does while the database fails', async (t) => {
  const { db, w, ahead, flush } = await setting(t);
  await w.send();
  t.equal(ahead.relief(), null);
  await w.send({ recipients: many(40_000) });
  await ahead.relief();
  t.equal(ahead.relief(), null);
  await w.send({ recipients: many(40_000) });
  db.failure = down;
  await t.rejects(flush(), { code: 'STORE_FAILED' });
  t.equal(ahead.relief(), null);
  db.failure = null;
  await flush();
});

t.test('when all there is room for waits, whatever comes waits until the database has some of it', async (t) => {
  const { db, w } = await setting(t);
  const gate = Promise.withResolvers<void>();
  db.gate = gate.promise;
  await w.send({ recipients: many(66_000) });
  let isTaken = false;
  const next = w.send().then(() => (isTaken = true));
  while (!db.calls.includes('told 1')) await turn();
  for (let i = 0; i < 20; i++) await turn();
  t.notOk(isTaken);
  gate.resolve();
  t.ok(await next);
  db.failure = down;
  await w.send({ recipients: many(66_000) });
  await t.rejects(w.send(), { code: 'STORE_FAILED' });
  db.failure = null;
});

t.test('closed: all is told, and nothing is held', async (t) => {
  const { w, ahead, asked, open, isOpen } = await setting(t);
  await w.send();
  t.ok(isOpen());
  await ahead.close();
  t.strictSame(asked().slice(-2), ['told 1', 'close']);
  t.notOk(isOpen());
  await (await open()).close();
});

/** With timers that are over when it is said, and each time after something else was written through to the disk. */
async function timed(t: Test, work: (pass: (ms: number) => Promise<void>) => Promise<void>): Promise<void> {
  const file = join(testFolder(t), 'written');
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    await work(async (ms) => {
      mock.timers.tick(ms);
      await writeFile(file, 'through', { flush: true });
    });
  } finally {
    mock.timers.reset();
  }
}

t.test('after a failure what is told without anybody asking ends it as well', (t) =>
  timed(t, async (pass) => {
    const { db, w, ahead, flush } = await setting(t);
    await w.send();
    const gate = Promise.withResolvers<void>();
    db.gate = gate.promise;
    const told = flush();
    while (!db.calls.includes('told 1')) await turn();
    await w.send({ recipients: many(40_000) }); // enough to wait for
    db.failure = down;
    gate.resolve();
    await t.rejects(told, { code: 'STORE_FAILED' });
    t.equal(ahead.relief(), null);
    db.failure = null;
    let relief = ahead.relief();
    for (let i = 0; i < 300 && relief === null; i++) {
      await pass(50);
      relief = ahead.relief();
    }
    t.ok(relief);
    await relief;
  }),
);

t.test('a database that fails when it is opened: nothing is held, and nothing is told later', (t) =>
  timed(t, async (pass) => {
    const { db, w, ahead, asked, open, isOpen } = await setting(t);
    await w.send();
    db.failure = down;
    await ahead.close();
    t.notOk(isOpen());
    asked();
    await t.rejects(open(), { code: 'STORE_FAILED' });
    t.notOk(isOpen());
    t.strictSame(asked(), ['places', 'told 1']);
    for (let i = 0; i < 4; i++) await pass(1000);
    t.strictSame(asked(), [], 'neither by this one nor by the one that was closed');
    db.failure = null;
    await (await open()).close();
    t.equal(db.sizes.get(w.origin), w.size);
  }),
);

t.test('without anybody asking: what rests is told, also while others write, and again when that has failed', (t) =>
  timed(t, async (pass) => {
    const { db, w } = await setting(t);
    const isTold = (): boolean => db.calls.some((call) => call.startsWith('told'));
    for (let i = 0; i < 100 && !isTold(); i++) {
      await w.send();
      db.failure = down;
      await pass(400);
      db.failure = null;
    }
    t.ok(isTold());
    while (db.sizes.get(w.origin) !== w.size) await pass(500);
    t.pass('all of it');
  }),
);
