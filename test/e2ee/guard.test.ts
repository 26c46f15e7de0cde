/** What a malicious member, somebody outside, or a broken peer may send: each is refused by its name, and the group stays as it was. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import {
  createCommit,
  createProposal,
  encodeMlsMessage,
  emptyPskIndex,
  type ClientState,
  type KeyPackage,
  type LeafNode,
  type Proposal,
  type RatchetTree,
} from 'ts-mls';
import { protectApplicationData } from 'ts-mls/messageProtection.js';
import { Authority, bindingName, createBinding, credentialOf } from '../../client/e2ee/binding.ts';
import { Engine } from '../../client/e2ee/conversation.ts';
import { MissingBindings } from '../../client/e2ee/judge.ts';
import { byInvitation, epoch, openToAll, type Conversation, type Policy } from '../../client/e2ee/group.ts';
import { MAX_MESSAGE_BYTES, parseMessage } from '../../client/e2ee/guard.ts';
import { joinExternal } from '../../client/e2ee/join.ts';
import { generate, type OwnDevice } from '../../client/e2ee/key-package.ts';
import { openSuite } from '../../client/e2ee/provider.ts';
import { MAX_LEAVES } from '../../client/e2ee/tree.ts';
import { sha256 } from '../../base/hash.ts';
import { parseCrls } from '../../x509/crl.ts';
import { authority, DAY_MS } from '../support/pki.ts';
import { forged, UNUSABLE_KEYS, World, type Person } from './people.ts';

const world = await World.open();
const { engine, now } = world;
const suite = await openSuite();
const [alice, bob, mallory] = (await Promise.all(['alice', 'bob', 'mallory'].map((name) => world.person(name)))) as [
  Person,
  Person,
  Person,
];
const [a, b, m] = (await world.group([alice, bob, mallory])) as [Conversation, Conversation, Conversation];

/** Whatever a modified client may do: the library's own functions, over a state that accepts everybody. */
const config: ClientState['clientConfig'] = {
  keyRetentionConfig: { retainKeysForGenerations: 10, retainKeysForEpochs: 2, maximumForwardRatchetSteps: 1000 },
  lifetimeConfig: { maximumTotalLifetime: 0n, validateLifetimeOnReceive: false },
  keyPackageEqualityConfig: { compareKeyPackages: () => false, compareKeyPackageToLeafNode: () => false },
  paddingConfig: { kind: 'alwaysPad', paddingLength: 0 },
  authService: { validateCredential: async () => true },
};
const lawless = ({ state }: Conversation): ClientState => ({ ...state, clientConfig: config });
const commitOf = async (
  state: ClientState,
  extraProposals: Proposal[],
  wireAsPublicMessage = false,
): Promise<Uint8Array> => {
  const context = { state, cipherSuite: suite, pskIndex: emptyPskIndex };
  return encodeMlsMessage((await createCommit(context, { extraProposals, wireAsPublicMessage })).commit);
};
const externalCommit = async (device: OwnDevice, former: number | undefined): Promise<Uint8Array> => {
  const message = parseMessage((await engine.door(a)).groupInfo);
  if (message.wireformat !== 'mls_group_info') throw new Error('no group info');
  const own = await generate(device, { notBefore: now - 1000, notAfter: now + DAY_MS }, suite);
  return (await joinExternal(message.groupInfo, { suite, config, ...own }, former, new Uint8Array())).commit;
};
/** Another binding for a person: other device id, or the same; other key, or the same. */
const rebound = (p: Person, deviceId: Uint8Array, keys: Pick<OwnDevice, 'mlsKey' | 'mlsPrivateKey'>): OwnDevice => {
  const { user } = p.device;
  const statement = {
    organisation: 'corp',
    user,
    deviceId,
    mlsKey: keys.mlsKey,
    notBefore: now - 1000,
    notAfter: now + DAY_MS,
  };
  const binding = createBinding(statement, [p.certificate.der], p.certificate.key);
  world.bindings.set(bindingName(binding), binding);
  return { ...keys, user, deviceId, bindingHash: sha256(binding) };
};
const leafOf = ({ state }: Conversation): LeafNode => {
  const node = state.ratchetTree[state.privatePath.leafIndex * 2];
  if (node?.nodeType !== 'leaf') throw new Error('no leaf');
  return node.leaf;
};
const withLeaf = (c: Conversation, change: Partial<LeafNode>): ClientState => {
  const state = lawless(c);
  const leaf = { ...leafOf(c), ...change } as LeafNode;
  const at = state.privatePath.leafIndex * 2;
  return { ...state, ratchetTree: state.ratchetTree.with(at, { nodeType: 'leaf', leaf }) };
};
const withCredential = (c: Conversation, device: OwnDevice): ClientState =>
  withLeaf(c, { credential: credentialOf(device) });

