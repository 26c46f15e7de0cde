/** What an operator does to accounts from the shell. Works beside a running server, which is told, and without one. */
import { randomBytes } from 'node:crypto';
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { parseKdf, SALT_BYTES, saltedPassword, verifierOf } from '../protocol/scram.ts';
import type { LoadedServerConfig } from '../runtime/config.ts';
import { printable } from '../runtime/printable.ts';
import { openStore } from '../store/open.ts';
import type { PasswordRecord, User } from '../store/contract/accounts.ts';
import type { Store } from '../store/store.ts';
import { tellServer } from './account-changes.ts';
import { canonicalAccount } from './accounts.ts';
import { kdfOf, storeOf } from './configuration.ts';

type Out = (line: string) => void;

/** A reason goes into a line of the log, and through the admin socket. */
const MAX_REASON_CHARS = 500;
/** Of one user; more than anybody can use at once. Those that are revoked come last. */
const MAX_DEVICES = 200;

/** @param reason for the log. @throws NO_SUCH_PEER; USAGE for a reason that is too long; UNREACHABLE as tellServer() */
export async function suspendUser(
  config: LoadedServerConfig,
  account: string,
  reason: string | undefined,
  out: Out,
): Promise<void> {
  if (reason !== undefined && reason.length > MAX_REASON_CHARS)
    throw new ChatError('USAGE', `a reason has at most ${MAX_REASON_CHARS} characters`);
  const { username, isNew } = await withUser(config, account, async (store, user) => ({
    username: user.username,
    isNew: await store.setStatus(user.id, 'suspended'),
  }));
  const ended = await tellServer(config, 'user_suspended', username, reason);
  out(`${printable(username)}: ${isNew ? 'suspended' : 'was suspended already'}; ${consequence(ended)}`);
}

/** @throws NO_SUCH_PEER; UNREACHABLE as tellServer() */
export async function resumeUser(config: LoadedServerConfig, account: string, out: Out): Promise<void> {
  const { username, isNew } = await withUser(config, account, async (store, user) => ({
    username: user.username,
    isNew: await store.setStatus(user.id, 'active'),
  }));
  await tellServer(config, 'user_resumed', username);
  out(`${printable(username)}: ${isNew ? 'can log in again' : 'was not suspended'}`);
}

/**
 * Another password for somebody who has forgotten his, or whose password somebody else knows.
 * @param password from preparePassword(); it goes no further than this process
 * @throws NO_SUCH_PEER; UNREACHABLE as tellServer()
 */
export async function setUserPassword(
  config: LoadedServerConfig,
  account: string,
  password: Secret,
  out: Out,
): Promise<void> {
  const username = await withUser(config, account, async (store, user) => {
    await store.setPassword(user.id, await recordOf(password, kdfOf(config)), null);
    return user.username;
  });
  const ended = await tellServer(config, 'user_password', username);
  out(`${printable(username)}: has another password; ${consequence(ended)}`);
}

export async function showUser(
  config: LoadedServerConfig,
  account: string,
  asJson: boolean,
  now: number,
  out: Out,
): Promise<void> {
  const { user, devices } = await withUser(config, account, async (store, user) => ({
    user,
    devices: await store.devicesOf(user.id, MAX_DEVICES),
  }));
  const time = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
  const stateOf = ({ revokedAt, notAfter }: (typeof devices)[number]): string =>
    revokedAt !== null
      ? `revoked ${time(revokedAt)}`
      : `${notAfter < now ? 'expired' : 'valid until'} ${time(notAfter)}`;
  if (asJson)
    return out(
      JSON.stringify({
        v: 1,
        type: 'user',
        username: user.username,
        email: user.email,
        status: user.status,
        created_at: time(user.createdAt),
        last_seen: time(user.lastSeen),
        devices: devices.map(({ fingerprint, firstSeen, notAfter, revokedAt }) => ({
          sha256: hex(fingerprint),
          first_seen: time(firstSeen),
          not_after: time(notAfter),
          revoked_at: time(revokedAt),
        })),
      }),
    );
  const lines = [
    ['username', user.username],
    ['email', user.email],
    ['status', user.status],
    ['created', time(user.createdAt)],
    ['last seen', time(user.lastSeen) ?? 'never'],
    ...devices.map((device) => ['device', `${hex(device.fingerprint)}  ${stateOf(device)}`]),
  ];
  for (const [what, value] of lines) out(`${what!.padEnd(10)} ${printable(value ?? '')}`);
}

async function withUser<T>(
  config: LoadedServerConfig,
  account: string,
  work: (store: Store, user: User) => Promise<T>,
): Promise<T> {
  const { url, password } = storeOf(config);
  const store = await openStore(url, password);
  try {
    const user = await store.findUser(canonicalAccount(account));
    if (user === null) throw new ChatError('NO_SUCH_PEER', 'nobody has this name', { field: 'account' });
    return await work(store, user);
  } finally {
    await store.close();
  }
}

async function recordOf(password: Secret, kdf: string): Promise<PasswordRecord> {
  const salt = randomBytes(SALT_BYTES);
  // A copy: the bytes are used in another thread after this call has returned.
  const salted = await saltedPassword(
    password.use((bytes) => Buffer.from(bytes)),
    salt,
    parseKdf(kdf),
  );
  const { storedKey, serverKey } = verifierOf(salted);
  salted.wipe();
  return { salt, pwdHash: hex(storedKey), serverKey, pwdKdf: kdf };
}

const consequence = (ended: number | null): string =>
  ended === null
    ? 'no server runs on this machine: one elsewhere is not told'
    : `${ended === 0 ? 'no' : ended} connection${ended === 1 ? '' : 's'} ${ended === 1 ? 'was' : 'were'} ended`;
