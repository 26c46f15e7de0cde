/** What a server, or a member, can try with groups: each attempt has a name, shows nothing, and is over when the truth comes. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t, { type Test } from 'tap';
import { hex } from '../../base/bytes.ts';
import type { Code } from '../../base/errors.ts';
import { bindingName } from '../../client/e2ee/binding.ts';
import { parseMessage } from '../../client/e2ee/guard.ts';
import { GROUP_WORK } from '../../client/group-thread.ts';
import { shownMessage } from '../../client/presentation.ts';
import type { Message } from '../../client/message-table.ts';
import type { Request } from '../../protocol/messages.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { othersOf } from '../../transcript/some-leaves.ts';
import { ciphertextHash, decodeMs, encodeMs, KIND, messageAad } from '../../transcript/statement.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { encoded, forged, UNUSABLE_KEYS } from '../e2ee/people.ts';
import { authority } from '../support/pki.ts';
import type { ScriptedPeer } from './scripted-peer.ts';
import { drop, ScriptedServer, type Delivery } from './scripted-server.ts';
import { accepted, equip, isAlarm, isMessage, logIn, open, quiet, say, told, type Side } from './side.ts';

const commits = ({ server }: Side): number =>
  server.frames('msg_send').filter((f) => decodeMs(f.messages.at(-1)!.statement).kind === KIND.membership).length;
const isFromOutside = ({ messages }: Request<'msg_send'>): boolean =>
  parseMessage(messages.at(-1)!.parts[0]!).wireformat === 'mls_public_message';
const alarms = (side: Side): string[] =>
  side.events.flatMap((e) => (e.on === 'alarm' ? [`${e.error.code}/${e.error.sub ?? e.error.field}`] : []));
const send = (side: Side, delivery: Delivery): void => side.server.latest.send(delivery);
async function logged(server: ScriptedServer, sent: ReturnType<ScriptedServer['compose']>): Promise<Delivery> {
  const frame = await sent;
  return server.delivery(frame, server.append(frame));
}
/** The truth again: the device has come in anew if it had to, and reads what comes. */
async function isWell(t: Test, side: Side, how: 'as it was' | 'anew'): Promise<void> {
  if (how === 'anew') {
    while (commits(side) < 2) await quiet(side);
    await quiet(side);
  }
  t.equal(
    commits(side),
    how === 'anew' ? 2 : 0,
    `${how}: in from outside, and then another key than the one that it came with`,
  );
  send(side, await logged(side.server, side.server.compose('bob', ['and this is true'])));
  await side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === 'and this is true');
}

// ---- key packages ----------------------------------------------------------------------------------------------------------------

const swapped: readonly {
  readonly name: string;
  readonly alarm: string;
  readonly package: (server: ScriptedServer) => Promise<Uint8Array>;
}[] = [
  {
    name: 'of another user',
    alarm: 'SIG_FAIL/key_package',
    package: async (server) => {
      const peer = await server.peer;
      return (await peer.keyPackage(await peer.device('mallory', server.person('mallory').issued))).published;
    },
  },
  {
    name: 'of another device of the same user',
    alarm: 'SIG_FAIL/key_package',
    package: async (server) => {
      const peer = await server.peer;
      return (await peer.keyPackage(await peer.device('bob', server.ca.client('bob')))).published;
    },
  },
  {
    name: 'of another authority',
    alarm: 'BAD_CERT/untrusted',
    package: async (server) => {
      const peer = await server.peer;
      return (await peer.keyPackage(await peer.device('bob', authority().client('bob')))).published;
    },
  },
  {
    name: 'with a key that the binding is not for',
    alarm: 'SIG_FAIL/credential',
    package: async (server) => {
      const peer = await server.peer;
      const keys = await peer.engine.newDeviceKey();
      return (await peer.keyPackage({ ...peer.bob, own: { ...peer.bob.own, ...keys } })).published;
    },
  },
  {
    name: 'with keys that nobody can encrypt to',
    alarm: 'DECRYPT_FAIL/tree',
    package: async (server) => {
      const peer = await server.peer;
      return encoded(await forged(peer.bob.own, { initKey: await UNUSABLE_KEYS['a point of low order']!() }));
    },
  },
  {
    name: 'that is not signed',
    alarm: 'DECRYPT_FAIL/key_package',
    package: async (server) => {
      const peer = await server.peer;
      return encoded({ ...(await forged(peer.bob.own, {})), signature: Buffer.alloc(64) });
    },
  },
  { name: 'that is none', alarm: 'BAD_FRAME/keyPackage', package: async () => Buffer.from('nothing of the kind') },
];

