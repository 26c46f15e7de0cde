/** A long byte string in sealed chunks: what opens, and nothing else does. */
import { createCipheriv, randomBytes } from 'node:crypto';
import t from 'tap';
import { StreamCipher } from '../../client/stream-cipher.ts';

const key = Buffer.from('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 'hex');
const context = Buffer.from('an archive');
const cipher = new StreamCipher(key, context);
const chunks = ['first', 'second', 'third'].map((text) => Buffer.from(text));
const sealed = chunks.map((chunk, n) => cipher.seal(n, n === 2, chunk));
const refused = { code: 'DECRYPT_FAIL', sub: 'chunk' };

t.test('what was sealed opens', async (t) => {
  for (const [n, chunk] of chunks.entries()) t.strictSame(cipher.open(n, n === 2, sealed[n]!), chunk);
  t.strictSame(cipher.open(0, true, cipher.seal(0, true, Buffer.alloc(0))), Buffer.alloc(0));
});

t.test('the nonce is what the page says: 7 zeros, counter, flag of the last', async (t) => {
  for (const [n, nonce] of [
    '000000000000000000000000',
    '000000000000000000000100',
    '000000000000000000000201',
  ].entries()) {
    const other = createCipheriv('aes-256-gcm', key, Buffer.from(nonce, 'hex'));
    other.setAAD(context);
    t.strictSame(sealed[n], Buffer.concat([other.update(chunks[n]!), other.final(), other.getAuthTag()]), nonce);
  }
});

t.test('moved, cut off, altered, or of another stream', async (t) => {
  t.throws(() => cipher.open(1, false, sealed[0]!), refused, 'moved');
  t.throws(() => cipher.open(1, true, sealed[1]!), refused, 'cut off behind it');
  t.throws(() => cipher.open(2, false, sealed[2]!), refused, 'something behind the last');
  for (const at of [0, sealed[0]!.length - 1]) {
    const altered = Buffer.from(sealed[0]!);
    altered[at]! ^= 1;
    t.throws(() => cipher.open(0, false, altered), refused, `byte ${at}`);
  }
  for (const length of [0, 15, 16]) t.throws(() => cipher.open(0, false, sealed[0]!.subarray(0, length)), refused);
  t.throws(() => new StreamCipher(key, Buffer.from('another')).open(0, false, sealed[0]!), refused, 'another context');
  t.throws(() => new StreamCipher(randomBytes(32), context).open(0, false, sealed[0]!), refused, 'another key');
});
