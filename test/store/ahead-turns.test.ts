/** A store ahead of its database, when several ask at once, when both disks fail, and behind what the database is told at once. */
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ChatError } from '../../base/errors.ts';
import { openAhead } from '../../store/ahead.ts';
import { migrateStore } from '../../store/open.ts';
import { openSqlite } from '../../store/sqlite.ts';
import type { StoredMessage } from '../../store/contract/log.ts';
import type { Store } from '../../store/store.ts';
import { NOW, World } from '../support/store-world.ts';

async function setting(t: Test, more: (db: Store) => Partial<Store> = () => ({})) {
  const dir = t.testdir({ now: {} });
  const path = join(dir, 'now/chat.db');
  await migrateStore(`sqlite:${path}`, null, NOW);
  const db = await openSqlite(path);
  const losses: string[] = [];
  const lost = ({ code }: ChatError): void => void losses.push(code);
  const ahead = await openAhead(path, { ...db, ...more(db) }, lost);
  return {
    ahead,
    losses,
    isJournalClear: () => ['-ahead-0', '-ahead-1'].every((end) => readFileSync(path + end).every((byte) => byte === 0)),
    w: await World.open(ahead),
    /** What a crash would leave, taken over by the next process. */
    crashed: async (): Promise<Store> => {
      cpSync(join(dir, 'now'), join(dir, 'later'), { recursive: true });
      const later = join(dir, 'later/chat.db');
      return openAhead(later, await openSqlite(later), lost);
    },
  };
}

/** Calls that wait until they are let go, one by one. */
function gated() {
  const waiting: (() => void)[] = [];
  const arrivals: (() => void)[] = [];
  return {
    pass: (): Promise<void> =>
      new Promise((go) => {
        waiting.push(go);
        arrivals.shift()?.();
      }),
    next: async (): Promise<() => void> => {
      if (waiting.length === 0) await new Promise<void>((tell) => arrivals.push(tell));
      return waiting.shift()!;
    },
  };
}

t.test(
  'of several who ask while the database is told something, each hears of all that was there when he asked',
  async (t) => {
    const gate = gated();
    const { ahead, w, losses } = await setting(t, (db) => ({
      commitRecords: async (...args) => {
        await gate.pass();
        return db.commitRecords(...args);
      },
    }));
    const { b1 } = w.devices;
    await w.send();
    const first = ahead.timesAfter('', 0);
    const go = await gate.next();
    await w.send();
    const asked = [1, 2, 3].map(() => ahead.backlog(b1.id, 0, 10, 1e6));
    go();
    (await gate.next())();
    await first;
    for (const { items } of await Promise.all(asked)) t.equal(items.length, 2);
    await ahead.close();
    t.strictSame(losses, []);
  },
);

// Fails when each of them has the database told once more of what came after he asked: under load that never ends.
t.test('who asks while the database is told something waits for one telling after that, with all others', async (t) => {
  const gate = gated();
  let isOpen = false;
  const { ahead, w, losses } = await setting(t, (db) => ({
    commitRecords: async (...args) => {
      if (!isOpen) await gate.pass();
      return db.commitRecords(...args);
    },
  }));
  const { b1 } = w.devices;
  await w.send();
  const first = ahead.timesAfter('', 0);
  const go = await gate.next();
  await w.send();
  const asked = [1, 2, 3].map(() => ahead.backlog(b1.id, 0, 10, 1e6));
  go();
  const goOn = await gate.next();
  await w.send();
  goOn();
  await first;
  for (const { items } of await Promise.all(asked)) t.equal(items.length, 2);
  isOpen = true;
  t.equal((await ahead.backlog(b1.id, 0, 10, 1e6)).items.length, 3);
  await ahead.close();
  t.strictSame(losses, []);
});

// Fails when those who wait for a telling that does not begin wait for ever, or the next ones get their error.
t.test(
  'what is told before it fails: whoever waits behind it hears of that, and who asks later is told all',
  async (t) => {
    const gate = gated();
    let fails = true;
    const { ahead, w, losses } = await setting(t, (db) => ({
      commitRecords: async (...args) => {
        if (!fails) return db.commitRecords(...args);
        await gate.pass();
        throw new ChatError('STORE_FAILED', 'down');
      },
    }));
    const { b1 } = w.devices;
    await w.send();
    const asked = [1, 2, 3].map(() => ahead.backlog(b1.id, 0, 10, 1e6).catch(({ code }: ChatError) => code));
    (await gate.next())();
    t.strictSame(await Promise.all(asked), ['STORE_FAILED', 'STORE_FAILED', 'STORE_FAILED']);
    fails = false;
    t.equal((await ahead.backlog(b1.id, 0, 10, 1e6)).items.length, 1);
    await ahead.close();
    t.strictSame(losses, []);
  },
);

