/** `transcript alarms`: what a profile keeps of a server that contradicted itself can be shown to others. */
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import type { Hash } from '../../base/bytes.ts';
import { encode } from '../../base/cbor.ts';
import { main } from '../../client/main.ts';
import { resolveSettings } from '../../client/settings.ts';
import { LogView } from '../../client/trust.ts';
import { Vault } from '../../client/vault.ts';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { formatVkey, verifierKey } from '../../transcript/note.ts';
import { checkTlogProof, decodeTlogProof } from '../../transcript/tlog-proof.ts';
import { ScriptedServer } from './scripted-server.ts';

const ORIGIN = 'chat.example.org/log/n1';

async function run(env: NodeJS.ProcessEnv, ...args: readonly string[]) {
  const sink = () => {
    const text: string[] = [];
    const to = new Writable({ write: (chunk: Buffer, _, done) => (text.push(chunk.toString()), done()) });
    return { to, read: () => text.join('') };
  };
  const [out, err] = [sink(), sink()];
  const words = ['transcript', 'alarms', ...args];
  const status = await main(words, env, { stdin: new PassThrough().end(), stdout: out.to, stderr: err.to });
  return { status, out: out.read(), err: err.read() };
}

/** A profile that was shown two trees of one size, something that a sender did not sign, and another key of the log. */
function betrayed(t: Test) {
  const env = { CHAT_CLIENT_HOME: join(t.testdir({}), 'home') };
  const { privateKey } = generateKeyPairSync('ed25519');
  const key = verifierKey(ORIGIN, createPublicKey(privateKey));
  const vault = Vault.open(resolveSettings({}, env).folder);
  const { ledger } = vault;
  const [statement, algorithm, signature, certificate] = ['', 1, Buffer.alloc(64), Buffer.alloc(1)];
  ledger.pinLog({ origin: ORIGIN, vkey: formatVkey(key), statement, algorithm, signature, certificate });
  const view = new LogView(ledger, key);
  const notes = [0, 1].map(() =>
    signCheckpoint({ origin: ORIGIN, size: 12, root: randomBytes(32) as unknown as Hash }, privateKey),
  );
  view.keep(view.open(notes[0]!), notes[0]!);
  t.throws(() => view.keep(view.open(notes[1]!), notes[1]!), { code: 'FORK' });
  ledger.addAlarm(1_767_225_600_000, 'FORK', 'a', 'two records\u001b[2J of 12 entries', view.evidence(Buffer.of(1)));
  ledger.addAlarm(1_767_225_601_000, 'SIG_FAIL', 'b', 'a batch that bob did not sign', Buffer.of(0xff));
  const otherKey = encode({ statement: 'chatlog/v1 log key', certificate: Buffer.alloc(1) });
  ledger.addAlarm(1_767_225_602_000, 'FORK', 'c', 'another key', otherKey);
  vault.close();
  return { env, notes: notes.map(String) };
}

t.test('lies that cost nothing do not fill the disk, and leave room for what can be proven', async (t) => {
  const folder = join(t.testdir({}), 'p');
  const lie = Buffer.alloc(1_000_000);
  let vault = Vault.open(folder);
  t.teardown(() => vault.close());
  const tell = (n: number): boolean => vault.ledger.addAlarm(n, 'SIG_FAIL', `delivery ${n}`, 'a false delivery', lie);
  for (let n = 0; n < 12; n++) t.ok(tell(n));
  vault.close();
  vault = Vault.open(folder);
  for (let n = 12; n < 40; n++) t.ok(tell(n), 'told');
  t.notOk(tell(3), 'once each');
  t.ok(vault.ledger.addAlarm(50, 'BAD_FRAME', 'b', 'more than is read again', Buffer.alloc(4_000_001)));
  for (const n of [60, 61]) vault.ledger.addAlarm(n, 'FORK', `${n}`, 'two records', lie);
  const alarms = vault.ledger.alarms();
  const kept = (code: string) => alarms.filter((each) => each.code === code && each.detail.length > 0).length;
  t.strictSame([alarms.length, kept('SIG_FAIL'), kept('BAD_FRAME'), kept('FORK')], [43, 16, 0, 2]);
});

t.test('who has signed a note, and what was said, does nothing to a terminal', async (t) => {
  const env = { CHAT_CLIENT_HOME: join(t.testdir({}), 'home') };
  const vault = Vault.open(resolveSettings({}, env).folder);
  const note = `${ORIGIN}\n0\nx\n\n— w\u009b2J y\n`;
  const [vkey, statement, algorithm, signature, certificate] = ['', '', 1, Buffer.alloc(64), Buffer.alloc(1)];
  vault.ledger.pinLog({ origin: ORIGIN, vkey, statement, algorithm, signature, certificate });
  vault.ledger.addCheckpoint({ origin: ORIGIN, size: 0, root: randomBytes(32) as unknown as Hash, note });
  vault.close();
  const anchors = async (isTTY: boolean, ...args: readonly string[]): Promise<string> => {
    let out = '';
    const stdout = Object.assign(new Writable({ write: (chunk, _, done) => ((out += String(chunk)), done()) }), {
      isTTY,
    });
    const streams = { stdin: new PassThrough().end(), stdout, stderr: new PassThrough() };
    t.equal(await main(['transcript', 'anchors', ...args], env, streams), 0);
    return out;
  };
  t.equal(await anchors(false), note, 'into a file as it was signed');
  t.equal(await anchors(true), note.replace('\u009b', '\\u{9b}'));
  const json = await anchors(true, '--json');
  t.notMatch(json, /\u009b/);
  t.match(JSON.parse(json), { note });
});