const refusals: Record<
  string,
  {
    bytes: () => Promise<Uint8Array>;
    is: { code: string; sub?: string; field?: string };
    /** where Bob has another reason */
    toBob?: { code: string; sub?: string };
    policy?: Policy;
    at?: number;
  }
> = {
  'a proposal of its own': {
    bytes: async () =>
      encodeMlsMessage(
        (await createProposal(lawless(m), false, { proposalType: 'remove', remove: { removed: 1 } }, suite)).message,
      ),
    is: { code: 'DECRYPT_FAIL', sub: 'stand_alone' },
  },
  'a proposal of its own, in the open': {
    bytes: async () =>
      encodeMlsMessage(
        (await createProposal(lawless(m), true, { proposalType: 'remove', remove: { removed: 1 } }, suite)).message,
      ),
    is: { code: 'DECRYPT_FAIL', sub: 'stand_alone' },
  },
  'a change of the group context': {
    bytes: () =>
      commitOf(lawless(m), [{ proposalType: 'group_context_extensions', groupContextExtensions: { extensions: [] } }]),
    is: { code: 'DECRYPT_FAIL', sub: 'proposal' },
  },
  'a reinit': {
    bytes: () =>
      commitOf(lawless(m), [
        {
          proposalType: 'reinit',
          reinit: {
            groupId: randomBytes(32),
            version: 'mls10',
            cipherSuite: 'MLS_256_XWING_AES256GCM_SHA512_Ed25519',
            extensions: [],
          },
        },
      ]),
    is: { code: 'DECRYPT_FAIL', sub: 'proposal' },
  },
  'a member who commits in the open': {
    bytes: () => commitOf(lawless(m), [], true),
    is: { code: 'DECRYPT_FAIL', sub: 'sender' },
  },
  'an external commit that removes another member': {
    bytes: async () => externalCommit((await world.person('eve')).device, 1),
    is: { code: 'DECRYPT_FAIL', sub: 'external_removal' },
    policy: openToAll,
  },
  'an external commit that removes whoever reads it': {
    bytes: async () => externalCommit((await world.person('eve')).device, 0),
    is: { code: 'DECRYPT_FAIL', sub: 'external_removal' },
    policy: openToAll,
  },
  'an external commit with a key that is in the group': {
    bytes: async () => externalCommit(rebound(mallory, randomBytes(16), mallory.device), undefined),
    is: { code: 'DECRYPT_FAIL', sub: 'double_key' },
    policy: openToAll,
  },
  'an external commit of a device that is in the group, with a new key': {
    bytes: async () =>
      externalCommit(rebound(mallory, mallory.device.deviceId, await engine.newDeviceKey()), undefined),
    is: { code: 'DECRYPT_FAIL', sub: 'double_device' },
    policy: openToAll,
  },
  'an external commit with a credential that is another key’s': {
    bytes: async () => externalCommit({ ...bob.device, ...(await engine.newDeviceKey()) }, undefined),
    is: { code: 'SIG_FAIL', sub: 'credential' },
    policy: openToAll,
  },
  'an external commit into a closed group': {
    bytes: async () => externalCommit((await world.person('eve')).device, undefined),
    is: { code: 'DECRYPT_FAIL', sub: 'policy' },
  },
  'an external commit with a binding that has run out': {
    bytes: async () => externalCommit((await world.person('eve')).device, undefined),
    is: { code: 'DECRYPT_FAIL', sub: 'freshness' },
    policy: openToAll,
    at: now + 61 * DAY_MS,
  },
  'an added device whose key package has run out': {
    bytes: async () =>
      (await engine.commit(m, { add: [(await world.keyPackage(await world.person('eve'))).published] }, now, openToAll))
        .commit,
    is: { code: 'DECRYPT_FAIL', sub: 'freshness' },
    at: now + 31 * DAY_MS,
  },
  'an added device of a foreign authority': {
    bytes: async () => {
      const stranger = await world.person('eve', { ca: authority('Foreign CA') });
      return commitOf(lawless(m), [await addOf(stranger.device)]);
    },
    is: { code: 'BAD_CERT', sub: 'untrusted' },
  },
  'a member who puts another identity of his into his leaf': {
    bytes: () => commitOf(withCredential(m, rebound(mallory, randomBytes(16), mallory.device)), []),
    is: { code: 'DECRYPT_FAIL', sub: 'identity_change' },
  },
  'a member who puts somebody else into his leaf': {
    bytes: () => commitOf(withCredential(m, bob.device), []),
    is: { code: 'SIG_FAIL', sub: 'credential' },
  },
  'the same device twice, by an add': {
    bytes: async () =>
      commitOf(lawless(m), [await addOf(rebound(bob, bob.device.deviceId, await engine.newDeviceKey()))]),
    is: { code: 'DECRYPT_FAIL', sub: 'double_device' },
  },
  'an added device with the encryption key of another': {
    bytes: async () => commitOf(lawless(m), [await forgedAdd({ hpkePublicKey: leafOf(b).hpkePublicKey })]),
    is: { code: 'DECRYPT_FAIL', sub: 'tree' },
  },
  'an added device that knows no credential': {
    bytes: async () => {
      const { capabilities } = leafOf(b);
      return commitOf(lawless(m), [await forgedAdd({ capabilities: { ...capabilities, credentials: [] } })]);
    },
    is: { code: 'DECRYPT_FAIL', sub: 'tree' },
  },
  ...Object.fromEntries(
    Object.entries(UNUSABLE_KEYS).map(([why, key]) => [
      `an added device whose key nobody can encrypt to: ${why}`,
      {
        bytes: async () => commitOf(lawless(m), [await forgedAdd({ hpkePublicKey: await key() })]),
        is: { code: 'DECRYPT_FAIL', sub: 'tree' },
      },
    ]),
  ),
  'a member whose leaf knows no credential any more': {
    bytes: () => commitOf(withLeaf(m, { capabilities: { ...leafOf(m).capabilities, credentials: [] } }), []),
    is: { code: 'DECRYPT_FAIL', sub: 'tree' },
  },
  'a member whose leaf leaves no room for others': {
    bytes: () => {
      const { capabilities } = leafOf(m);
      const extensions = [{ extensionType: 0xf0c2, extensionData: Buffer.alloc(2048) }];
      return commitOf(withLeaf(m, { capabilities: { ...capabilities, extensions: [0xf0c1, 0xf0c2] }, extensions }), []);
    },
    is: { code: 'DECRYPT_FAIL', sub: 'tree' },
  },
  'a member who puts other keys into the tree than he tells': {
    bytes: async () => {
      let made = 0; // the first is that of his own leaf
      const hpke = {
        ...suite.hpke,
        deriveKeyPair: (ikm: Uint8Array) =>
          made++ === 0 ? suite.hpke.deriveKeyPair(ikm) : suite.hpke.generateKeyPair(),
      };
      const context = { state: lawless(m), cipherSuite: { ...suite, hpke }, pskIndex: emptyPskIndex };
      return encodeMlsMessage((await createCommit(context)).commit);
    },
    is: { code: 'DECRYPT_FAIL', sub: 'tree' },
  },
  'a message under the name of another member': {
    bytes: async () => {
      const { signaturePrivateKey, keySchedule, groupContext, secretTree } = m.state;
      const bobsLeaf = 1;
      const { privateMessage } = await protectApplicationData(
        signaturePrivateKey,
        keySchedule.senderDataSecret,
        Buffer.from('I am bob'),
        new Uint8Array(),
        groupContext,
        secretTree,
        bobsLeaf,
        config.paddingConfig,
        suite,
      );
      return encodeMlsMessage({ version: 'mls10', wireformat: 'mls_private_message', privateMessage });
    },
    is: { code: 'DECRYPT_FAIL', sub: 'crypto' },
    toBob: { code: 'DECRYPT_FAIL', sub: 'own' },
  },
  'a message of nobody': {
    bytes: async () => {
      const { signaturePrivateKey, keySchedule, groupContext, secretTree } = m.state;
      const { privateMessage } = await protectApplicationData(
        signaturePrivateKey,
        keySchedule.senderDataSecret,
        Buffer.from('boo'),
        new Uint8Array(),
        groupContext,
        secretTree,
        3,
        config.paddingConfig,
        suite,
      );
      return encodeMlsMessage({ version: 'mls10', wireformat: 'mls_private_message', privateMessage });
    },
    is: { code: 'DECRYPT_FAIL', sub: 'sender' },
  },
  'a message without padding': {
    bytes: async () => {
      const { signaturePrivateKey, keySchedule, groupContext, secretTree } = m.state;
      const { privateMessage } = await protectApplicationData(
        signaturePrivateKey,
        keySchedule.senderDataSecret,
        Buffer.from('short'),
        new Uint8Array(),
        groupContext,
        secretTree,
        2,
        config.paddingConfig,
        suite,
      );
      return encodeMlsMessage({ version: 'mls10', wireformat: 'mls_private_message', privateMessage });
    },
    is: { code: 'BAD_FRAME', field: 'padding' },
  },
  'a message after more than a thousand lost ones': {
    bytes: async () => {
      let c = m;
      for (let i = 0; i <= 1000; i++) c = (await engine.encrypt(c, Buffer.from('lost'), Buffer.alloc(0))).conversation;
      return (await engine.encrypt(c, Buffer.from('far'), Buffer.alloc(0))).message;
    },
    is: { code: 'DECRYPT_FAIL', sub: 'gap' },
  },
  'a message of another group': {
    bytes: async () =>
      (await engine.encrypt((await world.group([mallory, bob]))[0]!, Buffer.from('x'), Buffer.alloc(0))).message,
    is: { code: 'DECRYPT_FAIL', sub: 'group' },
  },
  'a message of the next epoch': {
    bytes: async () => {
      const next = engine.adopt((await engine.commit(m, {}, now, openToAll)).conversation);
      return (await engine.encrypt(next, Buffer.from('x'), Buffer.alloc(0))).message;
    },
    is: { code: 'DECRYPT_FAIL', sub: 'epoch', field: 'future' },
  },
  'a welcome': {
    bytes: async () =>
      encodeMlsMessage({
        version: 'mls10',
        wireformat: 'mls_welcome',
        welcome: { cipherSuite: suite.name, secrets: [], encryptedGroupInfo: Buffer.alloc(4) },
      }),
    is: { code: 'DECRYPT_FAIL', sub: 'group' },
  },
  'bytes after the end': {
    bytes: async () =>
      Buffer.concat([(await engine.encrypt(m, Buffer.from('x'), Buffer.alloc(0))).message, Buffer.of(0)]),
    is: { code: 'BAD_FRAME', field: 'mls' },
  },
  'too many bytes': { bytes: async () => Buffer.alloc(MAX_MESSAGE_BYTES + 1), is: { code: 'TOO_LARGE', field: 'mls' } },
};

