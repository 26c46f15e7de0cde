/**
 * The only place of the server that builds its parts and joins them, the log and what writes it through opened-transcript.ts. Start:
 * settings, store, log, what a crash left between the two, then sockets. Stop, in the opposite order: sockets, what is on its way, log, store.
 */
import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Suite } from '../protocol/key-exchange.ts';
import type { Reply } from '../protocol/messages.ts';
import { formatKdf } from '../protocol/scram.ts';
import type { LoadedServerConfig } from '../runtime/config.ts';
import { ensurePrivateDirectory, ensureSecretFile } from '../runtime/files.ts';
import { Lifecycle } from '../runtime/lifecycle.ts';
import type { ServerLink } from '../runtime/link.ts';
import { errorFields, openLog, type Log } from '../runtime/log.ts';
import { migrateStore, openStore } from '../store/open.ts';
import { formatOrigin } from '../transcript/key-statement.ts';
import type { Store } from '../store/store.ts';
import { accountChanges } from './account-changes.ts';
import { Accounts } from './accounts.ts';
import { serveAdmin } from './admin.ts';
import { Blobs } from './blobs.ts';
import { logHostOf, readTls, storeOf } from './configuration.ts';
import { Contacts } from './contacts.ts';
import { ConversationAccess } from './conversation-access.ts';
import { Conversations } from './conversations.ts';
import { CrlHistory } from './crl-history.ts';
import { Devices } from './devices.ts';
import { FairQueue } from './fair-queue.ts';
import { Hub } from './hub.ts';
import { Keys } from './keys.ts';
import { Listener } from './listener.ts';
import { CrlArchive } from './log/crl-archive.ts';
import { disk } from './log/files.ts';
import type { TranscriptLog } from './log/log.ts';
import { NotLoggedIn } from './not-logged-in.ts';
import { openTranscript } from './opened-transcript.ts';
import { every } from './periodic-job.ts';
import { RateLimit } from './rate-limit.ts';
import { Rooms } from './rooms.ts';
import { Renewal } from './renewal.ts';
import { Revocation } from './revocation.ts';
import { RevokedDevices } from './revoked-devices.ts';
import { INTAKE_COST, REQUESTS_PER_MINUTE } from './requests.ts';
import { serve } from './session.ts';
import { statusOf } from './status.ts';
import { Tokens } from './tokens.ts';

/** How long a device that was revoked may stay in rosters. */
const FORGET_EVERY_MS = 500;
/** How often what has expired is looked for, and how much at once: more than can come in for long. */
const EXPIRY_EVERY_MS = 1000;
const EXPIRE_AT_ONCE = 1000;
/** Who has not guessed wrong for so long begins anew; longer than any lock lasts. */
const FAILURES_MS = 7 * 86_400_000;
const FORGET_FAILURES_EVERY_MS = 3_600_000;
/** How often blobs that nobody needs any more are looked for. */
const FORGET_BLOBS_EVERY_MS = 60_000;
const MEGABYTE = 1_000_000;

/** Runs until a signal or a fatal failure. @returns exit status @throws what keeps it from starting */
export async function runDaemon(config: LoadedServerConfig, version: string): Promise<number> {
  const { values } = config;
  const log = openLog({ ...values.log, to: 2 });
  const lifecycle = new Lifecycle(log, values.drainTimeoutMs); // first of all: from here on signals are for it
  log.info('server.starting', { version, pid: process.pid, node: values.node });
  try {
    await lifecycle.start(async () => void (await startServer(config, { version, log, lifecycle, now: Date.now })));
  } catch (error) {
    await lifecycle.stop('failed');
    throw error;
  }
  return await lifecycle.stopped;
}

export interface Surroundings {
  readonly version: string;
  readonly log: Log;
  /** gets the steps of the shutdown and of a reload; after a failed start, too: whoever calls stops it */
  readonly lifecycle: Lifecycle;
  /** Unix ms */
  readonly now: () => number;
  /** of rate limits; by default a clock that does not go back */
  readonly monotonicMs?: () => number;
}

export interface RunningServer {
  readonly listener: Listener;
  readonly store: Store;
  readonly transcript: TranscriptLog;
  readonly hub: Hub;
}

