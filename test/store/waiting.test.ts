/** What waits for the database: how much it is, whose, and what of it is told together. */
import t from 'tap';
import type { Hash, SessionId } from '../../base/bytes.ts';
import { encodeWindow } from '../../store/journal-record.ts';
import type { StoredMessage, WindowRecord } from '../../store/contract/log.ts';
import type { Store } from '../../store/store.ts';
import { Numbering } from '../../store/numbering.ts';
import { Waiting } from '../../store/waiting.ts';
import { newSession, NOW, random32, World } from '../support/store-world.ts';
import { idKey } from '../../base/id-key.ts';

const recordOf = (window: WindowRecord): Buffer => encodeWindow({ from: 0, window }, 0, (bytes) => Buffer.alloc(bytes));

/** People without a database: they only write windows. */
async function people(): Promise<World> {
  let id = 0;
  const store = {
    createUser: async () => ({ id: ++id }),
    addDevice: async (device: object) => ({ device: { ...device, id: ++id } }),
    openDirect: async (_a: number, _b: number, conversation: Uint8Array) => ({ id: conversation }),
  } as unknown as Store;
  return World.open(store);
}

/** Takes windows as the store ahead does, with places from the first on. */
function desk() {
  const waiting = new Waiting();
  const ask: Store['places'] = async (conversations, devices) => ({
    seqs: conversations.map(() => 0),
    cursors: devices.map(() => 0),
  });
  const numbering = new Numbering(ask);
  const add = async (window: WindowRecord): Promise<StoredMessage[][]> => {
    const answers = await numbering.giveOut(window.batches);
    waiting.add(window, answers, recordOf(window));
    return answers;
  };
  return { waiting, numbering, add };
}

t.test('rows and bytes are those of what is there, down to nothing', async (t) => {
  const w = await people();
  const { b1, b2 } = w.devices;
  const { waiting, add } = desk();
  t.ok(waiting.isEmpty);
  const window = w.window([w.batch({ count: 3, parts: [Buffer.alloc(1000)] })]);
  await add(window);
  t.equal(waiting.rows, 9, 'three messages, each for two devices');
  const { bytes } = waiting;
  t.ok(bytes > 3000);
  t.strictSame(waiting.usageOf(b1.id), { bytes: 3000, rows: 3 });
  t.strictSame(waiting.acknowledge(b1.id, [1, 3, 3, 7], w.bob.id), [3, 7], 'once each, and none that is not here');
  t.equal(waiting.rows, 7);
  t.strictSame(waiting.usageOf(b1.id), { bytes: 1000, rows: 1 });
  t.ok(waiting.waitsFor(b1.id));
  waiting.acknowledge(b1.id, [2], w.bob.id);
  t.strictSame([waiting.waitsFor(b1.id), waiting.hasDevice(b1.id), waiting.waitsFor(b2.id)], [false, true, true]);
  const more = w.window([w.batch()]);
  await add(more);
  waiting.forget(w.origin, window.logSize);
  t.strictSame([waiting.rows, waiting.isEmpty, waiting.waitsFor(b2.id)], [3, false, true]);
  t.strictSame(waiting.acknowledge(b2.id, [1, 4], w.bob.id), [1], 'the first of them is the database’s now');
  waiting.forget(w.origin, more.logSize);
  t.strictSame([waiting.rows, waiting.bytes, waiting.isEmpty], [0, 0, true]);
});

t.test('what stands in it is known by name', async (t) => {
  const w = await people();
  const { a1, b1 } = w.devices;
  const session = newSession();
  const certificate = b1.fingerprint;
  const { waiting, add } = desk();
  const batch = w.batch({ session, expiresAt: NOW + 2000 });
  await add(w.window([batch], [certificate]));
  await add(w.window([w.batch({ session, expiresAt: NOW + 1000 })]));
  await add(w.window([w.batch({ session, expiresAt: NOW + 3000 })]));
  t.ok(waiting.hasSender(a1.fingerprint) && waiting.hasSession(session) && waiting.hasCertificate(certificate));
  t.ok(waiting.hasConversation(idKey(w.conversation)) && waiting.hasBatch(batch.batch));
  t.notOk(
    waiting.hasSender(b1.fingerprint) || waiting.hasSession(newSession()) || waiting.hasCertificate(a1.fingerprint),
  );
  t.notOk(waiting.hasBatch({ ...batch.batch, session: newSession() as SessionId }), 'of another session');
  t.notOk(waiting.hasBatch({ ...batch.batch, firstCtr: 99 }));
  t.equal(waiting.expiresAt, NOW + 1000, 'the first of them');
});

t.test('a window that comes again gets its answer, and another in its place is a fault', async (t) => {
  const w = await people();
  const { waiting, add } = desk();
  const window = w.window([w.batch({ count: 2 })]);
  const answers = await add(window);
  t.equal(waiting.answersOf(window), answers);
  t.equal(waiting.answersOf({ ...window, origin: 'another' }), null);
  t.equal(waiting.answersOf({ ...window, logSize: 99 }), null);
  const [{ batch, messages }] = window.batches as [WindowRecord['batches'][0]];
  const changed = (change: object) => ({
    ...window,
    batches: [{ batch, messages: messages.map((message, i) => (i === 1 ? { ...message, ...change } : message)) }],
  });
  const fault = { code: 'LOG_CORRUPT', field: 'index' };
  t.throws(() => waiting.answersOf(changed({ statementHash: random32<Hash>() })), fault);
  t.throws(() => waiting.answersOf(changed({ index: 99 })), fault);
});

