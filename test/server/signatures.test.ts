import { generateKeyPairSync } from 'node:crypto';
import t from 'tap';
import { CONTEXT, sign } from '../../base/signature.ts';
import { Signatures } from '../../server/signatures.ts';

const body = Buffer.from('what is signed');

for (const [name, { publicKey, privateKey }] of Object.entries({
  'P-256': generateKeyPairSync('ec', { namedCurve: 'prime256v1' }),
  Ed25519: generateKeyPairSync('ed25519'),
  'RSA-2048': generateKeyPairSync('rsa', { modulusLength: 2048 }),
}))
  t.test(`${name}: the same verdict alone, in a crowd, and after it`, async (t) => {
    let now = 0;
    const signatures = new Signatures(() => now);
    const { algorithm, signature } = sign(privateKey, CONTEXT.senderBatch, body);
    const check = (data: Uint8Array) => signatures.verify(publicKey, algorithm, CONTEXT.senderBatch, data, signature);
    const wrong = Buffer.from('something else');
    t.equal(await check(body), true, 'alone');
    now += 10;
    t.equal(await check(wrong), false, 'alone');
    const crowd = Array.from({ length: 20 }, (_, i) => (i % 3 === 0 ? wrong : body));
    t.same(
      await Promise.all(crowd.map(check)),
      crowd.map((data) => data === body),
      'in a crowd',
    );
    now += 10;
    t.equal(await check(wrong), false, 'after it');
    t.equal(await signatures.verify(publicKey, (algorithm % 3) + 1, CONTEXT.senderBatch, body, signature), false);
    t.equal(await signatures.verify(publicKey, algorithm, CONTEXT.logKey, body, signature), false);
  });
