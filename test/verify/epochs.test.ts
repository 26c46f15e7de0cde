/** Two logs of one node: what the later one says of the one before is compared with what is there. */
import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import type { Hash } from '../../base/bytes.ts';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { endorseKeyStatement, type KeyStatement, type Recovery } from '../../transcript/key-statement.ts';
import { encodeLeaf, type Leaf } from '../../transcript/leaf.ts';
import { verifierKey } from '../../transcript/note.ts';
import { auditEpochs } from '../../verify/epochs.ts';
import { EXIT, Findings } from '../../verify/finding.ts';
import {
  compose,
  genCerts,
  headOf,
  keyLeaves,
  noteAt,
  seal,
  writeFiles,
  type Alterations,
  type Step,
  type World,
} from '../support/log-writer.ts';

const { ca, world: first } = genCerts();
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const origin = `${first.origin}/e2`;
const second: World = { ...first, origin, logKey: privateKey, log: verifierKey(origin, publicKey) };

const BEFORE: readonly Step[] = [
  { sender: 'alice', conversations: ['ab', 'ab'], at: 0 },
  { sender: 'bob', conversations: ['ab'], at: 1000 },
];
const AFTER: readonly Step[] = [
  { sender: 'alice', conversations: ['ab', 'abc'], at: 5000 },
  { sender: 'alice', conversations: ['ab'], at: 6000 },
  { sender: 'bob', session: 1, conversations: ['ab'], at: 7000 },
];
const leaves = compose(first, [...BEFORE, { sender: 'alice', conversations: ['ab'], at: 2000 }]);
const kept = compose(first, BEFORE).length;
const whole = headOf(first, leaves.map(encodeLeaf));

/** Alice goes on in her session, of which so many messages were logged before. */
const carried = (by: number): Alterations => ({
  ms: (ms) =>
    ms.sender[0] === alice[0]
      ? { ...ms, sessionCtr: ms.sessionCtr + by, convCtr: ms.convCtr + by, prevConv: orElse(ms.prevConv) }
      : ms,
  bs: (bs) => (bs.sender[0] === alice[0] ? { ...bs, firstCtr: bs.firstCtr + by, prevBatch: orElse(bs.prevBatch) } : bs),
});
const CARRIED = carried(3);
const alice = decodeSender(leaves);
const orElse = (hash: Hash): Hash =>
  hash.every((byte) => byte === 0) ? (Buffer.alloc(32, 7) as Uint8Array as Hash) : hash;
function decodeSender(all: readonly Leaf[]): Uint8Array {
  const batch = all.find((leaf) => leaf.type === 'sigb');
  return batch!.bs.subarray(8, 40);
}

interface Row {
  readonly statement?: (statement: KeyStatement) => KeyStatement;
  readonly alter?: Alterations;
  /** Of the second log. */
  readonly change?: (leaves: Leaf[]) => Leaf[];
  /** How much of the first is there. */
  readonly size?: number;
  readonly known?: readonly Uint8Array[];
  readonly epochs?: readonly (readonly [string, World])[];
}
const recovery = { kept, known: whole };

function judge(
  dir: string,
  { statement = (s) => s, alter = CARRIED, change = (all) => all, size = kept, known = [] }: Row,
) {
  writeFiles(dir, seal(first, leaves.slice(0, size)));
  const keyStatement = (s: KeyStatement) => statement({ ...s, previous: first.log, recovery });
  writeFiles(join(dir, 'e2'), seal(second, change(compose(second, AFTER, { ...alter, keyStatement }))));
  const findings = new Findings();
  const notes = known.map((note, i) => ({ name: `known ${i + 1}`, note }));
  const audited = auditEpochs(dir, { roots: [ca], crls: [] }, notes, findings);
  const found = findings.kept.filter(({ code }) => code !== 'W_NO_CRL').map(({ code, where }) => `${code} ${where}`);
  return { exit: EXIT[findings.verdict(false)], found, logs: audited.map((log) => log.origin) };
}

