/** A server that lies in every way that the client must notice: about our messages, about those of others, about its log. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { decode } from '../../base/cbor.ts';
import { hex } from '../../base/bytes.ts';
import type { Code } from '../../base/errors.ts';
import type { Request } from '../../protocol/messages.ts';
import type { ServerLink } from '../../runtime/link.ts';
import { openCheckpoint } from '../../transcript/checkpoint.ts';
import { endorseKeyStatement } from '../../transcript/key-statement.ts';
import { verifierKey, type VerifierKey } from '../../transcript/note.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { authority } from '../support/pki.ts';
import { ORIGIN, ScriptedServer } from './scripted-server.ts';
import { accepted, isAlarm, isLost, isMessage, logIn, open, quiet, say, told } from './side.ts';

// ---- lies about our own messages -------------------------------------------------------------------------------------------------

type Lie = (server: ScriptedServer, frame: Request<'msg_send'>, link: ServerLink) => void | Promise<void>;
const acknowledged =
  (change: (ack: Buffer) => Buffer): Lie =>
  (server, frame, link) =>
    server.ack(link, frame, server.append(frame), (reply) => ({ ...reply, ack: change(Buffer.from(reply.ack)) }));
const other = generateKeyPairSync('ed25519').privateKey;

const lies: readonly {
  readonly name: string;
  readonly code: Code;
  readonly sub?: string;
  readonly field?: string;
  readonly lie: Lie;
}[] = [
  {
    name: 'a proof that does not lead to the root',
    code: 'SIG_FAIL',
    sub: 'range',
    lie: acknowledged((ack) => {
      ack[36]! ^= 1; // the first byte of the first hash of the proof
      return ack;
    }),
  },
  {
    name: 'another time than the one in the log',
    code: 'SIG_FAIL',
    sub: 'range',
    lie: acknowledged((ack) => {
      ack[25]! ^= 1;
      return ack;
    }),
  },
  {
    name: 'a batch that was acknowledged and not logged',
    code: 'SIG_FAIL',
    sub: 'range',
    lie: async (server, frame, link) => {
      server.append(await server.compose('bob', ['something else']));
      server.ack(link, frame, server.entries.length - 2);
    },
  },
  {
    name: 'a checkpoint that another key signed',
    code: 'SIG_FAIL',
    sub: 'note',
    lie: async (server, frame, link) => {
      const first = server.append(frame);
      link.send({ type: 'checkpoint', note: server.note(undefined, other).toString() });
      link.send({
        type: 'msg_ack',
        id: frame.id,
        ack: server.ackBytes(first, 1, false),
        messages: [{ seq: 9, queued: false }],
      });
    },
  },
  {
    name: 'an acknowledgement without any checkpoint',
    code: 'BAD_FRAME',
    field: 'ack.tree_size', // what came before is of another size
    lie: async (server, frame, link) => {
      const first = server.append(frame);
      link.send({
        type: 'msg_ack',
        id: frame.id,
        ack: server.ackBytes(first, 1, false),
        messages: [{ seq: 9, queued: false }],
      });
    },
  },
  {
    name: 'a log that is shorter than before',
    code: 'ROLLBACK',
    sub: 'shrunk',
    lie: async (server, frame, link) => {
      server.entries = [];
      server.append(await server.compose('bob', ['another past']));
      server.entries = server.entries.slice(0, 1);
      server.ack(link, frame, server.append(frame));
    },
  },
  {
    name: 'a log that was rewritten and has grown',
    code: 'FORK',
    sub: 'consistency',
    lie: async (server, frame, link) => {
      server.entries[0] = Buffer.from(server.entries[1]!);
      server.ack(link, frame, server.append(frame));
    },
  },
  {
    name: 'a proof of consistency that is refused',
    code: 'ROLLBACK',
    sub: 'consistency',
    lie: async (server, frame, link) => {
      server.script = (f, l) => {
        if (f.type !== 'log_consistency') return false;
        l.send({ type: 'error', id: f.id, code: 'BAD_FRAME', field: 'log_consistency.to' });
        return true;
      };
      server.ack(link, frame, server.append(frame));
    },
  },
  {
    name: 'places for another number of messages',
    code: 'BAD_FRAME',
    field: 'msg_ack.messages',
    lie: (server, frame, link) =>
      server.ack(link, frame, server.append(frame), (reply) => ({
        ...reply,
        messages: [...reply.messages, ...reply.messages],
      })),
  },
];

for (const { name, code, sub, field, lie } of lies)
  t.test(`the server lies: ${name}`, async (t) => {
    const side = await logIn(t);
    await accepted(side, say(side, 'honest'));
    await side.app.settled();
    side.server.script = (frame, link) => {
      if (frame.type !== 'msg_send') return false;
      void lie(side.server, frame, link);
      return true;
    };
    const row = say(side, 'lied about');
    const alarm = await side.until(isAlarm);
    t.match(alarm.error, { code, ...(sub === undefined ? {} : { sub }), ...(field === undefined ? {} : { field }) });
    const lost = await side.until(isLost);
    t.equal(lost.willRetry, false, 'nothing more is asked of this server');
    await t.rejects(side.app.waitFor(row, 'delivered', 1000), { code });
    await t.rejects(side.app.settled(), { code });
    t.match(
      side.app.vault.ledger.alarms().map((a) => a.code),
      [code],
      'the evidence is kept',
    );
    if (code === 'SIG_FAIL' || code === 'BAD_FRAME' || sub === 'shrunk')
      t.equal(side.app.vault.message(row)?.state, 'signed', 'never counted as accepted');
  });

t.test('two checkpoints of one size: both are kept, and prove the fork to anybody', async (t) => {
  const side = await logIn(t);
  await accepted(side, say(side, 'honest'));
  await side.app.settled();
  const delivery = await side.server.compose('bob', ['from another branch', 'which is as long']);
  side.server.entries = [];
  const first = side.server.append(delivery);
  side.server.latest.send(side.server.delivery(delivery, first));
  const alarm = await side.until(isAlarm);
  t.match(alarm.error, { code: 'FORK', sub: 'same_size' });
  const [kept] = side.app.vault.ledger.alarms();
  const notes = (decode(kept!.detail) as ReadonlyMap<string, string[]>).get('notes') ?? [];
  const key = verifierKey(ORIGIN, createPublicKey(side.server.logKey));
  const roots = notes
    .map((note) => openCheckpoint(Buffer.from(note), key))
    .map(({ size, root }) => `${size} ${hex(root)}`);
  t.equal(new Set(roots).size, 2);
  t.ok(roots.every((root) => root.startsWith('3 ')));
  t.strictSame(side.shown(), []);
});

// ---- lies about the messages of others -------------------------------------------------------------------------------------------

const falseDeliveries: readonly {
  readonly name: string;
  readonly code: Code;
  readonly sub?: string;
  readonly field?: string;
  /** sends one false delivery; answers the true one, when there is one */
  readonly lie: (server: ScriptedServer, link: ServerLink) => void | Promise<void>;
}[] = [
  {
    name: 'an altered body',
    code: 'SIG_FAIL',
    sub: 'ct_hash',
    lie: async (server, link) => {
      const sent = await server.compose('bob', ['true words']);
      const delivery = server.delivery(sent, server.append(sent));
      const [item] = delivery.items;
      if (item === undefined || !('parts' in item)) return;
      const altered = Buffer.from(item.parts[0]!);
      altered[altered.length - 1]! ^= 1;
      link.send({ ...delivery, items: [{ ...item, parts: [altered] }] });
    },
  },
  {
    name: 'an altered statement',
    code: 'SIG_FAIL',
    sub: 'batch_root',
    lie: async (server, link) => {
      const sent = await server.compose('bob', ['true words']);
      const delivery = server.delivery(sent, server.append(sent));
      const [item] = delivery.items;
      if (item === undefined || !('parts' in item)) return;
      const altered = Buffer.from(item.statement);
      altered[79]! ^= 1;
      link.send({ ...delivery, items: [{ ...item, statement: altered }] });
    },
  },
  {
    name: 'a body that its commitment does not open to',
    code: 'SIG_FAIL',
    sub: 'commitment',
    lie: async (server, link) =>
      void (await server.say(link, 'bob', ['unreportable'], { committed: 'something else' })),
  },
  {
    name: 'a sender forged by somebody with a certificate',
    code: 'SIG_FAIL',
    sub: 'batch',
    lie: async (server, link) =>
      void (await server.say(link, 'bob', ['not bob'], { key: server.person('mallory').issued.key })),
  },
  {
    name: 'a sender who is not in the conversation',
    code: 'BAD_CERT',
    sub: 'untrusted',
    lie: async (server, link) => {
      server.person('mallory');
      await server.say(link, 'mallory', ['let me in']);
    },
  },
  {
    name: 'a sender of another authority with the same name',
    code: 'BAD_CERT',
    sub: 'untrusted',
    lie: async (server, link) => {
      const twin = server.person('bob', authority());
      server.people.set('twin', { ...twin, name: 'twin' });
      await server.say(link, 'twin', ['bob, honestly']);
    },
  },
  {
    name: 'another certificate than asked for',
    code: 'SIG_FAIL',
    sub: 'fingerprint',
    lie: async (server, link) => {
      const mallory = server.person('mallory');
      server.script = (frame, l) => {
        if (frame.type !== 'certificate_get') return false;
        l.send({ type: 'certificate', id: frame.id, chain: [server.get('alice').issued.der] });
        return true;
      };
      await server.say(link, 'bob', ['?'], { sender: mallory.fingerprint, key: mallory.issued.key });
    },
  },
  {
    name: 'a batch that was signed for another log',
    code: 'SIG_FAIL',
    sub: 'audience',
    lie: async (server, link) =>
      void (await server.say(link, 'bob', ['elsewhere'], { audience: 'elsewhere.example/log/n1' })),
  },
  {
    name: 'a statement of another sender in the batch',
    code: 'SIG_FAIL',
    sub: 'statement',
    lie: async (server, link) =>
      void (await server.say(link, 'bob', ['as alice'], { stated: server.get('alice').fingerprint })),
  },
  {
    name: 'a statement with another counter than its place in the batch',
    code: 'SIG_FAIL',
    sub: 'statement',
    lie: async (server, link) => void (await server.say(link, 'bob', ['out of turn'], { ahead: 1 })),
  },
  {
    name: 'an acknowledgement for another size than the checkpoint before it',
    code: 'BAD_FRAME',
    field: 'ack.tree_size',
    lie: async (server, link) => {
      const sent = await server.compose('bob', ['one']);
      const first = server.append(sent);
      link.send({ type: 'checkpoint', note: server.note(1).toString() });
      link.send({ ...server.delivery(sent, first), ack: server.ackBytes(first, 1, false) });
    },
  },
  {
    name: 'a message that the log does not hold',
    code: 'SIG_FAIL',
    sub: 'range',
    lie: async (server, link) => {
      const logged = await server.compose('bob', ['logged']);
      const first = server.append(logged);
      link.send(server.delivery(await server.compose('bob', ['not logged']), first));
    },
  },
  {
    name: 'a batch with a message left out',
    code: 'BAD_FRAME',
    field: 'msg_deliver.items',
    lie: async (server, link) => {
      const sent = await server.compose('bob', ['one', 'two']);
      const delivery = server.delivery(sent, server.append(sent));
      link.send({ ...delivery, items: delivery.items.slice(1) });
    },
  },
];