for (const { name, alarm, package: make } of swapped)
  t.test(`a key package ${name}: nothing is encrypted for it`, async (t) => {
    const server = new ScriptedServer();
    const device = server.get('bob').fingerprint;
    server.packages = [{ device, package: await make(server) }];
    server.group = { generation: 0, epoch: 0 };
    const side = await logIn(t, server, join(t.testdir({}), 'p'), false);
    const row = say(side, 'for bob alone');
    await side.until((e) => e.on === 'warning' && e.text.startsWith('bob has no device'));
    t.strictSame(alarms(side), [alarm]);
    t.strictSame(server.frames('msg_send'), []);
    t.equal(side.app.vault.message(row)?.state, 'waiting');
    const peer = await server.peer;
    server.packages = [{ device, package: (await peer.keyPackage(peer.bob)).published }];
    await accepted(side, row);
    t.strictSame(
      server.frames('msg_send').map((f) => decodeMs(f.messages.at(-1)!.statement).kind),
      [KIND.membership, KIND.message],
    );
  });

// ---- what is delivered -----------------------------------------------------------------------------------------------------------

const deliveries: readonly {
  readonly name: string;
  readonly alarm: string;
  readonly lie: (side: Side) => Promise<void>;
  readonly after: 'as it was' | 'anew';
}[] = [
  {
    name: 'a message that is not encrypted',
    alarm: 'BAD_FRAME/msg_deliver.generation',
    after: 'as it was',
    lie: async (side) => {
      const delivery = await logged(side.server, side.server.compose('bob', ['in the open']));
      const items = delivery.items.map((item) => {
        const { generation: _g, epoch: _e, ...rest } = item as Record<string, unknown>;
        return rest as (typeof delivery.items)[number];
      });
      send(side, { ...delivery, items });
    },
  },
  {
    name: 'another generation than the message is of',
    alarm: 'DECRYPT_FAIL/group',
    after: 'as it was',
    lie: async (side) => {
      const delivery = await logged(side.server, side.server.compose('bob', ['x']));
      send(side, { ...delivery, items: delivery.items.map((item) => ({ ...item, generation: 2 })) });
    },
  },
  {
    name: 'another epoch than the message is of',
    alarm: 'DECRYPT_FAIL/epoch',
    after: 'as it was',
    lie: async (side) => {
      const delivery = await logged(side.server, side.server.compose('bob', ['x']));
      send(side, { ...delivery, items: delivery.items.map((item) => ({ ...item, epoch: 0 })) });
    },
  },
  {
    name: 'a message that was sealed for another statement',
    alarm: 'DECRYPT_FAIL/statement',
    after: 'as it was',
    lie: async (side) => {
      const aad = Buffer.alloc(240, 1);
      send(side, await logged(side.server, side.server.compose('bob', ['lifted'], { aad })));
    },
  },
  {
    name: 'a message that another device has signed than sealed',
    alarm: 'DECRYPT_FAIL/sender',
    after: 'as it was',
    lie: async (side) => {
      const issued = side.server.ca.client('bob');
      const other = { ...side.server.person('bobs-phone'), issued };
      const certificate = parseCertificate(issued.der);
      const { fingerprint } = certificate;
      side.server.people.set('bobs-phone', { ...other, certificate, fingerprint });
      send(
        side,
        await logged(side.server, side.server.compose('bob', ['whose'], { sender: fingerprint, key: issued.key })),
      );
    },
  },
  {
    name: 'a commit that was made for another statement',
    alarm: 'DECRYPT_FAIL/statement',
    after: 'as it was',
    lie: async (side) => {
      const aad = Buffer.alloc(240, 1);
      send(side, await logged(side.server, side.server.composeCommit([], false, { aad })));
    },
  },
  {
    name: 'a stranger whom a member lets in',
    alarm: 'DECRYPT_FAIL/policy',
    after: 'as it was',
    lie: async (side) => {
      const peer = await side.server.peer;
      const mallory = await peer.device('mallory', side.server.person('mallory').issued);
      const { published } = await peer.keyPackage(mallory);
      send(side, await logged(side.server, side.server.composeCommit([published], false)));
    },
  },
  {
    name: 'a message before the commit that it needs',
    alarm: 'DECRYPT_FAIL/gap',
    after: 'anew',
    lie: async (side) => {
      const commit = await logged(side.server, side.server.composeCommit());
      const message = await logged(side.server, side.server.compose('bob', ['too early']));
      send(side, message);
      await side.until(isAlarm);
      send(side, commit);
    },
  },
];

