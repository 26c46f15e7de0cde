/** Time-stamp tokens: those of openssl for each kind of key, and every rule broken by itself in tokens that are written octet by octet. */
import { createHash, createPublicKey } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { parseCertificate, parsePem } from '../../x509/certificate.ts';
import { parseCrl } from '../../x509/crl.ts';
import { answerWith, keptToken, MAX_ANSWER_BYTES, timeStampRequest, tokenIn } from '../../x509/time-stamp-request.ts';
import { MAX_TOKEN_BYTES, openTimeStamp, trustTimeStamp } from '../../x509/time-stamp.ts';
import { localTsa } from '../support/tsa.ts';
import {
  attribute,
  essCertId,
  generalized,
  hashAlgorithm,
  stampAuthority,
  stamping,
  tokenOver,
  type TokenShape,
} from '../support/token-writer.ts';
import {
  DAY,
  ec,
  EKU,
  eku,
  ext,
  int,
  keyUsage,
  list,
  make,
  named,
  NOW,
  octets,
  oid,
  seq,
  set,
  tlv,
  TRUE,
} from './maker.ts';

t.setTimeout(240_000); // a busy machine is no failure
const DATA = Buffer.from('a checkpoint');
const digest = createHash('sha256').update(DATA).digest();
const { root, signer } = stampAuthority(NOW - DAY, NOW + DAY);
const good: TokenShape = { time: NOW, signer, issuer: root };
const token = (shape: Partial<TokenShape> = {}) => tokenOver(DATA, { ...good, ...shape });
const roots = [parseCertificate(root.der)];
const iso = '20260615000000';