for (const { name, code, sub, field, lie } of falseDeliveries)
  t.test(`false delivery: ${name}`, async (t) => {
    const side = await logIn(t);
    await lie(side.server, side.server.latest);
    const alarm = await side.until(isAlarm);
    t.match(alarm.error, { code, ...(sub === undefined ? {} : { sub }), ...(field === undefined ? {} : { field }) });
    t.strictSame(side.shown(), [], 'not shown as a message');
    await quiet(side);
    t.strictSame(told(side), [], 'not acknowledged');
    t.ok(side.server.frames('msg_skipped').length >= 1, 'but skipped, so that the server goes on');
    const [kept] = side.app.vault.ledger.alarms();
    t.ok(kept !== undefined && kept.detail.length > 400, 'kept as evidence');
    t.equal(side.app.status().isConnected, true, 'others can still be heard');
    side.server.script = () => false;
    await side.server.say(side.server.latest, 'bob', ['and this is true']);
    await side.until(isMessage);
    t.strictSame(side.shown(), ['and this is true']);
  });

t.test('an altered copy does not erase the true one', async (t) => {
  const side = await logIn(t);
  const sent = await side.server.compose('bob', ['pay 100']);
  const delivery = side.server.delivery(sent, side.server.append(sent));
  const [item] = delivery.items;
  if (item === undefined || !('parts' in item)) return t.fail('no item');
  const altered = Buffer.from(item.parts[0]!);
  altered[altered.length - 3] = 0x39;
  side.server.latest.send({ ...delivery, items: [{ ...item, parts: [altered] }] });
  side.server.latest.send(delivery);
  await side.until(isMessage);
  t.strictSame(side.shown(), ['pay 100']);
  await quiet(side);
  t.strictSame(told(side), [[item.cursor]]);
});

