/** Contacts with the real programs: what each command says, and its exit status. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { root, System, type Name } from '../support/system.ts';

t.setTimeout(240_000);

t.test('ask, accept, write, block; and the operator', async (t) => {
  const system = await System.create(t, { settings: { 'contacts.policy': 'request' } });
  await system.start();
  const run = async (name: Name, args: readonly string[], stdin = '') => {
    const program = system.client(name, args);
    program.type(stdin);
    return { exit: await program.ended, out: program.out, err: program.err };
  };
  for (const name of ['alice', 'bob'] as const)
    t.equal((await run(name, ['register', '--password-stdin'], 'correct horse')).exit, 0);

  const refused = await run('alice', ['send', 'bob', '-'], 'hello');
  t.equal(refused.exit, 4);
  t.match(refused.err, /not in contact.*\[NOT_CONTACT\]/);
  t.match(await run('alice', ['contact', 'add', 'bob@example.org']), { exit: 0, out: 'bob: was asked\n' });
  const told = await run('bob', ['contact', 'list', '--json']);
  t.match(told.err, /alice asks to be in contact/);
  t.match(JSON.parse(told.out), { v: 1, type: 'contact', username: 'alice', state: 'asking', since: /^2\d{3}-/ });
  t.match(await run('bob', ['contact', 'accept', 'alice']), { exit: 0, out: 'alice: in contact\n' });
  const nothing = /there is nothing of the kind between the two of you \[NOT_FOUND\]/;
  t.match(await run('bob', ['contact', 'decline', 'alice']), { exit: 8, err: nothing }, 'it was answered');
  const sent = await run('alice', ['send', 'bob', '-'], 'hello');
  t.equal(sent.exit, 0, sent.err);
  t.match(await run('alice', ['contact', 'directory']), { exit: 0, out: /^alice <.*>\nbob <.*>\n$/ });
  t.match(await run('alice', ['contact', 'add', 'zoe']), { exit: 8, err: /\[NO_SUCH_PEER\]/ });
  t.match(await run('alice', ['contact', 'decline', 'bob']), { exit: 8, err: /\[NOT_FOUND\]/ });
  t.match(await run('alice', ['contact', 'frobnicate', 'bob']), { exit: 2, err: /\[USAGE\]/ });
  t.match(await run('bob', ['contact', 'block', 'alice']), { exit: 0, out: 'alice: blocked\n' });
  t.match(await run('alice', ['send', 'bob', '-'], 'hello?'), { exit: 4, err: /\[BLOCKED\]/ });
  t.match(await run('bob', ['contact', 'unblock', 'alice']), { exit: 0, out: 'alice: not in contact\n' });

  const operator = (...args: string[]): string =>
    execFileSync(
      process.execPath,
      [join(root, 'bin/chat-server'), ...args, '-c', join(system.dir, 'chat-server.toml')],
      {
        encoding: 'utf8',
      },
    );
  t.equal(operator('contact', 'add', 'alice', 'bob@example.org'), 'alice and bob: in contact\n');
  t.match(await run('alice', ['contact', 'list']), { exit: 0, out: /^bob <.*>: in contact, since / });
  t.equal(operator('contact', 'remove', 'bob', 'alice'), 'bob and alice: not in contact\n');
  t.throws(() => operator('contact', 'remove', 'bob', 'alice'), { status: 8 } as never);
  t.match(await run('alice', ['contact', 'list']), { exit: 0, out: '' });
});
