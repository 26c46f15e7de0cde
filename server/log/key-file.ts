/** The log's Ed25519 key: made once, kept in a file of its own, used for nothing but the notes of one log. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { ChatError } from '../../base/errors.ts';
import { readSecretFile } from '../../runtime/secret-file.ts';

const FIELD = 'transcript.key';

/**
 * @param mayCreate whether the log is still empty: another key can't continue a log
 * @throws UNSAFE_FILE if others could have read it; CONFIG_INVALID if it is missing or holds no Ed25519 key
 */
export function loadLogKey(path: string, mayCreate: boolean): KeyObject {
  if (!existsSync(path)) {
    if (!mayCreate)
      throw new ChatError('CONFIG_INVALID', `${path} is missing, and no other key can continue its log; restore it`, {
        field: FIELD,
      });
    createLogKey(path);
  }
  return readSecretFile(path, FIELD).use((pem) => {
    let key: KeyObject | null = null;
    try {
      key = createPrivateKey(pem);
    } catch {
      // the cause would quote the file
    }
    if (key?.asymmetricKeyType !== 'ed25519')
      throw new ChatError('CONFIG_INVALID', `${path} does not hold an Ed25519 private key in PEM`, { field: FIELD });
    return key;
  });
}

/** Durable before it is first used: a lost key would end the log. */
export function createLogKey(path: string): void {
  const { privateKey } = generateKeyPairSync('ed25519');
  const temporary = `${path}.tmp`;
  rmSync(temporary, { force: true });
  const file = openSync(temporary, 'wx', 0o600);
  try {
    writeSync(file, privateKey.export({ format: 'pem', type: 'pkcs8' }) as string);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  const directory = openSync(dirname(path), 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
