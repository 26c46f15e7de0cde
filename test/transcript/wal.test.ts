import t from 'tap';
import { ChatError } from '../../base/errors.ts';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { EMPTY_ROOT, Frontier, leafHash } from '../../transcript/merkle.ts';
import { encodeRecord, MAX_RECORD_BYTES, PAGE_BYTES, recordAt, scan, type WalRecord } from '../../transcript/wal.ts';
import { filled, hash, logKey, origin, property, refuses, unhex, vectors } from './sample.ts';
import fc from 'fast-check';

/** Windows of `counts` entries each; records, and the right edge after each. */
function windows(...counts: number[]) {
  let frontier = Frontier.empty;
  let checkpoint: Uint8Array = Buffer.alloc(0);
  const edges = [frontier];
  const records: WalRecord[] = counts.map((count, k) => {
    const token = filled(k + 1, 1000);
    const entries = Array.from({ length: count }, (_, i) =>
      encodeLeaf({ type: 'time', serverTime: k * 1000 + i, stamp: token }),
    );
    const first = frontier.size;
    frontier = frontier.append(entries.map(leafHash));
    edges.push(frontier);
    const record = { first, time: k, checkpoint, entries, root: frontier.root() };
    checkpoint = signCheckpoint({ origin, size: frontier.size, root: frontier.root() }, logKey);
    return record;
  });
  return { records, edges, pages: records.map((record) => encodeRecord(record)) };
}
const zeros = (pages: number) => Buffer.alloc(pages * PAGE_BYTES);
const firsts = (segments: Buffer[], from = Frontier.empty) => {
  const seen: number[] = [];
  const end = scan(segments, from, (record, frontier) => {
    seen.push(record.first);
    if (frontier.size !== record.first + record.entries.length) throw new Error('not the edge after the record');
  });
  return { seen, ...end };
};

t.test('our vectors, made by another program', async (t) => {
  const records = vectors.wal.map((record: string) => unhex(record)) as Buffer[];
  const padded = records.map((record) =>
    Buffer.concat([record, Buffer.alloc(PAGE_BYTES - (record.length % PAGE_BYTES))]),
  );
  const segment = Buffer.concat([...padded, zeros(1)]);
  const seen: WalRecord[] = [];
  const { end, offset, frontier } = scan([segment], Frontier.empty, (record) => seen.push(record));
  t.match({ end, offset, size: frontier.size }, { end: 'clean', offset: 2 * PAGE_BYTES, size: 10 });
  t.strictSame(Buffer.from(frontier.root()), unhex(vectors.checkpoints[1].root));
  t.strictSame(
    seen.map((record) => encodeRecord(record)),
    padded,
  );
  t.equal(Buffer.from(seen[1]!.checkpoint).toString(), vectors.checkpoints[0].note);
  t.strictSame(
    seen.flatMap((r) => r.entries.map((e) => Buffer.from(e).toString('hex'))),
    vectors.leaves.map((l: { bytes: string }) => l.bytes),
  );
});

t.test('clean ends', async (t) => {
  const { pages, edges } = windows(3, 5, 9);
  const [a, b, c] = pages as [Buffer, Buffer, Buffer];
  t.match(firsts([]), { seen: [], end: 'clean', segment: 0, offset: 0 });
  t.match(firsts([zeros(4), zeros(4)]), { seen: [], end: 'clean', segment: 0, offset: 0 });
  t.match(firsts([Buffer.concat([...pages, zeros(2)])]), {
    seen: [0, 3, 8],
    end: 'clean',
    offset: a.length + b.length + c.length,
  });
  t.match(firsts([Buffer.concat(pages)]), { seen: [0, 3, 8], end: 'clean' }, 'a full segment');
  const two = [Buffer.concat([a, b, zeros(1)]), Buffer.concat([c, zeros(3)]), zeros(4)];
  t.match(
    firsts(two),
    { seen: [0, 3, 8], end: 'clean', segment: 1, offset: c.length },
    'a record that needed a new segment',
  );
  t.match(firsts(two, edges[1]), { seen: [3, 8], end: 'clean' }, 'what the tree has already is skipped');
  t.match(firsts(two, edges[3]), { seen: [], end: 'clean', segment: 1, offset: c.length, frontier: { size: 17 } });
  t.match(firsts([Buffer.concat([b, c])], edges[1]), { seen: [3, 8] }, 'older segments are gone');
});

t.test('torn at every byte: what was there stays, what was not acknowledged goes', async (t) => {
  const { pages } = windows(2, 3, 4);
  const [a, b, c] = pages as [Buffer, Buffer, Buffer];
  const length = c.readUInt32BE(4);
  t.ok(c.length > PAGE_BYTES, 'the record spans pages');
  let torn = 0;
  let clean = 0;
  for (let cut = 0; cut < length; cut++) {
    const tail = Buffer.concat([c.subarray(0, cut), Buffer.alloc(c.length - cut)]);
    const got = firsts([Buffer.concat([a, b, tail, zeros(1)]), zeros(2)]);
    if (got.end === 'torn') torn++;
    else clean++;
    if (got.seen.join() !== '0,2' || got.offset !== a.length + b.length || got.segment !== 0 || got.frontier.size !== 5)
      t.fail(`cut at ${cut}`);
  }
  t.strictSame({ torn, clean }, { torn: length - 1, clean: 1 });
  const first = c.subarray(0, PAGE_BYTES);
  t.match(
    firsts([Buffer.concat([a, b, zeros(1), c.subarray(PAGE_BYTES)])]),
    { seen: [0, 2], end: 'torn' },
    'later pages alone',
  );
  t.match(
    firsts([Buffer.concat([a, b]), Buffer.concat([first, zeros(3)])]),
    { seen: [0, 2], end: 'torn', segment: 0 },
    'in the next segment',
  );
  t.match(
    firsts([Buffer.concat([filled(0x5a, PAGE_BYTES), zeros(3)])]),
    { seen: [], end: 'torn', offset: 0 },
    'garbage alone',
  );
});

