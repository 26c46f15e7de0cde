import { decode as otherDecode, encode as otherEncode } from 'cborg';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { decode, decodeSequence, encode, HOLE, Template, type Encodable, type Value } from '../../base/cbor.ts';
import { ChatError } from '../../base/errors.ts';

const runs = process.env['FUZZ'] ? { numRuns: 30_000 } : { numRuns: 300, seed: 8949 };

t.test('refuses whatever has a second spelling, or no meaning here', async (t) => {
  const cases: [name: string, hex: string][] = [
    ['nothing', ''],
    ['integer longer than it need be', '1817'.replace('17', '10')],
    ['length longer than it need be', '580100'],
    ['text that is not UTF-8', '61ff'],
    ['overlong UTF-8', '62c080'],
    ['surrogate in UTF-8', '63eda080'],
    ['indefinite map', 'bf616101ff'],
    ['indefinite text', '7f6161ff'],
    ['duplicate key', 'a2616101616102'],
    ['keys out of order', 'a2616201616101'],
    ['key that is not text', 'a10102'],
    ['null', 'f6'],
    ['undefined', 'f7'],
    ['float', 'f93c00'],
    ['float of an integer', 'fb4000000000000000'],
    ['NaN', 'f97e00'],
    ['tag', 'c100'],
    ['integer above 2^53-1', '1b0020000000000000'],
    ['integer above 2^63', '1bffffffffffffffff'],
    ['negative integer below -2^53', '3b0020000000000000'],
    ['array longer than the bytes', '9affffffff'],
    ['bytes longer than the bytes', '5affffffff00'],
    ['cut off', '826161'],
    ['something behind', '0000'],
    ['simple value', 'f820'],
    ['true in two bytes', 'f815'],
    ['break alone', 'ff'],
    ['reserved length', '1c'],
    ['integer in two bytes that fits one', '190018'],
    ['integer in four bytes that fits two', '1a0000ffff'],
    ['integer in eight bytes that fits four', '1b00000000ffffffff'],
    ['key that is longer before a shorter one', 'a26161006000'],
    ['map longer than the bytes', 'baffffffff'],
    ['text longer than the bytes', '7affffffff61'],
  ];
  for (const [name, hex] of cases)
    t.throws(() => decode(Buffer.from(hex, 'hex')), { code: 'BAD_FRAME', field: 'frame' }, name);
  for (const bomb of [Buffer.alloc(1_000_000, 0x81), Buffer.alloc(1_000_000, 0xa1)])
    t.throws(() => decode(bomb), { code: 'BAD_FRAME' }, 'nesting that ends the stack');
  const nested = (depth: number): Buffer => Buffer.concat([Buffer.alloc(depth, 0x81), Buffer.of(0)]);
  t.ok(decode(nested(16)));
  t.throws(() => decode(nested(17)), { code: 'BAD_FRAME' }, 'nesting that nothing here has');
  const full = encode(Array<Value>(131_071).fill(Buffer.alloc(0)));
  t.equal((decode(full) as Value[]).length, 131_071, 'with the list itself 131,072 items');
  t.equal([...decodeSequence(Buffer.concat([full, full]))].length, 2, 'in each value');
  for (const one of [Buffer.alloc(0), new Map(), 0])
    t.throws(() => decode(encode(Array<Value>(131_072).fill(one))), { code: 'BAD_FRAME' }, 'more than any frame has');
});

t.test('examples of RFC 8949, appendix A', async (t) => {
  const examples: [value: Value, hex: string][] = [
    [0, '00'],
    [23, '17'],
    [24, '1818'],
    [255, '18ff'],
    [256, '190100'],
    [65535, '19ffff'],
    [1_000_000, '1a000f4240'],
    [1_000_000_000_000, '1b000000e8d4a51000'],
    [Number.MAX_SAFE_INTEGER, '1b001fffffffffffff'],
    [-1, '20'],
    [-100, '3863'],
    [-1000, '3903e7'],
    [Number.MIN_SAFE_INTEGER, '3b001ffffffffffffe'],
    [false, 'f4'],
    [true, 'f5'],
    [Buffer.from('01020304', 'hex'), '4401020304'],
    ['', '60'],
    ['"\\', '62225c'],
    ['\u00fc', '62c3bc'],
    ['\u6c34', '63e6b0b4'],
    ['\ud800\udd51', '64f0908591'],
    [Array.from({ length: 25 }, (_, i) => i + 1), '98190102030405060708090a0b0c0d0e0f101112131415161718181819'],
    [
      new Map<string, Value>([
        ['a', 1],
        ['b', [2, 3]],
      ]),
      'a26161016162820203',
    ],
  ];
  for (const [value, hex] of examples) {
    t.equal(encode(value).toString('hex'), hex);
    t.same(decode(Buffer.from(hex, 'hex')), value);
  }
  for (const bad of [1.5, 2 ** 53, NaN, null, undefined])
    t.throws(() => encode(bad as never), TypeError, `${bad} has no form`);
  t.same(
    encode({ b: 1, a: undefined, aa: 2 }).toString('hex'),
    'a261620162616102',
    'undefined is left out; the shorter key first',
  );
});

t.test('a short byte string does not hold the frame that it came in; a long one is not copied', async (t) => {
  const frame = encode([Buffer.alloc(64, 1), Buffer.alloc(65, 2)]);
  const [short, long] = decode(frame) as [Buffer, Buffer];
  frame.fill(0);
  t.equal(short[0], 1);
  t.equal(long[0], 0);
});

