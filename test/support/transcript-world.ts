/** A log, a store and people who write through a sequencer: real files, real SQLite, real certificates. */
import { createPublicKey, randomBytes, type KeyObject } from 'node:crypto';
import type { ConversationId, Fingerprint, Hash, SessionId } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import type { Secret } from '../../base/secret.ts';
import { CONTEXT, sign } from '../../base/signature.ts';
import type { Log } from '../../runtime/log.ts';
import { TranscriptLog } from '../../server/log/log.ts';
import type { LogOptions } from '../../server/log/options.ts';
import type { CommitterOptions } from '../../server/committer.ts';
import { Sequencer } from '../../server/sequencer.ts';
import type { Submission } from '../../server/submission.ts';
import { migrateStore, openStore } from '../../store/open.ts';
import type { GroupState } from '../../store/contract/conversations.ts';
import type { Device } from '../../store/contract/devices.ts';
import type { Store } from '../../store/store.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { leafHash, NO_HASH, rootOf } from '../../transcript/merkle.ts';
import type { SessionEnd } from '../../transcript/opening.ts';
import { audienceOf, ciphertextHash, encodeBs, encodeMs, KIND, rosterHash } from '../../transcript/statement.ts';
import { authority, type Authority, type Issued } from './pki.ts';
import { sessionOpening } from './session-opening.ts';
import { LATER, newDevice, newUser, NOW } from './store-world.ts';

export const ORIGIN = 'localhost/log/n1';
export const silent: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silent,
};

/** Certificates that outlive the tests. */
export const identity = () => {
  const ca = authority('Log CA', { notBefore: NOW - 1000, notAfter: LATER });
  return { ca, server: ca.server({ notBefore: NOW - 1000, notAfter: LATER }) };
};

/** Options of a log in `dir`; segments of 64 KiB. A log that stops is a failure of the test unless it says otherwise. */
export function logOptions(
  dir: string,
  server: Pick<Issued, 'key' | 'der'>,
  more: Partial<LogOptions> = {},
): LogOptions {
  return {
    dir: `${dir}/log`,
    keyFile: `${dir}/log.key`,
    origin: ORIGIN,
    serverPrivateKey: server.key,
    serverChain: [server.der],
    now: () => NOW,
    onFatal: (error) => {
      throw error;
    },
    segmentBytes: 64 * 1024,
    ...more,
  };
}

/** Opened and certified. */
export async function openLog(options: LogOptions): Promise<TranscriptLog> {
  const log = await TranscriptLog.open(options);
  await log.certification.certify();
  return log;
}

/** An entry of that many bytes which no other equals. */
export const entry = (serverTime: number, bytes = 64): Buffer =>
  encodeLeaf({ type: 'time', serverTime, stamp: randomBytes(bytes - 12) });

/** A device that keeps its own lineage, as a client does. */
export class Sender {
  readonly device: Device;
  readonly chain: readonly Uint8Array[];
  readonly key: KeyObject;
  readonly publicKey: KeyObject;
  /** end of its certificate */
  until = LATER;
  session = randomBytes(16) as Uint8Array as SessionId;
  ctr = 1;
  prevBatch: Hash = NO_HASH;
  #convCtr = new Map<ConversationId, number>();
  readonly #last = new Map<ConversationId, Hash>();

  constructor(device: Device, chain: readonly Uint8Array[], key: KeyObject) {
    this.device = device;
    this.chain = chain;
    this.key = key;
    this.publicKey = createPublicKey(key);
  }

  newSession(): void {
    this.session = randomBytes(16) as Uint8Array as SessionId;
    this.ctr = 1;
    this.prevBatch = NO_HASH;
    this.#convCtr = new Map();
  }

  /** The next batch, one message for each text. Calling it moves the lineage on; `peek` leaves it where it is. */
  batch(
    conversation: ConversationId,
    texts: readonly string[],
    recipients: readonly number[],
    o: BatchOptions = {},
  ): Submission {
    let convCtr = this.#convCtr.get(conversation) ?? 0;
    let prevConv = o.prevConv ?? this.#last.get(conversation) ?? NO_HASH;
    const firstCtr = o.firstCtr ?? this.ctr;
    const messages = texts.map((text, i) => {
      const parts = [Buffer.from(text)];
      const statement = encodeMs({
        kind: o.groupInfo ? KIND.membership : KIND.message,
        parts: 1,
        ciphertextBytes: parts[0]!.length,
        sender: this.device.fingerprint,
        session: o.msSession ?? this.session,
        sessionCtr: firstCtr + i,
        clientTime: NOW,
        conversation,
        convCtr: o.convCtr ?? ++convCtr,
        prevConv,
        rosterHash: rosterHash(conversation, 1, [this.device.fingerprint]),
        commitment: NO_HASH,
        ciphertextHash: ciphertextHash(parts),
      });
      prevConv = leafHash(statement);
      const { group = null, groupInfo = null } = o;
      return { statement, parts, group, groupInfo, recipients, peers: recipients, expiresAt: LATER };
    });
    if (!o.peek) {
      this.#convCtr.set(conversation, convCtr);
      this.#last.set(conversation, prevConv);
    }
    return this.#signed(messages, firstCtr, o);
  }

