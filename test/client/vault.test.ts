/** What survives: kills between any two steps, a second process, moved values, a lost key; and what cannot be read from the files. */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { equal, hex, type Fingerprint, type Hash } from '../../base/bytes.ts';
import { encode } from '../../base/cbor.ts';
import { Database } from '../../client/database.ts';
import { makePrivateFolder } from '../../client/private-file.ts';
import type { ReceiptKind, SignedReceipt } from '../../client/receipt-table.ts';
import { MIGRATIONS } from '../../client/schema.ts';
import { Seal } from '../../client/seal.ts';
import { clearKey } from '../../client/vault-key.ts';
import { openings } from '../../client/staged-batch.ts';
import { Vault } from '../../client/vault.ts';
import type { Message } from '../../client/message-table.ts';
import { composeBatch, composeClose, fillBatch } from '../../client/statements.ts';
import { leafHash, NO_HASH } from '../../transcript/merkle.ts';
import { decodeBs, KIND } from '../../transcript/statement.ts';
import { inTheOpen } from './in-the-open.ts';
import { ScriptedServer } from './scripted-server.ts';
import { textBytes } from './text-bytes.ts';
import { testFolder } from '../support/folder.ts';

/** of the certificate that vault-child.ts signs with */
const CHILD = Buffer.alloc(32, 9) as unknown as Fingerprint;
const server = new ScriptedServer();
const alice = server.identity('alice');
const id = server.conversation;
const roster = {
  peer: 'bob',
  epoch: 2,
  members: ['alice', 'bob'].map((username) => ({ username, devices: [server.get(username).fingerprint] })),
};
const body = (text: string): Buffer => Buffer.from(text);

/** A statement of a device of bob's, each another one. */
const receiptOf = (kind: ReceiptKind, message: Hash): SignedReceipt => ({
  hash: randomBytes(32) as Uint8Array as Hash,
  batch: randomBytes(32) as Uint8Array as Hash,
  conversation: id,
  kind,
  by: 'bob',
  device: CHILD,
  at: 6000,
  part: message,
});

async function stage(
  vault: Vault,
  messages: readonly Message[] = fillBatch(vault.outgoing.waiting(1024, 1_000_000), () => 2),
) {
  const conversation = vault.conversation(id)!;
  const batch = await composeBatch(
    alice,
    vault.sessions.current(alice.fingerprint),
    messages,
    new Map([[Buffer.from(id).toString('hex'), conversation]]),
    messages.map(() => randomBytes(32)),
    'localhost/log/n1',
    1000,
    inTheOpen,
  );
  vault.outgoing.stage(batch);
  return batch;
}
function accept(vault: Vault, firstSeq: number) {
  const batch = vault.outgoing.staged()!;
  const seqs = batch.messages.map((_, i) => firstSeq + i - openings(batch));
  const items = batch.messages.map(({ statement }) => ({ statement }));
  const { algorithm, signature } = batch;
  vault.outgoing.accept(batch, 'localhost/log/n1', 5000, seqs, {
    algorithm,
    signature,
    batch: batch.batch,
    ack: Buffer.alloc(40),
    note: 'note',
    items,
  });
  return batch;
}

t.test('the life of a message, and what the next batch continues from', async (t) => {
  const folder = join(testFolder(t), 'p');
  const vault = Vault.open(folder);
  vault.putRoster(id, roster);
  const row = vault.outgoing.enqueue(id, 'alice', textBytes('one'), 1);
  t.equal(vault.message(row)?.state, 'waiting');
  const first = await stage(vault);
  t.equal(vault.message(row)?.state, 'signed');
  t.match(vault.sessions.current(alice.fingerprint), { lastCtr: 0 }, 'nothing is counted before it is acknowledged');
  vault.outgoing.unstage(false);
  t.match(vault.message(row), { state: 'waiting', hash: null });
  const second = await stage(vault);
  t.equal(decodeBs(second.batch).firstCtr, decodeBs(first.batch).firstCtr);
  accept(vault, 7);
  t.match(vault.message(row), { state: 'accepted', seq: 7, serverTime: 5000 });
  const session = vault.sessions.current(alice.fingerprint);
  t.equal(session.lastCtr, 2, 'its opening, and the message');
  t.ok(equal(session.lastBatch, leafHash(second.batch)));
  t.equal(vault.outgoing.staged(), null);
  const conversation = vault.conversation(id)!;
  t.equal(conversation.convCtr, 1);
  t.ok(equal(conversation.lastLeaf, leafHash(second.messages.at(-1)!.statement)));

  const leaf = leafHash(second.messages.at(-1)!.statement);
  t.strictSame(vault.receipts.add(receiptOf(KIND.delivered, leaf), false), [row]);
  t.equal(vault.message(row)?.state, 'delivered');
  t.equal(vault.outgoing.expire(leaf), null, 'delivered stays delivered');
  t.strictSame(vault.receipts.add(receiptOf(KIND.read, leaf), false), [row]);
  t.equal(vault.message(row)?.state, 'read');
  t.strictSame(vault.receipts.add(receiptOf(KIND.delivered, leaf), false), [], 'from another device, and later');
  t.equal(vault.message(row)?.state, 'read');
  t.strictSame(
    vault.receipts.of(leaf).map(({ kind, by, at }) => [kind, by, at]),
    [KIND.delivered, KIND.read, KIND.delivered].map((kind) => [kind, 'bob', 6000]),
  );
  vault.close();
});

