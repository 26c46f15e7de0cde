/**
 * A client in Python, written from docs/PROTOCOL.md and docs/TRANSCRIPT.md, meets the real programs: it shares no code with them, so what both do
 * alike is what the documents say. It checks everything that it is sent, and ends with an error at the first thing that is not so.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Program, System, type Name } from '../support/system.ts';

t.setTimeout(300_000); // a busy machine is no failure

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

/** `client.py` with somebody's certificate. */
function startPython(t: Test, system: System, name: Name, task: string, ...words: readonly string[]): Program {
  const { CHAT_CA_FILE: ca, CHAT_CERT_FILE: certificate, CHAT_KEY_FILE: key } = system.clientEnv(name);
  const args = ['-B', client, task, String(system.port), ca!, name, certificate!, key!, ...words];
  return new Program(t, args, {}, undefined, python!);
}
const step = (program: Program, name: string): Promise<Step> =>
  program.until(name, () => stepsOf(program).find((each) => each.step === name) ?? null);
/** What a step of it has waited for is done. */
const go = (program: Program): void => void program.child.stdin?.write('\n');
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
  for (const name of ['alice', 'carol'] as const)
    await done(t, system.client(name, ['register', '--password-file', password]));

  const stranger = startPython(t, system, 'carol', 'refusals'); // meanwhile
  const notes: string[] = [];
  await t.test('talks with real ones', async (t) => {
    const bob = startPython(t, system, 'bob', 'talk', answer);
    const lines = (text: string): unknown[] =>
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown);
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
      said: { is: 'message', text: question },
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
    t.match(lines(received), [edited, { deleted: true }, reaction, { body: 'third', reply_to_seq: 2 }]);
    go(bob);
    await done(t, system.client('carol', ['send', 'bob', 'read it all', '--wait', 'delivered']));
    t.match(await step(bob, 'answered'), { said: [{ from: 'carol', text: 'read it all' }], members: ['bob', 'carol'] });

    t.comment('a private room');
    await step(bob, 'room');
    t.match(lines(await done(t, system.client('alice', ['recv', '#plan', '--max', '1', '--json']))), [
      { body: 'at noon' },
    ]);
    await done(t, system.client('alice', ['room', 'kick', '#plan', 'carol']));
    await done(t, system.client('alice', ['send', '#plan', 'carol is out']));
    go(bob);
    t.match(await step(bob, 'without'), { said: [{ from: 'alice', text: 'carol is out' }], members: ['alice', 'bob'] });
    await step(bob, 'all here');
    const there = await done(t, system.client('carol', ['recv', '#plan', '--max', '2', '--json']));
    t.match(lines(there), [{ body: 'at noon' }, { body: 'all here' }]);
    go(bob);
    await step(bob, 'kicked');
    const here = await done(t, system.client('alice', ['recv', '#plan', '--max', '2', '--json']));
    t.match(lines(here), [{ body: 'all here' }, { body: 'two of us' }]);
    go(bob);
    t.match(await step(bob, 'entered'), { members: ['alice', 'bob'] });
    t.match(lines(await done(t, system.client('alice', ['recv', '#plan', '--max', '1', '--json']))), [
      { body: 'back again' },
    ]);
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
    t.match(await step(bob, 'hall heard again'), {
      said: [{ text: 'came by myself' }],
      members: ['alice', 'bob', 'carol'],
    });

    t.comment('connections that are lost');
    await step(bob, 'away');
    await done(t, system.client('alice', ['send', 'bob', 'while you were away']));
    go(bob);
    const drained = { texts: ['while you were away'], is_same: true, rest: [] };
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
    t.match(await step(bob, 'session closed'), { behind: 'LINEAGE e_closed' });
    t.match(await step(bob, 'too fast'), { codes: ['RATE_LIMIT'] });

    notes.push(...((await step(bob, 'closed'))['notes'] as string[]));
    t.match(await step(bob, 'ended'), { bye: { type: 'bye' } });
    await done(t, bob);
  });

  await t.test('is refused where the documents say so', async (t) => {
    await done(t, stranger);
    const refused = stepsOf(stranger).map(({ title, code, is_over }) => [title, code, is_over]);
    t.strictSame(refused, [
      ['wrong password', 'AUTH_FAIL', false],
      ['no such account', 'AUTH_FAIL', false],
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

  t.equal(await system.stop(), 0);
  t.match(
    await system.verify(notes),
    { exit: 0, verdict: 'VALID' },
    'with what both clients have said, as this one saw it',
  );
});
