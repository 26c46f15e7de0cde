/** One connection as the session sees it: a link without a socket, and everything behind it stood in for. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { hex, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../../base/bytes.ts';
import type { Reply, Request } from '../../protocol/messages.ts';
import { ChatError } from '../../base/errors.ts';
import type { Closed, ServerLink } from '../../runtime/link.ts';
import type { Charge } from '../../server/charges.ts';
import { Devices } from '../../server/devices.ts';
import { FairQueue } from '../../server/fair-queue.ts';
import { Conversations } from '../../server/conversations.ts';
import { Hub } from '../../server/hub.ts';
import { RateLimit } from '../../server/rate-limit.ts';
import { INTAKE_COST } from '../../server/requests.ts';
import { serve, type SessionOptions } from '../../server/session.ts';
import { decodeMs, encodeMs, KIND } from '../../transcript/statement.ts';
import { LONG_MS, lateTimers } from '../support/late-timers.ts';
import { memoryLog } from '../support/pair.ts';

type Send = Request<'msg_send'>;
const turn = (): Promise<void> => new Promise(setImmediate);

class Peer {
  readonly sent: Reply[] = [];
  queuedBytes = 0;
  isPaused = false;
  pauses = 0;
  drain: () => void = () => {};
  closedWith: string | undefined;
  readonly log = memoryLog();
  /** answers each admitted batch */
  readonly commits: ((outcome?: unknown) => void)[] = [];
  readonly admitted: number[] = [];
  admits: ((frame: Send) => Promise<void>) | null = null;
  /** that each message is for */
  devices = 2;
  left = 0;
  drained = 0;
  joined = 0;
  readonly served: Promise<void>;
  #frame: (frame: Request) => void = () => {};
  readonly #closed = Promise.withResolvers<Closed>();

  constructor(options: Partial<Record<keyof SessionOptions, unknown>> = {}) {
    const link = {
      peerChain: [{ fingerprint: randomBytes(32), spkiHash: Buffer.alloc(32, 1) }],
      send: (frame: Reply) => void this.sent.push(frame),
      onFrame: (handler: (frame: Request) => void) => (this.#frame = handler),
      onDrain: (handler: () => void) => (this.drain = handler),
      pause: () => ((this.isPaused = true), this.pauses++),
      resume: () => (this.isPaused = false),
      close: (code?: string, sub?: string) => (
        (this.closedWith ??= `${code ?? 'bye'}${sub === undefined ? '' : `/${sub}`}`),
        this.end()
      ),
      closed: this.#closed.promise,
    };
    Object.defineProperty(link, 'queuedBytes', { get: () => this.queuedBytes });
    const login = { user: { id: 1 }, device: { id: 1 }, isNewDevice: false, reply: { type: 'ok', id: 1 } };
    const hub = {
      changed: () => {},
      join: () => (
        this.joined++,
        { user: { id: 1 }, device: { id: 1 }, outlet: { sync: () => new Promise(() => {}), skipped: () => false } }
      ),
      leave: () => this.left++,
      received: (_: unknown, cursors: readonly number[]) => cursors.includes(1),
      drained: () => this.drained++,
      admit: async (_: unknown, frame: Send, charge: Charge) => {
        const { conversation } = decodeMs(frame.messages[0]!.statement);
        charge(hex(conversation), frame.messages.length, this.devices, 'msg_send.messages[0].statement');
        await this.admits?.(frame);
        this.admitted.push(frame.id);
        return frame;
      },
      send: (_: unknown, id: number) =>
        new Promise<void>((resolve, reject) =>
          this.commits.push((error) => {
            if (error !== undefined) return reject(error as Error);
            this.sent.push({ type: 'msg_ack', id, ack: Buffer.alloc(40), messages: [] });
            resolve();
          }),
        ),
    };
    const access = { open: async () => Promise.reject(new TypeError('a defect of ours')) };
    this.served = serve({
      link: link as unknown as ServerLink,
      account: { resume: async () => login } as never,
      hub: hub as never,
      access: access as never,
      keys: {} as never,
      blobs: {} as never,
      contacts: {} as never,
      devices: {} as never,
      rooms: {} as never,
      store: {} as never,
      transcript: {} as never,
      crls: {} as never,
      attested: async () => null,
      sends: new RateLimit(1_000_000),
      roomDeliveries: new RateLimit(1_000_000_000),
      intake: new FairQueue(INTAKE_COST),
      requests: new RateLimit(1_000_000),
      log: this.log.log,
      now: () => 5,
      isCut: () => false,
      ...(options as object),
    });
  }

  says(frame: Request): void {
    this.#frame(frame);
  }
  async logIn(): Promise<void> {
    this.says({ type: 'resume', id: 1, token: 't' });
    await turn();
  }
  end(): void {
    this.#closed.resolve({ code: null });
  }
  get replies(): number[] {
    return this.sent.flatMap((frame) => ('id' in frame && frame.id !== undefined ? [frame.id] : []));
  }
}