t.test('history is in the order of the conversation, both directions; what has no place comes last', async (t) => {
  const vault = Vault.open(join(testFolder(t), 'p'));
  vault.putRoster(id, roster);
  const mine = vault.outgoing.enqueue(id, 'alice', textBytes('second'), 2);
  await stage(vault);
  accept(vault, 2);
  vault.outgoing.enqueue(id, 'alice', textBytes('not yet'), 3);
  for (const [seq, text] of [
    [3, 'third'],
    [1, 'first'],
  ] as const)
    vault.incoming.add({
      conversation: id,
      seq,
      hash: randomBytes(32) as unknown as Hash,
      direction: 'in',
      sender: 'bob',
      body: textBytes(text),
      kf: Buffer.alloc(32),
      reason: null,
      clientTime: 1,
      serverTime: 1,
      lineage: { fingerprint: server.get('bob').fingerprint, session: Buffer.alloc(16) as never, convCtr: seq },
    });
  const texts = (messages: readonly Message[]) => messages.map((m) => Buffer.from(m.body).toString());
  t.strictSame(texts(vault.history(id, 10)), ['first', 'second', 'third', 'not yet']);
  t.strictSame(texts(vault.history(id, 2)), ['third', 'not yet']);
  t.strictSame(texts(vault.unshown(null, 10)), ['third', 'first']);
  vault.markShown(vault.unshown(null, 10).map((m) => m.row));
  t.strictSame(vault.unshown(id, 10), []);
  t.equal(vault.message(mine)?.direction, 'out');
  vault.close();
});

t.test('a new certificate begins a session; the conversation goes on linking', async (t) => {
  const vault = Vault.open(join(testFolder(t), 'p'));
  vault.putRoster(id, roster);
  vault.outgoing.enqueue(id, 'alice', textBytes('x'), 1);
  await stage(vault);
  accept(vault, 1);
  const { id: session, lastCtr, lastBatch, before } = vault.sessions.current(alice.fingerprint);
  t.equal(before, null, 'the first');
  const other = randomBytes(32) as unknown as Fingerprint;
  t.match(vault.sessions.current(other), { lastCtr: 0, before: { lastCtr } });
  t.same(vault.sessions.current(other).before, { session, lastCtr, lastBatch }, 'it will say how the one before ended');
  t.notOk(equal(vault.conversation(id)!.lastLeaf, NO_HASH));
  t.equal(vault.sessions.restart(other, true).before, null, 'after a loss that is not known');
  t.equal(vault.sessions.current(other).before, null, 'nor later');
  t.ok(equal(vault.conversation(id)!.lastLeaf, NO_HASH), 'and it links to nothing');
  vault.close();
});

t.test('a session that was closed is over when the server has that; the next one says how it ended', (t) => {
  const folder = join(testFolder(t), 'p');
  let vault = Vault.open(folder);
  vault.sessions.current(alice.fingerprint);
  t.notOk(vault.sessions.isOpen(alice.fingerprint), 'one that has said nothing is not open');
  const begun = { ...vault.sessions.current(alice.fingerprint), lastCtr: 3, lastBatch: randomBytes(32) as never };
  vault.outgoing.stage(composeClose(alice, begun, 'localhost/log/n1', 1000));
  vault.close();
  vault = Vault.open(folder); // killed before the answer: the same bytes are sent
  t.match(vault.outgoing.staged()?.messages.length, 1);
  const closed = accept(vault, 0);
  t.notOk(vault.sessions.isOpen(alice.fingerprint));
  const next = vault.sessions.current(alice.fingerprint);
  t.not(hex(next.id), hex(begun.id));
  t.same(next.before, { session: begun.id, lastCtr: 4, lastBatch: leafHash(closed.batch) });
  vault.close();
  t.end();
});