async function forgedAdd(leaf: Partial<KeyPackage['leafNode']>): Promise<Proposal> {
  const { device } = await world.person('eve');
  return { proposalType: 'add', add: { keyPackage: await forged(device, { leaf }, now) } };
}
async function addOf(device: OwnDevice): Promise<Proposal> {
  const { keyPackage } = await generate(device, { notBefore: now - 1000, notAfter: now + DAY_MS }, suite);
  return { proposalType: 'add', add: { keyPackage } };
}

t.test('refusals, by all alike', async (t) => {
  for (const [name, { bytes, is, toBob = is, policy = byInvitation, at = now }] of Object.entries(refusals)) {
    const message = await bytes();
    await t.rejects(engine.receive(a, message, at, policy), is, name);
    await t.rejects(engine.receive(b, message, at, policy), toBob, `${name}, to Bob`);
  }
  const alive = await engine.commit(m, {}, now, openToAll);
  for (const each of [a, b])
    t.match(await engine.receive(each, alive.commit, now, byInvitation), { kind: 'commit' }, 'and the group goes on');
});

t.test('a commit into a group that is full is refused before a tree of it is made', async (t) => {
  const { ratchetTree: few } = a.state;
  const crowd = Array.from({ length: 2 * MAX_LEAVES - 1 }, (_, i) => {
    if (i % 2 === 1 || few[i] !== undefined) return few[i];
    const [node] = few;
    if (node?.nodeType !== 'leaf') throw new Error('no leaf');
    return { ...node, leaf: { ...node.leaf, hpkePublicKey: randomBytes(1216), signaturePublicKey: randomBytes(32) } };
  });
  const { keyPackage } = await generate(
    (await world.person('eve')).device,
    { notBefore: now - 1000, notAfter: now + DAY_MS },
    suite,
  );
  const add: Proposal = { proposalType: 'add', add: { keyPackage } };
  const afterAdd = async (ratchetTree: RatchetTree): Promise<unknown> => {
    const among = (c: Conversation): Conversation => ({ ...c, state: { ...c.state, ratchetTree } });
    return engine.receive(among(a), await commitOf(lawless(among(m)), [add]), now, openToAll);
  };
  await t.rejects(afterAdd(crowd), { code: 'DECRYPT_FAIL', sub: 'tree', message: /more than 4096 leaves/ });
  await t.rejects(
    afterAdd(crowd.with(crowd.length - 1, undefined)),
    { code: 'SIG_FAIL' },
    'there is a place: then it is found that they are nobody',
  );
});

