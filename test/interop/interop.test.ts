/**
 * A client in Python, written from docs/PROTOCOL.md and docs/TRANSCRIPT.md, meets the real programs: it shares no code with them, so what both do
 * alike is what the documents say. It checks everything that it is sent, and ends with an error at the first thing that is not so.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Program, System, certificates, root, type Name } from '../support/system.ts';

t.setTimeout(900_000); // a busy machine is no failure

/** Where its three packages are: those of Debian belong to Debian's interpreter. Null: nowhere. */
const python =
  ['python3', '/usr/bin/python3'].find(
    (file) => spawnSync(file, ['-c', 'import cryptography, OpenSSL, argon2']).status === 0,
  ) ?? null;
const client = join(import.meta.dirname, 'client.py');
const question = 'does an independent client read this?';
const answer = 'word for word, and signed';

interface Step {
  readonly step: string;
  readonly [field: string]: unknown;
}
function stepsOf({ out }: Program): Step[] {
  const whole = out.slice(0, out.lastIndexOf('\n') + 1);
  return whole
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Step);
}

/** Name, certificate and key, as `client.py` takes them. */
function certified(system: System, name: Name): readonly string[] {
  const { CHAT_CERT_FILE: certificate, CHAT_KEY_FILE: key } = system.clientEnv(name);
  return [name, certificate!, key!];
}
/** Another certificate and key of the same name. */
function anotherKey(system: System, name: Name, folder: string): readonly string[] {
  const out = join(system.dir, folder);
  cpSync(certificates(), out, { recursive: true });
  const args = ['--out', out, '--client', name, '--key', 'ec256', '--force'];
  execFileSync('sh', [join(root, 'scripts/gen-certs.sh'), ...args], { stdio: 'ignore' });
  return [join(out, `${name}.crt`), join(out, `${name}.key`)];
}
/** `client.py` as somebody. */
function startPython(t: Test, system: System, who: readonly string[], task: string, ...words: readonly string[]) {
  const ca = system.clientEnv('bob')['CHAT_CA_FILE']!;
  return new Program(t, ['-B', client, task, String(system.port), ca, ...who, ...words], {}, undefined, python!);
}
const step = (program: Program, name: string): Promise<Step> =>
  program.until(name, () => stepsOf(program).find((each) => each.step === name) ?? null);
/** What a step of it has waited for is done. */
const go = (program: Program, word = ''): void => void program.child.stdin?.write(`${word}\n`);
async function done(t: Test, program: Program): Promise<string> {
  t.equal(await program.ended, 0, program.tail);
  return program.out;
}

