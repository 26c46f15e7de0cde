import t from 'tap';
import { Cursor } from '../../base/cursor.ts';

t.test('a layout from front to back', (t) => {
  const bytes = Buffer.from('0102030000000400000000000000050000c3a4ff', 'hex');
  const cursor = new Cursor(bytes, 'thing');
  t.notOk(cursor.isAtEnd);
  t.equal(cursor.u8('a'), 1);
  t.equal(cursor.u16('b'), 0x0203);
  t.equal(cursor.u32('c'), 4);
  t.equal(cursor.offset, 7);
  t.equal(cursor.u64('d'), 5);
  cursor.zeros(2, 'e');
  t.equal(cursor.text(2, 'f'), 'ä');
  const rest = cursor.rest();
  t.equal(rest.toString('hex'), 'ff');
  t.equal(rest.buffer, bytes.buffer, 'not copied');
  t.ok(cursor.isAtEnd);
  cursor.end();
  t.equal(cursor.rest().length, 0);
  t.end();
});

t.test('what is missing, wrong or left over is named', (t) => {
  const of = (hex: string): Cursor => new Cursor(Buffer.from(hex, 'hex'), 'thing');
  for (const [name, read, field] of [
    ['nothing there', () => of('').u8('a'), 'thing.a'],
    ['too short', () => of('00').u16('a'), 'thing.a'],
    ['too short, without a name', () => of('000000').u32(), 'thing'],
    ['a number beyond 2^53', () => of('0020000000000000').u64('a'), 'thing.a'],
    ['the same, without a name', () => of('0020000000000000').u64(), 'thing'],
    ['no UTF-8', () => of('ff').text(1, 'a'), 'thing.a'],
    ['no zeros', () => of('0001').zeros(2, 'a'), 'thing.a'],
    ['more behind it', () => of('00').end(), 'thing.length'],
    ['what the reader refuses', () => of('00').refuse('a', 'something else'), 'thing.a'],
  ] as const)
    t.throws(read, { code: 'BAD_FRAME', field }, name);
  t.end();
});
