import t from 'tap';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import type { Fingerprint, Hash } from '../../base/bytes.ts';
import { verifierKey } from '../../transcript/note.ts';
import {
  agrees,
  endorseKeyStatement,
  formatKeyStatement,
  formatOrigin,
  isEndorsed,
  openKeyStatement,
  parseKeyStatement,
  parseOrigin,
  signKeyStatement,
  type KeyStatement,
} from '../../transcript/key-statement.ts';
import {
  damaged,
  decodesStrictly,
  ed25519,
  filled,
  impostor,
  log,
  logKey,
  origin,
  refuses,
  strangerKey,
  unhex,
  vectors,
} from './sample.ts';

const TEXT: string = vectors.statement.text;
const text = Buffer.from(TEXT);
const server = ed25519(unhex(vectors.statement.seed));
const statement: KeyStatement = {
  log,
  notBefore: vectors.statement.notBefore,
  notAfter: vectors.statement.notAfter,
  serverCertificate: unhex(vectors.statement.serverCertificate) as Uint8Array as Fingerprint,
  previous: null,
  recovery: null,
};

t.test('our vector, made by another program', async (t) => {
  t.equal(formatKeyStatement(statement).toString(), TEXT);
  t.match(parseKeyStatement(text), { ...statement, log: { name: origin, keyId: log.keyId } });
  const signature = signKeyStatement(text, server);
  t.equal(signature.toString('hex'), vectors.statement.signature);
  t.match(openKeyStatement(text, signature, createPublicKey(server)), { notAfter: 2208988800000 });
});

t.test('every kind of certificate key, and none but the right one', async (t) => {
  for (const pair of [
    generateKeyPairSync('ec', { namedCurve: 'prime256v1' }),
    generateKeyPairSync('rsa', { modulusLength: 2048 }),
    generateKeyPairSync('ed25519'),
  ]) {
    const signature = signKeyStatement(text, pair.privateKey);
    t.ok(openKeyStatement(text, signature, pair.publicKey));
    refuses(
      t,
      () => openKeyStatement(text, signature, createPublicKey(server)),
      'SIG_FAIL',
      'log_key',
      'another certificate',
    );
    const other = Buffer.from(TEXT.replace('not-after 2', 'not-after 3'));
    refuses(t, () => openKeyStatement(other, signature, pair.publicKey), 'SIG_FAIL', 'log_key', 'another text');
  }
  const signature = signKeyStatement(text, server);
  signature[0] = 2;
  refuses(
    t,
    () => openKeyStatement(text, signature, createPublicKey(server)),
    'SIG_FAIL',
    'log_key',
    'another algorithm',
  );
  for (const length of [0, 1, 1026])
    refuses(
      t,
      () => openKeyStatement(text, filled(1, length), createPublicKey(server)),
      'BAD_FRAME',
      'statement.signature',
      `${length} bytes`,
    );
});

t.test('rotation: the old key agrees', async (t) => {
  const rotated = formatKeyStatement({ ...statement, log: impostor, previous: log });
  const parsed = parseKeyStatement(rotated);
  t.match(parsed.previous, { name: origin, keyId: log.keyId });
  const endorsement = endorseKeyStatement(rotated, logKey);
  t.equal(endorsement.length, 64);
  t.ok(isEndorsed(parsed, rotated, endorsement));
  t.notOk(isEndorsed(parsed, rotated, endorseKeyStatement(rotated, strangerKey)), 'the new key for the old');
  t.notOk(isEndorsed(parsed, text, endorsement), 'another statement');
  t.notOk(isEndorsed(parseKeyStatement(text), text, endorseKeyStatement(text, logKey)), 'nothing to agree to');
  const second = { ...statement, log: verifierKey(`${origin}/e2`, createPublicKey(strangerKey)), previous: log };
  const recovery = { kept: 3, known: { size: 7, root: Buffer.alloc(32, 9) as Uint8Array as Hash } };
  const begun = formatKeyStatement({ ...second, recovery });
  t.match(parseKeyStatement(begun), { previous: { name: origin }, recovery: { kept: 3, known: { size: 7 } } });
  t.match(begun.toString(), /\nkept 3\nknown 7 \S{43}=\n$/);
  t.ok(agrees(parseKeyStatement(begun), begun, Buffer.alloc(0)), 'the key of the epoch before may be lost');
  t.ok(agrees(parseKeyStatement(begun), begun, endorseKeyStatement(begun, logKey)));
  t.notOk(agrees(parseKeyStatement(begun), begun, endorseKeyStatement(begun, strangerKey)));
  t.notOk(agrees(parsed, rotated, Buffer.alloc(0)), 'within an epoch it must agree');
  const refused = (text: string, field: string) =>
    refuses(t, () => parseKeyStatement(Buffer.from(text)), 'BAD_FRAME', field, text);
  const text2 = begun.toString();
  refuses(t, () => formatKeyStatement(second), 'BAD_FRAME', 'statement.lines', 'a new epoch says what was lost');
  refuses(
    t,
    () => formatKeyStatement({ ...statement, recovery }),
    'BAD_FRAME',
    'statement.lines',
    'the first does not',
  );
  refused(text2.replace('kept 3', 'kept 8'), 'statement.known');
  refused(text2.replace('kept 3', 'kept 03'), 'statement.kept');
  refused(text2.replace('known 7', 'known'), 'statement.known');
  refused(text2.replace(/=\n$/, '= \n'), 'statement.known');
});