const ping = (id: number): Request => ({ type: 'ping', id });
const zeros = Buffer.alloc(32);
/** @param room first byte of the id of the conversation */
const statement = (room: number): Buffer =>
  encodeMs({
    kind: KIND.message,
    parts: 1,
    ciphertextBytes: 1,
    sender: zeros as Uint8Array as Fingerprint,
    session: zeros.subarray(0, 16) as Uint8Array as SessionId,
    sessionCtr: 1,
    clientTime: 1,
    conversation: Buffer.alloc(32, room) as Uint8Array as ConversationId,
    convCtr: 1,
    prevConv: zeros as Uint8Array as Hash,
    rosterHash: zeros as Uint8Array as Hash,
    commitment: zeros as Uint8Array as Hash,
    ciphertextHash: zeros as Uint8Array as Hash,
  });
const batch = (id: number, bytes = 1, room = 1): Send => ({
  type: 'msg_send',
  id,
  algorithm: 1,
  signature: Buffer.alloc(64),
  batch: Buffer.alloc(172),
  messages: [{ statement: statement(room), parts: [Buffer.alloc(bytes)] }],
});

t.test('one answer for each request, in order, whatever fails', async (t) => {
  const peer = new Peer();
  await peer.logIn();
  peer.says(ping(2));
  peer.says({ type: 'conversation_open', id: 3, peer: 'bob' });
  peer.says(ping(4));
  peer.says(batch(5));
  peer.says(ping(6));
  await turn();
  t.strictSame(peer.replies, [1, 2, 3, 4, 6], 'the commit is not waited for');
  t.match(peer.sent[2], { type: 'error', code: 'INTERNAL' });
  t.notMatch(JSON.stringify(peer.sent[2]), 'defect', 'and says nothing of what it was');
  t.match(peer.log.lines.at(-1), { event: 'request.refused', level: 'error', code: 'INTERNAL' });
  peer.commits[0]!();
  peer.says(batch(7));
  await turn();
  peer.commits[1]!(new ChatError('UNAVAILABLE', 'not now', { retryAfterMs: 200 }));
  await turn();
  t.strictSame(peer.sent.at(-1), { type: 'error', id: 7, code: 'UNAVAILABLE', retry_after_ms: 200 });
  t.strictSame(peer.replies, [1, 2, 3, 4, 6, 5, 7]);
  peer.end();
  await peer.served;
  t.equal(peer.left, 1);
});

t.test('batches are admitted one after the other, also when the first must be looked up', async (t) => {
  const peer = new Peer();
  await peer.logIn();
  const lookup = Promise.withResolvers<void>();
  peer.admits = ({ id }) => (id === 2 ? lookup.promise : Promise.resolve());
  peer.says(batch(2));
  peer.says(batch(3));
  await turn();
  t.strictSame(peer.admitted, []);
  lookup.resolve();
  await turn();
  t.strictSame(peer.admitted, [2, 3]);
  peer.end();
});

t.test('a link that ends while a login is being finished leaves nobody behind', async (t) => {
  const login = Promise.withResolvers<unknown>();
  const peer = new Peer({ account: { resume: () => login.promise } });
  peer.says({ type: 'resume', id: 1, token: 't' });
  peer.end();
  await turn();
  t.equal(peer.left, 0, 'not before');
  login.resolve({ user: { id: 1 }, device: { id: 1 }, isNewDevice: false, reply: { type: 'ok', id: 1 } });
  await peer.served;
  t.strictSame([peer.joined, peer.left], [0, 0]);
  const stranger = new Peer();
  stranger.end();
  await stranger.served;
  t.equal(stranger.left, 0);
});

