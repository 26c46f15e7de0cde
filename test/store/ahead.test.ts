/** A store ahead of its database: the contract, and what is left by a crash in between. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import t, { type Test } from 'tap';
import { hex, type Hash, type SessionId } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { openAhead } from '../../store/ahead.ts';
import { select } from '../../store/operation.ts';
import { migrateStore, openStore } from '../../store/open.ts';
import { SqliteConnection } from '../../store/sqlite-connection.ts';
import { openSqlite } from '../../store/sqlite.ts';
import type { Device } from '../../store/contract/devices.ts';
import type { StoredMessage } from '../../store/contract/log.ts';
import type { Store } from '../../store/store.ts';
import { storeConformance } from '../conformance/store.ts';
import { testFolder } from '../support/folder.ts';
import { LONG_MS } from '../support/late-timers.ts';
import { oneServing } from '../support/one-serving.ts';
import { LATER, newSession, NOW, random32, World } from '../support/store-world.ts';

t.setTimeout(300_000);

t.test('contract', async (t) => {
  const path = `${t.testdir()}/chat.db`;
  const url = `sqlite:${path}`;
  await migrateStore(url, null, NOW);
  const probe = SqliteConnection.open(path);
  const lost = (): void => void t.fail('the database gave other places than were told');
  const { open, served } = oneServing(
    () => openStore(url, null, { stateDir: '', onLost: lost }),
    () => openStore(url, null),
  );
  await storeConformance(t, 'sqlite, told later,', open, async (table) => {
    await served().timesAfter('', 0); // asks the database, which is told everything before
    return Number(probe.run(select(`SELECT COUNT(*) AS n FROM ${table}`))[0]?.['n']);
  });
  probe.close();
});

/**
 * A database, the store before it as a server has it, and what a crash would leave of both. The database is told what is asked for, and nothing
 * because so much time has passed.
 */
async function setting(t: Test, tell?: (db: Store) => Partial<Store>) {
  const { setTimeout: set } = globalThis;
  t.intercept(globalThis, 'setTimeout', { value: (work: () => void, ms: number) => set(work, ms > 0 ? LONG_MS : 0) });
  return timedSetting(t, tell);
}
/** The same, and it is told what has rested. */
async function timedSetting(t: Test, tell?: (db: Store) => Partial<Store>) {
  const dir = testFolder(t, { now: {} });
  const path = join(dir, 'now/chat.db');
  await migrateStore(`sqlite:${path}`, null, NOW);
  const db = await openSqlite(path);
  const losses: string[] = [];
  const ahead = await openAhead(path, { ...db, ...tell?.(db) }, ({ code }) => void losses.push(code));
  t.teardown(() => ahead.close().catch(() => undefined)); // most tests have closed it
  let copies = 0;
  return {
    path,
    db,
    ahead,
    losses,
    /** The files as they are now, elsewhere. */
    copy: (): string => {
      const to = join(dir, `copy-${++copies}`);
      cpSync(join(dir, 'now'), to, { recursive: true });
      return join(to, 'chat.db');
    },
    /** What an earlier process left, taken over by a later one. */
    reopen: (copy: string): Promise<Store> =>
      openStore(`sqlite:${copy}`, null, { stateDir: '', onLost: ({ code }) => void losses.push(code) }),
  };
}
/** With a database that is never told anything: it does not answer before the test is over, and then it is away. */
async function deafSetting(t: Test) {
  const end = Promise.withResolvers<void>();
  const made = await setting(t, () => ({ commitRecords: () => end.promise }));
  t.teardown(() => end.reject(new ChatError('STORE_FAILED', 'away')));
  end.promise.catch(() => undefined); // also when it was never asked
  return made;
}

const read = async (store: Store, { id }: Device): Promise<unknown[]> =>
  (await store.backlog(id, 0, 1000, 1e9)).items.map((item) =>
    item.kind === 'message' ? [item.cursor, item.seq, ...item.parts.map((part) => Buffer.from(part).toString())] : [],
  );

