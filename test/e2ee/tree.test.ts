/** Ratchet trees: those of the working group are accepted, damaged ones are not, and the library still needs our check in its place. */
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import {
  createCommit,
  createGroup,
  defaultAuthenticationService,
  defaultLifetime,
  emptyPskIndex,
  generateKeyPackage,
  joinGroup as libraryJoinGroup,
  processMessage,
  type Capabilities,
  type CiphersuiteImpl,
  type ClientConfig,
  type ClientState,
  type RatchetTree,
} from 'ts-mls';
import { decodeRatchetTree } from 'ts-mls/ratchetTree.js';
import { RETENTION } from '../../client/e2ee/sender-data.ts';
import { joinGroup } from '../../client/e2ee/join.ts';
import { nodeHashes, resolutionsOf, validateTree } from '../../client/e2ee/tree.ts';
import { nodeProvider } from '../../client/e2ee/provider.ts';
import { bytes, hexOf, PROVIDERS, suiteOf, SUITES, withVectors } from './vectors.ts';

interface TreeVector {
  readonly cipher_suite: number;
  readonly tree: string;
  readonly group_id: string;
  readonly tree_hashes: readonly string[];
  readonly resolutions: readonly (readonly number[])[];
}

await withVectors<TreeVector>(t, 'tree-validation.json', async (t, vectors) => {
  let damaged = 0;
  const counts: Record<string, number> = {};
  for (const [i, vector] of vectors.entries()) {
    const tree = decodeRatchetTree(bytes(vector.tree), 0)![0];
    const root = (tree.length - 1) / 2;
    const context = { groupId: bytes(vector.group_id), treeHash: bytes(vector.tree_hashes[root]!), extensions: [] };
    for (const [name, provider] of Object.entries(PROVIDERS)) {
      if (!SUITES[name]!.includes(vector.cipher_suite)) continue;
      const suite = (await suiteOf(vector.cipher_suite, provider))!;
      const counted = `${name}, suite ${vector.cipher_suite}`;
      counts[counted] = (counts[counted] ?? 0) + 1;
      await t.resolves(
        validateTree(tree, context, defaultAuthenticationService, suite),
        `${i}, suite ${vector.cipher_suite}`,
      );
      if (provider !== nodeProvider) continue;
      t.same((await nodeHashes(tree, suite.hash)).map(hexOf), vector.tree_hashes);
      t.same(resolutionsOf(tree), vector.resolutions);
      if (vector.cipher_suite !== 1) continue;
      damaged += await refuseDamaged(t, tree, context, suite);
      const other = { ...context, treeHash: randomBytes(32) };
      await t.rejects(validateTree(tree, other, defaultAuthenticationService, suite), { message: /its hash/ });
      const nobody = { validateCredential: async () => false };
      await t.rejects(validateTree(tree, context, nobody, suite), { message: /credential/ });
    }
  }
  const all = Object.entries(SUITES).flatMap(([name, ids]) => ids.map((id) => [`${name}, suite ${id}`, 14]));
  t.strictSame(counts, Object.fromEntries(all));
  t.ok(damaged > 100, `${damaged} damaged trees`);
});

async function refuseDamaged(
  t: Test,
  tree: RatchetTree,
  context: { groupId: Uint8Array; extensions: never[] },
  suite: CiphersuiteImpl,
): Promise<number> {
  let count = 0;
  for (const [what, bad] of damage(tree)) {
    // The hash fits: a malicious committer makes it fit. So what is left to find it are the other checks.
    const treeHash = (await nodeHashes(bad, suite.hash))[(bad.length - 1) / 2]!;
    const refusal = {
      code: 'DECRYPT_FAIL',
      sub: 'tree',
      ...(what.includes('in between') && { message: /does not list it/ }),
    };
    await t.rejects(validateTree(bad, { ...context, treeHash }, defaultAuthenticationService, suite), refusal, what);
    count++;
  }
  return count;
}

/** RFC 9420, appendix C. */
function level(node: number): number {
  return Math.log2(~node & (node + 1));
}