t.test('damage before a valid record is corruption, never a torn tail', async (t) => {
  const { pages, records, edges } = windows(2, 3, 4, 1);
  const [a, b, c, d] = pages as [Buffer, Buffer, Buffer, Buffer];
  const corrupt = (sub: string, name: string, segments: Buffer[], from = Frontier.empty) =>
    refuses(t, () => scan(segments, from), 'LOG_CORRUPT', sub, name);

  for (const at of [0, 3, 4, 7, 8, 20, 40, 2000, b.readUInt32BE(4) - 1]) {
    const broken = Buffer.from(b);
    broken[at]! ^= 0x10;
    corrupt('later_record', `byte ${at} of a middle record`, [Buffer.concat([a, broken, c])]);
    corrupt('later_record', `byte ${at}, later record in the next segment`, [
      Buffer.concat([a, broken]),
      Buffer.concat([zeros(1), c]),
    ]);
  }
  const erased = Buffer.alloc(b.length);
  corrupt('later_record', 'a middle record erased', [Buffer.concat([a, erased, c])]);
  corrupt('first_index', 'the last record of a segment erased', [Buffer.concat([a, erased]), c]);
  corrupt('first_index', 'a record missing', [Buffer.concat([a, c])]);
  corrupt('first_index', 'a record twice', [Buffer.concat([a, b, b])]);
  corrupt('first_index', 'records swapped', [Buffer.concat([a, c, b])]);
  corrupt('first_index', 'beginning missing', [b]);
  corrupt(
    'first_index',
    'the tree ends within a record',
    [Buffer.concat([a, b])],
    edges[1]!.append([leafHash(filled(1))]),
  );
  corrupt('first_index', 'records that end before the tree', [Buffer.concat([a, zeros(1)])], edges[2]);
  corrupt(
    'root',
    'another tree of this size',
    [Buffer.concat([a, b])],
    Frontier.empty.append([leafHash(filled(1)), leafHash(filled(2))]),
  );
  corrupt('root', 'root after', [encodeRecord({ ...records[0]!, root: EMPTY_ROOT })]);
  corrupt('root', 'an entry exchanged, checksum made anew', [
    encodeRecord({ ...records[0]!, entries: [filled(1), filled(2)] }),
  ]);
  const note = (size: number, root: string) => signCheckpoint({ origin, size, root: hash(root) }, logKey);
  const fork = encodeRecord({ ...records[1]!, checkpoint: note(2, 'ab'.repeat(32)) });
  corrupt('checkpoint', 'a checkpoint of another tree', [Buffer.concat([a, fork])]);
  const future = encodeRecord({ ...records[1]!, checkpoint: note(3, 'ab'.repeat(32)) });
  corrupt('checkpoint', 'a checkpoint larger than the tree', [Buffer.concat([a, future])]);
  const old = encodeRecord({ ...records[3]!, checkpoint: records[2]!.checkpoint });
  t.match(firsts([Buffer.concat([a, b, c, old])]), { seen: [0, 2, 5, 9] }, 'a window was not signed before a crash');
  const dirty = Buffer.from(d);
  dirty[d.length - 1] = 1;
  corrupt('padding', 'a byte in the padding of the last record', [Buffer.concat([a, b, c, dirty])]);
  const odd = encodeRecord({ ...records[0]!, checkpoint: filled(0x61, 5) });
  corrupt('format', 'a right checksum over what is not a record', [odd]);
});

t.test('a record that does not fit its place is not believed', async (t) => {
  const [a] = windows(2).pages as [Buffer];
  t.equal(recordAt(a.subarray(0, -1), 0), null, 'cut padding');
  t.equal(recordAt(zeros(1), 0), null);
  t.equal(recordAt(Buffer.concat([zeros(1), a]), PAGE_BYTES)?.paddedBytes, a.length);
  const long = Buffer.from(a);
  long.writeUInt32BE(0xffff_fff0, 4);
  t.equal(recordAt(long, 0), null, 'length of 4 GB');
  long.writeUInt32BE(0, 4);
  t.equal(recordAt(long, 0), null, 'length 0');
});

t.test('limits of a record', async (t) => {
  const { records } = windows(1);
  t.throws(() => encodeRecord({ ...records[0]!, entries: [] }), RangeError);
  t.throws(() => encodeRecord({ ...records[0]!, entries: [filled(1, 65536)] }), RangeError);
  const entries = Array.from({ length: 70 }, () => filled(1, 65535));
  t.throws(() => encodeRecord({ ...records[0]!, entries }), { code: 'TOO_LARGE', field: 'wal' });
  const most = encodeRecord({ ...records[0]!, entries: entries.slice(0, 63) });
  t.ok(most.length <= MAX_RECORD_BYTES && recordAt(most, 0) !== null);
});

t.test('property: any damage of a segment gives records from its beginning or LOG_CORRUPT', async () => {
  const { pages } = windows(2, 3, 1);
  const whole = Buffer.concat([...pages, zeros(1)]);
  property(fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), (changes) => {
    const broken = Buffer.from(whole);
    for (const [at, byte] of changes) broken[at] = byte;
    try {
      const { seen } = firsts([broken]);
      if (!'0,2,5'.startsWith(seen.join())) throw new Error(seen.join());
    } catch (error) {
      if (!(error instanceof ChatError) || error.code !== 'LOG_CORRUPT') throw error;
    }
  });
});
