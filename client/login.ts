/**
 * Registration, login and another password (docs/PROTOCOL.md §4). The password is hashed here; what travels is a proof that is worth something on this
 * connection alone. The server proves in turn that it knows the account.
 */
import { randomBytes } from 'node:crypto';
import { ChatError } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import type { Continuity } from '../protocol/device-binding.ts';
import { loginBinding } from '../protocol/key-schedule.ts';
import type { Reply } from '../protocol/messages.ts';
import {
  authMessage,
  checkNotBelow,
  checkServerSignature,
  clientProof,
  DEFAULT_KDF,
  formatKdf,
  NONCE_BYTES,
  parseKdf,
  SALT_BYTES,
  saltedPassword,
  verifierOf,
} from '../protocol/scram.ts';
import type { Requester } from './requester.ts';

/** No account can have this name. */
const NOBODY = '-';

/** @param password from preparePassword(). @throws what the server refuses it with: USER_EXISTS, BAD_NAME, … */
export async function register(requester: Requester, account: NewAccount, password: Secret): Promise<void> {
  try {
    await registerAt(requester, account, password, formatKdf(DEFAULT_KDF));
  } catch (error) {
    if (!(error instanceof ChatError) || error.code !== 'WEAK_KDF') throw error;
    await registerAt(requester, account, password, await demandedKdf(requester, account.username));
  }
}

/** What the server demands of new passwords, which it tells about any name that has no account. @throws WEAK_KDF */
export async function demandedKdf(requester: Requester, account = NOBODY): Promise<string> {
  const nonce = randomBytes(NONCE_BYTES);
  const { kdf } = await requester.request({ type: 'login', account, nonce }, 'login_challenge');
  checkNotBelow(parseKdf(kdf), DEFAULT_KDF);
  return kdf;
}

/** @param kdf from demandedKdf(), before the login. @throws NOT_LOGGED_IN/proof without a fresh login by password; AUTH_FAIL, WEAK_KDF */
export async function setPassword(requester: Requester, password: Secret, kdf: string): Promise<Reply<'password_ok'>> {
  return requester.request({ type: 'password_set', ...(await newVerifier(password, kdf)) }, 'password_ok');
}

interface NewAccount {
  readonly username: string;
  readonly email: string;
}

async function registerAt(requester: Requester, account: NewAccount, password: Secret, kdf: string): Promise<void> {
  await requester.request({ type: 'register', ...account, ...(await newVerifier(password, kdf)) }, 'ok');
}

/** What the server keeps of a password. */
async function newVerifier(password: Secret, kdf: string) {
  const salt = randomBytes(SALT_BYTES);
  const salted = await hash(password, salt, kdf);
  const { storedKey, serverKey } = verifierOf(salted);
  salted.wipe();
  return { salt, kdf, stored_key: storedKey, server_key: serverKey };
}

/**
 * @param account canonical username or e-mail address
 * @param checkpoint the newest that this client holds: a server whose log is shorter must stop
 * @param continues that this certificate is another one of a device which the server may know
 * @throws AUTH_FAIL, LOCKED, …; WEAK_KDF when the server names a cost outside the limits; SIG_FAIL/server_signature when it does not
 *   know the account
 */
export async function login(
  requester: Requester,
  account: string,
  password: Secret,
  checkpoint: string | undefined,
  continues: Continuity | null = null,
): Promise<Reply<'login_ok'>> {
  const clientNonce = randomBytes(NONCE_BYTES);
  const challenge = await requester.request({ type: 'login', account, nonce: clientNonce }, 'login_challenge');
  const salted = await hash(password, challenge.salt, challenge.kdf);
  try {
    const message = authMessage({
      username: account,
      clientNonce,
      serverNonce: challenge.nonce,
      salt: challenge.salt,
      kdf: challenge.kdf,
      channelBinding: loginBinding(requester.link.exporter),
    });
    const proof = clientProof(salted, message);
    const shown = { ...(checkpoint === undefined ? {} : { checkpoint }), ...(continues === null ? {} : { continues }) };
    const reply = await requester.request({ type: 'login_proof', proof, ...shown }, 'login_ok');
    if (reply.server_signature === undefined || !checkServerSignature(salted, message, reply.server_signature))
      throw new ChatError('SIG_FAIL', 'the server did not prove that it knows this account', {
        sub: 'server_signature',
      });
    return reply;
  } finally {
    salted.wipe();
  }
}

/** @throws AUTH_FAIL when the token is no longer good */
export const resume = (
  requester: Requester,
  token: string,
  checkpoint: string | undefined,
): Promise<Reply<'login_ok'>> =>
  requester.request({ type: 'resume', token, ...(checkpoint === undefined ? {} : { checkpoint }) }, 'login_ok');

/** The limits are checked before the work is done: a lying server sets neither a weak cost nor one that stops this machine. */
function hash(password: Secret, salt: Uint8Array, kdf: string): Promise<Secret> {
  const cost = parseKdf(kdf);
  // A copy: the bytes are used in another thread after this call has returned.
  return saltedPassword(
    password.use((bytes) => Buffer.from(bytes)),
    salt,
    cost,
  );
}
