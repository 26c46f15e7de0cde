/** Large groups: their work is done in a thread of its own, and what comes of it is stored, restored and forgotten as it should be. */
import { randomBytes } from 'node:crypto';
import { threadId } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { equal } from '../../base/bytes.ts';
import { changeOf, GroupEngine } from '../../client/group-engine.ts';
import { ThreadLost } from '../../client/group-thread.ts';
import { epoch } from '../../client/e2ee/group.ts';
import { restore } from '../../client/e2ee/delta.ts';
import {
  Distant,
  epochOf,
  isDistant,
  nextHandle,
  pendingEpoch,
  rosterToken,
  settingsIn,
  usersIn,
  type Held,
} from '../../client/e2ee/held.ts';
import { MAX_INLINE_MEMBERS, type WelcomeParts } from '../../client/e2ee/invitation.ts';
import type { OwnKeyPackage } from '../../client/e2ee/key-package.ts';
import { MissingBindings } from '../../client/e2ee/judge.ts';
import { roomSettings } from '../../client/e2ee/room.ts';
import { decodeSketch, encodeSketch } from '../../client/e2ee/sketch.ts';
import { World, type Person } from '../e2ee/people.ts';

t.setTimeout(240_000); // a busy machine is no failure

const settings = roomSettings({ room: '#all', isPublic: true, owner: 'alice' });
const world = await World.open();
const { now } = world;
const [alice, bob] = [await world.person('alice'), await world.person('bob')];
const crowd = await Promise.all(Array.from({ length: MAX_INLINE_MEMBERS }, (_, i) => world.person(`away${i}`)));
const packageOf = new Map<Person, OwnKeyPackage>();
for (const each of [bob, ...crowd]) packageOf.set(each, await world.keyPackage(each));
const published = (...people: Person[]) => people.map((each) => packageOf.get(each)!.published);

async function open(t: Test, bindings: ReadonlyMap<string, Uint8Array> = world.bindings): Promise<GroupEngine> {
  const engine = await GroupEngine.open({ ...world.authority.options, bindings });
  t.teardown(() => engine.close());
  return engine.turn();
}
const alone = (engine: GroupEngine): Promise<Held> => engine.create(alice.device, randomBytes(32), settings, now);
const adding = (...people: Person[]) => ({ add: published(...people), authenticatedData: Buffer.from('aad') });
/** alice's state, with everybody in. */
async function large(engine: GroupEngine) {
  const { conversation, welcome } = await engine.commit(await alone(engine), adding(bob, ...crowd), now);
  return { all: await engine.adopt(conversation), welcome: welcome! };
}
function joined(engine: GroupEngine, { shared, each }: WelcomeParts, tree: Uint8Array | null) {
  const own = packageOf.get(bob)!;
  const { secrets } = each.find(({ reference }) => equal(reference, own.reference))!;
  return engine.join({ shared, secrets, tree }, bob.device, own.secret);
}
/** How often the event loop of this thread goes round while something is done. */
async function turnsDuring<T>(work: () => Promise<T>): Promise<readonly [turns: number, result: T]> {
  let [turns, isDone] = [0, false];
  const go = (): void => void (turns++, isDone || setImmediate(go));
  setImmediate(go);
  const result = await work();
  isDone = true;
  return [turns, result];
}
/** As a vault would have it, and as it comes back from there. */
function reopened(before: Held | null, after: Held): Distant {
  const { snapshot, deltas } = changeOf(before, after);
  return new Distant(nextHandle(), decodeSketch(encodeSketch(snapshot!.sketch!)), {
    snapshot: snapshot!.bytes,
    deltas,
  });
}

t.test('a small group stays here, a large one is worked on elsewhere, and this thread goes on meanwhile', async (t) => {
  const engine = await open(t);
  const first = await alone(engine);
  const small = await engine.commit(first, adding(bob), now);
  t.notOk(isDistant(small.conversation));
  t.equal(engine.farThreadId, 0, 'no other thread was needed');

  const [blocked] = await turnsDuring(() =>
    world.engine.commit(first as never, adding(bob, ...crowd), now, () => null),
  );
  t.equal(blocked, 0, 'done here, nothing else is');
  const [turns, made] = await turnsDuring(() => engine.commit(first, adding(bob, ...crowd), now));
  t.ok(isDistant(made.conversation));
  t.ok(turns > 10, `${turns} turns of the event loop`);
  t.ok(engine.farThreadId > 0 && engine.farThreadId !== threadId);
  t.equal(pendingEpoch(made.conversation), 1);
  t.strictSame(usersIn(made.conversation), ['alice'], 'it counts when it is adopted');

  const all = await engine.adopt(made.conversation);
  t.strictSame([epochOf(all), pendingEpoch(all), usersIn(all).length], [1, null, MAX_INLINE_MEMBERS + 2]);
  t.ok(equal(settingsIn(all), settings));
  t.equal((await engine.members(all)).length, MAX_INLINE_MEMBERS + 2);
  const door = await engine.door(all);
  t.ok(door.tree !== null);
  const [during, { conversation, by }] = await turnsDuring(() => joined(engine, made.welcome!, door.tree));
  t.ok(isDistant(conversation) && during > 10);
  t.equal(by.user, 'alice');
  t.strictSame(await engine.usersBehind(door), usersIn(all));
  const members = await engine.members(all);
  t.equal((await engine.keys(all, [])).length, 2 * members.length, 'of each leaf two; there are no parents yet');
  const { keys: bobs } = await engine.holder(packageOf.get(bob)!.published, now);
  for (const [leaving, isIn] of [
    [[], true],
    [[bob.device], false],
  ] as const) {
    const keys = await engine.keys(all, leaving);
    t.strictSame(
      bobs.map((key) => keys.includes(key)),
      [isIn, isIn],
    );
  }
  const dropped = await engine.drop((await engine.commit(all, {}, now)).conversation);
  t.equal(pendingEpoch(dropped), null);
});