t.test('a device id that somebody has copied keeps nobody out', async (t) => {
  const eve = await world.person('eve');
  const copied = rebound(eve, bob.device.deviceId, await engine.newDeviceKey());
  const commit = await commitOf(lawless(m), [await addOf(copied)]);
  t.match(await engine.receive(a, commit, now, openToAll), { kind: 'commit' });
});

t.test('what a member has written before says nothing of which commit of his is the next', async (t) => {
  let [author, reader] = [m, a];
  for (let i = 0; i < 3; i++) {
    const { conversation, message } = await engine.encrypt(author, Buffer.from(`${i}`), Buffer.alloc(0));
    const opened = await engine.receive(reader, message, now, byInvitation);
    if (opened.kind !== 'message') throw new Error(opened.kind);
    [author, reader] = [conversation, opened.conversation];
  }
  const { commit } = await engine.commit(author, {}, now, openToAll);
  t.match(await engine.receive(reader, commit, now, byInvitation), { kind: 'commit' });
});

t.test('who has left a group hears nothing of it, and nobody of another one', async (t) => {
  const { commit } = await engine.commit(m, {}, now, openToAll);
  const outside = { ...a, state: { ...a.state, groupActiveState: { kind: 'removedFromGroup' as const } } };
  const isOfAnother = { code: 'DECRYPT_FAIL', sub: 'group' };
  await t.rejects(engine.receive(outside, commit, now, byInvitation), isOfAnother);
  const [elsewhere] = await world.group([bob, mallory]);
  const external = await externalCommit((await world.person('eve')).device, undefined);
  await t.rejects(engine.receive(elsewhere!, external, now, openToAll), isOfAnother, 'also in the open');
});

