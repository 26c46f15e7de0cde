/**
 * The only place of the server that builds its parts and joins them. Start: settings, store, log, what a crash left between the two,
 * then sockets. Stop, in the opposite order: sockets, what is on its way, log, store.
 */
import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { equal, hex, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Suite } from '../protocol/key-exchange.ts';
import type { Reply } from '../protocol/messages.ts';
import { formatKdf } from '../protocol/scram.ts';
import type { LoadedServerConfig } from '../runtime/config.ts';
import { ensurePrivateDirectory, ensureSecretFile } from '../runtime/files.ts';
import { Lifecycle } from '../runtime/lifecycle.ts';
import type { ServerLink } from '../runtime/link.ts';
import { errorFields, openLog, type Log } from '../runtime/log.ts';
import type { Credentials } from '../runtime/tls.ts';
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
import { inherit, newestEpoch, originOf } from './log/epochs.ts';
import type { ServerIdentity } from './log/identity.ts';
import { TranscriptLog } from './log/log.ts';
import { NotLoggedIn } from './not-logged-in.ts';
import { OutsideJobs } from './outside.ts';
import { RateLimit } from './rate-limit.ts';
import { Rooms } from './rooms.ts';
import { Revocation } from './revocation.ts';
import { Sequencer } from './sequencer.ts';
import { INTAKE_COST, REQUESTS_PER_MINUTE } from './requests.ts';
import { serve } from './session.ts';
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
/** How often is noted, outside the log, what it has signed and that this process is alive. */
const ANCHOR_EVERY_MS = 2000;

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
  let { own, authorities } = readTls(config, now());
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

  let fatal: ChatError | null = null;
  const epoch = newestEpoch(values.transcript.dir, values.stateDir);
  const host = logHostOf(config, own);
  const transcript = await TranscriptLog.open({
    ...epoch,
    origin: originOf(epoch, host, values.node),
    succession: inherit(epoch, values.transcript.dir, values.stateDir),
    serverPrivateKey: own.privateKey,
    serverChain: identityOf(own).chain,
    now,
    settleMs: values.transcript.settleMs,
    onFatal: (error) => {
      fatal = error;
      log.warn('transcript.failed', errorFields(error));
      void lifecycle.stop('transcript');
    },
  });
  lifecycle.onStop('transcript', async () => {
    await transcript.close();
    if (fatal) throw fatal;
  });
  if (transcript.wasTorn) log.warn('transcript.recovered', { size: transcript.size });
  const outside = new OutsideJobs({ config, transcript, log, now });
  await outside.gate();
  const sequencer = new Sequencer({ transcript, store, log, now });
  await sequencer.recover();
  // Before anybody is connected: clients learn of a new key at their login.
  if (transcript.heldMs === 0 && (await sequencer.takeOver(identityOf(own))))
    log.info('transcript.rekeyed', { size: transcript.size });
  log.info('transcript.opened', { size: transcript.size });
  lifecycle.onStop(
    'publisher',
    every(values.transcript.publishEveryMs, () => transcript.publish(), log, 'transcript.failed'),
  );

  lifecycle.onStop(
    'anchor',
    every(ANCHOR_EVERY_MS, () => transcript.anchor(), log, 'transcript.failed'),
  );

  lifecycle.onStop('outside', outside.begin(sequencer));

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
  // A revoked device is nobody's audience any more, also if it never connects again.
  const revoked = new Set<string>();
  const forget = async (): Promise<void> => {
    for (const serialKey of revoked) {
      const devices = await store.revokeDevices({ serialKey }, now());
      if (devices.length > 0) hub.forgetDevices(devices);
      revoked.delete(serialKey); // not before the store has it: the next round tries again
    }
  };
  lifecycle.onStop('rosters', every(FORGET_EVERY_MS, forget, log, 'store.failed'));
  const onRevoked = (serialKeys: readonly string[]): void => serialKeys.forEach((key) => revoked.add(key));
  const archive = await CrlArchive.open(disk, epoch.dir, transcript.size);
  const crls = new CrlHistory(archive, transcript, sequencer, log);
  const onLoaded: CrlHistory['take'] = (lists, issuers) => crls.take(lists, issuers);
  const revocation = new Revocation({ authorities, crlFiles: crl, crlGraceMs, now, log, onRevoked, onLoaded });
  if (transcript.heldMs === 0) await crls.flush(); // what is accepted from here on is accepted under lists that the log has
  lifecycle.onStop(
    'crls',
    every(FORGET_EVERY_MS, () => crls.flush(), log, 'transcript.failed'),
  );
  revocation.watchOwn(own.chain[0]);
  lifecycle.onStop('revocation', () => revocation.close());

  let listening: Listener | null = null;
  // Before anybody can connect: whoever is suspended from then on is suspended here as well.
  ensurePrivateDirectory(dirname(values.admin.socket), 'admin.socket');
  const admin = await serveAdmin(values.admin.socket, {
    status: () => ({
      version,
      pid: process.pid,
      listen: (listening?.endpoints ?? []).map(({ address, port }) =>
        address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
      ),
      uptime_s: Math.floor(process.uptime()),
      connections: listening?.connections ?? 0,
      unfinished_handshakes: listening?.unfinishedHandshakes ?? 0,
      users_online: hub.userCount,
      devices_online: hub.memberCount,
      store: store.kind,
      log_origin: transcript.origin,
      log_size: transcript.size,
      published_size: transcript.publishedSize,
      revocation: revocation.status.state,
      certificate_expires: new Date(own.chain[0].notAfter).toISOString(),
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
  listening = listener;
  lifecycle.onStop('connections', async () => {
    await sequencer.drain(); // what is new is refused at once, and what was taken is answered
    for (const link of serving.keys()) link.close('SHUTTING_DOWN'); // also those that have not logged in
    await Promise.allSettled(serving.values());
    await hub.settled();
  });
  lifecycle.onStop('listener', () => listener.close());
  const heldMs = transcript.beginHold();
  let isHeld = heldMs > 0;
  /** Files were to be read again meanwhile. */
  let isReloadDue = false;
  if (isHeld) {
    const held = { size: transcript.size, ms: Math.ceil(heldMs) };
    // Who had it rotated may think that the key before is out of use.
    if (transcript.certification.isTakeoverDue) log.warn('transcript.held', { ...held, reason: 'rotate' });
    else log.info('transcript.held', held);
    sequencer.hold();
    const goOn = async (): Promise<void> => {
      await sequencer.vouch(identityOf(own));
      await crls.flush();
    };
    const timer = setTimeout(() => {
      void goOn()
        .catch((error: unknown) => log.warn('transcript.failed', errorFields(error)))
        .finally(() => {
          isHeld = false;
          sequencer.release();
          if (isReloadDue) void lifecycle.reload();
        });
    }, heldMs + 10); // a timer may be early
    lifecycle.onStop('hold', () => clearTimeout(timer));
  }
  lifecycle.onReload(async () => {
    const renewed = readTls(config, now());
    ({ authorities } = renewed);
    listener.renew(own, authorities);
    revocation.renew(authorities);
    if (isHeld) return void (isReloadDue = true); // the rest is entries of the log
    await crls.flush();
    if (equal(renewed.own.chain[0].fingerprint, own.chain[0].fingerprint)) return;
    // Nobody is shown a certificate that does not vouch for the log yet.
    await sequencer.vouch(identityOf(renewed.own));
    ({ own } = renewed);
    listener.renew(own, authorities);
    revocation.watchOwn(own.chain[0]);
    log.info('certificate.renewed', { subject: own.chain[0].subject.text, fingerprint: hex(own.chain[0].fingerprint) });
  });

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

const identityOf = ({ chain, privateKey }: Credentials): ServerIdentity => ({
  chain: chain.map((certificate) => certificate.der),
  privateKey,
});

/** Repeats a job until the stop that it answers; one run at a time, failures are logged and the next run tries again. */
function every(
  ms: number,
  job: () => Promise<void>,
  log: Log,
  event: 'transcript.failed' | 'store.failed',
): () => Promise<void> {
  let running: Promise<void> | null = null;
  const timer = setInterval(() => {
    running ??= job()
      .catch((error: unknown) => log.warn(event, errorFields(error)))
      .finally(() => (running = null));
  }, ms);
  return async () => {
    clearInterval(timer);
    await running;
  };
}