t.test('what is told together: of one log, and no more than a transaction should have', async (t) => {
  const w = await people();
  const other = w.elsewhere(w.store);
  const { waiting, add } = desk();
  t.equal(waiting.first(), null);
  const sizes: number[] = [];
  for (const count of [300, 300, 300]) {
    const window = w.window([w.batch({ count })]);
    await add(window);
    sizes.push(window.logSize);
  }
  await add(other.window([other.batch({ session: newSession() })]));
  t.match(waiting.first(), { origin: w.origin, logSize: sizes[1] }, '1,800 rows: the second went over the limit');
  waiting.forget(w.origin, sizes[1]! - 1);
  t.match(waiting.first(), { logSize: sizes[2] }, 'only the first is gone');
  waiting.forget(w.origin, sizes[1]!);
  t.match(waiting.first(), { origin: w.origin, logSize: sizes[2] }, 'and nothing of another log');
  waiting.forget(w.origin, sizes[2]!);
  t.match(waiting.first(), { origin: other.origin, logSize: other.size });
  waiting.forget(w.origin, other.size);
  t.notOk(waiting.isEmpty, 'the other log is not forgotten for the size of this one');

  const large = desk();
  const parts = [Buffer.alloc(3_000_000)];
  const windows = [1, 2, 3].map(() => w.window([w.batch({ parts })]));
  for (const window of windows) await large.add(window);
  t.match(large.waiting.first(), { logSize: windows[1]!.logSize }, 'by bytes');
});

t.test('what was acknowledged is told by device, and whether it has reached somebody', async (t) => {
  const w = await people();
  const { a2, b1, b2 } = w.devices;
  const { waiting, add } = desk();
  const recipients = [a2.id, b1.id, b2.id];
  const windows = [1, 2].map(() => w.window([w.batch({ count: 2, recipients })]));
  for (const window of windows) await add(window);
  /** Of the second message: seq, whether it is reached, three cursors, who keeps it. */
  const said = () => [...new Float64Array(new Uint8Array(waiting.first()!.said).buffer)].slice(7, 7 + 8);
  waiting.acknowledge(a2.id, [2], w.alice.id);
  t.strictSame(said(), [2, 0, 3, 2, 2, 2, 1, a2.id], 'an own device of the sender');
  waiting.acknowledge(b1.id, [1, 2, 3], w.bob.id);
  t.strictSame(waiting.keptOf(w.origin, windows[0]!.logSize), [
    { deviceId: b1.id, cursors: [1, 2], userId: w.bob.id },
    { deviceId: a2.id, cursors: [2], userId: w.alice.id },
  ]);
  // The first has one device more that keeps it now.
  t.strictSame([...new Float64Array(new Uint8Array(waiting.first()!.said).buffer)].slice(8, 10), [2, 1]);
  t.equal(waiting.keptOf(w.origin, windows[1]!.logSize)[0]?.cursors.length, 3);
  t.strictSame(waiting.keptOf('another', windows[1]!.logSize), []);
});

t.test('numbers go on from the last, whoever gave them out, and come back when nobody was told', async (t) => {
  const w = await people();
  const { b1, b2 } = w.devices;
  const asked: number[] = [];
  const numbering = new Numbering(async (conversations, devices) => {
    asked.push(conversations.length + devices.length);
    return { seqs: conversations.map(() => 10), cursors: devices.map((id) => (id === b1.id ? 20 : 30)) };
  });
  const give = async (...options: Parameters<World['batch']>) => {
    const window = w.window([w.batch(...options)]);
    return { window, answers: await numbering.giveOut(window.batches) };
  };
  t.strictSame((await give({ count: 2 })).answers, [
    [
      { seq: 11, cursors: [21, 31] },
      { seq: 12, cursors: [22, 32] },
    ],
  ]);
  t.strictSame((await give({ isAside: 'conversation', recipients: [b2.id] })).answers, [[{ seq: 0, cursors: [33] }]]);
  t.strictSame(asked, [3], 'once');
  const last = await give();
  numbering.takeBack(last.window, last.answers);
  t.strictSame((await give()).answers, last.answers);
  numbering.follow(last.window, [[{ seq: 40, cursors: [50, 60] }]]);
  t.strictSame((await give()).answers, [[{ seq: 41, cursors: [51, 61] }]]);
  numbering.trim(
    (key) => key === idKey(w.conversation),
    (id) => id === b2.id,
  );
  t.strictSame((await give()).answers, [[{ seq: 42, cursors: [21, 62] }]], 'what nobody needs is asked for again');
  numbering.clear();
  t.strictSame((await give()).answers, [[{ seq: 11, cursors: [21, 31] }]]);

  const nobody = new Numbering(async (conversations, devices) => ({
    seqs: conversations.map(() => null),
    cursors: devices.map(() => 1),
  }));
  const nowhere = new Numbering(async (conversations, devices) => ({
    seqs: conversations.map(() => 1),
    cursors: devices.map(() => null),
  }));
  await t.rejects(nobody.giveOut([w.batch()]), { code: 'NOT_FOUND', field: 'conversation' });
  await t.rejects(nowhere.giveOut([w.batch()]), { code: 'NOT_FOUND', field: 'device' });
});