for (const { name, alarm, lie, after } of deliveries)
  t.test(`${name}: not shown, not acknowledged`, async (t) => {
    const side = await logIn(t);
    await lie(side);
    await side.until(isAlarm);
    await quiet(side);
    t.equal(alarms(side)[0], alarm);
    t.strictSame(side.shown(), []);
    t.strictSame(told(side).flat().length, after === 'anew' ? 1 : 0);
    t.equal(side.server.frames('msg_skipped').length, 1);
    await isWell(t, side, after);
    t.equal(alarms(side).length, 1);
  });

t.test('what has taken too long once is skipped at every login, without another try', async (t) => {
  const side = await logIn(t);
  const commit = await logged(side.server, side.server.composeCommit());
  const [item] = commit.items as readonly { readonly statement: Uint8Array }[];
  const subject = `${hex(leafHash(item!.statement))}/${GROUP_WORK}`;
  side.app.vault.ledger.addAlarm(Date.now(), 'TOO_LARGE', subject, 'too long', Buffer.alloc(0));
  send(side, commit); // which is good, and would be taken
  while (side.server.frames('msg_skipped').length === 0) await quiet(side);
  await quiet(side);
  t.strictSame([alarms(side), told(side)], [[], []]);
  // What came after it is read from outside.
  send(side, await logged(side.server, side.server.compose('bob', ['after it'])));
  await isWell(t, side, 'anew');
});

t.test('two commits in one epoch, to two halves: who got the one reads nothing of the other', async (t) => {
  const side = await logIn(t);
  send(side, await logged(side.server, side.server.composeCommit([], false)));
  await quiet(side);
  const other = await logged(side.server, side.server.composeCommit());
  send(side, await logged(side.server, side.server.compose('bob', ['to the other half'])));
  await side.until(isAlarm);
  send(side, other);
  await side.until((e) => e.on === 'alarm' && e.error.sub === 'epoch');
  t.strictSame(alarms(side), ['DECRYPT_FAIL/crypto', 'DECRYPT_FAIL/epoch']);
  t.strictSame(side.shown(), []);
});

t.test('a commit again: dealt with once, acknowledged again', async (t) => {
  const side = await logIn(t);
  const commit = await logged(side.server, side.server.composeCommit());
  send(side, commit);
  send(side, commit);
  send(side, await logged(side.server, side.server.compose('bob', ['after it'])));
  await side.until(isMessage);
  await quiet(side);
  t.strictSame(alarms(side), []);
  t.strictSame(side.shown(), ['after it']);
  t.equal(told(side).flat().length, 3);
  t.strictSame(
    side.events.filter((e) => e.on === 'warning'),
    [],
    'and a repetition is no gap',
  );
});

