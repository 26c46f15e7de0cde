/** Two threads find what one finds, in the same order: bundles that are large enough for the second one, right and wrong. */
import { createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import t from 'tap';
import { auditBundle } from '../../verify/bundle.ts';
import { Findings } from '../../verify/finding.ts';
import { SignatureSlots, SLOT_BYTES, SLOTS } from '../../verify/signature-slots.ts';
import { SignaturesAhead } from '../../verify/signatures-ahead.ts';
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

t.test('each signature has its own answer, whoever checks it', async (t) => {
  const keys = [generateKeyPairSync('ed25519'), generateKeyPairSync('ec', { namedCurve: 'P-256' })];
  const weak = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
  const signed = (privateKey: KeyObject, data: Buffer): Buffer =>
    sign(privateKey.asymmetricKeyType === 'ed25519' ? null : 'sha256', data, privateKey);
  for (const hasThread of [false, true]) {
    const ahead = new SignaturesAhead();
    if (hasThread) ahead.start();
    // more than there are slots for; each fifth is wrong in one way or another
    const offered = Array.from({ length: SLOTS + 50 }, (_, i) => {
      const data = Buffer.from(`message ${i}`);
      const { publicKey, privateKey } = keys[i % 2]!;
      const signature = signed(privateKey, data);
      const wrongs = [
        [publicKey, Buffer.from('another'), signature],
        [publicKey, data, flipped(signature, signature.length - 1)],
        [keys[(i + 1) % 2]!.publicKey, data, signature],
        [createPublicKey(weak.privateKey), data, signed(weak.privateKey, data)],
        [publicKey, data, Buffer.alloc(0)],
      ] as const;
      const [key, what, by] = i % 5 === 0 ? wrongs[(i / 5) % 5]! : [publicKey, data, signature];
      return { isGood: i % 5 !== 0, signed: ahead.offer(key, what, by) };
    });
    const long = Buffer.alloc(SLOT_BYTES, 7);
    offered.push({
      isGood: true,
      signed: ahead.offer(keys[0]!.publicKey, long, signed(keys[0]!.privateKey, long)),
    });
    if (hasThread) t.ok(offered.filter(({ signed: { job } }) => job !== null).length >= SLOTS);
    else t.ok(offered.every(({ signed: { job } }) => job === null));
    t.equal(offered.at(-1)!.signed.job, null, 'one that is too long for a slot');
    t.same(
      offered.map(({ signed: each }) => ahead.isGood(each)),
      offered.map(({ isGood }) => isGood),
    );
    t.same(
      offered.map(({ signed: each }) => ahead.isGood(each)),
      offered.map(({ isGood }) => isGood),
      'and the same when asked again',
    );
    ahead.close();
  }
});

/** Whoever asks finds the thread at work for so long that everything else is done meanwhile. */
class Busy extends SignatureSlots {
  override isGood(job: number, patienceMs: number, help: () => boolean): boolean | null {
    while (help());
    return super.isGood(job, patienceMs, help);
  }
}

t.test('what the first thread does for the second is judged as well', async (t) => {
  const ahead = new SignaturesAhead(new Busy());
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const signatures = Array.from({ length: 20 }, (_, i) => {
    const data = Buffer.from(`message ${i}`);
    return { data, signature: sign(null, i % 2 ? data : Buffer.from('another'), privateKey) };
  });
  ahead.start(); // it takes some time to come to anything
  const offered = signatures.map(({ data, signature }) => ahead.offer(publicKey, data, signature));
  t.same(
    offered.map((each) => ahead.isGood(each)),
    signatures.map((_, i) => i % 2 === 1),
  );
  ahead.close();
});

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
    ['one statement of several of a batch', altered([msg(210, 'batch.tbs'), flip(200)]), null],
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
    if (errors === 0) t.equal(one.batches, 201, 'a batch counts once, however many messages it has');
  }
  t.same(judged(plain, 2, 5000), judged(plain, 1, 777), 'in small pieces');
});