  /** A new session opens, behind the end of another. */
  opening(before: SessionEnd): Submission {
    this.newSession();
    const { statement, parts } = sessionOpening(this.device.fingerprint, this.session, before, NOW);
    const nobody = { group: null, groupInfo: null, recipients: [], peers: [], expiresAt: LATER };
    return this.#signed([{ statement, parts, ...nobody }], 1, {});
  }

  /** How its session ends now. */
  get end(): SessionEnd {
    return { session: this.session, lastCtr: this.ctr - 1, lastBatch: this.prevBatch };
  }

  #signed(messages: Submission['messages'], firstCtr: number, o: BatchOptions): Submission {
    const statement = encodeBs({
      sender: o.sender ?? this.device.fingerprint,
      session: this.session,
      firstCtr,
      count: messages.length,
      signTime: NOW,
      prevBatch: o.prevBatch ?? this.prevBatch,
      batchRoot: rootOf(messages.map((message) => leafHash(message.statement))),
      audience: audienceOf(o.audience ?? ORIGIN),
    });
    if (!o.peek) {
      this.ctr = firstCtr + messages.length;
      this.prevBatch = leafHash(statement);
    }
    const { id, userId, fingerprint } = this.device;
    const device = { id, userId, fingerprint, publicKey: this.publicKey, chain: this.chain, until: this.until };
    return { refusal: null, device, ...sign(this.key, CONTEXT.senderBatch, statement), batch: statement, messages };
  }
}

export interface BatchOptions {
  readonly peek?: boolean;
  readonly firstCtr?: number;
  readonly convCtr?: number;
  readonly prevConv?: Hash;
  readonly prevBatch?: Hash;
  readonly audience?: string;
  readonly sender?: Fingerprint;
  readonly msSession?: SessionId;
  readonly group?: GroupState;
  /** makes a commit of it */
  readonly groupInfo?: Uint8Array;
}

export interface TranscriptWorld {
  readonly dir: string;
  readonly ca: Authority;
  readonly server: Issued;
  store: Store;
  transcript: TranscriptLog;
  sequencer: Sequencer;
  readonly conversation: ConversationId;
  readonly alice: Sender;
  readonly bob: Sender;
  /** a device of another person, in no conversation */
  device(name: string): Promise<Sender>;
  /** Opens log, store and sequencer again. */
  reopen(log?: Partial<LogOptions>): Promise<void>;
  /** Through the middle of an orderly end. */
  close(): Promise<void>;
}

export interface Database {
  readonly url: string;
  /** a new one each time: `openStore` may wipe it */
  readonly password: () => Secret | null;
}

export async function transcriptWorld(
  dir: string,
  sequencer: Partial<CommitterOptions> = {},
  more: Partial<LogOptions> = {},
  keys: { readonly ca: Authority; readonly server: Issued } = identity(),
  { url, password }: Database = { url: `sqlite:${dir}/chat.db`, password: () => null },
): Promise<TranscriptWorld> {
  const { ca, server } = keys;
  await migrateStore(url, password(), NOW);
  const store = await openStore(url, password());
  const addDevice = async (over: Store, name: string): Promise<Sender> => {
    const user = await over.createUser(newUser(name));
    const issued = ca.client(name, { key: 'ed25519', notBefore: NOW - 1000, notAfter: LATER });
    const fingerprint = sha256(issued.der) as Uint8Array as Fingerprint;
    const { device } = await over.addDevice(newDevice(user.id, { fingerprint }), NOW, 10);
    return new Sender(device, [issued.der], issued.key);
  };
  const alice = await addDevice(store, 'alice');
  const bob = await addDevice(store, 'bob');
  const { id: conversation } = await store.openDirect(
    alice.device.userId,
    bob.device.userId,
    randomBytes(32) as Uint8Array as ConversationId,
    NOW,
  );
  const open = async (over: Store, log: Partial<LogOptions>) => {
    const transcript = await TranscriptLog.open(
      logOptions(dir, server, { segmentBytes: 4 * 1024 * 1024, ...more, ...log }),
    );
    const made = new Sequencer({ transcript, store: over, log: silent, now: () => NOW, retryMs: 1, ...sequencer });
    try {
      await made.recover();
    } catch (error) {
      await transcript.close();
      await over.close();
      throw error;
    }
    return { transcript, sequencer: made };
  };
  const world: TranscriptWorld = {
    dir,
    ca,
    server,
    store,
    ...(await open(sequencer.store ?? store, {})),
    conversation,
    alice,
    bob,
    device: (name) => addDevice(world.store, name),
    reopen: async (log = {}) => {
      world.store = await openStore(url, password());
      Object.assign(world, await open(world.store, log));
    },
    close: async () => {
      await world.sequencer.drain();
      await world.transcript.close().catch(() => undefined);
      await world.store.close();
    },
  };
  return world;
}
