/**
 * A member who means harm, through a real server, which takes what he signs because it cannot read it: everybody refuses it by the same
 * name and goes on as if it had not been, also where the server gives to those who want to come in what he has put there.
 */
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { createCommit, createProposal, emptyPskIndex, encodeMlsMessage, type ClientState, type Proposal } from 'ts-mls';
import { determineLength } from 'ts-mls/codec/variableLength.js';
import { encodeNode, encodeRatchetTree } from 'ts-mls/ratchetTree.js';
import { sha256 } from '../../base/hash.ts';
import { createBinding, credentialOf, parseCredential } from '../../client/e2ee/binding.ts';
import { groupIdOf } from '../../client/e2ee/direct.ts';
import { openToAll, type Conversation as Group } from '../../client/e2ee/group.ts';
import { parseMessage } from '../../client/e2ee/guard.ts';
import { occupants } from '../../client/e2ee/occupants.ts';
import { joinExternal } from '../../client/e2ee/join.ts';
import { generate, type OwnDevice } from '../../client/e2ee/key-package.ts';
import type { WelcomeParts } from '../../client/e2ee/invitation.ts';
import { commitParts, doorBytes } from '../../client/e2ee/layout.ts';
import { openSuite } from '../../client/e2ee/provider.ts';
import { roomSettings } from '../../client/e2ee/room.ts';
import type { Reply } from '../../protocol/messages.ts';
import { deviceOf, devicesOf, type DeviceApp } from '../support/apps.ts';
import { authority, type Issued } from '../support/pki.ts';
import { Rogue, type Forgery } from '../support/rogue.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(900_000); // a busy machine is no failure

const suite = await openSuite();
const ROOM = '#ops';
const isIn = (device: DeviceApp, ...users: readonly string[]): boolean =>
  device.vault.conversationWith(ROOM) !== null && users.every((user) => device.usersIn(ROOM).includes(user));
const DAY_MS = 86_400_000;

/** Whatever a modified client may do: the library's own functions, over a state that accepts everybody. */
const config: ClientState['clientConfig'] = {
  keyRetentionConfig: { retainKeysForGenerations: 10, retainKeysForEpochs: 2, maximumForwardRatchetSteps: 1000 },
  lifetimeConfig: { maximumTotalLifetime: 0n, validateLifetimeOnReceive: false },
  keyPackageEqualityConfig: { compareKeyPackages: () => false, compareKeyPackageToLeafNode: () => false },
  paddingConfig: { kind: 'alwaysPad', paddingLength: 0 },
  authService: { validateCredential: async () => true },
};
const lawless = ({ group: { state } }: Rogue): ClientState => ({ ...state, clientConfig: config });
async function commitOf(state: ClientState, extraProposals: Proposal[], authenticatedData: Uint8Array) {
  const context = { state, cipherSuite: suite, pskIndex: emptyPskIndex };
  return encodeMlsMessage((await createCommit(context, { extraProposals, authenticatedData })).commit);
}
/** A device of whoever the certificate names, with a binding that everybody can fetch. */
async function bound(
  rogue: Rogue,
  issued: Pick<Issued, 'der' | 'key'>,
  user: string,
  keys: Pick<OwnDevice, 'mlsKey' | 'mlsPrivateKey'>,
  deviceId: Uint8Array = randomBytes(16),
): Promise<OwnDevice> {
  const validity = { notBefore: Date.now() - 60_000, notAfter: Date.now() + 20 * DAY_MS };
  const statement = { organisation: 'localhost', user, deviceId, mlsKey: keys.mlsKey, ...validity };
  const binding = createBinding(statement, [issued.der], issued.key);
  await rogue.client.request({ type: 'binding_put', binding }, 'ok');
  return { user, deviceId, bindingHash: sha256(binding), ...keys };
}
async function addOf(device: OwnDevice): Promise<Proposal> {
  const validity = { notBefore: Date.now() - 60_000, notAfter: Date.now() + DAY_MS };
  const { keyPackage } = await generate(device, validity, suite);
  return { proposalType: 'add', add: { keyPackage } };
}
/** His own leaf under another credential. */
function posing(rogue: Rogue, device: Pick<OwnDevice, 'user' | 'deviceId' | 'bindingHash'>): ClientState {
  const state = lawless(rogue);
  const at = state.privatePath.leafIndex * 2;
  const node = state.ratchetTree[at];
  if (node?.nodeType !== 'leaf') throw new Error('no leaf');
  const leaf = { ...node.leaf, credential: credentialOf(device) };
  return { ...state, ratchetTree: state.ratchetTree.with(at, { nodeType: 'leaf', leaf }) };
}
function leafOf(rogue: Rogue, user: string) {
  for (const { leafIndex: index, leaf } of occupants(rogue.group.state.ratchetTree)) {
    const device = parseCredential(leaf.credential);
    if (device.user === user) return { device, index };
  }
  throw new Error(`${user} is not in the group`);
}

