/** The server says of something that has to be asked before a message is sent, or shown, that it cannot now: it is asked again, on the same connection. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { equal } from '../../base/bytes.ts';
import type { Code } from '../../base/errors.ts';
import type { Request } from '../../protocol/messages.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { ScriptedServer } from './scripted-server.ts';
import { accepted, equip, isAlarm, isLost, isMessage, logIn, open, quiet, say, type Side } from './side.ts';

t.setTimeout(180_000); // a busy machine is no failure

type Sent = Request<'msg_send'>;
const isCommit = ({ messages }: Sent): boolean => decodeMs(messages.at(-1)!.statement).kind === KIND.membership;

/**
 * Such batches are refused as stale until what is asked then has been answered, and the first time the server cannot.
 * @returns how often that was asked
 */
function refusing(
  { server }: Side,
  is: (frame: Sent) => boolean,
  sub: 'roster' | 'epoch',
  code: Code,
  asked: Request['type'],
): { times: number } {
  const count = { times: 0 };
  let isStale = false;
  server.script = (frame, link) => {
    if (frame.type === 'msg_send' && count.times < 2 && is(frame)) {
      isStale = true;
      link.send({ type: 'error', id: frame.id, code: 'STALE', sub });
      return true;
    }
    if (!isStale || frame.type !== asked || count.times++ > 0) return false;
    if ('id' in frame) link.send({ type: 'error', id: frame.id!, code, retry_after_ms: 60 });
    return true;
  };
  return count;
}
function assertCalm(t: Test, side: Side): void {
  t.equal(side.server.links.length, 1, 'on the same connection');
  t.notOk(side.events.some((event) => isLost(event) || isAlarm(event)));
}

for (const code of ['RATE_LIMIT', 'UNAVAILABLE'] as const) {
  // Fails when the connection is ended for it.
  t.test(`${code} when the devices of a conversation are asked for again`, async (t) => {
    const side = await logIn(t);
    const asked = refusing(side, () => true, 'roster', code, 'conversation_get');
    await accepted(side, say(side, 'to whoever it is now'));
    t.equal(asked.times, 2);
    assertCalm(t, side);
  });

  t.test(`${code} when what waits at the server is asked for`, async (t) => {
    const side = await logIn(t);
    const asked = refusing(side, () => true, 'epoch', code, 'sync');
    await accepted(side, say(side, 'in whatever state it is now'));
    t.equal(asked.times, 2);
    assertCalm(t, side);
  });
}

// Fails when what was signed in vain takes with it what it was signed for: nothing waits that would ask for it again.
for (const [sub, asks] of [
  ['roster', 'conversation_get'],
  ['epoch', 'sync'],
] as const)
  t.test(`a commit that nobody's message waits for is made again after that (${sub})`, async (t) => {
    const side = await logIn(t);
    const { server } = side;
    const asked = refusing(side, isCommit, sub, 'UNAVAILABLE', asks);
    // A commit that this device was never given: it has to come in anew.
    server.append(await server.composeCommit());
    await server.say(server.latest, 'bob', ['in a state that is not known here']);
    while (asked.times < 2) await quiet(side);
    while (!side.events.some(({ on }) => on === 'group')) await quiet(side);
    t.equal(side.server.links.length, 1, 'on the same connection');
  });

// Fails when the connection is ended for it: then all that waits comes again.
for (const asks of ['certificate_get', 'conversation_get'] as const)
  t.test(`what has to be asked about a message that came (${asks})`, async (t) => {
    const server = new ScriptedServer();
    const folder = join(t.testdir({}), 'p');
    await equip(server, folder);
    const side = open(t, server, folder);
    let times = 0;
    server.script = (frame, link) => {
      if (frame.type !== asks || times++ > 0) return false;
      link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE', retry_after_ms: 60 });
      return true;
    };
    await side.app.connect();
    await side.app.login(null);
    await server.say(server.latest, 'bob', ['hello']);
    await side.until(isMessage);
    t.strictSame(side.shown(), ['hello']);
    t.ok(times > 1);
    assertCalm(t, side);
  });

// Fails when it keeps the program from ending.
t.test('what is waited for when the connection ends is not waited for any more', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  const asked = Promise.withResolvers<void>();
  const carol = server.person('carol');
  server.script = (frame, link) => {
    if (frame.type !== 'certificate_get' || !equal(frame.fingerprint, carol.fingerprint)) return false;
    link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE', retry_after_ms: 50_000 });
    asked.resolve();
    return true;
  };
  const sent = await server.compose('bob', ['signed by somebody who is not known yet'], {
    sender: carol.fingerprint,
    key: carol.issued.key,
  });
  server.latest.send(server.delivery(sent, server.append(sent)));
  await asked.promise;
  for (let i = 0; i < 10; i++) await new Promise(setImmediate);
  await side.app.close();
  t.equal(server.links.length, 1);
});

// Fails when nobody can write to this device until it logs in again.
t.test('what others need to write to this device is put there as soon as the server can', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  await equip(server, folder);
  const side = open(t, server, folder);
  let times = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'binding_put' || times++ > 0) return false;
    link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE', retry_after_ms: 60 });
    return true;
  };
  await side.app.connect();
  await side.app.login(null);
  await side.app.settled();
  t.equal(times, 2);
  t.ok(server.frames('keypackages_put').length > 0);
  assertCalm(t, side);
});

// Fails when a room that another device of this user has joined is entered no sooner than after the next login.
t.test('what has changed while nobody was here is asked again', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  await equip(server, folder);
  const side = open(t, server, folder);
  const refused: string[] = [];
  server.script = (frame, link) => {
    if ((frame.type !== 'room_list' && frame.type !== 'contact_list') || refused.includes(frame.type)) return false;
    refused.push(frame.type);
    link.send({ type: 'error', id: frame.id, code: 'RATE_LIMIT', retry_after_ms: 60 });
    return true;
  };
  await side.app.connect();
  await side.app.login(null);
  await side.app.settled();
  t.equal(server.frames('room_list').length, 2);
  t.equal(server.frames('contact_list').length, 2);
  assertCalm(t, side);
});

// Fails when a command that is done waits for it as long as the server likes.
t.test(
  'what the server cannot say about a message for longer than a minute is left to the next connection',
  async (t) => {
    const side = await logIn(t);
    const { server } = side;
    const carol = server.person('carol');
    server.script = (frame, link) => {
      if (frame.type !== 'certificate_get' || !equal(frame.fingerprint, carol.fingerprint)) return false;
      link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE', retry_after_ms: 61_000 });
      return true;
    };
    const sent = await server.compose('bob', ['signed by somebody who is not known yet'], {
      sender: carol.fingerprint,
      key: carol.issued.key,
    });
    server.latest.send(server.delivery(sent, server.append(sent)));
    const { error, willRetry } = await side.until(isLost);
    t.match({ error, willRetry }, { error: { code: 'CONNECTION_LOST' }, willRetry: true });
    await side.app.settled();
  },
);
