/** What an operator does to the database from the shell: schema and accounts. Works beside a running daemon. */
import type { LoadedServerConfig } from '../runtime/config.ts';
import { printable } from '../runtime/printable.ts';
import { migrateStore, openStore, storeStatus } from '../store/open.ts';
import { ensurePrivateDirectory } from '../runtime/files.ts';
import { ChatError } from '../base/errors.ts';
import { canonicalAccount } from './accounts.ts';
import { storeOf } from './configuration.ts';

type Out = (line: string) => void;

/** `init` wants an empty database, `migrate` one that has a schema. @throws STORE_SCHEMA, STORE_FAILED */
export async function migrateDatabase(config: LoadedServerConfig, mode: 'init' | 'migrate', out: Out): Promise<void> {
  const { url, password } = storeOf(config);
  if (url.startsWith('sqlite:')) ensurePrivateDirectory(config.values.stateDir, 'state_dir');
  const { version } = await storeStatus(url, password);
  if (mode === 'init' && version > 0)
    throw new ChatError('STORE_SCHEMA', 'the database has a schema already; use db migrate');
  if (mode === 'migrate' && version === 0)
    throw new ChatError('STORE_SCHEMA', 'the database has no schema yet; use db init');
  const { wanted, pending } = await migrateStore(url, password, Date.now());
  out(
    pending.length === 0
      ? `schema ${wanted} is up to date`
      : `schema ${version} → ${wanted}: ${pending.map((p) => p.name).join(', ')}`,
  );
}

/** Prints the version found and the one wanted. @returns exit status: 8 when a migration is pending */
export async function databaseStatus(config: LoadedServerConfig, out: Out): Promise<number> {
  const { url, password } = storeOf(config);
  const { version, wanted, pending } = await storeStatus(url, password);
  out(`schema ${version}, this program wants ${wanted}`);
  for (const { version: number, name } of pending) out(`pending ${number} ${name}`);
  return pending.length === 0 ? 0 : 8;
}

/**
 * Brings two people together, or apart, without asking either; the only way where `contacts.policy` is `closed`.
 * @throws NO_SUCH_PEER, BLOCKED, NOT_FOUND
 */
export async function changeContacts(
  config: LoadedServerConfig,
  action: 'add' | 'remove',
  people: readonly [string, string],
  out: Out,
): Promise<void> {
  const { url, password } = storeOf(config);
  const store = await openStore(url, password);
  try {
    const [person, other] = people.map(canonicalAccount) as [string, string];
    const [a, b] = [await store.findUser(person), await store.findUser(other)];
    if (a === null || b === null || a.id === b.id)
      throw new ChatError('NO_SUCH_PEER', 'both must have an account, and be two', { field: 'account' });
    const now = Date.now();
    await store.changeContact(a.id, b.id, action, now);
    if (action === 'add') await store.changeContact(b.id, a.id, 'add', now);
    out(`${printable(a.username)} and ${printable(b.username)}: ${action === 'add' ? 'in contact' : 'not in contact'}`);
  } finally {
    await store.close();
  }
}

export async function listUsers(config: LoadedServerConfig, asJson: boolean, out: Out): Promise<void> {
  const { url, password } = storeOf(config);
  const store = await openStore(url, password);
  try {
    for (const { username, email, status, createdAt, lastSeen } of await store.listUsers()) {
      const created = new Date(createdAt).toISOString();
      const seen = lastSeen === null ? null : new Date(lastSeen).toISOString();
      if (asJson)
        out(JSON.stringify({ v: 1, type: 'user', username, email, status, created_at: created, last_seen: seen }));
      else
        out(
          [username.padEnd(24), email.padEnd(32), status.padEnd(10), created, seen ?? 'never']
            .map((s) => printable(s))
            .join('  '),
        );
    }
  } finally {
    await store.close();
  }
}