const HONEST = [
  'W_LOST e2/entry 1',
  'W_SESSION_ELSEWHERE e2/entry 3',
  'W_CONV_ELSEWHERE e2/entry 4',
  'W_CONV_ELSEWHERE e2/entry 5',
  'W_CONV_RESTART e2/entry 10',
];
const root = Buffer.alloc(32, 1) as Uint8Array as Hash;
const fork = { size: whole.size, root };
const strange = (size: number): Uint8Array => signCheckpoint({ origin: first.origin, size, root }, first.logKey);
const endorsed = (by: typeof first.logKey) => (all: Leaf[]) =>
  all.map((leaf) =>
    leaf.type === 'key' ? { ...leaf, previousSignature: endorseKeyStatement(leaf.statement, by) } : leaf,
  );

const rows: [name: string, row: Row, exit: number, found: readonly string[]][] = [
  ['as it was', {}, 0, HONEST],
  ['the key before it agreed', { change: endorsed(first.logKey) }, 0, HONEST],
  ['another key agreed', { change: endorsed(second.logKey) }, 12, ['E_KEYBIND e2/entry 1']],
  ['what is known and admitted is no rollback', { known: [noteAt(first, leaves)] }, 0, HONEST],
  ['less than what was kept is here', { size: kept - 2 }, 10, ['E_TRUNCATED e2/key.stmt']],
  [
    'more was signed than is admitted',
    {
      size: leaves.length,
      statement: (s) => ({
        ...s,
        recovery: { kept, known: { size: kept, root: headOf(first, leaves.slice(0, kept).map(encodeLeaf)).root } },
      }),
    },
    14,
    ['E_ROLLBACK e2/key.stmt'],
  ],
  [
    'somebody knows more than is admitted',
    {
      statement: (s) => ({
        ...s,
        recovery: { kept, known: { size: kept, root: headOf(first, leaves.slice(0, kept).map(encodeLeaf)).root } },
      }),
      known: [noteAt(first, leaves)],
    },
    14,
    ['E_ROLLBACK known 1'],
  ],
  [
    'another history is admitted',
    { statement: (s) => ({ ...s, recovery: { kept, known: fork } }), known: [noteAt(first, leaves)] },
    14,
    ['E_FORK known 1'],
  ],
  [
    'two histories of what is lost were signed',
    { known: [noteAt(first, leaves, kept + 1), strange(kept + 1), noteAt(first, leaves)] },
    14,
    ['E_FORK known 2'],
  ],
  [
    'one history of it, which two know',
    { known: [noteAt(first, leaves, kept + 1), noteAt(first, leaves, kept + 1)] },
    0,
    HONEST,
  ],
  [
    'what is said to be lost is there, and is not what somebody knows',
    { size: leaves.length, known: [strange(kept + 1)] },
    14,
    ['E_FORK known 1'],
  ],
  [
    'another history is there',
    { size: leaves.length, statement: (s) => ({ ...s, recovery: { kept, known: fork } }) },
    14,
    ['E_FORK e2/key.stmt'],
  ],
  [
    'a log of another key before',
    { statement: (s) => ({ ...s, previous: verifierKey(first.origin, publicKey) }) },
    12,
    ['E_KEYBIND e2/key.stmt'],
  ],
  [
    'two statements, two stories',
    { change: (all) => [...all, ...again({ ...recovery, kept: 1 })] },
    12,
    ['E_KEYBIND e2/entry 12'],
  ],
  ['two statements, one story', { change: (all) => [...all, ...again(recovery)] }, 0, HONEST],
  [
    'a session begins anew under the same id: its counters go back behind those of the log before',
    { alter: carried(0) },
    10,
    ['E_CTR_REGRESS e2/entry 3'],
  ],
  [
    'a session goes on with the next counter, and not from its last batch',
    { alter: carried(2) },
    10,
    ['E_BATCH_CHAIN e2/entry 3', 'E_CONV_LINK e2/entry 4'],
  ],
  [
    'counters jump within the log',
    {
      alter: {
        ...CARRIED,
        bs: (bs, batch) => ({ ...CARRIED.bs!(bs, batch), ...(batch === 1 && { firstCtr: bs.firstCtr + 9 }) }),
      },
    },
    10,
    ['E_CTR_GAP e2/entry 6'],
  ],
  [
    'counters go back within the log',
    {
      alter: {
        ...CARRIED,
        ms: (ms, batch, position) => ({ ...CARRIED.ms!(ms, batch, position), ...(batch === 1 && { convCtr: 1 }) }),
      },
    },
    10,
    ['E_CONV_GAP e2/entry 7'],
  ],
];

