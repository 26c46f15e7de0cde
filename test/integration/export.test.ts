/** Evidence as two people hand it over: real programs, a server that is stopped before the export, and an auditor with the CA alone. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { certificates, Program, root, System, type Name } from '../support/system.ts';

t.setTimeout(180_000); // a busy machine is no failure

t.test('export and verify', async (t) => {
  const system = await System.create(t);
  await system.start();
  const run = async (name: Name, ...args: readonly string[]) => {
    const program = system.client(name, args);
    const status = await program.ended;
    return { status, out: program.out, err: program.err };
  };
  const file = (name: string) => join(system.dir, name);
  const verify = async (...args: readonly string[]) => {
    const certs = certificates();
    const trust = ['--ca', join(certs, 'ca.crt'), '--crl', join(certs, 'ca.crl')];
    const program = new Program(t, [join(root, 'bin/chat-verify'), ...args, ...trust], {});
    return { exit: await program.ended, out: program.out, err: program.err };
  };
  for (const name of ['alice', 'bob'] as const) {
    const program = system.client(name, ['register', '--password-stdin']);
    program.type('correct horse battery');
    t.equal(await program.ended, 0, program.tail);
  }
  t.match(await run('alice', 'transcript', 'list'), { status: 0, out: '' }, 'nothing yet');
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', file('none.tar')), {
    status: 8,
    err: /\[NOT_FOUND\]/,
  });
  const says = async (from: Name, to: Name, text: string) => {
    const sent = await run(from, 'send', to, text);
    t.equal(sent.status, 0, sent.err);
  };
  await says('alice', 'bob', 'one of alice');
  await says('alice', 'bob', 'two of alice');
  t.match(await run('bob', 'recv', '--max', '2'), { status: 0, out: /two of alice/ });
  await says('bob', 'alice', 'one of bob');
  t.match(await run('alice', 'recv', '--max', '1'), { status: 0, out: /one of bob/ });
  const before = file('proved.tar');
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', before, '--disclose', 'all', '--prove'), {
    status: 0,
    out: /proved\.tar: 4 messages, 3 disclosed, \d+ receipts, complete\n$/, // the first makes the group, and has no text
  });
  await system.stop();
  t.match(await verify(before, '--strict'), {
    exit: 0,
    out: /\nVALID 4 messages, 3 disclosed, 3 delivered, 2 senders, .* 0 warnings\n$/,
  });
  t.equal((await verify(before, '--strict', '--require', 'recipient-receipt')).exit, 0, 'and each was received');
  t.match(
    await verify(before, '--report', 'md'),
    { out: /delivered to [^|]*bob[^|]*, device [0-9a-f]{16}…, at \d{4}-/ },
    'says the signed word of the recipient',
  );

  const all = file('all.tar');
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', all, '--disclose', 'mine', '--json'), {
    status: 0,
    out: /^\{"v":1,"type":"exported","peer":"bob","file":".*all.tar","profile":"complete","messages":4,"disclosed":2,"receipts":\d+\}\n$/,
  });
  t.equal(statSync(all).mode & 0o777, 0o600);
  const alone = await verify(all);
  t.match(alone, { exit: 0, out: /W_UNLINKED msg\/000001\/log.tlog-proof/ }, 'without a server: a warning');
  t.match(alone.out, /\nVALID 4 messages, 2 disclosed, 3 delivered/);
  t.equal((await verify(all, '--strict')).exit, 11);

  const names = execFileSync('tar', ['tf', all], { encoding: 'utf8' });
  t.match(names, 'msg/000002/opening\n');
  t.equal(names.match(/opening/g)?.length, 2, 'what bob wrote is not disclosed');
  t.notMatch(readFileSync(all).toString('latin1'), 'one of bob');

  const bob = file('bob.tar');
  t.match(await run('bob', 'transcript', 'export', 'alice', '-o', bob, '--disclose', '3-4'), {
    status: 0,
    out: /bob\.tar: 4 messages, 2 disclosed, \d+ receipts, complete\n$/,
  });
  t.match(await verify(all, '--compare', bob), { exit: 0, out: /\nok     comparison: / });

  const again = await run('alice', 'transcript', 'export', 'bob', '-o', all);
  t.match(again, { status: 2, err: /there is a file .*all\.tar already.*\[USAGE\]/ });
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', all, '--force'), { status: 0, out: /0 disclosed/ });
  t.equal(existsSync(`${all}.tmp`), false);
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', file('no/x.tar')), {
    status: 3,
    err: /\[STORE_FAILED\]/,
  });
  t.match(await run('alice', 'transcript', 'export', 'carol', '-o', file('x')), { status: 8, err: /\[NOT_FOUND\]/ });
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', file('x'), '--disclose', '9'), {
    status: 8,
    err: /nothing to disclose at 9/,
  });
  for (const bad of ['some', '0', '2-1', '1,', ''])
    t.match(await run('alice', 'transcript', 'export', 'bob', '-o', file('x'), `--disclose=${bad}`), {
      status: 2,
      err: /--disclose/,
    });
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', file('x'), '--since', 'today'), {
    status: 2,
    err: /--since/,
  });
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', file('x'), '--prove', '--timeout', '5s'), {
    status: 3,
    err: /\[UNREACHABLE\]/,
  });
  t.equal(existsSync(file('x')), false, 'nothing is written');

  const list = JSON.parse((await run('alice', 'transcript', 'list', '--json')).out);
  t.match(list, { v: 1, type: 'transcript', peer: 'bob', messages: 4 });
  const part = file('part.tar');
  const until = await run('alice', 'transcript', 'export', 'bob', '-o', part, '--until', list.last);
  t.match(until, { status: 0, out: /: 3 messages, 0 disclosed, \d+ receipts, selective\n$/ });
  t.match(await verify(part), {
    exit: 0,
    out: /\nVALID 3 messages, 0 disclosed, 2 delivered, 2 senders, .*, selective, /,
  });
  const since = await run('alice', 'transcript', 'export', 'bob', '-o', part, '--since', list.last, '--force');
  t.match(since, { status: 0, out: /: 1 messages, / });

  const altered = readFileSync(before);
  altered[altered.indexOf('one of alice')]! ^= 1;
  writeFileSync(file('altered.tar'), altered);
  t.match(await verify(file('altered.tar')), { exit: 10, out: /E_COMMIT msg\/000002\/opening/ });
  t.match((await verify(before, '--report', 'html')).out, /<td>one of alice<\/td>/);
});
