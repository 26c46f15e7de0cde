/**
 * What every message is sealed with, and what members compare: the working group's vectors for the key schedule, pre-shared keys, the
 * secret tree, transcript hashes, the protection of messages and the Welcome, through the library's functions and each provider.
 * A passive client (passive-client.test.ts) goes through all of this as well; here each step has its own value.
 */
import {
  decodeMlsMessage,
  encodeMlsMessage,
  getCiphersuiteFromName,
  type CiphersuiteImpl,
  type MLSMessage,
  type PreSharedKeyID,
} from 'ts-mls';
import { decodeAuthenticatedContent } from 'ts-mls/authenticatedContent.js';
import { encodeCommit } from 'ts-mls/commit.js';
import { createContentCommitSignature, verifyConfirmationTag } from 'ts-mls/framedContent.js';
import { encodeGroupContext, type GroupContext } from 'ts-mls/groupContext.js';
import { verifyGroupInfoSignature } from 'ts-mls/groupInfo.js';
import { makeKeyPackageRef } from 'ts-mls/keyPackage.js';
import { deriveKeySchedule, initializeEpoch, mlsExporter } from 'ts-mls/keySchedule.js';
import { protectApplicationData, protectProposal, unprotectPrivateMessage } from 'ts-mls/messageProtection.js';
import { protectProposalPublic, protectPublicMessage, unprotectPublicMessage } from 'ts-mls/messageProtectionPublic.js';
import { decodeProposal, encodeProposal } from 'ts-mls/proposal.js';
import { accumulatePskSecret } from 'ts-mls/pskIndex.js';
import { createSecretTree, ratchetToGeneration } from 'ts-mls/secretTree.js';
import { expandSenderDataKey, expandSenderDataNonce } from 'ts-mls/sender.js';
import { createConfirmedHash, createInterimHash } from 'ts-mls/transcriptHash.js';
import { decryptGroupInfo, decryptGroupSecrets } from 'ts-mls/welcome.js';
import { RETENTION } from '../../client/e2ee/sender-data.ts';
import { bytes, hexOf, withSuites } from './vectors.ts';

const here = import.meta.filename;
type OfSuite<Field extends string> = { readonly cipher_suite: number } & Readonly<Record<Field, string>>;

function contextOf(
  vector: OfSuite<'group_id' | 'tree_hash' | 'confirmed_transcript_hash'>,
  epoch: number,
  suite: CiphersuiteImpl,
): GroupContext {
  return {
    version: 'mls10',
    cipherSuite: suite.name,
    groupId: bytes(vector.group_id),
    epoch: BigInt(epoch),
    treeHash: bytes(vector.tree_hash),
    confirmedTranscriptHash: bytes(vector.confirmed_transcript_hash),
    extensions: [],
  };
}

const SECRETS = {
  confirmation_key: 'confirmationKey',
  epoch_authenticator: 'epochAuthenticator',
  exporter_secret: 'exporterSecret',
  external_secret: 'externalSecret',
  init_secret: 'initSecret',
  membership_key: 'membershipKey',
  resumption_psk: 'resumptionPsk',
  sender_data_secret: 'senderDataSecret',
} as const;
type Epoch = Readonly<Record<keyof typeof SECRETS | 'commit_secret' | 'psk_secret' | 'tree_hash', string>> &
  Readonly<
    Record<'joiner_secret' | 'welcome_secret' | 'encryption_secret' | 'external_pub' | 'group_context', string>
  > & {
    readonly confirmed_transcript_hash: string;
    readonly exporter: {
      readonly label: string;
      readonly context: string;
      readonly length: number;
      readonly secret: string;
    };
  };