t.test('an old commit is refused', async (t) => {
  const first = await engine.commit(m, {}, now, openToAll);
  const after = await engine.receive(a, first.commit, now, byInvitation);
  if (after.kind !== 'commit') throw new Error(after.kind);
  await t.rejects(engine.receive(after.conversation, first.commit, now, byInvitation), {
    code: 'DECRYPT_FAIL',
    sub: 'epoch',
    field: 'past',
  });
  const external = await externalCommit((await world.person('eve')).device, undefined);
  await t.rejects(engine.receive(after.conversation, external, now, openToAll), {
    code: 'DECRYPT_FAIL',
    sub: 'epoch',
    field: 'past',
  });
});

t.test('a commit that would be refused is not made', async (t) => {
  const twice = await world.keyPackage(await world.person('eve'));
  await t.rejects(engine.commit(a, { add: [twice.published, twice.published] }, now, openToAll), {
    code: 'DECRYPT_FAIL',
    sub: 'proposal',
  });
  await t.rejects(
    engine.commit(a, { remove: [alice.device] }, now, openToAll),
    { code: 'DECRYPT_FAIL', sub: 'proposal' },
    'oneself',
  );
  await t.rejects(engine.commit(a, { remove: [(await world.person('eve')).device] }, now, openToAll), {
    code: 'NOT_FOUND',
    sub: 'member',
  });
  await t.rejects(engine.commit(a, { add: [twice.published] }, now + 31 * DAY_MS, openToAll), {
    code: 'DECRYPT_FAIL',
    sub: 'freshness',
  });
  const revoked = parseCrls(Buffer.from(world.ca.crl([bob.certificate])));
  const second = await world.person('bob', { certificate: bob.certificate });
  const wanted = { add: [(await world.keyPackage(second)).published] };
  await t.rejects(engine.commit(a, wanted, now, openToAll, revoked), { code: 'BAD_CERT', sub: 'revoked' });
  t.match(await engine.standing(a, revoked, now), [
    { device: { user: 'bob' }, why: { code: 'BAD_CERT', sub: 'revoked' } },
  ]);
  await t.rejects(engine.commit(a, { add: [twice.published.subarray(1)] }, now, openToAll), {
    code: 'BAD_FRAME',
    field: 'keyPackage',
  });
});

