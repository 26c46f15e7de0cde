/** The passphrase of the vault: what opens it, what does not, and a kill at every step of a change. */
import { spawnSync } from 'node:child_process';
import type { KeyObject } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { decode, encode } from '../../base/cbor.ts';
import { ChatError } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import { isWrapped, keyPath, setPassphrase, unwrappedKey } from '../../client/vault-key.ts';
import { Vault } from '../../client/vault.ts';

const OLD = 'the old passphrase';
const NEW = 'the new passphrase';
const secret = (text: string): Secret => new Secret(Buffer.from(text));
const ACCOUNT = { username: 'alice', email: 'alice@example.org', server: 'localhost:6000' };

/** A vault with something in it, and its key as it was made. */
function profile(t: Test, name = 'p'): { folder: string; path: string; key: Buffer } {
  const folder = join(t.testdirName, name);
  const vault = Vault.open(folder);
  vault.profile.setAccount(ACCOUNT);
  vault.close();
  const path = keyPath(folder);
  return { folder, path, key: readFileSync(path) };
}
/** What a passphrase makes of the bytes of a key file is the same each time, and costs a fifth of a second. */
const unwrapped = new Map<string, Promise<KeyObject>>();
function keyOf(path: string, passphrase: string): Promise<KeyObject> {
  const name = `${passphrase} ${readFileSync(path).toString('hex')}`;
  const key = unwrapped.get(name) ?? unwrappedKey(path, secret(passphrase));
  unwrapped.set(name, key);
  return key;
}
async function opens(folder: string, passphrase: string | null): Promise<boolean> {
  try {
    const key = passphrase === null ? null : await keyOf(keyPath(folder), passphrase);
    const vault = Vault.open(folder, key);
    const isSame = vault.profile.account()?.username === 'alice';
    vault.close();
    return isSame;
  } catch (error) {
    if (error instanceof ChatError && ['WRONG_PASSPHRASE', 'VAULT_LOCKED', 'USAGE'].includes(error.code)) return false;
    throw error;
  }
}
const fieldsOf = (path: string): Record<string, unknown> =>
  Object.fromEntries(decode(readFileSync(path)) as Map<string, unknown>);
/** Names of files of the profile that hold the key as it is. */
const holding = (folder: string, key: Buffer): string[] =>
  readdirSync(folder).filter((name) => readFileSync(join(folder, name)).includes(key));

t.test('set, change, remove', async (t) => {
  t.testdir({});
  const { folder, path, key } = profile(t);
  t.notOk(isWrapped(path));
  const old = openSync(path, 'r');
  t.teardown(() => closeSync(old));
  t.equal(await setPassphrase(path, null, secret(OLD)), false);
  t.ok(isWrapped(path));
  t.strictSame(holding(folder, key), []);
  const bytes = Buffer.alloc(32, 1);
  readSync(old, bytes, 0, 32, 0);
  t.strictSame(bytes, Buffer.alloc(32), 'the file of before was overwritten');
  t.ok(await opens(folder, OLD));
  t.throws(() => Vault.open(folder), { code: 'VAULT_LOCKED' });
  await t.rejects(unwrappedKey(path, secret(NEW)), { code: 'WRONG_PASSPHRASE' });
  await t.rejects(setPassphrase(path, secret(NEW), secret('whatever it is')), { code: 'WRONG_PASSPHRASE' });
  await t.rejects(setPassphrase(path, null, secret(NEW)), { code: 'VAULT_LOCKED' });
  t.ok(await opens(folder, OLD), 'as it was');

  const first = fieldsOf(path) as Record<string, Uint8Array>;
  t.match(first, { v: 1, kdf: 'argon2id$m=65536,t=3,p=1' });
  const database = readFileSync(join(folder, 'vault.db'));
  await setPassphrase(path, secret(OLD), secret(NEW));
  const second = fieldsOf(path) as Record<string, Uint8Array>;
  t.not(Buffer.compare(first['salt']!, second['salt']!), 0, 'a salt of its own');
  t.strictSame(readFileSync(join(folder, 'vault.db')), database, 'nothing is encrypted anew');
  t.strictSame([await opens(folder, OLD), await opens(folder, NEW)], [false, true]);

  await setPassphrase(path, secret(NEW), null);
  t.strictSame(readFileSync(path), key);
  t.ok(await opens(folder, null));
  await t.rejects(setPassphrase(path, secret(NEW), null), { code: 'USAGE' });
});

