/** What an operator does for people and about them, beside a running server, and what they do themselves: passwords, and somebody who is to stay out. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { System, type Name, type Program } from '../support/system.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('a forgotten password and a suspended account lose nothing of what is written meanwhile', async (t) => {
  const system = await System.create(t);
  await system.start();
  const run = async (name: Name, args: readonly string[], password?: string) => {
    const program = system.client(name, args);
    program.type(password === undefined ? '' : `${password}\n`);
    return { status: await program.ended, out: program.out, err: program.err };
  };
  const read = async (): Promise<string[]> => {
    const { out } = await run('bob', ['recv', '--json']);
    const lines = out.trim().split('\n').filter(Boolean);
    return lines
      .map((line) => JSON.parse(line) as { type: string; body: string })
      .flatMap((m) => (m.type === 'message' ? [m.body] : []));
  };
  const says = async (text: string): Promise<void> =>
    void t.match(await run('alice', ['send', 'bob', text]), { status: 0 }, text);
  const cut = async (program: Program, code: string): Promise<void> => {
    t.equal(await program.ended, 4);
    t.match(program.err, new RegExp(`\\[${code}\\]\\n$`));
  };
  for (const name of ['alice', 'bob'] as const)
    t.match(await run(name, ['register', '--password-stdin'], `password of ${name}`), { status: 0 });
  await says('one');
  t.strictSame(await read(), ['one'], 'by token');

  const listening = system.client('bob', ['recv', '--follow', '--json']);
  await says('two');
  await listening.until('a message', () => (listening.out.includes('two') ? true : null));
  const from = system.lines.length;
  const asked = system.commanded('user', 'passwd', 'bob', '--password-stdin');
  asked.type('another one\n');
  t.equal(await asked.ended, 0, asked.tail);
  t.equal(asked.out, 'bob: has another password; 1 connection was ended\n');
  await cut(listening, 'NOT_LOGGED_IN/password');
  t.match(listening.err, 'chat: the login is over: the password of the account was changed [');
  t.match(await system.line('password.set', from), { user: 'bob', count: 1 });
  await says('three');
  t.match(await run('bob', ['recv']), { status: 4, err: /\[NOT_LOGGED_IN\]\n$/ }, 'its token is void');
  t.match(await run('bob', ['login', '--password-stdin'], 'password of bob'), { status: 4, err: /\[AUTH_FAIL\]\n$/ });
  t.match(await run('bob', ['login', '--password-stdin'], 'another one'), { status: 0 });
  t.strictSame(await read(), ['three']);

  const again = system.client('bob', ['recv', '--follow', '--json']);
  await says('four');
  await again.until('a message', () => (again.out.includes('four') ? true : null));
  t.equal(
    await system.command('user', 'suspend', 'bob', '--reason', 'on leave'),
    'bob: suspended; 1 connection was ended\n',
  );
  await cut(again, 'SUSPENDED');
  t.match(await system.line('account.suspended', from), { user: 'bob', count: 1, because: 'on leave' });
  await says('five');
  t.match(await run('bob', ['recv']), { status: 4, err: /\[SUSPENDED\]\n$/ }, 'by token');
  t.match(await run('bob', ['login', '--password-stdin'], 'another one'), { status: 4, err: /\[SUSPENDED\]\n$/ });
  t.match(await run('bob', ['login', '--password-stdin'], 'wrong'), { status: 4, err: /\[AUTH_FAIL\]\n$/ });
  await says('six');
  t.equal(await system.command('user', 'resume', 'bob'), 'bob: can log in again\n');
  await system.line('account.resumed', from);
  t.strictSame(await read(), ['five', 'six']);
  for (const secret of ['another one', 'password of bob'])
    t.notOk(system.server.err.includes(secret), 'no password in the log');
});

t.test('who knows his password gives himself another one', async (t) => {
  const system = await System.create(t);
  await system.start();
  const file = (name: string, text: string): string => {
    const path = join(system.dir, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const run = async (args: readonly string[], typed = '') => {
    const program = system.client('bob', args);
    program.type(typed);
    return { status: await program.ended, out: program.out, err: program.err };
  };
  const refused = async (typed: string, status: number, why: RegExp): Promise<void> =>
    void t.match(await run(['passwd', '--password-stdin'], typed), { status, out: /^$/, err: why });
  t.match(await run(['register', '--password-stdin'], 'the first\n'), { status: 0 });
  await refused('the first\n', 2, /standard input has one line, and not 2 \[USAGE\/password\]\n$/);
  await refused('the first\nthe first\n', 2, /the new password is the one before \[USAGE\/password\]\n$/);
  await refused('the last\nthe second\n', 4, /name or password is wrong \[AUTH_FAIL\]\n$/);
  t.match(await run(['passwd', '--no-input'], 'the first\n'), { status: 4, err: /\[NOT_LOGGED_IN\]\n$/ });
  const one = file('one', 'the first\n');
  t.match(await run(['passwd', '--password-file', one], ''), { status: 2, err: /give --new-password-file, or run/ });
  t.match(await run(['passwd', '--password-stdin'], 'the first\nthe second\n'), {
    status: 0,
    out: 'bob has another password: what else was logged in has to log in again\n',
  });
  t.match(await run(['send', 'alice', 'to you']), { status: 8 }, 'the token is good: only alice is not there');
  t.match(await run(['login', '--password-stdin'], 'the first\n'), { status: 4, err: /\[AUTH_FAIL\]\n$/ });
  t.match(await run(['login', '--password-stdin'], 'the second\n'), { status: 0 });
  const files = ['--password-file', file('two', 'the second\n'), '--new-password-file', file('three', 'the third\n')];
  t.match(await run(['passwd', '--json', ...files]), {
    status: 0,
    out: '{"v":1,"type":"password_changed","username":"bob"}\n',
  });
  t.match(await run(['passwd', '--password-stdin', '--new-password-file', one], 'the third\n'), { status: 0 });
  t.match(await run(['login', '--password-file', one]), { status: 0 });
  for (const secret of ['the first', 'the second', 'the third'])
    t.notOk(system.server.err.includes(secret), 'no password in the log');
});
