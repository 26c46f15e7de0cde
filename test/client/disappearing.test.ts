/** Messages that disappear, as a client sends them: the server is told the time that is sealed, and only that. */
import t from 'tap';
import { utf8 } from '../../base/bytes.ts';
import { decodeContent } from '../../transcript/content.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { accepted, logIn, PATIENCE_MS, quiet, say, type Side } from './side.ts';

async function sent(side: Side, n: number) {
  const messages = side.server.written
    .flatMap(({ messages }) => messages)
    .filter(({ statement }) => decodeMs(statement).kind === KIND.message);
  const peer = await side.server.peer;
  const opening = await peer.open(messages[n]!);
  return { expiresAt: messages[n]!.expires_at, content: decodeContent(opening.subarray(32)) };
}

t.test('for one message, for a conversation, and for what is said about one', async (t) => {
  const side = await logIn(t);
  const before = Date.now();
  const row = side.app.send(side.id, utf8('for a minute'), { expireMs: 60_000 });
  await accepted(side, row);
  await accepted(side, say(side, 'stays'));
  side.app.vault.profile.setExpiry(side.id, 3_600_000);
  await accepted(side, say(side, 'for an hour'));
  await accepted(side, side.app.send(side.id, utf8('stays, too'), { expireMs: null }));
  await accepted(side, side.app.edit(side.app.vault.message(row)!, utf8('for one minute')));
  await accepted(side, side.app.delete(side.app.vault.message(row)!));
  const [minute, stays, hour, kept, edited, deleted] = await Promise.all([0, 1, 2, 3, 4, 5].map((n) => sent(side, n)));
  t.equal(minute!.expiresAt, minute!.content.expires!.seconds * 1000);
  t.ok(minute!.expiresAt! >= before + 60_000 && minute!.expiresAt! <= Date.now() + 61_000);
  for (const each of [stays, kept, deleted]) t.match(each, { expiresAt: undefined, content: { expires: null } });
  t.ok(hour!.expiresAt! >= before + 3_600_000);
  t.strictSame(edited!.content.expires, minute!.content.expires, 'an edit goes with what it edits');
  t.equal(edited!.expiresAt, minute!.expiresAt);
  t.equal(side.app.vault.message(row)!.gone, 'deleted');
  await quiet(side);
});

t.test('gone before it could be sent: it has failed, and that is said', async (t) => {
  const side = await logIn(t);
  const members = ['alice', 'bob'].map((username) => ({ username, devices: [side.server.get('alice').fingerprint] }));
  side.app.vault.putRoster(side.id, { peer: 'bob', epoch: 1, members });
  side.server.script = (frame, link) => {
    if (frame.type !== 'conversation_get') return false;
    link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE', retry_after_ms: 60_000 });
    return true;
  };
  const row = side.app.send(side.id, utf8('for a second'), { expireMs: 1000 });
  await t.rejects(side.app.waitFor(row, 'accepted', PATIENCE_MS), {
    code: 'NOT_REACHED',
    message: 'the message failed: it waited too long for the recipient and was dropped',
  });
  t.match(side.app.vault.message(row), { state: 'failed', gone: 'expired', reason: 'EXPIRED' });
});

t.test('gone while it is being sealed: it has failed, and is not sent', async (t) => {
  const side = await logIn(t);
  await accepted(side, say(side, 'the group is ready'));
  let failed = 0;
  for (let turns = 0; turns < 100; turns += 4) {
    const before = side.server.written.length;
    const row = side.app.send(side.id, utf8('not for long'), { expireMs: 60_000 });
    await new Promise(process.nextTick);
    for (let i = 0; i < turns; i++) await undefined;
    const isFailed = side.app.vault.annotations.purge(Date.now() + 120_000).includes(row);
    if (isFailed) failed++;
    await accepted(side, say(side, 'behind it'));
    const { state } = side.app.vault.message(row)!;
    t.equal(state, isFailed ? 'failed' : 'accepted', `after ${turns} turns`);
    const count = side.server.written.slice(before).reduce((sum, { messages }) => sum + messages.length, 0);
    t.equal(count, isFailed ? 1 : 2);
  }
  t.ok(failed > 1 && failed < 25, `${failed} of them`);
});

t.test('gone while it is on its way, and refused: nothing is sent in its place', async (t) => {
  const side = await logIn(t);
  const { annotations } = side.app.vault;
  let row = 0;
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || side.server.frames('msg_send').length > 1) return false;
    t.strictSame(annotations.purge(Date.now() + 120_000), [], 'the server may have it');
    t.match(side.app.vault.message(row), { state: 'signed', gone: 'expired' });
    link.send({ type: 'error', id: frame.id, code: 'STALE', sub: 'roster' });
    return true;
  };
  row = side.app.send(side.id, utf8('for a minute'), { expireMs: 60_000 });
  await t.rejects(side.app.waitFor(row, 'accepted', PATIENCE_MS), {
    code: 'NOT_REACHED',
    message: /^the message failed/,
  });
  t.match(side.app.vault.message(row), { state: 'failed', reason: 'EXPIRED' });
  await accepted(side, say(side, 'behind it'));
  t.equal((await sent(side, 1)).content.part.cardinality, 'single');
  t.equal(side.server.written.length, 2, 'the refused one, and what was said after it');
});