type Schedule = OfSuite<'group_id' | 'initial_init_secret'> & { readonly epochs: readonly Epoch[] };
await withSuites<Schedule>(here, 'key-schedule.json', { each: 1 }, async (vector, suite, check) => {
  let init = bytes(vector.initial_init_secret);
  for (const [i, epoch] of vector.epochs.entries()) {
    const context = contextOf({ ...vector, ...epoch }, i, suite);
    const same = (value: Uint8Array, field: string, expected: string) =>
      check(hexOf(value) === expected, `${i}: ${field}`);
    same(encodeGroupContext(context), 'group_context', epoch.group_context);
    const made = await initializeEpoch(init, bytes(epoch.commit_secret), context, bytes(epoch.psk_secret), suite.kdf);
    same(made.joinerSecret, 'joiner_secret', epoch.joiner_secret);
    same(made.welcomeSecret, 'welcome_secret', epoch.welcome_secret);
    same(made.encryptionSecret, 'encryption_secret', epoch.encryption_secret);
    for (const [field, name] of Object.entries(SECRETS) as [
      keyof typeof SECRETS,
      (typeof SECRETS)[keyof typeof SECRETS],
    ][])
      same(made.keySchedule[name], field, epoch[field]);
    const { label, context: about, length, secret } = epoch.exporter;
    same(await mlsExporter(made.keySchedule.exporterSecret, label, bytes(about), length, suite), 'exporter', secret);
    const { publicKey } = await suite.hpke.deriveKeyPair(made.keySchedule.externalSecret);
    same(await suite.hpke.exportPublicKey(publicKey), 'external_pub', epoch.external_pub);
    init = made.keySchedule.initSecret;
  }
});

type Psks = OfSuite<'psk_secret'> & {
  readonly psks: readonly Readonly<Record<'psk_id' | 'psk' | 'psk_nonce', string>>[];
};
await withSuites<Psks>(here, 'psk_secret.json', { each: 11 }, async ({ psks, psk_secret }, suite, check) => {
  const ids = psks.map(({ psk_id, psk_nonce }): PreSharedKeyID => ({
    psktype: 'external',
    pskId: bytes(psk_id),
    pskNonce: bytes(psk_nonce),
  }));
  const index = { findPsk: (id: PreSharedKeyID) => bytes(psks[ids.indexOf(id)]!.psk) };
  const [secret] = await accumulatePskSecret(ids, index, suite, new Uint8Array(suite.kdf.size));
  check(hexOf(secret) === psk_secret, 'psk_secret');
});

type Secrets = OfSuite<'encryption_secret'> & {
  readonly sender_data: Readonly<Record<'sender_data_secret' | 'ciphertext' | 'key' | 'nonce', string>>;
  readonly leaves: readonly (readonly ({ readonly generation: number } & Readonly<
    Record<'application_key' | 'application_nonce' | 'handshake_key' | 'handshake_nonce', string>
  >)[])[];
};
await withSuites<Secrets>(here, 'secret-tree.json', { each: 3 }, async (vector, suite, check) => {
  const { sender_data_secret, ciphertext, key, nonce } = vector.sender_data;
  const sample = [suite, bytes(sender_data_secret), bytes(ciphertext)] as const;
  check(hexOf(await expandSenderDataKey(...sample)) === key, 'the key of sender data');
  check(hexOf(await expandSenderDataNonce(...sample)) === nonce, 'the nonce of sender data');
  const tree = await createSecretTree(vector.leaves.length, bytes(vector.encryption_secret), suite.kdf);
  for (const [leafIndex, generations] of vector.leaves.entries())
    for (const expected of generations) {
      const of = { leafIndex, generation: expected.generation, reuseGuard: new Uint8Array(4) as never };
      const application = await ratchetToGeneration(tree, of, 'application', RETENTION, suite);
      const handshake = await ratchetToGeneration(tree, of, 'commit', RETENTION, suite);
      const what = `leaf ${leafIndex}, generation ${expected.generation}`;
      check(hexOf(application.key) === expected.application_key, `${what}: application_key`);
      check(hexOf(application.nonce) === expected.application_nonce, `${what}: application_nonce`);
      check(hexOf(handshake.key) === expected.handshake_key, `${what}: handshake_key`);
      check(hexOf(handshake.nonce) === expected.handshake_nonce, `${what}: handshake_nonce`);
    }
});