const refuses = (t: Test, bytes: Uint8Array, what: string): unknown =>
  t.throws(() => decode(bytes), { code: 'BAD_FRAME', field: 'frame' }, what);

t.test('a key that was met before is told from those that look like it, and from one that is cut off', async (t) => {
  // Equal in length, first and last byte: one slot.
  const keys = ['statement', 'sxxxxxxxt', 'sxxxxyxxt', 'sytatement'.slice(0, 8) + 't'];
  for (let times = 0; times < 2; times++)
    for (const key of keys) {
      const bytes = encode({ [key]: 1 });
      t.strictSame(decode(bytes), new Map([[key, 1]]));
      for (let end = 1; end < bytes.length; end++) refuses(t, bytes.subarray(0, end), `${key}, ${end} bytes`);
    }
  const twice = Buffer.concat([Buffer.of(0xa2), encode('statement'), Buffer.of(1), encode('statement'), Buffer.of(2)]);
  refuses(t, twice, 'a key twice');
  const [first, second] = [encode('parts'), encode('statement')];
  refuses(t, Buffer.concat([Buffer.of(0xa2), second, Buffer.of(1), first, Buffer.of(2)]), 'another order');
  const long = 'k'.repeat(40);
  for (let times = 0; times < 2; times++) t.strictSame(decode(encode({ [long]: 1 })), new Map([[long, 1]]));
});

t.test('fields come in one order, however an object names them', async (t) => {
  const sorted = { id: 1, ack: 2, type: 3, messages: 4 };
  const unsorted = { messages: 4, type: 3, ack: 2, id: 1 };
  t.same(encode(unsorted), encode(sorted));
  t.same(encode({ ...sorted, seq: undefined, aa: undefined }), encode(sorted));
});

t.test('a key from the peer reaches no prototype', async (t) => {
  const value = decode(Buffer.from('a1695f5f70726f746f5f5fa1617801', 'hex')) as Map<string, Value>;
  t.ok(value instanceof Map);
  t.equal(({} as Record<string, unknown>)['x'], undefined);
});

const value = fc.letrec<{ node: Value }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4 },
    fc.maxSafeInteger(),
    fc.string({ unit: 'binary' }),
    fc.boolean(),
    fc.uint8Array().map((bytes) => new Uint8Array(bytes)),
    fc.array(tie('node'), { maxLength: 5 }),
    fc.array(fc.tuple(fc.string({ unit: 'binary' }), tie('node')), { maxLength: 5 }).map((pairs) => new Map(pairs)),
  ),
})).node;

t.test('decode and encode are inverse', async (t) => {
  fc.assert(
    fc.property(value, (v) => {
      const bytes = encode(v);
      t.same(encode(decode(bytes)), bytes);
    }),
    runs,
  );
  fc.assert(
    fc.property(fc.array(value, { maxLength: 5 }), (values) => {
      const all = Buffer.concat(values.map(encode));
      t.same([...decodeSequence(all)].map(encode), values.map(encode));
    }),
    runs,
  );
});

t.test('an independent implementation writes the same bytes, and reads them', async (t) => {
  const plain = (v: Value): unknown => (v instanceof Uint8Array ? Buffer.from(v).toString('hex') : v);
  fc.assert(
    fc.property(value, (v) => {
      const bytes = encode(v);
      t.ok(bytes.equals(otherEncode(v)));
      t.same(plain(otherDecode(bytes, { useMaps: true, strict: true })), plain(v));
    }),
    runs,
  );
});

t.test('any bytes give a value in canonical form, or BAD_FRAME', async (t) => {
  let refused = 0;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        t.same(encode(decode(bytes)), Buffer.from(bytes));
      } catch (error) {
        refused++;
        if (!(error instanceof ChatError) || error.code !== 'BAD_FRAME') throw error;
      }
    }),
    runs,
  );
  t.ok(refused > 0);
});

t.test('a template with its holes filled is the encoding of the same values', async (t) => {
  const value = (a: number, b: number, text: string): Encodable => ({
    a,
    list: [1, [b], Buffer.from(text), { text, none: undefined }],
  });
  fc.assert(
    fc.property(
      fc.string({ maxLength: 100_000 }),
      fc.array(fc.tuple(fc.maxSafeInteger(), fc.maxSafeNat(), fc.maxSafeNat()), { minLength: 1, maxLength: 4 }),
      (text, numbers) => {
        const template = new Template('before', value(HOLE, HOLE, text), HOLE);
        for (const [a, b, c] of numbers) {
          const filled = template.encodeAt(3, (length) => Buffer.alloc(length + 5, 9), [a, b, c]);
          const whole = Buffer.concat([encode('before'), encode(value(a, b, text)), encode(c)]);
          t.ok(filled.equals(Buffer.concat([Buffer.alloc(3, 9), whole, Buffer.alloc(2, 9)])));
        }
      },
    ),
    runs,
  );
  const one = new Template([HOLE]);
  for (const numbers of [[], [1, 2]]) t.throws(() => one.encodeAt(0, Buffer.alloc, numbers), TypeError);
  t.throws(() => one.encodeAt(0, Buffer.alloc, [0.5]), TypeError);
  t.throws(() => encode([HOLE]), TypeError, 'nobody would fill it');
  t.throws(() => new Template([HOLE, null as never]), TypeError);
  t.throws(() => encode([HOLE]), TypeError, 'also after a template that failed');
});