t.test('one process at a time; the second is told which has it', (t) => {
  const folder = join(testFolder(t), 'p');
  const vault = Vault.open(folder);
  t.throws(() => Vault.open(folder), { code: 'IN_USE', message: new RegExp(`pid ${process.pid}`) });
  vault.close();
  Vault.open(folder).close();
  t.end();
});

t.test(
  'private: folder 0700, files 0600, and refused when they are not',
  { skip: process.platform === 'win32' },
  (t) => {
    const folder = join(testFolder(t), 'p');
    Vault.open(folder).close();
    t.equal(statSync(folder).mode & 0o777, 0o700);
    for (const file of readdirSync(folder)) t.equal(statSync(join(folder, file)).mode & 0o077, 0, file);
    for (const path of [folder, join(folder, 'vault.db'), join(folder, 'vault.key')]) {
      const { mode } = statSync(path);
      chmodSync(path, mode | 0o040);
      t.throws(() => Vault.open(folder), { code: 'UNSAFE_FILE' }, path);
      chmodSync(path, mode);
    }
    Vault.open(folder).close();
    t.end();
  },
);

t.test('content is nowhere in the files', async (t) => {
  const folder = join(testFolder(t), 'p');
  const vault = Vault.open(folder);
  vault.putRoster(id, { ...roster, peer: 'canary-peer' });
  vault.profile.setAccount({ username: 'canary-user', email: 'canary@example.org', server: 'canary.example:1' });
  vault.profile.setResumeToken({ token: 'canary-token', expires: 1, fingerprint: Buffer.alloc(32) });
  vault.profile.setLastPeer('canary-last');
  vault.outgoing.enqueue(id, 'alice', textBytes('canary-waiting'), 1);
  await stage(vault);
  t.equal(vault.outgoing.staged()?.messages.length, 2);
  const sealed = () =>
    Buffer.concat(readdirSync(folder).map((file) => readFileSync(join(folder, file)))).toString('latin1');
  t.notMatch(sealed(), /canary/, 'while it is open');
  accept(vault, 1);
  vault.ledger.addAlarm(1, 'FORK', 'canary-subject', 'canary-message', body('canary-detail'));
  vault.ledger.addCertificate(alice.fingerprint, [body('canary-certificate')]);
  vault.receipts.add({ ...receiptOf(KIND.delivered, leafHash(body('x'))), by: 'canary-by' }, false);
  vault.close();
  t.notMatch(sealed(), /canary/, 'and after');
});

t.test('a value that was altered, moved, or sealed under another key is refused', (t) => {
  const folder = join(testFolder(t), 'p');
  const rows: readonly (readonly [string, (db: DatabaseSync) => void])[] = [
    [
      'altered',
      (db) =>
        db.exec(
          "UPDATE message SET sealed = CAST(substr(sealed, 1, length(sealed) - 1) || x'00' AS BLOB) WHERE row = 1",
        ),
    ],
    ['shortened', (db) => db.exec('UPDATE message SET sealed = substr(sealed, 1, 20) WHERE row = 1')],
    ['moved', (db) => db.exec('UPDATE message SET sealed = (SELECT sealed FROM message WHERE row = 2) WHERE row = 1')],
  ];
  for (const [name, harm] of rows) {
    rmSync(folder, { recursive: true, force: true });
    const vault = Vault.open(folder);
    vault.outgoing.enqueue(id, 'alice', textBytes('one'), 1);
    vault.outgoing.enqueue(id, 'alice', textBytes('two'), 1);
    vault.close();
    const db = new DatabaseSync(join(folder, 'vault.db'));
    harm(db);
    db.close();
    const opened = Vault.open(folder);
    t.throws(() => opened.message(1), { code: 'STORE_FAILED' }, name);
    opened.close();
  }
  writeFileSync(join(folder, 'vault.key'), randomBytes(32));
  t.throws(() => Vault.open(folder), { code: 'STORE_FAILED' }, 'another key');
  rmSync(join(folder, 'vault.key'));
  t.throws(
    () => Vault.open(folder),
    { code: 'STORE_FAILED', message: /key of the local store/ },
    'no key: no new one is made',
  );
  t.end();
});

