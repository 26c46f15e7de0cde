import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import t from 'tap';
import { ChatError, type Code } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import { createBinding } from '../../client/e2ee/binding.ts';
import { continuityOf, type Continuity } from '../../protocol/device-binding.ts';
import { loginBinding } from '../../protocol/key-schedule.ts';
import { replies, requests, type Reply, type Request } from '../../protocol/messages.ts';
import { authMessage, checkServerSignature, clientProof, verifierOf } from '../../protocol/scram.ts';
import {
  Accounts,
  PROOF_LASTS_MS,
  type AccountOptions,
  type AccountSession,
  type LoggedIn,
} from '../../server/accounts.ts';
import { Tokens } from '../../server/tokens.ts';
import { migrateStore, openStore } from '../../store/open.ts';
import type { User } from '../../store/contract/accounts.ts';
import type { Store } from '../../store/store.ts';
import { parsePem } from '../../x509/certificate.ts';
import type { Chain } from '../../runtime/tls.ts';
import { ca, memoryLog } from '../support/pair.ts';
import { malleated } from '../support/malleated.ts';
import { authority, pem, type Authority, type CertOptions, type Issued } from '../support/pki.ts';
import { revocationKeys } from '../../x509/revocation.ts';

const KDF = 'argon2id$m=65536,t=3,p=1';
const START = Date.now();
const LOG = { statement: 'chatlog/v1 key', algorithm: 1, signature: Buffer.alloc(64) };

/** What Argon2id would make of a password, without the quarter of a second. */
const salted = (password: string): Secret => new Secret(createHash('sha256').update(password).digest());
const verifier = (password: string) => {
  const { storedKey, serverKey } = verifierOf(salted(password));
  return { stored_key: storedKey, server_key: serverKey };
};

type T = { teardown(f: () => unknown): unknown; testdir(files?: Record<string, string>): string };

class World {
  now = START;
  readonly store: Store;
  readonly accounts: Accounts;
  readonly tokens: Tokens;
  readonly path: string;
  readonly lines: ReturnType<typeof memoryLog>['lines'];

  static async open(
    t: T,
    options: Partial<AccountOptions> = {},
    wrap = (store: Store): Store => store,
  ): Promise<World> {
    const path = t.testdir({});
    await migrateStore(`sqlite:${path}/chat.db`, null, START);
    const store = await openStore(`sqlite:${path}/chat.db`, null);
    t.teardown(() => store.close());
    return new World(path, store, options, wrap);
  }

  constructor(path: string, store: Store, options: Partial<AccountOptions>, wrap = (store: Store): Store => store) {
    const { log, lines } = memoryLog();
    this.path = path;
    this.store = store;
    this.lines = lines;
    const now = () => this.now;
    this.tokens = new Tokens({ stateDir: path, issuer: 'n1', lifetimeMs: 600_000, now });
    this.accounts = new Accounts({
      store: wrap(store),
      tokens: this.tokens,
      fakeSecret: new Secret(Buffer.alloc(32, 7)),
      registration: 'open',
      kdf: KDF,
      maxFailures: 3,
      lockoutMs: 60_000,
      devicesPerAccount: 2,
      log,
      now,
      randomBytes,
      logIdentity: () => LOG,
      ...options,
    });
  }

  link(issued: Issued, issuer: Authority = ca): Link {
    return new Link(this.accounts, issued, issuer);
  }
}

/** A link of somebody with this certificate. */
class Link {
  readonly session: AccountSession;
  readonly exporter = randomBytes(32);
  /** between challenge and proof */
  meanwhile: () => void = () => {};

  constructor(accounts: Accounts, issued: Issued, issuer: Authority) {
    const peerChain = parsePem(issued.pem + issuer.pem) as unknown as Chain;
    this.session = accounts.session({
      peerChain,
      ownFingerprint: peerChain[0].fingerprint,
      exporter: new Secret(Buffer.from(this.exporter)),
      address: '192.0.2.1',
    });
  }

  register(username: string, more: Partial<Request<'register'>> & { password?: string } = {}): Promise<void> {
    const { password = 'right', ...fields } = more;
    return this.session.register({
      type: 'register',
      id: 1,
      username,
      email: `${username}@example.org`,
      salt: Buffer.alloc(16, 1),
      kdf: KDF,
      ...verifier(password),
      ...fields,
    });
  }

  challenge(account: string, nonce = randomBytes(24)): Promise<Reply<'login_challenge'>> {
    return this.session.login({ type: 'login', id: 2, account, nonce });
  }

  async login(
    account: string,
    password = 'right',
    exporter: Buffer = this.exporter,
    continues?: Continuity,
  ): Promise<LoggedIn & { isMutual: boolean }> {
    const clientNonce = randomBytes(24);
    const { nonce: serverNonce, salt, kdf } = await this.challenge(account, clientNonce);
    const channelBinding = loginBinding(new Secret(Buffer.from(exporter)));
    const message = authMessage({ username: account, clientNonce, serverNonce, salt, kdf, channelBinding });
    const proof = clientProof(salted(password), message);
    this.meanwhile();
    const done = await this.session.prove({ type: 'login_proof', id: 3, proof, ...(continues && { continues }) });
    return {
      ...done,
      isMutual: checkServerSignature(salted(password), message, done.reply.server_signature ?? Buffer.alloc(0)),
    };
  }