/** What an attacker who may write the tree could change. */
function* damage(tree: RatchetTree): Generator<[string, RatchetTree]> {
  const leaves = tree.flatMap((node, i) => (node?.nodeType === 'leaf' ? [i] : []));
  for (const [i, node] of tree.entries()) {
    if (node?.nodeType === 'leaf') {
      yield [
        `leaf ${i}: another key`,
        tree.with(i, { ...node, leaf: { ...node.leaf, hpkePublicKey: randomBytes(32) } }),
      ];
      const other = leaves.find((l) => l !== i);
      if (other !== undefined) yield [`leaf ${i}: another member's`, tree.with(i, tree[other])];
    } else if (node?.nodeType === 'parent') {
      const set = (change: object) => tree.with(i, { ...node, parent: { ...node.parent, ...change } });
      yield [`parent ${i}: another key`, set({ hpkePublicKey: randomBytes(32) })];
      yield [
        `parent ${i}: a leaf's key`,
        set({ hpkePublicKey: (tree[leaves[0]!] as { leaf: { hpkePublicKey: Uint8Array } }).leaf.hpkePublicKey }),
      ];
      yield [`parent ${i}: another parent hash`, set({ parentHash: randomBytes(32) })];
      yield [
        `parent ${i}: an unmerged leaf that is not there`,
        set({ unmergedLeaves: [...node.parent.unmergedLeaves, tree.length] }),
      ];
      const [first] = node.parent.unmergedLeaves;
      if (first !== undefined) {
        const isBetween = (n: RatchetTree[number], j: number): boolean =>
          n?.nodeType === 'parent' && n.parent.unmergedLeaves.includes(first) && level(j) < level(i);
        const between = tree.findIndex(isBetween);
        const found = tree[between];
        if (found?.nodeType === 'parent') {
          const unmergedLeaves = found.parent.unmergedLeaves.filter((l) => l !== first);
          const forgetful = tree.with(between, { ...found, parent: { ...found.parent, unmergedLeaves } });
          yield [`parent ${i}: an unmerged leaf that a node in between has forgotten`, forgetful];
        }
        yield [`parent ${i}: an unmerged leaf twice`, set({ unmergedLeaves: [first, ...node.parent.unmergedLeaves] })];
        yield [`parent ${i}: an unmerged leaf forgotten`, set({ unmergedLeaves: node.parent.unmergedLeaves.slice(1) })];
      }
    }
  }
}

const config: ClientConfig = {
  keyRetentionConfig: RETENTION,
  lifetimeConfig: { maximumTotalLifetime: 0n, validateLifetimeOnReceive: false },
  keyPackageEqualityConfig: { compareKeyPackages: () => false, compareKeyPackageToLeafNode: () => false },
  paddingConfig: { kind: 'alwaysPad', paddingLength: 0 },
  authService: defaultAuthenticationService,
};

t.test('canary: the library refuses a valid group that ours joins', async (t) => {
  const suite = (await suiteOf(1, nodeProvider))!;
  const capabilities: Capabilities = {
    versions: ['mls10'],
    ciphersuites: [suite.name],
    extensions: [],
    proposals: [],
    credentials: ['basic'],
  };
  const newPackage = (i: number) =>
    generateKeyPackage({ credentialType: 'basic', identity: Buffer.of(i) }, capabilities, defaultLifetime, [], suite);
  const add = (keyPackage: Awaited<ReturnType<typeof newPackage>>) => ({
    proposalType: 'add' as const,
    add: { keyPackage: keyPackage.publicPackage },
  });
  const packages = await Promise.all(Array.from({ length: 8 }, (_, i) => newPackage(i)));
  const maker = packages[0]!;
  const made = await createGroup(randomBytes(32), maker.publicPackage, maker.privatePackage, [], suite, config);
  const first = await createCommit(
    { state: made, cipherSuite: suite },
    { extraProposals: packages.slice(1).map(add), ratchetTreeExtension: true },
  );
  const states = new Map<number, ClientState>([[0, first.newState]]);
  for (const i of [1, 2, 3, 4, 5, 6, 7]) {
    const { publicPackage: keyPackage, privatePackage: privateKeys } = packages[i]!;
    states.set(i, (await joinGroup(first.welcome!, { suite, config, keyPackage, privateKeys })).state);
  }
  const everybodyTakes = async (author: number, extraProposals: Parameters<typeof createCommit>[1] & object) => {
    const result = await createCommit(
      { state: states.get(author)!, cipherSuite: suite },
      { ...extraProposals, wireAsPublicMessage: true },
    );
    for (const [i, state] of states) {
      if (i === author) states.set(i, result.newState);
      else if (result.commit.wireformat === 'mls_public_message')
        states.set(
          i,
          (
            (await processMessage(result.commit, state, emptyPskIndex, () => 'accept', suite)) as {
              newState: ClientState;
            }
          ).newState,
        );
    }
    return result;
  };
  for (const gone of [3, 6]) {
    states.delete(gone);
    await everybodyTakes(0, { extraProposals: [{ proposalType: 'remove', remove: { removed: gone } }] });
  }
  for (const author of [0, 2, 4, 7]) await everybodyTakes(author, {});
  // Now two places are taken, in different halves: their common ancestor lists both leaves as unmerged, each half only its own.
  const [left, right] = await Promise.all([newPackage(8), newPackage(9)]);
  await everybodyTakes(1, { extraProposals: [add(left)] });
  const { welcome, newState } = await everybodyTakes(5, { extraProposals: [add(right)], ratchetTreeExtension: true });
  const { publicPackage: keyPackage, privatePackage: privateKeys } = right;
  const { state } = await joinGroup(welcome!, { suite, config, keyPackage, privateKeys });
  t.same(state.keySchedule.epochAuthenticator, newState.keySchedule.epochAuthenticator);
  const { groupId } = state.groupContext;
  await refuseDamaged(t, state.ratchetTree, { groupId, extensions: [] }, suite);
  await t.rejects(
    libraryJoinGroup(welcome!, keyPackage, privateKeys, emptyPskIndex, suite, undefined, undefined, config),
    /unmerged_leaves/,
    'if this is accepted, the library was repaired: own join and tree check may go',
  );
});