t.test('a store of a later version is left alone', (t) => {
  const folder = join(testFolder(t), 'p');
  Vault.open(folder).close();
  const db = new DatabaseSync(join(folder, 'vault.db'));
  db.exec('PRAGMA user_version = 99');
  db.close();
  t.throws(() => Vault.open(folder), { code: 'STORE_SCHEMA' });
  t.end();
});

t.test('a store of the first version is taken over; what was signed in the open is signed anew', async (t) => {
  const folder = join(testFolder(t), 'p');
  makePrivateFolder(folder);
  const seal = new Seal(clearKey(join(folder, 'vault.key'), true));
  const old = new DatabaseSync(join(folder, 'vault.db'));
  chmodSync(join(folder, 'vault.db'), 0o600);
  old.exec(`${MIGRATIONS[0]} PRAGMA user_version = 1;`);
  const put = (sql: string, ...values: (string | number | Uint8Array | null)[]) => void old.prepare(sql).run(...values);
  put('INSERT INTO value VALUES (?,?)', 'created', seal.seal('value/created', Buffer.from('1')));
  const content = encode({ sender: 'alice', body: body('in the open'), client_time: 1 });
  put(
    'INSERT INTO message (row, conversation, direction, state, hash, sealed) VALUES (1,?,?,?,?,?)',
    ...[id, 'out', 'signed', Buffer.alloc(32, 1), seal.seal('message/1', content)],
  );
  put('INSERT INTO outbox VALUES (?,?)', Buffer.alloc(32, 2), Buffer.from('a batch as it was then'));
  old.close();
  const vault = Vault.open(folder);
  t.equal(vault.outgoing.staged(), null);
  t.match(vault.message(1), { state: 'waiting', hash: null });
  vault.putRoster(id, roster);
  t.equal((await stage(vault)).rows.length, 1);
  t.equal(vault.keys.device(), null);
  vault.close();
  t.equal(Vault.open(folder).outgoing.staged()?.messages.at(-1)?.group?.generation, 1, 'and it is of this version now');
  t.end();
});

t.test('a store of the second version, which knew no rooms, is taken over', (t) => {
  const folder = join(testFolder(t), 'p');
  makePrivateFolder(folder);
  const seal = new Seal(clearKey(join(folder, 'vault.key'), true));
  const old = new DatabaseSync(join(folder, 'vault.db'));
  chmodSync(join(folder, 'vault.db'), 0o600);
  old.exec(`${MIGRATIONS[0]} ${MIGRATIONS[1]} PRAGMA user_version = 2;`);
  const put = (sql: string, ...values: (string | number | Uint8Array | null)[]) => void old.prepare(sql).run(...values);
  put('INSERT INTO value VALUES (?,?)', 'created', seal.seal('value/created', Buffer.from('1')));
  put(
    'INSERT INTO conversation VALUES (?,?,NULL,0,?)',
    ...[id, seal.seal(`conversation/${Buffer.from(id).toString('hex')}`, encode(roster)), NO_HASH],
  );
  old.close();
  const vault = Vault.open(folder);
  t.match(vault.conversation(id), { peer: 'bob', room: undefined });
  const room = { ...roster, peer: '#ops', room: { public: true, founder: false, closed: false } };
  const other = Buffer.alloc(32, 8) as unknown as typeof id;
  vault.putRoster(other, room);
  vault.rooms.invite(other, 'carol');
  vault.rooms.invite(other, 'dave');
  vault.rooms.invite(id, 'eve');
  vault.rooms.forget(other, ['dave', 'eve']);
  vault.close();
  const again = Vault.open(folder);
  t.match(again.conversationWith('#ops'), room);
  t.strictSame([again.rooms.invited(other), again.rooms.invited(id)], [['carol'], ['eve']]);
  const next = Buffer.alloc(32, 7) as unknown as typeof id;
  again.putRoster(next, room);
  t.ok(equal(again.conversationWith('#ops')!.id, next), 'a name that is used again means the newer room');
  again.close();
  t.notOk(
    readdirSync(folder).some((name) => readFileSync(join(folder, name)).includes('carol')),
    'names are sealed',
  );
  t.end();
});