t.test('the size of a log is not remembered from before it was taken back', async (t) => {
  const gate = gated();
  const { ahead, w } = await setting(t, (db) => ({
    rewind: async (...args) => {
      await gate.pass();
      return db.rewind(...args);
    },
  }));
  await w.send();
  const { size } = w;
  await w.send();
  const rewound = ahead.rewind(w.origin, size);
  const go = await gate.next();
  await ahead.logSize(w.origin);
  go();
  await rewound;
  t.equal(await ahead.logSize(w.origin), size);
  await ahead.close();
});

t.test('what follows something that the database was told at once is found after a crash', async (t) => {
  const down = new ChatError('STORE_FAILED', 'down');
  const { ahead, w, losses, crashed } = await setting(t, () => ({ commitRecords: () => Promise.reject(down) }));
  const group = { generation: 1, epoch: 0 };
  await w.send({ isCommit: true, group, groupInfo: Buffer.from('info') });
  await w.send();
  const store = await crashed();
  t.equal(await store.logSize(w.origin), w.size);
  t.equal((await store.backlog(w.devices.b1.id, 0, 10, 1e6)).items.length, 2);
  await store.close();
  await ahead.close();
  t.strictSame(losses, []);
});

t.test('neither the journal nor the database can be written: no place is used up', async (t) => {
  let isDown = false;
  const { ahead, w, losses } = await setting(t, (db) => ({
    commitWindow: (window) =>
      isDown ? Promise.reject(new ChatError('STORE_FAILED', 'down')) : db.commitWindow(window),
  }));
  await w.send();
  const batch = w.batch();
  const [message] = batch.messages;
  const spoiled = {
    ...message!,
    get statement(): Uint8Array {
      if (isDown) throw new Error('the journal cannot be written');
      return message!.statement;
    },
  };
  const window = w.window([{ ...batch, messages: [spoiled] }]);
  isDown = true;
  await t.rejects(ahead.commitWindow(window), { code: 'STORE_FAILED' });
  isDown = false;
  const [[answer]] = (await ahead.commitWindow(window)) as [StoredMessage[]];
  t.match(answer, { seq: 2, cursors: [2, 2] });
  t.equal((await ahead.backlog(w.devices.b1.id, 0, 10, 1e6)).items.length, 2);
  await ahead.close();
  t.strictSame(losses, []);
});

t.test(
  'what is acknowledged while the database is told of it is acknowledged there, or here if that fails',
  async (t) => {
    for (const isFailing of [false, true]) {
      const gate = gated();
      let fails = isFailing;
      const { ahead, w, losses } = await setting(t, (db) => ({
        commitRecords: async (...args) => {
          await gate.pass();
          if (fails) throw new ChatError('STORE_FAILED', 'down');
          return db.commitRecords(...args);
        },
      }));
      const { b1, b2 } = w.devices;
      const { stored } = await w.send();
      const told = ahead.timesAfter('', 0).catch(() => undefined);
      const go = await gate.next();
      const acknowledged = ahead.acknowledge(b1.id, [stored[0]!.cursors[0]!], w.bob.id);
      go();
      await Promise.all([told, acknowledged]);
      fails = false;
      const asked = ahead.backlog(b1.id, 0, 10, 1e6);
      const other = ahead.backlog(b2.id, 0, 10, 1e6);
      if (isFailing) (await gate.next())();
      t.strictSame([(await asked).items, (await other).items.length], [[], 1], isFailing ? 'it failed' : 'it was told');
      await ahead.close();
      t.strictSame(losses, []);
    }
  },
);

t.test('whoever is being answered when it is closed gets the answer, and the journal is left empty', async (t) => {
  const gate = gated();
  const { ahead, w, losses, isJournalClear, crashed } = await setting(t, (db) => ({
    places: async (...args) => {
      await gate.pass();
      return db.places(...args);
    },
  }));
  const sent = w.send();
  const go = await gate.next();
  const closed = ahead.close();
  go();
  t.equal((await sent).stored[0]!.seq, 1);
  await closed;
  t.ok(isJournalClear());
  const store = await crashed();
  t.equal(await store.logSize(w.origin), w.size);
  await store.close();
  t.strictSame(losses, []);
});
