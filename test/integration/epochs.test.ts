/** A log that has lost what it had signed: the operator begins a new one, and everybody can tell. The programs as people start them. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { register } from '../support/load.ts';
import { System } from '../support/system.ts';

t.setTimeout(400_000); // a busy machine is no failure

const copyOf = (from: string, to: string): void => void execFileSync('cp', ['-a', from, to]);

async function talk(t: Test) {
  const system = await System.create(t, { settings: { 'transcript.settle': '100ms' } });
  await system.start();
  const run = async (name: 'alice' | 'bob', ...args: readonly string[]) => {
    const program = system.client(name, args);
    const status = await program.ended;
    return { status, out: program.out, err: program.err };
  };
  await register(t, system, 'alice', 'bob');
  t.match(await run('alice', 'send', 'bob', 'one'), { status: 0 });
  t.match(await run('bob', 'recv'), { status: 0, out: /one/ });
  await system.stop();
  const copy = join(system.dir, 'copy');
  copyOf(system.state, copy);
  await system.start();
  t.match(await run('alice', 'send', 'bob', 'two'), { status: 0 });
  await system.stop();
  const anchor = (await run('alice', 'transcript', 'anchors')).out;
  return { system, run, copy, anchor };
}

async function goOn(t: Test, { system, run, anchor }: Awaited<ReturnType<typeof talk>>, lost: string) {
  await t.rejects(system.command('transcript', 'recover', '--known', '/none'), /cannot be read.*CONFIG_INVALID/s);
  t.match(await system.command('transcript', 'recover'), lost);
  t.match(
    await system.command('transcript', 'recover'),
    /^nothing is changed: the next start begins \S+\/e2 already\n$/,
  );
  await t.rejects(system.command('transcript', 'recover', '--known', '/none'), /e2 begins .* without .*CONFIG_INVALID/);
  await system.start();
  await t.rejects(system.command('transcript', 'recover'), /IN_USE/);
  const third = await run('alice', 'send', 'bob', 'three');
  t.match(third, {
    status: 0,
    err: /lost a part of its record localhost\/log\/n1 .* are lost.*localhost\/log\/n1\/e2/,
  });
  const heard = await run('bob', 'recv');
  t.match(heard, { status: 0, out: /three/, err: /localhost\/log\/n1\/e2/ });
  const fourth = await run('alice', 'send', 'bob', 'four');
  t.equal(fourth.status, 0);
  t.notMatch(fourth.err, /lost a part/, 'it is said once');
  t.match(await run('bob', 'recv'), { status: 0, out: /four/ });
  await system.stop();
  const newest = (await run('alice', 'transcript', 'anchors')).out;
  t.match(newest, /^localhost\/log\/n1\/e2\n/);
  const judged = await system.verify([anchor, newest]);
  t.match(judged, { exit: 0, verdict: 'VALID', checked: { origin: 'localhost/log/n1/e2' } });
  t.match(judged.text, /entries \d+ to \d+ of the log before are lost/);
  return judged;
}

t.test('the transcript is lost, and the database is not', async (t) => {
  const story = await talk(t);
  const { system, run, copy } = story;
  rmSync(system.transcript, { recursive: true });
  copyOf(join(copy, 'transcript'), system.transcript);
  const server = system.launch();
  t.not(await server.ended, 0);
  t.match(server.err, /ROLLBACK/);
  await goOn(t, story, 'are lost');

  const file = join(system.dir, 'both.tar');
  t.match(await run('alice', 'transcript', 'export', 'bob', '--out', file), { status: 0 });
  const program = join(import.meta.dirname, '../../bin/chat-verify');
  const ca = system.clientEnv('alice')['CHAT_CA_FILE']!;
  const args = [program, file, '--ca', ca, '--json'];
  const checked = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }));
  t.match(checked, {
    verdict: 'VALID',
    checked: { logs: [{ origin: /n1$/ }, { origin: /n1\/e2$/ }], profile: 'complete' },
  });

  const id = /conversation ([0-9a-f]{64})/.exec(
    execFileSync('tar', ['xOf', file, 'BUNDLE'], { encoding: 'utf8' }),
  )![1]!;
  const whole = join(system.dir, 'operator.tar');
  const said = await system.command('transcript', 'export', '--conversation', id, '--out', whole);
  const left = checked.checked.messages - 1;
  t.match(said, `${left} messages, none disclosed, selective`, 'the operator has what is not lost, out of both logs');
  const list = (await system.command('transcript', 'list', '--json')).trim().split('\n');
  t.match(
    list.map((line) => JSON.parse(line)),
    [{ conversation: id, messages: left }],
    'and lists it once',
  );
  t.match(await system.command('transcript', 'checkpoint'), /^localhost\/log\/n1\/e2\n/);
  const notes = (await system.command('transcript', 'checkpoint', '--json')).trim().split('\n');
  t.match(
    notes.map((line) => JSON.parse(line)),
    [{ origin: /n1$/ }, { origin: /n1\/e2$/ }],
    'each log',
  );
  const both = [program, whole, '--ca', ca, '--compare', file, '--json'];
  t.match(JSON.parse(execFileSync(process.execPath, both, { encoding: 'utf8' })), {
    verdict: 'VALID',
    checked: { logs: [{ origin: /n1$/ }, { origin: /n1\/e2$/ }], messages: left, exporter_role: 'server' },
  });

  await system.start();
  t.match(await run('bob', 'send', 'alice', 'five'), { status: 0 }, 'and another start goes on with it');
  const proved = join(system.dir, 'proved.tar');
  const exported = await run('alice', 'transcript', 'export', 'bob', '--prove', '--out', proved);
  t.match(exported, {
    status: 0,
    err: /the server writes another log now, and proves nothing more of localhost\/log\/n1\n/,
  });
  const ties = execFileSync('tar', ['tf', proved], { encoding: 'utf8' }).match(/log\/\d\d\/consistency\//g);
  t.ok(ties?.includes('log/02/consistency/'), 'the log that it writes is proven to be of one history');
  t.notOk(ties?.includes('log/01/consistency/'));
  const judged = [program, proved, '--ca', ca, '--json'];
  const { verdict, findings } = JSON.parse(execFileSync(process.execPath, judged, { encoding: 'utf8' }));
  t.equal(verdict, 'VALID');
  t.match(
    findings.filter(({ code }: { code: string }) => code === 'W_UNLINKED'),
    [{ where: /^msg\// }],
    'of the other that is not known',
  );
  await system.stop();
  const statement = readFileSync(join(system.transcript, 'e2/key.stmt'), 'utf8');
  t.match(statement, /\nprevious localhost\/log\/n1\+\S+\nkept \d+\nknown \d+ \S+\n$/);
});

t.test('the whole machine is put back', async (t) => {
  const story = await talk(t);
  const { system, run, copy } = story;
  rmSync(system.state, { recursive: true });
  copyOf(copy, system.state);
  await system.start();
  t.match(await run('alice', 'send', 'bob', 'a fork?'), { status: 14, err: /ROLLBACK/ });
  t.equal(await system.server.ended, 1);
  await goOn(t, story, 'are lost');
  t.ok(existsSync(join(system.transcript, 'checkpoint')), 'what is left of the first log stays');
});

t.test('nothing is lost', async (t) => {
  const { system } = await talk(t);
  const recover = system.commanded('transcript', 'recover');
  t.equal(await recover.ended, 8);
  t.match(recover.err, /^chat-server: nothing is known to be lost: .* \[NOT_FOUND\]\n$/);
  t.notOk(existsSync(join(system.transcript, 'e2')));
});