const junk = (): Buffer => randomBytes(500);
interface Attack {
  readonly name: string;
  readonly is: string;
  readonly forge: (rogue: Rogue, aad: Uint8Array) => Promise<Forgery>;
}
const attacks: readonly Attack[] = [
  {
    name: 'bytes that are no commit',
    is: 'BAD_FRAME/undefined',
    forge: async () => ({ parts: [junk()], groupInfo: junk() }),
  },
  {
    name: 'a commit with another bit',
    is: 'DECRYPT_FAIL/crypto',
    forge: async (rogue, aad) => {
      const commit = Buffer.from(await commitOf(lawless(rogue), [], aad));
      commit[commit.length - 1]! ^= 1;
      return { parts: [commit], groupInfo: await rogue.door() }; // of the state before it
    },
  },
  {
    name: 'a commit of another group',
    is: 'DECRYPT_FAIL/group',
    forge: async (rogue, aad) => {
      const settings = roomSettings({ room: '#ops', isPublic: true, owner: 'mallory' });
      const alone = await rogue.engine.create(rogue.device, randomBytes(32), settings, Date.now());
      const { commit } = await rogue.engine.commit(alone, { authenticatedData: aad }, Date.now(), openToAll);
      return { parts: [commit], groupInfo: await rogue.door(alone) };
    },
  },
  {
    name: 'a proposal where a commit belongs',
    is: 'DECRYPT_FAIL/stand_alone',
    forge: async (rogue, aad) => {
      const removal: Proposal = { proposalType: 'remove', remove: { removed: 0 } };
      const { message } = await createProposal(lawless(rogue), false, removal, suite, aad);
      return { parts: [encodeMlsMessage(message)], groupInfo: junk() };
    },
  },
  {
    name: 'somebody else in his leaf',
    is: 'SIG_FAIL/credential',
    forge: async (rogue, aad) => {
      const { device } = leafOf(rogue, 'bob');
      return { parts: [await commitOf(posing(rogue, device), [], aad)], groupInfo: junk() };
    },
  },
  {
    name: 'a device of his that is there already',
    is: 'DECRYPT_FAIL/double_device',
    forge: async (rogue, aad) => {
      const keys = await rogue.engine.newDeviceKey();
      const again = await bound(rogue, rogue.issued, 'mallory', keys, rogue.device.deviceId);
      return { parts: [await commitOf(lawless(rogue), [await addOf(again)], aad)], groupInfo: junk() };
    },
  },
  {
    name: 'a device of a foreign authority',
    is: 'BAD_CERT/untrusted',
    forge: async (rogue, aad) => {
      const keys = await rogue.engine.newDeviceKey();
      const stranger = await bound(rogue, authority('Foreign CA').client('bob'), 'bob', keys);
      return { parts: [await commitOf(lawless(rogue), [await addOf(stranger)], aad)], groupInfo: junk() };
    },
  },
  {
    name: 'a commit from outside that takes somebody else out',
    is: 'DECRYPT_FAIL/external_removal',
    forge: async (rogue, aad) => {
      const { index } = leafOf(rogue, 'bob');
      const message = parseMessage((await rogue.engine.door(rogue.group)).groupInfo);
      if (message.wireformat !== 'mls_group_info') throw new Error('no group info');
      const keys = await rogue.engine.newDeviceKey();
      const second = await bound(rogue, rogue.issued, 'mallory', keys);
      const own = await generate(second, { notBefore: Date.now() - 1000, notAfter: Date.now() + DAY_MS }, suite);
      const { commit } = await joinExternal(message.groupInfo, { suite, config, ...own }, index, aad);
      return { parts: [commit], groupInfo: junk() };
    },
  },
];