  setPassword(password: string, kdf = KDF): Promise<Reply<'password_ok'>> {
    return this.session.setPassword({
      type: 'password_set',
      id: 5,
      salt: Buffer.alloc(16, 3),
      kdf,
      ...verifier(password),
    });
  }

  resume(token: string): Promise<LoggedIn> {
    return this.session.resume({ type: 'resume', id: 4, token });
  }
}

const person = (name: string, options: CertOptions = {}) => ca.client(name, options);
const codeOf = (work: Promise<unknown>): Promise<Code | 'ok'> =>
  work.then(
    () => 'ok',
    (error: { code: Code }) => error.code,
  );

t.test('register, log in, resume', async (t) => {
  const world = await World.open(t);
  const alice = person('alice');
  await world.link(alice).register('Alice', { email: 'Alice@Example.ORG', display_name: 'Alice A.' });
  const { user, device, isNewDevice, reply, isMutual } = await world.link(alice).login('alice');
  t.match(user, {
    username: 'alice',
    email: 'alice@example.org',
    displayName: 'Alice A.',
    status: 'active',
    createdAt: START,
  });
  t.match(user.certIdentity, /^[0-9a-f]{64}:alice$/);
  t.notOk(isNewDevice, 'registered with its account');
  t.equal(device.userId, user.id);
  t.same(device.chain.length, parsePem(alice.pem)[0]!.der.length + parsePem(ca.pem)[0]!.der.length + 8);
  t.ok(isMutual, 'the server has proven itself');
  t.match(reply, {
    type: 'login_ok',
    id: 3,
    username: 'alice',
    email: 'alice@example.org',
    server_time: START,
    log: LOG,
  });
  t.equal(reply.token_expires, Math.floor((START + 600_000) / 1000) * 1000);
  for (const name of ['ALICE', 'alice@example.org', 'Alice@Example.org', '\uff41lice'])
    t.equal((await world.link(alice).login(name)).user.id, user.id, name);
  const resumed = await world.link(alice).resume(reply.token);
  t.equal(resumed.user.id, user.id);
  t.equal(resumed.device.id, device.id);
  t.notOk('server_signature' in resumed.reply, 'there was no proof to answer');
  await world.link(alice).resume(resumed.reply.token);
  t.equal(
    replies.login_ok(new Map(Object.entries({ ...reply, log: new Map(Object.entries(LOG)) })) as never, 'x').type,
    'login_ok',
  );
  t.notMatch(JSON.stringify(world.lines), /right|eyJ/, 'no password and no token in the log');
});

t.test('the name is that of the certificate', async (t) => {
  const world = await World.open(t);
  const mallory = person('mallory');
  await t.rejects(world.link(mallory).register('alice'), { code: 'CERT_ACCOUNT_MISMATCH', field: 'register.username' });
  const rows: readonly [string, Partial<Request<'register'>>, object][] = [
    ['mal\0lory', {}, { code: 'BAD_NAME', field: 'register.username' }],
    ['m\u0430llory', {}, { code: 'BAD_NAME', field: 'register.username' }],
    ['admin', {}, { code: 'BAD_NAME', field: 'register.username' }],
    ["mallory'--", {}, { code: 'BAD_NAME', field: 'register.username' }],
    ['mallory', { email: 'nobody' }, { code: 'BAD_NAME', field: 'register.email' }],
    ['mallory', { email: "x'; DROP TABLE users@example.org" }, { code: 'BAD_NAME', field: 'register.email' }],
    ['mallory', { kdf: 'argon2id$m=8,t=1,p=1' }, { code: 'WEAK_KDF', sub: 'memory' }],
    ['mallory', { kdf: 'argon2id$m=65536,t=1,p=1' }, { code: 'WEAK_KDF', sub: 'passes' }],
    ['mallory', { kdf: 'pbkdf2-sha256$i=1' }, { code: 'WEAK_KDF', sub: 'rounds' }],
    ['mallory', { kdf: 'md5' }, { code: 'WEAK_KDF', sub: 'unknown' }],
  ];
  for (const [name, fields, want] of rows)
    await t.rejects(
      world.link(mallory).register(name, fields),
      want as { code: string },
      JSON.stringify([name, fields]),
    );
  t.same(await world.store.listUsers(), [], 'nothing was made');
  const closed = new World(world.path, world.store, { registration: 'closed' });
  await t.rejects(closed.link(mallory).register('mallory'), { code: 'REGISTRATION_CLOSED' });
  t.throws(
    () => new World(world.path, world.store, { kdf: 'argon2id$m=8,t=1,p=1' }),
    { code: 'WEAK_KDF' },
    'also ours',
  );
});

t.test('a name is taken once, also when many want it at the same time', async (t) => {
  const world = await World.open(t);
  const devices = Array.from({ length: 8 }, () => person('alice'));
  const results = await Promise.all(devices.map((device) => codeOf(world.link(device).register('alice'))));
  t.equal(results.filter((code) => code === 'ok').length, 1);
  t.equal(results.filter((code) => code === 'USER_EXISTS').length, 7);
  t.equal((await world.store.listUsers()).length, 1);
  const unaddressed = (name: string) => ca.issue({ cn: name, san: [`URI:chat:${name}`] });
  const bob = person('bob');
  await t.rejects(world.link(bob).register('bob', { email: 'alice@example.org' }), {
    code: 'CERT_ACCOUNT_MISMATCH',
    field: 'register.email',
  });
  await t.rejects(world.link(unaddressed('bob')).register('bob', { email: 'alice@example.org' }), {
    code: 'USER_EXISTS',
    field: 'register.email',
  });
  await t.rejects(world.link(person('alice')).register('alice'), { code: 'USER_EXISTS', field: 'register.username' });
  const racing = ['carol', 'dave'].map((name) =>
    world.link(unaddressed(name)).register(name, { email: 'same@example.org' }),
  );
  t.same((await Promise.all(racing.map(codeOf))).sort(), ['USER_EXISTS', 'ok']);
  const byMail = ca.issue({ cn: 'bob', san: ['email:bob@example.org'] });
  await world.link(bob).register('bob');
  await t.rejects(
    world.link(byMail).register('bob@example.org', { email: 'bob@example.org' }),
    { code: 'USER_EXISTS', field: 'register.username' },
    'a username that is the address of another account',
  );
});

