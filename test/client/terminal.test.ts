/** On a pseudo-terminal: what arrives does not destroy the line being typed, passwords are not shown, and the keys do what they do. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { resolveSettings } from '../../client/settings.ts';
import { decodeContent } from '../../transcript/content.ts';
import { meaningOf } from '../../transcript/content-meaning.ts';
import { KIND } from '../../transcript/statement.ts';
import { testFolder } from '../support/folder.ts';
import { Listener } from './listener.ts';
import { launcher, Screen, skip } from './screen.ts';
import { equip } from './side.ts';

/** Alice is registered and talks with bob, who says what the test wants him to say. */
async function talking(t: Test, env: NodeJS.ProcessEnv = {}, command?: readonly string[]) {
  testFolder(t);
  const server = new Listener();
  const address = await server.listen(t);
  const all = {
    CHAT_CLIENT_HOME: join(t.testdirName, 'home'),
    CHAT_SERVER: address,
    ...server.files(t, 'alice'),
    ...env,
  };
  await equip(server, resolveSettings({}, all).folder);
  const screen = new Screen(t, [], all, command);
  const answers = [
    ['Register or login? [register]: ', ''],
    ['E-mail [alice@example.org]: ', ''],
    ['Username [alice]: ', ''],
    ['Password: ', 's3cret-one'],
    ['Repeat password: ', 's3cret-one'],
    ['Chat with: ', 'bob'],
  ] as const;
  for (const [question, answer] of answers) {
    await screen.sees(question);
    screen.type(`${answer}\r`);
  }
  await screen.sees('You: ');
  return { server, screen, env: all };
}

t.test('a conversation on a terminal', { skip }, async (t) => {
  testFolder(t);
  const server = new Listener();
  const address = await server.listen(t);
  const env = { CHAT_CLIENT_HOME: join(t.testdirName, 'home'), CHAT_SERVER: address, ...server.files(t, 'alice') };
  await equip(server, resolveSettings({}, env).folder);
  const screen = new Screen(t, [], env);
  await screen.sees('Register or login? [register]: ');
  screen.type('\r');
  await screen.sees('E-mail');
  screen.type('\r');
  await screen.sees('Username');
  screen.type('\r');
  await screen.sees('Password: ');
  screen.type('s3cret-one\r');
  await screen.sees('Repeat password: ');
  screen.type('s3cret-too\u0015s3cret-twoo\u007f\r'); // Ctrl+U and backspace
  await screen.sees('are not the same');
  screen.raw = screen.raw.replace('Password: ', '').replace('Repeat password: ', '');
  await screen.sees('Password: ');
  screen.type('s3cret-one\r');
  await screen.sees('Repeat password: ');
  screen.type('s3cret-one\r');
  await screen.sees('Chat with: ');
  screen.type('\u0019\u0015bob\r'); // Ctrl+Y brings back what was cleared, and no password
  await screen.sees('You: ');
  screen.type('half of a long line that takes two rows');
  await screen.sees('two rows');
  await server.say(server.latest, 'bob', ['hello \u001b[2Jalice']);
  await screen.sees('bob: hello');
  await screen.sees('hello \\u{1b}[2Jalice');
  screen.type(', whole');
  await screen.sees('whole');
  await new Promise((resolve) => setTimeout(resolve, 50));
  const rows = screen.rows();
  const at = rows.findIndex((row) => row.startsWith('bob: hello \\u{1b}[2Jalice'));
  t.ok(at > 0, 'the message has a row of its own');
  t.strictSame(
    rows.slice(at + 1, at + 3),
    ['You: half of a long line that takes two ', 'rows, whole'],
    'the typed line is whole',
  );
  t.equal(rows.filter((row) => row.startsWith('You: half')).length, 1, 'and is there once');

  screen.type('\u0003'); // Ctrl+C clears the line
  screen.type('sent instead\r');
  while (server.written.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const [session] = server.frames('msg_send')[0]!.messages; // of what is written, or of a receipt for what came before it
  t.equal(session!.statement[8], KIND.open, 'the first batch opens the session');
  const opening = await (await server.peer).open(server.written[0]!.messages.at(-1)!);
  t.match(meaningOf(decodeContent(opening.subarray(32))), { text: 'sent instead' });
  screen.type('\u001b[A\u001b[A\u001b[A\u001b[A\u001b[A\u001b[A\u0015'); // the arrow keys bring back lines, not passwords
  screen.type('/quit\r');
  t.equal(await screen.ended, 0);
  t.notMatch(screen.raw, /s3cret/, 'passwords are never shown');
});

t.test('Ctrl+C on an empty line leaves', { skip }, async (t) => {
  testFolder(t);
  const server = new Listener();
  const address = await server.listen(t);
  const env = { CHAT_CLIENT_HOME: join(t.testdirName, 'home'), CHAT_SERVER: address, ...server.files(t, 'alice') };
  const screen = new Screen(t, [], env);
  await screen.sees('Register or login?');
  screen.type('\u0003');
  t.equal(await screen.ended, 130);
  t.ok(screen.rows().includes('chat: interrupted [INTERRUPTED]'), 'what is said of it has a row of its own');
});

t.test('passwd asks for the password, and for the new one until it is typed the same twice', { skip }, async (t) => {
  testFolder(t);
  const server = new Listener();
  const address = await server.listen(t);
  const env = { CHAT_CLIENT_HOME: join(t.testdirName, 'home'), CHAT_SERVER: address, ...server.files(t, 'alice') };
  const typed = async (screen: Screen, ...answers: readonly (readonly [string, string])[]): Promise<void> => {
    for (const [question, answer] of answers) {
      await screen.sees(question);
      screen.raw = '';
      screen.type(`${answer}\r`);
    }
  };
  const first = new Screen(t, ['register'], env);
  await typed(first, ['Password: ', 's3cret one'], ['Repeat password: ', 's3cret one']);
  t.equal(await first.ended, 0);
  let set = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'password_set') return false;
    set++;
    link.send({ type: 'password_ok', id: frame.id, token: 't', token_expires: Date.now() + 60_000 });
    return true;
  };
  const screen = new Screen(t, ['passwd'], env);
  const wrong = ['Repeat new password: ', 's3cret too'] as const;
  await typed(screen, ['Password: ', 's3cret one'], ['New password: ', 's3cret two'], wrong);
  await screen.sees('are not the same');
  await typed(screen, ['New password: ', 's3cret two'], ['Repeat new password: ', 's3cret two']);
  t.equal(await screen.ended, 0);
  t.match(screen.raw, 'alice has another password');
  t.equal(set, 1);
  t.notMatch(screen.raw, /s3cret/);
});