t.test('a message whose group cannot be read from here stays a place in the conversation', async (t) => {
  const side = await logIn(t, new ScriptedServer(), join(t.testdir({}), 'p'), false);
  send(side, await logged(side.server, side.server.compose('bob', ['before'])));
  const { message } = (await side.until(isMessage)) as { readonly message: Message };
  t.strictSame([message.body.length, message.reason], [0, 'UNREADABLE']);
  t.match(
    shownMessage(side.app.vault.annotations.reading(message), 'bob'),
    /bob: \[a message from before this device joined\]$/,
  );
  await isWell(t, side, 'anew');
  t.strictSame(alarms(side), []);
});

// ---- the way in ------------------------------------------------------------------------------------------------------------------

for (const [name, change] of [
  ['that is over', (old: Uint8Array) => ({ generation: 1, epoch: 1, group_info: old })],
  ['that is over, under the newest number', (old: Uint8Array) => ({ generation: 1, epoch: 2, group_info: old })],
  ['of a generation that is over', () => ({ generation: 0, epoch: 0 })],
  ['of another group', (old: Uint8Array) => ({ generation: 2, epoch: 1, group_info: old })],
] as const)
  t.test(`a state of the group ${name}: nothing is entered`, async (t) => {
    const side = await logIn(t);
    const old = await (await side.server.peer).door();
    await side.server.composeCommit(); // and it is withheld
    side.server.group = change(old);
    send(side, await logged(side.server, side.server.compose('bob', ['after it'])));
    await side.until((e) => e.on === 'alarm' && e.error.sub === 'group_info');
    await quiet(side);
    t.strictSame(alarms(side), ['DECRYPT_FAIL/gap', 'DECRYPT_FAIL/group_info']);
    t.equal(commits(side), 0);
    const row = say(side, 'into the void');
    await quiet(side);
    t.equal(side.app.vault.message(row)?.state, 'waiting');
    side.server.group = null;
    await accepted(side, row);
    await isWell(t, side, 'anew');
  });

t.test('for how long a group cannot be entered is counted across connections', async (t) => {
  let aheadMs = 0;
  const folder = join(t.testdir({}), 'p');
  const server = new ScriptedServer();
  const peer = await server.peer;
  const device = server.get('bob').fingerprint;
  server.packages = [{ device, package: (await peer.keyPackage(peer.bob)).published }];
  const side = await logIn(t, server, folder, true, { now: () => Date.now() + aheadMs });
  await side.server.composeCommit(); // and it is withheld
  side.server.group = { generation: 1, epoch: 2 };
  send(side, await logged(side.server, side.server.compose('bob', ['after it'])));
  await side.until(isAlarm);
  await quiet(side);
  t.equal(commits(side), 0, 'whoever made that state may still repeat it');
  aheadMs = 31_000;
  drop(side.server.latest);
  await side.until((e) => e.on === 'lost');
  await accepted(side, say(side, 'in another one'));
  const [made] = side.server.frames('msg_send');
  t.strictSame(made?.messages.at(-1)?.group, { generation: 2, epoch: 0 });
});

// ---- bindings --------------------------------------------------------------------------------------------------------------------

async function withoutBindings(t: Test): Promise<Side> {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  await equip(server, folder);
  const database = new DatabaseSync(join(folder, 'vault.db'));
  database.exec('DELETE FROM binding');
  database.close();
  return logIn(t, server, folder);
}

for (const [name, code, sub] of [
  ['another binding than asked for', 'SIG_FAIL', 'binding'],
  ['no binding', 'NOT_FOUND', undefined],
] as readonly (readonly [string, Code, string | undefined])[])
  t.test(`${name}: what needs it is not shown`, async (t) => {
    const side = await withoutBindings(t);
    side.server.script = (frame, link) => {
      if (frame.type !== 'binding_get') return false;
      if (sub === undefined) link.send({ type: 'error', id: frame.id, code: 'NOT_FOUND' });
      else link.send({ type: 'binding', id: frame.id, binding: Buffer.from('another') });
      return true;
    };
    send(side, await logged(side.server, side.server.compose('bob', ['?'])));
    const { error } = await side.until(isAlarm);
    t.match(error, { code, ...(sub === undefined ? {} : { sub }) });
    t.strictSame(side.shown(), []);
    side.server.script = () => false;
    await isWell(t, side, 'as it was');
  });

