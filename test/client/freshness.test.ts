/** Own keys in groups do not grow old: when they are replaced, by what is stored, and that it happens once. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hex } from '../../base/bytes.ts';
import { FRESH_MESSAGES, FRESH_MS, FRESH_REST_MS, OVERTAKEN_REST_MS } from '../../client/freshness-table.ts';
import { Vault } from '../../client/vault.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { ScriptedServer } from './scripted-server.ts';
import { accepted, equip, open, quiet, say, type Side } from './side.ts';

t.setTimeout(180_000); // a busy machine is no failure

const DAY_MS = 86_400_000;
const commits = (server: ScriptedServer): number =>
  server.frames('msg_send').filter((f) => decodeMs(f.messages.at(-1)!.statement).kind === KIND.membership).length;

/** Alice in a group with Bob, her clock so far ahead. The keys are of this moment. */
async function profile(t: Test) {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  await equip(server, folder);
  const vault = Vault.open(folder);
  vault.freshness.renewed(server.conversation, Date.now());
  vault.close();
  const clock = { aheadMs: 0 };
  const logIn = async (): Promise<Side> => {
    const side = open(t, server, folder, () => Date.now() + clock.aheadMs);
    await side.app.connect();
    await side.app.login(null);
    await side.app.open('bob');
    return side;
  };
  return { server, folder, clock, logIn };
}
const untilCommits = async (side: Side, count: number): Promise<void> => {
  while (commits(side.server) < count) await quiet(side);
  for (let i = 0; i < 5; i++) await quiet(side);
  t.equal(commits(side.server), count);
};

t.test('the moment is drawn by chance, and never later than it should be', async (t) => {
  const vault = Vault.open(join(t.testdir({}), 'p'));
  const id = new ScriptedServer().conversation;
  const [days, messages] = [new Set<number>(), new Set<number>()];
  for (let i = 0; i < 60; i++) {
    vault.freshness.renewed(id, 1000);
    const at = vault.freshness.next(0)!;
    t.ok(at > 1000 + 0.79 * FRESH_MS && at <= 1000 + FRESH_MS);
    days.add(at);
    let n = 0;
    for (; !vault.freshness.isDue(id, 1000 + FRESH_REST_MS); n++) vault.freshness.used(id);
    t.ok(n > 0.79 * FRESH_MESSAGES && n <= FRESH_MESSAGES);
    messages.add(n);
  }
  t.ok(days.size > 50 && messages.size > 20);
  vault.freshness.renewed(id, 1000 + FRESH_MS);
  t.ok(vault.freshness.isDue(id, 0), 'a clock that was put back puts nothing off');
  vault.freshness.drop(id);
  t.strictSame(
    [vault.freshness.isDue(id, 1e15), vault.freshness.due(1e15), vault.freshness.next(0)],
    [false, [], null],
  );
  vault.close();
});

t.test('whoever writes without a pause replaces them once a minute at most', async (t) => {
  const folder = join(t.testdir({}), 'p');
  const vault = Vault.open(folder);
  const { freshness } = vault;
  const id = new ScriptedServer().conversation;
  const at = 1_000_000;
  const useUp = (): void => {
    for (let i = 0; i < FRESH_MESSAGES; i++) freshness.used(id);
  };
  freshness.renewed(id, at);
  useUp();
  t.notOk(freshness.isDue(id, at + FRESH_REST_MS - 1));
  t.strictSame(freshness.due(at + FRESH_REST_MS - 1), []);
  t.equal(freshness.next(at), at + FRESH_REST_MS, 'it is looked again then, though nothing more is written');
  t.ok(freshness.isDue(id, at + FRESH_REST_MS));
  t.strictSame(freshness.due(at + FRESH_REST_MS).map(hex), [hex(id)]);
  t.ok(freshness.isDue(id, at - 1), 'a clock that was put back puts nothing off');
  freshness.hurry(id);
  t.ok(freshness.isDue(id, at + 1), 'nor does it wait after entering from outside');
  freshness.renewed(id, at);
  useUp();
  vault.close();
  const again = Vault.open(folder);
  t.ok(again.freshness.isDue(id, at + 1), 'of a process before nothing is known');
  again.close();
});