/** what is one at a glance */
const checkpoint = `localhost/log/n1\n7\n${zeros.toString('base64')}\n\n\u2014 localhost ${Buffer.alloc(68).toString('base64')}\n`;

/** A hub that is none of a test's own, over a store that has two devices of one user. */
function realHub() {
  const user = { id: 1, username: 'alice', presence: { state: 'online', showsLastSeen: true } };
  const device = { id: 11, fingerprint: Buffer.alloc(32, 1) };
  const login = { user, device, isNewDevice: false, renewed: null, keyHashes: [], reply: { type: 'ok', id: 1 } };
  /** the same device under its next certificate */
  const next = {
    ...login,
    device: { id: 11, fingerprint: Buffer.alloc(32, 2) },
    isNewDevice: true,
    renewed: device.fingerprint,
  };
  const store = {
    backlog: async () => ({ items: [], isWhole: true }),
    setLastSeen: async () => {},
    deviceByFingerprint: async () => ({ id: 11, userId: 1, serialKey: 'k' }),
    revokeDevices: async () => [11],
  };
  const hub = new Hub({
    store,
    conversations: new Conversations(store as never, () => 5),
    sequencer: {},
    origin: 'localhost/log/n1',
    log: memoryLog().log,
    now: () => 5,
    ttlMs: 1000,
    queueBytes: 1_000_000,
    contactPolicy: 'open',
  } as never);
  const devices = new Devices(store as never, hub, () => 5);
  /** as another device of the user asks for it */
  const revoke = () => devices.revoke({ user, device: { id: 12 } } as never, Buffer.alloc(32, 1));
  return { hub, login, next, revoke };
}

t.test('who is suspended while his login is judged is not let in; a login that begins after that is', async (t) => {
  const { hub, login } = realHub();
  const judged = Promise.withResolvers<void>();
  const peer = new Peer({ hub, account: { resume: () => judged.promise.then(() => login) } });
  peer.says({ type: 'resume', id: 1, token: 't' });
  await turn();
  hub.endAll(login.user.id, { code: 'SUSPENDED' });
  judged.resolve();
  await turn();
  t.equal(peer.closedWith, 'SUSPENDED');
  t.match(peer.sent.at(-1), { type: 'error', id: 1, code: 'SUSPENDED' });
  t.notOk(hub.isOnline(11));
  const later = new Peer({ hub, account: { resume: async () => login } });
  await later.logIn();
  t.ok(hub.isOnline(11));
  for (const each of [peer, later]) {
    each.end();
    await each.served;
  }
});

t.test(
  'a password of which the database does not say whether it has it ends the others, who may come back by it',
  async (t) => {
    for (const [error, closedWith] of [
      [new ChatError('STORE_FAILED', 'gone, and has it perhaps'), 'UNAVAILABLE'],
      [new ChatError('AUTH_FAIL', 'it is another one by now'), undefined],
      [new ChatError('WEAK_KDF', 'asked before the database is'), undefined],
    ] as const) {
      const { hub, login } = realHub();
      const peer = new Peer({
        hub,
        account: { resume: async () => login, setPassword: async () => Promise.reject(error) },
      });
      const other = new Peer({
        hub,
        account: { resume: async () => ({ ...login, device: { ...login.device, id: 12 } }) },
      });
      for (const each of [peer, other]) await each.logIn();
      peer.says({ type: 'password_set', id: 2, salt: zeros, kdf: 'k', stored_key: zeros, server_key: zeros });
      await turn();
      t.strictSame([peer.closedWith, other.closedWith], [undefined, closedWith], error.code);
      t.match(peer.sent.at(-1), { type: 'error', id: 2 });
      for (const each of [peer, other]) {
        each.end();
        await each.served;
      }
    }
  },
);

t.test('what a connection has asked for before it is ended, and was not begun, is not carried out', async (t) => {
  for (const [name, end] of [
    ['suspended', ({ hub, login }) => void hub.endAll(login.user.id, { code: 'SUSPENDED' })],
    ['revoked', ({ revoke }) => revoke()],
  ] as readonly (readonly [string, (real: ReturnType<typeof realHub>) => Promise<void> | void])[]) {
    const real = realHub();
    const began: number[] = [];
    const first = Promise.withResolvers<object>();
    const setPassword = (frame: Request<'password_set'>) => (began.push(frame.id), first.promise);
    const peer = new Peer({ hub: real.hub, account: { resume: async () => real.login, setPassword } });
    await peer.logIn();
    for (const id of [2, 3])
      peer.says({ type: 'password_set', id, salt: zeros, kdf: 'k', stored_key: zeros, server_key: zeros });
    await turn();
    await end(real);
    first.resolve({ type: 'password_ok', id: 2, token: 't', token_expires: 1 });
    await turn();
    t.strictSame(began, [2], name);
    peer.end();
    await peer.served;
  }
});

