import t from 'tap';
import { decode as fromCbor, encode, type Encodable } from '../../base/cbor.ts';
import { bool, bytes, list, literal, oneOf, optional, record, text, uint, type Decode } from '../../base/decode.ts';

const point = record({ x: uint(10), y: uint(10, 1), label: optional(text(3)) });
const all = record({
  points: list(point, 2, 1),
  color: oneOf('red', 'blue'),
  v: literal(1),
  on: bool,
  key: bytes(2, 3),
});
const good = { points: [{ x: 0, y: 1 }], color: 'red', v: 1, on: true, key: Buffer.of(1, 2) };
const read = <T>(decode: Decode<T>, value: Encodable): T => decode(fromCbor(encode(value)), 'it');

t.test('gives plain typed values', async (t) => {
  t.match(read(all, good), good);
  t.strictSame(read(point, { x: 1, y: 2, label: 'abc' }), { x: 1, y: 2, label: 'abc' });
});

t.test('names the field that is wrong', async (t) => {
  const cases: [name: string, value: Encodable, field: string][] = [
    ['not a map', 5, 'it'],
    ['missing field', { ...good, on: undefined }, 'it.on'],
    ['unknown field', { ...good, extra: 1 }, 'it.?'],
    ['prototype name as a field', new Map<string, Encodable>([...Object.entries(good), ['__proto__', 1]]), 'it.?'],
    [
      'unknown field beside a missing optional one',
      { ...good, points: [{ x: 1, y: 1, lable: 'a' }] },
      'it.points[0].?',
    ],
    ['too large', { ...good, points: [{ x: 11, y: 1 }] }, 'it.points[0].x'],
    ['too small', { ...good, points: [{ x: 1, y: 0 }] }, 'it.points[0].y'],
    ['negative', { ...good, points: [{ x: -1, y: 1 }] }, 'it.points[0].x'],
    ['too long a text', { ...good, points: [{ x: 1, y: 1, label: 'abcd' }] }, 'it.points[0].label'],
    ['too short a list', { ...good, points: [] }, 'it.points'],
    ['too long a list', { ...good, points: [1, 2, 3] }, 'it.points'],
    ['not in the choice', { ...good, color: 'toString' }, 'it.color'],
    ['another literal', { ...good, v: 2 }, 'it.v'],
    ['not a bool', { ...good, on: 1 }, 'it.on'],
    ['too few bytes', { ...good, key: Buffer.of(1) }, 'it.key'],
    ['too many bytes', { ...good, key: Buffer.alloc(4) }, 'it.key'],
    ['text for bytes', { ...good, key: 'ab' }, 'it.key'],
  ];
  for (const [name, value, field] of cases) t.throws(() => read(all, value), { code: 'BAD_FRAME', field }, name);
});
