/** The password proof: RFC 7677's example, what each side accepts, and what a thief of the stored keys cannot do. */
import { argon2Sync } from 'node:crypto';
import t from 'tap';
import { base64, hex } from '../../base/bytes.ts';
import { encode } from '../../base/cbor.ts';
import { hmacSha256, sha256 } from '../../base/hash.ts';
import { Secret } from '../../base/secret.ts';
import {
  authMessage,
  checkNotBelow,
  checkProof,
  checkServerSignature,
  clientProof,
  DEFAULT_KDF,
  fakeSalt,
  fakeVerifier,
  formatKdf,
  parseKdf,
  preparePassword,
  saltedPassword,
  serverSignature,
  strongerKdf,
  verifierOf,
  type Login,
} from '../../protocol/scram.ts';

t.test('RFC 7677 §3', async (t) => {
  const nonce = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
  const salt = 'W22ZaJ0SNY7soEsUEjb6gQ==';
  const message = Buffer.from(`n=user,r=rOprNGfwEbeRWgbNEkqO,r=${nonce},s=${salt},i=4096,c=biws,r=${nonce}`);
  const salted = await saltedPassword(preparePassword('pencil'), Buffer.from(salt, 'base64'), {
    name: 'pbkdf2-sha256',
    rounds: 4096,
  });
  t.equal(base64(clientProof(salted, message)), 'dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=');
  const { serverKey, storedKey } = verifierOf(salted);
  t.equal(base64(serverSignature(serverKey, message)), '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
  t.ok(checkProof(storedKey, message, clientProof(salted, message)));
  t.ok(checkServerSignature(salted, message, serverSignature(serverKey, message)));
});

t.test('Argon2id is RFC 9106 with our parameters', async (t) => {
  const [password, salt] = [preparePassword('correct horse'), Buffer.alloc(16, 2)];
  const kdf = { name: 'argon2id', memoryKib: 19_456, passes: 2 } as const;
  const want = argon2Sync('argon2id', {
    message: password,
    nonce: salt,
    memory: 19_456,
    passes: 2,
    parallelism: 1,
    tagLength: 32,
  });
  t.equal((await saltedPassword(password, salt, kdf)).use(hex), hex(want));
  t.not((await saltedPassword(password, Buffer.alloc(16, 3), kdf)).use(hex), hex(want));
  // RFC 9106 §5.3 checks the primitive itself; it uses a secret and associated data, which login does not.
  const rfc = argon2Sync('argon2id', {
    message: Buffer.alloc(32, 1),
    nonce: Buffer.alloc(16, 2),
    secret: Buffer.alloc(8, 3),
    associatedData: Buffer.alloc(12, 4),
    parallelism: 4,
    memory: 32,
    passes: 3,
    tagLength: 32,
  });
  t.equal(hex(rfc), '0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659');
});

const salted = new Secret(Buffer.alloc(32, 7));
const login: Login = {
  username: 'alice',
  clientNonce: Buffer.alloc(24, 1),
  serverNonce: Buffer.alloc(24, 2),
  salt: Buffer.alloc(16, 3),
  kdf: formatKdf(DEFAULT_KDF),
  channelBinding: Buffer.alloc(32, 4),
};

t.test('a proof holds for one login alone', async (t) => {
  const { storedKey, serverKey } = verifierOf(salted);
  const message = authMessage(login);
  const proof = clientProof(salted, message);
  t.ok(checkProof(storedKey, message, proof));
  t.strictSame(
    message,
    encode([
      'chat/v1 scram',
      'alice',
      login.clientNonce,
      login.serverNonce,
      login.salt,
      'argon2id$m=65536,t=3,p=1',
      login.channelBinding,
    ]),
  );
  const others: readonly Partial<Login>[] = [
    { username: 'alicf' },
    { clientNonce: Buffer.alloc(24, 9) },
    { serverNonce: Buffer.alloc(24, 9) },
    { salt: Buffer.alloc(16, 9) },
    { kdf: 'argon2id$m=65536,t=4,p=1' },
    { channelBinding: Buffer.alloc(32, 9) },
    { clientNonce: login.serverNonce, serverNonce: login.clientNonce },
  ];
  for (const other of others) {
    const changed = authMessage({ ...login, ...other });
    t.notOk(checkProof(storedKey, changed, proof), `proof: ${Object.keys(other)}`);
    t.notOk(checkServerSignature(salted, changed, serverSignature(serverKey, message)), 'server signature');
  }
  for (let bit = 0; bit < 256; bit++) {
    const bad = Buffer.from(proof);
    bad[bit >> 3]! ^= 1 << (bit & 7);
    if (checkProof(storedKey, message, bad)) t.fail(`bit ${bit}`);
  }
  for (const bad of [Buffer.alloc(0), Buffer.alloc(31), Buffer.alloc(32), Buffer.concat([proof, Buffer.alloc(1)])])
    t.notOk(checkProof(storedKey, message, bad), `${bad.length} bytes`);
  t.notOk(checkServerSignature(salted, message, Buffer.alloc(0)));
});

t.test('who steals the stored keys cannot log in', async (t) => {
  const { storedKey, serverKey } = verifierOf(salted);
  const message = authMessage(login);
  for (const key of [storedKey, serverKey])
    t.notOk(checkProof(storedKey, message, clientProof(new Secret(Buffer.from(key)), message)));
  t.notOk(checkProof(storedKey, message, hmacSha256(storedKey, message)), 'a proof without ClientKey');
  t.notSame(storedKey, serverKey);
  t.strictSame(storedKey, sha256(hmacSha256(Buffer.alloc(32, 7), Buffer.from('Client Key'))));
});

t.test('costs that are accepted, and refused, on both sides', async (t) => {
  for (const text of [
    'argon2id$m=65536,t=3,p=1',
    'argon2id$m=19456,t=2,p=1',
    'argon2id$m=1048576,t=16,p=1',
    'pbkdf2-sha256$i=600000',
    'pbkdf2-sha256$i=10000000',
  ])
    t.equal(formatKdf(parseKdf(text)), text);
  for (const [text, sub] of [
    ['argon2id$m=19455,t=3,p=1', 'memory'],
    ['argon2id$m=1048577,t=3,p=1', 'memory'],
    ['argon2id$m=9999999999,t=3,p=1', 'memory'],
    ['argon2id$m=65536,t=1,p=1', 'passes'],
    ['argon2id$m=65536,t=17,p=1', 'passes'],
    ['argon2id$m=65536,t=3,p=2', 'parallelism'],
    ['argon2id$m=65536,t=3,p=0', 'unknown'],
    ['argon2id$m=065536,t=3,p=1', 'unknown'],
    ['argon2id$m=65536,t=3,p=1 ', 'unknown'],
    ['argon2id$m=65536,t=3,p=1\n', 'unknown'],
    ['argon2id$t=3,m=65536,p=1', 'unknown'],
    ['argon2i$m=65536,t=3,p=1', 'unknown'],
    ['argon2id$m=1e9,t=3,p=1', 'unknown'],
    ['pbkdf2-sha256$i=599999', 'rounds'],
    ['pbkdf2-sha256$i=1', 'rounds'],
    ['pbkdf2-sha256$i=10000001', 'rounds'],
    ['pbkdf2-sha256$i=99999999999', 'unknown'],
    ['pbkdf2-sha1$i=600000', 'unknown'],
    ['', 'unknown'],
  ] as const)
    t.throws(() => parseKdf(text), { code: 'WEAK_KDF', sub }, JSON.stringify(text));
});

t.test('passwords are OpaqueStrings (RFC 8265 §4.2)', async (t) => {
  for (const [typed, prepared] of [
    ['correct horse battery staple', 'correct horse battery staple'],
    ['Correct Horse', 'Correct Horse'],
    ['πßå', 'πßå'],
    ['Jack of ♦s', 'Jack of ♦s'],
    ['foo\u1680bar', 'foo bar'],
    ['a\u00a0b\u3000c', 'a b c'],
    ['e\u0301', '\u00e9'],
    ['\u212b', '\u00c5'],
    ['\ufb01', '\ufb01'],
    ['  ', '  '],
    ['😀', '😀'],
    ['\u1112\u1161\u11ab', '\ud55c'],
  ] as const)
    t.equal(preparePassword(typed).toString(), prepared, JSON.stringify(typed));
  t.equal(preparePassword('x'.repeat(1024)).length, 1024);
  for (const bad of [
    '',
    'my cat is a \u0009by',
    '\u0000',
    'line\n',
    'soft\u00adhyphen',
    'zero\u200bwidth',
    'rtl\u202e',
    'joiner\u200d',
    'jamo\u1100',
    'half \ud800',
    'unassigned\u0378',
    'private\ue000',
    'noncharacter\uffff',
    'x'.repeat(1025),
    'é'.repeat(513),
  ])
    t.throws(() => preparePassword(bad), { code: 'USAGE', sub: 'password' }, JSON.stringify(bad.slice(0, 30)));
});

t.test('a name without account looks like one with', async (t) => {
  const [secret, other] = [new Secret(Buffer.alloc(32, 1)), new Secret(Buffer.alloc(32, 2))];
  t.equal(fakeSalt(secret, 'nobody').length, 16);
  t.strictSame(fakeSalt(secret, 'nobody'), fakeSalt(secret, 'nobody'), 'the same each time');
  t.notSame(fakeSalt(secret, 'nobody'), fakeSalt(secret, 'nobodx'));
  t.notSame(fakeSalt(secret, 'nobody'), fakeSalt(other, 'nobody'), "another server's");
  const { storedKey, serverKey } = fakeVerifier(secret, 'nobody');
  t.strictSame([storedKey.length, serverKey.length], [32, 32]);
  t.notSame(storedKey, serverKey);
  t.notOk(
    storedKey.subarray(0, 16).equals(fakeSalt(secret, 'nobody')),
    'the salt that is sent tells nothing of the keys',
  );
  const message = authMessage(login);
  t.notOk(checkProof(storedKey, message, clientProof(salted, message)));
});

t.test(
  'no cost of a hash may be below what is asked for, and the stronger of two has the larger of each',
  async (t) => {
    const argon = (memoryKib: number, passes: number) => ({ name: 'argon2id', memoryKib, passes }) as const;
    const pbkdf2 = { name: 'pbkdf2-sha256', rounds: 600_000 } as const;
    const floor = argon(65_536, 3);
    for (const enough of [floor, argon(65_537, 3), argon(65_536, 4), pbkdf2])
      t.doesNotThrow(() => checkNotBelow(enough, floor));
    t.doesNotThrow(() => checkNotBelow(floor, pbkdf2), 'two hashes are not compared');
    t.throws(() => checkNotBelow(argon(65_535, 9), floor), { code: 'WEAK_KDF', sub: 'memory' });
    t.throws(() => checkNotBelow(argon(262_144, 2), floor), { code: 'WEAK_KDF', sub: 'passes' });
    t.strictSame(strongerKdf(argon(65_536, 2), argon(19_456, 3)), argon(65_536, 3));
    t.strictSame(strongerKdf(argon(19_456, 3), argon(65_536, 2)), argon(65_536, 3));
    t.strictSame(strongerKdf(pbkdf2, floor), pbkdf2, 'of two hashes the first');
    t.strictSame(strongerKdf(floor, pbkdf2), floor);
  },
);