t.test('a key file that somebody changed', async (t) => {
  t.testdir({});
  const { path } = profile(t);
  await setPassphrase(path, null, secret(OLD));
  const good = fieldsOf(path);
  const put = (change: Record<string, unknown>): void =>
    writeFileSync(path, encode({ ...good, ...change } as never), { mode: 0o600 });
  for (const kdf of [
    'argon2id$m=1024,t=3,p=1',
    'argon2id$m=65536,t=1,p=1',
    'argon2id$m=99999999,t=3,p=1',
    'none',
    'md5$i=1',
  ]) {
    put({ kdf });
    await t.rejects(unwrappedKey(path, secret(OLD)), { code: 'STORE_FAILED' }, kdf);
  }
  put({ kdf: 'argon2id$m=32768,t=3,p=1' });
  await t.rejects(unwrappedKey(path, secret(OLD)), { code: 'WRONG_PASSPHRASE' }, 'another cost than it was wrapped at');
  for (const change of [{ v: 2 }, { salt: Buffer.alloc(8) }, { sealed: Buffer.alloc(59) }, { more: 1 }]) {
    put(change);
    await t.rejects(unwrappedKey(path, secret(OLD)), { code: 'STORE_FAILED' }, JSON.stringify(change));
  }
  writeFileSync(path, Buffer.alloc(31, 0x61), { mode: 0o600 });
  t.throws(() => isWrapped(path), { code: 'STORE_FAILED' });
  put({});
  t.ok(isWrapped(path));
  if (process.platform !== 'win32') {
    chmodSync(path, 0o644);
    t.throws(() => isWrapped(path), { code: 'UNSAFE_FILE' });
  }
});

t.test('another name for the old key file is left alone, and said', async (t) => {
  t.testdir({});
  const { folder, path, key } = profile(t);
  const backup = join(t.testdirName, 'backup.key');
  linkSync(path, backup);
  t.equal(await setPassphrase(path, null, secret(OLD)), true);
  t.strictSame(readFileSync(backup), key);
  t.strictSame(holding(folder, key), []);
});

const child = fileURLToPath(new URL('vault-key-child.ts', import.meta.url));
for (const [what, before, after] of [
  ['set', null, NEW],
  ['change', OLD, NEW],
  ['remove', OLD, null],
] as const)
  t.test(`${what}: killed before each call of the file system, one of the two opens it`, async (t) => {
    t.testdir({});
    const seen = new Set<string>();
    const { folder: made, path: madePath, key } = profile(t);
    if (before !== null) await setPassphrase(madePath, null, secret(before));
    for (let at = 0; ; at++) {
      const folder = join(t.testdirName, `p${at}`);
      const path = keyPath(folder);
      cpSync(made, folder, { recursive: true });
      chmodSync(folder, 0o700);
      const { stdout, stderr, signal } = spawnSync(process.execPath, [child, folder, what, String(at)], {
        input: key,
        encoding: 'utf8',
      });
      const isDone = stdout === 'done';
      if (!isDone) t.equal(signal, 'SIGKILL', stderr);
      const [old, next] = [await opens(folder, before), await opens(folder, after)];
      t.ok(old !== next, `step ${at}: the one or the other`);
      seen.add(next ? 'after' : 'before');
      if (isDone) t.ok(next, 'what was reported is so');
      t.notOk(existsSync(`${path}.new`), 'nothing is left beside it once it was opened');
      const isClear = (next ? after : before) === null;
      t.strictSame(holding(folder, key), isClear ? ['vault.key'] : []);
      if (isDone) break;
      if (at > 40) return t.fail('it never ends');
    }
    t.strictSame([...seen], ['before', 'after']);
  });