t.test('what was answered is there after a crash, with the places that were told', async (t) => {
  const { ahead, db, copy, reopen, losses } = await deafSetting(t);
  const w = await World.open(ahead);
  const { b1, a2 } = w.devices;
  const first = await w.send({ parts: [Buffer.from('one'), Buffer.alloc(0)] });
  const second = await w.send({ conversations: [w.conversation, w.conversation], parts: [Buffer.from('two')] });
  const receipt = await w.send({ isAside: 'conversation', sender: b1, recipients: [a2.id] });
  const close = await w.send({ isAside: 'everywhere', recipients: [], isClose: true });
  t.equal(await ahead.logSize(w.origin), w.size);
  t.equal(await db.logSize(w.origin), 0, 'and nowhere else');
  const files = copy();
  const store = await reopen(files);
  for (const end of ['-ahead-0', '-ahead-1'])
    t.notOk(
      readFileSync(files + end).some((byte) => byte !== 0),
      'and no more in the journal',
    );
  t.equal(await store.logSize(w.origin), w.size);
  t.strictSame(await read(store, b1), [
    [first.stored[0]!.cursors[0], 1, 'one', ''],
    [second.stored[0]!.cursors[0], 2, 'two'],
    [second.stored[1]!.cursors[0], 3, 'two'],
  ]);
  t.strictSame((await read(store, a2)).length, 1, 'the receipt');
  for (const { window, stored } of [first, second, receipt, close])
    t.strictSame(await store.commitWindow(window), [stored], 'the same again');
  t.match(await store.sessionLineage(w.devices.a1.fingerprint, w.devices.a1.fingerprint.subarray(0, 16) as SessionId), {
    lastCtr: 4,
    isClosed: true,
  });
  await store.close();
  const plain = await openSqlite(files);
  t.equal(await plain.logSize(w.origin), w.size, 'the database was told at the end');
  await plain.close();
  t.strictSame(losses, []);
});

t.test('a record cut short anywhere is none, and those before it are whole', async (t) => {
  const { ahead, copy, reopen, path } = await deafSetting(t);
  const w = await World.open(ahead);
  await w.send({ parts: [Buffer.alloc(5000, 'a')] });
  const size = w.size;
  await w.send({ parts: [Buffer.alloc(9000, 'b')] });
  const name = ['-ahead-0', '-ahead-1'].find((end) => readFileSync(path + end).includes('bbbb'))!;
  const bytes = readFileSync(path + name);
  const end = bytes.lastIndexOf('bbbb') + 4;
  const from = 8192;
  t.ok(bytes.subarray(from, from + 4).equals(Buffer.from('CSWJ')), 'the second record');
  for (const cut of [from, from + 1, from + 6, from + 8, from + 300, from + 4096, end - 1, end]) {
    const files = copy();
    const torn = Buffer.from(bytes);
    torn.fill(0, cut);
    writeFileSync(files + name, torn);
    const store = await reopen(files);
    t.equal(await store.logSize(w.origin), size, `cut at ${cut}`);
    t.equal((await read(store, w.devices.b1)).length, 1);
    await store.close();
  }
  const files = copy();
  const flipped = Buffer.from(bytes);
  flipped[from + 200]! ^= 1;
  writeFileSync(files + name, flipped);
  const store = await reopen(files);
  t.equal(await store.logSize(w.origin), size, 'nor one with another byte');
  await store.close();
});

t.test('what the log has lost is taken back, and its places are given out again', async (t) => {
  const { ahead, copy, reopen } = await deafSetting(t);
  const w = await World.open(ahead);
  await w.send();
  const size = w.size;
  const lost = await w.send({ parts: [Buffer.from('lost')] });
  const store = await reopen(copy());
  await store.rewind(w.origin, size);
  t.equal(await store.logSize(w.origin), size);
  const { batch, messages } = lost;
  const other = { batch, messages: messages.map((each) => ({ ...each, statementHash: random32<Hash>() })) };
  const [[again]] = (await store.commitWindow({ ...lost.window, batches: [other] })) as [StoredMessage[]];
  t.equal(again?.seq, 2);
  t.equal((await read(store, w.devices.b1)).length, 2);
  await store.close();
});

