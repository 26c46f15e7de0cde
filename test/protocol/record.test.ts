/** Record framing: caps before buffering, and the same payloads however the stream is cut. */
import fc from 'fast-check';
import t from 'tap';
import { u32 } from '../../base/bytes.ts';
import { MAX_RECORD_BYTES, MAX_UNPROVEN_RECORD_BYTES } from '../../protocol/limits.ts';
import { encodeRecord, RecordReader } from '../../protocol/record.ts';
import { runs } from './peers.ts';

const read = (reader: RecordReader, chunks: readonly Buffer[]) =>
  chunks.flatMap((chunk) => [...reader.push(chunk)].map((payload) => Buffer.from(payload)));

t.test('however the stream is cut, the payloads are the same', async () => {
  const payloads = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 8 });
  fc.assert(
    fc.property(payloads, fc.array(fc.nat(12), { maxLength: 200 }), (payloads, cuts) => {
      const stream = Buffer.concat(payloads.map(encodeRecord));
      const chunks: Buffer[] = [];
      let at = 0;
      for (const cut of cuts) chunks.push(stream.subarray(at, (at += cut)));
      chunks.push(stream.subarray(at));
      const reader = new RecordReader();
      const got = read(reader, chunks);
      return (
        Buffer.concat(got).equals(Buffer.concat(payloads)) &&
        got.every((payload, i) => payload.length === payloads[i]?.length) &&
        got.length === payloads.length &&
        reader.isBetweenRecords
      );
    }),
    runs(300),
  );
});

t.test('byte by byte, and two records in one chunk', async (t) => {
  const stream = Buffer.concat([encodeRecord(Buffer.from('abc')), encodeRecord(Buffer.from('d'))]);
  const bytes = Array.from(stream, (_, i) => stream.subarray(i, i + 1));
  t.strictSame(read(new RecordReader(), bytes).map(String), ['abc', 'd']);
  t.strictSame(read(new RecordReader(), [stream]).map(String), ['abc', 'd']);
});

t.test('lengths', async (t) => {
  const cases = [
    { name: 'zero', cap: MAX_RECORD_BYTES, length: 0, code: 'BAD_FRAME' },
    { name: '1 MiB + 1', cap: MAX_RECORD_BYTES, length: 1_048_577, code: 'TOO_LARGE' },
    { name: '4 GiB - 1', cap: MAX_RECORD_BYTES, length: 0xffff_ffff, code: 'TOO_LARGE' },
    { name: '2 GiB', cap: MAX_RECORD_BYTES, length: 0x8000_0000, code: 'TOO_LARGE' },
    { name: '64 KiB + 1 from an unproven peer', cap: MAX_UNPROVEN_RECORD_BYTES, length: 65_537, code: 'TOO_LARGE' },
  ] as const;
  for (const { name, cap, length, code } of cases)
    for (const cut of [1, 2, 4]) {
      const reader = new RecordReader(cap);
      const header = u32(length);
      t.strictSame(read(reader, [Buffer.alloc(0)]), [], 'nothing yet');
      const chunks = Array.from({ length: 4 / cut }, (_, i) => header.subarray(i * cut, (i + 1) * cut));
      t.throws(() => read(reader, chunks), { code, field: 'record.length' }, `${name}, ${cut} bytes a time`);
      t.throws(() => read(reader, [encodeRecord(Buffer.from('x'))]), { code }, 'and the reader stays shut');
    }
  t.equal(new RecordReader().maxRecordBytes, MAX_UNPROVEN_RECORD_BYTES, 'unproven unless told');
  for (const cap of [MAX_UNPROVEN_RECORD_BYTES, MAX_RECORD_BYTES]) {
    const [payload] = read(new RecordReader(cap), [encodeRecord(Buffer.alloc(cap, 1))]);
    t.equal(payload?.length, cap, `exactly ${cap} bytes`);
  }
});

t.test('a cap raised between two records of one chunk holds for the second', async (t) => {
  const reader = new RecordReader();
  const big = Buffer.alloc(MAX_UNPROVEN_RECORD_BYTES + 1, 7);
  const lengths: number[] = [];
  for (const payload of reader.push(Buffer.concat([encodeRecord(Buffer.from('proof')), encodeRecord(big)]))) {
    lengths.push(payload.length);
    reader.maxRecordBytes = MAX_RECORD_BYTES;
  }
  t.strictSame(lengths, [5, big.length]);
});

t.test('an announced record takes no memory before its bytes come', async (t) => {
  const before = process.memoryUsage().arrayBuffers;
  const readers = Array.from({ length: 200 }, () => new RecordReader(MAX_RECORD_BYTES));
  for (const reader of readers) read(reader, [Buffer.concat([u32(MAX_RECORD_BYTES), Buffer.alloc(10)])]);
  t.ok(process.memoryUsage().arrayBuffers - before < 10_000_000, '200 half records are not 200 MiB');
  t.notOk(readers[0]?.isBetweenRecords);
});

t.test('1 MiB in pieces of 7 bytes is copied a bounded number of times', async (t) => {
  const reader = new RecordReader(MAX_RECORD_BYTES);
  const stream = encodeRecord(Buffer.alloc(MAX_RECORD_BYTES, 3));
  let copied = 0;
  const copy = Buffer.prototype.copy;
  Buffer.prototype.copy = function (this: Buffer, ...args: Parameters<Buffer['copy']>) {
    const n = copy.apply(this, args);
    copied += n;
    return n;
  } as typeof copy;
  const got: number[] = [];
  try {
    for (let at = 0; at < stream.length; at += 7)
      for (const payload of reader.push(stream.subarray(at, at + 7))) got.push(payload.length);
  } finally {
    Buffer.prototype.copy = copy;
  }
  t.strictSame(got, [MAX_RECORD_BYTES]);
  t.ok(copied < 4 * stream.length, `${copied} bytes copied for ${stream.length}`);
});
