/** A client that only listens, through our own join and guard: the working group's acceptance test, with both providers. */
import {
  bytesToBase64,
  decodeGroupState,
  decodeMlsMessage,
  defaultAuthenticationService,
  defaultKeyPackageEqualityConfig,
  defaultLifetimeConfig,
  encodeGroupState,
  makePskIndex,
  type CiphersuiteImpl,
  type ClientConfig,
  type ClientState,
} from 'ts-mls';
import { decodeRatchetTree } from 'ts-mls/ratchetTree.js';
import { parseMessage, receive, type Rules } from '../../client/e2ee/guard.ts';
import { RETENTION } from '../../client/e2ee/sender-data.ts';
import { joinGroup } from '../../client/e2ee/join.ts';
import { bytes, hexOf, withSuites } from './vectors.ts';

interface PassiveClient {
  readonly cipher_suite: number;
  readonly external_psks: readonly { readonly psk_id: string; readonly psk: string }[];
  readonly key_package: string;
  readonly signature_priv: string;
  readonly encryption_priv: string;
  readonly init_priv: string;
  readonly welcome: string;
  readonly ratchet_tree: string | null;
  readonly initial_epoch_authenticator: string;
  readonly epochs: readonly {
    readonly proposals: readonly string[];
    readonly commit: string;
    readonly epoch_authenticator: string;
  }[];
}

const config: ClientConfig = {
  keyRetentionConfig: RETENTION,
  lifetimeConfig: defaultLifetimeConfig,
  keyPackageEqualityConfig: defaultKeyPackageEqualityConfig,
  paddingConfig: { kind: 'alwaysPad', paddingLength: 0 },
  authService: defaultAuthenticationService,
};

/** Everything that RFC 9420 has; the rules of the product are much narrower. */
const everything: Omit<Rules, 'psks'> = {
  proposals: new Set(['add', 'remove', 'update', 'psk', 'reinit', 'group_context_extensions'] as const),
  standAlone: true,
  device: (leaf) => hexOf(leaf.signaturePublicKey),
  judge: () => {},
};

async function listen(vector: PassiveClient, suite: CiphersuiteImpl): Promise<number> {
  const keyPackage = decodeMlsMessage(bytes(vector.key_package), 0)![0];
  const welcome = decodeMlsMessage(bytes(vector.welcome), 0)![0];
  if (keyPackage.wireformat !== 'mls_key_package' || welcome.wireformat !== 'mls_welcome') throw new Error('vector');
  const psks = Object.fromEntries(
    vector.external_psks.map(({ psk_id, psk }) => [bytesToBase64(bytes(psk_id)), bytes(psk)]),
  );
  const tree = vector.ratchet_tree === null ? undefined : decodeRatchetTree(bytes(vector.ratchet_tree), 0)![0];
  const privateKeys = {
    initPrivateKey: bytes(vector.init_priv),
    hpkePrivateKey: bytes(vector.encryption_priv),
    signaturePrivateKey: bytes(vector.signature_priv),
  };
  const joining = { suite, config, keyPackage: keyPackage.keyPackage, privateKeys, ...(tree && { tree }) };
  let { state }: { state: ClientState } = await joinGroup(welcome.welcome, joining, makePskIndex(undefined, psks));
  let matches = 0;
  const compare = (expected: string) => hexOf(state.keySchedule.epochAuthenticator) === expected && matches++;
  compare(vector.initial_epoch_authenticator);
  for (const [i, epoch] of vector.epochs.entries()) {
    for (const message of [...epoch.proposals, epoch.commit]) {
      const result = await receive(state, parseMessage(bytes(message)), suite, {
        ...everything,
        psks: makePskIndex(state, psks),
      });
      if (!('state' in result)) throw new Error(result.kind);
      state = result.state;
    }
    compare(epoch.epoch_authenticator);
    if (i % 10 === 0) state = { ...decodeGroupState(encodeGroupState(state), 0)![0], clientConfig: config };
  }
  return matches;
}

for (const [file, counts] of [
  ['passive-client-welcome.json', { each: 8 }],
  ['passive-client-handling-commit.json', { each: 13 }],
  ['passive-client-random.json', { each: 1, suites: [1] }],
] as const)
  await withSuites<PassiveClient>(import.meta.filename, file, counts, async (vector, suite, check) => {
    const matches = await listen(vector, suite);
    check(matches === vector.epochs.length + 1, `every epoch: ${matches}`);
  });
