/** What this device signs about messages of others, and what it believes of what others sign about its own. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { equal, hex, type Hash } from '../../base/bytes.ts';
import type { Reply, Request } from '../../protocol/messages.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { decodeReceipt } from '../../transcript/receipt.ts';
import { decodeMs, isReceipt, KIND } from '../../transcript/statement.ts';
import { setReadReceipts } from '../../client/read-receipts.ts';
import { ScriptedServer } from './scripted-server.ts';
import { accepted, equip, findings, isAlarm, isMessage, logIn, open, quiet, say, type Side } from './side.ts';

interface Said {
  readonly kind: number;
  readonly to: string | undefined;
  readonly messages: readonly string[];
  /** statements in its batch */
  readonly together: number;
}
/** All that the device has signed about messages, in order. */
const said = (server: ScriptedServer): Said[] =>
  server.frames('msg_send').flatMap(({ messages }) =>
    messages.flatMap(({ statement, parts, to }) => {
      const { kind } = decodeMs(statement);
      if (!isReceipt(kind)) return [];
      return [
        {
          kind,
          to,
          messages: decodeReceipt(parts[0]!).map(hex),
          together: messages.filter(({ statement: each }) => decodeMs(each).kind !== KIND.open).length,
        },
      ];
    }),
  );
const leavesOf = ({ items }: { readonly items: readonly object[] }): Hash[] =>
  items.flatMap((item) => ('statement' in item ? [leafHash(item.statement as Uint8Array)] : []));
const settled = async (side: Side): Promise<void> => {
  await quiet(side);
  await side.app.settled();
};

t.test('what was stored is receipted: one statement for all that came, and none twice', async (t) => {
  const side = await logIn(t);
  const delivery = await side.server.say(side.server.latest, 'bob', ['one', 'two', 'three']);
  await side.until(isMessage);
  while (said(side.server).length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  const want = { kind: KIND.delivered, to: 'bob', messages: leavesOf(delivery).map(hex), together: 1 };
  t.strictSame(said(side.server), [want], 'by itself, after a while');
  await settled(side);
  side.server.latest.send(delivery);
  await settled(side);
  t.equal(said(side.server).length, 1, 'what comes again was said before');
  t.strictSame(findings(side.server), []);
});

t.test('a receipt waits for more, and holds up no message', async (t) => {
  const side = await logIn(t);
  const delivery = await side.server.say(side.server.latest, 'bob', ['hello']);
  await side.until(isMessage);
  const sent = await accepted(side, say(side, 'hello yourself'));
  await settled(side);
  t.strictSame(said(side.server), [
    { kind: KIND.delivered, to: 'bob', messages: leavesOf(delivery).map(hex), together: 1 },
  ]);
  t.match(
    side.server
      .frames('msg_send')
      .slice(-2)
      .map(({ messages }) =>
        messages
          .map(({ statement, group, to }) => [decodeMs(statement).kind, group === undefined, to])
          .filter(([kind]) => kind !== KIND.open),
      ),
    [[[KIND.message, false, undefined]], [[KIND.delivered, true, 'bob']]],
  );
  t.equal(sent.seq, 2, 'and takes no place');
  t.strictSame(findings(side.server), []);
});

t.test('whatever ends in between, it is said once', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  const first = await logIn(t, server, folder);
  server.script = (frame) => frame.type === 'msg_send';
  const delivery = await server.say(server.latest, 'bob', ['hello']);
  await first.until(isMessage);
  await first.app.close();
  server.script = () => false;
  const second = open(t, server, folder);
  await second.app.connect();
  await second.app.login(null);
  await settled(second);
  await second.app.close();
  const batches = new Set(server.frames('msg_send').map(({ batch }) => hex(leafHash(batch))));
  t.equal(batches.size, 1, 'the same bytes again, if there were any');
  t.strictSame(said(server).at(-1)?.messages, leavesOf(delivery).map(hex));
  const third = open(t, server, folder);
  await third.app.connect();
  await third.app.login(null);
  await settled(third);
  t.equal(new Set(server.frames('msg_send').map(({ batch }) => hex(leafHash(batch)))).size, 1);
});