/** Three in a room, one of whom turns. */
async function scene(t: Test, isPublic: boolean) {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, mallory] = await devicesOf(t, w, 'alice', 'bob', 'mallory');
  await alice.app.rooms.create(ROOM, isPublic);
  for (const { app, person } of [bob, mallory])
    await (isPublic ? app.rooms.join(ROOM) : alice.app.rooms.invite(ROOM, person.name));
  const everybody = [alice, bob, mallory];
  for (const each of everybody) await each.until('all three', () => isIn(each, 'alice', 'bob', 'mallory'));
  for (const each of everybody) await each.say(ROOM, `I am ${each.person.name}`);
  for (const each of everybody) await each.hears(...everybody.map(({ person }) => `I am ${person.name}`));
  await Promise.all(everybody.map(({ app }) => app.settled()));
  return { w, alice, bob, rogue: await Rogue.of(w, mallory, ROOM) };
}

/** What everybody says of it, and that it has changed nothing for them. */
async function isRefused(t: Test, is: string, alice: DeviceApp, bob: DeviceApp): Promise<void> {
  for (const each of [alice, bob]) {
    await each.until('an alarm', () => each.told('alarm').length > 0);
    t.match(each.told('alarm'), [new RegExp(`^${is}: .*mallory`)], each.person.name);
  }
  await alice.say(ROOM, 'still here');
  await bob.hears('still here');
  await bob.say(ROOM, 'so am I');
  await alice.hears('so am I');
}
/** All three read each other, in one order, and nothing is lost. */
async function talk(t: Test, alice: DeviceApp, bob: DeviceApp, carol: DeviceApp): Promise<void> {
  const everybody = [alice, bob, carol];
  for (const each of everybody) await each.until('all three inside', () => isIn(each, 'alice', 'bob', 'carol'));
  for (const each of everybody) await each.say(ROOM, `${each.person.name} again`);
  for (const each of everybody) await each.hears('alice again', 'bob again', 'carol again');
  t.strictSame(alice.texts(ROOM), bob.texts(ROOM), 'in one order');
  t.notOk(alice.texts(ROOM).includes('UNREADABLE'), 'nothing is lost');
}

for (const { name, is, forge } of attacks)
  t.test(`${name}: refused by all alike, and the group goes on`, async (t) => {
    const { w, alice, bob, rogue } = await scene(t, true);
    await rogue.commit((aad) => forge(rogue, aad));
    await isRefused(t, is, alice, bob);
    // Somebody comes: the group has to change, in a state that the server says is over.
    const carol = await (await deviceOf(t, w, 'carol')).enter();
    const joined = carol.app.rooms.join(ROOM).catch(() => {});
    await carol.until('a way in, or none', () => isIn(carol, 'carol') || carol.told('alarm').length > 0);
    for (const each of [alice, bob, carol]) each.aheadMs = 31_000;
    await joined;
    await talk(t, alice, bob, carol);
  });

const doors: readonly { readonly name: string; readonly door: (rogue: Rogue) => Promise<Uint8Array> }[] = [
  { name: 'nothing', door: async () => junk() },
  { name: 'the state before it', door: (rogue) => rogue.door() },
  {
    name: 'a group of his own',
    door: async (rogue) => {
      const { engine, device, roster, generation, epoch } = rogue;
      const settings = roomSettings({ room: ROOM, isPublic: false, owner: 'alice' });
      let group = await engine.create(device, groupIdOf(roster.id, generation), settings, Date.now());
      for (let at = 0; at <= epoch; at++)
        group = engine.adopt((await engine.commit(group, {}, Date.now(), openToAll)).conversation);
      return rogue.door(group);
    },
  },
];
for (const { name, door } of doors)
  t.test(`a private room that leads into ${name}: its members make it anew, of themselves`, async (t) => {
    const { w, alice, bob, rogue } = await scene(t, false);
    await rogue.commit(async () => ({ parts: [junk()], groupInfo: await door(rogue) }));
    await isRefused(t, 'BAD_FRAME/undefined', alice, bob);
    const carol = await (await deviceOf(t, w, 'carol')).enter();
    const looked = alice.heard('group');
    const invited = alice.app.rooms.invite(ROOM, 'carol').catch(() => {});
    await looked;
    for (const each of [alice, bob, carol]) each.aheadMs = 31_000;
    await alice.write(ROOM, 'is anybody there?');
    await invited;
    await bob.hears('is anybody there?');
    await talk(t, alice, bob, carol);
    t.equal(bob.told('alarm').length, 1, 'bob was let into it by her');
  });

