/** The three ways to a shared secret, each by itself. What peers may send is also in handshake.test.ts and test/wycheproof/. */
import { createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto';
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import {
  agree,
  CLIENT_SHARE_BYTES,
  ephemeral,
  ffdhe3072,
  ffdhe3072PrivateKey,
  FFDHE3072_P,
  offerOf,
  publicShare,
  respond,
  SERVER_SHARE_BYTES,
  x25519,
  type Share,
} from '../../protocol/key-exchange.ts';

const P = BigInt(`0x${hex(FFDHE3072_P)}`);
const number = (n: bigint) => Buffer.from(n.toString(16).padStart(768, '0'), 'hex');
const power = (base: bigint, exponent: bigint): bigint => {
  let result = 1n;
  for (let b = base % P, e = exponent; e > 0n; e >>= 1n, b = (b * b) % P) if (e & 1n) result = (result * b) % P;
  return result;
};

t.test('the prime is that of RFC 7919: 2^3072 - 2^3008 + (floor(2^2942 e) + 2625351) 2^64 - 1', async (t) => {
  const bits = 3200n;
  let e = 0n;
  for (let i = 1n, term = 1n << bits; term > 0n; term /= i++) e += term;
  t.equal(P, (1n << 3072n) - (1n << 3008n) + (((e >> (bits - 2942n)) + 2_625_351n) << 64n) - 1n);
});

t.test('both sides agree', async (t) => {
  for (const [suite, ikmBytes] of [
    [1, 64],
    [2, 32],
    [3, 384],
  ] as const) {
    const offer = ephemeral([suite]);
    const answer = respond(suite, offer.shares);
    for (const share of Object.keys(offer.shares) as Share[]) {
      t.equal(offer.shares[share]?.length, CLIENT_SHARE_BYTES[share], `suite ${suite} offers ${share}`);
      t.equal(answer.shares[share]?.length, SERVER_SHARE_BYTES[share], `and is answered`);
    }
    t.strictSame(Object.keys(answer.shares).sort(), Object.keys(offer.shares).sort());
    const ours = agree(suite, offer.privateKeys, answer.shares).use(hex);
    t.equal(ours, answer.ikm.use(hex));
    t.equal(ours.length, 2 * ikmBytes);
    t.not(respond(suite, offer.shares).ikm.use(hex), ours, 'fresh each time');
  }
  t.strictSame(Object.keys(ephemeral([1, 2, 3]).shares).sort(), ['ffdhe3072', 'mlkem768', 'x25519']);
  t.not(hex(ephemeral([2]).random), hex(ephemeral([2]).random));
});

t.test('the hybrid secret is ML-KEM first and X25519 second, both of them', async (t) => {
  const offer = ephemeral([1]);
  const answer = respond(1, offer.shares);
  const classical = agree(2, offer.privateKeys, answer.shares).use(hex);
  const both = agree(1, offer.privateKeys, answer.shares).use(hex);
  t.equal(both.slice(64), classical);
  t.not(both.slice(0, 64), classical);
});

t.test('RFC 7748 §6.1', async (t) => {
  const key = (seed: string) =>
    createPrivateKey({ key: Buffer.from(seed, 'hex'), format: 'raw-private', asymmetricKeyType: 'x25519' });
  const alice = key('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a');
  const bob = key('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb');
  t.equal(hex(publicShare('x25519', alice)), '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
  const shared = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';
  t.equal(x25519(alice, publicShare('x25519', bob)).use(hex), shared);
  t.equal(x25519(bob, publicShare('x25519', alice)).use(hex), shared);
});

t.test('ffdhe3072 against arithmetic, with small numbers and leading zeros', async (t) => {
  const exponent = BigInt(`0x${'5a'.repeat(34)}`);
  const own = ffdhe3072PrivateKey(Buffer.from(exponent.toString(16), 'hex'));
  t.strictSame(publicShare('ffdhe3072', own), number(power(2n, exponent)));
  for (const peer of [2n, 3n, 255n, 1n << 64n, P - 2n, P - 3n, P >> 9n])
    t.equal(
      ffdhe3072(own, number(peer)).use(hex),
      hex(number(power(peer, exponent))),
      `peer ${peer.toString(16).slice(0, 8)}`,
    );
  // A small exponent makes a small public value: 2^(2^9), 384 bytes all the same.
  const small = ffdhe3072PrivateKey(Buffer.from([0x02, 0x00]));
  t.strictSame(publicShare('ffdhe3072', small), number(1n << 512n));
  t.equal(ffdhe3072(small, number(2n)).use(hex), hex(number(1n << 512n)), 'a secret with 320 zeros in front');
});

t.test('only the fixed group, only the range', async (t) => {
  const own = ffdhe3072PrivateKey(Buffer.alloc(34, 0x5a));
  for (const [name, share] of [
    ['0', number(0n)],
    ['1', number(1n)],
    ['p-1', number(P - 1n)],
    ['p', number(P)],
    ['p+1', number(P + 1n)],
    ['383 bytes', number(5n).subarray(1)],
    ['385 bytes', Buffer.concat([Buffer.alloc(1), number(5n)])],
    ['nothing', undefined],
  ] as const)
    t.throws(
      () => ffdhe3072(own, share),
      // The message tells our check from OpenSSL's, which would refuse them later.
      { code: 'DH_FAIL', sub: 'share', field: 'ffdhe3072', message: share?.length === 384 ? /2\.\.p-2/ : /384 bytes/ },
      name,
    );
  const group = createPublicKey(own).export({ format: 'der', type: 'spki' });
  t.ok(group.includes(FFDHE3072_P));
  t.ok(diffieHellman({ privateKey: own, publicKey: createPublicKey(own) }), 'OpenSSL takes the key for what it is');
});

t.test('an offer can be made from given keys', async (t) => {
  const offer = ephemeral([1, 3]);
  t.strictSame(offerOf(offer.suites, offer.random, offer.privateKeys), offer);
});

t.test('whether a share is taken or refused, errors elsewhere have their stacks', async (t) => {
  const before = Error.stackTraceLimit;
  const { shares } = ephemeral([1]);
  respond(1, shares);
  t.equal(Error.stackTraceLimit, before);
  for (const bad of [
    { ...shares, x25519: Buffer.alloc(32) },
    { ...shares, mlkem768: Buffer.alloc(1184, 0xff) },
  ])
    t.throws(() => respond(1, bad), { code: 'DH_FAIL', sub: 'share', cause: Error });
  t.equal(Error.stackTraceLimit, before);
});
