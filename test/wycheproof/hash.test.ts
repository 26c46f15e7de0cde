/** HMAC, HKDF and PBKDF2 with SHA-256 through base/hash, and PBKDF2 through the login proof's own way to it. */
import { equal } from '../../base/bytes.ts';
import { hkdfExpand, hkdfExtract, hmacSha256, pbkdf2Sha256 } from '../../base/hash.ts';
import { saltedPassword } from '../../protocol/scram.ts';
import { bytes, named, wycheproof } from './vectors.ts';

wycheproof('hmac_sha256_test', (t, groups) => {
  let ran = 0;
  for (const group of groups)
    for (const c of group.tests) {
      const want = bytes(c, 'tag');
      const got = hmacSha256(bytes(c, 'key'), bytes(c, 'msg')).subarray(0, Number(group['tagSize']) / 8);
      t.equal(equal(got, want), c.result === 'valid', named(c));
      ran++;
    }
  return ran;
});

wycheproof('hkdf_sha256_test', (t, groups) => {
  let ran = 0;
  for (const c of groups.flatMap((group) => group.tests)) {
    const expand = () =>
      hkdfExpand(hkdfExtract(bytes(c, 'salt'), bytes(c, 'ikm')), bytes(c, 'info'), Number(c['size']));
    if (c.result === 'valid') t.strictSame(expand(), bytes(c, 'okm'), named(c));
    else t.throws(expand, named(c));
    ran++;
  }
  return ran;
});

wycheproof('pbkdf2_hmacsha256_test', async (t, groups) => {
  let ran = 0;
  for (const c of groups.flatMap((group) => group.tests)) {
    const [password, salt, want] = [bytes(c, 'password'), bytes(c, 'salt'), bytes(c, 'dk')];
    const rounds = Number(c['iterationCount']);
    t.strictSame(pbkdf2Sha256(password, salt, rounds, Number(c['dkLen'])), want, named(c));
    const salted = await saltedPassword(password, salt, { name: 'pbkdf2-sha256', rounds });
    const common = Math.min(32, want.length);
    t.strictSame(
      salted.use((key) => Buffer.from(key.subarray(0, common))),
      want.subarray(0, common),
      `salted password of ${named(c)}`,
    );
    ran++;
  }
  return ran;
});