/** Alice without a group, one of her key packages, and Bob in a group of his own. */
async function stranger(t: Test) {
  const server = new ScriptedServer();
  const side = open(t, server, join(t.testdir({}), 'p'));
  await side.app.connect();
  await side.app.login(null);
  await side.app.open('bob');
  const peer = await server.peer;
  while (server.frames('keypackages_put').every((f) => f.packages.length === 0)) await quiet(side);
  const [published] = server.frames('keypackages_put').flatMap((f) => f.packages);
  for (const { binding } of server.frames('binding_put')) peer.bindings.set(bindingName(binding), binding);
  await peer.begin();
  return { server, side, published: published! };
}
/** The same, and Bob's invitation with a message behind it, on their way. */
async function invited(t: Test) {
  const { server, side, published } = await stranger(t);
  const commit = await logged(server, server.composeCommit([published]));
  const message = await logged(server, server.compose('bob', ['after the invitation']));
  return { server, side, commit, message };
}

/** A commit of Bob's that he has signed with other parts behind it, made one after the other by what `make` does with him. */
async function composed(
  server: ScriptedServer,
  make: (
    commit: (add?: readonly Uint8Array[], isAdopted?: boolean) => ReturnType<ScriptedPeer['commit']>,
  ) => Promise<Uint8Array[]>,
): Promise<Delivery> {
  const peer = await server.peer;
  const sent = server.state('bob', 1, {}, async (draft) => {
    const ms = { ...draft, kind: KIND.membership };
    const aad = messageAad(encodeMs(ms));
    let group = { generation: 0, epoch: 0 };
    const parts = await make(async (add, isAdopted) => {
      const made = await peer.commit(aad, add, isAdopted);
      group = { generation: made.generation, epoch: made.epoch };
      return made;
    });
    const ciphertextBytes = parts.reduce((sum, part) => sum + part.length, 0);
    const whole = { ...ms, parts: parts.length, ciphertextBytes, ciphertextHash: ciphertextHash(parts) };
    return { statement: encodeMs(whole), parts, group };
  });
  return logged(server, sent);
}
const SECRETS_AT = 32 + 1 + 64;

const misled: readonly {
  readonly name: string;
  readonly parts: (
    commit: (add?: readonly Uint8Array[], isAdopted?: boolean) => ReturnType<ScriptedPeer['commit']>,
    own: Uint8Array,
    server: ScriptedServer,
  ) => Promise<Uint8Array[]>;
}[] = [
  {
    name: 'an invitation into a state that is over, behind a later commit',
    parts: async (commit, own) => {
      const before = await commit([own]);
      return [...(await commit()).parts, ...before.parts.slice(1)];
    },
  },
  {
    name: 'an invitation that is for another device',
    parts: async (commit, own, server) => {
      const peer = await server.peer;
      const other = await peer.keyPackage(await peer.device('mallory', server.person('mallory').issued));
      const another = (await commit([other.published], false)).parts[3]!;
      const [all, shared, tree, mine] = (await commit([own])).parts;
      return [all!, shared!, tree!, Buffer.concat([mine!.subarray(0, SECRETS_AT), another.subarray(SECRETS_AT)])];
    },
  },
];

for (const { name, parts } of misled)
  t.test(`${name}: refused by name, and she comes in by herself`, async (t) => {
    const { server, side, published } = await stranger(t);
    send(side, await composed(server, (commit) => parts(commit, published, server)));
    await side.until(isAlarm);
    while (commits(side) === 0) await quiet(side);
    t.ok(
      isFromOutside(
        server
          .frames('msg_send')
          .find(({ messages }) => decodeMs(messages.at(-1)!.statement).kind === KIND.membership)!,
      ),
    );
    await quiet(side);
    send(side, await logged(server, server.compose('bob', ['and this is true'])));
    await side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === 'and this is true');
    t.strictSame(alarms(side), ['DECRYPT_FAIL/welcome']);
  });

