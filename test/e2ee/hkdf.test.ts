/** HMAC put together of hashes, against the one of node:crypto, for keys and messages on both sides of every limit. */
import { createHmac, randomBytes } from 'node:crypto';
import t from 'tap';
import { HASH_BYTES, hmac, type HashName } from '../../client/e2ee/hkdf.ts';

t.test('like node:crypto’s, whatever was computed before', async (t) => {
  for (const hash of Object.keys(HASH_BYTES) as HashName[])
    for (const keyBytes of [0, 1, 32, 63, 64, 65, 127, 128, 129, 300])
      for (const sizes of [[], [0], [1], [70, 0, 13], [895], [896], [897], [960], [961], [5000, 3], [2]]) {
        const [key, parts] = [randomBytes(keyBytes), sizes.map((size) => randomBytes(size))];
        const want = createHmac(hash, key).update(Buffer.concat(parts)).digest('hex');
        const is = hmac(hash, key, ...parts).toString('hex');
        if (is !== want) t.equal(is, want, `${hash}, a key of ${keyBytes} bytes, parts of ${sizes.join()}`);
      }
  const [key, data] = [randomBytes(64), randomBytes(100)];
  const first = hmac('sha512', key, data);
  const copy = Buffer.from(first);
  hmac('sha512', randomBytes(64), data);
  t.strictSame(first, copy, 'and stays what it is');
});