t.test('the journal is cleared when the database has all of it, however much that is', async (t) => {
  const { ahead, copy, reopen } = await deafSetting(t);
  const w = await World.open(ahead);
  const many = Array.from({ length: 1000 }, () => w.conversation);
  for (let i = 0; i < 6; i++) await w.send({ conversations: many });
  const files = copy();
  const db = await openSqlite(files);
  let told = 0;
  const failing: Store = {
    ...db,
    commitRecords: (records, said) =>
      told++ === 0 ? db.commitRecords(records, said) : Promise.reject(new ChatError('DISK_FULL', 'no more')),
  };
  await t.rejects(
    openAhead(files, failing, () => {}),
    { code: 'DISK_FULL' },
  );
  t.equal(told, 2, 'not in one transaction');
  const size = await db.logSize(w.origin);
  t.ok(0 < size && size < w.size, 'it has some of it');
  await db.close();
  const store = await reopen(files);
  t.equal(await store.logSize(w.origin), w.size);
  t.equal((await store.backlog(w.devices.b1.id, 0, 10_000, 1e9)).items.length, 6000);
  await store.close();
});

t.test('what does not follow the database is not thrown away', async (t) => {
  const { ahead, copy, reopen, path } = await deafSetting(t);
  const w = await World.open(ahead);
  await w.send({ parts: [Buffer.from('first')] });
  ahead.timesAfter('', 0).catch(() => undefined); // the other file is written from now on
  await w.send({ parts: [Buffer.from('second')] });
  const name = ['-ahead-0', '-ahead-1'].find((end) => readFileSync(path + end).includes('first'))!;
  const files = copy();
  const bytes = readFileSync(files + name);
  const damaged = Buffer.from(bytes);
  damaged[100]! ^= 1;
  writeFileSync(files + name, damaged);
  await t.rejects(reopen(files), { code: 'STORE_FAILED', message: /move them away/ });
  writeFileSync(files + name, bytes);
  const store = await reopen(files);
  t.equal((await read(store, w.devices.b1)).length, 2);
  await store.close();
});

t.test('what everybody keeps before the database is told leaves nothing there, and nothing beside it', async (t) => {
  const { ahead, db, path, losses } = await setting(t);
  const w = await World.open(ahead);
  const { b1, b2 } = w.devices;
  const probe = SqliteConnection.open(path);
  const count = (table: string) => Number(probe.run(select(`SELECT COUNT(*) AS n FROM ${table}`))[0]?.['n']);
  const kept = await w.send({ parts: [Buffer.from('CANARY kept')] });
  const half = await w.send({ parts: [Buffer.from('CANARY half')] });
  const own = await w.send({ parts: [Buffer.from('own devices')], recipients: [w.devices.a2.id] });
  for (const [i, { id }] of [b1, b2].entries()) await ahead.acknowledge(id, [kept.stored[0]!.cursors[i]!], w.bob.id);
  await ahead.acknowledge(b1.id, [half.stored[0]!.cursors[0]!], w.bob.id);
  await ahead.acknowledge(w.devices.a2.id, [own.stored[0]!.cursors[0]!], w.alice.id);
  t.strictSame(await ahead.queueUsages([b1.id, b2.id]), [
    { bytes: 0, rows: 0 },
    { bytes: 11, rows: 1 },
  ]);
  await ahead.timesAfter('', 0);
  t.equal(await db.logSize(w.origin), w.size);
  t.equal(count('contents'), 1, 'of what one device waits for');
  t.equal(count('queue'), 1);
  t.equal(count('expiries'), 2, 'and its sender is told of what only his own devices have');
  t.strictSame(await db.queueUsages([b1.id, b2.id]), await ahead.queueUsages([b1.id, b2.id]));
  await ahead.acknowledge(b2.id, [half.stored[0]!.cursors[1]!], w.bob.id);
  t.equal(count('contents'), 0);
  const { stored } = await w.send();
  t.equal(stored[0]!.cursors[0], 3, 'cursors go on');
  const expired = await ahead.expire(LATER, 10);
  t.equal(new Set(expired.map(({ message }) => hex(message))).size, 2, 'nobody else has got that, nor the last');
  t.ok(expired.some(({ message }) => hex(message) === hex(own.messages[0]!.statementHash)));
  t.equal((await w.send()).stored[0]!.cursors[0], 4);
  await ahead.close();
  probe.close(); // the last one brings all that was deleted into the file
  for (const name of [path, `${path}-ahead-0`, `${path}-ahead-1`])
    t.notOk(readFileSync(name).includes('CANARY'), `${name.slice(-8)} is clean`);
  t.strictSame(losses, []);
});

