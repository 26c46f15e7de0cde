/**
 * Two logs of one node that have the same batch: its acknowledgement was lost with the end of the first, and the device signed it again for
 * the second. The recipient had signed in the first that it came.
 */
import { generateKeyPairSync } from 'node:crypto';
import type { Hash } from '../../base/bytes.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { leafHash, NO_HASH } from '../../transcript/merkle.ts';
import { verifierKey } from '../../transcript/note.ts';
import { ciphertextHash, decodeMs, KIND } from '../../transcript/statement.ts';
import { compose, genCerts, headOf, type World } from './log-writer.ts';

export const { ca, world: first } = genCerts();
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const origin = `${first.origin}/e2`;
export const second: World = { ...first, origin, logKey: privateKey, log: verifierKey(origin, publicKey) };

const written = compose(first, [
  { sender: 'alice', conversations: ['ab'], at: 0 },
  { sender: 'bob', conversations: ['ab'], at: 1000 },
  { sender: 'alice', conversations: ['ab', 'ab'], at: 2000 },
]);
/** Statements of the batch that both have. */
export const unanswered = written.flatMap((leaf) => (leaf.type === 'msg' ? [leaf.ms] : [])).slice(-2);
const acknowledged = written.find((leaf) => leaf.type === 'sigb')!;

/** What says that the first message of that batch came. */
export const receipt = leafHash(unanswered[0]!);
const receiptStep = { sender: 'carol', conversations: ['ab'], at: 3000 };
const received = compose(first, [receiptStep], {
  ms: (ms) => ({
    ...ms,
    kind: KIND.delivered,
    ciphertextBytes: receipt.length,
    convCtr: 0,
    rosterHash: NO_HASH,
    commitment: NO_HASH,
    ciphertextHash: ciphertextHash([receipt]),
  }),
}).slice(2);
export const before = [...written, ...received];

/** The same statements in another batch, behind the one that was acknowledged; then the session goes on. */
export const after = compose(
  second,
  [
    { sender: 'alice', conversations: ['ab', 'ab'], at: 5000 },
    { sender: 'alice', conversations: ['ab'], at: 6000 },
  ],
  {
    keyStatement: (statement) => {
      const { size, root } = headOf(first, before.map(encodeLeaf));
      const known = { size: size + 5, root: root as Hash };
      return { ...statement, previous: first.log, recovery: { kept: size, known } };
    },
    ms: (ms, batch, position) =>
      batch === 0
        ? decodeMs(unanswered[position - 1]!)
        : { ...ms, sessionCtr: ms.sessionCtr + 1, convCtr: ms.convCtr + 1 },
    bs: (bs, batch) => ({
      ...bs,
      firstCtr: bs.firstCtr + 1,
      ...(batch === 0 && { prevBatch: leafHash(acknowledged.bs) }),
    }),
  },
);