t.test('a registration that the database did not take, or whose answer was lost, is repeated', async (t) => {
  for (const step of ['createUser', 'addDevice'] as const)
    for (const moment of ['before', 'after'] as const)
      await t.test(`${moment} ${step}`, async (t) => {
        let fails = true;
        const failing = (store: Store): Store => ({
          ...store,
          [step]: async (...args: never[]) => {
            const work = () => (store[step] as (...args: never[]) => Promise<unknown>)(...args);
            if (!fails) return work();
            fails = false;
            if (moment === 'after') await work();
            throw new ChatError('STORE_FAILED', 'nobody knows whether');
          },
        });
        const world = await World.open(t, {}, failing);
        const alice = person('alice');
        t.equal(await codeOf(world.link(alice).register('alice')), fails ? 'ok' : 'STORE_FAILED');
        fails = false;
        const isThere = (await world.store.findUser('alice')) !== null;
        const again = world.link(alice).register('alice', { salt: Buffer.alloc(16, 2) });
        if (isThere) {
          await t.rejects(again, { code: 'USER_EXISTS', field: 'register.username', sub: 'this_device' });
          const wrong = world.link(alice).register('alice', { password: 'wrong' });
          await t.rejects(wrong, { code: 'USER_EXISTS', sub: 'this_device' }, 'which says nothing of the password');
        } else await again;
        await t.rejects(
          world.link(person('alice')).register('alice'),
          { code: 'USER_EXISTS', field: 'register.username', sub: undefined },
          'to another certificate it is a name that is taken',
        );
        await t.rejects(world.link(alice).login('alice', 'wrong'), { code: 'AUTH_FAIL' });
        t.equal((await world.link(alice).login('alice')).isNewDevice, false);
      });
});

t.test('an address belongs to whose certificate names it, whoever came first', async (t) => {
  const world = await World.open(t);
  const unaddressed = (name: string) => ca.issue({ cn: name, san: [`URI:chat:${name}`] });
  const [mallory, oscar] = [unaddressed('mallory'), unaddressed('oscar')];
  await world.link(mallory).register('mallory', { email: 'alice@example.org' });
  await t.rejects(world.link(oscar).register('oscar', { email: 'alice@example.org' }), { code: 'USER_EXISTS' });
  const wanted = { email: 'mallory@unproven.invalid' };
  await t.rejects(world.link(oscar).register('oscar', wanted), { code: 'USER_EXISTS', field: 'register.email' });
  await world.link(person('alice')).register('alice');
  t.match(await world.store.findUser('alice@example.org'), { username: 'alice' });
  t.match(await world.store.findUser('mallory'), { email: 'mallory@unproven.invalid' });
  t.match(world.lines.at(-2), { event: 'register.unproven', user: 'mallory' });
  t.ok(await world.link(mallory).login('mallory'), 'who had it keeps his account');

  await world.link(oscar).register('oscar', { email: 'bob@example.org' });
  const byMail = ca.issue({ cn: 'bob', san: ['email:bob@example.org'] });
  await world.link(byMail).register('bob@example.org', { email: 'bob@example.org' });
  t.match(await world.store.findUser('bob@example.org'), { username: 'bob@example.org' }, 'also where it is the name');
  const twice = ca.issue({ cn: 'alice2', san: ['email:alice@example.org', 'URI:chat:alice2'] });
  await t.rejects(world.link(twice).register('alice2', { email: 'alice@example.org' }), {
    code: 'USER_EXISTS',
    field: 'register.email',
  });
});

t.test('an account belongs to its identity, not to one certificate', async (t) => {
  const world = await World.open(t);
  await world.link(person('alice')).register('alice');
  const renewed = await world.link(person('alice')).login('alice');
  t.ok(renewed.isNewDevice, 'a new certificate of the same name');
  await t.rejects(world.link(person('alice')).login('alice'), { code: 'DEVICE_LIMIT' });
  await t.rejects(
    world.link(person('mallory')).login('alice'),
    { code: 'AUTH_FAIL' },
    'nor that he knows the password',
  );
  const other = authority('Test CA');
  await t.rejects(world.link(other.client('alice'), other).login('alice'), {
    code: 'CERT_ACCOUNT_MISMATCH',
    field: 'certificate',
  });
  await t.rejects(
    world.link(other.client('alice'), other).login('alice', 'wrong'),
    { code: 'AUTH_FAIL' },
    'not told before the proof',
  );
});

