/** Keys of one log that took each other's place: which are tied to which, and what ties nothing. */
import { createPublicKey } from 'node:crypto';
import t from 'tap';
import { endorseKeyStatement, formatKeyStatement } from '../../transcript/key-statement.ts';
import { verifierKey, type VerifierKey } from '../../transcript/note.ts';
import {
  followersOf,
  formatTakeovers,
  MAX_TAKEOVERS,
  parseTakeovers,
  tiedTo,
  type Takeover,
} from '../../transcript/takeovers.ts';
import { ed25519, filled, fingerprint, origin, refuses } from './sample.ts';

const privateKeys = [1, 2, 3, 4].map((seed) => ed25519(filled(seed)));
const [a, b, c, d] = privateKeys.map((key) => verifierKey(origin, createPublicKey(key))) as [
  VerifierKey,
  VerifierKey,
  VerifierKey,
  VerifierKey,
];
function takeover(previous: VerifierKey, log: VerifierKey, by = [a, b, c, d].indexOf(previous)): Takeover {
  const statement = formatKeyStatement({
    log,
    notBefore: 1,
    notAfter: 2,
    serverCertificate: fingerprint,
    previous,
  });
  return { statement, endorsement: endorseKeyStatement(statement, privateKeys[by]!) };
}
const ids = (keys: readonly VerifierKey[]): number[] => keys.map(({ keyId }) => keyId);
const row = [takeover(a, b), takeover(b, c)];

t.test('which keys are tied', async (t) => {
  t.same(ids(tiedTo(a, row)), ids([a, b, c]));
  t.same(ids(tiedTo(c, row)), ids([c, b, a]), 'from whichever end');
  t.same(ids(tiedTo(a, row.toReversed())), ids([a, b, c]), 'in whatever order they stand');
  t.same(ids(tiedTo(d, row)), ids([d]), 'not a stranger');
  t.same(ids(tiedTo(a, [takeover(a, b, 3)])), ids([a]), 'not without the signature of the key before');
  const elsewhere = verifierKey(`${origin}x`, createPublicKey(privateKeys[0]!));
  t.same(ids(tiedTo(elsewhere, row)), ids([elsewhere]), 'not a key of another log');
});

t.test('which came after', async (t) => {
  t.same(ids(followersOf([a], row)), ids([a, b, c]));
  t.same(ids(followersOf([b], row)), ids([b, c]), 'a key that was replaced never comes back');
  t.same(ids(followersOf([c], row)), ids([c]));
  t.same(ids(followersOf([c, a], row)), ids([c, a, b]), 'of several');
});

t.test('the file', async (t) => {
  const text = formatTakeovers(row).toString();
  t.same(
    parseTakeovers(Buffer.from(text)).map(({ statement }) => Buffer.from(statement)),
    row.map(({ statement }) => statement),
  );
  const [line] = text.split('\n') as [string];
  const [statement, endorsement] = line.split(' ') as [string, string];
  for (const [what, bad] of [
    ['nothing', ''],
    ['no end of line', line],
    ['too many', `${line}\n`.repeat(MAX_TAKEOVERS + 1)],
    ['one field', `${statement}\n`],
    ['three fields', `${line} AA==\n`],
    ['no base64', `${statement} ${endorsement}!\n`],
  ] as const)
    refuses(t, () => parseTakeovers(Buffer.from(bad)), 'BAD_FRAME', 'takeovers', what);
  t.equal(parseTakeovers(Buffer.from(`${line}\n`.repeat(MAX_TAKEOVERS))).length, MAX_TAKEOVERS);
  t.throws(() => parseTakeovers(Buffer.from(`aGVsbG8= ${endorsement}\n`)), { code: 'BAD_FRAME' }, 'no statement');
});
