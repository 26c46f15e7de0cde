/** Rows of a log whose key was replaced, and of an exporter who says so of a key of his own. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { BundleLog, BundleMessage } from '../../transcript/bundle-writer.ts';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { endorseKeyStatement, formatKeyStatement, signKeyStatement } from '../../transcript/key-statement.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { verifierKey, type VerifierKey } from '../../transcript/note.ts';
import type { Takeover } from '../../transcript/takeovers.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { bundleOf } from '../support/bundle-writer.ts';
import { noteAt, type Credential } from '../support/log-writer.ts';
import { authority, DAY, dns, ec, eku, EKU, keyUsage, make, named, san } from '../x509/maker.ts';
import { BEGIN, found, msg, root, type BundleRow } from './bundle-edits.ts';
import { leaves, world } from './tamper.ts';

interface Key {
  readonly secret: KeyObject;
  readonly log: VerifierKey;
}
const keyOf = (secret: KeyObject): Key => ({ secret, log: verifierKey(world.origin, createPublicKey(secret)) });
const own = keyOf(world.logKey);
const [next, third, rogue] = [1, 2, 3].map(() => keyOf(generateKeyPairSync('ed25519').privateKey)) as [Key, Key, Key];

const validity = { from: BEGIN - DAY, until: BEGIN + 30 * DAY };
const shape = { ...validity, extensions: [keyUsage(0), eku(EKU.server), san(dns('chat.example.org'))] };
const serverOf = (by = root): Credential => {
  const made = make(by, { ...shape, pair: ec(), subject: named('chat.example.org') });
  return { chain: [made.der], key: made.pair.privateKey };
};
const renewed = serverOf();
const stranger = serverOf(authority('Strangers', validity));

/** That this key is the log's, by the certificate of a server. */
function statementOf({ log }: Key, previous: Key | null = null, by = world.server) {
  const { notBefore, notAfter, fingerprint } = parseCertificate(by.chain[0]!);
  const text = formatKeyStatement({
    ...{ log, notBefore, notAfter, serverCertificate: fingerprint },
    previous: previous?.log ?? null,
  });
  return { statement: text, signature: signKeyStatement(text, by.key) };
}
const takeover = (older: Key, newer: Key): Takeover => {
  const { statement } = statementOf(newer, older);
  return { statement, endorsement: endorseKeyStatement(statement, older.secret) };
};

/** @param messages whose notes these are signed with @param newest and the largest one */
function bundle(
  [messages, newest]: readonly [Key, Key],
  keys: BundleLog['keys'],
  takeovers: readonly Takeover[],
  change: (messages: BundleMessage[]) => BundleMessage[] = (all) => all,
) {
  const checkpoint = () => noteAt({ ...world, logKey: newest.secret }, leaves);
  return () =>
    bundleOf({ ...world, logKey: messages.secret }, leaves, 'ab', {
      messages: change,
      content: (content) => ({
        ...content,
        certificates: [...content.certificates, ...[renewed, stranger].map(({ chain }) => chain[0]!)],
        logs: [{ ...content.logs[0]!, keys, takeovers, checkpoint: checkpoint() }],
      }),
    });
}
const refused = found('E_CKPT_SIG', msg(1, 'log.tlog-proof'), false);

/** Another history for the size of the first checkpoint. */
const forked = (by: Key) => (all: BundleMessage[]) =>
  all.map((one, i) => {
    const note = signCheckpoint({ origin: world.origin, size: 4, root: NO_HASH }, by.secret);
    return i === 1 ? { ...one, proof: { ...one.proof, checkpoint: note } } : one;
  });

export const BUNDLE_TAKEOVERS: readonly BundleRow[] = [
  {
    name: 'a key that took over, and the one before',
    archive: bundle([own, next], [statementOf(next, own), statementOf(own)], [takeover(own, next)]),
    exit: 0,
  },
  {
    name: 'seen when it had taken over',
    archive: bundle([own, next], [statementOf(next, own)], [takeover(own, next)]),
    exit: 0,
  },
  {
    name: 'the server has another certificate since',
    archive: bundle([own, next], [statementOf(next, null, renewed), statementOf(own)], [takeover(own, next)]),
    exit: 0,
  },
  {
    name: 'two took over, of which one was never seen',
    archive: bundle(
      [own, third],
      [statementOf(third, next), statementOf(own)],
      [takeover(own, next), takeover(next, third)],
    ),
    exit: 0,
  },
  {
    name: 'a key of the exporter that says it was there before',
    archive: bundle([rogue, rogue], [statementOf(own)], [takeover(rogue, own)]),
    ...refused,
  },
  {
    name: 'the same with the last checkpoint of the log',
    archive: bundle([rogue, own], [statementOf(own)], [takeover(rogue, own)]),
    ...refused,
  },
  {
    name: 'the same of a key before that',
    archive: bundle([rogue, next], [statementOf(next, own)], [takeover(rogue, own), takeover(own, next)]),
    ...refused,
  },
  {
    name: 'the same with the word of a server of nobody',
    archive: bundle([rogue, own], [statementOf(own), statementOf(rogue, null, stranger)], [takeover(rogue, own)]),
    ...refused,
  },
  {
    name: 'the same with the word of such a server about the key of the log',
    archive: bundle([rogue, own], [statementOf(own), statementOf(own, rogue, stranger)], [takeover(rogue, own)]),
    ...refused,
  },
  {
    name: 'another history that such a key has signed',
    archive: bundle([own, own], [statementOf(own)], [takeover(rogue, own)], forked(rogue)),
    ...found('E_CKPT_SIG', msg(2, 'log.tlog-proof'), false),
  },
];