t.test('whoever was overtaken writes first, and tries again soon after', async (t) => {
  const vault = Vault.open(join(t.testdir({}), 'p'));
  const { freshness } = vault;
  const id = new ScriptedServer().conversation;
  const at = 1_000_000;
  freshness.renewed(id, at);
  freshness.hurry(id);
  freshness.overtaken(id, at);
  const over = at + OVERTAKEN_REST_MS;
  t.strictSame([freshness.isDue(id, over - 1), freshness.due(over - 1)], [false, []]);
  t.equal(freshness.next(at), over, 'though nothing more is written');
  t.strictSame([freshness.isDue(id, over), freshness.due(over).map(hex)], [true, [hex(id)]]);
  t.ok(freshness.isDue(id, at - 1), 'a clock that was put back puts nothing off');
  freshness.renewed(id, at);
  freshness.hurry(id);
  t.ok(freshness.isDue(id, at), 'what was in vain before is over');
  vault.close();
});

t.test(
  'the moment itself counts, what has rested hides no later one, and what is most urgent comes first',
  async (t) => {
    const vault = Vault.open(join(t.testdir({}), 'p'));
    const { freshness } = vault;
    const id = new ScriptedServer().conversation;
    const other = Buffer.from(id).fill(7, 0, 1) as Uint8Array as typeof id;
    freshness.renewed(id, 1000);
    const dueAt = freshness.next(1000)!;
    t.ok(freshness.isDue(id, dueAt), 'whoever wakes up then has something to do');
    t.strictSame(freshness.due(dueAt).map(hex), [hex(id)]);
    t.equal(freshness.next(dueAt), null, 'and nothing to wait for');
    for (let i = 0; i < FRESH_MESSAGES; i++) freshness.used(id);
    t.equal(freshness.next(1000 + FRESH_REST_MS), dueAt);
    freshness.renewed(other, 2000);
    freshness.hurry(other);
    t.strictSame(freshness.due(dueAt).map(hex), [hex(other), hex(id)]);
    vault.close();
  },
);

t.test('after a week new keys, though nobody writes and the client was away meanwhile', async (t) => {
  const { server, clock, logIn } = await profile(t);
  clock.aheadMs = 5 * DAY_MS;
  const early = await logIn();
  await quiet(early);
  t.equal(commits(server), 0, 'not before four fifths of it');
  await early.app.close();
  clock.aheadMs = FRESH_MS;
  const side = await logIn();
  await untilCommits(side, 1);
  const { epoch } = await server.peer.then(async (peer) => (await peer.door(), peer));
  t.equal(epoch, 2, 'and the other one follows');
  await side.app.close();
  const again = await logIn();
  await quiet(again);
  t.equal(commits(server), 1, 'once');
  await accepted(again, say(again, 'and still in the group'));
  const [sent] = server.frames('msg_send').at(-1)!.messages;
  t.match((await (await server.peer).open(sent!)).toString(), /and still in the group/);
});

t.test('after five hundred messages of its own, counted over restarts', async (t) => {
  const { server, logIn } = await profile(t);
  const write = async (side: Side, count: number): Promise<void> => {
    let last = 0;
    for (let i = 0; i < count; i++) last = say(side, `${i}`);
    await side.app.waitFor(last, 'accepted', 60_000);
  };
  for (const count of [150, 150]) {
    const side = await logIn();
    await write(side, count);
    await quiet(side);
    t.equal(commits(server), 0);
    await side.app.close();
  }
  const side = await logIn();
  await write(side, 200);
  await untilCommits(side, 1);
  await write(side, 350);
  t.equal(commits(server), 1, 'and counted anew');
});

t.test('what others write does not count', async (t) => {
  const { server, logIn } = await profile(t);
  const side = await logIn();
  for (let batch = 0; batch < 6; batch++) {
    const sent = await server.compose(
      'bob',
      Array.from({ length: 100 }, (_, i) => `${batch}/${i}`),
    );
    server.latest.send(server.delivery(sent, server.append(sent)));
  }
  while (side.shown().length < 600) await quiet(side);
  await quiet(side);
  t.equal(commits(server), 0);
});

t.test('a server that refuses it is asked again later, and nobody is bothered', async (t) => {
  const { server, clock, logIn } = await profile(t);
  clock.aheadMs = FRESH_MS;
  let refused = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    refused++;
    link.send({ type: 'error', id: frame.id, code: 'BLOCKED' });
    return true;
  };
  const side = await logIn();
  while (refused === 0) await quiet(side);
  for (let i = 0; i < 10; i++) await quiet(side);
  t.equal(refused, 1);
  t.strictSame(
    side.events.flatMap((e) =>
      e.on === 'alarm' || (e.on === 'warning' && !e.text.startsWith('the clock')) ? [e] : [],
    ),
    [],
  );
  server.script = () => false;
  clock.aheadMs += 3_600_000;
  await accepted(side, say(side, 'goes with it'));
  await untilCommits(side, 2); // the refused one was the first
});