t.test(
  'messages are deltas, changes of the group snapshots, and both come back from where they are kept',
  async (t) => {
    const engine = await open(t);
    const { all, welcome } = await large(engine);
    const { tree } = await engine.door(all);
    const bobs = (await joined(engine, welcome, tree)).conversation;
    const aad = randomBytes(8);
    const one = await engine.encrypt(all, Buffer.from('one'), aad);
    const two = await engine.encrypt(one.conversation, Buffer.from('two'), aad);
    t.equal(rosterToken(two.conversation), rosterToken(all));
    const change = changeOf(all, two.conversation);
    t.equal(change.snapshot, null);
    t.equal(change.deltas.length, 2);
    t.ok(
      change.deltas.every(({ length }) => length < 400),
      change.deltas.map(({ length }) => length).join(),
    );

    // In another process: alice goes on, and bob reads all three in it.
    const again = await open(t);
    const three = await again.encrypt(reopened(null, two.conversation), Buffer.from('three'), aad);
    let at: Held = reopened(null, bobs);
    for (const [i, { message }] of [one, two, three].entries()) {
      const heard = await again.receive(at, message, now);
      if (heard.kind !== 'message') return t.fail(heard.kind);
      t.equal(Buffer.from(heard.plaintext).toString(), ['one', 'two', 'three'][i]);
      t.equal(heard.sender.user, 'alice');
      at = heard.conversation;
    }
    const renewal = await again.commit(three.conversation, {}, now);
    const heard = await again.receive(at, renewal.commit, now);
    if (heard.kind !== 'commit') return t.fail(heard.kind);
    t.strictSame([heard.change.by.user, heard.change.added, epochOf(heard.conversation)], ['alice', [], 2]);
    const { snapshot, deltas } = changeOf(at, heard.conversation);
    t.strictSame(deltas, []);
    t.equal(epoch(restore(snapshot!.bytes, [])), 2n, 'whole, for whoever reads it');
    t.notOk(equal(heard.conversation instanceof Distant ? heard.conversation.sketch.key : aad, aad));
    const again3 = engine.receive(reopened(null, heard.conversation), three.message, now);
    await t.rejects(again3, { code: 'REPLAY' }, 'what is wrong has its name here as well');
  },
);

t.test('after so many deltas there is a snapshot', async (t) => {
  const engine = await open(t);
  let { all: at }: { all: Held } = await large(engine);
  let snapshots = 0;
  for (let i = 0; i < 402; i++) {
    const { conversation } = await engine.encrypt(at, Buffer.from('x'), Buffer.alloc(0));
    if (changeOf(at, conversation).snapshot !== null) snapshots++;
    engine.keep([conversation], []);
    at = conversation;
  }
  t.equal(snapshots, 2);
});

t.test(
  'a state that is not kept is forgotten; one that is on disk can be worked on after the thread has ended',
  async (t) => {
    const engine = await open(t);
    const { all } = await large(engine);
    const { conversation } = await engine.encrypt(all, Buffer.from('x'), Buffer.alloc(0));
    const disk = reopened(null, conversation);
    engine.keep([conversation], []);
    const gone = { code: 'INTERNAL' };
    const next = await engine.encrypt(conversation, Buffer.from('y'), Buffer.alloc(0));
    engine.keep([next.conversation], []);
    await t.rejects(engine.encrypt(conversation, Buffer.from('y'), Buffer.alloc(0)), gone);
    await engine.close();
    await t.rejects(
      engine.encrypt(conversation, Buffer.from('z'), Buffer.alloc(0)),
      gone,
      'it has died with its thread',
    );
    t.ok(
      isDistant((await engine.encrypt(disk, Buffer.from('z'), Buffer.alloc(0))).conversation),
      'a new one reads what is kept',
    );
  },
);