// ---- invitations -----------------------------------------------------------------------------------------------------------------

const invitations: readonly {
  readonly name: string;
  /** her look at the group, into which nobody has let her yet, began before it and ends after it; else it is over */
  readonly isLooking?: boolean;
  readonly spoil: (rogue: Rogue, good: WelcomeParts, published: Uint8Array) => Promise<WelcomeParts>;
}[] = [
  { name: 'whose group cannot be read', spoil: async (_, good) => ({ ...good, shared: junk() }) },
  { name: 'that comes while she looks', isLooking: true, spoil: async (_, good) => ({ ...good, shared: junk() }) },
  {
    name: 'whose secrets are none',
    spoil: async (_, good) => ({ ...good, each: good.each.map((each) => ({ ...each, secrets: junk() })) }),
  },
  {
    name: 'into another group',
    spoil: async ({ engine, device }, _, published) => {
      const settings = roomSettings({ room: ROOM, isPublic: false, owner: 'alice' });
      const alone = await engine.create(device, randomBytes(32), settings, Date.now());
      return (await engine.commit(alone, { add: [published] }, Date.now(), openToAll)).welcome!;
    },
  },
  {
    name: 'into a group of his own in the place of this one',
    spoil: async ({ engine, device, roster, generation }, _, published) => {
      const id = groupIdOf(roster.id, generation);
      const settings = roomSettings({ room: ROOM, isPublic: true, owner: 'mallory' });
      const alone = await engine.create(device, id, settings, Date.now());
      return (await engine.commit(alone, { add: [published] }, Date.now(), openToAll)).welcome!;
    },
  },
];

/** What the server says at the end of a look comes behind the next delivery. */
function synchronised(device: DeviceApp): Promise<void> {
  let held: Reply[] | null = [];
  return new Promise((resolve) => {
    device.hear = (frame) => {
      if (held === null || (frame.type !== 'synced' && frame.type !== 'msg_deliver')) return [frame];
      if (frame.type === 'msg_deliver') {
        const late = held;
        held = null;
        return [frame, ...late];
      }
      held.push(frame);
      resolve();
      return [];
    };
  });
}

/** He lets carol in, who has just been listed, with an invitation that he has spoilt. */
async function invite(
  rogue: Rogue,
  carol: DeviceApp,
  spoil: (typeof invitations)[number]['spoil'],
  doorOf = async (group: Group): Promise<Omit<Forgery, 'parts'>> => ({ groupInfo: await rogue.door(group) }),
): Promise<void> {
  const { id: conversation } = rogue.roster;
  const { epoch, members } = await rogue.client.request({ type: 'conversation_get', conversation }, 'conversation');
  rogue.roster = {
    ...rogue.roster,
    epoch,
    members: members.map((each) => ({ ...each, devices: [...each.devices] })),
  };
  const devices = [carol.app.identity.fingerprint];
  const ask = { type: 'keypackages_take', conversation, devices } as const;
  const [taken] = (await rogue.client.request(ask, 'keypackages_taken')).packages;
  const published = taken!.package;
  rogue.know(carol.vault.keys.device()!.binding);
  await rogue.commit(async (authenticatedData) => {
    const made = await rogue.engine.commit(rogue.group, { add: [published], authenticatedData }, Date.now(), openToAll);
    const door = await doorOf(made.conversation);
    return { parts: commitParts(made.commit, await spoil(rogue, made.welcome!, published)).bytes, ...door };
  });
}