t.test('receipts that are refused are dropped, and hold up nothing', async (t) => {
  const side = await logIn(t);
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    const isRefused = (frame as Request<'msg_send'>).messages.some(({ to }) => to !== undefined);
    if (isRefused) link.send({ type: 'error', id: frame.id, code: 'NOT_FOUND', field: 'conversation' });
    return isRefused;
  };
  await side.server.say(side.server.latest, 'bob', ['hello']);
  await side.until(isMessage);
  t.equal((await accepted(side, say(side, 'still here'))).state, 'accepted');
  await settled(side);
  t.equal(side.app.vault.receipts.owed(), 0);
  t.equal(side.app.status().pending, 0);
});

/** A batch of these messages and a receipt, which is answered as is said; what comes after it is taken. */
async function together(side: Side, texts: readonly string[], answer: (frame: Request<'msg_send'>) => Reply) {
  const { server } = side;
  let held: Request<'msg_send'> | null = null;
  let isAnswered = false;
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || isAnswered) return false;
    if (held === null) held = frame;
    else if (said(server).length > 0) link.send(((isAnswered = true), answer(frame)));
    else return false;
    return true;
  };
  say(side, 'on its way while something comes');
  await server.say(server.latest, 'bob', ['one']);
  await side.until(isMessage);
  await new Promise((resolve) => setTimeout(resolve, 400)); // it is time for a receipt
  const rows = texts.map((text) => say(side, text));
  server.answer(held!, server.latest, 'alice');
  while (!isAnswered) await new Promise(setImmediate);
  return rows;
}

// Fails when what has been withdrawn waits for something else to be said.
t.test(
  'a receipt beside what was signed too early is said again, with what was signed anew or soon after',
  async (t) => {
    const side = await logIn(t);
    const [row] = await together(side, ['too early'], ({ id }) => {
      side.server.epoch++;
      return { type: 'error', id, code: 'STALE' };
    });
    await accepted(side, row!);
    while (said(side.server).length === 1) await new Promise((resolve) => setTimeout(resolve, 10));
    t.equal(said(side.server).length, 2);
    await settled(side); // said is not answered yet
    t.equal(side.app.vault.receipts.owed(), 0);
  },
);

// Fails when receipts that go each alone wait until there is no message.
t.test('a receipt that goes alone has its turn, however much is written', async (t) => {
  const side = await logIn(t);
  const isBad = ({ messages }: Request<'msg_send'>): boolean => messages.some(({ parts }) => parts[0]!.length > 4000);
  const refuse = ({ id }: Request<'msg_send'>): Reply => ({ type: 'error', id, code: 'QUOTA' });
  const rows = await together(side, ['good', 'bad'.repeat(2000)], refuse);
  side.server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || !isBad(frame)) return false;
    link.send(refuse(frame));
    return true;
  };
  let [written, atLast] = [0, 0];
  side.app.on((event) => {
    if (event.on !== 'state' || event.message.direction !== 'out' || event.message.state !== 'accepted') return;
    if (said(side.server).length > 1) atLast ||= written;
    else if (++written < 100) say(side, `and on, ${written}`);
  });
  say(side, 'and on');
  await accepted(side, rows[0]!);
  while (atLast === 0 && written < 100) await new Promise(setImmediate);
  t.ok(atLast > 0, 'it is said meanwhile');
});

