/** A message that disappears while its recipient is away: from the server's queue, and from the records of its sender. */
import t from 'tap';
import { KIND } from '../../transcript/statement.ts';
import { textOf } from '../support/raw-client.ts';
import { openConversation, world } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('it is gone from the queue, its sender is told, and what has no end stays', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const talk = await openConversation(a, 'bob');
  const until = Date.now() + 1500;
  const short = alice.lineage.texts(talk, ['for a moment']);
  const frame = { ...short, messages: short.messages.map((message) => ({ ...message, expires_at: until })) };
  await a.request(frame, 'msg_ack');
  await a.request(alice.lineage.texts(talk, ['stays']), 'msg_ack');
  const expired = await a.nth('msg_expired', 1);
  t.ok(Date.now() >= until);
  t.match(expired, { by: 'bob' });
  const b = await w.login(bob);
  t.strictSame((await b.delivered(1)).map(textOf), ['stays']);
  await b.settled();
  t.strictSame(b.frames.filter(({ type }) => type === 'msg_deliver').length, 1);

  const receipt = alice.lineage.receipt(talk, 'bob', [short.messages[0]!], KIND.delivered, { peek: true });
  const messages = receipt.messages.map((message) => ({ ...message, expires_at: until }));
  await t.rejects(a.request({ ...receipt, messages }, 'msg_ack'), {
    code: 'BAD_FRAME',
    field: 'msg_send.messages[0].expires_at',
  });
});
