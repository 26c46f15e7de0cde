/** The rules of a group of two people, and how what belongs to it is laid out. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { KeyPackage } from 'ts-mls';
import { concat } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { encode } from '../../base/cbor.ts';
import type { Device } from '../../client/e2ee/binding.ts';
import { checkDirect, directPolicy, directSettings, groupIdOf } from '../../client/e2ee/direct.ts';
import type { RosterChange } from '../../client/e2ee/group.ts';
import { headerOf } from '../../client/e2ee/header.ts';
import {
  commitParts,
  doorBytes,
  MAX_COMMIT_BYTES,
  readCommitParts,
  readDoor,
  TREE_AT_SERVER,
} from '../../client/e2ee/layout.ts';
import { sealedBytes } from '../../client/e2ee/padding.ts';
import { encoded, forged, UNUSABLE_KEYS, World } from './people.ts';

const device = (user: string): Device => ({ user }) as Device;
const settings = directSettings(['bob', 'alice']);
const change = (more: Partial<RosterChange>): RosterChange => ({
  by: device('alice'),
  isExternal: false,
  added: [],
  removed: [],
  members: [device('alice'), device('bob')],
  settings,
  ...more,
});

t.test('settings and group id have one form', (t) => {
  t.same(settings, directSettings(['alice', 'bob']));
  t.same(settings, encode({ v: 1, kind: 'direct', users: ['alice', 'bob'] }));
  const conversation = randomBytes(32);
  const label = Buffer.from('chat/1 group\0');
  t.same(groupIdOf(conversation, 258), sha256(label, conversation, Buffer.of(0, 0, 1, 2)));
  t.end();
});

t.test('who may come in', (t) => {
  const rows: readonly (readonly [string, RosterChange, RegExp | null])[] = [
    ['one of the two', change({ added: [device('bob')] }), null],
    ['by himself', change({ by: device('bob'), isExternal: true, added: [device('bob')] }), null],
    ['anybody goes', change({ removed: [device('bob'), device('alice')] }), null],
    ['a third', change({ added: [device('alice'), device('carol')] }), /^carol is not one/],
    ['a third by himself', change({ by: device('carol'), isExternal: true, added: [device('carol')] }), /^carol/],
    ['under no rules', change({ settings: new Uint8Array() }), /not one of two/],
    ['of another kind', change({ settings: encode({ v: 1, kind: 'room', users: ['a', 'b'] }) }), /not one of two/],
    ['of three', change({ settings: encode({ v: 1, kind: 'direct', users: ['a', 'b', 'c'] }) }), /not one of two/],
  ];
  for (const [name, value, why] of rows)
    if (why === null) t.equal(directPolicy(value), null, name);
    else t.match(directPolicy(value), why, name);
  t.doesNotThrow(() => checkDirect(settings, [device('alice'), device('bob')], ['bob', 'alice']));
  for (const [members, users] of [
    [
      ['alice', 'bob'],
      ['alice', 'carol'],
    ],
    [
      ['alice', 'carol'],
      ['alice', 'bob'],
    ],
  ] as const)
    t.throws(() => checkDirect(settings, members.map(device), users), { code: 'DECRYPT_FAIL', sub: 'policy' });
  t.end();
});

t.test('parts of a commit, there and back; anything else is refused', (t) => {
  const commit = Buffer.from('commit');
  const each = ['one', 'two'].map((name) => ({
    device: sha256(Buffer.from(`key of ${name}`)),
    reference: Buffer.from(name),
    secrets: Buffer.from(`secrets ${name}`),
  }));
  for (const [tree, sent] of [
    [null, null],
    [Buffer.from('tree'), TREE_AT_SERVER],
  ]) {
    const welcome = { shared: Buffer.from('shared'), each };
    t.same(readCommitParts(commitParts(commit, { ...welcome, tree: tree! }).bytes), {
      commit,
      welcome: { ...welcome, tree: sent },
    });
  }
  t.same(readCommitParts(commitParts(commit, null).bytes), { commit, welcome: null });
  const labelled = (...bytes: number[]): Buffer => concat(Buffer.alloc(32, 7), Buffer.from(bytes));
  const newcomer = labelled(1, 5, 5, 5);
  for (const parts of [
    [],
    [commit, commit],
    [commit, commit, commit],
    [commit, commit, commit, Buffer.alloc(20)],
    [commit, commit, commit, labelled(0, 1)],
    [commit, commit, commit, labelled(9, 1)],
    [commit, commit, commit, newcomer, newcomer],
  ])
    t.throws(() => readCommitParts(parts), { code: 'BAD_FRAME', field: 'parts' }, `${parts.length} parts`);
  const groupInfo = Buffer.from('info');
  const tree = Buffer.from('tree');
  const reference = { size: 4, hash: sha256(tree) };
  t.same(readDoor(doorBytes({ groupInfo, tree: null }).bytes), { groupInfo, tree: null });
  const door = doorBytes({ groupInfo, tree });
  t.same(readDoor(door.bytes), { groupInfo, tree: reference });
  t.same(door.blob, tree, 'beside it');
  t.throws(() => readDoor(concat(door.bytes, Buffer.of(0))), { code: 'BAD_FRAME', field: 'group_info' });

  const large = Buffer.alloc(MAX_COMMIT_BYTES + 1, 3);
  const laid = commitParts(large, null);
  t.same(readCommitParts(laid.bytes), { commit: { size: large.length, hash: sha256(large) }, welcome: null });
  t.same(laid.blob, large);
  t.equal(commitParts(large.subarray(1), null).blob, null, 'the largest that is a part itself');
  t.throws(() => readDoor(Buffer.of(0, 0, 0, 9, 1)), { code: 'BAD_FRAME', field: 'group_info' });
  t.end();
});

t.test('a message says its group and epoch, and its length is known before it is sealed', async (t) => {
  const world = await World.open();
  const [alice, bob] = [await world.person('alice'), await world.person('bob')];
  let [conversation] = await world.group([alice, bob]);
  const id = conversation!.state.groupContext.groupId;
  for (const [content, aad] of [
    [0, 240],
    [223, 240],
    [255, 0],
    [256, 240],
    [9000, 63],
    [20_000, 20_000],
    [524_287, 240],
  ] as const) {
    const sealed = await world.engine.encrypt(conversation!, Buffer.alloc(content), Buffer.alloc(aad));
    conversation = sealed.conversation;
    t.equal(sealed.message.length, sealedBytes(content, aad), `${content} bytes`);
    t.match(headerOf(sealed.message), { groupId: id, epoch: 1 });
  }
  const door = await world.engine.door(conversation!);
  t.match(headerOf(door.groupInfo), { groupId: id, epoch: 1 });
  const { published } = await world.keyPackage(alice);
  t.throws(() => headerOf(published), { code: 'DECRYPT_FAIL', sub: 'group' });
  t.throws(() => headerOf(Buffer.from('nothing')), { code: 'BAD_FRAME' });
});

t.test('whose key package it is', async (t) => {
  const world = await World.open();
  const alice = await world.person('alice');
  const { published } = await world.keyPackage(alice);
  t.match(await world.engine.holder(published, world.now), {
    user: 'alice',
    certificate: sha256(alice.certificate.der),
  });
  const isOver = { code: 'DECRYPT_FAIL', sub: 'freshness' };
  const end = world.now + 30 * 86_400_000;
  await t.rejects(world.engine.holder(published, end + 86_400_000), isOver);
  await t.rejects(world.engine.holder(published, end - 1000), isOver, 'before a commit with it is in the log');
  t.ok(await world.engine.holder(published, end - 700_000));

  const is = { code: 'DECRYPT_FAIL', sub: /^(?:key_package|tree)$/ };
  const made = (change: Parameters<typeof forged>[1]) => forged(alice.device, change, world.now);
  const { leafNode, ...whole } = await made({});
  const { capabilities } = leafNode;
  const nothing = Buffer.alloc(64);
  const unfit: Record<string, KeyPackage> = {
    'not signed': { leafNode, ...whole, signature: nothing },
    'with a leaf that is not signed': { ...whole, leafNode: { ...leafNode, signature: nothing } },
    'for another suite': { leafNode, ...whole, cipherSuite: 'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519' },
    'of a device that knows no credential': await made({
      leaf: { capabilities: { ...capabilities, credentials: [] } },
    }),
    'of a device that does not know our groups': await made({
      leaf: { capabilities: { ...capabilities, extensions: [] } },
    }),
    'of an extension that its device does not know': await made({
      leaf: { extensions: [{ extensionType: 0xf0c2, extensionData: Buffer.alloc(1) }] },
    }),
    'that is larger than it has to be': await made({
      leaf: {
        capabilities: { ...capabilities, extensions: [0xf0c1, 0xf0c2] },
        extensions: [{ extensionType: 0xf0c2, extensionData: Buffer.alloc(2048) }],
      },
    }),
    'with one key for two purposes': await made({ initKey: leafNode.hpkePublicKey, leaf: leafNode }),
  };
  for (const [why, key] of Object.entries(UNUSABLE_KEYS)) {
    unfit[`with an initial key of ${why}`] = await made({ initKey: await key() });
    unfit[`with an encryption key of ${why}`] = await made({ leaf: { hpkePublicKey: await key() } });
  }
  for (const [why, each] of Object.entries(unfit))
    await t.rejects(world.engine.holder(encoded(each), world.now), is, why);
  t.match(await world.engine.holder(encoded(await made({})), world.now), { user: 'alice' });
});