t.test('that something was read is said only if the person wants it', async (t) => {
  const side = await logIn(t);
  const { vault } = side.app;
  const show = async (text: string): Promise<string[]> => {
    const delivery = await side.server.say(side.server.latest, 'bob', [text]);
    while (vault.unshown(null, 1).length === 0) await quiet(side);
    side.app.markShown(vault.unshown(null, 1).map(({ row }) => row));
    await settled(side);
    return leavesOf(delivery).map(hex);
  };
  await show('first');
  t.strictSame(
    said(side.server).map(({ kind }) => kind),
    [KIND.delivered],
  );
  vault.profile.setSendsRead(true);
  const second = await show('second');
  t.strictSame(said(side.server).at(-1), { kind: KIND.read, to: 'bob', messages: second, together: 1 });
  vault.profile.setSendsRead(false);
  const { length } = said(side.server);
  await show('third');
  t.equal(said(side.server).length, length + 1, 'only that it came');
  t.strictSame(findings(side.server), []);
});

t.test('accepted, delivered, read: each by a signed word', async (t) => {
  const side = await logIn(t);
  const { row, hash } = await accepted(side, say(side, 'hello'));
  const read = side.app.waitFor(row, 'read', 60_000);
  await side.server.receipts(side.server.latest, 'bob', [hash!], KIND.delivered);
  t.equal((await side.app.waitFor(row, 'delivered', 60_000)).state, 'delivered');
  await side.server.receipts(side.server.latest, 'bob', [hash!], KIND.read);
  t.equal((await read).state, 'read');
  const other = await accepted(side, say(side, 'and again'));
  await side.server.receipts(side.server.latest, 'bob', [other.hash!], KIND.read);
  t.equal((await side.app.waitFor(other.row, 'delivered', 60_000)).state, 'read', 'what was read was delivered');
  t.match(
    side.app.vault.receipts.of(hash!).map(({ kind, by, device }) => [kind, by, hex(device)]),
    [KIND.delivered, KIND.read].map((kind) => [kind, 'bob', hex(side.server.get('bob').fingerprint)]),
  );
  t.strictSame(side.app.vault.ledger.alarms(), []);
});

t.test('what another device of the same person has read, is read', async (t) => {
  const side = await logIn(t);
  const { vault } = side.app;
  side.server.people.set('phone', { ...side.server.person('alice', side.server.ca, 'ed25519'), name: 'phone' });
  side.server.people.set('alice', { ...side.server.people.get('alice')!, ...identityOf(side) });
  const delivery = await side.server.say(side.server.latest, 'bob', ['hello']);
  await side.until(isMessage);
  const [leaf] = leavesOf(delivery);
  t.equal(vault.unshown(null, 9).length, 1);
  await side.server.receipts(side.server.latest, 'phone', [leaf!], KIND.delivered);
  await settled(side);
  t.equal(vault.unshown(null, 9).length, 1, 'to have it is not to have read it');
  await side.server.receipts(side.server.latest, 'phone', [leaf!], KIND.read);
  await settled(side);
  t.equal(vault.unshown(null, 9).length, 0);
  vault.profile.setSendsRead(true);
  side.app.markShown([vault.messageByHash(leaf!)!.row]);
  await settled(side);
  t.notOk(
    said(side.server).some(({ kind }) => kind === KIND.read),
    'and is not said once more',
  );
  const { length } = said(side.server);
  const later = await side.server.compose('bob', ['later']);
  const [unknown] = later.messages.map(({ statement }) => leafHash(statement));
  const first = side.server.append(later);
  await side.server.receipts(side.server.latest, 'phone', [unknown!], KIND.delivered);
  await settled(side);
  side.server.latest.send(side.server.delivery(later, first));
  while (said(side.server).length === length) await quiet(side);
  t.strictSame(said(side.server).at(-1)?.messages, [hex(unknown!)], 'that this device has it, too, is its own to say');
  t.strictSame(vault.ledger.alarms(), []);
});

/** The device under test, as it was before there was another one of the same person. */
function identityOf({ app }: Side) {
  const { chain, fingerprint } = app.identity;
  return { certificate: chain[0], fingerprint };
}

