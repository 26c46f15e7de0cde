/** Outbox and inbox against an honest server: bursts, drops, ends of processes, refusals, and what is taken up again. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { equal, hex, type ConversationId, type Fingerprint, type SessionId } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { sha256 } from '../../base/hash.ts';
import { concernedBy, type StagedBatch } from '../../client/staged-batch.ts';
import type { Reply } from '../../protocol/messages.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { audienceOf, decodeBs, decodeMs, encodeMs, KIND } from '../../transcript/statement.ts';
import { sessionOpening } from '../support/session-opening.ts';
import { drop, ORIGIN, ScriptedServer } from './scripted-server.ts';
import {
  accepted,
  equip,
  findings,
  isAlarm,
  isLost,
  isMessage,
  logIn,
  open,
  PATIENCE_MS,
  quiet,
  say,
  told,
} from './side.ts';

t.test('accepted, then delivered, with evidence and proven checkpoints', async (t) => {
  const side = await logIn(t);
  const first = await accepted(side, say(side, 'one'));
  const second = await accepted(side, say(side, 'two'));
  t.strictSame([first.seq, second.seq], [1, 2]);
  t.strictSame(findings(side.server), []);
  await side.app.settled();
  const { log } = side.app.status();
  t.strictSame(log, { origin: ORIGIN, size: 5, provenSize: 5 });
  t.ok(side.server.frames('log_consistency').some((f) => f.from === 3 && f.to === 5));
  const evidence = side.app.vault.ledger.allEvidence();
  t.equal(evidence.length, 2);
  t.strictSame(
    evidence.map(({ items }) => items.length),
    [2, 1],
    'the first with the opening of the session',
  );

  const delivered = side.app.waitFor(second.row, 'delivered', PATIENCE_MS);
  const delivery = await side.server.receipts(side.server.latest, 'bob', [second.hash!]);
  t.equal((await delivered).state, 'delivered');
  await quiet(side);
  t.strictSame(
    told(side).at(-1),
    delivery.items.map((item) => 'cursor' in item && item.cursor),
  );
});

t.test('a receipt that overtakes its acknowledgement is not lost', async (t) => {
  const side = await logIn(t);
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    const first = side.server.append(frame);
    const ack = () => side.server.ack(link, frame, first);
    void side.server.receipts(link, 'bob', [leafHash(frame.messages.at(-1)!.statement)]).then(ack);
    return true;
  };
  t.equal((await side.app.waitFor(say(side, 'quick'), 'delivered', PATIENCE_MS)).state, 'delivered');
});

t.test('what is written while a batch is on its way leaves together in the next', async (t) => {
  const side = await logIn(t);
  const rows = Array.from({ length: 300 }, (_, i) => say(side, `m${i}`));
  await Promise.all(rows.map((row) => accepted(side, row)));
  const counts = side.server.frames('msg_send').map((f) => f.messages.length);
  t.ok(counts.length <= 3, `batches of ${counts.join(', ')}`);
  t.equal(
    counts.reduce((a, b) => a + b),
    301,
    'and the opening of the session',
  );
  t.strictSame(findings(side.server), []);
});

t.test('large bodies never make a batch larger than a record', async (t) => {
  const side = await logIn(t);
  const rows = Array.from({ length: 5 }, () => side.app.send(side.id, Buffer.alloc(400_000, 1)));
  await Promise.all(rows.map((row) => accepted(side, row)));
  t.strictSame(
    side.server.frames('msg_send').map((f) => f.messages.length),
    [2, 1, 1, 1, 1],
  );
  t.throws(() => side.app.send(side.id, Buffer.alloc(524_256)), { code: 'TOO_LARGE', field: 'body' });
});

t.test('dropped before the acknowledgement: the same bytes again, accepted once', async (t) => {
  const side = await logIn(t);
  let drops = 0;
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    if (drops === 0) side.server.append(frame);
    if (++drops <= 2) {
      drop(link);
      return true;
    }
    side.server.ack(link, frame, 0); // the log holds it since the first time
    return true;
  };
  const row = say(side, 'only once');
  t.equal((await accepted(side, row)).seq, 1);
  const sent = side.server.frames('msg_send');
  t.equal(sent.length, 3);
  t.ok(equal(sent[0]!.batch, sent[2]!.batch) && equal(sent[0]!.signature, sent[2]!.signature));
  t.ok(equal(sent[0]!.messages.at(-1)!.statement, sent[2]!.messages.at(-1)!.statement));
  t.equal(side.server.entries.length, 3);
});

t.test('the process ends before the acknowledgement: the next one sends the same bytes', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  const first = await logIn(t, server, folder);
  server.script = (frame) => frame.type === 'msg_send';
  const row = say(first, 'later');
  await quiet(first);
  await first.app.close();
  server.script = () => false;
  const second = open(t, server, folder);
  await second.app.connect();
  await second.app.login(null);
  t.equal((await accepted(second, row)).state, 'accepted');
  const [a, b] = server.frames('msg_send');
  t.ok(a && b && equal(a.batch, b.batch) && equal(a.signature, b.signature));
});

t.test('a message that expired before its acknowledgement came has failed, and was not just accepted', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  let side = await logIn(t, server, folder);
  let first = 0;
  server.script = (frame) => {
    if (frame.type === 'msg_send') first = server.append(frame);
    return frame.type === 'msg_send';
  };
  const row = say(side, 'for nobody');
  await quiet(side);
  await side.app.close();
  const { statement } = server.frames('msg_send')[0]!.messages.at(-1)!;
  const { conversation, time: at } = server;
  server.script = (frame, link) => {
    if (frame.type === 'resume') {
      server.answer(frame, link, 'alice');
      link.send({ type: 'msg_expired', message: leafHash(statement), cursor: 77, conversation, by: 'bob', at });
    } else if (frame.type === 'msg_send') server.ack(link, frame, first);
    return frame.type === 'resume' || frame.type === 'msg_send';
  };
  for (const [state, cursors] of [
    ['accepted', []],
    ['failed', [[77]]],
  ] as const) {
    side = open(t, server, folder);
    await side.app.connect();
    await side.app.login(null);
    await quiet(side);
    t.match(side.app.vault.message(row), { state });
    await side.app.close();
    t.strictSame(told(side), cursors, 'said again until it is taken');
  }
});

t.test('connection lost: tried again, and what was written meanwhile is sent', async (t) => {
  const side = await logIn(t);
  drop(side.server.latest);
  const lost = await side.until(isLost);
  t.equal(lost.willRetry, true);
  const waiting = await side.until((e) => e.on === 'waiting');
  t.ok(waiting.on === 'waiting' && waiting.ms >= 100 && waiting.ms <= 200);
  const row = say(side, 'written offline');
  t.equal((await accepted(side, row)).state, 'accepted');
  t.equal(side.server.links.length, 2);
});

t.test(
  'the server comes back with a renewed certificate that vouches for the same log: no alarm, nothing lost',
  async (t) => {
    const side = await logIn(t);
    await accepted(side, say(side, 'under the old certificate'));
    side.server.server = side.server.ca.server({ key: 'rsa2048' });
    drop(side.server.latest);
    await side.until(isLost);
    await accepted(side, say(side, 'under the new one'));
    t.strictSame(side.app.vault.ledger.alarms(), []);
    t.equal(side.app.vault.ledger.origins().length, 1);
    t.strictSame(findings(side.server), []);
    const { ledger } = side.app.vault;
    drop(side.server.latest);
    await side.until(() => side.events.filter((e) => e.on === 'connected').length === 3);
    const statements = ledger.keyStatements(ledger.lastOrigin()!);
    t.equal(statements.length, 2, 'what each certificate vouched for is kept, and kept once');
    t.strictSame(Buffer.from(statements[1]!.certificate), side.server.server.der);
    for (const { certificate } of statements)
      t.equal(ledger.certificate(sha256(certificate) as Uint8Array as Fingerprint)?.length, 1, 'with its chain');
  },
);

t.test('what is delivered in the same breath as the login is not lost', async (t) => {
  const server = new ScriptedServer();
  const sent = await server.compose('bob', ['waiting for you']);
  const waiting = server.delivery(sent, server.append(sent));
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    link.send(server.loginOk(frame.id, 'alice'));
    link.send(waiting);
    return true;
  };
  const side = await logIn(t, server);
  await side.until(isMessage);
  t.strictSame(side.shown(), ['waiting for you']);
});

t.test('STALE: the roster is asked for again, and the same counters are signed anew', async (t) => {
  const side = await logIn(t);
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || side.server.epoch > 2) return false;
    side.server.epoch = 3;
    link.send({ type: 'error', id: frame.id, code: 'STALE' });
    return true;
  };
  await accepted(side, say(side, 'to whoever it is now'));
  const [refused, taken] = side.server.frames('msg_send').map((f) => decodeMs(f.messages.at(-1)!.statement));
  t.equal(refused!.sessionCtr, 2);
  t.equal(taken!.sessionCtr, 2);
  t.not(hex(refused!.rosterHash), hex(taken!.rosterHash));
});

t.test('STALE now and then is never too often', async (t) => {
  const side = await logIn(t);
  let left = 0;
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || left === 0) return false;
    left--;
    link.send({ type: 'error', id: frame.id, code: 'STALE' });
    return true;
  };
  for (const text of ['one', 'two']) {
    left = 4;
    await accepted(side, say(side, text));
  }
  t.equal(left, 0);
});

t.test('a server that never knows the session: one new one for each connection, and then it is waited', async (t) => {
  const side = await logIn(t);
  let isLost = true;
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || !isLost) return false;
    link.send({ type: 'error', id: frame.id, code: 'COUNTER_GAP' });
    return true;
  };
  const row = say(side, 'in vain at first');
  await side.until((e) => e.on === 'warning' && e.text.startsWith('what you write waits'));
  t.equal(side.events.filter((e) => e.on === 'warning' && e.text.includes('in a new session')).length, 1);
  isLost = false;
  await accepted(side, row);
});

t.test('one bad message in a batch fails alone', async (t) => {
  const side = await logIn(t);
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    const isBad = frame.messages.some(({ parts }) => parts[0]!.length > 4000);
    if (isBad) link.send({ type: 'error', id: frame.id, code: 'QUOTA' });
    return isBad;
  };
  const rows = ['good 1', 'bad'.repeat(1000), 'good 2'].map((text) => say(side, text));
  await accepted(side, rows[0]!);
  await t.rejects(accepted(side, rows[1]!), { code: 'QUOTA' });
  await accepted(side, rows[2]!);
  t.equal(side.app.vault.message(rows[1]!)?.reason, 'QUOTA');
  const logged = side.server
    .frames('msg_send')
    .slice(1)
    .map((f) => decodeBs(f.batch).firstCtr);
  t.strictSame(logged, [1, 3, 3], 'the refused one left no gap');
});

t.test('a refusal that goes away is waited for', async (t) => {
  const side = await logIn(t);
  let refusals = 0;
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || refusals++ > 0) return false;
    link.send({ type: 'error', id: frame.id, code: 'RATE_LIMIT', retry_after_ms: 5 });
    return true;
  };
  t.equal((await accepted(side, say(side, 'patience'))).state, 'accepted');
});

t.test('however long or short a wait the server names, it is not asked all the time', async (t) => {
  for (const retry_after_ms of [0, 2 ** 31, Number.MAX_SAFE_INTEGER]) {
    const side = await logIn(t);
    side.server.script = (frame, link) => {
      if (frame.type !== 'msg_send') return false;
      link.send({ type: 'error', id: frame.id, code: 'RATE_LIMIT', retry_after_ms });
      return true;
    };
    say(side, 'patience');
    while (side.server.frames('msg_send').length === 0) await new Promise(setImmediate);
    await new Promise((resolve) => setTimeout(resolve, 250));
    const times = side.server.frames('msg_send').length;
    t.ok(times <= (retry_after_ms === 0 ? 6 : 1), `${retry_after_ms}: ${times} times`);
  }
});

t.test(
  'a conversation in which a crash interrupted somebody else rests for a while; what is written there is sealed anew',
  async (t) => {
    const side = await logIn(t);
    let refusals = 0;
    side.server.script = (frame, link) => {
      if (frame.type !== 'msg_send' || refusals++ > 1) return false;
      const field = `msg_send.messages[${frame.messages.length - 1}].group`;
      link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE', sub: 'incomplete', field, retry_after_ms: 5 });
      return true;
    };
    t.equal((await accepted(side, say(side, 'patience'))).state, 'accepted');
    const sent = side.server.frames('msg_send').map(({ messages }) => messages.at(-1)!);
    t.strictSame(
      sent.map(({ statement }) => decodeMs(statement).sessionCtr),
      [2, 2, 2],
    );
    t.equal(new Set(sent.map(({ parts }) => hex(parts[0]!))).size, 3, 'no key is used twice');
    t.notOk(side.events.some(({ on }) => on === 'warning'));
  },
);

t.test('a server that asks for more patience than a timer has: neither batches nor logins are hurried', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send' && frame.type !== 'resume') return false;
    link.send({ type: 'error', id: frame.id, code: 'RATE_LIMIT', retry_after_ms: Number.MAX_SAFE_INTEGER });
    return true;
  };
  say(side, 'waits');
  await quiet(side);
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(server.frames('msg_send').length, 1);
  drop(server.latest);
  await side.until(isLost);
  while (server.frames('resume').length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.equal(server.frames('resume').length, 2);
});

t.test('which conversations a refusal is about', (t) => {
  const ids = [randomBytes(32), randomBytes(32)] as unknown as readonly ConversationId[];
  const statements = ids.map((conversation) => {
    const { statement } = sessionOpening(
      randomBytes(32) as unknown as Fingerprint,
      randomBytes(16) as unknown as SessionId,
      null,
      1,
    );
    return encodeMs({ ...decodeMs(statement), kind: KIND.message, conversation, convCtr: 1 });
  });
  const none = Buffer.alloc(0);
  const messages = statements.map((statement) => ({ statement, parts: [none] }));
  const batch = { algorithm: 1, signature: none, batch: none, messages, rows: [1, 2] } as unknown as StagedBatch;
  const about = (field?: string) =>
    concernedBy(new ChatError('UNAVAILABLE', 'not now', field === undefined ? {} : { field }), batch).map(hex);
  t.strictSame(about('msg_send.messages[1].group'), [hex(ids[1]!)]);
  t.strictSame(about('msg_send.messages[0]'), [hex(ids[0]!)]);
  for (const field of [undefined, 'msg_send.batch', 'msg_send.messages[2].group', 'xmsg_send.messages[0]'])
    t.strictSame(about(field), ids.map(hex), `all: ${field}`);
  t.end();
});

t.test('the server knows more of this device than the profile does: a new session, said aloud', async (t) => {
  const side = await logIn(t);
  await accepted(side, say(side, 'first'));
  let refusals = 0;
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || refusals++ > 0) return false;
    link.send({ type: 'error', id: frame.id, code: 'COUNTER_REUSED' });
    return true;
  };
  await accepted(side, say(side, 'after the backup'));
  const [first, , commit, fresh, last] = side.server
    .frames('msg_send')
    .map((f) => decodeMs(f.messages.at(-1)!.statement));
  t.not(hex(first!.session), hex(last!.session));
  t.equal(commit!.kind, KIND.membership, 'its keys may have been used since: it comes into the group anew');
  t.strictSame([commit!.sessionCtr, commit!.convCtr, hex(commit!.prevConv)], [2, 1, '00'.repeat(32)]);
  t.match(fresh, { kind: KIND.membership, sessionCtr: 3, convCtr: 2 }, 'and with keys that it did not come with');
  t.match(last, { kind: KIND.message, sessionCtr: 4, convCtr: 3 });
  t.ok(side.events.some((e) => e.on === 'warning' && /COUNTER_REUSED/.test(e.text)));
});

t.test('a device that is nobody of the conversation: nothing is signed for it', async (t) => {
  const side = await logIn(t);
  const mallory = side.server.person('mallory');
  side.server.ghosts = [{ username: 'bob', fingerprint: mallory.fingerprint }];
  side.server.epoch = 3;
  let isStale = true;
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || !isStale) return false;
    isStale = false;
    link.send({ type: 'error', id: frame.id, code: 'STALE' });
    return true;
  };
  const row = say(side, 'for bob alone');
  await side.until(isAlarm);
  t.equal(side.server.frames('msg_send').length, 1, 'not sent again');
  await t.rejects(accepted(side, row), { code: 'BAD_CERT', sub: 'bad_name' });
});

t.test('nothing is signed for a conversation: what waits there fails, however much waits in another', async (t) => {
  const side = await logIn(t);
  const { server, app } = side;
  const other = randomBytes(32) as Uint8Array as ConversationId;
  const devices = [server.get('alice').fingerprint];
  for (const [id, peer] of [
    [other, 'carol'],
    [side.id, 'bob'],
  ] as const)
    app.vault.putRoster(id, { peer, epoch: 1, members: ['alice', peer].map((username) => ({ username, devices })) });
  server.script = (frame, link) => {
    if (frame.type !== 'conversation_get') return false;
    const code = equal(frame.conversation, other) ? 'UNAVAILABLE' : 'NOT_FOUND';
    link.send({ type: 'error', id: frame.id, code, retry_after_ms: 60_000 });
    return true;
  };
  for (let i = 0; i < 3; i++) app.send(other, Buffer.alloc(500_000, 1));
  await quiet(side);
  await t.rejects(accepted(side, say(side, 'not to be said')), { code: 'NOT_FOUND' });
  t.ok(app.vault.outgoing.isWaiting(other));
});

t.test('a server that does not want to answer is asked again on the next connection', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  await equip(server, folder);
  const side = open(t, server, folder);
  let refusals = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'certificate_get' || refusals++ > 0) return false;
    link.send({ type: 'error', id: frame.id, code: 'QUOTA' });
    return true;
  };
  await side.app.connect();
  await side.app.login(null);
  const sent = await server.compose('bob', ['from somebody whose certificate is not known here yet']);
  const delivery = server.delivery(sent, server.append(sent));
  server.latest.send(delivery);
  t.match(await side.until(isLost), { willRetry: true });
  while (!side.app.status().isConnected) await new Promise((resolve) => setTimeout(resolve, 5));
  server.latest.send(delivery);
  await side.until(isMessage);
  t.strictSame(side.shown(), ['from somebody whose certificate is not known here yet']);
  t.strictSame(side.app.vault.ledger.alarms(), []);
});

t.test(
  'words about expired messages that come faster than they can be dealt with do not fill the memory',
  async (t) => {
    const server = new ScriptedServer();
    const folder = join(t.testdir({}), 'p');
    await equip(server, folder);
    const side = open(t, server, folder);
    server.script = ({ type }) => type === 'certificate_get'; // what is waited for does not come
    await side.app.connect();
    await side.app.login(null);
    const sent = await server.compose('bob', ['held up']);
    server.latest.send(server.delivery(sent, server.append(sent)));
    const { conversation, time: at } = server;
    const expired = { type: 'msg_expired', message: randomBytes(32), cursor: 77, conversation, by: 'bob', at } as const;
    for (let i = 0; i < 17_000; i++) server.latest.send(expired);
    t.match(await side.until(isLost), { willRetry: false, error: { code: 'QUOTA' } });
  },
);

t.test('what the connection ends for says nothing of what was being checked or written', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  await equip(server, folder);
  const side = open(t, server, folder);
  server.script = (frame, link) => {
    if (frame.type === 'certificate_get') link.close('BAD_CERT');
    return frame.type === 'certificate_get';
  };
  await side.app.connect();
  await side.app.login(null);
  const sent = await server.compose('bob', ['true']);
  server.latest.send(server.delivery(sent, server.append(sent)));
  t.match(await side.until(isLost), { willRetry: false, error: { code: 'BAD_CERT' } });
  await quiet(side);
  t.strictSame(side.app.vault.ledger.alarms(), []);
  await side.app.close();

  const again = open(t, server, folder);
  await again.app.connect();
  await again.app.login(null);
  const { conversation: id, epoch, members } = server.roster(1);
  again.app.vault.putRoster(id as ConversationId, { peer: 'bob', epoch, members });
  const row = say(again, 'kept');
  t.match(await again.until(isLost), { willRetry: false, error: { code: 'BAD_CERT' } });
  await quiet(again);
  t.equal(again.app.vault.message(row)?.state, 'waiting');
});

t.test('whenever it is written, it is sent', async (t) => {
  const side = await logIn(t);
  // The outbox looks for more after every batch; what is written in the very turn in which it finds nothing must not be left.
  for (let turns = 0; turns < 12; turns++) {
    const seen = new Promise<number>((resolve) => {
      const stop = side.app.on((event) => {
        if (event.on !== 'state') return;
        stop();
        process.nextTick(async () => {
          for (let i = 0; i < turns; i++) await undefined;
          resolve(say(side, `second ${turns}`));
        });
      });
    });
    say(side, `first ${turns}`);
    t.equal((await accepted(side, await seen)).state, 'accepted', `after ${turns} turns`);
  }
});

t.test('an old message with its old checkpoint: proven to be part of the history that is known', async (t) => {
  const side = await logIn(t);
  const sent = await side.server.compose('bob', ['queued long ago']);
  const first = side.server.append(sent);
  const delivery = side.server.delivery(sent, first);
  await accepted(side, say(side, 'newer'));
  side.server.latest.send(delivery);
  await side.until(isMessage);
  await quiet(side);
  t.ok(side.server.frames('log_consistency').some(({ from, to }) => from === 2 && to === 5));
  t.match(side.app.status(), { alarms: 0, log: { size: 7, provenSize: 7 } }, 'with the receipt of it');
  t.equal(side.app.vault.ledger.unproven(ORIGIN), null);
});

t.test('a new log of the same server: the statements stay, the batch is signed for it', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  const first = await logIn(t, server, folder);
  server.script = (frame) => frame.type === 'msg_send';
  say(first, 'for whichever log');
  await quiet(first);
  await first.app.close();
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return frame.type === 'msg_send';
    link.send(server.loginOk(frame.id, 'alice', `${ORIGIN}/e2`));
    return true;
  };
  const second = open(t, server, folder);
  await second.app.connect();
  await second.app.login(null);
  await quiet(second);
  const [old, renewed] = server.frames('msg_send');
  t.strictSame(renewed?.messages, old?.messages);
  t.strictSame(decodeBs(renewed!.batch).audience, audienceOf(`${ORIGIN}/e2`));
  t.match(
    second.events.find((e) => e.on === 'warning'),
    { text: /goes on with a new one, localhost\/log\/n1\/e2/ },
  );
});

t.test('a new certificate: what the old one signed is signed anew', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  const first = await logIn(t, server, folder);
  server.script = (frame) => frame.type === 'msg_send';
  const row = say(first, 'before the renewal');
  await quiet(first);
  await first.app.close();
  const renewed = server.person('alice', undefined, 'ed25519');
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || equal(decodeBs(frame.batch).sender, renewed.fingerprint)) return false;
    link.send({ type: 'error', id: frame.id, code: 'SIG_FAIL', sub: 'sender' });
    return true;
  };
  server.epoch = 3;
  const second = open(t, server, folder);
  await second.app.connect();
  await second.app.login(null);
  await accepted(second, row); // the roster that was kept lacks the new certificate: it is asked for again
  t.strictSame(
    server.frames('msg_send')[1]?.batch,
    server.frames('msg_send')[0]?.batch,
    'first the old bytes once more',
  );
  const ms = decodeMs(server.frames('msg_send').at(-1)!.messages.at(-1)!.statement);
  t.strictSame(ms.sender, renewed.fingerprint);
  t.equal(
    ms.sessionCtr,
    4,
    'after the opening, the commits by which it came in with its new certificate, and replaced its keys',
  );
});

t.test(
  'a new certificate, and the log has what the old one signed: its acknowledgement, and nothing twice',
  async (t) => {
    const server = new ScriptedServer();
    const folder = join(t.testdir({}), 'p');
    const first = await logIn(t, server, folder);
    let place = 0;
    server.script = (frame) => {
      if (frame.type === 'msg_send') place = server.append(frame);
      return frame.type === 'msg_send'; // and the answer is lost
    };
    const row = say(first, 'logged before the renewal');
    await quiet(first);
    await first.app.close();
    server.person('alice', undefined, 'ed25519');
    server.script = (frame, link) => {
      if (frame.type === 'msg_send' && equal(frame.batch, server.frames('msg_send')[0]!.batch)) {
        server.ack(link, frame, place);
        return true;
      }
      return false;
    };
    server.epoch = 3;
    const second = open(t, server, folder);
    await second.app.connect();
    await second.app.login(null);
    await accepted(second, row);
    await quiet(second);
    t.equal(server.frames('msg_send').length, 2);
    await accepted(second, say(second, 'by the new one'));
    const [, , commit] = server.frames('msg_send');
    t.match(
      decodeMs(commit!.messages.at(-1)!.statement),
      { kind: KIND.membership, sessionCtr: 2 },
      'a session of its own',
    );
  },
);

t.test('a conversation of two stays one', async (t) => {
  t.testdir({});
  for (const [name, change] of [
    [
      'a third person',
      (r: Reply<'conversation'>) => ({ ...r, members: [...r.members, { username: 'mallory', devices: [] }] }),
    ],
    ['without us', (r: Reply<'conversation'>) => ({ ...r, members: r.members.slice(1) })],
    [
      'without this device',
      (r: Reply<'conversation'>) => ({ ...r, members: r.members.map((m) => ({ ...m, devices: [] })) }),
    ],
  ] as const) {
    const server = new ScriptedServer();
    server.script = (frame, link) => {
      if (frame.type !== 'conversation_open') return false;
      link.send(change(server.roster(frame.id)));
      return true;
    };
    const side = open(t, server, join(t.testdirName, name.replaceAll(' ', '-')));
    await side.app.connect();
    await side.app.login(null);
    await t.rejects(side.app.open('bob'), { code: 'BAD_CERT' }, name);
    t.strictSame(side.app.vault.conversations(), [], name);
  }
});

t.test('a device in the records that nobody knows any more: the server is asked who is there now', async (t) => {
  const side = await logIn(t);
  const { members } = side.server.roster(1);
  const gone = members.map((m) => (m.username === 'bob' ? { ...m, devices: [Buffer.alloc(32, 1)] } : m));
  side.app.vault.putRoster(side.id, { peer: 'bob', epoch: 1, members: gone });
  await accepted(side, say(side, 'to the bob of today'));
  t.equal(side.app.vault.conversation(side.id)?.epoch, side.server.epoch);
});
