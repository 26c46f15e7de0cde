/** Revocation lists over a server's life: logged as they come, kept beside the log, handed to clients, and found by an auditor with the CA alone. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { certificates, Program, root, System, type Name } from '../support/system.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(180_000); // a busy machine is no failure

t.test('a list that comes while the server runs', async (t) => {
  const certs = certificates();
  const dir = testFolder(t);
  const list = join(dir, 'ca.crl');
  copyFileSync(join(certs, 'ca.crl'), list);
  const system = await System.create(t, { dir, settings: { 'tls.crl': [list] } });
  await system.start();
  const archive = join(system.transcript, 'crl');
  const archived = () => readdirSync(archive).filter((name) => name.endsWith('.crl'));
  const index = () => readFileSync(join(archive, 'index'), 'utf8').split('\n').slice(0, -1);
  t.equal(archived().length, 1, 'before anybody is let in');
  t.match(index(), [/^2 \d+ [0-9a-f]{64} [0-9a-f]{64} \d+$/], 'behind the certificate and the key');
  const run = async (name: Name, ...args: readonly string[]) => {
    const program = system.client(name, args);
    const status = await program.ended;
    return { status, out: program.out, err: program.err };
  };
  const verify = async (target: string, ...args: readonly string[]) => {
    const argv = [join(root, 'bin/chat-verify'), target, '--ca', join(certs, 'ca.crt'), ...args];
    const program = new Program(t, argv, {});
    return { exit: await program.ended, out: program.out };
  };
  for (const name of ['alice', 'bob'] as const) {
    const program = system.client(name, ['register', '--password-stdin']);
    program.type('correct horse battery');
    t.equal(await program.ended, 0, program.tail);
  }
  t.equal((await run('alice', 'send', 'bob', 'before')).status, 0);
  t.equal((await run('bob', 'recv', '--max', '1')).status, 0);
  t.match(await run('bob', 'send', 'alice', 'and back'), { status: 0 });
  t.match(await run('alice', 'recv', '--max', '1'), { status: 0, out: /and back/ });
  const first = join(system.dir, 'first.tar');
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', first, '--prove'), { status: 0 });
  const inside = (file: string) => execFileSync('tar', ['tf', file], { encoding: 'utf8' });
  t.match(inside(first), 'crl/01.entry\ncrl/01.pem\ncrl/01.tlog-proof\nlog/', 'the list that was in force');
  t.match(await verify(first, '--strict'), { exit: 0, out: /\nVALID 3 messages, .* 0 warnings\n$/ });

  execFileSync('sh', [join(root, 'scripts/gen-certs.sh'), '--out', certs, '--revoke', 'bob'], { stdio: 'ignore' });
  const from = system.lines.length;
  copyFileSync(join(certs, 'ca.crl'), `${list}.new`);
  renameSync(`${list}.new`, list);
  await system.line('crl.logged', from);
  t.equal(index().length, 2);
  t.equal(archived().length, 2);
  t.match(await run('bob', 'send', 'alice', 'after'), { status: 6, err: /revoked/ });

  const second = join(system.dir, 'second.tar');
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', second, '--prove', '--disclose', 'all'), {
    status: 0,
  });
  t.match(inside(second), 'crl/02.pem\n', 'the newest, and that which was in force');
  t.match(await verify(second, '--strict'), { exit: 0, out: /\nVALID 3 messages, / }, 'revoked later: still valid');
  t.match(await verify(second, '--at', new Date(Date.now() + 5000).toISOString()), {
    exit: 12,
    out: /E_CERT_REVOKED msg\/000003\/batch\.sig: .*CN=bob/,
  });

  await system.stop();
  await system.start();
  t.equal(index().length, 2, 'a list that is known is not logged again');
  rmSync(join(archive, 'index'));
  await system.stop();
  await system.start();
  t.equal(index().length, 1, 'without the index it is logged once more');
  await system.stop();
  t.match(
    await verify(system.transcript, '--strict'),
    { exit: 0, out: /VALID \d+ messages .* 0 errors, 0 warnings\n/ }, // receipts are among them
    'the log with its archive',
  );

  const copy = join(system.dir, 'copy');
  cpSync(system.transcript, copy, { recursive: true });
  for (const name of archived()) rmSync(join(copy, 'crl', name));
  t.match(await verify(copy, '--strict'), { exit: 11, out: /W_CRL_MISSING entry 2: the list with hash [0-9a-f]{64}/ });
  writeFileSync(join(system.transcript, 'crl/index'), 'hello');
  await t.rejects(system.command('run'), /crl\/index is not readable.*\[LOG_CORRUPT/);
});
