/** Invitations by a member who means harm, and by a server that mixes them up. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { encodeMlsMessage } from 'ts-mls';
import { makeKeyPackageRef } from 'ts-mls/keyPackage.js';
import { extractWelcomeSecret, signGroupInfo } from 'ts-mls/groupInfo.js';
import { decodeRatchetTree, encodeNode } from 'ts-mls/ratchetTree.js';
import {
  decodeEncryptedGroupSecrets,
  decryptGroupInfo,
  decryptGroupSecrets,
  encodeEncryptedGroupSecrets,
  encryptGroupInfo,
  encryptGroupSecrets,
} from 'ts-mls/welcome.js';
import { openToAll, type Conversation } from '../../client/e2ee/group.ts';
import { parseMessage } from '../../client/e2ee/guard.ts';
import { parseTree } from '../../client/e2ee/invitation.ts';
import { openSecret } from '../../client/e2ee/key-package.ts';
import { usersBehind } from '../../client/e2ee/presence.ts';
import { openSuite } from '../../client/e2ee/provider.ts';
import { World, type Person } from './people.ts';

const world = await World.open();
const { engine, now } = world;
const suite = await openSuite();
const people = await Promise.all(['mallory', 'bob', 'carol'].map((name) => world.person(name)));
const [mallory] = (await world.group(people)) as [Conversation];
const victim: Person = await world.person('dave');
const own = await world.keyPackage(victim);
// With a removal in it the commit has a path, and the Welcome a path secret.
const { welcome } = await engine.commit(mallory, { add: [own.published], remove: [people[2]!.device] }, now, openToAll);
const { shared, each } = welcome!;
const { keyPackage, privateKeys } = openSecret(own.secret, victim.device);

type Secrets = NonNullable<Awaited<ReturnType<typeof decryptGroupSecrets>>>;
type Info = NonNullable<Awaited<ReturnType<typeof decryptGroupInfo>>>;

/** The same invitation, opened, changed, and closed again with everything that its maker knows. */
async function forged(change: { secrets?: (s: Secrets) => Secrets; info?: (i: Info) => Info | Promise<Info> }) {
  const entry = decodeEncryptedGroupSecrets(each[0]!.secrets, 0)![0];
  const parts = { cipherSuite: keyPackage.cipherSuite, secrets: [entry], encryptedGroupInfo: shared };
  const reference = await makeKeyPackageRef(keyPackage, suite.hash);
  const initKey = await suite.hpke.importPrivateKey(privateKeys.initPrivateKey);
  const secrets = (await decryptGroupSecrets(initKey, reference, parts, suite.hpke))!;
  const noPsk = new Uint8Array(suite.kdf.size);
  const info = (await decryptGroupInfo(parts, secrets.joinerSecret, noPsk, suite))!;
  const changed = (change.secrets ?? ((s) => s))(secrets);
  const welcomeSecret = await extractWelcomeSecret(changed.joinerSecret, noPsk, suite.kdf);
  const sealedInfo = await encryptGroupInfo(await (change.info ?? ((i) => i))(info), welcomeSecret, suite);
  const publicKey = await suite.hpke.importPublicKey(keyPackage.initKey);
  const { enc: kemOutput, ct: ciphertext } = await encryptGroupSecrets(publicKey, sealedInfo, changed, suite.hpke);
  const sealed = { newMember: reference, encryptedGroupSecrets: { kemOutput, ciphertext } };
  return { shared: sealedInfo, secrets: encodeEncryptedGroupSecrets(sealed) };
}
const resigned = (info: Info) => signGroupInfo(info, people[0]!.device.mlsPrivateKey, suite.signature);
const join = (parts: { shared: Uint8Array; secrets: Uint8Array }) => engine.join(parts, victim.device, own.secret);

t.test('as it was made', async (t) => {
  t.match(await join(await forged({})), { by: { user: 'mallory' } });
  t.match(await join({ shared, secrets: each[0]!.secrets }), { by: { user: 'mallory' } });
});