t.test('openssl', async (t) => {
  t.testdir({});
  for (const kind of ['rsa:2048', 'P-256', 'P-384'] as const) {
    const dir = join(t.testdirName, kind.replace(':', '-'));
    mkdirSync(dir, { recursive: true });
    const tsa = localTsa(dir, kind);
    const nonce = Buffer.from('0102030405060708', 'hex');
    const answer = tsa.answer(timeStampRequest(digest, nonce));
    const stamp = openTimeStamp(tokenIn(answer));
    t.same(stamp.imprint, digest, kind);
    t.same(stamp.nonce, nonce);
    t.equal(stamp.accuracyMs, 1500);
    t.ok(Math.abs(stamp.time - Date.now()) < 60_000, 'its clock is ours');
    trustTimeStamp(stamp, parsePem(readFileSync(tsa.ca, 'latin1')), []);
    t.throws(() => trustTimeStamp(stamp, roots, []), { code: 'BAD_CERT' }, 'by this authority alone');
    t.same(keptToken(answerWith(tokenIn(answer))), tokenIn(answer));
    writeFileSync(join(dir, 'data'), DATA);
    writeFileSync(join(dir, 'tsr'), answerWith(tokenIn(answer)));
    const said = execFileSync(
      'openssl',
      ['ts', '-verify', '-data', join(dir, 'data'), '-in', join(dir, 'tsr'), '-CAfile', tsa.ca],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    t.match(said.toString(), 'Verification: OK', 'and openssl takes what we kept');
  }
});

t.test('what opens', async (t) => {
  const time = (text: string, ...more: Buffer[]) => openTimeStamp(token({ tail: [generalized(text), ...more] }));
  t.same(
    { ...openTimeStamp(token()), signer: null, certificates: null, nonce: null },
    {
      imprint: digest,
      nonce: null,
      time: NOW,
      accuracyMs: 0,
      signer: null,
      certificates: null,
    },
  );
  t.equal(time(`${iso}.25Z`).time, NOW + 250, 'a fraction');
  t.equal(time(`${iso}.0009Z`).time, NOW, 'cut off below a millisecond');
  const accuracy = (...parts: Buffer[]) => time(`${iso}Z`, seq(...parts)).accuracyMs;
  t.equal(accuracy(int(2), tlv(0x80, Buffer.of(5)), tlv(0x81, Buffer.of(1))), 2006, 'rounded up');
  t.equal(accuracy(), 0);
  t.equal(time(`${iso}Z`, TRUE).time, NOW, 'ordering');
  t.equal(time(`${iso}Z`, tlv(0xa0, tlv(0xa4, named('TSA')))).time, NOW, 'the name of the authority');
  t.equal(time(`${iso}Z`, tlv(0xa1, ext('1.2.3', octets()))).time, NOW, 'an extension that may be ignored');
  for (const hash of ['sha384', 'sha512'] as const) t.ok(openTimeStamp(token({ digest: hash })), hash);
  t.ok(
    openTimeStamp(
      token({
        bound: seq(seq(seq(hashAlgorithm('sha256'), octets(createHash('sha256').update(signer.der).digest())))),
      }),
    ),
    'its hash is named',
  );
  const place = (serial: number) => seq(seq(tlv(0xa4, root.subject)), int(serial));
  t.ok(openTimeStamp(token({ bound: essCertId(signer.der, place(signer.serial)) })), 'issuer and serial number');
  t.throws(() => openTimeStamp(token({ bound: essCertId(signer.der, place(9)) })), { code: 'SIG_FAIL' }, 'of another');
  t.ok(
    openTimeStamp(token({ certificates: [root.der, signer.der, seq(int(1))] })),
    'certificates in any order, and one that is none',
  );
});

const other = make(root, { pair: signer.pair, subject: named('Time 2'), from: NOW - DAY, until: NOW + DAY });
const MALFORMED: readonly (readonly [why: string, shape: Partial<TokenShape>])[] = [
  ['another version of SignedData', { version: 1 }],
  ['content of another type', { contentType: '1.2.840.113549.1.7.1' }],
  ['no signer', { signers: () => [] }],
  ['two signers', { signers: (info) => [info, info] }],
  ['a version that does not fit the name', { signerVersion: 3 }],
  ['the certificate is not in it', { certificates: [root.der] }],
  ['no certificate at all', { certificates: [] }],
  ['a signer of another name', { sid: seq(named('Nobody'), int(signer.serial)) }],
  ['a key id that nobody has', { sid: tlv(0x80, Buffer.alloc(20)), signerVersion: 3 }],
  ['17 certificates', { certificates: Array.from({ length: 17 }, () => signer.der) }],
  ['nothing binds the certificate', { bound: null }],
  ['an attribute twice', { attributes: (all) => [...all, all[0]!] }],
  ['an attribute with two values', { attributes: ([a, ...rest]) => [attribute('1.2.3', int(1), int(2)), a!, ...rest] }],
  ['no content type', { attributes: (all) => all.slice(1) }],
  ['another content type', { attributes: (all) => all.with(0, attribute('1.2.840.113549.1.9.3', oid('1.2.3'))) }],
  ['no digest', { attributes: ([a, , c]) => [a!, c!] }],
  [
    '33 attributes',
    { attributes: (all) => [...all, ...Array.from({ length: 30 }, (_, i) => attribute(`1.2.${i}`, int(1)))] },
  ],
  ['TSTInfo of version 2', { head: [int(2), oid('1.2.3.4.1'), seq(hashAlgorithm('sha256'), octets(digest))] }],
  ['a digest of SHA-512', { head: [int(1), oid('1.2.3.4.1'), seq(hashAlgorithm('sha512'), octets(digest, digest))] }],
  [
    'a digest too short',
    { head: [int(1), oid('1.2.3.4.1'), seq(hashAlgorithm('sha256'), octets(digest.subarray(1)))] },
  ],
  ['a local time', { tail: [generalized(`${iso}+0100`)] }],
  ['zeros behind a fraction', { tail: [generalized(`${iso}.50Z`)] }],
  ['a fraction of nothing', { tail: [generalized(`${iso}.Z`)] }],
  ['no such day', { tail: [generalized('20260231000000Z')] }],
  ['an accuracy of days', { tail: [generalized(`${iso}Z`), seq(tlv(2, Buffer.from([2, 0, 0])))] }],
  ['1000 milliseconds', { tail: [generalized(`${iso}Z`), seq(tlv(0x80, Buffer.from([3, 0xe8])))] }],
  ['ordering: the default', { tail: [generalized(`${iso}Z`), tlv(1, Buffer.of(0))] }],
  ['a critical extension', { tail: [generalized(`${iso}Z`), tlv(0xa1, ext('1.2.3', octets(), true))] }],
  ['more behind it', { tail: [generalized(`${iso}Z`), int(9), int(9)] }],
];
t.test('malformed', async (t) => {
  for (const [why, shape] of MALFORMED)
    t.throws(() => openTimeStamp(token(shape)), { code: 'BAD_CERT', sub: 'malformed' }, why);
  t.throws(
    () => openTimeStamp(Buffer.alloc(MAX_TOKEN_BYTES + 1, 0x30)),
    { code: 'BAD_CERT', sub: 'malformed' },
    'too long',
  );
  t.throws(
    () => openTimeStamp(Buffer.concat([token(), Buffer.of(0)])),
    { code: 'BAD_CERT', sub: 'malformed' },
    'a byte behind it',
  );
  t.throws(
    () => openTimeStamp(seq(oid('1.2.840.113549.1.7.1'), tlv(0xa0, octets()))),
    { code: 'BAD_CERT', sub: 'malformed' },
    'no SignedData',
  );
  const bytes = token();
  for (let end = 0; end < bytes.length; end += 7)
    t.throws(() => openTimeStamp(bytes.subarray(0, end)), { code: 'BAD_CERT' }, `cut at ${end}`);
});

t.test('weak', async (t) => {
  t.throws(() => openTimeStamp(token({ digest: 'sha1' })), { code: 'BAD_CERT', sub: 'weak_key' }, 'SHA-1');
  const bound = seq(seq(seq(hashAlgorithm('sha1'), octets(createHash('sha1').update(signer.der).digest()))));
  t.throws(() => openTimeStamp(token({ bound })), { code: 'BAD_CERT', sub: 'weak_key' }, 'bound by SHA-1');
  // A signature of this key takes 24 ms to judge, a hundred times as long as others; that it is wrong would be found after that.
  const jwk = { kty: 'RSA', n: `wA${'B'.repeat(510)}`, e: `fw${'B'.repeat(510)}` };
  const slow = { publicKey: createPublicKey({ key: jwk, format: 'jwk' }), privateKey: signer.pair.privateKey };
  const byItsKey = { pair: slow, subject: named('Time'), from: NOW - DAY, until: NOW + DAY };
  t.throws(
    () => openTimeStamp(token({ signer: make(root, byItsKey) })),
    { code: 'BAD_CERT', sub: 'weak_key' },
    'a key that no CA may have is not worked with',
  );
});

t.test('not signed', async (t) => {
  const refused = (shape: Partial<TokenShape>, why: string) =>
    t.throws(() => openTimeStamp(token(shape)), { code: 'SIG_FAIL', sub: 'time_stamp' }, why);
  refused({ key: ec().privateKey }, 'by another key');
  refused({ signature: (s) => Buffer.concat([s.subarray(0, -1), Buffer.of(s.at(-1)! ^ 1)]) }, 'another signature');
  refused(
    { content: (info) => Buffer.concat([info.subarray(0, -2), Buffer.of(info.at(-2)! ^ 1), info.subarray(-1)]) },
    'another content',
  );
  refused({ bound: essCertId(other.der) }, 'bound to another certificate of the same key');
});

t.test('who may stamp', async (t) => {
  const trusts = (extensions: Buffer[], at?: number, reason: number | undefined = 4) => {
    const by = make(root, { pair: ec(), subject: named('Time'), from: NOW - DAY, until: NOW + DAY, extensions });
    const stamp = openTimeStamp(token({ signer: by, time: at ?? NOW }));
    trustTimeStamp(stamp, roots, [list(root, { revoked: [[by.serial, NOW + 1000, reason]] })].map(parseCrl));
  };
  trusts([keyUsage(0), stamping()]);
  trusts([keyUsage(1), stamping()]);
  trusts([stamping()]);
  const refused = (sub: string, why: string, ...args: Parameters<typeof trusts>) =>
    t.throws(() => trusts(...args), { code: 'BAD_CERT', sub }, why);
  refused('wrong_eku', 'not critical', [keyUsage(0), eku('1.3.6.1.5.5.7.3.8')]);
  refused('wrong_eku', 'for something else as well', [keyUsage(0), stamping(EKU.client)]);
  refused('wrong_eku', 'for something else', [keyUsage(0), eku(EKU.client)]);
  refused('wrong_eku', 'for nothing in particular', [keyUsage(0)]);
  refused('wrong_usage', 'may not sign', [keyUsage(2), stamping()]);
  refused('expired', 'after its end', [keyUsage(0), stamping()], NOW + 2 * DAY);
  refused('revoked', 'after its revocation', [keyUsage(0), stamping()], NOW + 2000);
  refused('revoked', 'before its key was in other hands', [keyUsage(0), stamping()], NOW, 1);
  const early = openTimeStamp(token({ time: NOW - 2 * DAY }));
  t.throws(() => trustTimeStamp(early, roots, []), { code: 'BAD_CERT', sub: 'not_yet_valid' });
  trustTimeStamp(early, roots, [], NOW);
});

t.test('requests and answers', async (t) => {
  t.throws(() => timeStampRequest(digest, Buffer.of(0)), RangeError, 'a nonce of zero');
  t.throws(() => timeStampRequest(digest, Buffer.of(0x80)), RangeError, 'a negative one');
  t.throws(() => timeStampRequest(digest.subarray(1), Buffer.of(1)), RangeError);
  const status = (value: number, ...more: Buffer[]) => seq(int(value), ...more);
  const one = token();
  t.same(tokenIn(seq(status(1), one)), one, 'granted with changes');
  t.throws(() => tokenIn(seq(status(2), token())), { code: 'UNAVAILABLE', sub: 'refused' });
  t.throws(() => tokenIn(seq(status(2))), { code: 'UNAVAILABLE', sub: 'refused' }, 'and no token');
  t.throws(() => tokenIn(seq(status(0))), { code: 'BAD_CERT', sub: 'malformed' }, 'granted without a token');
  t.throws(() => tokenIn(seq(status(0), token(), token())), { code: 'BAD_CERT', sub: 'malformed' });
  t.throws(() => tokenIn(Buffer.alloc(MAX_ANSWER_BYTES + 1, 0x30)), { code: 'BAD_CERT', sub: 'malformed' });
  t.throws(
    () => keptToken(seq(status(0, seq(tlv(0x0c, Buffer.from('fine')))), token())),
    { code: 'BAD_CERT', sub: 'malformed' },
    'words beside it',
  );
  t.throws(() => keptToken(seq(status(1), token())), { code: 'BAD_CERT', sub: 'malformed' });
  t.throws(() => keptToken(set(status(0), token())), { code: 'BAD_CERT', sub: 'malformed' });
});