t.test('a device that goes on under another key shows it by its own, or is none', async (t) => {
  const world = await World.open(t, { devicesPerAccount: 3 });
  const [before, next] = [person('alice'), person('alice')];
  const raw = () => {
    const pair = generateKeyPairSync('ed25519');
    return {
      mlsKey: pair.publicKey.export({ format: 'raw-public' }),
      mlsPrivateKey: pair.privateKey.export({ format: 'raw-private' }),
    };
  };
  const [own, other] = [raw(), raw()];
  const bindingOf = (by = before, { user = 'alice', certificate = by } = {}): Buffer =>
    createBinding(
      {
        organisation: 'corp',
        user,
        deviceId: Buffer.alloc(16, 1),
        mlsKey: own.mlsKey,
        notBefore: START,
        notAfter: START + 1,
      },
      [certificate.der],
      by.key,
    );
  const fingerprint = ({ der }: Issued) => createHash('sha256').update(der).digest() as never;
  const shows = (binding: Buffer, { key = own.mlsPrivateKey, from = before, to = next } = {}): Continuity =>
    continuityOf(binding, key, fingerprint(from), fingerprint(to));
  const login = (issued: Issued, continues?: Continuity) =>
    world.link(issued).login('alice', 'right', undefined, continues);

  await world.link(before).register('alice');
  const first = (await login(before)).device;
  const refused: [string, Continuity, { code: Code; sub?: string; field?: string }][] = [
    ['for another certificate', shows(bindingOf(), { to: person('alice') }), { code: 'SIG_FAIL', sub: 'continuity' }],
    ['by another device', shows(bindingOf(), { key: other.mlsPrivateKey }), { code: 'SIG_FAIL', sub: 'continuity' }],
    [
      'a binding that the certificate has not signed',
      shows(bindingOf(next, { certificate: before })),
      { code: 'SIG_FAIL', sub: 'continuity' },
    ],
    ['a binding of somebody else', shows(bindingOf(before, { user: 'bob' })), { code: 'SIG_FAIL', sub: 'continuity' }],
    [
      'no binding',
      { binding: Buffer.from('none'), signature: Buffer.alloc(64) },
      { code: 'BAD_FRAME', field: 'binding' },
    ],
  ];
  for (const [name, continues, error] of refused) await t.rejects(login(next, continues), error, name);
  t.equal((await world.store.devicesOf(first.userId, 9)).length, 1, 'and nothing has come of it');

  const { device, isNewDevice, keyHashes, renewed } = await login(next, shows(bindingOf()));
  t.strictSame([renewed, (await login(next)).renewed], [first.fingerprint, null]);
  t.match({ id: device.id, isNewDevice, count: keyHashes.length }, { id: first.id, isNewDevice: true, count: 2 });
  await t.rejects(login(before), { code: 'BAD_CERT', sub: 'revoked' }, 'the one before is over');
  t.equal((await login(next, shows(bindingOf()))).device.id, first.id, 'said twice');

  const third = person('alice');
  const of = { from: before, to: third };
  t.not((await login(third, shows(bindingOf(), of))).device.id, first.id, 'what was continued once is so no more');
  await world.store.revokeDevices({ spkiHash: device.spkiHash }, START);
  const late = person('alice');
  const revoked = shows(bindingOf(next), { from: next, to: late });
  t.not((await login(late, revoked)).device.id, first.id, 'a revoked device is over');
  const stranger = person('alice');
  const unknown = shows(bindingOf(stranger), { from: stranger, to: person('alice') });
  const newest = await login(stranger, unknown);
  t.ok(newest.isNewDevice, 'one that the server has never had');
});

t.test('new accounts cost what the operator demands, and names without one look as if they did', async (t) => {
  const strong = 'argon2id$m=131072,t=4,p=1';
  const world = await World.open(t, { kdf: strong });
  const alice = person('alice');
  await t.rejects(world.link(alice).register('alice'), { code: 'WEAK_KDF', sub: 'memory' });
  await t.rejects(world.link(alice).register('alice', { kdf: 'argon2id$m=131072,t=3,p=1' }), {
    code: 'WEAK_KDF',
    sub: 'passes',
  });
  await world.link(alice).register('alice', { kdf: strong });
  await world.link(person('bob')).register('bob', { kdf: 'pbkdf2-sha256$i=600000' });
  for (const name of ['alice', 'nobody']) t.equal((await world.link(alice).challenge(name)).kdf, strong, name);
  const weak = new World(world.path, world.store, { kdf: 'argon2id$m=19456,t=2,p=1' });
  t.equal((await weak.link(alice).challenge('nobody')).kdf, KDF, 'clients take no less of themselves');
});

t.test('a wrong password and an unknown name are the same', async (t) => {
  const world = await World.open(t, { maxFailures: 1000 });
  await world.link(person('alice')).register('alice');
  const stranger = person('stranger');
  const seen: unknown[] = [];
  for (const account of ['alice', 'nobody', 'admin', "' OR 1=1 --", 'x'.repeat(254), 'a\0b', '\ud800']) {
    const link = world.link(stranger);
    const challenge = await link.challenge(account).catch((error: { code: string }) => error);
    const { salt } = challenge as Reply<'login_challenge'>;
    const again = (await world
      .link(stranger)
      .challenge(account)
      .catch(() => ({ salt }))) as Reply<'login_challenge'>;
    t.same(again.salt, salt, `${JSON.stringify(account)}: the same salt every time`);
    if (account === '\ud800') continue; // no text frame can carry it
    t.match(challenge, { type: 'login_challenge', id: 2, kdf: KDF });
    t.equal(salt.length, 16);
    const error = (await world
      .link(stranger)
      .login(account, 'wrong')
      .catch((e: unknown) => e)) as Record<string, unknown>;
    const { code, sub, field, message, retryAfterMs } = error;
    seen.push({ code, sub, field, message, retryAfterMs });
  }
  t.equal(new Set(seen.map((s) => JSON.stringify(s))).size, 1, 'one answer');
  t.match(seen[0], { code: 'AUTH_FAIL' });
  const salts = new Set<string>();
  for (const name of ['nobody', 'nobody2', 'alice'])
    salts.add(Buffer.from((await world.link(stranger).challenge(name)).salt).toString('hex'));
  t.equal(salts.size, 3, 'and different for different names');
  const restarted = new World(world.path, world.store, {});
  t.same(
    (await restarted.link(stranger).challenge('nobody')).salt,
    (await world.link(stranger).challenge('nobody')).salt,
  );
});