function again(said: typeof recovery): Leaf[] {
  const at = second.begin + 8000;
  return keyLeaves(second, at, { keyStatement: (s) => ({ ...s, previous: first.log, recovery: said }) });
}

for (const [name, row, exit, found] of rows)
  t.test(name, (t) => {
    const judged = judge(t.testdir(), row);
    t.equal(judged.exit, exit, JSON.stringify(judged.found));
    if (exit === 0) t.strictSame(judged.found, found);
    else
      t.ok(
        found.every((each) => judged.found.includes(each)),
        JSON.stringify(judged.found),
      );
    t.strictSame(judged.logs, [first.origin, second.origin]);
    t.end();
  });

t.test('nobody is accused of what somebody else may have written', (t) => {
  const less = { kept, known: { size: kept, root: headOf(first, leaves.slice(0, kept).map(encodeLeaf)).root } };
  const other = { kept, known: { ...whole, root } };
  const held = { name: 'known', note: noteAt(first, leaves) };
  const logs = (said: Recovery, by: World) => {
    const keyStatement = (s: KeyStatement) => ({ ...s, previous: first.log, recovery: said });
    return seal(by, compose(by, AFTER, { ...CARRIED, keyStatement }));
  };
  const nobodys: World = { ...second, server: first.people['alice']! };
  const files = logs(recovery, second);
  const said = files.get('key.stmt')!.toString();
  const altered = ({ known: { size, root } }: Recovery) => {
    const line = `known ${size} ${Buffer.from(root).toString('base64')}`;
    return new Map(files).set('key.stmt', Buffer.from(said.replace(/known .*/, line)));
  };
  for (const [what, later, size, known, where] of [
    ['an altered statement', altered(less), leaves.length, [], 'e2/key.stmt'],
    ['another history in it', altered(other), leaves.length, [], 'e2/key.stmt'],
    ['which somebody knows', altered(other), kept, [held], 'known'],
    ['a log that nobody vouches for', logs(less, nobodys), leaves.length, [], 'e2/key.stmt'],
    ['and that says of another history', logs(other, nobodys), kept, [held], 'known'],
  ] as const) {
    const dir = t.testdir();
    writeFiles(dir, seal(first, leaves.slice(0, size)));
    writeFiles(join(dir, 'e2'), later);
    const findings = new Findings();
    auditEpochs(dir, { roots: [ca], crls: [] }, known, findings);
    t.equal(EXIT[findings.verdict(false)], 10, `${what}: ${JSON.stringify(findings.kept)}`);
    t.ok(
      findings.kept.some((found) => found.code === 'E_CONSISTENCY' && found.where === where),
      what,
    );
  }
  t.end();
});

/** A log of one message, with the statement that it goes on from another. */
function logOf(
  of: string,
  previous: World | null,
  before: Recovery | null,
): { world: World; files: Map<string, Buffer> } {
  const pair = generateKeyPairSync('ed25519');
  const world: World = { ...first, origin: of, logKey: pair.privateKey, log: verifierKey(of, pair.publicKey) };
  const keyStatement = (s: KeyStatement) => ({ ...s, previous: previous?.log ?? null, recovery: before });
  const story: Step[] = [{ sender: 'carol', conversations: ['ab'], at: 0 }];
  return { world, files: seal(world, compose(world, story, { keyStatement })) };
}
const one = logOf(first.origin, null, null);
const ofOne = { kept: 4, known: { size: 9, root } };
const two = logOf(`${first.origin}/e2`, one.world, ofOne);
/** Less than the first log has: of the second, that is so. */
const three = logOf(`${first.origin}/e3`, two.world, { kept: 2, known: { size: 4, root } });
const elsewhere = logOf('chat.example.org/log/n2/e2', null, ofOne);