t.test('what has just come rests before the database is told, and no file keeps it after that', async (t) => {
  let [sent, told, tellings, rested] = [0, 0, 0, 0];
  const { ahead, path, losses } = await timedSetting(t, (real) => ({
    commitRecords: (records, said) => {
      tellings++;
      told += records.length;
      if (told < sent) rested++;
      return real.commitRecords(records, said);
    },
  }));
  const w = await World.open(ahead);
  const isIn = (text: string) => ['', '-ahead-0', '-ahead-1'].some((end) => readFileSync(path + end).includes(text));
  while (tellings < 3 || rested === 0) {
    const { stored } = await w.send({ parts: [Buffer.from('CANARY')] });
    sent++;
    await sleep(20);
    for (const [j, device] of [w.devices.b1, w.devices.b2].entries())
      await ahead.acknowledge(device.id, [stored[0]!.cursors[j]!], w.bob.id);
  }
  t.pass('not what has just come');
  while (told < sent || isIn('CANARY')) await sleep(5);
  await ahead.close();
  t.strictSame(losses, []);
});

t.test('a database that fails keeps nothing from being told later, and takes nothing more', async (t) => {
  let isDown = false;
  const { ahead, db, losses } = await setting(t, (real) => ({
    commitRecords: (records, said) =>
      isDown ? Promise.reject(new ChatError('STORE_FAILED', 'down')) : real.commitRecords(records, said),
  }));
  const w = await World.open(ahead);
  const { b1 } = w.devices;
  await w.send();
  isDown = true;
  const later = await w.send({ parts: [Buffer.from('later')] });
  await t.rejects(ahead.backlog(b1.id, 0, 10, 1e6), { code: 'STORE_FAILED' });
  const refused = w.window([w.batch()]);
  await t.rejects(ahead.commitWindow(refused), { code: 'STORE_FAILED' });
  t.strictSame(await ahead.commitWindow(later.window), [later.stored], 'what was answered is answered again');
  await ahead.acknowledge(b1.id, [later.stored[0]!.cursors[0]!], w.bob.id);
  isDown = false;
  const [[answer]] = (await ahead.commitWindow(refused)) as [StoredMessage[]];
  t.strictSame([answer!.seq, answer!.cursors[0]], [3, 3]);
  t.equal((await read(ahead, b1)).length, 2, 'all but what the device keeps');
  t.equal(await db.logSize(w.origin), w.size);
  await ahead.close();
  t.strictSame(losses, []);
});