t.test('a client that was written from the documents', async (t) => {
  if (python === null) {
    const what = 'python3 with the packages cryptography, OpenSSL and argon2';
    if ((process.env['CHAT_REQUIRE'] ?? '').split(',').includes('python')) t.fail(`${what} is required, and not there`);
    else t.pass('no client in Python here', { skip: `no ${what}` });
    return;
  }
  const system = await System.create(t, { settings: { 'handshake.suites': [1, 2, 3] } });
  await system.start();
  const password = join(system.dir, 'password');
  writeFileSync(password, 'correct horse battery', { mode: 0o600 });
  const register = ['register', '--password-file', password];
  await Promise.all((['alice', 'carol'] as const).map((name) => done(t, system.client(name, register))));

  const stranger = startPython(t, system, certified(system, 'carol'), 'refusals'); // meanwhile
  const notes: string[] = [];
  const bundle = join(system.dir, 'bundle.tar');
  const theirs = join(system.dir, 'theirs.tar');
  const renewed = ['laptop', 'renewed'].flatMap((folder) => anotherKey(system, 'bob', folder));
  await t.test('talks with real ones', async (t) => {
    const bob = startPython(t, system, certified(system, 'bob'), 'talk', answer, bundle, ...renewed);
    const messages = (text: string): unknown[] => {
      const lines = text.trim().split('\n');
      return lines.map((line) => JSON.parse(line) as Step).filter(({ type }) => type === 'message');
    };
    await step(bob, 'waiting');
    const handshakes = stepsOf(bob).filter((each) => each.step === 'handshake');
    t.strictSame(
      handshakes,
      [1, 2, 3].map((suite) => ({ step: 'handshake', suite, bye: { type: 'bye' } })),
      'each suite',
    );
    const origin = 'localhost/log/n1';
    t.strictSame(await step(bob, 'resumed'), { step: 'resumed', users: ['bob', 'bob'], origins: [origin, origin] });

    const sent = await done(t, system.client('alice', ['send', 'bob', question, '--wait', 'delivered', '--json']));
    t.strictSame(await step(bob, 'read'), {
      step: 'read',
      rules: { v: 1, kind: 'direct', users: ['alice', 'bob'] },
      sender: 'alice',
      said: { is: 'message', text: question, told: { checkpoints: 0, seen: 0 } },
      altered: {
        signature: 'SIG_FAIL chatlog/v1, sender batch',
        batch: 'SIG_FAIL chatlog/v1, sender batch',
        statement: 'BAD_PROOF batch root',
        part: 'BAD_PROOF ciphertext',
        'server time': 'BAD_PROOF another root',
        proof: 'BAD_PROOF another root',
        checkpoint: 'SIG_FAIL checkpoint',
        counter: 'REPLAY record.counter',
      },
    });
    await step(bob, 'written');
    t.match(JSON.parse(sent), { state: 'delivered' }, 'by a receipt that is signed');
    const shown = await done(t, system.client('alice', ['recv', 'bob', '--max', '1', '--json']));
    t.match(JSON.parse(shown), { from: 'bob', body: answer });
    t.match(await step(bob, 'receipt'), { is_delivered: true }, 'of what it has written itself');
    const proven = await step(bob, 'proven');
    t.match(proven['altered'], [/^FORK/, /^FORK/, /^FORK/, /^FORK/], 'proofs that were altered');

    t.comment('a conversation that it makes itself');
    await step(bob, 'direct');
    const received = await done(t, system.client('carol', ['recv', 'bob', '--max', '4', '--json']));
    const reaction = { kind: 'reaction', body: '+1', target_seq: 2 };
    const edited = { body: 'first, edited', edited: true, reactions: [{ from: 'bob', reaction: '+1' }] };
    t.match(messages(received), [edited, { deleted: true }, reaction, { body: 'third', reply_to_seq: 2 }]);
    go(bob);
    await done(t, system.client('carol', ['send', 'bob', 'read it all', '--wait', 'delivered']));
    t.match(await step(bob, 'answered'), { said: [{ from: 'carol', text: 'read it all' }], members: ['bob', 'carol'] });

    t.comment('a private room');
    await step(bob, 'room');
    await done(t, system.client('alice', ['room', 'kick', '#plan', 'carol']));
    await done(t, system.client('alice', ['send', '#plan', 'carol is out']));
    go(bob);
    t.match(await step(bob, 'without'), { said: [{ from: 'alice', text: 'carol is out' }], members: ['alice', 'bob'] });
    await step(bob, 'all here');
    const there = await done(t, system.client('carol', ['recv', '#plan', '--max', '2', '--json']));
    t.match(messages(there), [{ body: 'at noon' }, { body: 'all here' }]);
    go(bob);
    t.match(await step(bob, 'entered'), { members: ['alice', 'bob'] });
    const here = messages(await done(t, system.client('alice', ['recv', '#plan', '--max', '5', '--json'])));
    const plans = ['at noon', 'in the epoch before', 'all here', 'two of us', 'back again'];
    t.match(
      here,
      plans.map((body) => ({ from: 'bob', body })),
    );
    await done(t, system.client('alice', ['send', '#plan', 'welcome back']));
    go(bob);
    t.match(await step(bob, 'heard'), { said: [{ from: 'alice', text: 'welcome back' }] });

    t.comment('a public room');
    await step(bob, 'hall');
    await done(t, system.client('carol', ['room', 'join', '#hall']));
    t.match(await step(bob, 'let in'), { by: 'carol', turn: 0, members: ['bob', 'carol'] });
    await done(t, system.client('carol', ['send', '#hall', 'let in']));
    t.match(await step(bob, 'hall heard'), { said: [{ from: 'carol', text: 'let in' }] });
    await done(t, system.client('alice', ['room', 'join', '#hall']));
    await done(t, system.client('alice', ['send', '#hall', 'came by myself']));
    await step(bob, 'joined');
    go(bob);
    t.match(await step(bob, 'hall heard again'), {
      stale: 'STALE epoch',
      said: [{ text: 'came by myself' }],
      members: ['alice', 'bob', 'carol'],
    });

    t.comment('connections that are lost');
    await step(bob, 'away');
    await done(t, system.client('alice', ['send', 'bob', 'while you were away']));
    go(bob);
    const drained = { said: [{ text: 'while you were away', told: { seen: 1 } }], behind: [], is_same: true, rest: [] };
    t.match(await step(bob, 'drained'), drained, 'what was not acknowledged comes again');
    t.match(await step(bob, 'repeated'), { is_same: true, other_bytes: 'COUNTER_REUSED' });
    t.strictSame(await step(bob, 'refused batches'), {
      step: 'refused batches',
      'another signature': 'SIG_FAIL batch',
      'another part': 'SIG_FAIL ciphertext',
      'for another log': 'LINEAGE e_audience',
      'another batch before': 'LINEAGE e_batch_chain',
      'another root': 'LINEAGE e_batch_root',
      'a counter too far': 'COUNTER_GAP',
      'a statement too far': 'LINEAGE e_ctr_gap',
      'a place too far': 'LINEAGE e_conv_gap',
      'another link': 'LINEAGE e_conv_link',
      'no link': 'LINEAGE e_conv_link',
      'another roster': 'STALE roster',
      'not encrypted': 'BAD_FRAME',
      'another epoch': 'STALE epoch',
      'another generation': 'STALE epoch',
      "somebody else's": 'NOT_FOUND',
      'the end of a session that never was': 'LINEAGE e_session_link',
    });
    t.comment('another device of the same user');
    t.match(await step(bob, 'another device'), { said: [{ from: 'bob', text: 'from my laptop' }], devices: [2, 0, 2] });
    go(bob);
    t.match(await step(bob, 'another password'), {
      kdf: 'argon2id$m=65536,t=3,p=1',
      by_token: 'NOT_LOGGED_IN proof',
      ended: 'NOT_LOGGED_IN password',
      void: 'AUTH_FAIL',
      wrong: 'AUTH_FAIL',
    });
    t.match(await step(bob, 'renewed'), {
      said: [{ from: 'bob', text: 'from my renewed laptop' }],
      devices: [3, 1, 2],
      retired: 'BAD_CERT revoked',
      false: 'SIG_FAIL continuity',
    });
    go(bob);
    const revoked = {
      devices: [3, 2],
      ended: 'BAD_CERT revoked',
      own: 'NOT_ALLOWED this_device',
      foreign: 'NOT_FOUND',
    };
    t.match(await step(bob, 'revoked'), { ...revoked, members: ['alice', 'bob'] });

    t.comment('another group in the place of the first');
    t.match(await step(bob, 'another group'), { generation: 2 });
    const seen = messages(await done(t, system.client('alice', ['recv', 'bob', '--max', '6', '--json'])));
    const devices = ['from my laptop', 'from my renewed laptop', 'it is lost'];
    t.match(
      seen,
      ['said once', 'but this', ...devices, 'in another group'].map((body) => ({ from: 'bob', body })),
    );
    await done(t, system.client('alice', ['send', 'bob', 'so be it']));
    go(bob);
    t.match(await step(bob, 'answered there'), { said: [{ from: 'alice', text: 'so be it' }], generation: 2 });

    t.comment('the last key package');
    t.match(await step(bob, 'last resort'), { count: 0 });
    await done(t, system.client('alice', ['room', 'create', '#last']));
    await done(t, system.client('alice', ['room', 'invite', '#last', 'bob']));
    go(bob);
    const rules = { v: 1, kind: 'room', room: '#last', public: false, owner: 'alice' };
    t.match(await step(bob, 'let in by it'), { members: ['alice', 'bob'], rules });
    t.match(messages(await done(t, system.client('alice', ['recv', '#last', '--max', '1', '--json']))), [
      { body: 'by the last resort' },
    ]);
    go(bob);

    t.match(await step(bob, 'session closed'), { behind: 'LINEAGE e_closed' });
    await step(bob, 'exported');
    t.strictSame(await step(bob, 'people'), {
      step: 'people',
      presence: [
        ['dnd', false],
        ['online', true],
        ['online', true],
      ],
      watched: false,
      states: ['asked', 'none', 'blocked', 'none'],
      nothing: 'NOT_FOUND',
      contacts: [],
      directory: ['alice', 'bob', 'carol'],
    });
    t.strictSame(await step(bob, 'rooms'), {
      step: 'rooms',
      banned: [['carol'], []],
      topics: ['a topic', null],
      listed: [
        ['#hall', 'public', 'owner'],
        ['#last', 'private', 'member'],
        ['#plan', 'private', 'owner'],
      ],
      nobody: 'NO_SUCH_PEER',
      unknown: 'NO_SUCH_ROOM',
      taken: 'ROOM_EXISTS',
      no_name: 'BAD_NAME',
      last_owner: 'NOT_ALLOWED last_owner',
    });
    const kept = { had: [0, 0, 10, 10], place: 'BAD_FRAME', hash: 'BAD_FRAME', get: 'NOT_FOUND' };
    t.match(await step(bob, 'blobs'), kept, 'a blob in pieces, of which the last one makes it whole');
    t.match(await step(bob, 'revocation list'), { count: 1, older: 'NOT_FOUND', attested: ['id', 'type'] });
    t.match(await step(bob, 'too fast'), { codes: ['RATE_LIMIT'] });

    notes.push(...((await step(bob, 'closed'))['notes'] as string[]));
    t.match(await step(bob, 'ended'), { bye: { type: 'bye' } });
    await done(t, bob);
  });

  await t.test('is refused where the documents say so', async (t) => {
    await done(t, stranger);
    const { codes } = await step(stranger, 'tried');
    t.match(
      codes,
      { AUTH_FAIL: 9, LOCKED: 17, 'RATE_LIMIT attempts': 14 },
      'one failure and six registrations came before',
    );
    const refused = stepsOf(stranger)
      .filter((each) => each.step === 'refused')
      .map(({ title, code, is_over }) => [title, code, is_over]);
    t.strictSame(refused, [
      ['wrong password', 'AUTH_FAIL', false],
      ['no such account', 'AUTH_FAIL', false],
      ['an account that is there', 'USER_EXISTS this_device', false],
      ["somebody else's name", 'CERT_ACCOUNT_MISMATCH', false],
      ["somebody else's address", 'CERT_ACCOUNT_MISMATCH', false],
      ['no name', 'BAD_NAME', false],
      ['a cheap hash', 'WEAK_KDF memory', false],
      ['an unknown hash', 'WEAK_KDF unknown', false],
      ['a counter that comes again', 'REPLAY', true],
      ['a counter that was skipped', 'BAD_FRAME', true],
      ['an unknown type', 'UNKNOWN_TYPE', true],
      ['no frame', 'BAD_FRAME', true],
      ['not canonical', 'BAD_FRAME', true],
      ['cut off', 'BAD_FRAME', true],
      ['a duplicate key', 'BAD_FRAME', true],
      ['an unknown field', 'BAD_FRAME', true],
      ['another key', 'DECRYPT_FAIL', true],
      ['another signature', 'SIG_FAIL handshake', true],
    ]);
  });

  await t.test('is given a history', async (t) => {
    const [certificate, key] = anotherKey(system, 'alice', 'desk');
    const desk = startPython(t, system, ['alice', certificate!, key!], 'history', 'correct horse battery');
    const { fingerprint } = await step(desk, 'waiting');
    await done(t, system.client('alice', ['device', 'approve', String(fingerprint)]));
    const [tabletCertificate, tabletKey] = anotherKey(system, 'alice', 'tablet');
    const env = {
      CHAT_CLIENT_HOME: join(system.dir, 'tablet-home'),
      CHAT_CERT_FILE: tabletCertificate!,
      CHAT_KEY_FILE: tabletKey!,
    };
    const tablet = (...words: string[]) => done(t, system.client('alice', words, { env }));
    await tablet('login', '--password-file', password);
    const { records, said } = await step(desk, 'history');
    t.match(records, { conversation: 4, log_key: 1 });
    const conversations = Object.values(said as Record<string, string[][]>);
    t.match(conversations.find((each) => each[0]?.[1] === question)?.at(-1), ['bob', 'another session']);
    t.match(conversations.find((each) => each[0]?.[1] === 'at noon')?.at(-1), ['alice', 'welcome back']);
    go(desk, new X509Certificate(readFileSync(tabletCertificate!)).fingerprint256.replaceAll(':', '').toLowerCase());
    await step(desk, 'handed over');
    await done(t, desk);
    await tablet('recv');
    const first = JSON.parse((await tablet('history', 'bob', '--json')).split('\n')[0]!) as unknown;
    t.match(first, { from: 'alice', body: question }, 'a third device has it from the second');
  });

  await t.test('has given nobody an alarm', async (t) => {
    const alarms = (name: Name) => done(t, system.client(name, ['transcript', 'alarms', '--json']));
    const disclosed = ['transcript', 'export', 'bob', '-o', theirs, '--disclose', 'all', '--prove'];
    await Promise.all([alarms('alice').then((text) => t.equal(text, '')), done(t, system.client('carol', disclosed))]);
    const [warning, ...more] = (await alarms('carol')).trim().split('\n');
    t.match(JSON.parse(warning!), { code: 'WITHHELD' }, 'what was written while she was out');
    t.strictSame(more, []);
  });

  t.equal(await system.stop(), 0);
  const verdict = await system.verify(notes);
  t.match(verdict, { exit: 0, verdict: 'VALID' }, 'with what all clients have said, as this one saw it');

  await t.test('proves it to others, and reads what proves it', async (t) => {
    const [ca, crl] = [join(certificates(), 'ca.crt'), join(certificates(), 'ca.crl')];
    const judge = ['bin/chat-verify', bundle, '--compare', theirs, '--json', '--ca', ca, '--crl', crl];
    const verify = new Program(t, judge, {}, `cd '${root}'`);
    const reader = new Program(t, ['-B', client, 'read', theirs, ca], {}, undefined, python!);
    const files = notes.map((_, i) => join(system.dir, `known-${i}`));
    const audit = new Program(t, ['-B', client, 'audit', system.transcript, ...files], {}, undefined, python!);

    t.equal(await verify.ended, 0, verify.tail);
    const held = { profile: 'complete', exporter_role: 'member', messages: 8, receipts: 2, delivered: 7, disclosed: 6 };
    t.match(JSON.parse(verify.out), { verdict: 'VALID', warnings: 0, checked: held });

    const { said } = await step(reader, 'read');
    const texts = (said as readonly (readonly [string, number, string | null])[]).filter(([, , text]) => text !== null);
    t.strictSame(texts[0], ['bob', 1, 'first']);
    t.strictSame(texts.at(-1), ['carol', 1, 'read it all']);
    t.match(await step(reader, 'read again'), { code: 'E_SUMS' }, 'this check bites');
    await done(t, reader);

    const { size, counts } = await step(audit, 'audited');
    t.equal(size, verdict.checked?.size);
    const numbers = Object.values(counts as Record<string, object>).flatMap(
      (kinds) => Object.values(kinds) as number[],
    );
    const sum = numbers.reduce((a, b) => a + b);
    t.equal(sum, verdict.checked?.messages, 'as many as chat-verify has found');
    t.match(await step(audit, 'audited again'), { code: 'E_ROOT' }, 'this check bites');
    await done(t, audit);
  });
});