type Hashes = OfSuite<
  | 'confirmation_key'
  | 'authenticated_content'
  | 'interim_transcript_hash_before'
  | 'confirmed_transcript_hash_after'
  | 'interim_transcript_hash_after'
>;
await withSuites<Hashes>(here, 'transcript-hashes.json', { each: 1 }, async (vector, { hash }, check) => {
  const { wireformat, content, auth } = decodeAuthenticatedContent(bytes(vector.authenticated_content), 0)![0];
  if (content.contentType !== 'commit' || auth.contentType !== 'commit') throw new Error('vector');
  const before = bytes(vector.interim_transcript_hash_before);
  const confirmed = await createConfirmedHash(before, { wireformat, content, signature: auth.signature }, hash);
  check(hexOf(confirmed) === vector.confirmed_transcript_hash_after, 'confirmed_transcript_hash_after');
  const interim = await createInterimHash(confirmed, auth.confirmationTag, hash);
  check(hexOf(interim) === vector.interim_transcript_hash_after, 'interim_transcript_hash_after');
  const key = bytes(vector.confirmation_key);
  check(await verifyConfirmationTag(key, auth.confirmationTag, confirmed, hash), 'its confirmation tag');
  check(!(await verifyConfirmationTag(key, auth.confirmationTag, before, hash)), 'the refusal of another');
});

type Protection = OfSuite<
  | 'group_id'
  | 'tree_hash'
  | 'confirmed_transcript_hash'
  | 'signature_priv'
  | 'signature_pub'
  | 'encryption_secret'
  | 'sender_data_secret'
  | 'membership_key'
  | 'proposal'
  | 'proposal_priv'
  | 'proposal_pub'
  | 'commit'
  | 'commit_priv'
  | 'commit_pub'
  | 'application'
  | 'application_priv'