t.test(
  'salt and cost of an account are for certificates in its name: to all others it is one that is not there',
  async (t) => {
    const world = await World.open(t, { maxFailures: 1000 });
    const alice = person('alice');
    const kdf = 'argon2id$m=65536,t=5,p=1';
    await world.link(alice).register('alice', { kdf });
    const asked = (name: string) => world.link(person('stranger')).challenge(name);
    const [name, address] = [await asked('alice'), await asked('alice@example.org')];
    t.notSame(name.salt, address.salt, 'both would be those of one account');
    t.strictSame([name.kdf, address.kdf], [KDF, KDF]);
    const own = world.link(alice);
    for (const account of ['alice', 'alice@example.org'])
      t.match(await own.challenge(account), { salt: Buffer.alloc(16, 1), kdf });
    const { id } = (await world.store.findUser('alice'))!;
    const another = { salt: Buffer.alloc(16, 9), pwdHash: '00'.repeat(32), serverKey: Buffer.alloc(32), pwdKdf: KDF };
    await world.store.setPassword(id, another, null);
    t.same((await asked('alice')).salt, name.salt, 'nor does it tell that the password is another one');
  },
);

t.test('the same questions are asked of the store for a name that exists and one that does not', async (t) => {
  const calls: string[] = [];
  const world = await World.open(
    t,
    {},
    (store) =>
      new Proxy(store, {
        get(target, name) {
          const value = Reflect.get(target, name) as unknown;
          if (typeof value !== 'function') return value;
          return (...args: unknown[]) => (
            calls.push(String(name)),
            (value as (...a: unknown[]) => unknown).apply(target, args)
          );
        },
      }),
  );
  await world.link(person('alice')).register('alice');
  const asked: string[][] = [];
  for (const name of ['alice', 'nobody']) {
    calls.length = 0;
    await codeOf(world.link(person('stranger')).login(name, 'wrong'));
    asked.push([...calls]);
  }
  t.same(asked[0], asked[1]);
  t.same(asked[0], ['findUser', 'lockedUntil', 'findUser', 'lockedUntil', 'countLoginFailure']);
});

t.test('a proof is good once, here, and after a challenge', async (t) => {
  const world = await World.open(t);
  const alice = person('alice');
  await world.link(alice).register('alice');
  const prove = (link: Link, proof = Buffer.alloc(32)) => link.session.prove({ type: 'login_proof', id: 3, proof });
  const fresh = world.link(alice);
  t.throws(() => prove(fresh), { code: 'BAD_FRAME', field: 'frame.type' });
  await t.rejects(
    world.link(alice).login('alice', 'right', randomBytes(32)),
    { code: 'AUTH_FAIL' },
    'a proof for another link',
  );
  await fresh.challenge('alice');
  await t.rejects(prove(fresh), { code: 'AUTH_FAIL' });
  t.throws(() => prove(fresh), { code: 'BAD_FRAME', field: 'frame.type' }, 'a challenge is used up');
  const done = await fresh.login('alice');
  await t.rejects(fresh.login('alice'), { code: 'BAD_FRAME', field: 'frame.type' }, 'one login a link');
  await t.rejects(fresh.resume(done.reply.token), { code: 'BAD_FRAME', field: 'frame.type' });
  await t.rejects(fresh.register('alice'), { code: 'BAD_FRAME', field: 'frame.type' });
  const many = world.link(alice);
  for (let i = 0; i < 32; i++) await many.challenge('alice');
  await t.rejects(many.challenge('alice'), { code: 'RATE_LIMIT', sub: 'attempts' });
});

t.test('guessing locks the guesser out, for longer and longer, and nobody else', async (t) => {
  const world = await World.open(t);
  const alice = person('alice');
  const other = person('alice'); // another device of hers
  await world.link(alice).register('alice');
  await world.link(other).login('alice');
  const locked = async (link: Link, account = 'alice', password = 'right') =>
    (await link.login(account, password).then(
      () => 0,
      (error: { code: string; retryAfterMs?: number }) => (error.code === 'LOCKED' ? error.retryAfterMs : error.code),
    )) as unknown;
  for (let i = 0; i < 3; i++) t.equal(await locked(world.link(alice), 'alice', 'wrong'), 'AUTH_FAIL');
  t.equal(await locked(world.link(alice)), 60_000, 'also with the right password');
  t.equal(await locked(world.link(other)), 0, 'her other device');
  const restarted = new World(world.path, world.store, {});
  restarted.now = START + 20_000;
  t.equal(await locked(restarted.link(alice)), 40_000, 'a restart forgets nothing');
  restarted.now = START + 60_000;
  t.equal(await locked(restarted.link(alice), 'alice', 'wrong'), 'AUTH_FAIL');
  t.equal(await locked(restarted.link(alice)), 120_000, 'twice as long');
  restarted.now += 120_000;
  t.equal(await locked(restarted.link(alice)), 0);
  for (let i = 0; i < 2; i++) await locked(restarted.link(alice), 'alice', 'wrong');
  t.equal(await locked(restarted.link(alice)), 0, 'a right password starts the count again');
  t.ok(world.lines.some(({ event }) => event === 'login.locked'));
});

