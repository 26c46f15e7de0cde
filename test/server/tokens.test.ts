import { createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { base64url, type Fingerprint } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { Tokens } from '../../server/tokens.ts';

const NOW = 1_800_000_000_000;
const alice = sha256(Buffer.from('certificate of alice')) as unknown as Fingerprint;
const mallory = sha256(Buffer.from('certificate of mallory')) as unknown as Fingerprint;
const holder = { id: 7, pwdHash: 'ab'.repeat(32) };

type Json = Record<string, unknown>;
const part = (value: unknown): string => base64url(Buffer.from(JSON.stringify(value)));
const payloadOf = (token: string): Json =>
  JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as Json;
const headerOf = (token: string): Json => JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as Json;
const signed = (header: Json, payload: unknown, key: KeyObject): string => {
  const input = `${part(header)}.${typeof payload === 'string' ? payload : part(payload)}`;
  return `${input}.${base64url(sign(null, Buffer.from(input), key))}`;
};

t.test('a token is good for its certificate, its time and its password', async (t) => {
  let now = NOW;
  const options = { stateDir: t.testdir(), issuer: 'n1', lifetimeMs: 600_000, now: () => now };
  const issuer = new Tokens(options);
  const { token, expires } = issuer.issue(holder, alice);
  t.equal(expires, NOW + 600_000);
  t.ok(token.length < 2048, 'it fits its frame');
  t.notMatch(Buffer.from(token.split('.')[1]!, 'base64url').toString(), /abab/, 'nothing of the password is in it');
  // Who has issued it knows it; after a restart its signature is asked.
  for (const tokens of [issuer, new Tokens(options)]) {
    now = NOW;
    const { userId, generation } = await tokens.verify(token, alice);
    t.equal(userId, 7);
    t.ok(tokens.isCurrent(generation, holder.pwdHash));
    t.notOk(tokens.isCurrent(generation, 'cd'.repeat(32)), 'another password');
    await t.rejects(tokens.verify(token, mallory), { code: 'AUTH_FAIL' }, 'on a link of another certificate');
    now = expires - 1;
    await tokens.verify(token, alice);
    now = expires;
    await t.rejects(tokens.verify(token, alice), { code: 'AUTH_FAIL' }, 'expired');
  }
  const odd = new Tokens({ stateDir: t.testdir({}), issuer: 'n1', lifetimeMs: 1500, now: () => NOW + 700 });
  t.equal(odd.issue(holder, alice).expires, NOW + 2000, 'never longer than it says');
});

t.test('everything else is refused, with one answer', async (t) => {
  const stateDir = t.testdir();
  const options = { stateDir, issuer: 'n1', lifetimeMs: 600_000, now: () => NOW };
  const tokens = new Tokens(options);
  const key = createPrivateKey(readFileSync(join(stateDir, 'token.key')));
  const publicKey = createPublicKey(key);
  const { token } = tokens.issue(holder, alice);
  const header = headerOf(token);
  const payload = payloadOf(token);
  await tokens.verify(signed(header, payload, key), alice); // the forge below is a good one
  const other = generateKeyPairSync('ed25519');
  const [h, p, s] = token.split('.') as [string, string, string];
  const spki = publicKey.export({ format: 'pem', type: 'spki' });
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const hs256 = (secret: string | Buffer) => {
    const input = `${part({ ...header, alg: 'HS256' })}.${p}`;
    return `${input}.${base64url(createHmac('sha256', secret).update(input).digest())}`;
  };
  const without = (name: string): Json => Object.fromEntries(Object.entries(payload).filter(([k]) => k !== name));
  const seconds = NOW / 1000;
  const rows: Record<string, string> = {
    'alg none': `${part({ ...header, alg: 'none' })}.${p}.`,
    'alg None': `${part({ ...header, alg: 'None' })}.${p}.${s}`,
    'alg none, signature kept': `${part({ ...header, alg: 'none' })}.${p}.${s}`,
    'no signature': `${h}.${p}.`,
    'two parts': `${h}.${p}`,
    'four parts': `${token}.${s}`,
    'HS256 with the public key in PEM': hs256(spki as string),
    'HS256 with the public key': hs256(raw),
    'another name of the algorithm': signed({ ...header, alg: 'EdDSA' }, payload, key),
    'alg ES256': signed({ ...header, alg: 'ES256' }, payload, key),
    'alg missing': signed({ typ: header['typ'] }, payload, key),
    'another key': signed(header, payload, other.privateKey),
    'another key, which it brings along': signed(
      { ...header, jwk: other.publicKey.export({ format: 'jwk' }) },
      payload,
      other.privateKey,
    ),
    'another key, by reference': signed(
      { ...header, jku: 'https://example.org/k', kid: '../token.key' },
      payload,
      other.privateKey,
    ),
    'a critical extension': signed({ ...header, crit: ['x'], x: 1 }, payload, key),
    'unencoded payload': signed({ ...header, b64: false, crit: ['b64'] }, payload, key),
    'another type': signed({ ...header, typ: 'JWT' }, payload, key),
    'no type': signed({ alg: header['alg'] }, payload, key),
    'one bit of the payload': `${h}.${p.slice(0, -1)}${p.endsWith('A') ? 'B' : 'A'}.${s}`,
    'one bit of the signature': `${h}.${p}.${s.startsWith('A') ? 'B' : 'A'}${s.slice(1)}`,
    'the signature of another token': `${h}.${p}.${tokens.issue({ ...holder, id: 8 }, alice).token.split('.')[2]}`,
    'another issuer': signed(header, { ...payload, iss: 'n2' }, key),
    'no issuer': signed(header, without('iss'), key),
    'another audience': signed(header, { ...payload, aud: 'n2' }, key),
    'no audience': signed(header, without('aud'), key),
    'no end': signed(header, without('exp'), key),
    'an end that is text': signed(header, { ...payload, exp: '9999999999' }, key),
    'ended a second ago': signed(header, { ...payload, exp: seconds - 1 }, key),
    'not begun': signed(header, { ...payload, nbf: seconds + 1 }, key),
    'no subject': signed(header, without('sub'), key),
    'a subject that is a number': signed(header, { ...payload, sub: 7 }, key),
    'a subject that is no id': signed(header, { ...payload, sub: '7e0' }, key),
    'a subject that is SQL': signed(header, { ...payload, sub: "7' OR 1=1" }, key),
    'no certificate': signed(header, without('cnf'), key),
    'an empty cnf': signed(header, { ...payload, cnf: {} }, key),
    'another confirmation': signed(header, { ...payload, cnf: { jkt: base64url(alice) } }, key),
    'a list of certificates': signed(header, { ...payload, cnf: { 'x5t#S256': [base64url(alice)] } }, key),
    'another certificate': signed(header, { ...payload, cnf: { 'x5t#S256': base64url(mallory) } }, key),
    'the certificate in hex': signed(
      header,
      { ...payload, cnf: { 'x5t#S256': Buffer.from(alice).toString('hex') } },
      key,
    ),
    'no generation': signed(header, without('pwd'), key),
    'a generation that is a number': signed(header, { ...payload, pwd: 7 }, key),
    'a generation that is an object': signed(header, { ...payload, pwd: {} }, key),
    'not an object': signed(header, [payload], key),
    'not JSON': signed(header, base64url(Buffer.from('{')), key),
    'JSON serialisation': JSON.stringify({ protected: h, payload: p, signature: s }),
    empty: '',
    dots: '..',
    'a space behind': `${token} `,
    padding: `${token}=`,
  };
  const messages = new Set<string>();
  for (const [name, forged] of Object.entries(rows)) {
    const error = await tokens.verify(forged, alice).then(
      () => ({ code: 'accepted', message: '' }),
      (e: { code: string; message: string }) => e,
    );
    t.equal(error.code, 'AUTH_FAIL', name);
    messages.add(error.message);
  }
  t.equal(messages.size, 1, 'one answer');
  const elsewhere = new Tokens({ ...options, stateDir: t.testdir({ other: {} }) });
  await t.rejects(elsewhere.verify(token, alice), { code: 'AUTH_FAIL' }, 'a server with another key');
});

t.test('the key outlives a restart, and is its owner’s alone', async (t) => {
  const stateDir = t.testdir();
  const options = { stateDir, issuer: 'n1', lifetimeMs: 600_000, now: () => NOW };
  const { token } = new Tokens(options).issue(holder, alice);
  t.equal((await new Tokens(options).verify(token, alice)).userId, 7);
  const path = join(stateDir, 'token.key');
  t.equal(statSync(path).mode & 0o777, 0o600);
  chmodSync(path, 0o644);
  t.throws(() => new Tokens(options), { code: 'UNSAFE_FILE' });
  chmodSync(path, 0o600);
  writeFileSync(path, 'canary-4711');
  try {
    new Tokens(options);
    t.fail('accepted');
  } catch (error) {
    t.match(error, { code: 'CONFIG_INVALID' });
    t.notMatch(`${String(error)}${JSON.stringify(error)}`, /canary/, 'its content is not quoted');
  }
});
