/** The key of the log is replaced, and everybody can tell that it was meant. The programs as people start them. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { laptopOf } from '../support/laptop.ts';
import { register } from '../support/load.ts';
import { System } from '../support/system.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('from one key to the next, and to the one after that', async (t) => {
  const system = await System.create(t, { settings: { 'transcript.settle': '100ms' } });
  await system.start();
  const run = async (name: 'alice' | 'bob', ...args: readonly string[]) => {
    const program = system.client(name, args);
    const status = await program.ended;
    return { status, out: program.out, err: program.err };
  };
  await register(t, system, 'alice', 'bob');
  t.match(await run('alice', 'send', 'bob', 'one'), { status: 0 });
  const anchor = async () => (await run('alice', 'transcript', 'anchors')).out;
  const first = await anchor();

  t.match(await system.command('transcript', 'rotate'), /takes over at the next start/);
  t.match(
    await system.command('transcript', 'rotate'),
    /^nothing is changed: .* already; it takes over at the next start/,
  );
  await system.stop();
  await system.start();
  await system.line('transcript.rekeyed', 0);
  const second = await run('alice', 'send', 'bob', 'two');
  t.match(second, { status: 0, err: /the log localhost\/log\/n1 has a new key, and the one before agreed to it/ });
  const again = await run('alice', 'send', 'bob', 'three');
  t.equal(again.status, 0);
  t.notMatch(again.err, /new key/, 'it is said once');
  const middle = await anchor();

  await system.command('transcript', 'rotate');
  await system.stop();
  await system.start();
  t.match(await run('alice', 'send', 'bob', 'four'), { status: 0, err: /new key/ });
  const heard = await run('bob', 'recv');
  t.match(heard, { status: 0, out: /one[^]*two[^]*three[^]*four/, err: /new key/ }, 'two at once');
  await system.stop();
  const last = await anchor();
  const names = [first, middle, last].map((note) => /— \S+ (\S{6})/.exec(note)?.[1]);
  t.equal(new Set(names).size, 3, 'three keys have signed');
  t.match(await system.verify([first, middle, last]), { exit: 0, verdict: 'VALID' });
  const statement = readFileSync(join(system.transcript, 'key.stmt'), 'utf8');
  t.match(statement, /\nprevious localhost\/log\/n1\+/);

  const file = join(system.dir, 'all.tar');
  t.match(await run('alice', 'transcript', 'export', 'bob', '--out', file), { status: 0 });
  const program = join(import.meta.dirname, '../../bin/chat-verify');
  const args = [program, file, '--ca', system.clientEnv('alice')['CHAT_CA_FILE']!, '--json'];
  t.match(JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })), { verdict: 'VALID', errors: 0 });

  const [conversation] = /^[0-9a-f]{64}/m.exec(await system.command('transcript', 'list')) ?? [];
  const own = join(system.dir, 'server.tar');
  await system.command('transcript', 'export', '--conversation', conversation!, '-o', own);
  const judged = execFileSync(process.execPath, args.with(1, own), { encoding: 'utf8' });
  t.match(JSON.parse(judged), { verdict: 'VALID', errors: 0 }, 'what the operator exports');

  await system.start();
  const fifth = await run('bob', 'send', 'alice', 'five');
  t.equal(fifth.status, 0, fifth.err);
  await system.stop();
});

t.test('a history of the time before the new key is handed over, and proven', async (t) => {
  const system = await System.create(t, { settings: { 'transcript.settle': '100ms' } });
  await system.start();
  const run = async (args: readonly string[], env: Record<string, string> = {}, stdin = '') => {
    const program = system.client('alice', args, { env });
    program.type(stdin);
    t.equal(await program.ended, 0, program.tail);
    return program;
  };
  const word = 'correct horse battery';
  for (const name of ['alice', 'bob'] as const) {
    const program = system.client(name, ['register', '--password-stdin']);
    program.type(word);
    t.equal(await program.ended, 0, program.tail);
  }
  await run(['send', 'bob', 'under the first key']);
  await system.command('transcript', 'rotate');
  await system.stop();
  await system.start();
  await run(['send', 'bob', 'under the second key']);

  const laptop = laptopOf(system);
  await run(['login', '--password-stdin'], laptop, word);
  const who = await run(['whoami', '--json'], laptop);
  const { sha256 } = (JSON.parse(who.out) as { certificate: { sha256: string } }).certificate;
  await run(['device', 'approve', sha256]);
  const took = await run(['recv'], laptop);
  t.match(took.err, /handed over its history: 2 messages/);
  t.notMatch(took.err, /SIG_FAIL/);
  t.match((await run(['history', 'bob'], laptop)).out, /first key[^]*second key/);
  await system.stop();
});