> & { readonly epoch: number };
await withSuites<Protection>(here, 'message-protection.json', { each: 1 }, async (vector, suite, check) => {
  const context = contextOf(vector, vector.epoch, suite);
  const [key, publicKey] = [bytes(vector.signature_priv), bytes(vector.signature_pub)];
  const [senderDataSecret, membershipKey] = [bytes(vector.sender_data_secret), bytes(vector.membership_key)];
  const secrets = await createSecretTree(2, bytes(vector.encryption_secret), suite.kdf);
  const decoded = (hex: string): MLSMessage => decodeMlsMessage(bytes(hex), 0)![0];
  const opened = async (message: MLSMessage): Promise<string> => {
    const found =
      message.wireformat === 'mls_private_message'
        ? (
            await unprotectPrivateMessage(
              senderDataSecret,
              message.privateMessage,
              secrets,
              [],
              context,
              RETENTION,
              suite,
              publicKey,
            )
          ).content
        : message.wireformat === 'mls_public_message'
          ? await unprotectPublicMessage(membershipKey, context, [], message.publicMessage, suite, publicKey)
          : null;
    const content = found?.content;
    if (content?.contentType === 'application') return hexOf(content.applicationData);
    return hexOf(content?.contentType === 'commit' ? encodeCommit(content.commit) : encodeProposal(content!.proposal));
  };
  for (const field of ['proposal', 'commit', 'application'] as const)
    for (const form of ['priv', 'pub'] as const) {
      if (field === 'application' && form === 'pub') continue;
      const message = vector[`${field}_${form}` as keyof Protection] as string;
      check((await opened(decoded(message))) === vector[field], `${field}_${form}`);
      const damaged = bytes(message);
      damaged[damaged.length - 1]! ^= 1;
      const refused = await opened(decoded(hexOf(damaged))).then(
        () => false,
        () => true,
      );
      check(refused, `the refusal of a damaged ${field}_${form}`);
    }
  const none = new Uint8Array();
  const proposal = decodeProposal(bytes(vector.proposal), 0)![0];
  const padding = { kind: 'padUntilLength', padUntilLength: 256 } as const;
  const again = (message: MLSMessage): Promise<string> => opened(decoded(hexOf(encodeMlsMessage(message))));
  const inPrivate = (
    privateMessage: Extract<MLSMessage, { privateMessage: object }>['privateMessage'],
  ): Promise<string> => again({ version: 'mls10', wireformat: 'mls_private_message', privateMessage });
  const inPublic = (publicMessage: Extract<MLSMessage, { publicMessage: object }>['publicMessage']): Promise<string> =>
    again({ version: 'mls10', wireformat: 'mls_public_message', publicMessage });
  const said = await protectApplicationData(
    key,
    senderDataSecret,
    bytes(vector.application),
    none,
    context,
    secrets,
    1,
    padding,
    suite,
  );
  check((await inPrivate(said.privateMessage)) === vector.application, 'an application message of our own');
  const proposed = await protectProposal(key, senderDataSecret, proposal, none, context, secrets, 1, padding, suite);
  check((await inPrivate(proposed.privateMessage)) === vector.proposal, 'a proposal of our own');
  const open = await protectProposalPublic(key, membershipKey, context, none, proposal, 1, suite);
  check((await inPublic(open.publicMessage)) === vector.proposal, 'a public proposal of our own');
  const theirs = decoded(vector.commit_pub);
  if (theirs.wireformat !== 'mls_public_message' || theirs.publicMessage.content.contentType !== 'commit')
    throw new Error('vector');
  const { commit } = theirs.publicMessage.content;
  const sender = { senderType: 'member', leafIndex: 1 } as const;
  const { framedContent: content, signature } = await createContentCommitSignature(
    context,
    'mls_public_message',
    commit,
    sender,
    none,
    key,
    suite.signature,
  );
  const auth = { contentType: 'commit', signature, confirmationTag: none } as const;
  const made = await protectPublicMessage(
    membershipKey,
    context,
    { wireformat: 'mls_public_message', content, auth },
    suite,
  );
  check((await inPublic(made)) === vector.commit, 'a public commit of our own');
});

type Welcomed = OfSuite<'init_priv' | 'key_package' | 'signer_pub' | 'welcome'>;
await withSuites<Welcomed>(here, 'welcome.json', { each: 1 }, async (vector, suite, check) => {
  const keyPackage = decodeMlsMessage(bytes(vector.key_package), 0)![0];
  const welcome = decodeMlsMessage(bytes(vector.welcome), 0)![0];
  if (keyPackage.wireformat !== 'mls_key_package' || welcome.wireformat !== 'mls_welcome') throw new Error('vector');
  const reference = await makeKeyPackageRef(keyPackage.keyPackage, suite.hash);
  const key = await suite.hpke.importPrivateKey(bytes(vector.init_priv));
  const secrets = (await decryptGroupSecrets(key, reference, welcome.welcome, suite.hpke))!;
  const noPsk = new Uint8Array(suite.kdf.size);
  const info = (await decryptGroupInfo(welcome.welcome, secrets.joinerSecret, noPsk, suite))!;
  check(getCiphersuiteFromName(info.groupContext.cipherSuite).name === suite.name, 'its suite');
  check(
    await verifyGroupInfoSignature(info, bytes(vector.signer_pub), suite.signature),
    'the signature of its group info',
  );
  const [schedule] = await deriveKeySchedule(secrets.joinerSecret, noPsk, info.groupContext, suite.kdf);
  const { confirmedTranscriptHash } = info.groupContext;
  check(
    await verifyConfirmationTag(schedule.confirmationKey, info.confirmationTag, confirmedTranscriptHash, suite.hash),
    'its confirmation tag',
  );
});
