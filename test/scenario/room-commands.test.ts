/** `room …`, and `#room` in the place of a person, as somebody at a shell meets them; a real server, each command a process of its own. */
import t from 'tap';
import { shell } from '../support/shell.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(180_000); // a busy machine is no failure

t.test('a room from the shell', async (t) => {
  testFolder(t);
  const w = await world(t);
  const alice = await shell(t, w, 'alice');
  const bob = await shell(t, w, 'bob');
  t.match(await bob('login'), { status: 0 });
  t.match(await alice('room', 'create', '#ops', '--public', '--topic', 'all hands'), {
    status: 0,
    out: '#ops created\n',
  });
  t.match(await alice('room', 'create', '#ops'), { status: 8, err: /\[ROOM_EXISTS\]\n$/ });
  t.match(await alice('room', 'create', 'ops'), { status: 2, err: /\[BAD_NAME\]\n$/ });
  t.match(await alice('room', 'create', '#x', '--public', '--private'), { status: 2, err: /\[USAGE\]\n$/ });
  t.match(await bob('send', '#ops', 'hello'), { status: 8, err: /join it, or be invited \[NOT_FOUND\]\n$/ });
  t.match(await bob('room', 'join', '#ops'), { status: 0, out: '#ops joined\n' });
  t.match(await alice('send', '#ops', 'stand by'), { status: 0, out: /^#ops #\d+ accepted\n$/ });
  t.match(await bob('recv', '#ops'), { status: 0, out: /^#\d+ \d\d:\d\d \[#ops\] alice: stand by\n$/ });
  t.match(await bob('history', '#ops'), { status: 0, out: /\[#ops\] alice: stand by\n$/ });
  t.match(await bob('room', 'list'), { out: '#ops (public, 2 members, you are member): all hands\n' });
  t.match(await bob('room', 'topic', '#ops', 'mine'), { status: 4, err: /\[NOT_ALLOWED\/role\]\n$/ });
  t.match(await alice('room', 'role', '#ops', 'bob', 'admin'), { status: 0, out: '#ops changed\n' });
  t.match(await bob('room', 'topic', '#ops', 'x'.repeat(513)), { status: 2, err: /at most 512 .*\[TOO_LARGE\]\n$/ });
  t.match(await bob('room', 'topic', '#ops', 'x'.repeat(512)), { status: 0, out: '#ops changed\n' });
  t.match(await bob('room', 'topic', '#ops', 'ours'), { status: 0, out: '#ops changed\n' });
  t.match(await alice('room', 'topic', '#ops'), { status: 0, out: 'ours\n' });
  t.match(await alice('room', 'members', '#ops'), { out: 'alice: owner, can read\nbob: admin, can read\n' });
  t.match(await alice('room', 'kick', '#ops', 'bob', '--json'), {
    status: 0,
    out: /"result":"kicked","user":"bob","is_out":true/,
  });
  const twice = await alice('room', 'kick', '#ops', 'bob');
  t.match(
    twice,
    { status: 8, err: 'chat: no member of the room has this name [NO_SUCH_PEER]\n' },
    'he exists, elsewhere',
  );
  t.match(await alice('room', 'members', '#ops'), { out: 'alice: owner, can read\n' });
  t.match(await bob('recv', '--quiet'), { status: 0 });
  t.match(await bob('history', '#ops'), { status: 0, out: /alice: stand by\n$/ }, 'what was said stays');

  const last = /a room keeps an owner while it has members: make somebody else owner first \[NOT_ALLOWED/;
  t.match(await bob('room', 'join', '#ops'), { status: 0 });
  t.match(await alice('room', 'leave', '#ops'), { status: 4, err: last });
  t.match(await alice('room', 'create', '#plan'), { status: 0 });
  t.match(await alice('room', 'invite', '#plan', 'bob'), { status: 0, out: '#plan invited\n' });
  t.match(await alice('room', 'invite', '#plan', 'carol'), { status: 8, err: /\[NO_SUCH_PEER\]\n$/ });
  t.match(await alice('send', '#plan', 'at noon'), { status: 0 });
  t.match(await bob('recv'), { status: 0, out: /\[#plan\] alice: at noon\n$/ });
  t.match(await bob('send', '#plan', 'fine', '--json'), { status: 0, out: /"peer":"#plan"/ });
  t.match(await alice('room', 'ban', '#plan', 'bob'), { status: 0, out: '#plan banned\n' });
  t.match(await alice('room', 'members', '#plan'), { out: 'alice: owner, can read\nbob: banned\n' });
  t.match(await alice('room', 'unban', '#plan', 'bob'), { status: 0, out: '#plan unbanned\n' });
  t.match(await alice('room', 'leave', '#plan'), { status: 0, out: '#plan left\n' });
  t.match(await alice('send', '#plan', 'gone'), { status: 8, err: /\[NO_SUCH_ROOM\]\n$/ });
  t.match(await alice('contact', 'verify', '#plan'), { status: 2, err: /\[BAD_NAME\]\n$/ });
});

t.test('rooms in the interactive mode', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = [await shell(t, w, 'alice'), await shell(t, w, 'bob')];
  t.match(await alice('login'), { status: 0 });
  t.match(await bob('login'), { status: 0 });
  const [a, b] = [alice.talk(), bob.talk()];
  await a.sees('Chat with: ');
  a.type('/create #ops public');
  await a.sees('Type /quit to exit.');
  a.type('/topic all hands');
  await a.sees('all hands\n');
  await b.sees('Chat with: ');
  b.type('/join #ops');
  await b.sees('Type /quit to exit.');
  await a.sees('bob can read #ops from now on');
  a.type('stand by');
  await b.sees('[#ops] alice: stand by\n');
  await a.sees('Server delivered: ✔');
  b.type('/kick alice');
  await b.sees('that takes a higher role in the room: ask an admin or the owner [NOT_ALLOWED');
  b.type('/names');
  await b.sees('alice: owner, can read\nbob: member, can read\n');
  a.type('/create #plan');
  await a.sees('Now with #plan.');
  a.type('/invite bob');
  await a.sees('bob is in.');
  a.type('at noon');
  await b.sees('[#plan] alice: at noon\n');
  b.type('/query #plan');
  await b.sees('Now with #plan.');
  b.type('fine');
  await a.sees('[#plan] bob: fine\n');
  b.type('/role bob king');
  await b.sees('a role is one of owner, admin, member [USAGE]');
  a.type('/query bob');
  await a.sees('Now with bob.');
  a.type('/names');
  await a.sees('this is not a room [USAGE]');
  a.type('only you');
  await b.sees('[alice] alice: only you\n');
  b.type('/part');
  await b.sees('Chat with [#plan]: ');
  b.type('/quit');
  a.type('/query #ops');
  await a.sees('Now with #ops.');
  a.type('/ban bob');
  await a.sees('bob is out.');
  a.type('/nonsense');
  await a.sees('Unknown command /nonsense');
  a.type('/quit');
  t.strictSame([await a.ended, await b.ended], [0, 0]);
  t.match(await alice('room', 'members', '#ops'), { out: 'alice: owner, can read\nbob: banned\n' });
});
