/**
 * Who sealed a message, by its sender data: the library does not say. They are opened here before the library opens them again, once for both.
 */
import { equal } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import {
  decryptSenderData,
  leafToNodeIndex,
  toLeafIndex,
  type CiphersuiteImpl,
  type PrivateMessage,
  type RatchetTree,
  type SecretTree,
} from './mls.ts';
import { occupantAt, type Occupant } from './occupants.ts';
import { refuse } from './refusal.ts';

/** As in the retention that every state of this room is given. */
export const RETENTION = { retainKeysForGenerations: 10, retainKeysForEpochs: 2, maximumForwardRatchetSteps: 1000 };

/** The suite, for one message: its sender data are opened here and by the library, and the second time what came of the first is there. */
export function rememberingSender(
  { encryptedSenderData }: PrivateMessage,
  senderDataSecret: Uint8Array,
  suite: CiphersuiteImpl,
): CiphersuiteImpl {
  const { kdf, hpke } = suite;
  const expanded: { readonly info: Uint8Array; readonly length: number; readonly out: Uint8Array }[] = [];
  let opened: { readonly key: Uint8Array; readonly nonce: Uint8Array; readonly out: Uint8Array } | undefined;
  return {
    ...suite,
    kdf: {
      ...kdf,
      async expand(prk, info, length) {
        if (prk !== senderDataSecret) return kdf.expand(prk, info, length);
        const before = expanded.find((each) => each.length === length && equal(each.info, info));
        if (before !== undefined) return before.out;
        const out = await kdf.expand(prk, info, length);
        expanded.push({ info, length, out });
        return out;
      },
    },
    hpke: {
      ...hpke,
      async decryptAead(key, nonce, aad, ciphertext) {
        if (ciphertext !== encryptedSenderData) return hpke.decryptAead(key, nonce, aad, ciphertext);
        // These keys come from the two above alone, and the rest is of this one message.
        if (opened?.key === key && opened.nonce === nonce) return opened.out;
        const out = await hpke.decryptAead(key, nonce, aad, ciphertext);
        opened = { key, nonce, out };
        return out;
      },
    },
  };
}

/** Unproven until the library has checked the signature against this very leaf. */
export async function senderOf(
  message: PrivateMessage,
  senderDataSecret: Uint8Array,
  tree: RatchetTree,
  secrets: SecretTree,
  ownLeaf: number,
  suite: CiphersuiteImpl,
): Promise<Occupant> {
  let data: Awaited<ReturnType<typeof decryptSenderData>>;
  try {
    data = await decryptSenderData(message, senderDataSecret, suite);
  } catch (cause) {
    return refuse('crypto', 'its sender data cannot be opened', { cause });
  }
  const sender = data && occupantAt(tree, data.leafIndex);
  const ratchets = data && secrets[leafToNodeIndex(toLeafIndex(data.leafIndex))];
  if (!data || !sender || !ratchets) return refuse('sender', 'from a place in the group where nobody is');
  if (sender.leafIndex === ownLeaf) refuse('own', 'this device wrote it, and has no use for it');
  const ratchet = message.contentType === 'application' ? ratchets.application : ratchets.handshake;
  if (data.generation < ratchet.generation && !(data.generation in ratchet.unusedGenerations))
    throw new ChatError('REPLAY', 'a message that was opened before', { field: 'generation' });
  if (data.generation - ratchet.generation > RETENTION.maximumForwardRatchetSteps)
    refuse('gap', 'too many messages of this sender were lost');
  return sender;
}
