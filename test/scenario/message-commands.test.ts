/** Answers, reactions, edits, deletions and messages that disappear, at a shell and in the interactive mode; a real server. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { shell } from '../support/shell.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(180_000); // a busy machine is no failure

const objects = (out: string): Record<string, unknown>[] =>
  out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** Polls, for each look is a process. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(100);
}

t.test('at a shell', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = [await shell(t, w, 'alice'), await shell(t, w, 'bob')];
  t.match(await bob('login'), { status: 0 });
  const [first] = objects((await alice('send', 'bob', 'stand by', '--json')).out);
  const place = String(first!['seq']);
  t.match(await bob('recv', '--max', '1'), { status: 0, out: /bob|alice: stand by\n$/ });

  t.match(await bob('send', 'alice', 'here', '--reply-to', place), { status: 0 });
  t.match(await bob('react', 'alice', String(first!['id']).slice(0, 8), '👍'), { status: 0, out: /accepted\n$/ });
  t.match(await alice('recv'), {
    status: 0,
    out: /bob: \[to #\d+ “stand by”\] here\n.* bob reacted 👍 to #\d+ “stand by”\n$/,
  });
  t.match(await alice('edit', 'bob', place, 'stand down'), { status: 0, out: /accepted\n$/ });
  t.match(await bob('recv'), { status: 0, out: new RegExp(`alice edited #${place}: stand down\n$`) });
  for (const who of [alice, bob])
    t.match(await who('history', who === alice ? 'bob' : 'alice'), {
      out: /^#\d+ [0-9a-f]{8} .*: stand down \(edited\) \[👍 bob\].*\n.*: \[to #\d+ “stand by”\] here.*\n$/,
    });
  t.match(objects((await bob('history', 'alice', '--json')).out), [
    {
      body: 'stand down',
      edited: true,
      versions: [{ body: 'stand by' }, { body: 'stand down' }],
      reactions: [{ from: 'bob', reaction: '👍' }],
    },
    { body: 'here', reply_to: first!['id'], reply_to_seq: first!['seq'] },
  ]);
  t.match(await bob('react', 'alice', place, '--remove'), { status: 0 });
  t.match(await bob('react', 'alice', place, '--remove'), { status: 8, err: /no reaction of yours/ });

  t.match(await bob('edit', 'alice', place, 'mine now'), { status: 4, err: /\[NOT_ALLOWED\/author\]\n$/ });
  t.match(await bob('delete', 'alice', place), { status: 4, err: /\[NOT_ALLOWED\/author\]\n$/ });
  t.match(await bob('delete', 'alice', '99'), { status: 8, err: /\[NOT_FOUND\]\n$/ });
  t.match(await bob('delete', 'alice', 'first'), { status: 2, err: /\[USAGE\]\n$/ });
  t.match(await bob('send', 'alice', 'x', '--reply-to', '99'), { status: 8, err: /\[NOT_FOUND\]\n$/ });
  t.match(await bob('react', 'alice', place), { status: 2, err: /want a sign, or --remove/ });
  t.match(await bob('react', 'alice', place, '👍', '--remove'), { status: 2, err: /want a sign, or --remove/ });
  t.match(await bob('react', 'alice', place, 'two words'), { status: 2, err: /\[USAGE\]\n$/ });
  t.match(await bob('send', 'alice', 'x', '--expire', 'soon'), { status: 2, err: /--expire/ });

  t.match(await alice('delete', 'bob', place), { status: 0, out: /accepted\n$/ });
  t.match(await bob('recv'), { status: 0, out: new RegExp(`alice deleted #${place} \\[message deleted\\]\n$`) });
  for (const who of [alice, bob]) {
    const { out } = await who('history', who === alice ? 'bob' : 'alice');
    t.match(out, /: \[message deleted by alice\].*\n.*: \[to #\d+ \[message deleted\]\] here.*\n$/);
  }
  t.match(await alice('edit', 'bob', place, 'again'), { status: 8, err: /that message is deleted \[NOT_FOUND\]\n$/ });
  const bundle = join(t.testdirName, 'bundle.tar');
  t.match(await alice('transcript', 'export', 'bob', '-o', bundle, '--disclose', place), {
    status: 8,
    err: /nothing to disclose/,
  });
  t.match(await alice('transcript', 'export', 'bob', '-o', bundle, '--disclose', 'all'), { status: 0 });
});

t.test('what disappears', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = [await shell(t, w, 'alice'), await shell(t, w, 'bob')];
  t.match(await bob('login'), { status: 0 });
  t.match(await alice('send', 'bob', 'stays'), { status: 0 });
  t.match(await alice('send', 'bob', 'for an hour', '--expire', '1h'), { status: 0 });
  const [seen] = objects((await alice('history', 'bob', '--json')).out).slice(1);
  t.match(seen, { body: 'for an hour', expires_at: /Z$/ });
  t.match(await bob('recv', '--max', '2'), { status: 0, out: /for an hour\n$/ });
  const { now } = Date;
  t.intercept(Date, 'now', { value: () => now() + 3_601_000 });
  for (const [who, other] of [
    [alice, 'bob'],
    [bob, 'alice'],
  ] as const)
    t.match(await who('history', other), { out: /: stays.*\n.*: \[message expired\].*\n$/ });
  t.match(objects((await bob('history', 'alice', '--json')).out).at(-1), { expired: true, body: undefined });
});

t.test('in the interactive mode', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = [await shell(t, w, 'alice'), await shell(t, w, 'bob')];
  t.match(await bob('login'), { status: 0 });
  t.match(await alice('login'), { status: 0 });
  const a = alice.talk();
  await a.sees('Chat with');
  a.type('bob');
  await a.sees('Type /quit');
  a.type('stand by');
  await a.sees('Server ');
  t.match(await bob('recv', '--max', '1'), { out: /stand by/ });
  t.match(await bob('send', 'alice', 'where?'), { status: 0 });
  await a.sees('bob: where?');
  a.type('/reply at noon');
  a.type('/react 👍');
  a.type('/edit stand down');
  a.type('/reply');
  await a.sees('! a text is missing [USAGE]');
  a.type('/edit 77 x');
  await a.sees('! this conversation has no such message here [NOT_FOUND]');
  a.type('/expire');
  await a.sees('What you write here stays.');
  a.type('/expire 1h');
  await a.sees('disappears after 1h, on both sides');
  a.type('/expire never');
  await a.sees('! /expire');
  a.type('gone in an hour');
  await until(async () => (await bob('recv')).out.includes('gone in an hour'));
  a.type('/expire off');
  a.type('/verify');
  await a.sees('the same for bob: nobody is between you');
  await a.sees('issued by CN=');
  await a.sees('not verified: if it was the same');
  a.type('/trust');
  await a.sees('bob: verified');
  a.type('/trust nobody off');
  await a.sees('[NOT_FOUND]');
  a.type('/receipts off bob');
  await a.sees('read receipts: off; bob: off');
  a.type('/receipts perhaps');
  await a.sees('! receipts: want one of on, off, default [USAGE]');
  a.type('/verify nobody-of-that-name');
  await a.sees('[NO_SUCH_PEER]');
  a.type('/help');
  await a.sees('/verify [PERSON]');
  a.type('/redact');
  await a.sees('deleting ');
  a.type('/quit');
  t.equal(await a.ended, 0);
  const again = alice.talk();
  await again.sees('Chat with');
  again.type('bob');
  await again.sees('bob is verified.');
  again.type('/quit');
  t.equal(await again.ended, 0);
  t.match(await alice('contact', 'add', 'bob'), { status: 0 });
  t.match(await alice('contact', 'list'), { out: /^bob <bob@example\.org>: was asked, since .*, verified\n$/ });
  t.match(objects((await alice('contact', 'list', '--json')).out), [{ verified: true, verified_at: String }]);
  await bob('recv', '--quiet');
  const { out } = await bob('history', 'alice');
  t.match(out, /stand down \(edited\)|at noon \(edited\)/);
  t.match(out, /You: where\? \[👍 alice\]/);
  t.match(out, /alice: \[to #\d+ “where\?”\]/);
  t.match(out, /\[message deleted by alice\]/);
});
