/** Conversations in which nothing can be written now, beside one in which it can. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { equal, hex, type ConversationId } from '../../base/bytes.ts';
import type { Request } from '../../protocol/messages.ts';
import { decodeMs, isThreaded } from '../../transcript/statement.ts';
import { drop } from './scripted-server.ts';
import { accepted, logIn, say, type Side } from './side.ts';

t.setTimeout(180_000); // a busy machine is no failure

/** So many conversations whose groups nobody can enter now. */
function closed({ app, server }: Side, count: number): ConversationId[] {
  const devices = [server.get('alice').fingerprint];
  const ids = Array.from({ length: count }, () => randomBytes(32) as Uint8Array as ConversationId);
  for (const [i, id] of ids.entries()) {
    const members = ['alice', `friend${i}`].map((username) => ({ username, devices }));
    app.vault.putRoster(id, { peer: `friend${i}`, epoch: 1, members });
  }
  server.script = (frame, link) => {
    if (frame.type !== 'group_get' || equal(frame.conversation, server.conversation)) return false;
    link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE' });
    return true;
  };
  return ids;
}
const tries = ({ server }: Side): number => server.frames('group_get').length;
async function cut(side: Side): Promise<void> {
  drop(side.server.latest);
  await side.until(({ on }) => on === 'lost');
}

// Fails when what waits there is read again and again, and nothing behind it ever.
t.test('more waits in one than there is room for in a batch: what is behind it goes', async (t) => {
  const side = await logIn(t);
  const [id] = closed(side, 1);
  await cut(side);
  for (let i = 0; i < 1100; i++) side.app.send(id!, Buffer.from('waits'));
  const row = say(side, 'goes');
  t.equal((await side.app.waitFor(row, 'accepted', 30_000)).state, 'accepted');
  t.ok(side.app.vault.outgoing.isWaiting(id!));
});

// Fails when all of them are tried first: with many, and a slow line, they never end.
t.test('of many that were tried in vain a few are tried again before what can be sent is', async (t) => {
  const side = await logIn(t);
  const ids = closed(side, 60);
  for (const id of ids) side.app.send(id, Buffer.from('waits'));
  while (tries(side) < ids.length) await new Promise(setImmediate);
  await accepted(side, say(side, 'goes'));
  await cut(side);
  const row = say(side, 'goes first');
  const before = tries(side);
  await accepted(side, row);
  const sent = side.server.received.findLastIndex(({ type }) => type === 'msg_send');
  const early = side.server.received.slice(0, sent).filter(({ type }) => type === 'group_get').length - before;
  t.ok(early < 20, `${early} were tried before it`);
  while (tries(side) < before + ids.length) await new Promise(setImmediate);
  t.pass('and then all of them');
});

// Fails when all of them are looked at first.
t.test(
  'of many whose keys are due and cannot be replaced a few are looked at before what can be sent is',
  async (t) => {
    const side = await logIn(t);
    const ids = closed(side, 60);
    const before = tries(side);
    for (const id of ids) {
      side.app.vault.freshness.renewed(id, Date.now());
      side.app.vault.freshness.hurry(id);
    }
    await accepted(side, say(side, 'goes first'));
    const sent = side.server.received.findLastIndex(({ type }) => type === 'msg_send');
    const early = side.server.received.slice(0, sent).filter(({ type }) => type === 'group_get').length - before;
    t.ok(early < 20, `${early} were looked at before it`);
    while (tries(side) < before + ids.length) await new Promise(setImmediate);
    t.pass('and then all of them');
  },
);

const refused = (frame: Request<'msg_send'>, code: 'RATE_LIMIT' | 'UNAVAILABLE', retry_after_ms: number) => {
  const field = `msg_send.messages[${frame.messages.length - 1}].statement`;
  return {
    type: 'error',
    id: frame.id,
    code,
    field,
    retry_after_ms,
    ...(code === 'RATE_LIMIT' && { sub: 'room' }),
  } as const;
};
const isWritten = ({ messages }: Request<'msg_send'>): boolean => isThreaded(decodeMs(messages.at(-1)!.statement).kind);

// Fails when the whole outbox waits.
t.test('a conversation of which the server says that it cannot now waits alone, for as long as it says', async (t) => {
  for (const code of ['RATE_LIMIT', 'UNAVAILABLE'] as const) {
    const side = await logIn(t);
    const { server } = side;
    let refusals = 0;
    server.script = (frame, link) => {
      if (frame.type !== 'msg_send' || !isWritten(frame)) return false;
      refusals++;
      link.send(refused(frame, code, 3_600_000));
      return true;
    };
    const row = say(side, 'waits');
    while (refusals === 0) await new Promise(setImmediate);
    await server.say(server.latest, 'bob', ['and is heard']);
    while (server.frames('msg_send').every(isWritten)) await new Promise(setImmediate);
    t.equal(refusals, 1, 'and what is to be said of what was received goes');
    t.equal(side.app.vault.message(row)?.state, 'waiting');
    await side.app.close();
  }
});

t.test('what may be in the log is repeated as it is, whatever is said of its conversation', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  let times = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || ++times > 2) return false;
    if (times === 1) drop(link);
    else link.send(refused(frame, 'RATE_LIMIT', 50));
    return true;
  };
  await accepted(side, say(side, 'once'));
  const batches = server.frames('msg_send').map(({ batch }) => hex(batch));
  t.equal(batches.length, 3);
  t.equal(new Set(batches).size, 1);
});

// Fails when it is repeated as it is for as long as nobody there has a device, and nothing else goes.
t.test(
  'what was sent on another connection to somebody without a device now keeps nothing else from going',
  async (t) => {
    const side = await logIn(t);
    const { server } = side;
    let times = 0;
    server.script = (frame, link) => {
      if (frame.type !== 'msg_send' || !isWritten(frame)) return false;
      if (times++ === 0) drop(link);
      else link.send(refused(frame, 'UNAVAILABLE', 60_000));
      return true;
    };
    const row = say(side, 'waits');
    while (times < 2) await new Promise(setImmediate);
    await server.say(server.latest, 'bob', ['and is heard']);
    while (server.frames('msg_send').every(isWritten)) await new Promise(setImmediate);
    t.equal(times, 2);
    t.equal(side.app.vault.message(row)?.state, 'waiting');
  },
);

// Fails when it is signed anew: the log has it then twice, or under counters that were used.
t.test('the same on one connection, once the server has said that it has no proof of it now', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  let times = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || ++times > 2) return false;
    if (times === 1) link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE', retry_after_ms: 50 });
    else link.send(refused(frame, 'RATE_LIMIT', 50));
    return true;
  };
  await accepted(side, say(side, 'once'));
  const batches = server.frames('msg_send').map(({ batch }) => hex(batch));
  t.equal(batches.length, 3);
  t.equal(new Set(batches).size, 1);
});