t.test('groups: a snapshot, deltas after it, and what a commit would make', (t) => {
  const folder = join(testFolder(t), 'p');
  const vault = Vault.open(folder);
  const { groups } = vault;
  t.strictSame([groups.current(id), groups.entry(id)], [null, null]);
  groups.setCurrent(id, { generation: 1, since: 4, snapshot: body('canary snapshot'), sketch: body('canary sketch') });
  t.strictSame([groups.addDelta(id, body('canary one')), groups.addDelta(id, body('two'))], [1, 2]);
  groups.setEntry(id, { generation: 2, commit: body('canary commit'), snapshot: body('canary entry'), sketch: null });
  t.match(groups.current(id), {
    generation: 1,
    since: 4,
    snapshot: body('canary snapshot'),
    sketch: body('canary sketch'),
  });
  t.same(groups.current(id)?.deltas, [body('canary one'), body('two')]);
  t.match(groups.entry(id), {
    generation: 2,
    commit: body('canary commit'),
    snapshot: body('canary entry'),
    sketch: null,
  });
  const sealed = () =>
    Buffer.concat(readdirSync(folder).map((file) => readFileSync(join(folder, file)))).toString('latin1');
  t.notMatch(sealed(), /canary/);
  groups.setCurrent(id, { generation: 1, since: 4, snapshot: body('newer'), sketch: null });
  t.equal(groups.current(id)?.sketch, null);
  t.same(groups.current(id)?.deltas, [], 'a snapshot takes the place of the deltas');
  groups.dropEntry(id);
  groups.dropCurrent(id);
  t.strictSame([groups.current(id), groups.entry(id)], [null, null]);
  const hash = Buffer.alloc(32, 7) as unknown as Hash;
  t.equal(groups.hasCommit(hash), false);
  groups.addCommit(hash, id, 5);
  t.strictSame([groups.hasCommit(hash), groups.commits(id)], [true, [5]]);
  vault.close();
  t.end();
});

t.test('groups: a state that could not be read again is not written', (t) => {
  const vault = Vault.open(join(testFolder(t), 'p'));
  const { groups } = vault;
  const [largest, larger] = [Buffer.alloc(64 * 1024 * 1024), Buffer.alloc(64 * 1024 * 1024 + 1)];
  const state = { generation: 1, since: 4, snapshot: body('a state'), sketch: null };
  groups.setCurrent(id, { ...state, snapshot: largest });
  t.equal(groups.current(id)?.snapshot.length, largest.length);
  groups.setCurrent(id, state);
  const refusal = { code: 'TOO_LARGE', field: 'group' };
  for (const part of ['snapshot', 'sketch'] as const) {
    t.throws(() => groups.setCurrent(id, { ...state, [part]: larger }), refusal);
    t.throws(() => groups.setEntry(id, { ...state, commit: body('commit'), [part]: larger }), refusal);
  }
  t.same(groups.current(id)?.snapshot, body('a state'));
  vault.close();
  t.end();
});

t.test('keys: the device, its packages, and whose devices were met', (t) => {
  const vault = Vault.open(join(testFolder(t), 'p'));
  const { keys } = vault;
  const device = {
    user: 'alice',
    device_id: Buffer.alloc(16, 1),
    mls_key: Buffer.alloc(32, 2),
    mls_private_key: Buffer.alloc(32, 3),
    binding: body('binding'),
    certificate: Buffer.alloc(32, 4),
    organisation: 'localhost',
  };
  keys.setDevice(device);
  t.match(keys.device(), device);
  const ordinary = { reference: body('a'), isLastResort: false, notAfter: 10, secret: body('secret a') };
  const last = { reference: body('b'), isLastResort: true, notAfter: 100, secret: body('secret b') };
  keys.addPackages([ordinary, last]);
  t.strictSame([keys.hasPackages(), keys.hasLastResort(50)], [false, false], 'not at the server yet');
  keys.markPublished([last.reference]);
  t.strictSame([keys.hasPackages(), keys.hasLastResort(50), keys.hasLastResort(101)], [true, true, false]);
  t.match(keys.package(ordinary.reference), { secret: body('secret a'), isLastResort: false });
  keys.deletePackagesBefore(50);
  t.equal(keys.package(ordinary.reference), null);
  keys.setDevice({ ...device, binding: body('another') });
  t.equal(keys.hasPackages(), false, 'another binding: all has to be published anew');
  t.match(keys.package(last.reference), { isLastResort: true }, 'and an invitation that is on its way still opens');
  keys.deletePackage(last.reference);
  t.equal(keys.package(last.reference), null);

  const [one, two] = [Buffer.alloc(16, 1), Buffer.alloc(16, 2)];
  const [first, second] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const [own, another] = [Buffer.alloc(32, 3), Buffer.alloc(32, 4)];
  t.equal(keys.meet('bob', one, first, own), 'first');
  t.equal(keys.meet('bob', one, first, own), 'known');
  t.equal(keys.meet('bob', one, second, own), 'renewed');
  t.equal(keys.meet('bob', one, Buffer.alloc(32, 5), another), 'new', 'an id that anybody can copy');
  t.equal(keys.meet('bob', two, first, own), 'new');
  t.equal(keys.meet('carol', one, first, own), 'first', 'ids of others are no concern');
  t.strictSame([keys.hasMet('bob', one, second), keys.hasMet('bob', two, second)], [true, false]);
  vault.close();
  t.end();
});

