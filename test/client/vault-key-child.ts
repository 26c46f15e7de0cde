/**
 * Run by vault-key.test.ts: `set`, `change` or `remove` of a passphrase by a process that is killed before its Nth call of the file
 * system. On standard input the key of the vault, as it is.
 */
import { createSecretKey } from 'node:crypto';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { Secret } from '../../base/secret.ts';

const [folder = '', what = '', at = ''] = process.argv.slice(2);
const key = fs.readFileSync(0);
let left = Number(at);
let isArmed = false;
for (const name of ['openSync', 'writeSync', 'fsyncSync', 'closeSync', 'renameSync', 'rmSync'] as const) {
  const original = fs[name] as (...args: unknown[]) => unknown;
  (fs as unknown as Record<string, unknown>)[name] = (...args: unknown[]): unknown => {
    if (isArmed && --left < 0) process.kill(process.pid, 'SIGKILL');
    return original(...args);
  };
}
syncBuiltinESMExports();
const { keyPath, setPassphrase } = await import('../../client/vault-key.ts');
const { Vault } = await import('../../client/vault.ts');

const secret = (text: string): Secret => new Secret(Buffer.from(text));
const before = what === 'set' ? null : secret('the old passphrase');
const after = what === 'remove' ? null : secret('the new passphrase');
const path = keyPath(folder);
Vault.open(folder, before === null ? null : createSecretKey(key)); // held while it is changed, as the command does
isArmed = true;
await setPassphrase(path, before, after);
isArmed = false;
process.stdout.write('done');
process.exit(0);
