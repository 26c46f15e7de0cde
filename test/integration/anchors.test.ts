/** A log whose end was cut off is as valid as any; what a client has kept shows it. The programs as they are started by people. */
import { cpSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { System } from '../support/system.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('a truncated log is caught with an anchor', async (t) => {
  const system = await System.create(t);
  await system.start();
  const run = async (...args: readonly string[]) => {
    const program = system.client('alice', args);
    const status = await program.ended;
    return { status, out: program.out, err: program.err };
  };
  t.match(await run('transcript', 'anchors'), { status: 8, out: '', err: /\[NOT_FOUND\]/ }, 'nothing was seen yet');
  t.match(await run('transcript'), { status: 2, err: /want list, show, export, verify, anchors or alarms.*\[USAGE\]/ });
  const enter = async (name: 'alice' | 'bob') => {
    const program = system.client(name, ['register', '--password-stdin']);
    program.type('correct horse battery');
    t.equal(await program.ended, 0, program.tail);
    const login = system.client(name, ['login', '--password-stdin']);
    login.type('correct horse battery');
    t.equal(await login.ended, 0, login.tail);
  };
  await enter('alice');
  await enter('bob');
  t.equal((await run('send', 'bob', 'one')).status, 0);
  await system.stop();
  const early = join(system.dir, 'early');
  cpSync(system.transcript, early, { recursive: true });

  await system.start();
  t.equal((await run('send', 'bob', 'two')).status, 0);
  await system.stop();
  const { status, out, err } = await run('transcript', 'anchors');
  t.equal(status, 0, 'without a server');
  t.match(out, /^localhost\/log\/n1\n\d+\n\S+\n\n— /, 'the note alone');
  t.match(err, /^chat: session [0-9a-f]{32} of this device: 4 statements acknowledged\n$/);
  const file = join(system.dir, 'alice.checkpoint');
  t.match(await run('transcript', 'anchors', '--out', file), {
    status: 0,
    out: /: \d+ entries, in .*alice.checkpoint\n$/,
  });
  t.equal(readFileSync(file, 'utf8'), out, 'the same in the file');
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.match(await run('transcript', 'anchors', '--out', join(system.dir, 'none', 'x')), {
    status: 3,
    err: /\[STORE_FAILED\]/,
  });
  const json = JSON.parse((await run('transcript', 'anchors', '--json')).out);
  t.match(json, { v: 1, type: 'anchor', origin: 'localhost/log/n1', note: out, sessions: [{ last_ctr: 4 }] });

  t.match(await system.verify([out]), { exit: 0, verdict: 'VALID' }, 'the whole log');
  rmSync(system.transcript, { recursive: true });
  cpSync(early, system.transcript, { recursive: true });
  t.match(await system.verify([]), { exit: 0, verdict: 'VALID' }, 'the cut one looks well');
  t.match(await system.verify([out]), { exit: 14, verdict: 'EQUIVOCATION' }, 'and is not');
});
