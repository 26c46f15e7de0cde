/** A log of an exporter's own, whose key nobody but he vouches for. */
import { generateKeyPairSync } from 'node:crypto';
import type { BundleContent } from '../../transcript/bundle-writer.ts';
import { peekCheckpoint, signCheckpoint } from '../../transcript/checkpoint.ts';
import { formatKeyStatement, signKeyStatement } from '../../transcript/key-statement.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { verifierKey } from '../../transcript/note.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { credentialOf } from '../support/bundle-writer.ts';
import { headOf, type Credential } from '../support/log-writer.ts';
import { withContent } from './bundle-edits.ts';
import { leaves, world } from './tamper.ts';

const alice = credentialOf(world, 'alice');

export const { privateKey: rogueKey, publicKey: roguePublic } = generateKeyPairSync('ed25519');
export const rogueLog = verifierKey(world.origin, roguePublic);
/** A log key of the exporter's own, for which somebody vouches: checkpoints under it are signed anew. */
export function rogueContent(by: Credential, content: BundleContent): BundleContent {
  const [own] = [parseCertificate(by.chain[0]!)];
  const { notBefore, notAfter, fingerprint } = own;
  const named = { log: rogueLog, notBefore, notAfter, serverCertificate: fingerprint, previous: null };
  const statement = formatKeyStatement(named);
  const entries = leaves.map(encodeLeaf);
  const checkpoint = signCheckpoint({ ...headOf(world, entries), root: NO_HASH }, rogueKey);
  const messages = [...content.messages()].map((one) => {
    const { size, root } = peekCheckpoint(one.proof.checkpoint);
    return {
      ...one,
      proof: { ...one.proof, checkpoint: signCheckpoint({ origin: world.origin, size, root }, rogueKey) },
    };
  });
  const keys = [{ statement, signature: signKeyStatement(statement, by.key) }];
  const log = { ...content.logs[0]!, keys, checkpoint };
  return { ...content, logs: [log], messages: () => messages };
}
export const rogue = (by: Credential) => withContent((content) => rogueContent(by, content));
export const rogueTwice = withContent((content) => {
  const forged = rogueContent(alice, content);
  const messages = [...forged.messages()].map((one, i) =>
    i === 2
      ? {
          ...one,
          proof: {
            ...one.proof,
            checkpoint: signCheckpoint({ origin: world.origin, size: 10, root: NO_HASH }, rogueKey),
          },
        }
      : one,
  );
  return { ...forged, messages: () => messages };
});