// Fails when what the server shows of a commit is not compared with what was signed.
t.test('of an invitation other parts than were signed, or of another message: nothing is taken', async (t) => {
  const { server, side, published } = await stranger(t);
  const whole = await composed(server, async (commit) => (await commit([published])).parts);
  const [item] = whole.items as unknown as readonly {
    statement: Uint8Array;
    parts: readonly Uint8Array[];
    cursor: number;
  }[];
  const leaves = item!.parts.map(leafHash);
  const shown = (
    at: readonly number[],
    hashes = othersOf(leaves, at),
    alter = (part: Uint8Array) => part,
  ): Delivery => ({
    ...whole,
    items: [{ ...item!, parts: at.map((i) => alter(item!.parts[i]!)), cut: { at: [...at], hashes } }] as never,
  });
  const lies: readonly (readonly [Delivery, string])[] = [
    [shown([0], othersOf(leaves, [0]), (part) => Buffer.concat([part, Buffer.of(0)])), 'SIG_FAIL/ct_hash'],
    [shown([0], []), 'SIG_FAIL/ct_hash'],
    [shown([0, 3]), 'BAD_FRAME/msg_deliver.cut'],
    [shown([3]), 'BAD_FRAME/msg_deliver.cut'],
  ];
  for (const [i, [lie, alarm]] of lies.entries()) {
    send(side, lie);
    while (server.frames('msg_skipped').length <= i) await quiet(side);
    t.equal(alarms(side).at(-1), alarm);
  }
  send(side, shown([0, 1, 2, 3]));
  send(side, await logged(server, server.compose('bob', ['after the invitation'])));
  await side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === 'after the invitation');
  t.equal(commits(side), 0, 'the truth brought her in');
});

t.test('an invitation is queued: it is taken before anything is entered', async (t) => {
  const { server, side, commit: invitation, message } = await invited(t);
  server.script = (frame, link) => {
    if (frame.type !== 'sync') return false;
    link.send(invitation);
    link.send(message);
    return server.answer(frame, link, 'alice') ?? true;
  };
  await accepted(side, say(side, 'in the same moment'));
  const [commit, ...more] = server
    .frames('msg_send')
    .filter((f) => decodeMs(f.messages.at(-1)!.statement).kind === KIND.membership);
  t.equal(more.length, 0);
  t.equal(
    isFromOutside(commit!),
    false,
    'the only commit is from the inside: what it came in by was its last resort, and may serve again',
  );
  t.strictSame(side.shown(), ['after the invitation']);
  t.strictSame(alarms(side), []);
});

t.test('the line drops while a binding is fetched: what came after it is not read before it', async (t) => {
  const { server, side, commit, message } = await invited(t);
  let drops = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'binding_get' || drops++ > 0) return false;
    drop(link);
    return true;
  };
  send(side, commit);
  send(side, message);
  await side.until((e) => e.on === 'lost');
  while (!side.app.status().isConnected) await new Promise((resolve) => setTimeout(resolve, 5));
  send(side, commit);
  send(side, message);
  await side.until(isMessage);
  t.strictSame(side.shown(), ['after the invitation']);
  t.strictSame(alarms(side), []);
});

t.test('what was written after our own commit comes before its acknowledgement: it is read', async (t) => {
  const side = await logIn(t, new ScriptedServer(), join(t.testdir({}), 'p'), false);
  const { server } = side;
  let sent = 0;
  let answer = (): void => {};
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || sent === 2) return false;
    if (++sent === 1) {
      server.append(frame); // the log has it, and the line goes before this is said
      drop(link);
    } else answer = () => server.ack(link, frame, 0);
    return true;
  };
  const row = say(side, 'with a commit before it');
  await side.until((e) => e.on === 'lost');
  const after = await logged(server, server.compose('bob', ['in the state that it makes']));
  while (sent < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  send(side, after);
  await side.until(isMessage);
  t.strictSame(side.shown(), ['in the state that it makes']);
  answer();
  await accepted(side, row);
  t.strictSame(alarms(side), []);
  t.equal((await server.peer).epoch, 2, 'one commit, which counts');
});