t.test('false receipts: alarms, never shown, never acknowledged', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  const own = await accepted(side, say(side, 'mine'));
  const delivery = await server.say(server.latest, 'bob', ['of bob']);
  await side.until(isMessage);
  await settled(side);
  const [his] = leavesOf(delivery);
  server.person('mallory');
  const elsewhere = randomBytes(32);
  const { peer, epoch, members } = side.app.vault.conversation(side.id)!;
  side.app.vault.putRoster(elsewhere as never, { peer, epoch, members });
  const rows: readonly (readonly [string, () => Promise<unknown>, object])[] = [
    ['for his own message', () => server.receipts(server.latest, 'bob', [his!]), { code: 'SIG_FAIL', sub: 'receipt' }],
    [
      'in another conversation',
      async () => {
        const sent = await server.receipt('bob', [own.hash!], KIND.delivered, {}, { conversation: elsewhere as never });
        server.latest.send(server.delivery(sent, server.append(sent)));
      },
      { code: 'SIG_FAIL', sub: 'receipt' },
    ],
    [
      'of somebody who is not in the conversation',
      () => server.receipts(server.latest, 'mallory', [own.hash!]),
      { code: 'BAD_CERT', sub: 'untrusted' },
    ],
    [
      'for other messages than were signed',
      async () => {
        const sent = await server.receipt('bob', [randomBytes(32)]);
        const altered = { ...sent, messages: [{ ...sent.messages[0]!, parts: [Buffer.from(own.hash!)] }] };
        server.latest.send(server.delivery(altered, server.append(altered)));
      },
      { code: 'SIG_FAIL', sub: 'ct_hash' },
    ],
  ];
  for (const [name, lie, want] of rows) {
    const alarms = side.events.filter(isAlarm).length;
    await lie();
    while (side.events.filter(isAlarm).length === alarms) await quiet(side);
    t.match(side.events.findLast(isAlarm)?.error, want, name);
    t.equal(side.app.vault.message(own.row)?.state, 'accepted', `${name}: nothing is shown of it`);
  }
  t.equal(server.frames('msg_skipped').length, rows.length);
  t.equal(side.app.vault.receipts.of(own.hash!).length, 0);
  await server.receipts(server.latest, 'bob', [randomBytes(32), own.hash!]);
  t.equal(
    (await side.app.waitFor(own.row, 'delivered', 60_000)).state,
    'delivered',
    'an unknown one beside it is no lie',
  );
  t.ok(
    side.app.vault.ledger
      .allEvidence()
      .some(({ items }) => items.some(({ statement }) => statement && isOf(statement))),
  );
});
const isOf = (statement: Uint8Array): boolean => isReceipt(decodeMs(statement).kind);

t.test('in a room, who cannot read there has not got it, whatever the server lists', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  const own = await accepted(side, say(side, 'mine'));
  await settled(side);
  const { fingerprint } = server.person('mallory');
  const { epoch, members } = side.app.vault.conversation(side.id)!;
  side.app.vault.putRoster(side.id, {
    peer: '#plan',
    epoch,
    members: [...members, { username: 'mallory', devices: [fingerprint] }],
    room: { public: false, founder: true, closed: false },
  });
  for (const kind of [KIND.delivered, KIND.read]) await server.receipts(server.latest, 'mallory', [own.hash!], kind);
  await settled(side);
  t.equal(side.app.vault.message(own.row)?.state, 'accepted');
  t.strictSame(side.app.vault.receipts.of(own.hash!), []);
  t.strictSame(side.events.filter(isAlarm), [], 'he may have been taken out meanwhile');
  await server.receipts(server.latest, 'bob', [own.hash!]);
  t.equal((await side.app.waitFor(own.row, 'delivered', 60_000)).state, 'delivered');
});