t.test('of a certificate that was cut nothing more is carried out, logged in or not', async (t) => {
  for (const isLoggedIn of [true, false]) {
    const { hub, login } = realHub();
    let isCut = false;
    const began: number[] = [];
    const first = Promise.withResolvers<never>();
    const begin = (frame: Request<'register' | 'password_set'>) => (began.push(frame.id), first.promise);
    const account = { resume: async () => login, setPassword: begin, register: begin };
    const peer = new Peer({ hub, account, isCut: () => isCut });
    if (isLoggedIn) await peer.logIn();
    const verifier = { salt: zeros, kdf: 'k', stored_key: zeros, server_key: zeros };
    for (const id of [2, 3]) {
      if (isLoggedIn) peer.says({ type: 'password_set', id, ...verifier });
      else peer.says({ type: 'register', id, username: 'a', email: 'a@example.org', ...verifier });
    }
    await turn();
    isCut = true; // and the socket is there for a while, for the last words
    first.reject(new ChatError('AUTH_FAIL', 'refused'));
    await turn();
    t.strictSame(began, [2]);
    peer.end();
    await peer.served;
  }
});

t.test('a login under a certificate that is cut meanwhile does not come in', async (t) => {
  const { hub, login } = realHub();
  let isCut = false;
  const slow = Promise.withResolvers<unknown>();
  const peer = new Peer({ hub, account: { resume: () => slow.promise }, isCut: () => isCut });
  peer.says({ type: 'resume', id: 1, token: 't' });
  await turn();
  isCut = true;
  slow.resolve(login);
  await turn();
  t.strictSame([hub.isOnline(11), peer.sent], [false, []]);
  peer.end();
  await peer.served;
});

t.test('a batch that is judged while its certificate is cut is not logged', async (t) => {
  let isCut = false;
  const peer = new Peer({ isCut: () => isCut });
  await peer.logIn();
  const judged = Promise.withResolvers<void>();
  peer.admits = () => judged.promise;
  peer.says(batch(2));
  await turn();
  isCut = true;
  judged.resolve();
  await turn();
  t.strictSame([peer.admitted, peer.commits.length], [[2], 0]);
  peer.end();
  await peer.served;
});

t.test('a batch whose turn comes after the end of its connection is not judged', async (t) => {
  const { hub, login } = realHub();
  const intake = new FairQueue(1);
  const peer = new Peer({ hub, account: { resume: async () => login }, intake });
  await peer.logIn();
  const others = intake.place(9, 1);
  await others.enter();
  peer.says(batch(2));
  await turn();
  hub.endAll(login.user.id, { code: 'SUSPENDED' });
  others.leave();
  await turn();
  t.notOk(intake.isBusy, 'it has had its turn');
  t.strictSame(peer.replies, [1], 'this hub would have failed at it');
  peer.end();
  await peer.served;
});

t.test('another password ends what else its user has begun, before it is answered', async (t) => {
  const { hub, login } = realHub();
  const changed = Promise.withResolvers<object>();
  const account = { resume: async () => login, setPassword: () => changed.promise };
  const sibling = { ...login, device: { ...login.device, id: 12 } };
  const [peer, other] = [new Peer({ hub, account }), new Peer({ hub, account: { resume: async () => sibling } })];
  peer.says({ type: 'password_set', id: 1, salt: zeros, kdf: 'k', stored_key: zeros, server_key: zeros });
  await turn();
  t.match(peer.sent, [{ type: 'error', id: 1, code: 'NOT_LOGGED_IN' }], 'before the login');
  for (const each of [peer, other]) await each.logIn();
  peer.says({ type: 'password_set', id: 2, salt: zeros, kdf: 'k', stored_key: zeros, server_key: zeros });
  await turn();
  t.equal(other.closedWith, undefined);
  changed.resolve({ type: 'password_ok', id: 2, token: 't', token_expires: 1 });
  await turn();
  t.strictSame([peer.closedWith, other.closedWith], [undefined, 'NOT_LOGGED_IN/password']);
  t.match(peer.sent.at(-1), { type: 'password_ok', id: 2 });
  t.strictSame([hub.isOnline(11), hub.isOnline(12)], [true, false]);
  for (const each of [peer, other]) {
    each.end();
    await each.served;
  }
});