// Fails when a refused invitation is no new reason to look at the group, or is forgotten at the end of the look before it.
for (const { name, isLooking, spoil } of invitations)
  t.test(`an invitation ${name}: refused by name, and whom it was for comes in by himself`, async (t) => {
    const { w, alice, bob, rogue } = await scene(t, false);
    const carol = await (await deviceOf(t, w, 'carol')).enter();
    const raw = await w.login(alice.person); // the server's list has her, and it is he who lets her in
    const looked = isLooking === true ? synchronised(carol) : carol.heard('group');
    await raw.request({ type: 'room_invite', room: ROOM, username: 'carol' }, 'room');
    await raw.close();
    await looked;
    await invite(rogue, carol, spoil);
    await carol.until('an alarm', () => carol.told('alarm').length > 0);
    t.match(carol.told('alarm'), [/^(DECRYPT_FAIL\/(welcome|policy)|BAD_FRAME\/\S+): .*mallory/]);
    for (const each of [alice, bob]) {
      await each.until('her inside', () => isIn(each, 'carol'));
      t.strictSame(each.told('alarm'), [], 'they know of nothing');
    }
    await alice.say(ROOM, 'hello carol');
    await bob.hears('hello carol');
    await carol.until('a way in', () => isIn(carol, 'alice', 'bob', 'carol'));
    await talk(t, alice, bob, carol);
  });

// Fails when she waits for others although they have let her down.
t.test('a public room, where he is asked to let her in, and spoils it: she comes in by herself', async (t) => {
  const { w, alice, bob, rogue } = await scene(t, true);
  for (const each of [alice, bob])
    each.hear = (frame) => (frame.type === 'room_changed' && frame.turn !== undefined ? [] : [frame]);
  const carol = await (await deviceOf(t, w, 'carol')).enter();
  const joined = carol.app.rooms.join(ROOM);
  await rogue.client.nth('room_changed', 1);
  await invite(rogue, carol, async (_, good) => ({ ...good, shared: junk() }));
  await joined;
  t.match(carol.told('alarm'), [/^DECRYPT_FAIL\/welcome: .*mallory/]);
  for (const each of [alice, bob]) t.strictSame(each.told('alarm'), [], 'they know of nothing');
  await talk(t, alice, bob, carol);
});

// ---- a tree that is wider than any conversation ----------------------------------------------------------------------------------

/** The group's own with his leaf once more, at the 4,097th place: what is between are a byte each here, and a node each for who believes it. */
async function wideDoor(rogue: Rogue, group: Group): Promise<Omit<Forgery, 'parts'>> {
  const { ratchetTree } = group.state;
  const own = encodeRatchetTree(ratchetTree);
  const last = ratchetTree.findLastIndex((node) => node !== undefined);
  const nodes = Buffer.concat([
    own.subarray(determineLength(own).lengthFieldSize),
    Buffer.alloc(2 * 4096 - 1 - last),
    Buffer.of(1),
    encodeNode(ratchetTree[last]!),
  ]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(0x8000_0000 + nodes.length);
  const { groupInfo } = await rogue.engine.door(group);
  const { bytes, blob } = doorBytes({ groupInfo, tree: Buffer.concat([length, nodes]) });
  return { groupInfo: bytes, infoBlob: blob! };
}

// Fails when nodes are not counted: then the tree is made, and refused by its hash at best.
t.test(
  'an invitation into a tree that is too wide, and a way in beside it: refused by name, and the group goes on',
  async (t) => {
    const { w, alice, bob, rogue } = await scene(t, true);
    for (const each of [alice, bob])
      each.hear = (frame) => (frame.type === 'room_changed' && frame.turn !== undefined ? [] : [frame]);
    const carol = await (await deviceOf(t, w, 'carol')).enter();
    const joined = carol.app.rooms.join(ROOM).catch(() => {});
    await rogue.client.nth('room_changed', 1);
    const spoil = async (_: Rogue, good: WelcomeParts): Promise<WelcomeParts> => ({ ...good, tree: Buffer.of(0) });
    await invite(rogue, carol, spoil, (group) => wideDoor(rogue, group));
    await carol.until('an alarm', () => carol.told('alarm').length > 0);
    t.match(carol.told('alarm')[0], /^DECRYPT_FAIL\/tree: .*more than 4096 leaves.*mallory/);
    for (const each of [alice, bob]) t.strictSame(each.told('alarm'), [], 'they know of nothing');
    await alice.say(ROOM, 'still here');
    await bob.hears('still here');
    for (const each of [alice, bob, carol]) each.aheadMs = 31_000;
    await joined;
    await talk(t, alice, bob, carol);
  },
);