t.test('in a batch, one bad body does not condemn the others', async (t) => {
  const side = await logIn(t);
  const sent = await side.server.compose('bob', ['one', 'two', 'three']);
  const delivery = side.server.delivery(sent, side.server.append(sent));
  const items = delivery.items.map((item, i) =>
    i === 1 && 'parts' in item ? { ...item, parts: [Buffer.alloc(40)] } : item,
  );
  side.server.latest.send({ ...delivery, items });
  await side.until(isAlarm);
  await quiet(side);
  t.strictSame(side.shown(), ['one', 'three']);
  t.strictSame(told(side).at(-1)?.length, 2);
  t.strictSame(
    side.server.frames('msg_skipped').map(({ cursors }) => cursors),
    [delivery.items.slice(1, 2).map((item) => 'cursor' in item && item.cursor)],
    'that one alone is skipped',
  );
});

t.test('delivered twice: shown once, acknowledged twice', async (t) => {
  const side = await logIn(t);
  const delivery = await side.server.say(side.server.latest, 'bob', ['hello']);
  side.server.latest.send(delivery);
  await side.server.say(side.server.latest, 'bob', ['again']);
  await side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === 'again');
  await quiet(side);
  t.strictSame(side.shown(), ['hello', 'again']);
  const [first, second, third, ...more] = told(side).flat();
  t.ok(first !== undefined && second === first && third === first + 1 && more.length === 0);
  t.strictSame(
    side.events.filter((e) => e.on === 'warning'),
    [],
    'a repetition is no gap',
  );
});

