/** Certificates and keys from files: every kind and every fault, with the reason and what to do next. */
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { daysLeft, expiryWarning, loadIdentity } from '../../client/identity.ts';
import { resolveSettings } from '../../client/settings.ts';
import { authority, DAY_MS, EKU, type Issued, type KeyType } from '../support/pki.ts';

const ca = authority();
const nobody = () => Promise.resolve(null);

function files(t: Test, issued: Issued, root: { readonly pem: string } = ca) {
  const folder = t.testdirName;
  const put = (name: string, text: string | Buffer, mode = 0o600): string => {
    writeFileSync(join(folder, name), text, { mode });
    return join(folder, name);
  };
  return {
    put,
    folder,
    flags: {
      ca_file: put('ca.crt', root.pem),
      cert_file: put('c.crt', issued.pem),
      key_file: put('c.key', issued.keyPem),
    },
  };
}
const load = (
  t: Test,
  flags: Record<string, string>,
  ask: (file: string) => Promise<string | null> = nobody,
  now = Date.now(),
) => loadIdentity(resolveSettings(flags, { CHAT_CLIENT_HOME: t.testdirName }), now, ask);

for (const key of ['ec256', 'rsa2048', 'ed25519'] as const satisfies readonly KeyType[])
  t.test(`${key}: PEM, encrypted PEM, PKCS#12`, async (t) => {
    t.testdir({});
    const issued = ca.client('alice', { key });
    const { flags, put, folder } = files(t, issued);
    t.match(await load(t, flags), { username: 'alice', email: 'alice@example.org' });

    const encrypted = issued.key.export({
      format: 'pem',
      type: 'pkcs8',
      cipher: 'aes-256-cbc',
      passphrase: 'open sesame',
    });
    const locked = { ...flags, key_file: put('locked.key', encrypted as string) };
    await t.rejects(load(t, locked), { code: 'CONFIG_INVALID', message: /is encrypted/ });
    await t.rejects(
      load(t, locked, async () => 'wrong'),
      { code: 'CONFIG_INVALID', message: /passphrase does not open/ },
    );
    t.match(await load(t, locked, async () => 'open sesame'), { username: 'alice' });
    const passphrase = put('passphrase', 'open sesame\n');
    t.match(await load(t, { ...locked, key_passphrase_file: passphrase }), { username: 'alice' });

    const made = spawnSync(
      'openssl',
      [
        'pkcs12',
        '-export',
        '-in',
        flags.cert_file,
        '-inkey',
        flags.key_file,
        '-certfile',
        flags.ca_file,
        '-out',
        join(folder, 'id.p12'),
        '-passout',
        'file:passphrase',
      ],
      { cwd: folder, encoding: 'utf8' },
    );
    t.equal(made.status, 0, made.stderr);
    put('empty', ''); // the file that openssl made is private already, or is made so here
    spawnSync('chmod', ['600', join(folder, 'id.p12')]);
    const p12 = { ca_file: flags.ca_file, p12_file: join(folder, 'id.p12') };
    t.match(await load(t, { ...p12, key_passphrase_file: passphrase }), { username: 'alice' });
    t.match(await load(t, p12, async () => 'open sesame'), { username: 'alice' });
    await t.rejects(
      load(t, p12, async () => 'wrong'),
      { code: 'CONFIG_INVALID', message: /wrong passphrase/ },
    );
  });

t.test('an intermediate authority, beside the certificate or in the CA file', async (t) => {
  t.testdir({});
  const middle = ca.intermediate('Middle CA');
  const issued = middle.client('alice');
  const { flags, put } = files(t, issued);
  await t.rejects(load(t, flags), { code: 'BAD_CERT', sub: 'untrusted' });
  const beside = { ...flags, cert_file: put('chain.crt', issued.pem + middle.pem) };
  t.equal((await load(t, beside)).chain.length, 2);
  t.match(await load(t, { ...flags, ca_file: put('cas.crt', ca.pem + middle.pem) }), { username: 'alice' });
});