t.test('an account is guessed at as one, by its name and by an address that no certificate names', async (t) => {
  const world = await World.open(t);
  const alice = person('alice', { san: ['URI:chat:alice'] });
  const login = (account: string, password = 'right') => codeOf(world.link(alice).login(account, password));
  await world.link(alice).register('alice');
  for (let i = 0; i < 4; i++) {
    t.equal(await login('alice@example.org', 'wrong'), 'AUTH_FAIL');
    t.equal(await login('alice@example.org'), 'ok', 'who knows it in the end begins anew');
  }
  for (const account of ['alice', 'alice@example.org', 'alice']) t.equal(await login(account, 'wrong'), 'AUTH_FAIL');
  for (const account of ['alice', 'alice@example.org']) t.equal(await login(account), 'LOCKED');
  const { stored_key, server_key } = verifier('another');
  const record = { salt: Buffer.alloc(16, 2), pwdHash: stored_key.toString('hex'), serverKey: server_key, pwdKdf: KDF };
  await world.store.setPassword((await world.store.findUser('alice'))!.id, record, null);
  for (const account of ['alice@example.org', 'alice'])
    t.equal(await login(account, 'another'), 'ok', 'another password lifts it');
});

t.test('while the database takes no failures one guess is judged, and is counted before the next', async (t) => {
  const full = async (): Promise<never> => Promise.reject(new ChatError('DISK_FULL', 'full'));
  let isFull = false;
  const counted: (readonly string[])[] = [];
  const world = await World.open(t, {}, (store) => ({
    ...store,
    countLoginFailure: async (subjects, ...rest) => {
      if (isFull) return full();
      counted.push(subjects);
      return store.countLoginFailure(subjects, ...rest);
    },
  }));
  const [alice, other] = [person('alice'), person('alice')];
  await world.link(alice).register('alice');
  isFull = true;
  for (const password of ['wrong', 'wrong', 'right'])
    t.equal(
      await codeOf(world.link(alice).login('alice', password)),
      'DISK_FULL',
      'the right one is not told from a wrong one',
    );
  t.equal(await codeOf(world.link(other).login('alice')), 'ok', 'who has not guessed');
  isFull = false;
  t.equal(await codeOf(world.link(alice).login('alice', 'wrong')), 'AUTH_FAIL');
  t.equal(counted.length, 2, 'the first, and this one');
  t.equal(await codeOf(world.link(alice).login('alice', 'wrong')), 'AUTH_FAIL', 'the third');
  t.equal(await codeOf(world.link(alice).login('alice')), 'LOCKED');
});

t.test('a login that fails because the database does has not begun, and is tried again on the same link', async (t) => {
  let fails = '';
  const world = await World.open(
    t,
    {},
    (store) =>
      new Proxy(store, {
        get: (target, name) =>
          name === fails
            ? () => Promise.reject(new ChatError('STORE_FAILED', 'gone'))
            : (Reflect.get(target, name) as unknown),
      }),
  );
  const alice = person('alice');
  await world.link(alice).register('alice');
  for (const name of ['findUser', 'lockedUntil', 'clearLoginFailures', 'addDevice']) {
    const link = world.link(alice);
    link.meanwhile = () => (fails = name);
    await t.rejects(link.login('alice'), { code: 'STORE_FAILED' }, name);
    fails = '';
    link.meanwhile = () => {};
    await t.rejects(link.setPassword('second'), { code: 'NOT_LOGGED_IN', sub: 'proof' });
    const { reply } = await link.login('alice');
    const other = world.link(alice);
    fails = 'userWithDevice';
    await t.rejects(other.resume(reply.token), { code: 'STORE_FAILED' });
    fails = '';
    t.equal(await codeOf(other.resume(reply.token)), 'ok');
  }
});

t.test('another password lifts the lock, also of a key that has never logged in, and ends tokens', async (t) => {
  const world = await World.open(t);
  const [alice, laptop] = [person('alice'), person('alice')];
  await world.link(alice).register('alice');
  const { user, reply } = await world.link(alice).login('alice');
  for (const each of [alice, laptop])
    for (let i = 0; i < 4; i++) await codeOf(world.link(each).login('alice', 'what was it'));
  for (const each of [alice, laptop]) t.equal(await codeOf(world.link(each).login('alice')), 'LOCKED');
  const held = world.link(alice);
  const { stored_key, server_key } = verifier('another');
  const record = { salt: Buffer.alloc(16, 2), pwdHash: stored_key.toString('hex'), serverKey: server_key, pwdKdf: KDF };
  t.equal(await world.store.setPassword(user.id, record, null), true);
  t.equal(await codeOf(held.login('alice')), 'AUTH_FAIL', 'the one before');
  t.equal(await codeOf(world.link(alice).resume(reply.token)), 'AUTH_FAIL');
  for (const each of [alice, laptop]) {
    t.equal(await codeOf(world.link(each).login('alice', 'another')), 'ok');
    for (let i = 0; i < 3; i++) t.equal(await codeOf(world.link(each).login('alice', 'wrong')), 'AUTH_FAIL');
    t.equal(await codeOf(world.link(each).login('alice', 'another')), 'LOCKED', 'guesses at the new one count');
  }
});

