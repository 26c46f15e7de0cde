/** Receipts in a bundle: what they prove, and what makes them false. */
import t from 'tap';
import type { Hash } from '../../base/bytes.ts';
import type { Leaf } from '../../transcript/leaf.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { decodeMs, encodeMs, KIND, type MessageStatement } from '../../transcript/statement.ts';
import { auditBundle, type BundleOptions } from '../../verify/bundle.ts';
import type { ReadMessage } from '../../verify/bundle-message.ts';
import { BundleReceipts } from '../../verify/bundle-receipts.ts';
import { CertificateAudit } from '../../verify/certificate-audit.ts';
import { compareBundles } from '../../verify/comparison.ts';
import { Findings } from '../../verify/finding.ts';
import { bundleOf, contentOf, type BundleAlterations } from '../support/bundle-writer.ts';
import type { BundleMessage } from '../../transcript/bundle-writer.ts';
import { compose, STORY, type Step } from '../support/log-writer.ts';
import { after, before, first as firstLog, receipt, second as secondLog } from '../support/signed-again.ts';
import { receiptOf } from './bundle-stories.ts';
import { ca, flipped, leaves, world } from './tamper.ts';

/** leaf(MS) of what somebody wrote to the other, in order. */
const written = (name: 'alice' | 'bob'): Hash[] => {
  const { sender } = decodeMs(leafOf(name === 'alice' ? 0 : 1));
  return leaves.flatMap((leaf) => {
    if (leaf.type !== 'msg') return [];
    const ms = decodeMs(leaf.ms);
    const isHis = Buffer.compare(ms.sender, sender) === 0 && Buffer.compare(ms.conversation, AB) === 0;
    return isHis ? [leafHash(leaf.ms)] : [];
  });
};
/** MS of the first message of the n-th batch. */
function leafOf(batch: number): Uint8Array {
  const [leaf] = leaves.flatMap((each, i) => (each.type === 'sigb' ? [leaves[i + 1]!] : [])).slice(batch);
  return leaf?.type === 'msg' ? leaf.ms : Buffer.alloc(0);
}
const AB = decodeMs(leafOf(0)).conversation;
const [first, second] = written('alice') as [Hash, Hash];
const [his] = written('bob') as [Hash];

const BATCHES = STORY.filter((step) => 'sender' in step).length;
interface Row {
  readonly by?: 'alice' | 'bob' | 'carol';
  readonly kind?: MessageStatement['kind'];
  readonly part: Uint8Array;
  /** what is in the file; null: there is none */
  readonly file?: Uint8Array | null;
  readonly isForged?: boolean;
}
const withoutLast: BundleAlterations = { messages: (messages) => messages.slice(0, -1) };
/** The log with these receipts behind all messages, each in a batch of its own. */
function storyOf(rows: readonly Row[], more: readonly Step[] = []): Leaf[] {
  const steps = rows.map(({ by = 'bob' }, i): Step => ({ sender: by, conversations: ['ab'], at: 95_000 + 1000 * i }));
  return compose(world, [...STORY, ...steps, ...more], {
    ms: (ms, batch) => {
      const row = rows[batch - BATCHES];
      return row === undefined ? ms : receiptOf(ms, row.part, row.kind);
    },
  });
}
function withReceipts(rows: readonly Row[], more: readonly Step[] = [], story = storyOf(rows, more)): Buffer {
  return bundleOf(world, story, 'ab', {
    messages: (messages) => {
      const from = messages.length - rows.length - more.length;
      return messages.map((message, i) => {
        const row = rows[i - from];
        if (row === undefined) return message;
        const signature = row.isForged ? flipped(message.signature, 9) : message.signature;
        return { ...message, signature, opening: null, ciphertext: row.file === undefined ? row.part : row.file };
      });
    },
  });
}

function judge(archive: Buffer, options: BundleOptions = {}) {
  const findings = new Findings();
  const audited = auditBundle([archive], { roots: [ca], crls: [], at: undefined }, findings, options);
  return {
    audited,
    findings: findings.kept,
    found: findings.kept.map(({ code, where }) => `${code} ${where}`).filter((f) => !f.startsWith('W_NO_CRL')),
  };
}
const plain = judge(withReceipts([])).audited.messages;
const place = (nth: number) => `msg/${String(plain + nth).padStart(6, '0')}`;
const file = (nth: number) => `${place(nth)}/ciphertext`;

