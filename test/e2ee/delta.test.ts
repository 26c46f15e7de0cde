/** What is kept of a conversation: with its past epochs, its pending commit, and nothing that belongs elsewhere. */
import t from 'tap';
import { equal } from '../../base/bytes.ts';
import { delta, restore, snapshot } from '../../client/e2ee/delta.ts';
import { byInvitation, openToAll, type Conversation } from '../../client/e2ee/group.ts';
import { World } from './people.ts';

const world = await World.open();
const { engine, now } = world;
const people = await Promise.all(['alice', 'bob', 'carol'].map((name) => world.person(name)));
const [a, b, c] = (await world.group(people)) as [Conversation, Conversation, Conversation];

async function next(conversation: Conversation, bytes: Uint8Array): Promise<Conversation> {
  const result = await engine.receive(conversation, bytes, now, byInvitation);
  if (result.kind === 'removed') throw new Error(result.kind);
  return result.conversation;
}

t.test('messages of this epoch and late ones of the last', async (t) => {
  const made = await engine.commit(a, {}, now, openToAll);
  let writer = b;
  const messages: Uint8Array[] = [];
  for (let i = 0; i < 6; i++) {
    const sent = await engine.encrypt(writer, Buffer.from(`${i}`), Buffer.alloc(0));
    writer = sent.conversation;
    messages.push(sent.message);
  }
  const start = await next(c, made.commit);
  t.equal(delta(c, start), null, 'a new epoch is a new snapshot');
  const deltas: Buffer[] = [];
  let at = start;
  const current = await engine.encrypt(engine.adopt(made.conversation), Buffer.from('x'), Buffer.alloc(0));
  for (const message of [messages[4]!, current.message, messages[1]!, messages[5]!]) {
    const after = await next(at, message);
    const change = delta(at, after);
    if (!change) throw new Error('no delta');
    t.ok(change.length < 700, `${change.length} bytes`);
    deltas.push(change);
    at = after;
  }
  const again = restore(snapshot(start), deltas);
  t.ok(equal(snapshot(again), snapshot(at)));
  await t.rejects(next(again, messages[1]!), { code: 'REPLAY' }, 'it knows what it has read');
  t.ok(await next(again, messages[0]!), 'and can read what it has not');
});

t.test('a pending commit, and its end', async (t) => {
  const made = await engine.commit(a, {}, now, openToAll);
  const put = delta(a, made.conversation);
  if (!put) throw new Error('no delta');
  const again = restore(snapshot(a), [put]);
  t.ok(equal(again.pending!.commit, made.commit));
  t.ok(equal(snapshot(again), snapshot(made.conversation)));
  t.ok(equal(snapshot(engine.adopt(again)), snapshot(engine.adopt(made.conversation))));
  const gone = delta(made.conversation, engine.drop(made.conversation));
  if (!gone) throw new Error('no delta');
  t.equal(restore(snapshot(a), [put, gone]).pending, null);
  t.equal(restore(snapshot(made.conversation), []).pending?.commit.length, made.commit.length);
});

t.test('what does not belong is refused', async (t) => {
  const sent = await engine.encrypt(a, Buffer.from('x'), Buffer.alloc(0));
  const change = delta(a, sent.conversation);
  if (!change) throw new Error('no delta');
  const refusal = { code: 'BAD_FRAME', field: 'delta' };
  const later = engine.adopt((await engine.commit(a, {}, now, openToAll)).conversation);
  t.throws(() => restore(snapshot(later), [change]), refusal, 'of another epoch');
  const [other] = (await world.group([people[0]!, people[1]!])) as [Conversation];
  t.throws(() => restore(snapshot(other), [change]), refusal, 'of another group');
  t.throws(() => restore(snapshot(a), [change.subarray(0, -1)]), refusal, 'cut short');
  t.throws(() => restore(change, []), { code: 'BAD_FRAME', field: 'snapshot' });
  t.throws(() => restore(snapshot(a).subarray(0, -1), []), { code: 'BAD_FRAME', field: 'snapshot' });
  t.throws(() => restore(Buffer.concat([snapshot(a), Buffer.of(0)]), []), { code: 'BAD_FRAME', field: 'snapshot' });
  const buffer = snapshot(a);
  const restored = restore(buffer, []);
  buffer.fill(0);
  t.ok(equal(snapshot(restored), snapshot(a)), 'the caller may use its buffer again');
});
