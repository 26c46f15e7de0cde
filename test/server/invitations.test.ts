/** What of a commit each device gets. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { leafHash, rootOf } from '../../transcript/merkle.ts';
import { rootFromSome } from '../../transcript/some-leaves.ts';
import { KIND } from '../../transcript/statement.ts';
import { shownTo } from '../../server/invitations.ts';

const statement = (kind: number): Buffer => Buffer.alloc(248).fill(kind, 8, 9);
const devices = [randomBytes(32), randomBytes(32), randomBytes(32)];
const parts = [
  Buffer.from('commit'),
  Buffer.from('for all who are new'),
  Buffer.alloc(0),
  ...devices.map((device, i) => Buffer.concat([device, Buffer.from(`for ${i}`)])),
];

t.test('who is new gets what is his, everybody else the commit, and all can check it', (t) => {
  const root = rootOf(parts.map(leafHash));
  for (const [keyHashes, at] of [
    [[devices[0]!], [0, 1, 2, 3]],
    [[devices[2]!], [0, 1, 2, 5]],
    [
      [randomBytes(32), devices[1]!],
      [0, 1, 2, 4],
    ], // invited under the certificate before
    [[randomBytes(32)], [0]],
  ] as const) {
    const { parts: shown, cut } = shownTo(keyHashes, statement(KIND.membership), parts);
    t.strictSame(cut?.at, at);
    t.strictSame(
      shown,
      at.map((i) => parts[i]),
    );
    const leaves = shown.map((part, i) => ({ at: at[i]!, leaf: leafHash(part) }));
    t.strictSame(rootFromSome(parts.length, leaves, cut!.hashes), root);
  }
  t.end();
});

t.test('everything else stays whole', (t) => {
  const whole = (kind: number, all: readonly Uint8Array[], keyHash = devices[0]!) => {
    const { parts: shown, cut } = shownTo([keyHash], statement(kind), all);
    t.equal(shown, all);
    t.equal(cut, null);
  };
  whole(KIND.message, parts);
  whole(KIND.membership, parts.slice(0, 1));
  whole(KIND.membership, parts.slice(0, 3), randomBytes(32));
  whole(KIND.membership, parts.slice(0, 4));
  t.end();
});
