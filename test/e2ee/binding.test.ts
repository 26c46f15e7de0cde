/** Device bindings: who is accepted as whom, and what is refused. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { sha256 } from '../../base/hash.ts';
import {
  Authority,
  bindingName,
  checkStanding,
  createBinding,
  credentialOf,
  isCurrent,
  openBinding,
  parseCredential,
} from '../../client/e2ee/binding.ts';
import { MAX_BINDING_BYTES, type BindingStatement } from '../../protocol/device-binding.ts';
import { safetyNumber } from '../../client/e2ee/safety-number.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { parseCrls } from '../../x509/crl.ts';
import { authority, DAY_MS, EKU, type Issued, type KeyType } from '../support/pki.ts';

const now = Date.now();
const ca = authority('Test CA', { key: 'ed25519' });
const trust = { organisation: 'corp', roots: [parseCertificate(ca.der)] };
const statement: BindingStatement = {
  organisation: 'corp',
  user: 'alice',
  deviceId: randomBytes(16),
  mlsKey: randomBytes(32),
  notBefore: now - 1000,
  notAfter: now + DAY_MS,
};
const alice = ca.client('alice');
const make = (
  change: Partial<BindingStatement> = {},
  certificate: Issued = alice,
  chain = [certificate.der],
  key = certificate.key,
) => createBinding({ ...statement, ...change }, chain, key);

t.test('with every kind of certificate key', async (t) => {
  for (const key of ['rsa2048', 'ec256', 'ed25519'] satisfies KeyType[]) {
    const certificate = ca.client('alice', { key });
    const binding = make({}, certificate);
    const device = openBinding(binding, trust);
    t.match(
      device,
      { user: 'alice', organisation: 'corp', deviceId: statement.deviceId, mlsKey: statement.mlsKey },
      key,
    );
    t.same(device.bindingHash, sha256(binding));
    t.same(device.certificate, sha256(certificate.der));
    t.ok(binding.length < 2048, `${key}: ${binding.length} bytes`);
  }
  const below = ca.intermediate('Office CA');
  const certificate = below.client('alice');
  t.equal(
    openBinding(make({}, certificate, [certificate.der, below.der]), trust).user,
    'alice',
    'over an intermediate',
  );
  t.equal(openBinding(make({}, certificate), { ...trust, intermediates: [parseCertificate(below.der)] }).user, 'alice');
});

t.test('refused', async (t) => {
  const ed = ca.client('alice', { key: 'ed25519' });
  const rows: [string, () => Uint8Array, { code: string; sub?: string; field?: string }][] = [
    [
      'a foreign authority',
      () => make({}, authority('Test CA').client('alice')),
      { code: 'BAD_CERT', sub: 'untrusted' },
    ],
    ['another person’s certificate', () => make({}, ca.client('bob')), { code: 'BAD_CERT', sub: 'bad_name' }],
    [
      'a server’s certificate',
      () => make({}, ca.issue({ eku: [EKU.server], san: ['URI:chat:alice'], cn: 'alice' })),
      { code: 'BAD_CERT', sub: 'wrong_eku' },
    ],
    ['another organisation', () => make({ organisation: 'rival' }), { code: 'SIG_FAIL', sub: 'binding' }],
    ['longer than the certificate', () => make({ notAfter: now + 91 * DAY_MS }), { code: 'SIG_FAIL', sub: 'binding' }],
    [
      'signed by another key',
      () => make({}, alice, [alice.der], ca.client('alice').key),
      { code: 'SIG_FAIL', sub: 'binding' },
    ],
    [
      'another certificate of the same person',
      () => swapped(make({}, ed), ed.der, ca.client('alice', { key: 'ed25519' }).der),
      { code: 'SIG_FAIL', sub: 'binding' },
    ],
    [
      'another key in it',
      () => swapped(make(), statement.mlsKey, randomBytes(32)),
      { code: 'SIG_FAIL', sub: 'binding' },
    ],
    [
      'another device in it',
      () => swapped(make(), statement.deviceId, randomBytes(16)),
      { code: 'SIG_FAIL', sub: 'binding' },
    ],
    [
      'another name in it',
      () => swapped(make(), Buffer.from('\x05alice'), Buffer.from('\x05malic')),
      { code: 'SIG_FAIL', sub: 'binding' },
    ],
    [
      'another version',
      () => swapped(make(), Buffer.from('chat-db1'), Buffer.from('chat-db2')),
      { code: 'BAD_FRAME', field: 'binding.statement' },
    ],
    ['bytes after the end', () => Buffer.concat([make(), Buffer.of(0)]), { code: 'BAD_FRAME', field: 'binding' }],
    ['cut short', () => make().subarray(0, -1), { code: 'BAD_FRAME', field: 'binding' }],
    ['too large', () => Buffer.alloc(MAX_BINDING_BYTES + 1), { code: 'TOO_LARGE', field: 'binding' }],
  ];
  for (const [name, bytes, is] of rows) t.throws(() => openBinding(bytes(), trust), is, name);
});

t.test('a binding is for one certificate, not for every one of the same key', async (t) => {
  const keyPair = generateKeyPairSync('ed25519');
  const [old, renewed] = [ca.client('alice', { keyPair }), ca.client('alice', { keyPair })];
  t.throws(() => openBinding(swapped(make({}, old), old.der, renewed.der), trust), {
    code: 'SIG_FAIL',
    sub: 'binding',
    message: /another certificate/,
  });
});

t.test('a credential stands for its binding, its key and its device, and for nothing else', async (t) => {
  const binding = make();
  const device = openBinding(binding, trust);
  const service = new Authority({ ...trust, bindings: new Map([[bindingName(binding), binding]]) });
  const credential = credentialOf(device);
  t.same(service.resolve(credential, statement.mlsKey), device);
  t.throws(
    () => service.resolve(credential, randomBytes(32)),
    { code: 'SIG_FAIL', sub: 'credential' },
    'copied, with another key',
  );
  const as = (change: object) => credentialOf({ ...device, ...change });
  t.throws(() => service.resolve(as({ user: 'bob' }), statement.mlsKey), { code: 'SIG_FAIL', sub: 'credential' });
  t.throws(() => service.resolve(as({ deviceId: randomBytes(16) }), statement.mlsKey), {
    code: 'SIG_FAIL',
    sub: 'credential',
  });
  t.equal(service.resolve(as({ bindingHash: randomBytes(32) }), statement.mlsKey), null, 'not there yet');
  const wrong = new Authority({ ...trust, bindings: new Map([[bindingName(binding), make()]]) });
  t.throws(
    () => wrong.resolve(as({ bindingHash: sha256(binding) }), statement.mlsKey),
    { code: 'SIG_FAIL', sub: 'credential' },
    'a forged one under the name',
  );
  t.throws(() => parseCredential({ credentialType: 'x509', certificates: [alice.der] }), {
    code: 'BAD_CERT',
    sub: 'malformed',
  });
  t.throws(
    () => parseCredential({ credentialType: 'basic', identity: Buffer.alloc(49, 1) }),
    { code: 'BAD_CERT', sub: 'malformed' },
    'no name',
  );
  t.throws(() => parseCredential({ credentialType: 'basic', identity: Buffer.alloc(60, 2) }), {
    code: 'BAD_CERT',
    sub: 'malformed',
  });
});

t.test('time and revocation count where somebody is let in, not where a group is read', async (t) => {
  const device = openBinding(make(), trust);
  t.ok(isCurrent(device, now));
  t.notOk(isCurrent(device, now + 2 * DAY_MS));
  t.notOk(isCurrent(device, now - 2000));
  t.doesNotThrow(() => checkStanding(device, trust, parseCrls(Buffer.from(ca.crl([]))), now));
  t.throws(() => checkStanding(device, trust, [], now + 2 * DAY_MS), { code: 'BAD_CERT', sub: 'expired' });
  t.throws(() => checkStanding(device, trust, [], now - 2000), { code: 'BAD_CERT', sub: 'not_yet_valid' });
  const crls = parseCrls(Buffer.from(ca.crl([alice])));
  t.throws(() => checkStanding(device, trust, crls, now), { code: 'BAD_CERT', sub: 'revoked' });
});

t.test('any bytes give a device or a named refusal', async (t) => {
  const binding = make();
  const seed = process.env['FUZZ'] ? {} : { seed: 7 };
  fc.assert(
    fc.property(fc.nat(binding.length - 1), fc.integer({ min: 1, max: 255 }), (at, bits) => {
      const bytes = Buffer.from(binding);
      bytes[at]! ^= bits;
      try {
        openBinding(bytes, trust);
        return false;
      } catch (error) {
        return ['BAD_FRAME', 'SIG_FAIL', 'BAD_CERT', 'TOO_LARGE'].includes((error as { code?: string }).code ?? '');
      }
    }),
    { numRuns: process.env['FUZZ'] ? 20_000 : 200, ...seed },
  );
  t.pass();
});

t.test('the safety number', async (t) => {
  const keys = Array.from({ length: 3 }, (_, i) => sha256(Buffer.of(i)));
  const a = { user: 'alice', certificateKeyHashes: [keys[0]!, keys[1]!] };
  const b = { user: 'bob', certificateKeyHashes: [keys[2]!] };
  const number = safetyNumber(a, b);
  t.match(number, /^\d{60}$/);
  t.equal(safetyNumber(b, a), number, 'the same on both sides');
  t.equal(
    safetyNumber({ ...a, certificateKeyHashes: [keys[1]!, keys[0]!, keys[1]!] }, b),
    number,
    'order and doubles do not matter',
  );
  t.not(safetyNumber({ ...a, certificateKeyHashes: [keys[0]!] }, b), number);
  t.not(safetyNumber({ ...a, user: 'alicia' }, b), number);
});

function swapped(bytes: Buffer, from: Uint8Array, to: Uint8Array): Buffer {
  const at = bytes.indexOf(from);
  if (at < 0) throw new Error('not there');
  return Buffer.concat([bytes.subarray(0, at), to, bytes.subarray(at + from.length)]);
}