t.test(
  'when too much waits, more is taken as soon as the database has some of it; and none when it fails',
  async (t) => {
    const told: (() => void)[] = [];
    let isDown = false;
    const { ahead, db, losses } = await timedSetting(t, (db) => ({
      commitRecords: async (...args) => {
        await new Promise<void>((resolve) => told.push(resolve));
        if (isDown) throw new ChatError('STORE_FAILED', 'down');
        return db.commitRecords(...args);
      },
    }));
    const w = await World.open(ahead);
    let answered = 0;
    const send = (): Promise<unknown> =>
      w.send({ parts: [Buffer.alloc(3_000_000)] }).then(
        () => answered++,
        () => 'refused',
      );
    const until = async (isSo: () => boolean): Promise<void> => {
      while (!isSo()) await sleep(5);
    };
    while (answered < 10) await send();
    t.equal(ahead.relief(), null);
    while (answered < 12) await send(); // 36 MB: more than half of what is kept
    let isRelieved = false;
    void ahead.relief()!.then(() => (isRelieved = true));
    while (answered < 23) await send(); // 69 MB: more than that
    const last = [send()];
    await until(() => told.length > 0);
    await sleep(50);
    t.equal(answered, 23, 'it waits for the database');
    t.equal(await db.logSize(w.origin), 0);
    for (let i = 0; answered < 24; i++) {
      await until(() => told.length > 0 || answered === 24);
      told.splice(0).forEach((go) => go());
      if (i > 10) return t.fail('still no room');
    }
    t.ok((await db.logSize(w.origin)) < w.size / 2, 'not for all of it');
    await Promise.all(last);
    t.equal(isRelieved, false, 'half of it waits still');
    while (!isRelieved) {
      await until(() => told.length > 0 || isRelieved);
      told.splice(0).forEach((go) => go());
    }
    const rest = w.size - (await db.logSize(w.origin));
    t.ok(0 < rest && rest <= w.size / 2, `${rest} of ${w.size} entries wait`);
    isDown = true;
    const pump = setInterval(() => told.splice(0).forEach((go) => go()), 5);
    let outcome: unknown = null;
    for (let i = 0; i < 30 && outcome !== 'refused'; i++) outcome = await send();
    t.equal(outcome, 'refused');
    t.equal(ahead.relief(), null, 'nobody waits for one that fails');
    isDown = false;
    await ahead.close();
    clearInterval(pump);
    t.strictSame(losses, []);
  },
);

t.test('what is acknowledged after a telling has failed in its midst is acknowledged', async (t) => {
  for (const isDone of [false, true]) {
    let calls = 0;
    const { ahead, db, losses } = await setting(t, (db) => ({
      commitRecords: async (...args) => {
        calls++;
        if (calls !== 2 || isDone) await db.commitRecords(...args);
        if (calls === 2) throw new ChatError('STORE_FAILED', isDone ? 'nobody heard that it was done' : 'down');
      },
    }));
    const w = await World.open(ahead);
    const { a1, b1 } = w.devices;
    // More rows than one transaction has.
    const sent = [];
    for (let i = 0; i < 4; i++) sent.push(await w.send({ count: 600, recipients: [b1.id], expiresAt: NOW + 1000 }));
    const cursors = sent.map(({ stored }) => stored.flatMap((message) => message.cursors));
    await t.rejects(ahead.backlog(b1.id, 0, 10, 1e6), { code: 'STORE_FAILED' });
    t.equal((await db.queueUsages([b1.id]))[0]?.rows, isDone ? 1200 : 600);
    t.equal((await ahead.queueUsages([b1.id]))[0]?.rows, isDone ? 3000 : 2400, 'what is known to be there counts once');
    for (const some of cursors.slice(0, 2)) await ahead.acknowledge(b1.id, some, w.bob.id);
    const left = (await ahead.backlog(b1.id, 0, 10_000, 1e9)).items;
    t.strictSame(
      left.map(({ cursor }) => cursor),
      cursors.slice(2).flat(),
    );
    t.equal((await ahead.queueUsages([b1.id]))[0]?.rows, 1200);
    const expired = await ahead.expire(NOW + 2000, 10_000);
    t.equal(expired.filter(({ deviceId }) => deviceId === a1.id).length, 1200, 'the others have reached somebody');
    t.strictSame(losses, []);
    await ahead.close();
  }
});

t.test('how much waits for a device is told while the database is being told of other things', async (t) => {
  const gate = Promise.withResolvers<void>();
  const { ahead } = await setting(t, (db) => ({
    commitRecords: async (...args) => {
      await gate.promise;
      await db.commitRecords(...args);
    },
  }));
  const w = await World.open(ahead);
  const { b1 } = w.devices;
  await w.send({ count: 3, recipients: [b1.id] });
  const told = ahead.timesAfter('', 0);
  await w.send({ count: 2, recipients: [b1.id] });
  t.equal((await ahead.queueUsages([b1.id]))[0]?.rows, 5);
  gate.resolve();
  await told;
  await ahead.close();
});