t.test('what is refused, before anything is dialled', async (t) => {
  t.testdir({});
  const now = Date.now();
  const other = authority('Test CA');
  const rows: readonly (readonly [string, Issued, string, RegExp])[] = [
    ['expired', ca.client('alice', { notAfter: now - 1000 }), 'expired', /ask your authority for a new certificate/],
    ['not yet valid', ca.client('alice', { notBefore: now + DAY_MS }), 'not_yet_valid', /clock/],
    ['another authority of the same name', other.client('alice'), 'untrusted', /is --ca the authority/],
    ['for servers', ca.client('alice', { eku: [EKU.server] }), 'wrong_eku', /clientAuth/],
    ['for nothing in particular', ca.client('alice', { eku: [] }), 'wrong_eku', /clientAuth/],
    [
      'an authority itself',
      ca.client('alice', { ca: true, keyUsage: [0, 0, 0, 0, 0, 1] }),
      'wrong_usage',
      /a certificate of a person/,
    ],
    [
      'a name with NUL',
      ca.client('alice', { san: ['URI:chat:alice\0admin'] }),
      'malformed',
      /characters that no name may have/,
    ],
    ['two names', ca.client('alice', { san: ['URI:chat:alice', 'URI:chat:bob'] }), 'bad_name', /two chat: names/],
  ];
  for (const [name, issued, sub, next] of rows)
    await t.rejects(load(t, files(t, issued).flags), { code: 'BAD_CERT', sub, message: next }, name);

  const p384 = ca.client('alice', { keyPair: generateKeyPairSync('ec', { namedCurve: 'P-384' }) });
  await t.rejects(load(t, files(t, p384).flags), {
    sub: 'weak_key',
    message: /CN=.*: key is neither .*; ask for one with/,
  });

  const { flags, put } = files(t, ca.client('alice'));
  const both = put('both.crt', `${ca.client('alice').pem}${ca.client('alice').keyPem}`);
  await t.rejects(load(t, { ...flags, cert_file: both }), {
    sub: 'malformed',
    message: /both\.crt: .*only blocks of CERT/,
  });
  const rsa = ca.client('alice').keyPem;
  await t.rejects(load(t, { ...flags, key_file: put('other.key', rsa) }), { code: 'BAD_CERT', sub: 'key_mismatch' });
  await t.rejects(load(t, { ...flags, key_file: put('none.key', 'no key') }), { code: 'CONFIG_INVALID' });
  await t.rejects(load(t, { ...flags, cert_file: put('none.crt', 'no certificate') }), {
    code: /CONFIG_INVALID|BAD_CERT/,
  });
  await t.rejects(load(t, { ...flags, key_file: put('open.key', rsa, 0o640) }), { code: 'UNSAFE_FILE' });
  await t.rejects(load(t, { cert_file: flags.cert_file, key_file: flags.key_file }), {
    code: 'CONFIG_INVALID',
    message: /--ca/,
  });
  await t.rejects(load(t, { ca_file: flags.ca_file }), { code: 'CONFIG_INVALID', message: /--cert/ });
  await t.rejects(load(t, { ca_file: flags.ca_file, cert_file: flags.cert_file }), {
    code: 'CONFIG_INVALID',
    message: /--key/,
  });
  await t.rejects(load(t, { ca_file: flags.ca_file, p12_file: put('x.p12', Buffer.from('junk')) }), {
    code: 'CONFIG_INVALID',
    message: /no PKCS#12 file; give --key-passphrase-file/,
  });
});

t.test('warnings as the end comes near', (t) => {
  const now = 1_700_000_000_000;
  const rows: readonly (readonly [number, RegExp | null])[] = [
    [31, null],
    [30, /in 30 days.*ask the authority/],
    [14, /in 14 days/],
    [7, /in 7 days.*renew it now/],
    [1, /in 1 day .*renew it now/],
    [0, /within a day/],
  ];
  for (const [days, want] of rows) {
    const warning = expiryWarning(now + days * DAY_MS + 1000, now);
    if (want === null) t.equal(warning, null);
    else t.match(warning, want, `${days} days`);
  }
  t.equal(daysLeft(now - 1, now), -1);
  t.end();
});