t.test('who issues the certificates of somebody', (t) => {
  const vault = Vault.open(join(testFolder(t), 'p'));
  t.teardown(() => vault.close());
  const meet = (user: string, issuer: string) => vault.keys.meetIssuer(user, issuer);
  t.strictSame([meet('bob', 'CN=One'), meet('bob', 'CN=One'), meet('carol', 'CN=Two')], ['first', 'known', 'first']);
  t.strictSame([meet('bob', 'CN=Two'), meet('bob', 'CN=Two'), meet('bob', 'CN=One')], ['new', 'known', 'known']);
  t.equal(
    vault.keys.meet('bob', Buffer.alloc(16), Buffer.alloc(32), Buffer.alloc(32)),
    'first',
    'and that says nothing of his devices',
  );
  t.end();
});

t.test('durable at every commit, also when it is opened again', (t) => {
  const folder = join(testFolder(t), 'p');
  makePrivateFolder(folder);
  for (let i = 0; i < 2; i++) {
    const db = Database.open(folder);
    t.equal(db.one('PRAGMA synchronous')?.['synchronous'], 2);
    t.equal(db.one('PRAGMA journal_mode')?.['journal_mode'], 'wal');
    db.close();
  }
  t.end();
});

t.test('a transaction is all or nothing, also when it is part of another', (t) => {
  const vault = Vault.open(join(testFolder(t), 'p'));
  t.throws(() =>
    vault.transaction(() => {
      vault.outgoing.enqueue(id, 'alice', textBytes('half'), 1);
      throw new Error('in the middle');
    }),
  );
  t.strictSame(vault.outgoing.waiting(10, 1000), []);
  vault.close();
  t.end();
});

/*
 * A child process does one step after the other and says so before and after each; it is killed at every one of these places in turn.
 * What it had said to be done must be there, and the state must be one that the next start can go on from.
 */
t.test('killed between any two steps', async (t) => {
  const child = fileURLToPath(new URL('vault-child.ts', import.meta.url));
  const base = testFolder(t);
  const count =
    Number(spawnSync(process.execPath, [child, join(base, 'count')], { encoding: 'utf8' }).stdout.split('\n').length) -
    1;
  t.ok(count >= 6, `${count} steps`);
  for (let killAt = 1; killAt <= count; killAt++) {
    const folder = join(base, `k${killAt}`);
    const done = await new Promise<string[]>((resolve) => {
      const process_ = spawn(process.execPath, [child, folder]);
      let text = '';
      process_.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.split('\n').length - 1 >= killAt) process_.kill('SIGKILL');
      });
      process_.on('close', () => resolve(text.split('\n').slice(0, -1)));
    });
    const vault = Vault.open(folder);
    const waiting = vault.outgoing.waiting(10, 1_000_000).length;
    const outbox = vault.outgoing.staged();
    const signed = outbox?.rows.length ?? 0;
    const accepted = [1, 2, 3].filter((row) => vault.message(row)?.state === 'accepted').length;
    const has = (step: string): boolean => done.includes(step);
    if (has('enqueued')) t.equal(waiting + signed + accepted, 3, `${killAt}: every message is in exactly one state`);
    if (has('staged') && !has('accepting')) t.equal(outbox?.rows.length, 2, `${killAt}: the batch is kept`);
    if (has('accepted')) {
      t.equal(accepted, 2, `${killAt}: what was accepted is`);
      t.equal(vault.sessions.current(CHILD).lastCtr, 2, `${killAt}: counted`);
      t.equal(vault.ledger.allEvidence().length, 1, `${killAt}: with its evidence`);
    }
    vault.close();
  }
});