for (const [what, limits] of Object.entries({ time: { taskMs: 1 }, memory: { heapMb: 8 } }))
  t.test(
    `what takes too much ${what} is ended, and has a name that is a verdict; what waits behind it does not`,
    async (t) => {
      const engine = await GroupEngine.open({ ...world.authority.options, bindings: world.bindings }, limits);
      t.teardown(() => engine.close());
      const first = await alone(engine);
      for (let i = 0; i < 2; i++) {
        const all = [1, 2].map(() => engine.commit(first, adding(bob, ...crowd), now));
        const [large, behind] = await Promise.allSettled(all);
        t.match(large, { reason: { code: 'TOO_LARGE', field: 'group_work' } });
        t.ok(behind!.status === 'rejected' && behind!.reason instanceof ThreadLost);
      }
    },
  );

t.test('work on one group ends, and forgets nothing that work on another one still needs', async (t) => {
  const engine = await open(t);
  const [one, other] = [(await large(engine)).all, (await large(engine)).all];
  engine.keep([one, other], []);
  const [first, second] = [engine.turn(), engine.turn()];
  const begun = await first.encrypt(one, Buffer.from('a'), Buffer.alloc(0));
  const done = await second.encrypt(other, Buffer.from('b'), Buffer.alloc(0));
  second.keep([done.conversation], []);
  const more = await first.encrypt(begun.conversation, Buffer.from('c'), Buffer.alloc(0));
  first.keep([more.conversation], []);
  for (const { conversation } of [more, done])
    t.ok(await engine.encrypt(conversation, Buffer.from('d'), Buffer.alloc(0)));
  for (const held of [one, begun.conversation, other])
    await t.rejects(engine.encrypt(held, Buffer.from('e'), Buffer.alloc(0)), { code: 'INTERNAL' }, 'forgotten');
});

t.test('a small group with many blank places is worked on elsewhere, too', async (t) => {
  const engine = await open(t);
  const { all } = await large(engine);
  const more = await Promise.all(Array.from({ length: 14 }, (_, i) => world.person(`more${i}`)));
  const packages = await Promise.all(more.map((each) => world.keyPackage(each)));
  const wide = await engine.adopt(
    (await engine.commit(all, { add: packages.map(({ published }) => published) }, now)).conversation,
  );
  const going = [bob, ...crowd, ...more.slice(0, -1)].map(({ device }) => device);
  const few = await engine.adopt((await engine.commit(wide, { remove: going }, now)).conversation);
  const invited = await engine.commit(few, adding(bob), now);
  t.equal(invited.welcome!.tree, null, 'its tree is inside');
  const { conversation, by } = await joined(engine, invited.welcome!, null);
  t.ok(isDistant(conversation));
  t.strictSame([by.user, usersIn(conversation)], ['alice', ['alice', 'bob', 'more13']]);
  const door = await engine.door(conversation);
  t.equal(door.tree, null);
  const outside = await engine.joinExternal(door, (await world.person('eve')).device, now, Buffer.alloc(0));
  t.ok(isDistant(outside.conversation));
});

t.test('a large change of a small group is worked on elsewhere, a large message is not', async (t) => {
  const engine = await open(t);
  const { conversation, welcome } = await engine.commit(await alone(engine), adding(bob), now);
  const bobs = (await joined(engine, welcome!, null)).conversation;
  const said = await engine.encrypt(await engine.adopt(conversation), Buffer.alloc(100_000), Buffer.alloc(0));
  const read = await engine.receive(bobs, said.message, now);
  if (read.kind !== 'message') return t.fail(read.kind);
  const many = await engine.commit(said.conversation, adding(...crowd.slice(0, 30)), now);
  t.notOk([bobs, read.conversation, many.conversation].some(isDistant), 'small');
  t.ok(many.commit.length > 65_536);
  const [turns, heard] = await turnsDuring(() => engine.receive(read.conversation, many.commit, now));
  t.ok(turns > 10, `${turns} turns of the event loop`);
  t.match(heard, { kind: 'commit', change: { by: { user: 'alice' } } });
  t.ok('conversation' in heard && isDistant(heard.conversation));
});

t.test('bindings that the other thread lacks are asked for by their names, and taken', async (t) => {
  const [missing] = [...world.bindings].slice(5, 6);
  const bindings = new Map([...world.bindings].filter(([name]) => name !== missing![0]));
  const engine = await open(t, bindings);
  const first = await alone(engine);
  const refusal = await engine.commit(first, adding(bob, ...crowd), now).catch((error: unknown) => error);
  t.type(refusal, MissingBindings);
  t.strictSame((refusal as MissingBindings).names, [missing![0]]);
  bindings.set(...missing!);
  t.ok(await engine.commit(first, adding(bob, ...crowd), now));
});
