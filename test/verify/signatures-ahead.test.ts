/** Two threads find what one finds, in the same order: bundles that are large enough for the second one, right and wrong. */
import t from 'tap';
import { auditBundle } from '../../verify/bundle.ts';
import { Findings } from '../../verify/finding.ts';
import { bundleOf, certificateFile, credentialOf, type BundleAlterations } from '../support/bundle-writer.ts';
import { compose } from '../support/log-writer.ts';
import { ca, flipped, world } from './tamper.ts';

const PEOPLE = ['alice', 'bob', 'carol'] as const;
/** 200 messages, each alone in its batch and proven under a checkpoint of its own; and a batch of 30. */
const leaves = compose(world, [
  ...Array.from({ length: 200 }, (_, i) => ({ sender: PEOPLE[i % 3]!, conversations: ['x'], at: 100 * i })),
  { sender: 'carol', conversations: Array.from({ length: 30 }, () => 'x'), at: 40_000 },
]);
const msg = (number: number, file: string): string => `msg/${String(number).padStart(6, '0')}/${file}`;
const plain = bundleOf(world, leaves, 'x');
const altered = (...changes: (readonly [path: string, change: (bytes: Buffer) => Buffer])[]): Buffer =>
  bundleOf(world, leaves, 'x', {
    files: (files) => {
      for (const [path, change] of changes) files.set(path, change(files.get(path)!));
    },
  });
const flip =
  (offset: number) =>
  (bytes: Buffer): Buffer =>
    flipped(bytes, offset < 0 ? bytes.length + offset : offset);
const without = (path: string): BundleAlterations => ({ files: (files) => void files.delete(path) });

function judged(archive: Buffer, threads: 1 | 2, pieceBytes = 1 << 20) {
  const findings = new Findings();
  const pieces = Array.from({ length: Math.ceil(archive.length / pieceBytes) }, (_, i) =>
    archive.subarray(i * pieceBytes, (i + 1) * pieceBytes),
  );
  const good: boolean[] = [];
  const audited = auditBundle(pieces, { roots: [ca], crls: [] }, findings, {
    threads,
    onMessage: ({ isGood }) => good.push(isGood),
  });
  const { batches, senders, disclosed } = audited;
  return { kept: findings.kept, errors: findings.errors, good, batches, senders: [...senders], disclosed };
}

t.test('as one thread finds', async (t) => {
  const all = Array.from({ length: 230 }, (_, i) => i + 1);
  for (const [name, archive, errors] of [
    ['nothing', plain, 0],
    ['one signature', altered([msg(190, 'batch.sig'), flip(12)]), 1],
    ['one of several of a batch', altered([msg(210, 'batch.sig'), flip(12)]), 1],
    ['every signature', altered(...all.map((n) => [msg(n, 'batch.sig'), flip(12)] as const)), 230],
    ['one signature of the log', altered([msg(191, 'log.tlog-proof'), flip(-4)]), 1],
    [
      'every signature of the log',
      altered(...all.slice(0, 200).map((n) => [msg(n, 'log.tlog-proof'), flip(-4)] as const)),
      200,
    ],
    ['another statement', altered([msg(195, 'batch.tbs'), flip(100)]), null],
    ['the last entry', altered([msg(230, 'entry'), flip(100)]), null],
    [
      'no certificate of a sender',
      bundleOf(world, leaves, 'x', without(certificateFile(credentialOf(world, 'bob')))),
      null,
    ],
    ['no statement of the log', bundleOf(world, leaves, 'x', without('log/01/key-01.stmt')), null],
    ['the end cut off', plain.subarray(0, -200_000), null],
  ] as const) {
    const one = judged(archive, 1);
    t.same(judged(archive, 2), one, name);
    if (errors === null) t.ok(one.errors > 0);
    else t.equal(one.errors, errors);
  }
  t.same(judged(plain, 2, 5000), judged(plain, 1, 777), 'in small pieces');
});