t.test('a device that is revoked while it logs in is not let in, and cut as if it had been there', async (t) => {
  const { hub, login, revoke } = realHub();
  const present = Promise.withResolvers<void>();
  const account = { resume: async () => login };
  const peer = new Peer({ hub, account, transcript: { present: () => present.promise } });
  peer.says({ type: 'resume', id: 1, token: 't', checkpoint });
  peer.says({ type: 'device_list', id: 2 });
  await turn();
  await revoke();
  present.resolve();
  await turn();
  t.equal(peer.closedWith, 'BAD_CERT/revoked');
  t.notOk(hub.isOnline(11));
  t.match(
    peer.sent.map((frame) => (frame.type === 'error' ? `${frame.id} ${frame.code}` : frame.type)),
    ['1 BAD_CERT', '2 NOT_LOGGED_IN'],
    'nor does it get an answer to anything',
  );
  peer.end();
  await peer.served;
});

t.test('who has gone when his login is finished does not take the place of whoever came after him', async (t) => {
  const { hub, login, next } = realHub();
  const slow = Promise.withResolvers<unknown>();
  const first = new Peer({ hub, account: { resume: () => slow.promise } });
  first.says({ type: 'resume', id: 1, token: 't' });
  await turn();
  first.end();
  const second = new Peer({ hub, account: { resume: async () => login } });
  await second.logIn();
  t.ok(hub.isOnline(11));
  slow.resolve(login);
  await first.served;
  t.equal(second.closedWith, undefined);
  t.ok(hub.isOnline(11));
  const third = new Peer({ hub, account: { resume: async () => (third.end(), await turn(), next) } });
  await third.logIn();
  await third.served;
  t.equal(second.closedWith, 'CONNECTION_LOST', 'unless it is under a certificate that is over now');
  await second.served;
  t.equal(hub.memberCount, 0);
});

t.test('a certificate that another one takes the place of while it logs in is not let in either', async (t) => {
  const { hub, login, next } = realHub();
  const slow = Promise.withResolvers<unknown>();
  const old = new Peer({ hub, account: { resume: () => slow.promise } });
  old.says({ type: 'resume', id: 1, token: 't' });
  const renewed = new Peer({ hub, account: { resume: async () => next } });
  await renewed.logIn();
  slow.resolve(login);
  await turn();
  t.strictSame([old.closedWith, renewed.closedWith], ['BAD_CERT/revoked', undefined]);
  t.strictSame(old.sent, [{ type: 'error', id: 1, code: 'BAD_CERT', sub: 'revoked' }]);
  t.ok(hub.isOnline(11), 'its device goes on');
  renewed.end();
  old.end();
  await Promise.all([old.served, renewed.served]);
});

t.test('what a login has changed is known also if nothing comes of it', async (t) => {
  const { hub, login, next } = realHub();
  const peer = new Peer({ hub, account: { resume: async () => login } });
  await peer.logIn();
  const present = (): Promise<void> => Promise.reject(new ChatError('UNAVAILABLE', 'not now'));
  const renewed = new Peer({ hub, account: { resume: async () => next }, transcript: { present } });
  renewed.says({ type: 'resume', id: 1, token: 't', checkpoint });
  await turn();
  t.match(renewed.sent, [{ type: 'error', code: 'UNAVAILABLE' }]);
  t.equal(peer.closedWith, 'CONNECTION_LOST', 'whose certificate is over is cut');
  renewed.end();
  await Promise.all([peer.served, renewed.served]);
});

t.test('too many at once, or too much: the connection is paused until there is room', async (t) => {
  for (const [what, count, bytes] of [
    ['64 requests', 64, 1],
    ['256 KiB', 5, 60_000],
  ] as const) {
    const peer = new Peer();
    await peer.logIn();
    for (let i = 0; i < count - 1; i++) peer.says(batch(2 + i, bytes));
    await turn();
    t.equal(peer.isPaused, false, `${what}: not yet`);
    peer.says(batch(100, bytes));
    t.equal(peer.isPaused, true, what);
    await turn();
    t.equal(peer.isPaused, true, 'also when all are admitted: none is answered');
    peer.commits.shift()!();
    await turn();
    t.equal(peer.isPaused, false, `${what}: room again`);
    t.equal(peer.pauses, 1);
    peer.end();
  }
});

