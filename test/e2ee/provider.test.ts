/** Our cryptography against the working group's vectors, against independent implementations, and in one group with the library's. */
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { XWing } from '@hpke/hybridkem-x-wing';
import t from 'tap';
import {
  createApplicationMessage,
  createCommit,
  createGroup,
  defaultCryptoProvider,
  defaultLifetime,
  emptyPskIndex,
  generateKeyPackage,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  type CiphersuiteName,
  type ClientConfig,
  type ClientState,
} from 'ts-mls';
import { refhash } from 'ts-mls/crypto/hash.js';
import { decryptWithLabel, encryptWithLabel } from 'ts-mls/crypto/hpke.js';
import { deriveSecret, deriveTreeSecret, expandWithLabel } from 'ts-mls/crypto/kdf.js';
import { signWithLabel, verifyWithLabel } from 'ts-mls/crypto/signature.js';
import { receive, type Rules } from '../../client/e2ee/guard.ts';
import { RETENTION } from '../../client/e2ee/sender-data.ts';
import { joinGroup } from '../../client/e2ee/join.ts';
import { xWing } from '../../client/e2ee/kem.ts';
import { nodeProvider, openSuite, SUITE } from '../../client/e2ee/provider.ts';
import { ABSENT, bytes, hexOf, PROVIDERS, suiteOf, SUITES, withVectors } from './vectors.ts';

t.test('ts-mls is the version that was examined', async (t) => {
  const require = createRequire(import.meta.url);
  const { version } = JSON.parse(readFileSync(require.resolve('ts-mls').replace(/dist.*/, 'package.json'), 'utf8')) as {
    version: string;
  };
  t.equal(version, '1.6.4', 'another one has to be examined first: the list of its defects is what this room answers');
  const own = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  t.equal(own.dependencies['ts-mls'], '1.6.4');
});

t.test('the suites of each provider', async (t) => {
  for (const [name, provider] of Object.entries(PROVIDERS)) {
    for (const id of SUITES[name]!) t.ok(await suiteOf(id, provider), `${name}: suite ${id}`);
    if (name === 'library')
      for (const id of ABSENT) t.equal(await suiteOf(id, provider), null, `not the library's ${id}`);
  }
  t.strictSame(SUITES['ours'], [1, 2, 3, 4, 5, 6, 7]);
});

interface Basics {
  readonly cipher_suite: number;
  readonly ref_hash: { label: string; value: string; out: string };
  readonly expand_with_label: { secret: string; label: string; context: string; length: number; out: string };
  readonly derive_secret: { secret: string; label: string; out: string };
  readonly derive_tree_secret: { secret: string; label: string; generation: number; length: number; out: string };
  readonly sign_with_label: { priv: string; pub: string; content: string; label: string; signature: string };
  readonly encrypt_with_label: {
    priv: string;
    pub: string;
    label: string;
    context: string;
    plaintext: string;
    kem_output: string;
    ciphertext: string;
  };
}
await withVectors<Basics>(t, 'crypto-basics.json', async (t, vectors) => {
  for (const {
    cipher_suite,
    ref_hash: r,
    expand_with_label: e,
    derive_secret: d,
    derive_tree_secret: g,
    sign_with_label: s,
    encrypt_with_label: w,
  } of vectors) {
    const { hash, kdf, signature, hpke } = (await suiteOf(cipher_suite, nodeProvider))!;
    t.equal(hexOf(await refhash(r.label, bytes(r.value), hash)), r.out, `suite ${cipher_suite}`);
    t.equal(hexOf(await expandWithLabel(bytes(e.secret), e.label, bytes(e.context), e.length, kdf)), e.out);
    t.equal(hexOf(await deriveSecret(bytes(d.secret), d.label, kdf)), d.out);
    t.equal(hexOf(await deriveTreeSecret(bytes(g.secret), g.label, g.generation, g.length, kdf)), g.out);
    t.ok(await verifyWithLabel(bytes(s.pub), s.label, bytes(s.content), bytes(s.signature), signature));
    t.notOk(await verifyWithLabel(bytes(s.pub), s.label, bytes(`${s.content}00`), bytes(s.signature), signature));
    const made = await signWithLabel(bytes(s.priv), s.label, bytes(s.content), signature);
    t.ok(await verifyWithLabel(bytes(s.pub), s.label, bytes(s.content), made, signature));
    const key = await hpke.importPrivateKey(bytes(w.priv));
    const opened = (enc: Uint8Array, ct: Uint8Array) => decryptWithLabel(key, w.label, bytes(w.context), enc, ct, hpke);
    t.equal(hexOf(await opened(bytes(w.kem_output), bytes(w.ciphertext))), w.plaintext);
    const sealed = await encryptWithLabel(
      await hpke.importPublicKey(bytes(w.pub)),
      w.label,
      bytes(w.context),
      bytes(w.plaintext),
      hpke,
    );
    t.equal(hexOf(await opened(sealed.enc, sealed.ct)), w.plaintext);
    sealed.ct[0]! ^= 1;
    await t.rejects(opened(sealed.enc, sealed.ct));
  }
});

