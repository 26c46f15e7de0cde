/** People, devices, conversations and windows for tests of the store: distinct in each world, so that tests can share a database. */
import { randomBytes } from 'node:crypto';
import { type ConversationId, type Fingerprint, type Hash, type SessionId } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import type { NewUser, User } from '../../store/contract/accounts.ts';
import type { GroupState } from '../../store/contract/conversations.ts';
import type { Device, NewDevice } from '../../store/contract/devices.ts';
import type { BatchRecord, MessageRecord, StoredMessage, WindowRecord } from '../../store/contract/log.ts';
import type { Store } from '../../store/store.ts';

/** A moment in 2024; certificates of these tests end long after it, and nothing queued expires unless a test says so. */
export const NOW = 1_704_067_200_000;
export const LATER = NOW + 10 * 365 * 86_400_000;

export const random32 = <T = Uint8Array>(): T => randomBytes(32) as T;
export const newSession = (): SessionId => randomBytes(16) as Uint8Array as SessionId;

export function newUser(username: string, more: Partial<NewUser> = {}): NewUser {
  return {
    email: `${username}@example.org`,
    username,
    displayName: null,
    salt: sha256(Buffer.from(username)).subarray(0, 16),
    pwdHash: sha256(Buffer.from(username)).toString('hex'),
    serverKey: sha256(Buffer.from(`server key of ${username}`)),
    pwdKdf: 'argon2id$m=65536,t=3,p=1',
    certIdentity: `uri:chat:${username}`,
    createdAt: NOW,
    ...more,
  };
}

export function newDevice(userId: number, more: Partial<NewDevice> = {}): NewDevice {
  const der = randomBytes(48);
  return {
    userId,
    fingerprint: sha256(der) as Uint8Array as Fingerprint,
    serialKey: sha256(der, der).toString('hex'),
    spkiHash: random32(),
    chain: Buffer.concat([Buffer.from([0, 0, 0, 48]), der]),
    notAfter: LATER,
    ...more,
  };
}

export const usageOf = async (store: Store, deviceId: number): Promise<{ bytes: number; rows: number }> =>
  (await store.queueUsages([deviceId]))[0]!;

/** Alice and Bob, who have a conversation, and a log of their own. */
export class World {
  readonly store: Store;
  readonly alice: User;
  readonly bob: User;
  /** two devices of Alice's, two of Bob's */
  readonly devices: { readonly a1: Device; readonly a2: Device; readonly b1: Device; readonly b2: Device };
  readonly conversation: ConversationId;
  readonly origin: string;
  /** size of the log */
  size = 0;
  readonly #counters = new Map<string, number>();

  private constructor(parts: Pick<World, 'store' | 'alice' | 'bob' | 'devices' | 'conversation' | 'origin'>) {
    this.store = parts.store;
    this.alice = parts.alice;
    this.bob = parts.bob;
    this.devices = parts.devices;
    this.conversation = parts.conversation;
    this.origin = parts.origin;
  }

  static async open(store: Store): Promise<World> {
    const tag = randomBytes(6).toString('hex');
    const alice = await store.createUser(newUser(`alice-${tag}`));
    const bob = await store.createUser(newUser(`bob-${tag}`));
    const add = async (user: User): Promise<Device> => (await store.addDevice(newDevice(user.id), NOW, 10)).device;
    const devices = { a1: await add(alice), a2: await add(alice), b1: await add(bob), b2: await add(bob) };
    const { id } = await store.openDirect(alice.id, bob.id, random32<ConversationId>(), NOW);
    return new World({ store, alice, bob, devices, conversation: id, origin: `chat.example.org/log/${tag}` });
  }

  /** The same people over another store, writing to another log. */
  elsewhere(store: Store): World {
    return new World({ ...this, store, origin: `${this.origin}/elsewhere` });
  }

  /** The next batch of the log: messages of one device to the other user's devices. */
  batch(options: BatchOptions = {}): Batch {
    const sender = options.sender ?? this.devices.a1;
    const session = options.session ?? (sender.fingerprint.subarray(0, 16) as SessionId);
    const conversations = options.conversations ?? [this.conversation];
    const count = options.count ?? conversations.length;
    const firstIndex = this.size;
    const batch: BatchRecord = {
      firstIndex,
      fingerprint: sender.fingerprint,
      session,
      firstCtr: this.#count(`${session}`, count),
      count,
      sigb: randomBytes(300),
      batchHash: random32<Hash>(),
      serverTime: NOW,
    };
    const messages = Array.from({ length: count }, (_, i): MessageRecord => {
      const conversation = conversations[i % conversations.length] as ConversationId;
      const statement = options.statement ?? randomBytes(248);
      const content = {
        parts: options.parts ?? [Buffer.from(`message ${firstIndex + 1 + i}`)],
        recipients: options.recipients ?? this.#othersOf(sender),
        expiresAt: options.expiresAt ?? LATER,
        group: options.group ?? null,
        groupInfo: options.groupInfo ?? null,
        ...(options.blobs && { blobs: options.blobs }),
      };
      return {
        index: firstIndex + 1 + i,
        conversation: options.isAside === 'everywhere' ? null : conversation,
        isThreaded: options.isAside === undefined,
        statement,
        statementHash: sha256(Buffer.of(0), statement, randomBytes(8)) as Uint8Array as Hash,
        convCtr: options.isAside === undefined ? this.#count(`${session} ${conversation}`, 1) : 0,
        senderUserId: sender.userId,
        senderDeviceId: sender.id,
        isCommit: options.isCommit ?? false,
        isClose: options.isClose ?? false,
        content: options.isFromLog ? null : content,
      };
    });
    this.size += 1 + count;
    return { batch, messages };
  }

  /** A window of these batches, made by batch(). */
  window(batches: readonly Batch[], certificates: readonly Fingerprint[] = []): WindowRecord {
    this.size += certificates.length;
    return { origin: this.origin, logSize: this.size, batches, certificates };
  }

  /** One window of one batch, committed. */
  async send(
    options: BatchOptions = {},
  ): Promise<Batch & { readonly window: WindowRecord; readonly stored: StoredMessage[] }> {
    const batch = this.batch(options);
    const window = this.window([batch]);
    const [stored = []] = await this.store.commitWindow(window);
    return { ...batch, window, stored };
  }

  #count(key: string, by: number): number {
    const first = (this.#counters.get(key) ?? 0) + 1;
    this.#counters.set(key, first + by - 1);
    return first;
  }

  #othersOf(sender: Device): number[] {
    const { a1, a2, b1, b2 } = this.devices;
    return sender.userId === this.alice.id ? [b1.id, b2.id] : [a1.id, a2.id];
  }
}

export type Batch = WindowRecord['batches'][number];

export interface BatchOptions {
  readonly sender?: Device;
  readonly session?: SessionId;
  /** one message to each, or `count` messages in turns */
  readonly conversations?: readonly ConversationId[];
  readonly count?: number;
  readonly statement?: Uint8Array;
  readonly parts?: readonly Uint8Array[];
  readonly recipients?: readonly number[];
  readonly expiresAt?: number;
  readonly isFromLog?: boolean;
  readonly isCommit?: boolean;
  readonly isClose?: boolean;
  /** not threaded: of the conversation all the same, or of none */
  readonly isAside?: 'conversation' | 'everywhere';
  readonly group?: GroupState;
  readonly groupInfo?: Uint8Array;
  readonly blobs?: NonNullable<MessageRecord['content']>['blobs'];
}
