/** What a bundle has no room for: statements of the log's key beyond those that are needed are left out, and anything else is refused. */
import { createPublicKey } from 'node:crypto';
import t from 'tap';
import { concat } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { MAX_BUNDLE_CERTIFICATES, MAX_BUNDLE_KEYS } from '../../transcript/bundle.ts';
import { writeBundle, type BundleContent } from '../../transcript/bundle-writer.ts';
import { formatKeyStatement, parseKeyStatement } from '../../transcript/key-statement.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { verifierKey } from '../../transcript/note.ts';
import { UstarReader } from '../../transcript/ustar.ts';
import { ed25519, filled, fingerprint, origin } from './sample.ts';

const key = ed25519(filled(1));
const [older, newer] = [2, 3].map((seed) => verifierKey(origin, createPublicKey(ed25519(filled(seed)))));
const statementOf = (log: typeof older, notBefore: number, notAfter: number) => ({
  statement: formatKeyStatement({
    ...{ log: log!, notBefore, notAfter },
    ...{ serverCertificate: fingerprint, previous: null },
  }),
  signature: Buffer.of(1, 1),
});
const certificates = (count: number) => Array.from({ length: count }, (_, i) => sha256(Buffer.from(`${i}`)));

const checkpoint = Buffer.from(`${origin}\n0\n${sha256(Buffer.alloc(0)).toString('base64')}\n\n— ${origin} AAAAAAA=\n`);
const content = (
  keys: BundleContent['logs'][number]['keys'],
  times: readonly number[],
  ders: readonly Buffer[] = [],
): BundleContent => ({
  head: {
    ...{ profile: 'selective', created: 1 },
    conversation: filled(1, 32) as never,
    messages: 0,
    exporter: fingerprint,
  },
  certificates: ders,
  intermediates: [],
  logs: [{ keys, checkpoint, consistency: new Map() }],
  crls: [],
  messages: () =>
    times.map((serverTime) => ({
      entry: encodeLeaf({ type: 'msg', serverTime, position: 1, ms: Buffer.alloc(248) }),
      proof: { index: 0, path: [], checkpoint },
      bs: Buffer.alloc(172),
      signature: Buffer.of(1),
      path: { index: 0, size: 1, path: [] },
      opening: null,
    })),
});
/** [notBefore, notAfter] of what is in the bundle. */
function kept(made: BundleContent): (readonly [number, number])[] {
  const files = new UstarReader(() => Infinity).push(concat(...writeBundle(made, key)));
  return [...files]
    .filter(({ name }) => name.endsWith('.stmt'))
    .map(({ bytes }) => parseKeyStatement(bytes))
    .map(({ notBefore, notAfter }) => [notBefore, notAfter]);
}

t.test('statements of the key of a log', async (t) => {
  const days = Array.from({ length: MAX_BUNDLE_KEYS + 1 }, (_, i) => statementOf(newer, 10 * i, 10 * i + 9));
  const first = statementOf(older, 0, 9);
  t.same(kept(content(days.slice(1), [5])).length, MAX_BUNDLE_KEYS, 'all, if there is room');
  t.same(
    kept(content([first, ...days], [25, 27, 44])),
    [
      [0, 9],
      [20, 29],
      [40, 49],
      [10 * MAX_BUNDLE_KEYS, 10 * MAX_BUNDLE_KEYS + 9],
    ],
    'else the newest of each key, and one for each time',
  );
  const all = days.map((_, i) => 10 * i);
  t.throws(() => writeBundle(content([first, ...days], all), key), { code: 'TOO_LARGE' });
});

t.test('certificates', async (t) => {
  t.doesNotThrow(() => writeBundle(content([], [], certificates(MAX_BUNDLE_CERTIFICATES)), key));
  t.throws(() => writeBundle(content([], [], certificates(MAX_BUNDLE_CERTIFICATES + 1)), key), { code: 'TOO_LARGE' });
});
