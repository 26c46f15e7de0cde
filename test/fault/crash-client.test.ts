/**
 * The client is killed with SIGKILL again and again, at random moments and at each of its commits, while it sends and receives. What it
 * has promised to keep is sent once and no more, what it has acknowledged is there, and its profile opens again at once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Vault } from '../../client/vault.ts';
import { audit, auditTranscript, bodyOf, drain, password, Person, Talk } from '../support/load.ts';
import { random, System, type Program, type RunOptions } from '../support/system.ts';

const talker = fileURLToPath(new URL('./talker.ts', import.meta.url));
const preload = new URL('./failing-client.ts', import.meta.url).href;

t.setTimeout(900_000); // a busy machine is no failure

/** Bob, who writes to Alice all the time; the talker is Alice. */
async function world(
  t: Test,
): Promise<{ system: System; bob: Person; toAlice: Talk; run: (o?: RunOptions) => Program }> {
  const system = await System.create(t);
  await system.start();
  const bob = await Person.open(t, system, 'bob');
  const alice = await Person.open(t, system, 'alice');
  await alice.app.open('bob');
  await alice.app.close();
  const toAlice = await Talk.between(bob, alice, 2);
  const run = (options: RunOptions = {}): Program =>
    system.script('alice', talker, { ...options, env: { CHAT_PEER: 'bob', ...options.env } });
  return { system, bob, toAlice, run };
}

/** The number of the last message that the process has promised to keep; every number must be promised once. */
function promised(t: Test, outputs: readonly string[]): number {
  const numbers = outputs.flatMap((out) => [...out.matchAll(/^queued (\d+)$/gm)].map(([, n]) => Number(n)));
  t.strictSame(numbers.length, new Set(numbers).size, 'no number was given twice: nothing that was kept is forgotten');
  return Math.max(0, ...numbers);
}

/** Alice's profile is opened once more; everything arrives, and every witness agrees. */
async function finish(t: Test, system: System, bob: Person, toAlice: Talk, outputs: readonly string[]): Promise<void> {
  const last = promised(t, outputs);
  const alice = await Person.open(t, system, 'alice');
  const fromAlice = await Talk.between(alice, bob, 0);
  const own = alice.vault.history(fromAlice.conversation.id, 1_000_000).filter(({ direction }) => direction === 'out');
  // A kill may come between the keeping and the promise.
  t.ok(own.length === last || own.length === last + 1, `${own.length} kept, ${last} promised`);
  fromAlice.adopt(own.map((_, i) => bodyOf('alice', 'bob', i + 1)));
  toAlice.to = alice;
  const both = [toAlice, fromAlice];
  await drain(both);
  t.comment(`${own.length} messages of alice, ${toAlice.bodies.length} of bob`);
  audit(t, both);
  t.equal(await system.stop(), 0);
  await auditTranscript(t, system, both);
}

t.test('at random moments', async (t) => {
  const { system, bob, toAlice, run } = await world(t);
  const chance = random(t, 20261111);
  const outputs: string[] = [];
  toAlice.begin();
  for (let cycle = 0; cycle < 6; cycle++) {
    const alice = run();
    await alice.until('something accepted', () => (/^accepted/m.test(alice.out) ? true : null));
    await sleep(chance() * 120); // the moment is what is random here
    await alice.kill();
    outputs.push(alice.out);
    Vault.open(system.clientFolder('alice')).close(); // no lock outlives its process
  }
  await finish(t, system, bob, toAlice, outputs);
});

t.test('at each commit to the vault', async (t) => {
  const { system, bob, toAlice, run } = await world(t);
  const outputs: string[] = [];
  toAlice.begin();
  // Eight are kept, then one batch is signed, sent and acknowledged while others come in: after some twenty commits all repeats itself.
  const faults = [
    'before:1',
    'after:1',
    ...[...Array(20).keys()].map((n) => `${n % 2 ? 'before' : 'after'}:${n + 4}:later`),
  ];
  for (const fault of faults) {
    const alice = run({ preload, env: { CHAT_FAULT: fault } });
    t.equal(await alice.ended, 'SIGKILL', `${fault}: ${alice.tail.slice(-200)}`);
    outputs.push(alice.out);
  }
  await finish(t, system, bob, toAlice, outputs);
});

t.test('at each commit of the first command of all', async (t) => {
  const system = await System.create(t);
  await system.start();
  for (let n = 1; ; n++) {
    const env = { CHAT_FAULT: `${n % 2 ? 'before' : 'after'}:${Math.ceil(n / 2)}` };
    const carol = system.client('carol', ['register', '--password-stdin'], { preload, env });
    carol.type(password('carol'));
    const end = await carol.ended;
    if (end === 0) break;
    t.equal(end, 'SIGKILL', 'also when the server had the account, and its answer was not kept');
  }
  const whoami = system.client('carol', ['whoami']);
  t.equal(await whoami.ended, 0, whoami.tail);
  t.match(whoami.out, /account +carol/);
});

t.test('chat-client send and recv themselves', async (t) => {
  const system = await System.create(t);
  await system.start();
  const chance = random(t, 20261113);
  for (const name of ['alice', 'bob'] as const) {
    const register = system.client(name, ['register', '--password-stdin']);
    register.type(password(name));
    t.equal(await register.ended, 0, register.tail);
  }
  const accepted: string[] = [];
  const shown: string[] = [];
  for (let cycle = 0; cycle < 5; cycle++) {
    const body = `message ${cycle}`;
    const send = system.client('alice', ['send', 'bob', body, '--json']);
    const recv = system.client('bob', ['recv', '-f', '--json']);
    const taken = async (program: Program, what: string): Promise<void> => {
      // From nothing at all to everything done.
      await Promise.race([
        program.until(what, () => (program.out.includes(what) ? true : null)),
        sleep(chance() * 1600),
      ]).catch(() => {});
      await program.kill();
    };
    await Promise.all([taken(send, '"type":"sent"'), taken(recv, `"body":"${body}"`)]);
    if (send.out.includes('"type":"sent"')) accepted.push(body);
    shown.push(...bodies(recv.out));
  }
  // What waits in Alice's profile leaves with the next message.
  const last = system.client('alice', ['send', 'bob', 'the last one', '--json']);
  t.equal(await last.ended, 0, last.tail);
  const rest = system.client('bob', ['recv', '--json']);
  t.equal(await rest.ended, 0, rest.tail);
  shown.push(...bodies(rest.out));
  const history = system.client('bob', ['history', 'alice', '--json']);
  t.equal(await history.ended, 0, history.tail);
  const kept = bodies(history.out);
  t.equal(new Set(kept).size, kept.length, 'nothing came twice');
  for (const body of [...accepted, 'the last one']) t.ok(kept.includes(body), `${body} is kept`);
  t.strictSame([...new Set(shown)].sort(), [...kept].sort(), 'everything that is kept was shown');
  t.comment(`${accepted.length} of 5 were said to be accepted, ${kept.length} came`);
});

const bodies = (out: string): string[] =>
  out
    .slice(0, out.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { body: string }).body);
