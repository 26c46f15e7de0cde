/**
 * Three steps with the real programs: a person writes with somebody, gets a second device with a certificate of its own, and approves it.
 * The one that hands the history over and the one that takes it are killed at each of their commits: it is taken over once, and whole.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Vault } from '../../client/vault.ts';
import { laptopOf } from '../support/laptop.ts';
import { password } from '../support/load.ts';
import { certificates, root, System, type Program, type RunOptions } from '../support/system.ts';

const preload = new URL('./failing-client.ts', import.meta.url).href;

t.setTimeout(600_000);

async function done(t: Test, program: Program, stdin = ''): Promise<string> {
  program.type(stdin);
  t.equal(await program.ended, 0, program.tail);
  return program.out;
}

t.test('at each commit of either side', async (t) => {
  const system = await System.create(t);
  await system.start();
  for (const name of ['alice', 'bob'] as const)
    await done(t, system.client(name, ['register', '--password-stdin']), password(name));
  await done(t, system.client('alice', ['send', 'bob', 'one']));
  await done(t, system.client('bob', ['send', 'alice', 'two']));
  await done(t, system.client('alice', ['recv']));
  for (const letter of ['x', 'y', 'z'])
    await done(t, system.client('alice', ['send', 'bob', '-']), letter.repeat(400_000)); // so that there are pieces

  const env = laptopOf(system);
  const laptop = (args: readonly string[], options: RunOptions = {}): Program =>
    system.client('alice', args, { ...options, env: { ...env, ...options.env } });
  const folder = join(env['CHAT_CLIENT_HOME']!, 'alice');
  await done(t, laptop(['login', '--password-stdin']), password('alice'));
  t.equal(await done(t, laptop(['recv'])), '', 'it has nothing of what was before');
  t.notMatch((await laptop(['history', 'bob']).ended) === 0, true);
  const who = JSON.parse(await done(t, laptop(['whoami', '--json']))) as { certificate: { sha256: string } };
  const { sha256 } = who.certificate;
  t.match(await done(t, system.client('alice', ['device', 'list'])), new RegExp(`^${sha256} .*connected$`, 'm'));

  /** What a profile has on its way, looked at between two processes. */
  const look = <T>(where: string, what: (vault: Vault) => T): T => {
    const vault = Vault.open(where);
    try {
      return what(vault);
    } finally {
      vault.close();
    }
  };
  let hasBegun = false;
  let kills = 0;
  for (let n = 1; ; n++) {
    const fault = { preload, env: { CHAT_FAULT: `${n % 2 ? 'before' : 'after'}:${3 + (n % 17)}` } };
    const args = hasBegun ? ['recv', '--max', '1', '--timeout', '6s'] : ['device', 'approve', sha256.slice(0, 20)];
    const end = await system.client('alice', args, fault).ended;
    if (end === 'SIGKILL') kills++;
    const outgoing = look(system.clientFolder('alice'), (vault) => vault.handovers.outgoing().length);
    if (outgoing > 0) hasBegun = true;
    else if (hasBegun) break;
    else if (end !== 'SIGKILL') break; // all of it in one run
    if (n > 60) return t.fail('it never ends');
  }
  t.ok(kills > 3, `killed ${kills} times while it was handed over`);

  kills = 0;
  for (let n = 1; ; n++) {
    const fault = { preload, env: { CHAT_FAULT: `${n % 2 ? 'before' : 'after'}:${1 + (n % 23)}` } };
    const end = await laptop(['recv'], fault).ended;
    if (end === 'SIGKILL') kills++;
    const isHere = look(folder, (vault) => {
      const id = vault.conversationWith('bob')?.id;
      return id !== undefined && vault.history(id, 100).length >= 5 && vault.handovers.allIncoming().length === 0;
    });
    if (isHere) break;
    if (n > 60) return t.fail('it never ends');
  }
  t.ok(kills > 3, `killed ${kills} times while it was taken over`);
  await done(t, laptop(['recv']));

  const here = async (program: Program): Promise<unknown> =>
    (await done(t, program))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .map(({ seq, from, body, id }) => [seq, from, String(body).length, id]);
  const theirs = await here(system.client('alice', ['history', 'bob', '--json']));
  t.strictSame(await here(laptop(['history', 'bob', '--json'])), theirs, 'all of it, once, in order');
  const bundle = join(system.dir, 'bob.tar');
  await done(t, laptop(['transcript', 'export', 'bob', '-o', bundle, '--disclose', 'all']));
  const verified = spawnSync(
    process.execPath,
    [join(root, 'verify/main.ts'), bundle, '--ca', join(certificates(), 'ca.crt')],
    {
      encoding: 'utf8',
      maxBuffer: 16 * 1024 * 1024, // the texts are in the report
    },
  );
  t.match(verified.stdout, /^VALID /m, 'and it can be proven with what the new device has');
});