t.test('forged', async (t) => {
  const rows: [string, Parameters<typeof forged>[0], RegExp][] = [
    [
      'a path secret of another tree',
      { secrets: (s) => ({ ...s, pathSecret: randomBytes(suite.kdf.size) }) },
      /path secret/,
    ],
    [
      'another confirmation tag',
      { info: (i) => resigned({ ...i, confirmationTag: randomBytes(64) }) },
      /confirmation tag/,
    ],
    [
      'another epoch',
      { info: (i) => resigned({ ...i, groupContext: { ...i.groupContext, epoch: 7n } }) },
      /confirmation tag/,
    ],
    ['not signed anew', { info: (i) => ({ ...i, groupContext: { ...i.groupContext, epoch: 7n } }) }, /signature/],
    ['signed as somebody else', { info: (i) => resigned({ ...i, signer: 1 }) }, /signature/],
    ['signed by nobody', { info: (i) => resigned({ ...i, signer: 77 }) }, /signed by nobody/],
    [
      'another tree hash',
      { info: (i) => resigned({ ...i, groupContext: { ...i.groupContext, treeHash: randomBytes(64) } }) },
      /its hash/,
    ],
    [
      'another suite',
      {
        info: (i) =>
          resigned({
            ...i,
            groupContext: { ...i.groupContext, cipherSuite: 'MLS_256_XWING_CHACHA20POLY1305_SHA512_Ed25519' },
          }),
      },
      /cipher suite/,
    ],
    [
      'an extension that nobody knows',
      {
        info: (i) =>
          resigned({
            ...i,
            groupContext: { ...i.groupContext, extensions: [{ extensionType: 0xf123, extensionData: randomBytes(4) }] },
          }),
      },
      /extension/,
    ],
    ['no tree', { info: (i) => resigned({ ...i, extensions: [] }) }, /tree/],
    [
      'a group that continues another',
      {
        secrets: (s) => ({
          ...s,
          psks: [
            {
              psktype: 'resumption',
              usage: 'branch',
              pskGroupId: randomBytes(32),
              pskEpoch: 1n,
              pskNonce: randomBytes(64),
            },
          ],
        }),
      },
      /continues another group/,
    ],
  ];
  for (const [name, change, message] of rows)
    await t.rejects(join(await forged(change)), { code: 'DECRYPT_FAIL', message }, name);
});

/** The tree of an invitation, with the last leaf at another place; whatever is between is blank, and costs a byte each. */
function widened({ extensions }: Pick<Info, 'extensions'>, leaves: number): Info['extensions'] {
  return extensions.map((each) => {
    if (each.extensionType !== 'ratchet_tree') return each;
    const tree = decodeRatchetTree(each.extensionData, 0)![0];
    const at = tree.findLastIndex((node) => node?.nodeType === 'leaf');
    const last = Buffer.concat([Buffer.of(1), encodeNode(tree[at]!)]);
    const before = tree
      .slice(0, at)
      .map((node) => (node ? Buffer.concat([Buffer.of(1), encodeNode(node)]) : Buffer.of(0)));
    const nodes = Buffer.concat([...before, Buffer.alloc(2 * leaves - 2 - at), last]); // the library cannot write that
    const length = Buffer.alloc(4);
    length.writeUInt32BE(0x8000_0000 + nodes.length);
    return { ...each, extensionData: Buffer.concat([length, nodes]) };
  });
}
const isWide = { code: 'DECRYPT_FAIL', sub: 'tree', message: /more than 4096 leaves/ };