t.test('messages of other conversations in the same batch stay hidden, and the rest is proven', async (t) => {
  const side = await logIn(t);
  const sent = await side.server.compose('bob', ['for others', 'for alice']);
  const first = side.server.append(sent);
  const delivery = side.server.delivery(sent, first);
  const statement_hash = leafHash(sent.messages[0]!.statement);
  const leaf_hash = leafHash(side.server.entries[first + 1]!);
  side.server.latest.send({ ...delivery, items: [{ statement_hash, leaf_hash }, delivery.items[1]!] });
  await side.until(isMessage);
  t.strictSame(side.shown(), ['for alice']);
  t.match(side.app.vault.ledger.allEvidence()[0]?.items[0], { leaf_hash });
});

t.test('a message that was kept back is noticed at the next one', async (t) => {
  const side = await logIn(t);
  await side.server.say(side.server.latest, 'bob', ['one']);
  side.server.append(await side.server.compose('bob', ['kept back']));
  await side.server.say(side.server.latest, 'bob', ['three']);
  await side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === 'three');
  t.match(
    side.events.find((e) => e.on === 'warning'),
    { text: /^1 message of bob before the next one did not arrive/ },
  );
  t.strictSame(side.shown(), ['one', 'three']);
});

// ---- the log's key ---------------------------------------------------------------------------------------------------------------

t.test('another log key than before', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  await (await logIn(t, server, folder)).app.close();
  server.logKey = other;
  const side = open(t, server, folder);
  await side.app.connect();
  await t.rejects(side.app.login(null), { code: 'FORK', sub: 'vkey' });
  t.match(side.app.vault.ledger.alarms(), [{ code: 'FORK' }]);
});

t.test('a log of another host, or a key certified for another certificate', async (t) => {
  const server = new ScriptedServer();
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    link.send(server.loginOk(frame.id, 'alice', 'elsewhere.example/log/n1'));
    return true;
  };
  const side = open(t, server, join(t.testdir({}), 'p'));
  await side.app.connect();
  await t.rejects(side.app.login(null), { code: 'BAD_CERT', sub: 'wrong_host' });

  const second = new ScriptedServer();
  second.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    const reply = second.loginOk(frame.id, 'alice');
    link.send({ ...reply, log: { ...reply.log, signature: Buffer.alloc(64, 1) } });
    return true;
  };
  const other = open(t, second, join(t.testdir({}), 'q'));
  await other.app.connect();
  await t.rejects(other.app.login(null), { code: 'SIG_FAIL', sub: 'log_key' });
});

