/** Hashes on lines: what Node reads in base64, in one spelling. */
import fc from 'fast-check';
import t from 'tap';
import type { Hash } from '../../base/bytes.ts';
import { formatHashLines, parseHashLines } from '../../transcript/hash-lines.ts';

const hash = (byte: number): Hash => Buffer.alloc(32, byte) as Uint8Array as Hash;
const read = (text: string) => {
  const bytes = Buffer.from(text, 'latin1');
  return parseHashLines(bytes, 0, bytes.length);
};

t.test('what was written is read', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }), { maxLength: 5 }), (all) => {
      const hashes = all.map((each) => Buffer.from(each) as Uint8Array as Hash);
      const text = formatHashLines(hashes);
      t.equal(text, all.map((each) => `${Buffer.from(each).toString('base64')}\n`).join(''));
      t.same(read(text), hashes);
      const within = Buffer.from(`ab${text}c`);
      t.same(parseHashLines(within, 2, within.length - 1), hashes, 'as a part of something');
    }),
    { seed: 1, numRuns: 50 },
  );
});

t.test('each other byte at each place is refused, or is another hash', async (t) => {
  const line = formatHashLines([hash(0x5a)]);
  for (let at = 0; at < line.length; at++)
    for (let byte = 0; byte < 256; byte++) {
      const text = line.slice(0, at) + String.fromCharCode(byte) + line.slice(at + 1);
      const found = read(text);
      if (found !== null && formatHashLines(found) !== text) t.fail(`byte ${byte} at ${at}`);
      const bytes = Buffer.from(text, 'base64');
      if (found === null && bytes.length === 32 && `${bytes.toString('base64')}\n` === text)
        t.fail(`byte ${byte} at ${at} is not read`);
    }
  t.same(read(line), [hash(0x5a)]);
});

t.test('what is too long or too short', async (t) => {
  const line = formatHashLines([hash(1)]);
  for (const text of ['\n', line.slice(0, -1), `${line}\n`, line + line.slice(1), `${line} `, line.replace('=', '==')])
    t.equal(read(text), null, JSON.stringify(text));
  t.same(read(''), []);
  t.equal(parseHashLines(Buffer.from(line), 45, 0), null);
});