const places: [name: string, logs: Record<string, { files: Map<string, Buffer> }>, found: readonly string[]][] = [
  ['one of a later epoch by itself', { '.': two }, []],
  ['the second is not here, and nothing is compared across it', { '.': one, e3: three }, ['E_TRUNCATED e2']],
  ['the third in the place of the second', { '.': one, e2: three }, ['E_TRUNCATED e2/key.stmt']],
  ['the second twice', { '.': one, e2: two, e3: two }, ['E_TRUNCATED e3/key.stmt']],
  ['one of another node', { '.': one, e2: elsewhere }, ['E_TRUNCATED e2/key.stmt']],
  ['and nothing is compared with it', { '.': one, e2: elsewhere, e3: three }, ['E_TRUNCATED e2/key.stmt']],
  ['the first is not here', { '.': two, e3: three }, ['E_TRUNCATED key.stmt', 'E_TRUNCATED e2']],
  ['nor are others', { '.': one, e5: three }, ['E_TRUNCATED e5/key.stmt', 'E_TRUNCATED e2']],
];
for (const [name, logs, found] of places)
  t.test(name, (t) => {
    const dir = t.testdir();
    for (const [folder, { files }] of Object.entries(logs)) writeFiles(join(dir, folder), files);
    const findings = new Findings();
    auditEpochs(dir, { roots: [ca], crls: [] }, [], findings);
    const said = findings.kept.filter(({ code }) => code.startsWith('E_')).map(({ code, where }) => `${code} ${where}`);
    t.strictSame(said, found);
    t.equal(EXIT[findings.verdict(false)], found.length > 0 ? 10 : 0);
    t.end();
  });

t.test('two histories of what is lost accuse nobody where nobody vouches for the key before', (t) => {
  const nobodys: World = { ...first, server: first.people['alice']! };
  const before = compose(nobodys, BEFORE);
  const whole = headOf(nobodys, [...before, ...before].map(encodeLeaf));
  const keyStatement = (s: KeyStatement) => ({
    ...s,
    previous: first.log,
    recovery: { kept: before.length, known: whole },
  });
  const dir = t.testdir();
  writeFiles(dir, seal(nobodys, before));
  writeFiles(join(dir, 'e2'), seal(second, compose(second, AFTER, { ...CARRIED, keyStatement })));
  const known = [1, 2].map((byte) => ({
    name: `known ${byte}`,
    note: signCheckpoint(
      { origin: first.origin, size: before.length + 1, root: Buffer.alloc(32, byte) as Uint8Array as Hash },
      first.logKey,
    ),
  }));
  const findings = new Findings();
  auditEpochs(dir, { roots: [ca], crls: [] }, known, findings);
  t.strictSame(
    findings.kept.filter(({ where }) => where.startsWith('known')).map(({ code, where }) => `${code} ${where}`),
    ['E_CONSISTENCY known 2'],
  );
  t.end();
});

t.test('what is known of the log before a missing one is not lost by what a later one says', (t) => {
  const ofMore = logOf(`${first.origin}/e3`, two.world, { kept: 2, known: { size: 9, root } });
  for (const [what, later, size, code] of [
    ['of what is here', three, 3, 'E_FORK'],
    ['of more than is here', ofMore, 9, 'E_ROLLBACK'],
  ] as const) {
    const dir = t.testdir();
    writeFiles(dir, one.files);
    writeFiles(join(dir, 'e3'), later.files);
    const findings = new Findings();
    const strange = signCheckpoint({ origin: first.origin, size, root }, one.world.logKey);
    auditEpochs(dir, { roots: [ca], crls: [] }, [{ name: 'known', note: strange }], findings);
    t.ok(
      findings.kept.some((found) => found.code === code && found.where === 'known'),
      `${what}: ${JSON.stringify(findings.kept)}`,
    );
  }
  t.end();
});
