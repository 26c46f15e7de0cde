/** A server that shows two people two histories: two real servers over copies of one log and one key, and the bundles of real clients. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { certificates, Program, root, System, type Name } from '../support/system.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('two logs with one key, and two bundles that prove it', async (t) => {
  const dir = testFolder(t, { left: {}, right: {} });
  const settings = { 'transcript.settle': '0s' };
  const left = await System.create(t, { dir: join(dir, 'left'), settings });
  const right = await System.create(t, { dir: join(dir, 'right'), settings, clients: left.clients });
  const finished = async (program: Program) => ({ status: await program.ended, out: program.out, err: program.err });
  const run = (at: System, name: Name, ...args: readonly string[]) => finished(at.client(name, args));
  const verify = (...args: readonly string[]) => {
    const words = [join(root, 'bin/chat-verify'), ...args, '--ca', join(certificates(), 'ca.crt')];
    return finished(new Program(t, words, {}));
  };
  await left.start();
  for (const name of ['alice', 'bob'] as const) {
    const program = left.client(name, ['register', '--password-stdin']);
    program.type('correct horse battery');
    t.equal(await program.ended, 0, program.tail);
  }
  t.match(await run(left, 'alice', 'send', 'bob', 'to both'), { status: 0 });
  t.match(await run(left, 'bob', 'recv', '--max', '1'), { status: 0, out: /to both/ });
  await left.stop();
  cpSync(left.state, right.state, { recursive: true });
  await left.start();
  await right.start();
  t.match(await run(left, 'alice', 'send', 'bob', 'on the left'), { status: 0 });
  t.match(await run(right, 'bob', 'send', 'alice', 'on the right'), { status: 0 });

  const [ours, theirs] = [join(dir, 'alice.tar'), join(dir, 'bob.tar')];
  t.match(await run(left, 'alice', 'transcript', 'export', 'bob', '-o', ours, '--prove'), { status: 0 });
  t.match(await run(right, 'bob', 'transcript', 'export', 'alice', '-o', theirs, '--prove'), { status: 0 });
  await left.stop();
  await right.stop();
  for (const bundle of [ours, theirs])
    t.match(await verify(bundle), { status: 0, out: /\nVALID / }, 'each by itself is flawless');
  for (const [bundle, other] of [
    [ours, theirs],
    [theirs, ours],
  ] as const) {
    const found = await verify(bundle, '--compare', other);
    t.match(found, { status: 14, out: /E_FORK msg\/\d{6}: the server showed another entry at this place to / });
    t.match(found.out, /\nEQUIVOCATION at \S+: E_FORK /);
  }
});