t.test('while others wait to be heard, less is read of each', async (t) => {
  const intake = new FairQueue(INTAKE_COST);
  const first = intake.place(8, INTAKE_COST);
  void first.enter();
  const second = intake.place(9, INTAKE_COST);
  const entered = second.enter();
  const peer = new Peer({ intake });
  await peer.logIn();
  peer.says(batch(2, 20_000));
  t.equal(peer.isPaused, false);
  peer.says(batch(3, 20_000));
  t.equal(peer.isPaused, true, '32 KiB');
  first.leave();
  await entered;
  second.leave();
  while (peer.commits.length < 2) await turn();
  peer.commits.shift()!();
  await turn();
  t.equal(peer.isPaused, false);
  for (let id = 4; id < 8; id++) peer.says(batch(id, 20_000));
  t.equal(peer.isPaused, false, 'nobody waits any more');
  peer.end();
});

t.test('a batch is judged when its turn has come, and makes room for those after it', async (t) => {
  const intake = new FairQueue(INTAKE_COST);
  const others = [intake.place(8, INTAKE_COST), intake.place(9, INTAKE_COST / 4)]; // which is all there is room for
  for (const other of others) void other.enter();
  const peer = new Peer({ intake });
  await peer.logIn();
  peer.says(batch(2));
  await turn();
  t.strictSame(peer.admitted, [], 'others were there before');
  for (const other of others) other.leave();
  for (let id = 3; id <= INTAKE_COST; id++) peer.says(batch(id));
  for (let turns = 0; turns < 10 * INTAKE_COST && peer.admitted.length < INTAKE_COST - 1; turns++) await turn();
  t.equal(peer.admitted.length, INTAKE_COST - 1, 'more of them than one turn has room for');
  peer.end();
});

t.test(
  'a database that fails is said to the operator; the peer is told to come again, and not that a store failed',
  async (t) => {
    const peer = new Peer({ devices: { list: () => Promise.reject(new ChatError('STORE_FAILED', 'gone away')) } });
    await peer.logIn();
    peer.says({ type: 'device_list', id: 2 });
    await turn();
    t.strictSame(peer.sent.at(-1), { type: 'error', id: 2, code: 'UNAVAILABLE', retry_after_ms: 1000 });
    t.match(peer.log.lines.at(-1), { event: 'request.refused', level: 'warn', code: 'STORE_FAILED' });
    peer.end();
  },
);

t.test('key packages that wait for the database count with their size', async (t) => {
  const wait = Promise.withResolvers<Reply>();
  const peer = new Peer({ keys: { put: () => wait.promise } });
  await peer.logIn();
  const put = (id: number): Request => {
    const packages = Array.from({ length: 64 }, () => Buffer.alloc(1024));
    return { type: 'keypackages_put', id, packages, last_resort: false };
  };
  for (let id = 2; id <= 4; id++) peer.says(put(id));
  t.equal(peer.isPaused, false, '192 KiB');
  peer.says(put(9));
  t.equal(peer.isPaused, true, '256 KiB');
  wait.resolve({ type: 'ok', id: 1 });
  await turn();
  t.equal(peer.isPaused, false);
  peer.end();
});

t.test('so do pieces of blobs', async (t) => {
  const peer = new Peer({ blobs: { put: () => new Promise(() => {}) } });
  await peer.logIn();
  const put = (id: number) =>
    ({ type: 'blob_put', id, piece: Buffer.alloc(128 * 1024) }) as Partial<Request> as Request;
  peer.says(put(2));
  t.equal(peer.isPaused, false, '128 KiB');
  peer.says(put(3));
  t.equal(peer.isPaused, true, '256 KiB');
  peer.end();
});

