/**
 * A client in Python, written from docs/PROTOCOL.md and docs/TRANSCRIPT.md, meets the real programs: it shares no code with them, so what both do
 * alike is what the documents say. It checks everything that it is sent, and ends with an error at the first thing that is not so.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Program, System } from '../support/system.ts';

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

/** `client.py` with bob's certificate. */
function startPython(t: Test, system: System, task: string, ...words: readonly string[]): Program {
  const { CHAT_CA_FILE: ca, CHAT_CERT_FILE: certificate, CHAT_KEY_FILE: key } = system.clientEnv('bob');
  const args = ['-B', client, task, String(system.port), ca!, 'bob', certificate!, key!, ...words];
  return new Program(t, args, {}, undefined, python!);
}
const step = (program: Program, name: string): Promise<Step> =>
  program.until(name, () => stepsOf(program).find((each) => each.step === name) ?? null);
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
  await done(t, system.client('alice', ['register', '--password-file', password]));

  const notes: string[] = [];
  await t.test('talks with a real one', async (t) => {
    const bob = startPython(t, system, 'converse', 'alice', answer);
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
      text: question,
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
    const closed = await step(bob, 'closed');
    t.match(closed['altered'], [/^FORK/, /^FORK/, /^FORK/, /^FORK/], 'proofs that were altered');
    notes.push(...(closed['notes'] as string[]));
    t.match(await step(bob, 'ended'), { bye: { type: 'bye' } });
    await done(t, bob);
  });

  await t.test('is refused where the documents say so', async (t) => {
    const bob = startPython(t, system, 'refusals');
    await done(t, bob);
    const refused = stepsOf(bob).map(({ title, code, is_over }) => [title, code, is_over]);
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