t.test('a log key that is certified for another certificate, or not for now', async (t) => {
  t.testdir({});
  const rows: readonly (readonly [string, object])[] = [
    ['another certificate', { serverCertificate: Buffer.alloc(32, 1) }],
    ['over', { notAfter: Date.now() - 1000 }],
    ['to come', { notBefore: Date.now() + 100_000 }],
  ];
  for (const [name, change] of rows) {
    const server = new ScriptedServer();
    server.script = (frame, link) => {
      if (frame.type !== 'resume') return false;
      link.send(server.loginOk(frame.id, 'alice', ORIGIN, change));
      return true;
    };
    const side = open(t, server, join(t.testdirName, name.replaceAll(' ', '-')));
    await side.app.connect();
    await t.rejects(side.app.login(null), { code: 'SIG_FAIL', sub: 'log_key' }, name);
    t.strictSame(side.app.vault.ledger.origins(), [], 'not pinned');
  }
});

t.test('an older log of the same node', async (t) => {
  const server = new ScriptedServer();
  let origin = `${ORIGIN}/e2`;
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    link.send(server.loginOk(frame.id, 'alice', origin));
    return true;
  };
  const folder = join(t.testdir({}), 'p');
  const first = open(t, server, folder);
  await first.app.connect();
  await first.app.login(null);
  await first.app.close();
  origin = ORIGIN;
  const second = open(t, server, folder);
  await second.app.connect();
  await t.rejects(second.app.login(null), { code: 'ROLLBACK', sub: 'epoch' });
});

t.test('another key of the same log', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  const side = await logIn(t, server, folder);
  await side.app.close();
  const keyOf = (key: KeyObject) => verifierKey(ORIGIN, createPublicKey(key));
  const [first, second] = [server.logKey, generateKeyPairSync('ed25519').privateKey];
  let [key, signer]: [KeyObject, KeyObject | null] = [second, null];
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    const reply = server.loginOk(frame.id, 'alice', ORIGIN, { log: keyOf(key) });
    const { statement } = server.loginOk(0, 'alice', ORIGIN, { log: keyOf(second), previous: keyOf(first) }).log;
    const endorsement = signer && endorseKeyStatement(Buffer.from(statement), signer);
    const takeovers = endorsement && { takeovers: [{ statement, signature: endorsement }] };
    link.send({ ...reply, log: { ...reply.log, ...takeovers } });
    return true;
  };
  const login = async () => {
    const opened = open(t, server, folder);
    await opened.app.connect();
    await opened.app.login(null).finally(() => opened.app.close());
    return opened.events.flatMap((event) => (event.on === 'warning' ? event.text : []));
  };
  await t.rejects(login(), { code: 'FORK', sub: 'vkey' }, 'nobody agreed');
  signer = second;
  await t.rejects(login(), { code: 'FORK', sub: 'vkey' }, 'it agreed to itself');
  signer = first;
  t.match(await login(), [/the log localhost\/log\/n1 has a new key, and the one before agreed to it/]);
  t.strictSame(await login(), [], 'once');
  key = first;
  await t.rejects(login(), { code: 'FORK', sub: 'vkey' }, 'the one before never comes back');
});

t.test('a later log of the same node', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  const side = await logIn(t, server, folder);
  await accepted(side, say(side, 'x'));
  await side.app.close();
  const log = verifierKey(ORIGIN, createPublicKey(server.logKey));
  const later: { previous: VerifierKey | null } = { previous: verifierKey(ORIGIN, createPublicKey(other)) };
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    link.send(server.loginOk(frame.id, 'alice', `${ORIGIN}/e2`, later));
    return true;
  };
  const login = async () => {
    const opened = open(t, server, folder);
    await opened.app.connect();
    await opened.app.login(null).finally(() => opened.app.close());
    return opened.events.flatMap((event) => (event.on === 'warning' ? event.text : []));
  };
  await t.rejects(login(), { code: 'FORK', sub: 'vkey' }, 'it follows a log that was never seen');
  later.previous = log;
  const [told] = await login();
  t.match(told, /lost a part of its record localhost\/log\/n1 .*: entries 5 to 6 are lost\. It goes on .*n1\/e2;/);
  t.strictSame(await login(), [], 'once');
});

t.test('the newest checkpoint is shown to the server at login', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  const side = await logIn(t, server, folder);
  await accepted(side, say(side, 'x'));
  await side.app.close();
  const again = open(t, server, folder);
  await again.app.connect();
  await again.app.login(null);
  t.equal(server.frames('resume').at(-1)?.checkpoint, server.note(3).toString());
});