t.test('whoever has just proven his password may change it, and the one before is good for nothing', async (t) => {
  const world = await World.open(t, { kdf: 'argon2id$m=65536,t=4,p=1' });
  const alice = person('alice');
  await world.link(alice).register('alice', { kdf: 'argon2id$m=65536,t=5,p=1' });
  const link = world.link(alice);
  await t.rejects(link.setPassword('second'), { code: 'NOT_LOGGED_IN', sub: 'proof' });
  const { reply } = await link.login('alice');
  const phone = world.link(alice);
  await phone.resume(reply.token);
  await t.rejects(phone.setPassword('second'), { code: 'NOT_LOGGED_IN', sub: 'proof' }, 'a token is no proof');
  const other = world.link(alice);
  await other.login('alice');
  await t.rejects(link.setPassword('second'), { code: 'WEAK_KDF', sub: 'passes' }, 'as for new accounts');
  await t.rejects(link.setPassword('second', 'md5'), { code: 'WEAK_KDF', sub: 'unknown' });
  t.equal(await codeOf(world.link(alice).login('alice')), 'ok', 'nothing has changed so far');

  const stronger = 'argon2id$m=65536,t=6,p=1';
  const { token, token_expires: expires } = await link.setPassword('second', stronger);
  t.equal(expires, Math.floor((START + 600_000) / 1000) * 1000);
  t.match(world.lines.at(-1), { event: 'password.set', user: 'alice', address: '192.0.2.1' });
  t.equal(await codeOf(world.link(alice).login('alice')), 'AUTH_FAIL');
  t.equal(await codeOf(world.link(alice).resume(reply.token)), 'AUTH_FAIL');
  t.equal(await codeOf(world.link(alice).resume(token)), 'ok');
  t.match(await world.link(alice).challenge('alice'), { kdf: stronger, salt: Buffer.alloc(16, 3) });
  t.match(await world.link(alice).login('alice', 'second'), { isMutual: true });
  t.equal(await codeOf(other.setPassword('third', stronger)), 'AUTH_FAIL', 'he has proven the one before');
  t.equal(await codeOf(link.setPassword('third', stronger)), 'ok', 'once more');
  t.equal(await codeOf(world.link(alice).login('alice', 'third')), 'ok');

  for (const by of [PROOF_LASTS_MS + 1, -PROOF_LASTS_MS - 1]) {
    world.now = START + by; // or the clock was set back
    await t.rejects(link.setPassword('fourth', stronger), { code: 'NOT_LOGGED_IN', sub: 'proof' });
  }
  world.now = START + PROOF_LASTS_MS;
  t.equal(await codeOf(link.setPassword('fourth', stronger)), 'ok');
});

t.test('a proof of somebody who is not let in changes no password', async (t) => {
  const world = await World.open(t);
  const alice = person('alice');
  await world.link(alice).register('alice');
  const other = authority('Test CA');
  const stranger = world.link(other.client('alice'), other);
  t.equal(await codeOf(stranger.login('alice')), 'CERT_ACCOUNT_MISMATCH', 'he knows it');
  await t.rejects(stranger.setPassword('mine'), { code: 'NOT_LOGGED_IN', sub: 'proof' });
  t.equal(await codeOf(world.link(alice).login('alice')), 'ok');
});

t.test('who tries names of others is stopped by his key, unknown names or not', async (t) => {
  const world = await World.open(t);
  const mallory = person('mallory');
  await world.link(person('alice')).register('alice');
  await world.link(mallory).register('mallory');
  for (const name of ['alice', 'nobody']) t.equal(await codeOf(world.link(mallory).login(name, 'wrong')), 'AUTH_FAIL');
  t.equal(await codeOf(world.link(mallory).login('mallory')), 'ok', 'his own login');
  t.equal(await codeOf(world.link(mallory).login('bob', 'wrong')), 'AUTH_FAIL');
  t.equal(await codeOf(world.link(mallory).login('carol', 'wrong')), 'LOCKED', 'does not wipe out what he did before');
  const keyPair = { publicKey: parsePem(mallory.pem)[0]!.publicKey, privateKey: mallory.key };
  t.equal(
    await codeOf(world.link(person('mallory', { keyPair })).login('alice', 'wrong')),
    'LOCKED',
    'nor does a new certificate',
  );
  t.equal(await codeOf(world.link(person('alice')).login('alice')), 'ok', 'and alice notices nothing');
});

t.test('guesses on many links at once are counted one by one', async (t) => {
  const world = await World.open(t);
  const alice = person('alice');
  await world.link(alice).register('alice');
  const codes = await Promise.all(Array.from({ length: 20 }, () => codeOf(world.link(alice).login('alice', 'wrong'))));
  t.equal(codes.filter((code) => code === 'AUTH_FAIL').length, 3, 'three guesses and no more');
  t.equal(codes.filter((code) => code === 'LOCKED').length, 17);
});

