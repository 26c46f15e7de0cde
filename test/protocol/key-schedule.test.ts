/** HKDF against RFC 5869, and the schedule's own rules. Its values are in vectors.test.ts. */
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { hkdfExpand, hkdfExtract, sha256 } from '../../base/hash.ts';
import { Secret } from '../../base/secret.ts';
import {
  applicationSecrets,
  finished,
  handshakeSecrets,
  helloHash,
  LABEL,
  loginBinding,
  nextHash,
  recordKeys,
  rekeyed,
} from '../../protocol/key-schedule.ts';

const from = (text: string) => Buffer.from(text, 'hex');
const range = (first: number, count: number) => Buffer.from(Array.from({ length: count }, (_, i) => first + i));

t.test('RFC 5869 §A.1 to §A.3', async (t) => {
  for (const { ikm, salt, info, prk, okm } of [
    {
      ikm: Buffer.alloc(22, 0x0b),
      salt: range(0, 13),
      info: range(0xf0, 10),
      prk: '077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5',
      okm: '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
    },
    {
      ikm: range(0, 80),
      salt: range(0x60, 80),
      info: range(0xb0, 80),
      prk: '06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244',
      okm:
        'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09' +
        'da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
    },
    {
      ikm: Buffer.alloc(22, 0x0b),
      salt: Buffer.alloc(0),
      info: Buffer.alloc(0),
      prk: '19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04',
      okm: '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
    },
  ]) {
    t.equal(hex(hkdfExtract(salt, ikm)), prk);
    t.equal(hex(hkdfExpand(from(prk), info, okm.length / 2)), okm);
  }
});

t.test('no label serves twice, and none is the beginning of another', async (t) => {
  const labels = Object.values(LABEL);
  for (const a of labels) {
    t.match(a, /^chat\/v1 [a-z ]+$/);
    t.strictSame(
      labels.filter((b) => b.startsWith(a)),
      [a],
    );
  }
});

t.test('every output differs from every other, and depends on every input', async (t) => {
  const everything = (ikm: number, th1: number, th3: number): string[] => {
    const handshake = handshakeSecrets(Buffer.alloc(32, th1), new Secret(Buffer.alloc(64, ikm)));
    const application = applicationSecrets(Buffer.alloc(32, th3), handshake.prk);
    const secrets = [handshake.prk, handshake.client, handshake.server, application.client, application.server];
    const keys = secrets.slice(1).flatMap((secret) => {
      const { key, iv } = recordKeys(secret);
      return [hex(key.export()), hex(iv), rekeyed(secret).use(hex)];
    });
    const binding = hex(loginBinding(application.exporter));
    return [
      ...secrets.map((s) => s.use(hex)),
      application.exporter.use(hex),
      hex(application.confirmation),
      binding,
      ...keys,
    ];
  };
  const base = everything(1, 2, 3);
  t.equal(new Set(base).size, base.length);
  for (const [name, other, same] of [
    ['agreed secret', everything(9, 2, 3), 0],
    ['hellos', everything(1, 9, 3), 0],
    ['proofs', everything(1, 2, 9), 3 + 6], // handshake secrets and keys came before them
  ] as const)
    t.equal(base.filter((value) => other.includes(value)).length, same, name);
});

t.test('Finished covers the hash, the identities and the signature, and has a key of each side', async (t) => {
  const { client, server } = handshakeSecrets(Buffer.alloc(32), new Secret(Buffer.alloc(32, 1)));
  const binding = Buffer.alloc(96);
  const macs = [
    finished(client, Buffer.alloc(32), binding, 1, Buffer.alloc(64)),
    finished(server, Buffer.alloc(32), binding, 1, Buffer.alloc(64)),
    finished(client, Buffer.alloc(32, 1), binding, 1, Buffer.alloc(64)),
    finished(client, Buffer.alloc(32), Buffer.alloc(96, 1), 1, Buffer.alloc(64)),
    finished(client, Buffer.alloc(32), binding, 2, Buffer.alloc(64)),
    finished(client, Buffer.alloc(32), binding, 1, Buffer.alloc(64, 1)),
  ].map(hex);
  t.equal(new Set(macs).size, macs.length);
});

t.test('transcript hashes', async (t) => {
  const [a, b] = [Buffer.from('client'), Buffer.from('server')];
  t.strictSame(helloHash(a, b), sha256(Buffer.from('chat/v1 transcript'), a, b));
  t.strictSame(nextHash(a, b), sha256(a, b));
});
