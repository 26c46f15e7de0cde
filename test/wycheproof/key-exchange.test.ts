/** X25519 and ML-KEM-768 through the functions that take what a peer sent. */
import { createPrivateKey } from 'node:crypto';
import { hex } from '../../base/bytes.ts';
import { mlkem768Decapsulate, mlkem768Encapsulate, publicShare, x25519 } from '../../protocol/key-exchange.ts';
import { bytes, named, wycheproof } from './vectors.ts';

wycheproof('x25519_test', (t, groups) => {
  let ran = 0,
    zero = 0;
  for (const c of groups.flatMap((group) => group.tests)) {
    const key = createPrivateKey({ key: bytes(c, 'private'), format: 'raw-private', asymmetricKeyType: 'x25519' });
    // `acceptable` here means a twist or non-canonical point, which X25519 computes, or an all-zero result, which we refuse.
    if (c.flags.includes('ZeroSharedSecret')) {
      t.throws(() => x25519(key, bytes(c, 'public')), { code: 'DH_FAIL', field: 'x25519' }, named(c));
      zero++;
    } else t.equal(x25519(key, bytes(c, 'public')).use(hex), c['shared'], named(c));
    ran++;
  }
  t.ok(zero > 20, `${zero} all-zero results refused`);
  return ran;
});

wycheproof('mlkem_768_test', (t, groups) => {
  const counts = { decapsulated: 0, badCiphertext: 0, badSeed: 0 };
  for (const group of groups)
    for (const c of group.tests) {
      const seed = bytes(c, 'seed');
      const ciphertext = bytes(c, 'c');
      if (seed.length !== 64) {
        t.equal(c.result, 'invalid', 'only an invalid case has a seed of another length; ours come from the generator');
        t.throws(() => createPrivateKey({ key: seed, format: 'raw-seed', asymmetricKeyType: 'ml-kem-768' }), named(c));
        counts.badSeed++;
        continue;
      }
      const key = createPrivateKey({ key: seed, format: 'raw-seed', asymmetricKeyType: 'ml-kem-768' });
      if (c.result === 'valid') {
        t.equal(hex(publicShare('mlkem768', key)), c['ek'], `key of ${named(c)}`);
        t.equal(mlkem768Decapsulate(key, ciphertext).use(hex), c['K'], named(c));
        const { ciphertext: own, sharedSecret } = mlkem768Encapsulate(bytes(c, 'ek'));
        t.equal(sharedSecret.use(hex), mlkem768Decapsulate(key, own).use(hex), `round trip of ${named(c)}`);
        counts.decapsulated++;
      } else {
        t.throws(() => mlkem768Decapsulate(key, ciphertext), { code: 'DH_FAIL', field: 'mlkem768' }, named(c));
        counts.badCiphertext++;
      }
    }
  t.ok(
    Object.values(counts).every((n) => n > 0),
    JSON.stringify(counts),
  );
  return counts.decapsulated + counts.badCiphertext + counts.badSeed;
});
