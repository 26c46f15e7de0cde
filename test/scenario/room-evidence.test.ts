/** Evidence of a room of three, as its members and the operator hand it over: real programs, and an auditor who has the CA alone. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { certificates, Program, root, System, type Name } from '../support/system.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('a room of three', async (t) => {
  const system = await System.create(t);
  await system.start();
  const file = (name: string) => join(system.dir, name);
  const finished = async (program: Program) => ({ status: await program.ended, out: program.out, err: program.err });
  const run = (name: Name, ...args: readonly string[]) => finished(system.client(name, args));
  const trust = ['--ca', join(certificates(), 'ca.crt')];
  const verify = (...args: readonly string[]) =>
    finished(new Program(t, [join(root, 'bin/chat-verify'), ...args, ...trust], {}));
  for (const name of ['alice', 'bob', 'carol'] as const) {
    const program = system.client(name, ['register', '--password-stdin']);
    program.type('correct horse battery');
    t.equal(await program.ended, 0, program.tail);
  }
  await t.rejects(system.command('transcript', 'export', '-o', file('x.tar')), /want --room.*\[USAGE\]/);
  t.match(await run('alice', 'room', 'create', '#ops', '--public'), { status: 0 });
  const says = async (name: Name, text: string) => {
    const sent = await run(name, 'send', '#ops', text);
    t.equal(sent.status, 0, sent.err);
  };
  const hears = async (name: Name, text: string) => {
    const heard = await run(name, 'recv', '--max', '1', '--timeout', '60s');
    t.match(heard, { status: 0, out: text }, `${name}: ${heard.err}`);
  };
  for (const name of ['bob', 'carol'] as const) t.match(await run(name, 'room', 'join', '#ops'), { status: 0 });
  await says('alice', 'one of alice');
  await hears('bob', 'one of alice');
  await hears('carol', 'one of alice');
  await says('bob', 'one of bob');
  await hears('alice', 'one of bob');
  await hears('carol', 'one of bob');
  await says('carol', 'one of carol');
  await hears('alice', 'one of carol');
  await hears('bob', 'one of carol');

  const all = file('alice.tar');
  t.match(await run('alice', 'transcript', 'export', '#ops', '-o', all, '--disclose', 'all', '--prove'), {
    status: 0,
    out: /: \d+ messages, 3 disclosed, /,
  });
  const checked = await verify(all, '--strict');
  t.match(checked, { status: 0, out: /\nVALID \d+ messages, 3 disclosed, .*3 senders, .* 0 warnings\n$/ });
  const mine = file('bob.tar');
  t.match(await run('bob', 'transcript', 'export', '#ops', '-o', mine, '--disclose', 'mine'), {
    status: 0,
    out: /, 1 disclosed, /,
  });
  t.match(await verify(mine), { status: 0, out: /\nVALID \d+ messages, 1 disclosed/ });
  t.match(await verify(all, '--compare', mine), { status: 0, out: /\n(?:ok    |warned) comparison: / });

  const list = (await system.command('transcript', 'list', '--json'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const room = list.find(({ senders }) => senders.length === 3);
  t.match(room, { v: 1, type: 'transcript', senders: ['alice', 'bob', 'carol'] });
  t.match(await system.command('transcript', 'list'), /^[0-9a-f]{64} {2}\d+ messages, .*, alice, bob, carol$/m);
  const anchor = file('checkpoint');
  writeFileSync(anchor, await system.command('transcript', 'checkpoint'));
  t.match(JSON.parse(await system.command('transcript', 'checkpoint', '--json')), { origin: 'localhost/log/n1' });

  const operator = file('operator.tar');
  t.match(
    await system.command('transcript', 'export', '--room', '#ops', '-o', operator),
    /: \d+ messages, none disclosed, complete\n$/,
    'while the server runs',
  );
  t.equal(statSync(operator).mode & 0o777, 0o600);
  const page = await verify(operator, '--strict', '--known', anchor, '--json');
  t.match(JSON.parse(page.out), {
    exit: 0,
    checked: { exporter_role: 'server', profile: 'complete', disclosed: 0, messages: room.messages },
  });
  t.notMatch(readFileSync(operator).toString('latin1'), 'one of ', 'not a word of what was said');
  t.match(await verify(operator, '--compare', all), { status: 0, out: /\n(?:ok    |warned) comparison: / });
  t.match((await verify(operator, '--report', 'md')).out, /CN=localhost, the server \|/);

  await t.rejects(system.command('transcript', 'export', '--room', '#ops', '-o', operator), /--force.*\[USAGE\]/);
  for (const [words, says] of [
    [['--room', '#none'], /\[NO_SUCH_ROOM\]/],
    [['--conversation', 'abc'], /--conversation wants 64.*\[USAGE\]/],
    [['--conversation', '0'.repeat(64)], /\[NOT_FOUND\]/],
    [['--room', '#ops', '--conversation', room.conversation], /want --room.*\[USAGE\]/],
    [['--room', '#ops', '--since', 'today'], /--since.*\[USAGE\]/],
    [['--room', '#ops', '--until', room.first], /\[NOT_FOUND\]/],
  ] as const)
    await t.rejects(system.command('transcript', 'export', ...words, '-o', file('x.tar')), says);
  await t.rejects(system.command('transcript', 'export', '--room', '#ops', '-o', file('no/x.tar')), /\[STORE_FAILED\]/);
  await system.stop();
  const part = file('part.tar');
  const some = ['--conversation', room.conversation, '--since', room.last, '-o', part];
  t.match(await system.command('transcript', 'export', ...some), /: 1 messages, none disclosed, selective\n$/);
  t.match(await verify(part), { status: 0, out: /\nVALID 1 message, 0 disclosed/ }, 'and from the files');
  const argv = [join(root, 'bin/chat-server'), 'transcript', 'verify', operator, ...trust];
  t.match(await finished(new Program(t, argv, {})), { status: 0, out: /\nVALID / });

  t.match(await run('alice', 'transcript', 'verify', operator), {
    status: 0,
    out: /\nVALID \d+ messages, 0 disclosed/,
  });
  t.match(await run('alice', 'transcript', 'verify', operator, '--at', '2001-01-01T00:00:00Z', '-q'), {
    status: 12,
    out: /^UNTRUSTED /,
  });
  t.match(await run('alice', 'transcript', 'verify'), { status: 2, err: /want one bundle/ });
  const shown = await run('carol', 'transcript', 'show', '#ops');
  t.match(shown, { status: 0, out: /^# Evidence report\n\n\*\*VALID: / });
  for (const text of ['one of alice', 'one of bob', 'one of carol']) t.match(shown.out, text);
  t.match(JSON.parse((await run('carol', 'transcript', 'show', '#ops', '--json')).out), { verdict: 'VALID', exit: 0 });
  t.match(await run('carol', 'transcript', 'show', 'bob'), { status: 8, err: /\[NOT_FOUND\]/ });
});