t.test('texts that are refused', async (t) => {
  const line = (n: number) => TEXT.split('\n')[n]!;
  const rotated = formatKeyStatement({ ...statement, log: impostor, previous: log }).toString();
  const rows: [name: string, text: string, field: string][] = [
    ['empty', '', 'statement.lines'],
    ['no final newline', TEXT.slice(0, -1), 'statement.lines'],
    ['a line more', `${TEXT}\n`, 'statement.lines'],
    ['CRLF', TEXT.replaceAll('\n', '\r\n'), 'statement.title'],
    ['title', TEXT.replace('v1', 'v2'), 'statement.title'],
    ['lines swapped', TEXT.replace(`${line(3)}\n${line(4)}`, `${line(4)}\n${line(3)}`), 'statement.not-before'],
    ['two spaces', TEXT.replace('not-before ', 'not-before  '), 'statement.not-before'],
    ['leading zero', TEXT.replace('not-after ', 'not-after 0'), 'statement.not-after'],
    ['ends before it begins', TEXT.replace(/not-after \d+/, 'not-after 1'), 'statement.not-after'],
    ['origin in capitals', TEXT.replace('origin chat', 'origin Chat'), 'origin'],
    ["another log's vkey", TEXT.replace('origin chat', 'origin chap'), 'statement.vkey'],
    ['vkey id', TEXT.replace(/\+[0-9a-f]{8}\+/, '+00000000+'), 'vkey.id'],
    [
      'fingerprint in capitals',
      TEXT.replace(/(sha256 .*)/, (s) => s.toUpperCase().replace('SHA256', 'sha256')),
      'statement.server-cert-sha256',
    ],
    ['short fingerprint', TEXT.replace(/(sha256 .*)../, '$1'), 'statement.server-cert-sha256'],
    ['previous neither none nor a key', TEXT.replace('previous none', 'previous None'), 'vkey'],
    ['previous is the same key', TEXT.replace('previous none', `previous ${vectors.log.vkey}`), 'statement.previous'],
    ['too long', `${TEXT}${'x'.repeat(4096)}\n`, 'statement'],
  ];
  for (const [name, broken, field] of rows)
    refuses(t, () => parseKeyStatement(Buffer.from(broken)), 'BAD_FRAME', field, name);
  const foreign = (name: string) => ({
    ...statement,
    log: impostor,
    previous: verifierKey(name, createPublicKey(logKey)),
  });
  for (const name of ['other.example/log/n1', 'chat.example.org/log/n2', 'chat.example.org/log/n1/e2'])
    refuses(t, () => formatKeyStatement(foreign(name)), 'BAD_FRAME', 'statement.previous', `previous of ${name}`);
  const latin = Buffer.concat([text.subarray(0, -1), Buffer.of(0xe8, 0x0a)]);
  refuses(t, () => parseKeyStatement(latin), 'BAD_FRAME', 'statement', 'not UTF-8');
  decodesStrictly(damaged(text, Buffer.from(rotated)), parseKeyStatement, formatKeyStatement);
});

t.test('origins', async (t) => {
  t.strictSame(parseOrigin('chat.example.org/log/n1'), { host: 'chat.example.org', node: 'n1', epoch: 1 });
  t.strictSame(parseOrigin('localhost/log/a-1/e12'), { host: 'localhost', node: 'a-1', epoch: 12 });
  t.equal(formatOrigin({ host: 'chat.example.org', node: 'n1', epoch: 1 }), 'chat.example.org/log/n1');
  t.equal(formatOrigin({ host: 'chat.example.org', node: 'n1', epoch: 2 }), 'chat.example.org/log/n1/e2');
  const label = 'a'.repeat(63);
  for (const bad of [
    '',
    'chat.example.org',
    'chat.example.org/log/',
    '/log/n1',
    'chat.example.org/log/n1/',
    'chat.example.org/log/n1/e1',
    'a/log/n/e0',
    'a/log/n/e02',
    'a/log/n/f2',
    'a..b/log/n',
    '-a/log/n',
    'a-/log/n',
    'a_b/log/n',
    'a/log/N',
    'a/log/n+1',
    'a b/log/n',
    'a/log/n\n',
    'ä.example/log/n',
    `${label}a/log/n`,
    `${[label, label, label, label].join('.')}/log/n`,
    `a/log/${'n'.repeat(33)}`,
    'https://a/log/n',
  ])
    refuses(t, () => parseOrigin(bad), 'BAD_FRAME', 'origin', JSON.stringify(bad));
  refuses(t, () => formatOrigin({ host: 'a', node: 'n', epoch: 0 }), 'BAD_FRAME', 'origin', 'epoch 0');
});
