import { createPublicKey, generateKeyPairSync, sign as nodeSign, constants, type KeyObject } from 'node:crypto';
import t from 'tap';
import { ALGORITHM, algorithmOf, CONTEXT, sign, tbs, verify, verifyAsync } from '../../base/signature.ts';

const keys = {
  ed25519: generateKeyPairSync('ed25519'),
  ecdsaP256: generateKeyPairSync('ec', { namedCurve: 'prime256v1' }),
  rsaPss: generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
const body = Buffer.from('what is signed');

t.test('signs and verifies by the type of the key', async (t) => {
  for (const [name, { publicKey, privateKey }] of Object.entries(keys)) {
    const { algorithm, signature } = sign(privateKey, CONTEXT.senderBatch, body);
    t.equal(algorithm, ALGORITHM[name as keyof typeof ALGORITHM]);
    const check = async (
      why: string,
      want: boolean,
      key: KeyObject,
      alg: number,
      context: (typeof CONTEXT)[keyof typeof CONTEXT],
      data: Uint8Array,
      sig: Uint8Array,
    ) => {
      t.equal(verify(key, alg, context, data, sig), want, `${name}: ${why}`);
      t.equal(await verifyAsync(key, alg, context, data, sig), want, `${name}: ${why}, in the thread pool`);
    };
    await check('right', true, publicKey, algorithm, CONTEXT.senderBatch, body, signature);
    await check('other context', false, publicKey, algorithm, CONTEXT.logKey, body, signature);
    await check('other body', false, publicKey, algorithm, CONTEXT.senderBatch, Buffer.from('x'), signature);
    await check('other algorithm', false, publicKey, (algorithm % 3) + 1, CONTEXT.senderBatch, body, signature);
    await check('no signature', false, publicKey, algorithm, CONTEXT.senderBatch, body, Buffer.alloc(0));
    await check('too long', false, publicKey, algorithm, CONTEXT.senderBatch, body, Buffer.alloc(2000));
    for (let i = 0; i < signature.length; i += 7) {
      const flipped = Buffer.from(signature);
      flipped[i] = (flipped[i] ?? 0) ^ 1;
      t.notOk(verify(publicKey, algorithm, CONTEXT.senderBatch, body, flipped), `${name}: bit flip at ${i}`);
    }
  }
});

t.test('RSA signatures have a salt of 32 bytes and no other form', async (t) => {
  const { publicKey, privateKey } = keys.rsaPss;
  const data = tbs(CONTEXT.senderBatch, body);
  const other = (options: object): Buffer => nodeSign('sha256', data, { key: privateKey, ...options });
  const refused = {
    'salt 20': other({ padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 20 }),
    'largest salt': other({ padding: constants.RSA_PKCS1_PSS_PADDING }),
    'PKCS#1 v1.5': other({ padding: constants.RSA_PKCS1_PADDING }),
  };
  for (const [name, signature] of Object.entries(refused))
    t.notOk(verify(publicKey, ALGORITHM.rsaPss, CONTEXT.senderBatch, body, signature), name);
});

t.test('an RSA signature is as long as the modulus', async (t) => {
  const { publicKey, privateKey } = keys.rsaPss;
  const beginningWithZero = (): Uint8Array => {
    for (;;) {
      const { signature } = sign(privateKey, CONTEXT.senderBatch, body);
      if (signature[0] === 0) return signature;
    }
  };
  const whole = beginningWithZero();
  for (const [name, signature, want] of [
    ['whole', whole, true],
    ['without its first zero, which OpenSSL takes', whole.subarray(1), false],
    ['with one more byte', Buffer.concat([whole, Buffer.alloc(1)]), false],
  ] as const) {
    t.equal(verify(publicKey, ALGORITHM.rsaPss, CONTEXT.senderBatch, body, signature), want, name);
    t.equal(await verifyAsync(publicKey, ALGORITHM.rsaPss, CONTEXT.senderBatch, body, signature), want, name);
  }
});

t.test('weak and foreign keys have no algorithm', async (t) => {
  const weak = {
    'RSA-1024': generateKeyPairSync('rsa', { modulusLength: 1024 }),
    'RSA with e=3': generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 }),
    'P-384': generateKeyPairSync('ec', { namedCurve: 'secp384r1' }),
    secp256k1: generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
    X25519: generateKeyPairSync('x25519'),
  };
  for (const [name, { publicKey }] of Object.entries(weak))
    t.throws(() => algorithmOf(publicKey), { code: 'BAD_CERT', sub: 'weak_key' }, name);
});

t.test('the bytes to be signed have the shape of RFC 8446 §4.4.3', async (t) => {
  t.equal(tbs(CONTEXT.bundle, Buffer.of(9)).toString('latin1'), `${' '.repeat(64)}chatlog/v1, bundle\0\t`);
  t.equal(new Set(Object.values(CONTEXT)).size, Object.values(CONTEXT).length, 'every context is another');
});

t.test(
  'an RSA exponent is odd, not small, and not so large that its signatures cost a hundred times as much',
  async (t) => {
    const { n } = keys.rsaPss.publicKey.export({ format: 'jwk' });
    const withExponent = (hexadecimal: string): KeyObject =>
      createPublicKey({
        key: { kty: 'RSA', n: n!, e: Buffer.from(hexadecimal, 'hex').toString('base64url') },
        format: 'jwk',
      });
    for (const e of ['010001', 'ffffffffffffffff']) t.equal(algorithmOf(withExponent(e)), ALGORITHM.rsaPss, e);
    for (const e of ['03', 'ffff', '010000', '010002', '010000000000000001', `7f${'ff'.repeat(254)}`])
      t.throws(() => algorithmOf(withExponent(e)), { code: 'BAD_CERT', sub: 'weak_key' }, e);
  },
);