t.test('what only the right password is told', async (t) => {
  let change: (user: User) => User = (user) => user;
  const changing = (store: Store): Store =>
    new Proxy(store, {
      get(target, name) {
        const value = Reflect.get(target, name) as unknown;
        if (name === 'findUser')
          return async (account: string) => {
            const user = await target.findUser(account);
            return user && change(user);
          };
        if (name === 'userWithDevice')
          return async (...key: Parameters<Store['userWithDevice']>) => {
            const found = await target.userWithDevice(...key);
            return found && { ...found, user: change(found.user) };
          };
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  const world = await World.open(t, {}, changing);
  const alice = person('alice');
  await world.link(alice).register('alice');
  const { token } = (await world.link(alice).login('alice')).reply;
  change = (user) => ({ ...user, status: 'suspended' });
  await t.rejects(world.link(alice).login('alice', 'wrong'), { code: 'AUTH_FAIL' });
  await t.rejects(world.link(alice).login('alice'), { code: 'SUSPENDED' });
  await t.rejects(world.link(alice).resume(token), { code: 'SUSPENDED' });
  change = (user) => user;
  const held = world.link(alice);
  held.meanwhile = () => (change = (user) => ({ ...user, status: 'suspended' }));
  await t.rejects(held.login('alice'), { code: 'SUSPENDED' }, 'since the challenge');
  change = (user) => user;
  held.meanwhile = () => (change = (user) => ({ ...user, pwdHash: 'cd'.repeat(32) }));
  await t.rejects(held.login('alice'), { code: 'AUTH_FAIL' }, 'a password that was changed since the challenge');
  change = (user) => user;
  await world.link(alice).login('alice');
  change = (user) => ({ ...user, pwdHash: 'cd'.repeat(32) });
  await t.rejects(world.link(alice).resume(token), { code: 'AUTH_FAIL' }, 'a changed password ends its tokens');
  change = (user) => ({ ...user, id: user.id, certIdentity: `${'00'.repeat(32)}:alice` });
  await t.rejects(world.link(alice).resume(token), { code: 'CERT_ACCOUNT_MISMATCH' });
  change = (user) => user;
  await t.rejects(world.link(person('alice')).resume(token), { code: 'AUTH_FAIL' }, 'another certificate of hers');
  await t.rejects(world.link(person('mallory')).resume(token), { code: 'AUTH_FAIL' }, 'somebody else');
  world.now += 600_000;
  await t.rejects(world.link(alice).resume(token), { code: 'AUTH_FAIL' }, 'after its time');
  world.now = START;
  await world.store.revokeDevices({ spkiHash: parsePem(alice.pem)[0]!.spkiHash }, START);
  await t.rejects(world.link(alice).login('alice', 'wrong'), { code: 'AUTH_FAIL' });
  await t.rejects(world.link(alice).login('alice'), { code: 'BAD_CERT', sub: 'revoked' });
  await t.rejects(world.link(alice).resume(token), { code: 'BAD_CERT', sub: 'revoked' });
});

t.test('a device that is revoked does not come back with its certificate in other bytes', async (t) => {
  const world = await World.open(t);
  const [alice, other] = [person('alice'), person('alice')];
  await world.link(alice).register('alice');
  await world.link(alice).login('alice');
  const der = malleated(parsePem(alice.pem)[0]!);
  const copy = { ...alice, der, pem: pem('CERTIFICATE', der) };
  const { serialKey, userId } = (await world.link(other).login('alice')).device;
  await world.store.revokeDevices({ serialKey: revocationKeys(parsePem(alice.pem)[0]!)[0] }, START);
  await t.rejects(world.link(copy).login('alice'), { code: 'BAD_CERT', sub: 'revoked' });
  t.strictSame(
    (await world.store.devicesOf(userId, 9)).filter(({ revokedAt }) => revokedAt === null).map((d) => d.serialKey),
    [serialKey],
    'and no device has come of it',
  );
});

t.test('who comes back by token with a known device is read once, and nothing is written', async (t) => {
  const asked: string[] = [];
  const counting = (store: Store): Store =>
    new Proxy(store, {
      get(target, name) {
        const value = Reflect.get(target, name) as unknown;
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => (asked.push(String(name)), Reflect.apply(value, target, args) as unknown);
      },
    });
  const world = await World.open(t, {}, counting);
  const [alice, laptop] = [person('alice'), person('alice')];
  await world.link(alice).register('alice');
  const first = await world.link(alice).login('alice');
  asked.length = 0;
  const again = await world.link(alice).resume(first.reply.token);
  t.strictSame(asked, ['userWithDevice']);
  const { user, device, keyHashes } = again;
  t.strictSame({ user, device, keyHashes }, { user: first.user, device: first.device, keyHashes: first.keyHashes });
  t.equal(again.isNewDevice, false);
  const { userId, generation } = await world.tokens.verify(again.reply.token, device.fingerprint);
  t.equal(world.tokens.isCurrent(generation, user.pwdHash), true);
  asked.length = 0;
  const { token } = world.tokens.issue({ id: userId, pwdHash: user.pwdHash }, parsePem(laptop.pem)[0]!.fingerprint);
  t.equal((await world.link(laptop).resume(token)).isNewDevice, true);
  t.strictSame(asked, ['userWithDevice', 'addDevice'], 'a device that was never here is registered');
});

t.test('the frames of these tests are frames', (t) => {
  const frame = {
    type: 'register',
    id: 1,
    username: 'x',
    email: 'x@y',
    salt: Buffer.alloc(16),
    kdf: KDF,
    ...verifier('p'),
  };
  t.equal(requests.register(new Map(Object.entries(frame)) as never, 'register').kdf, KDF);
  t.end();
});