t.test('what could not be read is not receipted', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  await equip(server, folder);
  const side = open(t, server, folder);
  const { vault } = side.app;
  vault.putRoster(side.id, { peer: 'bob', epoch: 2, members: [{ username: 'bob', devices: [] }] });
  const received = (kf: Uint8Array | null) =>
    vault.incoming.add({
      conversation: side.id,
      seq: 1,
      hash: randomBytes(32) as unknown as Hash,
      direction: 'in',
      sender: 'bob',
      body: Buffer.alloc(0),
      kf,
      reason: kf === null ? 'UNREADABLE' : null,
      clientTime: 1,
      serverTime: 1,
      lineage: { fingerprint: server.get('bob').fingerprint, session: randomBytes(16) as never, convCtr: 1 },
    });
  received(null);
  t.equal(vault.receipts.owed(), 0);
  const readable = received(randomBytes(32));
  t.equal(vault.receipts.owed(), 1);
  vault.profile.setSendsRead(true);
  vault.markShown(vault.unshown(null, 9).map(({ row }) => row));
  t.match(
    vault.receipts.due().map(({ kind, to, messages }) => [kind, to, equal(messages[0]!, readable!.hash!)]),
    [
      [KIND.delivered, 'bob', true],
      [KIND.read, 'bob', true],
    ],
  );
});

t.test(
  'who is not told what was read: nothing is signed and nothing is sent, and what waited is not said',
  async (t) => {
    const server = new ScriptedServer();
    const side = await logIn(t, server);
    const { vault } = side.app;
    const said = (): number[] =>
      server.frames('msg_send').flatMap(({ messages }) => messages.map((m) => decodeMs(m.statement).kind));
    const hears = async (text: string): Promise<void> => {
      const { length } = side.shown();
      await server.say(server.latest, 'bob', [text]);
      while (side.shown().length === length) await new Promise((r) => setTimeout(r, 5));
      side.app.markShown(vault.unshown(null, 9).map(({ row }) => row));
      await side.app.settled();
    };
    setReadReceipts(vault, 'on', undefined);
    setReadReceipts(vault, 'off', 'bob');
    await hears('one');
    t.ok(said().includes(KIND.delivered));
    t.notOk(said().includes(KIND.read), 'bob is an exception');
    t.equal(vault.receipts.owed(), 0);
    setReadReceipts(vault, 'default', 'bob');
    await hears('two');
    t.equal(said().filter((kind) => kind === KIND.read).length, 1);
    setReadReceipts(vault, 'off', undefined);
    await hears('three');
    t.equal(said().filter((kind) => kind === KIND.read).length, 1, 'nobody is told any more');

    setReadReceipts(vault, 'on', 'bob');
    const [row] = vault.history(side.id, 1).map((message) => message.row);
    vault.receipts.owe(row!, KIND.read);
    t.equal(vault.receipts.owed(), 1);
    setReadReceipts(vault, 'off', 'bob');
    t.equal(vault.receipts.owed(), 0, 'what was not said yet');
  },
);

t.test('what is taken while somebody is there, and signed for by nobody, is said once', async (t) => {
  const server = new ScriptedServer();
  const side = await logIn(t, server, undefined, true, { withheldAfterMs: 50 });
  const warnings = () =>
    side.events.flatMap((e) => (e.on === 'warning' && /keep it back/.test(e.text) ? [e.text] : []));
  const kept = await accepted(side, say(side, 'kept back'));
  while (warnings().length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  t.strictSame(warnings(), ['bob was connected, and has not signed for message #1: the server may keep it back']);
  t.equal(side.app.status().withheld, 1);
  await server.receipts(server.latest, 'bob', [kept.hash!]);
  await side.app.waitFor(kept.row, 'delivered', 60_000);
  t.equal(side.app.status().withheld, 0, 'it was late');
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    server.ack(link, frame, server.append(frame), (r) => ({
      ...r,
      messages: r.messages.map((m) => ({ ...m, queued: true })),
    }));
    return true;
  };
  await accepted(side, say(side, 'nobody is there'));
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.equal(warnings().length, 1);
});
