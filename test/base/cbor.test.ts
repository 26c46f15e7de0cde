import fc from 'fast-check';
import t from 'tap';
import { decode, decodeSequence, encode, type Value } from '../../base/cbor.ts';
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
  ];
  for (const [name, hex] of cases)
    t.throws(() => decode(Buffer.from(hex, 'hex')), { code: 'BAD_FRAME', field: 'frame' }, name);
  for (const bomb of [Buffer.alloc(1_000_000, 0x81), Buffer.alloc(1_000_000, 0xa1)])
    t.throws(() => decode(bomb), { code: 'BAD_FRAME' }, 'nesting that ends the stack');
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