t.test(
  'what arrives stays, wherever the cursor is in a line of several rows, and however wide the terminal becomes',
  { skip },
  async (t) => {
    const { server, screen } = await talking(t);
    const seen = async (what: string): Promise<void> => screen.shows(() => screen.rows().join('').includes(what));
    screen.type('🇩🇪'.repeat(15)); // which readline takes for more than a row
    await seen(`You: ${'🇩🇪'.repeat(15)}`);
    await server.say(server.latest, 'bob', ['the flags']);
    await seen('bob: the flags');
    t.match(screen.rows().join('|'), /cannot read them\.\)\|bob: the flags/, 'the row above is still there');
    screen.type('\u0015');
    await screen.shows(() => screen.rows().at(-1)?.trimEnd() === 'You:');
    screen.type('a line that goes on and on, over three rows of the terminal, or more than that');
    await seen('than that');
    screen.type('\u001b[D\u001b[D\u001b[DX'); // written anew from its first row on
    await seen('than tXhat');
    await server.say(server.latest, 'bob', ['the first']);
    await seen('bob: the first');
    await server.say(server.latest, 'bob', ['the second']);
    await seen('bob: the second');
    screen.type('\u001b[HY'); // Home
    await seen('You: Ya');
    await server.say(server.latest, 'bob', ['the third']);
    await seen('bob: the third');
    screen.type('\u007f\u001b[F!'); // End
    await seen('tXhat!');
    const typed = (columns: number): string[] =>
      'You: a line that goes on and on, over three rows of the terminal, or more than tXhat!'.match(
        new RegExp(`.{1,${columns}}`, 'g'),
      )!;
    const settled = async (columns: number): Promise<void> => {
      const lines = ['bob: the first', 'bob: the second', 'bob: the third', ...typed(columns)];
      await screen.shows(() => screen.rows().slice(-lines.length).join('\n').trimEnd() === lines.join('\n'));
      t.equal(screen.rows().filter((row) => row.startsWith('You: a')).length, 1, `once, at ${columns} columns`);
    };
    await settled(40);
    for (const columns of [90, 30, 40]) {
      await screen.resize(columns);
      await settled(columns);
    }
    screen.type('\u0003/quit\r');
    t.equal(await screen.ended, 0);
  },
);

t.test('who leaves, and does not want to wait for what is on its way, interrupts once more', { skip }, async (t) => {
  const { server, screen } = await talking(t);
  screen.type('on its way\r');
  await screen.shows(() => server.written.length === 1);
  screen.type('\u0003');
  await sleep(300);
  screen.type('\u0003');
  t.equal(await screen.ended, 130);
  t.equal(screen.rows().at(-2), 'chat: interrupted [INTERRUPTED]');
});

