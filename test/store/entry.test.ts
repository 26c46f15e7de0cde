import fc from 'fast-check';
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { decodeParts, decodeTargets, encodeParts, encodeTargets, entryOf, indexOf } from '../../store/entry.ts';
import { pack } from '../../store/parcel.ts';

const fuzz = process.env['FUZZ'] === '1';
const check = (property: fc.IProperty<never>): void =>
  fc.assert(property, fuzz ? { numRuns: 10_000 } : { numRuns: 100, seed: 1 });

t.test('an entry is its log and its index', async (t) => {
  t.equal(entryOf(0, 5), 5);
  t.equal(entryOf(3, 5), 3 * 2 ** 40 + 5);
  t.equal(indexOf(entryOf(8191, 2 ** 40 - 1)), 2 ** 40 - 1);
  t.ok(Number.isSafeInteger(entryOf(8191, 2 ** 40 - 1)));
});

t.test('targets and parts come back as they were', async () => {
  const target = fc.record({ deviceId: fc.nat(2 ** 32 - 1), cursor: fc.nat(2 ** 48 - 1) });
  check(
    fc.property(fc.array(target), (targets) => {
      const back = decodeTargets(encodeTargets(targets));
      return JSON.stringify(back) === JSON.stringify(targets);
    }) as never,
  );
  check(
    fc.property(fc.array(fc.uint8Array()), (parts) => {
      const back = decodeParts(encodeParts(parts));
      return back.map(hex).join() === parts.map(hex).join() && back.length === parts.length;
    }) as never,
  );
});

t.test('damaged bytes are refused', async (t) => {
  t.throws(() => decodeTargets(Buffer.alloc(11)), { code: 'STORE_FAILED' });
  const parts = encodeParts([Buffer.from('ab'), Buffer.from('c')]);
  const damaged = [
    parts.subarray(0, -1),
    Buffer.concat([parts, Buffer.alloc(1)]),
    parts.subarray(0, 3),
    Buffer.alloc(0),
  ];
  for (const bytes of damaged) t.throws(() => decodeParts(bytes), { code: 'STORE_FAILED' });
  t.throws(
    () => decodeParts(Buffer.from('ffffffff00000000', 'hex')),
    { code: 'STORE_FAILED' },
    'a count that nothing holds',
  );
});

t.test('a parcel is an equal value in one block, and the sender keeps its bytes', async (t) => {
  const record = Buffer.from('0123456789');
  const value = {
    a: [record.subarray(2, 4), null, 'text', 5, true],
    b: { c: record.subarray(0, 0), d: record, e: undefined },
  };
  const { value: copy, block } = pack(value);
  t.equal(block.byteLength, 12);
  const back = structuredClone(copy, { transfer: [block] }) as { a: unknown[]; b: { c: Uint8Array; d: Uint8Array } };
  record.fill(0);
  t.strictSame(back.a.slice(1), [null, 'text', 5, true]);
  t.strictSame(
    [back.a[0], back.b.c, back.b.d].map((bytes) => Buffer.from(bytes as Uint8Array).toString()),
    ['23', '', '0123456789'],
  );
  t.ok('e' in back.b && (back.b as { e?: unknown }).e === undefined);
  t.strictSame(pack(undefined).value, undefined);
});
