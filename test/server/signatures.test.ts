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
    const signatures = new Signatures(() => now, 8);
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

t.test('on two processors nothing but a large RSA key goes to the pool', async (t) => {
  const keys = {
    'P-256': generateKeyPairSync('ec', { namedCurve: 'prime256v1' }),
    Ed25519: generateKeyPairSync('ed25519'),
    'RSA-2048': generateKeyPairSync('rsa', { modulusLength: 2048 }),
    'RSA-4096': generateKeyPairSync('rsa', { modulusLength: 4096 }),
  };
  const atOnce: string[] = [];
  for (const [name, { publicKey, privateKey }] of Object.entries(keys)) {
    const { algorithm, signature } = sign(privateKey, CONTEXT.senderBatch, body);
    const signatures = new Signatures(() => 0, 2);
    const crowd = Array.from({ length: 3 }, () =>
      signatures.verify(publicKey, algorithm, CONTEXT.senderBatch, body, signature),
    );
    let isDone = false;
    void Promise.all(crowd).then(() => (isDone = true));
    for (let i = 0; i < 20; i++) await null; // no turn of the event loop, in which a pool could answer
    if (isDone) atOnce.push(name);
    t.same(await Promise.all(crowd), [true, true, true], name);
  }
  t.same(atOnce, ['P-256', 'Ed25519', 'RSA-2048']);
});
