/** People: their names, passwords, certificates' names and standing, what others see of their presence, and failed logins. */
import type { Fingerprint } from '../../base/bytes.ts';
import type { Device, NewDevice } from './devices.ts';

export type UserStatus = 'active' | 'suspended';

/** What is kept of a password. */
export interface PasswordRecord {
  /** 16 bytes */
  readonly salt: Uint8Array;
  /** hex of the SCRAM StoredKey, 64 characters */
  readonly pwdHash: string;
  /** SCRAM ServerKey, 32 bytes */
  readonly serverKey: Uint8Array;
  readonly pwdKdf: string;
}

export interface NewUser extends PasswordRecord {
  readonly email: string;
  readonly username: string;
  readonly displayName: string | null;
  /** which certificates may log in, as x509/identity.ts `certIdentity` makes it */
  readonly certIdentity: string;
  /** Unix ms */
  readonly createdAt: number;
}

/** What somebody is to others while he is connected; `invisible`: as if he were not. */
export type PresenceState = 'online' | 'away' | 'dnd' | 'invisible';

export interface PresenceChoice {
  readonly state: PresenceState;
  /** others may be told when he was there last */
  readonly showsLastSeen: boolean;
}

export interface User extends NewUser {
  readonly id: number;
  readonly status: UserStatus;
  /** counts changes of this user's set of devices; the roster epoch of a conversation is the sum over its members */
  readonly deviceEpoch: number;
  readonly lastSeen: number | null;
  readonly presence: PresenceChoice;
}

export interface KnownUser {
  readonly user: User;
  /** as addDevice() answers it; null: not registered, or somebody else's */
  readonly known: { readonly device: Device; readonly keyHashes: readonly Uint8Array[] } | null;
}

/** When somebody was there last. */
export interface Seen {
  readonly userId: number;
  /** Unix ms */
  readonly at: number;
}

export interface AccountStore {
  /**
   * With his first device, if there is one, or not at all.
   * @throws USER_EXISTS with field `username` or `email`; when two race, exactly one wins
   * @throws CERT_ACCOUNT_MISMATCH when the certificate belongs to another user
   */
  createUser(user: NewUser, device?: Omit<NewDevice, 'userId' | 'continues'>): Promise<User>;
  /** In place of the address that the user had. @throws USER_EXISTS with field `email` */
  setEmail(userId: number, email: string): Promise<void>;
  /** @returns whether it was another one before @throws NOT_FOUND */
  setStatus(userId: number, status: UserStatus): Promise<boolean>;
  /**
   * In place of the password that the user has.
   * @param before his `pwdHash` as the caller has seen it: where it is another one by now nothing changes; null: whatever it is
   * @returns whether the password is this one now @throws NOT_FOUND
   */
  setPassword(userId: number, password: PasswordRecord, before: string | null): Promise<boolean>;
  /** By canonical username or e-mail. */
  findUser(account: string): Promise<User | null>;
  /** Who comes back with a certificate: himself, and the certificate's device if it is one of his. Null: nobody has this id. */
  userWithDevice(userId: number, fingerprint: Fingerprint): Promise<KnownUser | null>;
  listUsers(): Promise<User[]>;
  /** Of several users, each of them once. */
  setLastSeen(seen: readonly Seen[]): Promise<void>;
  setPresence(userId: number, choice: PresenceChoice): Promise<void>;

  /**
   * Counts a failed login. `subjects` are opaque keys (account+certificate, certificate); each is counted by itself.
   * A subject is locked from its `maxFailures`-th failure on: for lockoutMs, doubling with each further one, at most 24 h.
   * Answers the time until which the longest lock lasts, 0 when none does.
   */
  countLoginFailure(subjects: readonly string[], now: number, maxFailures: number, lockoutMs: number): Promise<number>;
  /** Until when any of the subjects is locked; 0 when none is. @param maxFailures as it was counted with */
  lockedUntil(subjects: readonly string[], now: number, maxFailures: number): Promise<number>;
  clearLoginFailures(subjects: readonly string[]): Promise<void>;
  /** Forgets subjects whose last failure, and any lock that it made, is before that time. */
  forgetLoginFailures(before: number): Promise<void>;
}
