/**
 * The storage contract: what holds of every method is said here, and what each does by subject in `contract/`. Two backends (SQLite, MySQL)
 * and one conformance suite, `test/conformance/store.ts`, which is these comments as tests.
 *
 * Durability: a promise that resolves means that the change survives a power cut (but for `acknowledge`). Atomicity: each method is one
 * transaction, all or nothing. Concurrency: every method may race with every other, also from another process on the same database. Text is
 * stored and compared byte for byte; callers canonicalise (on MySQL two names that differ in trailing spaces alone cannot both exist).
 * Buffers handed in may be reused by the caller after the promise resolves. Failures: STORE_FAILED when the database did not answer or the
 * outcome is unknown (then repeat: every write is idempotent or has a unique key that makes the repetition say so), DISK_FULL when there
 * was no room (nothing was changed), STORE_SCHEMA when the schema is missing, older (migrate) or from the future (`sub` says which).
 */
import type { AccountStore } from './contract/accounts.ts';
import type { BlobStore } from './contract/blobs.ts';
import type { ContactStore } from './contract/contacts.ts';
import type { ConversationStore } from './contract/conversations.ts';
import type { DeviceStore } from './contract/devices.ts';
import type { KeyStore } from './contract/keys.ts';
import type { LogStore } from './contract/log.ts';
import type { QueueStore } from './contract/queue.ts';
import type { RoomStore } from './contract/rooms.ts';

export interface Store
  extends
    AccountStore,
    DeviceStore,
    ContactStore,
    ConversationStore,
    RoomStore,
    KeyStore,
    BlobStore,
    LogStore,
    QueueStore {
  /** `sqlite` or `mysql`, for status and messages */
  readonly kind: 'sqlite' | 'mysql';

  /** Cheap question to the database. @throws STORE_FAILED */
  ping(): Promise<void>;
  /** Null, or more waits for the database than should (ahead.ts): resolves when that is over. Who brings much waits for it. Never rejects. */
  relief(): Promise<void> | null;
  close(): Promise<void>;
}