t.test('who asks and does not read is not read from, and after a while cut', async (t) => {
  const isTime = lateTimers(t);
  const peer = new Peer({ stallMs: LONG_MS });
  await peer.logIn();
  peer.queuedBytes = 8 * 1024 * 1024 + 1;
  peer.says(ping(2));
  t.equal(peer.isPaused, true);
  await turn();
  peer.queuedBytes = 0;
  peer.drain();
  t.equal(peer.isPaused, false, 'he has read');
  t.equal(peer.drained, 1, 'and may get more');
  isTime();
  t.equal(peer.closedWith, undefined);
  peer.queuedBytes = 9 * 1024 * 1024;
  peer.says(ping(3));
  isTime();
  await peer.served;
  t.equal(peer.closedWith, 'QUOTA');
});

t.test('a message for many devices counts as several', async (t) => {
  for (const [devices, allowed] of [
    [8, 10],
    [9, 5],
    [250, 1],
  ] as const) {
    const peer = new Peer({ sends: new RateLimit(10, () => 0) });
    peer.devices = devices;
    await peer.logIn();
    for (let id = 2; id < 14; id++) peer.says(batch(id)); // all there when the first is refused
    await turn();
    const refused = peer.sent.filter((frame) => frame.type === 'error' && frame.code === 'RATE_LIMIT').length;
    t.equal(12 - refused, allowed, `${devices} devices`);
  }
});

t.test('what all members of a room send is limited together, and what goes to few devices is not', async (t) => {
  const roomDeliveries = new RateLimit(1000, () => 0);
  const refusals = async (devices: number, room: number): Promise<number> => {
    const peer = new Peer({ roomDeliveries });
    peer.devices = devices;
    await peer.logIn();
    for (let id = 2; id < 12; id++) peer.says(batch(id, 1, room));
    await turn();
    const refused = peer.sent.filter((frame) => frame.type === 'error' && frame.code === 'RATE_LIMIT');
    const field = 'msg_send.messages[0].statement';
    for (const frame of refused) t.match(frame, { sub: 'room', field, retry_after_ms: 3000 });
    t.equal(peer.pauses > 0, refused.length > 1, 'and what he writes to others is read, unless he does not wait');
    peer.end();
    return refused.length;
  };
  t.equal(await refusals(70, 1), 0);
  t.equal(await refusals(70, 1), 6, '1,000 devices, whoever writes to them');
  t.equal(await refusals(8, 1), 0);
  t.equal(await refusals(70, 2), 0, 'another room');
});

t.test('a room gets back what it was charged for a batch that is refused, by whomever', async (t) => {
  const roomDeliveries = new RateLimit(100, () => 0);
  const peer = new Peer({ roomDeliveries });
  peer.devices = 90;
  await peer.logIn();
  const isFree = (): boolean => {
    try {
      roomDeliveries.check(hex(Buffer.alloc(32, 1)), 90);
      return true;
    } catch {
      return false;
    }
  };
  peer.says(batch(2));
  await turn();
  t.equal(isFree(), false);
  peer.commits[0]!(new ChatError('SIG_FAIL', 'signed by nobody', { sub: 'batch' }));
  await turn();
  t.equal(isFree(), true);
  peer.admits = () => Promise.reject(new ChatError('STALE', 'another roster', { sub: 'roster' }));
  peer.says(batch(3));
  await turn();
  t.equal(isFree(), true);
  peer.admits = () => Promise.resolve();
  peer.says(batch(4));
  await turn();
  peer.commits[1]!();
  await turn();
  t.equal(isFree(), false, 'what is taken is paid for');
  peer.end();
});

t.test(
  'who asks for more than he may is not read from for as long as he is told to wait, each time added up',
  async (t) => {
    const peer = new Peer({ sends: new RateLimit(6000, () => 0, 1), monotonicMs: () => 0 });
    await peer.logIn();
    peer.says(batch(2));
    await turn();
    t.equal(peer.isPaused, false);
    const timers = t.capture(globalThis, 'setTimeout', setTimeout);
    for (let id = 3; id < 13; id++) peer.says(batch(id));
    await turn();
    t.match(peer.sent.at(-1), { type: 'error', id: 12, code: 'RATE_LIMIT', retry_after_ms: 10 });
    t.equal(peer.isPaused, true);
    t.strictSame(
      timers().map(({ args: [, ms] }) => ms),
      [10, 20, 30, 40, 50, 60, 70, 80, 90, 100],
    );
    while (peer.isPaused) await turn();
    t.equal(peer.pauses, 1);
  },
);