t.test('a policy binds its own author', async (t) => {
  const policy: Policy = ({ by, added, removed, members }) =>
    `${by.user} +${added.map((d) => d.user).join()} -${removed.map((d) => d.user).join()} of ${members.length}`;
  const { published } = await world.keyPackage(await world.person('eve'));
  const wanted = { add: [published], remove: [bob.device] };
  const refusal = { code: 'DECRYPT_FAIL', sub: 'policy', message: 'alice +eve -bob of 3' };
  await t.rejects(engine.commit(a, wanted, now, policy), refusal);
  const { commit } = await engine.commit(a, wanted, now, openToAll);
  await t.rejects(engine.receive(m, commit, now, policy), refusal, 'and the others see the same change');
  await t.rejects(engine.receive(b, commit, now, policy), refusal, 'he who is to go as well');
});

t.test('bindings that are not there are named all at once, and nothing is accepted meanwhile', async (t) => {
  const [carol, dave] = (await Promise.all(['carol', 'dave'].map((name) => world.person(name)))) as [Person, Person];
  const packages = await Promise.all([carol, dave].map((p) => world.keyPackage(p)));
  const { commit } = await engine.commit(m, { add: packages.map((p) => p.published) }, now, openToAll);
  const other = await World.open();
  for (const [name, binding] of world.bindings) other.bindings.set(name, binding);
  const names = [bindingName(carol.binding), bindingName(dave.binding)];
  for (const name of names) other.bindings.delete(name);
  const poor = await Engine.open(new Authority({ ...world.authority.options, bindings: other.bindings }));
  try {
    await poor.receive(a, commit, now, byInvitation);
    t.fail('accepted');
  } catch (error) {
    if (!(error instanceof MissingBindings)) throw error;
    t.same(new Set(error.names), new Set(names));
    t.match(error, { code: 'NOT_FOUND', sub: 'binding' });
  }
  other.bindings.set(names[0]!, carol.binding);
  other.bindings.set(names[1]!, carol.binding);
  await t.rejects(
    poor.receive(a, commit, now, byInvitation),
    { code: 'SIG_FAIL', sub: 'credential' },
    'another binding under the name',
  );
  other.bindings.set(names[1]!, dave.binding);
  t.match(await poor.receive(a, commit, now, byInvitation), { kind: 'commit' });
});

t.test('damaged messages end in a named refusal', async (t) => {
  const good = [
    (await engine.encrypt(m, Buffer.from('hello'), Buffer.alloc(20))).message,
    (await engine.commit(m, {}, now, openToAll)).commit,
    await externalCommit((await world.person('eve')).device, undefined),
  ];
  let seed = 42;
  const random = (n: number) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
  let refused = 0;
  for (let i = 0; i < 300; i++) {
    const bytes = Buffer.from(good[i % good.length]!);
    bytes[random(bytes.length)]! ^= 1 + random(255);
    try {
      await engine.receive(b, i % 7 === 0 ? bytes.subarray(0, random(bytes.length)) : bytes, now, openToAll);
      t.fail('accepted');
    } catch (error) {
      t.match(error, { code: /^(?:BAD_FRAME|DECRYPT_FAIL|SIG_FAIL|BAD_CERT|NOT_FOUND|REPLAY)$/ });
      refused++;
    }
  }
  t.equal(refused, 300);
  t.equal(epoch(b), 1n);
});