t.test('what recipients have signed is said of each message', async (t) => {
  const { audited, found } = judge(
    withReceipts([
      { part: Buffer.concat([first, second, Buffer.alloc(32, 1)]) },
      { part: first, kind: KIND.read },
      { part: his, by: 'alice' },
    ]),
  );
  t.strictSame(found, [], 'one that is not in the bundle is nothing against it');
  t.equal(audited.messages, plain, 'receipts are no messages');
  t.equal(audited.receipts, 3);
  const kinds = [...audited.receiptsOf].map(([number, all]) => [number, all.map(({ kind }) => kind)]);
  t.strictSame(kinds.slice(0, 1), [[1, [KIND.delivered, KIND.read]]]);
  t.equal(kinds.length, 3);
  t.match(
    audited.receiptsOf.get(1)?.map(({ at }) => at - world.begin),
    [95_000, 96_000],
  );
});

t.test('what a device says again is no more than it has said', async (t) => {
  const { audited, found } = judge(
    withReceipts([{ part: first }, { part: first, kind: KIND.read }, { part: first }, { part: first, by: 'carol' }]),
  );
  t.strictSame(found, []);
  t.equal(audited.receipts, 4);
  const all = audited.receiptsOf.get(1) ?? [];
  t.strictSame(
    all.map(({ kind, at }) => [kind, at - world.begin]),
    [
      [KIND.delivered, 95_000],
      [KIND.read, 96_000],
      [KIND.delivered, 98_000],
    ],
  );
});

t.test('false receipts', async (t) => {
  const rows: readonly (readonly [string, Buffer, readonly string[]])[] = [
    ['of another part than was signed', withReceipts([{ part: first, file: second }]), [`E_COMMIT ${file(1)}`]],
    ['of no part', withReceipts([{ part: first, file: null }]), [`E_FORMAT ${file(1)}`]],
    ['that nobody signed so', withReceipts([{ part: first, isForged: true }]), [`E_BATCH_SIG ${place(1)}/batch.sig`]],
    ['for the sender’s own message', withReceipts([{ part: his }]), [`W_RECEIPT ${file(1)}`]],
  ];
  for (const [name, archive, want] of rows) {
    const { audited, found } = judge(archive);
    t.strictSame(found, want, name);
    t.equal(audited.receiptsOf.size, 0, `${name}: nothing is believed of it`);
  }
  const later: Step = { sender: 'alice', conversations: ['ab'], at: 99_000 };
  const last = compose(world, [...STORY, later]).at(-1)!;
  const early = judge(withReceipts([{ part: leafHash(last.type === 'msg' ? last.ms : Buffer.alloc(0)) }], [later]));
  t.strictSame(early.found, [`E_RECEIPT ${file(1)}`], 'for a message that came after it');
  // Whoever writes can say before what he will write: its hash, in a receipt to another.
  const own: Step = { sender: 'bob', conversations: ['ab'], at: 99_000 };
  const storyWith = (part: Uint8Array) =>
    compose(world, [...STORY, { ...own, at: 95_000 }, own], {
      ms: (ms, batch) => (batch === BATCHES ? receiptOf(ms, part) : batch > BATCHES ? { ...ms, ...fixed } : ms),
    });
  const fixed = { convCtr: 4, prevConv: written('bob').at(-1)!, commitment: Buffer.alloc(32, 7) as never };
  const next = storyWith(first).at(-1)!;
  const part = Buffer.concat([first, leafHash(next.type === 'msg' ? next.ms : Buffer.alloc(0))]);
  const sabotage = judge(
    bundleOf(world, storyWith(part), 'ab', {
      messages: (messages) =>
        messages.map((each, i) => ({
          ...each,
          opening: null,
          ...(i === messages.length - 2 && { ciphertext: part }),
        })),
    }),
  );
  t.strictSame(sabotage.found, [`W_RECEIPT ${file(1)}`], 'a member spoils no bundle with what he writes later himself');
  t.equal(sabotage.audited.receiptsOf.get(1)?.length, 1, 'and what else he has signed counts');
  t.equal(sabotage.audited.receiptsOf.size, 1);
  const odd = judge(
    bundleOf(world, leaves, 'ab', {
      messages: (messages) => messages.map((each, i) => (i === 0 ? { ...each, ciphertext: first } : each)),
    }),
  );
  t.strictSame(odd.found, ['E_FORMAT msg/000001/ciphertext'], 'a message is not in the clear');
});

