import { inspect } from 'node:util';
import t from 'tap';
import { equal, fromBase64, fromBase64url, fromHex, fromUtf8, readU64, u64, writeU64 } from '../../base/bytes.ts';
import { ChatError, CODES } from '../../base/errors.ts';
import { hkdfExpand, hkdfExtract, hmacSha256, pbkdf2Sha256, sha256 } from '../../base/hash.ts';
import { Secret } from '../../base/secret.ts';
import { createHash, createHmac, hkdfSync, pbkdf2Sync } from 'node:crypto';

t.test('one spelling for one value', async (t) => {
  t.same(fromBase64('AA=='), Buffer.of(0));
  for (const bad of ['AB==', 'AA', 'AA=', 'A A==', 'AA==\n', '-_8=', '===='])
    t.equal(fromBase64(bad), null, `base64 ${bad}`);
  t.same(fromBase64url('-_8'), Buffer.of(251, 255));
  for (const bad of ['-_8=', '+/8', 'AB', '-_9']) t.equal(fromBase64url(bad), null, `base64url ${bad}`);
  for (const bad of ['0', 'AA', '0g', '00 ']) t.equal(fromHex(bad), null, `hex ${bad}`);
  t.equal(fromUtf8(Buffer.from('fffe', 'hex')), null);
  t.equal(fromUtf8(Buffer.from('efbbbf61', 'hex')), '\ufeffa', 'a byte-order mark is not swallowed');
});

t.test('u64 is exact up to 2^53-1, and refused above', async (t) => {
  for (const n of [0, 1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) t.equal(readU64(u64(n), 0), n);
  for (const n of [-1, 0.5, 2 ** 53, Number.NaN]) t.throws(() => writeU64(Buffer.alloc(8), n, 0), RangeError);
  t.throws(() => readU64(Buffer.from('0020000000000000', 'hex'), 0, 'ctr'), { code: 'BAD_FRAME', field: 'ctr' });
});

t.test('equal compares contents and lengths', async (t) => {
  t.ok(equal(Buffer.of(1, 2), new Uint8Array([1, 2])));
  t.notOk(equal(Buffer.of(1, 2), Buffer.of(1, 3)));
  t.notOk(equal(Buffer.of(1, 2), Buffer.of(1, 2, 0)));
});

t.test('portable and native hashing agree', async (t) => {
  for (const n of [0, 1, 55, 64, 65, 1000]) {
    const data = Buffer.alloc(n, n);
    const key = Buffer.alloc(n + 1, 7);
    t.same(sha256(data), createHash('sha256').update(data).digest());
    t.same(sha256(data, key), createHash('sha256').update(data).update(key).digest());
    t.same(hmacSha256(key, data, data), createHmac('sha256', key).update(data).update(data).digest());
    t.same(
      hkdfExpand(hkdfExtract(key, data), Buffer.from('info'), 42),
      Buffer.from(hkdfSync('sha256', data, key, 'info', 42)),
    );
    t.same(pbkdf2Sha256(key, data, 3, 40), pbkdf2Sync(key, data, 3, 40, 'sha256'));
  }
});

t.test('a secret does not print', async (t) => {
  const secret = new Secret(Buffer.from('canary-4711'));
  const shown = [
    String(secret),
    `${secret}`,
    JSON.stringify({ secret }),
    inspect(secret),
    inspect({ a: [secret] }, { depth: 9, showHidden: true }),
  ];
  for (const text of shown) t.notMatch(text, /canary|63616e617279|Y2FuYXJ5/);
  t.equal(
    secret.use((bytes) => bytes.toString()),
    'canary-4711',
  );
  secret.wipe();
  t.throws(() => secret.use(() => 0), { code: 'INTERNAL' });
});

t.test('an error carries its code and what may be shown, and no more', async (t) => {
  const error = new ChatError('LOCKED', 'too many', { retryAfterMs: 5, cause: new Error('inner') });
  t.match(error, { code: 'LOCKED', message: 'too many', retryAfterMs: 5, sub: undefined });
  t.equal(ChatError.from(error), error);
  const unknown = ChatError.from(new Error('secret path'));
  t.match(unknown, { code: 'INTERNAL', message: 'unexpected failure' });
  t.equal(CODES[unknown.code].blame, 'us');
});