t.test('a tree that is wider than any conversation is refused before anything is done with it', async (t) => {
  const wide = (leaves: number) =>
    forged({ info: (i) => resigned({ ...i, extensions: widened(i, leaves) }) }).then((parts) => join(parts));
  await t.rejects(wide(4096), { message: /its hash/ }, 'wide enough for 4,096 devices: nothing is wrong with that');
  await t.rejects(wide(4097), isWide);
  await t.rejects(wide(262_200), isWide, 'half a megabyte, which the library makes a million nodes of');
  const door = await engine.door(mallory);
  const message = parseMessage(door.groupInfo);
  if (message.wireformat !== 'mls_group_info') throw new Error('no group info');
  const extensions = widened(message.groupInfo, 262_200);
  const groupInfo = await signGroupInfo(
    { ...message.groupInfo, extensions },
    people[0]!.device.mlsPrivateKey,
    suite.signature,
  );
  const inside = { groupInfo: encodeMlsMessage({ ...message, groupInfo }), tree: null };
  const tree = extensions.find(({ extensionType }) => extensionType === 'ratchet_tree')!.extensionData;
  const without = { ...groupInfo, extensions: extensions.filter((each) => each.extensionData !== tree) };
  const beside = { groupInfo: encodeMlsMessage({ ...message, groupInfo: without }), tree };
  for (const [name, each] of Object.entries({ inside, beside })) {
    await t.rejects(engine.joinExternal(each, victim.device, now), isWide, `from outside, ${name}`);
    t.throws(() => usersBehind(each), isWide, `who is in it, ${name}`);
  }
  for (const bad of [tree.subarray(1), tree.subarray(0, -1), Buffer.of(0), Buffer.of(1, 0), new Uint8Array()])
    t.throws(() => parseTree(bad), { code: 'DECRYPT_FAIL', sub: 'tree' });
});

t.test('the key for who comes from outside', async (t) => {
  const door = await engine.door(mallory);
  const message = parseMessage(door.groupInfo);
  if (message.wireformat !== 'mls_group_info') throw new Error('no group info');
  const { publicKey } = await suite.hpke.deriveKeyPair(mallory.state.keySchedule.externalSecret);
  const key = Buffer.from(await suite.hpke.exportPublicKey(publicKey));
  const { extensions } = message.groupInfo;
  const { extensionData } = extensions.find(({ extensionType }) => extensionType === 'external_pub')!;
  const length = Buffer.of(0x44, 0xc0); // 1,216 in two bytes, RFC 9420 §2.1.2
  t.same(extensionData, Buffer.concat([length, key]), 'RFC 9420 §12.4.3.2: struct { opaque HPKEPublicKey<V>; }');
  for (const bad of [
    key,
    Buffer.concat([length, key, length]),
    Buffer.concat([length, key.subarray(1)]),
    Buffer.alloc(0),
  ]) {
    const changed = extensions.map((e) => (e.extensionType === 'external_pub' ? { ...e, extensionData: bad } : e));
    const groupInfo = await resigned({ ...message.groupInfo, extensions: changed });
    await t.rejects(
      engine.joinExternal({ ...door, groupInfo: encodeMlsMessage({ ...message, groupInfo }) }, victim.device, now),
      { code: 'DECRYPT_FAIL', sub: 'welcome' },
      `${bad.length} bytes`,
    );
  }
});

t.test('mixed up', async (t) => {
  const other = await world.keyPackage(victim);
  const refusal = { code: 'DECRYPT_FAIL', sub: 'welcome' };
  await t.rejects(
    engine.join({ shared, secrets: each[0]!.secrets }, victim.device, other.secret),
    refusal,
    'for another key package',
  );
  await t.rejects(join({ shared: Buffer.concat([shared, Buffer.of(0)]), secrets: each[0]!.secrets }), refusal);
  await t.rejects(join({ shared, secrets: each[0]!.secrets.subarray(1) }), refusal);
  await t.rejects(join({ shared, secrets: Buffer.concat([each[0]!.secrets, Buffer.of(0)]) }), refusal);
  await t.rejects(engine.join({ shared, secrets: each[0]!.secrets }, victim.device, own.secret.subarray(1)), {
    code: 'BAD_FRAME',
    field: 'keyPackage',
  });
  const door = await engine.door(mallory);
  const damaged = Buffer.from(door.groupInfo);
  damaged[damaged.length - 1]! ^= 1;
  await t.rejects(
    engine.joinExternal({ ...door, groupInfo: damaged }, victim.device, now),
    refusal,
    'a group info with a wrong signature',
  );
});