t.test('names of messages that never come do not fill the memory', async (t) => {
  const { sender: bob } = decodeMs(leafOf(1));
  const told = (receipts: number): readonly string[] => {
    const findings = new Findings();
    const trust = { roots: [ca], crls: [], at: undefined };
    const all = new BundleReceipts('selective', new CertificateAudit(trust, findings), findings);
    let number = 0;
    const add = (ms: Uint8Array, part?: Buffer) => {
      const files = new Map(part ? [['ciphertext', part] as const] : []);
      const read = { leaf: { serverTime: 1 }, ms: decodeMs(ms), msLeaf: leafHash(ms), log: null };
      all.add(`msg/${++number}`, number, files, read as unknown as ReadMessage, true);
    };
    const receipt = (part: Buffer) => add(encodeMs(receiptOf({ ...decodeMs(leafOf(0)), sender: bob }, part)), part);
    for (let i = 0; i < receipts; i++) {
      const part = Buffer.alloc(32 * 1024);
      for (let at = 0; at < part.length; at += 32) part.writeUInt32BE(i * part.length + at, at);
      receipt(part);
    }
    receipt(leafHash(leafOf(0)) as Uint8Array as Buffer);
    add(leafOf(0));
    return findings.kept.map(({ code, where }) => `${code} ${where}`);
  };
  t.strictSame(
    told(255),
    ['E_RECEIPT msg/256/ciphertext'],
    '261,121 are kept, and it is noticed that one of them comes',
  );
  t.strictSame(told(256), [], 'no more than 262,144');
});

const closed = (message: BundleMessage): BundleMessage => ({ ...message, opening: null });

t.test('a receipt of a batch that was signed again for the next epoch', async (t) => {
  const [old, later] = [contentOf(firstLog, before, 'ab'), contentOf(secondLog, after, 'ab')];
  const [one, other, , , received] = old.messages();
  const archive = bundleOf(firstLog, before, 'ab', {
    messages: () => [one!, other!, { ...received!, ciphertext: receipt }, ...later.messages()].map(closed),
    content: (content) => ({ ...content, logs: [...old.logs, ...later.logs] }),
  });
  const { audited, found } = judge(archive);
  t.strictSame(found, [], 'it came before the place that is proven, and in another log');
  t.strictSame(
    [...audited.receiptsOf].map(([number, all]) => [number, all.map(({ kind }) => kind)]),
    [[4, [KIND.delivered]]],
    'and counts',
  );
  const findings = new Findings();
  const rest = bundleOf(firstLog, before, 'ab', { messages: (all) => all.slice(0, -1).map(closed) });
  compareBundles(judge(rest).audited, audited, 'other.tar', findings);
  t.notOk(findings.count('E_CTR_REGRESS'), 'nor is a message logged twice that stands in two logs');
});

t.test('where a session opens is of no conversation', async (t) => {
  const story = compose(world, [{ sender: 'alice', conversations: ['ab'], opens: null, at: 0 }]);
  const archive = bundleOf(world, story, 'ab', {
    beside: ({ kind }) => kind === KIND.open,
    messages: (messages) => messages.map((each, i) => (i === 0 ? { ...each, opening: null } : each)),
  });
  t.ok(judge(archive).found.includes('E_FORMAT msg/000001/entry'));
  const { findings } = judge(archive);
  t.match(
    findings.filter(({ code }) => code === 'E_FORMAT').map(({ message }) => message),
    ['is not of a conversation'],
  );
});

t.test('another party need not have the receipts that one has', async (t) => {
  const story = storyOf([{ part: first }]);
  const [own, other] = [withReceipts([{ part: first }], [], story), bundleOf(world, story, 'ab', withoutLast)].map(
    (archive) => judge(archive).audited,
  );
  t.equal(own!.receipts - other!.receipts, 1);
  for (const [a, b] of [
    [own!, other!],
    [other!, own!],
  ] as const) {
    const findings = new Findings();
    compareBundles(a, b, 'other.tar', findings);
    t.strictSame(findings.kept, []);
  }
});

t.test('--require recipient-receipt: each message needs one', async (t) => {
  const all = withReceipts([
    { part: Buffer.concat(written('alice')) },
    { part: Buffer.concat(written('bob')), by: 'alice', kind: KIND.read },
  ]);
  t.strictSame(judge(all, { requiresReceipts: true }).found, []);
  const some = withReceipts([{ part: Buffer.concat(written('alice').slice(1)) }]);
  const { found } = judge(some, { requiresReceipts: true });
  t.ok(found.includes('W_NO_RECEIPT msg/000001'));
  t.equal(found.length, 1 + written('bob').length);
  t.strictSame(judge(some).found, [], 'unless it was asked for, it is nothing against a bundle');
  const strange = withReceipts([{ part: Buffer.concat([...written('alice'), ...written('bob')]), by: 'carol' }]);
  t.strictSame(judge(strange, { requiresReceipts: true }).found, [], 'LIMIT: a bundle does not say for whom they were');
  const commit = compose(world, STORY, { ms: (ms, batch) => (batch === 0 ? { ...ms, kind: KIND.membership } : ms) });
  const changed = bundleOf(world, commit, 'ab', { messages: (m) => m.map((one) => ({ ...one, opening: null })) });
  const asked = judge(changed, { requiresReceipts: true }).found;
  t.notOk(asked.includes('W_NO_RECEIPT msg/000001'), 'a change of the group is no message');
  t.ok(asked.includes('W_NO_RECEIPT msg/000002'));
});