/** Opens everything, sockets last. @throws what keeps it from starting */
export async function startServer(
  config: LoadedServerConfig,
  { version, log, lifecycle, now, monotonicMs }: Surroundings,
): Promise<RunningServer> {
  const { values } = config;
  const { limits, auth } = values;
  const { own, authorities } = readTls(config, now());
  ensurePrivateDirectory(values.stateDir, 'state_dir');

  let lost: ChatError | null = null;
  const store = await open(config, log, (error) => {
    lost = error; // nothing here brings it back: whoever supervises this process starts it again
    log.warn('store.failed', errorFields(error));
    void lifecycle.stop('store');
  });
  lifecycle.onStop('store', async () => {
    await store.close();
    if (lost) throw lost;
  });

  const opened = await openTranscript({ config, store, own, log, lifecycle, now });
  const { transcript, sequencer, outside } = opened;
  const conversations = new Conversations(store, now);
  const hub = new Hub({
    store,
    conversations,
    sequencer,
    origin: transcript.origin,
    log,
    now,
    ttlMs: values.retention.ttlMs,
    queueBytes: limits.queueMbPerUser * MEGABYTE,
    contactPolicy: values.contacts.policy,
  });
  const access = new ConversationAccess({
    store,
    conversations,
    origin: transcript.origin,
    contactPolicy: values.contacts.policy,
    now,
  });
  const devices = new Devices(store, hub, now);
  const contacts = new Contacts({
    store,
    policy: values.contacts.policy,
    visibility: values.directory.visibility,
    now,
    tell: (userId, notice) => hub.tell(userId, notice),
    forget: (userId) => hub.forgetConversations(userId),
    part: (userA, userB) => hub.part(userA, userB),
  });
  const expire = async (): Promise<void> => {
    hub.offerExpiries(await store.expire(now(), EXPIRE_AT_ONCE));
  };
  lifecycle.onStop('expiry', every(EXPIRY_EVERY_MS, expire, log, 'store.failed'));

  const forgetFailures = (): Promise<void> => store.forgetLoginFailures(now() - FAILURES_MS);
  lifecycle.onStop('failures', every(FORGET_FAILURES_EVERY_MS, forgetFailures, log, 'store.failed'));

  const host = logHostOf(config, own);
  const issuer = formatOrigin({ host, node: values.node, epoch: 1 }); // whoever is logged in stays so in a later epoch
  const tokens = new Tokens({ stateDir: values.stateDir, issuer, lifetimeMs: auth.tokenTtlMs, now });
  const accounts = new Accounts({
    store,
    tokens,
    fakeSecret: ensureSecretFile(join(values.stateDir, 'names.key'), 'state_dir', () => randomBytes(32)),
    registration: auth.registration,
    kdf: formatKdf({ name: 'argon2id', memoryKib: auth.kdf.memoryKiB, passes: auth.kdf.passes }),
    maxFailures: auth.maxFailures,
    lockoutMs: auth.lockoutMs,
    devicesPerAccount: limits.devicesPerAccount,
    log,
    now,
    randomBytes,
    logIdentity: (certificate) => loginIdentity(transcript, certificate),
  });
  const { crl, crlGraceMs } = values.tls;
  const revoked = new RevokedDevices(store, hub, now);
  lifecycle.onStop(
    'rosters',
    every(FORGET_EVERY_MS, () => revoked.flush(), log, 'store.failed'),
  );
  const archive = await CrlArchive.open(disk, opened.dir, transcript.size);
  const crls = new CrlHistory(archive, transcript, sequencer, log);
  const revocation = new Revocation({
    authorities,
    crlFiles: crl,
    crlGraceMs,
    now,
    log,
    onRevoked: (serialKeys) => revoked.add(serialKeys),
    onLoaded: (lists, issuers) => crls.take(lists, issuers),
  });
  if (transcript.heldMs === 0) await crls.flush(); // what is accepted from here on is accepted under lists that the log has
  lifecycle.onStop(
    'crls',
    every(FORGET_EVERY_MS, () => crls.flush(), log, 'transcript.failed'),
  );
  revocation.watchOwn(own.chain[0]);
  lifecycle.onStop('revocation', () => revocation.close());

  let running: { readonly listener: Listener; readonly renewal: Renewal } | null = null;
  // Before anybody can connect: whoever is suspended from then on is suspended here as well.
  ensurePrivateDirectory(dirname(values.admin.socket), 'admin.socket');
  const admin = await serveAdmin(values.admin.socket, {
    status: () =>
      statusOf({
        version,
        listener: running?.listener,
        hub,
        store,
        transcript,
        revocation,
        own: running?.renewal.own ?? own,
      }),
    ...accountChanges(store, hub, log),
  });
  lifecycle.onStop('admin', () => void admin.close());

  const rooms = new Rooms({ store, hub, contactPolicy: values.contacts.policy, now });
  const keys = new Keys({
    store,
    conversation: (member, id, fresh) => access.find(member, id, fresh),
    contactPolicy: values.contacts.policy,
  });
  const blobs = new Blobs({ store, now });
  lifecycle.onStop(
    'blobs',
    every(FORGET_BLOBS_EVERY_MS, () => blobs.forget(), log, 'store.failed'),
  );
  const sends = new RateLimit(limits.messagesPerMinute, monotonicMs, burstOf(limits.messagesPerMinute));
  const { roomDeliveriesPerMinute } = limits;
  const roomDeliveries = new RateLimit(roomDeliveriesPerMinute, monotonicMs, burstOf(roomDeliveriesPerMinute));
  const intake = new FairQueue(INTAKE_COST);
  const requests = new RateLimit(REQUESTS_PER_MINUTE, monotonicMs);
  const serving = new Map<ServerLink, Promise<void>>();
  const notLoggedIn = new NotLoggedIn();
  const listener = await Listener.open({
    listen: values.listen,
    own,
    authorities,
    admit: revocation.admit,
    parse: revocation.parse,
    suites: values.handshake.suites as Suite[],
    handshakeTimeoutMs: values.tls.handshakeTimeoutMs,
    maxRecordBytes: limits.frameBytes,
    limits,
    log,
    onLink: (link) => {
      revocation.watch(link);
      notLoggedIn.add(link);
      const account = accounts.session(link);
      const session = serve({
        link,
        account,
        hub,
        access,
        contacts,
        devices,
        keys,
        blobs,
        rooms,
        store,
        transcript,
        crls,
        attested: (size) => outside.attested(size),
        sends,
        roomDeliveries,
        intake,
        requests,
        log,
        now,
        isCut: () => revocation.isCut(link),
        onLoggedIn: () => notLoggedIn.delete(link),
      });
      serving.set(link, session);
      void session.finally(() => serving.delete(link));
    },
  });
  const renewal = new Renewal({
    config,
    own,
    authorities,
    listener,
    revocation,
    transcript,
    sequencer,
    crls,
    log,
    now,
    onDue: () => void lifecycle.reload(),
  });
  running = { listener, renewal };
  lifecycle.onStop('connections', async () => {
    await sequencer.drain(); // what is new is refused at once, and what was taken is answered
    for (const link of serving.keys()) link.close('SHUTTING_DOWN'); // also those that have not logged in
    await Promise.allSettled(serving.values());
    await hub.settled();
  });
  lifecycle.onStop('listener', () => listener.close());
  const heldMs = transcript.beginHold();
  if (heldMs > 0) lifecycle.onStop('hold', renewal.hold(heldMs));
  lifecycle.onReload(() => renewal.readAgain());

  log.info('admin.listening', { file: values.admin.socket });
  return { listener, store, transcript, hub };
}

/** SQLite is made and migrated by itself: it belongs to this process alone. MySQL is the operator's (`db init`, `db migrate`). */
async function open(config: LoadedServerConfig, log: Log, onLost: (error: ChatError) => void): Promise<Store> {
  const { url, password } = storeOf(config);
  if (url.startsWith('sqlite:')) {
    const { pending } = await migrateStore(url, password, Date.now());
    if (pending.length > 0) log.info('store.migrated', { count: pending.length });
  }
  const store = await openStore(url, password, { stateDir: config.values.stateDir, onLost });
  log.info('store.opened', { backend: store.kind });
  return store;
}

/** What a minute has in ten seconds may come at once, but no less than 100, if a minute has so many. */
const burstOf = (perMinute: number): number => Math.min(perMinute, Math.max(100, Math.ceil(perMinute / 6)));

/** What a client is told of the log at its login. */
const loginIdentity = (transcript: TranscriptLog, certificate: Fingerprint): Reply<'login_ok'>['log'] => ({
  ...transcript.certification.identityOf(certificate),
  ...(transcript.takeovers.length > 0 && {
    takeovers: transcript.takeovers
      .slice(-64)
      .map(({ statement, endorsement }) => ({ statement, signature: endorsement })),
  }),
});