t.test('X-Wing: the first vector of the draft, through an encapsulation that can be fixed', async (t) => {
  const theirs = new XWing();
  const seed = bytes('7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26');
  const ekm = bytes(
    '3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e235b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2',
  );
  const { publicKey } = await theirs.generateKeyPairDerand(seed);
  const { sharedSecret, enc } = await theirs.encap({ recipientPublicKey: publicKey, ekm: ekm.buffer as ArrayBuffer });
  t.equal(hexOf(new Uint8Array(sharedSecret)), 'd2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384');
  t.equal(hexOf(xWing().decapsulate(seed, new Uint8Array(enc))), hexOf(new Uint8Array(sharedSecret)));
});

t.test('X-Wing: ours and @hpke/hybridkem-x-wing agree', async (t) => {
  const [ours, theirs] = [xWing(), new XWing()];
  for (let i = 0; i < 8; i++) {
    const ikm = randomBytes(64);
    const own = ours.deriveKeyPair(ikm);
    const other = await theirs.deriveKeyPair(new Uint8Array(ikm).buffer);
    t.same(
      own.publicKey,
      Buffer.from(await theirs.serializePublicKey(other.publicKey)),
      'the same key from the same seed',
    );
    const { sharedSecret, enc } = await theirs.encap({ recipientPublicKey: other.publicKey });
    t.same(ours.decapsulate(own.privateKey, new Uint8Array(enc)), Buffer.from(sharedSecret));
    const made = ours.encapsulate(own.publicKey);
    const back = await theirs.decap({ recipientKey: other.privateKey, enc: new Uint8Array(made.enc).buffer });
    t.same(made.shared, Buffer.from(back));
  }
  t.throws(() => ours.publicKey(Buffer.alloc(1216, 0xff)), 'an encapsulation key that is not reduced (FIPS 203 §7.2)');
  t.throws(() => ours.publicKey(Buffer.alloc(1215)));
  const { publicKey, privateKey } = ours.generateKeyPair();
  t.throws(() => ours.decapsulate(privateKey, Buffer.alloc(1119)));
  t.throws(
    () => ours.encapsulate(Buffer.concat([publicKey.subarray(0, 1184), Buffer.alloc(32)])),
    'a point of low order',
  );
});

t.test('both providers in one group', async (t) => {
  const theirs = await getCiphersuiteImpl(getCiphersuiteFromName(SUITE), defaultCryptoProvider);
  const ours = await openSuite();
  const config: ClientConfig = {
    keyRetentionConfig: RETENTION,
    lifetimeConfig: { maximumTotalLifetime: 0n, validateLifetimeOnReceive: false },
    keyPackageEqualityConfig: { compareKeyPackages: () => false, compareKeyPackageToLeafNode: () => false },
    paddingConfig: { kind: 'alwaysPad', paddingLength: 0 },
    authService: { validateCredential: async () => true },
  };
  const rules: Rules = {
    proposals: new Set(['add', 'remove'] as const),
    standAlone: false,
    psks: emptyPskIndex,
    device: (leaf) => hexOf(leaf.signaturePublicKey),
    judge: () => {},
  };
  const capabilities = {
    versions: ['mls10' as const],
    ciphersuites: [SUITE as CiphersuiteName],
    extensions: [],
    proposals: [],
    credentials: ['basic' as const],
  };
  const suites = [theirs, ours, theirs, ours];
  const packages = await Promise.all(
    suites.map((suite, i) =>
      generateKeyPackage({ credentialType: 'basic', identity: Buffer.of(i) }, capabilities, defaultLifetime, [], suite),
    ),
  );
  const made = await createGroup(
    randomBytes(32),
    packages[0]!.publicPackage,
    packages[0]!.privatePackage,
    [],
    suites[0]!,
    config,
  );
  const adds = packages
    .slice(1)
    .map(({ publicPackage }) => ({ proposalType: 'add' as const, add: { keyPackage: publicPackage } }));
  const first = await createCommit(
    { state: made, cipherSuite: suites[0]! },
    { extraProposals: adds, ratchetTreeExtension: true },
  );
  const states: ClientState[] = [first.newState];
  for (const i of [1, 2, 3]) {
    const { publicPackage: keyPackage, privatePackage: privateKeys } = packages[i]!;
    states.push((await joinGroup(first.welcome!, { suite: suites[i]!, config, keyPackage, privateKeys })).state);
  }
  for (const author of [1, 0, 3, 2, 1]) {
    const { newState, commit } = await createCommit({ state: states[author]!, cipherSuite: suites[author]! }, {});
    for (const i of states.keys()) {
      const result =
        i === author
          ? { kind: 'commit' as const, state: newState }
          : await receive(states[i]!, commit, suites[i]!, rules);
      if (result.kind !== 'commit') throw new Error(result.kind);
      states[i] = result.state;
    }
    t.equal(new Set(states.map((s) => hexOf(s.keySchedule.epochAuthenticator))).size, 1);
    const sent = await createApplicationMessage(states[author]!, Buffer.from('hello'), suites[author]!);
    states[author] = sent.newState;
    const message = {
      version: 'mls10' as const,
      wireformat: 'mls_private_message' as const,
      privateMessage: sent.privateMessage,
    };
    for (const i of states.keys()) {
      if (i === author) continue;
      const result = await receive(states[i]!, message, suites[i]!, rules);
      t.match(result, { kind: 'message', sender: { leafIndex: author } });
      if ('state' in result) states[i] = result.state;
    }
  }
});