t.test('somebody else who gives out places ends it', async (t) => {
  const { ahead, db, losses } = await setting(t);
  const w = await World.open(ahead);
  await w.send();
  await ahead.timesAfter('', 0);
  const other = w.elsewhere(db);
  await other.send({ session: newSession() });
  await w.send();
  await t.rejects(ahead.timesAfter('', 0), { code: 'STORE_FAILED' });
  t.strictSame(losses, ['STORE_FAILED']);
  await ahead.close();
});

t.test('one process, and files of this version', async (t) => {
  const { ahead, copy, path, reopen } = await deafSetting(t);
  await t.rejects(reopen(path), { code: 'IN_USE' });
  const w = await World.open(ahead);
  await w.send();
  const files = copy();
  const name = ['-ahead-0', '-ahead-1'].find((end) => readFileSync(files + end)[0] !== 0)!;
  const bytes = readFileSync(files + name);
  const length = 8 + bytes.readUInt32BE(4);
  bytes[9] = 2; // behind the head of the list
  bytes.writeUInt32BE(crc32(bytes.subarray(0, length)), length);
  writeFileSync(files + name, bytes);
  await t.rejects(reopen(files), { code: 'STORE_FAILED', message: /another version/ });
});

t.test('what is being written while the database is told stays in the journal until it is told as well', async (t) => {
  const { ahead, copy, reopen } = await setting(t);
  const w = await World.open(ahead);
  await w.send();
  await ahead.timesAfter('', 0);
  for (let i = 0; i < 8; i++) {
    await w.send();
    const sent = w.send({ parts: [Buffer.alloc(700_000, `${i}`)] });
    await new Promise(setImmediate); // on its way into the file that is left now
    await Promise.all([sent, ahead.timesAfter('', 0)]);
    await sleep(20); // zeros would be written
    const store = await reopen(copy());
    t.equal(await store.logSize(w.origin), w.size, `window ${i}`);
    t.equal((await read(store, w.devices.b1)).length, 1 + 2 * (i + 1));
    await store.close();
  }
  await ahead.close();
});

/** What no window, acknowledgement or expiry changes, or what a window only follows: the database answers as it is. */
const UNTOUCHED = [
  ...[
    'kind',
    'ping',
    'createUser',
    'findUser',
    'userWithDevice',
    'listUsers',
    'setEmail',
    'setStatus',
    'setPassword',
    'setLastSeen',
    'setPresence',
    'directory',
  ],
  ...['addDevice', 'devicesOf', 'deviceByFingerprint', 'revokeDevices'],
  ...['countLoginFailure', 'lockedUntil', 'clearLoginFailures', 'forgetLoginFailures'],
  ...['openDirect', 'openSelf', 'conversation', 'createRoom', 'room', 'rooms', 'changeRoom'],
  ...['changeContact', 'contactsOf', 'standing'],
  ...['putBinding', 'binding', 'putKeyPackages', 'takeKeyPackages', 'group', 'groupInfo'],
  ...['putBlobPiece', 'blobPiece', 'blobSizes', 'keptInfoBytes', 'forgetBlobs'],
];

t.test('whatever a waiting window could change in an answer is asked of the database after it', async (t) => {
  const { ahead, db } = await deafSetting(t);
  const same = (Object.keys(ahead) as (keyof Store)[]).filter((name) => ahead[name] === db[name]);
  t.strictSame(same.toSorted(), UNTOUCHED.toSorted(), 'a new method of the store is decided upon');
});

t.test('an opening that follows the ends of a session sees the session that waits', async (t) => {
  const { ahead, db } = await setting(t);
  const w = await World.open(ahead);
  await w.send();
  const session = w.devices.a1.fingerprint.subarray(0, 16) as SessionId;
  t.strictSame(await db.sessionEnds(session), [], 'the database was not told yet');
  t.equal((await ahead.sessionEnds(session)).length, 1);
  await ahead.close();
});