t.test('who goes on asking is read one request at a time, and rests for twice as long each time', async (t) => {
  let [refuses, now] = [true, 0];
  const limit = new ChatError('RATE_LIMIT', 'too much', { retryAfterMs: 1000 });
  const peer = new Peer({ monotonicMs: () => now });
  await peer.logIn();
  peer.admits = async () => (refuses ? Promise.reject(limit) : undefined);
  const real = globalThis.setTimeout;
  const rests: number[] = [];
  let wake: () => void = () => {};
  t.intercept(globalThis, 'setTimeout', {
    value: (work: () => void, ms: number) => (rests.push(ms), (wake = work), real(() => {}, 0)),
  });
  let id = 1;
  const asks = async (isOneAtATime: boolean): Promise<void> => {
    t.equal(peer.isPaused, false);
    peer.says(batch(++id));
    t.equal(peer.isPaused, isOneAtATime);
    await turn();
  };
  const rested = (): void => {
    now += rests.at(-1)!;
    wake();
  };
  for (const ms of [1000, 2000, 4000, 5000, 5000]) {
    await asks(rests.length > 0);
    t.equal(rests.at(-1), ms);
    t.match(peer.sent.at(-1), { code: 'RATE_LIMIT', retry_after_ms: 1000 }, 'what he is told is when there is room');
    rested();
  }
  peer.says({ type: 'sync', id: ++id });
  t.equal(peer.isPaused, true);
  await turn();
  t.equal(peer.isPaused, false, 'what waits for acknowledgements keeps them from nothing');
  refuses = false;
  await asks(true);
  peer.says(batch(++id));
  t.equal(peer.isPaused, false, 'something was admitted: as before');
  await turn();
  refuses = true;
  await asks(false);
  t.equal(rests.at(-1), 1000);
  rested();
  now += 5001;
  await asks(false);
  t.equal(rests.at(-1), 1000);
  peer.end();
});

t.test('before a login nothing is without a limit', async (t) => {
  const peer = new Peer({ requests: new RateLimit(3, () => 0) });
  for (const frame of [
    batch(1),
    { type: 'msg_received', cursors: [1] },
    { type: 'msg_skipped', cursors: [1] },
    batch(2),
  ]) {
    peer.says(frame as Request);
    await turn();
  }
  t.match(
    peer.sent.map((f) => f.type === 'error' && f.code),
    ['NOT_LOGGED_IN', 'NOT_LOGGED_IN', 'NOT_LOGGED_IN', 'RATE_LIMIT'],
  );
  peer.end();
});

t.test('an acknowledgement of nothing is a request like others', async (t) => {
  const peer = new Peer({ requests: new RateLimit(4, () => 0) });
  await peer.logIn();
  for (const type of ['msg_received', 'msg_skipped', 'msg_received', 'msg_skipped'] as const) {
    peer.says({ type: 'msg_received', cursors: [1] });
    peer.says({ type, cursors: [2] });
    await turn();
  }
  t.match(
    peer.sent.map((f) => f.type === 'error' && f.code),
    [false, 'RATE_LIMIT'],
  );
  peer.end();
});

t.test('two certificates of one key share the limit of requests', async (t) => {
  const requests = new RateLimit(3, () => 0);
  const peers = [new Peer({ requests }), new Peer({ requests })];
  for (const peer of peers) {
    peer.says(ping(1));
    peer.says(ping(2));
    await turn();
  }
  t.match(peers[1]!.sent.at(-1), { type: 'error', id: 2, code: 'RATE_LIMIT' });
  for (const peer of peers) peer.end();
});

t.test('requests have a limit of their own; acknowledgements have none', async (t) => {
  const peer = new Peer({ requests: new RateLimit(3, () => 0) });
  await peer.logIn();
  peer.says(ping(2));
  peer.says(ping(3));
  peer.says(ping(4));
  await turn();
  t.match(peer.sent.at(-1), { type: 'error', id: 4, code: 'RATE_LIMIT', retry_after_ms: 20_000 });
  peer.says(batch(5));
  await turn();
  peer.commits[0]!();
  await turn();
  t.match(peer.sent.at(-1), { type: 'msg_ack', id: 5 });
  peer.says({ type: 'msg_received', cursors: [1] });
  await turn();
  t.equal(peer.sent.filter((f) => f.type === 'error').length, 1);
  peer.end();
});