t.test('what was found, in the order in which it was found', async (t) => {
  const { env, notes } = betrayed(t);
  t.strictSame((await run(env)).out.replace(/records.*of/, 'records of').split('\n'), [
    '2026-01-01T00:00:00.000Z  FORK  two records of 12 entries  (2 notes)',
    '2026-01-01T00:00:01.000Z  SIG_FAIL  a batch that bob did not sign',
    '2026-01-01T00:00:02.000Z  FORK  another key',
    '',
  ]);
  t.notMatch((await run(env)).out, '\u001b', 'fit for a terminal');
  const lines = (await run(env, '--json')).out.trim().split('\n');
  t.match(
    lines.map((line) => JSON.parse(line)),
    [
      { v: 1, type: 'alarm', at: '2026-01-01T00:00:00.000Z', code: 'FORK' },
      { v: 1, type: 'alarm', code: 'SIG_FAIL', notes: [] },
      { v: 1, type: 'alarm', code: 'FORK', notes: [] },
    ],
  );
  t.strictSame(JSON.parse(lines[0]!).notes.toSorted(), notes.toSorted());
});

t.test('the notes as files', async (t) => {
  const { env, notes } = betrayed(t);
  const folder = join(t.testdirName, 'proof');
  for (const time of ['once', 'twice']) {
    t.match(await run(env, '--out', folder), { status: 0, err: /^chat: 2 notes, in .*proof\n$/ }, time);
    const files = readdirSync(folder);
    t.ok(files.every((file) => /^12-[0-9a-f]{8}\.checkpoint$/.test(file)));
    t.strictSame(files.map((file) => readFileSync(join(folder, file), 'utf8')).toSorted(), notes.toSorted());
    t.ok(files.every((file) => (statSync(join(folder, file)).mode & 0o077) === 0));
  }
});

t.test('entries of the log that do not go together, with the proofs of both', async (t) => {
  const env = { CHAT_CLIENT_HOME: join(t.testdir({}), 'home') };
  const vault = Vault.open(resolveSettings({}, env).folder);
  const server = new ScriptedServer();
  const sent = await server.compose('bob', ['pay 100']);
  const batches = [server.append(sent), server.append(sent)].map((first) => {
    const { algorithm, signature, batch, ack, items } = server.delivery(sent, first);
    const [{ statement }] = items as unknown as [{ statement: Uint8Array }];
    return { v: 1, algorithm, signature, batch, ack, note: server.note().toString(), items: [{ statement }] };
  });
  const detail = encode({ batches, notes: [server.note().toString()] });
  vault.ledger.addAlarm(1_767_225_600_000, 'REPLAY', 'a', 'one batch twice', detail);
  vault.ledger.addAlarm(1_767_225_600_000, 'REPLAY', 'b', 'opened before', encode({ type: 'msg_deliver' }));
  vault.close();
  const folder = join(t.testdirName, 'proof');
  t.match(await run(env, '--out', folder), { status: 0, err: /^chat: 1 notes and 2 entries with their proofs, in / });
  const files = readdirSync(folder).filter((file) => !file.endsWith('.checkpoint'));
  t.match(files, [/^0-.*\.entry$/, /^0-.*\.tlog-proof$/, /^2-.*\.entry$/, /^2-.*\.tlog-proof$/]);
  const [entry, proof, again, proofOfAgain] = files.map((file) => readFileSync(join(folder, file)));
  t.strictSame(again, entry, 'the same one');
  const key = verifierKey('localhost/log/n1', createPublicKey(server.logKey));
  for (const each of [proof, proofOfAgain]) checkTlogProof(decodeTlogProof(each!), leafHash(entry!), key);
});

t.test('nothing was found', async (t) => {
  const env = { CHAT_CLIENT_HOME: join(t.testdir({}), 'home') };
  t.match(await run(env), { status: 8, out: '', err: /there is no profile default here/ }, 'nor anybody to find it');
  Vault.open(join(env.CHAT_CLIENT_HOME, 'default')).close();
  t.strictSame(await run(env), { status: 0, out: '', err: '' });
  const folder = join(t.testdirName, 'proof');
  t.match(await run(env, '--out', folder), { status: 8, out: '', err: /\[NOT_FOUND\]/ });
  t.throws(() => statSync(folder), { code: 'ENOENT' });
});