t.test('what is typed ahead is shown with the next question, and goes on behind it', { skip }, async (t) => {
  const { server, screen } = await talking(t);
  await server.say(server.latest, 'bob', [`${'x'.repeat(35)}Server delivered: ✔`]);
  await screen.shows(() => screen.rows().includes('    Server delivered: ✔')); // not at the edge, as if it were ours
  screen.type('the first\rthe second\rhalf');
  await screen.shows(() => screen.rows().at(-1) === 'You: half');
  screen.type(' more');
  await screen.shows(() => screen.rows().at(-1) === 'You: half more');
  const shown = screen.rows().filter((row) => /^You: |first|second|half/.test(row));
  t.strictSame(shown.slice(0, 2), ['You: the first', 'You: the second']);
  t.equal(shown.filter((row) => row.includes('the second')).length, 1, 'each is there once');
  screen.type('\r\u0004'); // Ctrl+D ends the input, behind what is still to be sent
  t.equal(await screen.ended, 0);
  const last = await (await server.peer).open(server.written.at(-1)!.messages.at(-1)!);
  t.match(meaningOf(decodeContent(last.subarray(32))), { text: 'half more' });
  t.match(screen.raw, /\n$/, 'and what comes next has a row of its own');
});

t.test('Ctrl+Z stops, and goes on where it was', { skip }, async (t) => {
  await t.test('with a shell behind', async (t) => {
    const { server, screen } = await talking(t, {}, ['sh', '-mc', '"$0" "$@"; echo stopped; fg >/dev/null', launcher]);
    screen.type('half');
    await screen.sees('half');
    screen.type('\u001a');
    await screen.sees('stopped');
    await screen.shows(() => screen.rows().at(-1) === 'You: half');
    screen.type(' more\r');
    await screen.shows(() => server.written.length === 1);
    screen.type('/quit\r');
    t.equal(await screen.ended, 0);
  });
  await t.test('while a password is typed, whose output goes elsewhere', async (t) => {
    testFolder(t);
    const server = new Listener();
    const address = await server.listen(t);
    const env = { CHAT_CLIENT_HOME: join(t.testdirName, 'home'), CHAT_SERVER: address, ...server.files(t, 'alice') };
    const job = ['sh', '-mc', '"$0" "$@" | cat; echo stopped; fg >/dev/null', launcher];
    const screen = new Screen(t, ['register'], env, job);
    await screen.sees('Password: ');
    screen.type('s3cret\u001a');
    await screen.shows(() => /stopped\r\n[^]*Password: $/.test(screen.raw));
    screen.type(' one\r');
    await screen.sees('Repeat password: ');
    screen.type('s3cret one\r');
    t.equal(await screen.ended, 0);
    t.match(screen.raw, 'registered alice');
    t.notMatch(screen.raw, /s3cret| one/);
  });
  await t.test('with nobody behind, it goes on by itself', async (t) => {
    const { screen } = await talking(t);
    screen.type('half\u001a');
    await sleep(300);
    screen.type('!\u001b[Dway');
    await screen.shows(() => screen.rows().at(-1) === 'You: halfway!');
    screen.type('\u0003\u0003');
    t.equal(await screen.ended, 0);
  });
});

t.test('a password is not shown where the output is no terminal, and not asked for there', { skip }, async (t) => {
  testFolder(t);
  const server = new Listener();
  const address = await server.listen(t);
  const env = { CHAT_CLIENT_HOME: join(t.testdirName, 'home'), CHAT_SERVER: address, ...server.files(t, 'alice') };
  const piped = ['sh', '-c', '"$0" "$@" | sed "s/^/output: /"', launcher];
  const screen = new Screen(t, ['register', '--json'], env, piped);
  await screen.sees('Password: ');
  screen.type('s3cret-too\u0015s3cret-one\r');
  await screen.sees('Repeat password: ');
  screen.type('s3cret-onee\u007f\r');
  t.equal(await screen.ended, 0);
  t.match(screen.raw, /^output: \{.*"alice"/m);
  t.notMatch(screen.raw, /s3cret/);
  t.notMatch(screen.raw, /output: .*password/i);
});

t.test('a terminal that cannot move its cursor edits by itself', { skip }, async (t) => {
  const { server, screen } = await talking(t, { TERM: 'dumb' });
  screen.type('hal');
  await screen.sees('You: hal');
  await server.say(server.latest, 'bob', ['meanwhile']);
  await screen.shows(() => screen.rows().join('|').endsWith('|bob: meanwhile|You: '));
  screen.type('k\u007ff\r');
  await screen.shows(() => server.written.length === 1);
  const opening = await (await server.peer).open(server.written[0]!.messages.at(-1)!);
  t.match(meaningOf(decodeContent(opening.subarray(32))), { text: 'half' });
  screen.type('/quit\r');
  t.equal(await screen.ended, 0);
  t.notMatch(screen.raw, /\u001b|s3cret/);
});
