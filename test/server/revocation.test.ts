import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Reply } from '../../protocol/messages.ts';
import type { ServerLink } from '../../runtime/link.ts';
import { Revocation, type RevocationOptions } from '../../server/revocation.ts';
import { parsePem } from '../../x509/certificate.ts';
import { revocationKeys } from '../../x509/revocation.ts';
import { ca, credentials, dial, inbox, memoryLog, startServer, trusting } from '../support/pair.ts';
import { authority, DAY_MS, pem, type Issued } from '../support/pki.ts';

const alice = ca.client('alice');
const bob = ca.client('bob');
const presented = (issued: Issued, ...more: readonly Issued[]) => credentials(issued, ...more).chain;

type T = { teardown(f: () => unknown): unknown; testdir(files?: Record<string, string>): string };
function open(t: T, crlFiles: readonly string[], options: Partial<RevocationOptions> = {}) {
  const { log, lines, line } = memoryLog();
  const now = options.now ?? Date.now;
  const revocation = new Revocation({
    authorities: trusting(ca),
    crlFiles,
    crlGraceMs: 0,
    now,
    log,
    pollMs: 20,
    ...options,
  });
  t.teardown(() => revocation.close());
  return { revocation, lines, line };
}

/** Alice and Bob connected, and watched. */
async function connected(
  t: T,
  crlFiles: readonly string[],
  options: Partial<RevocationOptions> = {},
  certificates = [alice, bob],
) {
  const opened = open(t, crlFiles, options);
  const links: ServerLink[] = [];
  const server = await startServer(t, {
    admit: opened.revocation.admit,
    onLink: (link) => {
      links.push(link);
      opened.revocation.watch(link);
      link.onFrame((frame) => frame.type === 'ping' && link.send({ type: 'pong', id: frame.id, server_time: 0 }));
    },
  });
  const clients = [];
  for (const issued of certificates) {
    const client = await dial(server.port, credentials(issued));
    clients.push({ link: client, inbox: inbox<Reply>(client) });
    t.teardown(() => client.close());
  }
  const [first, second] = clients;
  return { ...opened, server, links, first: first!, second: second! };
}
/** The link still carries frames. */
async function isAlive({ link, inbox: replies }: Awaited<ReturnType<typeof connected>>['first']): Promise<boolean> {
  link.send({ type: 'ping', id: 1 });
  return (await replies.next()).type === 'pong';
}

t.test('lists in PEM and DER, of several issuers', (t) => {
  const sub = ca.intermediate('Sub CA');
  const carol = sub.client('carol');
  const list = ca.crl([alice]);
  const der = Buffer.from(list.replace(/-----.*-----|\n/g, ''), 'base64');
  const dir = t.testdir({
    'ca.pem': list,
    'ca.der': der,
    'both.pem': ca.crl([alice]) + sub.crl([carol]),
    'sub.pem': sub.crl([]),
  });
  const at = (name: string) => join(dir, name);
  for (const files of [[at('ca.pem')], [at('ca.der')]]) {
    const { revocation } = open(t, files);
    t.throws(() => revocation.admit(presented(alice)), { code: 'BAD_CERT', sub: 'revoked' });
    t.equal(revocation.admit(presented(bob)).length, 2);
    t.throws(
      () => revocation.admit(presented(carol, sub)),
      { code: 'BAD_CERT', sub: 'revocation_unknown' },
      'there is no list of her CA',
    );
    t.match(revocation.status, { state: 'current', lists: [{ issuer: 'CN=Test CA', revoked: 1 }] });
  }
  const { revocation } = open(t, [at('both.pem')]);
  t.throws(() => revocation.admit(presented(carol, sub)), { code: 'BAD_CERT', sub: 'revoked' });
  const { revocation: good } = open(t, [at('ca.pem'), at('sub.pem')]);
  t.equal(good.admit(presented(carol, sub)).length, 3);
  t.equal(open(t, []).revocation.status.state, 'off');
  t.end();
});

t.test('an intermediate that was revoked takes its people with it', (t) => {
  const sub = ca.intermediate('Sub CA');
  const dir = t.testdir({ crl: ca.crl([sub]) + sub.crl([]) });
  const { revocation } = open(t, [join(dir, 'crl')]);
  t.throws(() => revocation.admit(presented(sub.client('carol'), sub)), { code: 'BAD_CERT', sub: 'revoked' });
  t.end();
});

t.test('a list that cannot be believed refuses everybody', (t) => {
  const now = Date.now();
  const stale = ca.crl([], { thisUpdate: now - 2 * DAY_MS, nextUpdate: now - 60_000 });
  const forged = authority('Test CA').crl([]);
  const dir = t.testdir({
    stale,
    forged,
    junk: 'not a list',
    empty: '',
    certificate: ca.pem,
    good: ca.crl([]),
    truncated: pem('X509 CRL', Buffer.from(ca.crl([]).replace(/-----.*-----|\n/g, ''), 'base64').subarray(0, 90)),
    writable: ca.crl([]),
  });
  const at = (name: string) => join(dir, name);
  chmodSync(at('writable'), 0o666);
  const rows: readonly [string, readonly string[], event: string | null][] = [
    ['missing', [at('nowhere')], 'crl.failed'],
    ['not a list', [at('junk')], 'crl.failed'],
    ['empty', [at('empty')], 'crl.failed'],
    ['a certificate in its place', [at('certificate')], 'crl.failed'],
    ['cut off', [at('truncated')], 'crl.failed'],
    ['one of two is missing', [at('good'), at('nowhere')], 'crl.failed'],
    ['others may write it', [at('writable')], 'crl.failed'],
    ['a folder', [dir], 'crl.failed'],
    ['stale', [at('stale')], 'crl.stale'],
    ['of somebody else with the same name', [at('forged')], null],
  ];
  for (const [name, files, event] of rows) {
    const { revocation, lines } = open(t, files);
    t.throws(() => revocation.admit(presented(bob)), { code: 'BAD_CERT', sub: 'revocation_unknown' }, name);
    if (event === null) continue;
    t.equal(revocation.status.state, 'failed', `${name}: status`);
    t.match(
      lines.find((line) => line.event === event),
      { level: 'warn' },
      `${name}: said loudly`,
    );
  }
  const { revocation } = open(t, [at('stale')], { crlGraceMs: 120_000 });
  t.equal(revocation.admit(presented(bob)).length, 2, 'within the grace');
  t.equal(revocation.status.state, 'current');
  t.end();
});

t.test('a list that could not be read refuses nobody any more when it can be', (t) => {
  const file = join(t.testdir({ crl: 'half of a li' }), 'crl');
  const { revocation } = open(t, [file]);
  t.throws(() => revocation.admit(presented(bob)), { code: 'BAD_CERT', sub: 'revocation_unknown' });
  writeFileSync(file, ca.crl([alice]));
  revocation.reload();
  t.equal(revocation.admit(presented(bob)).length, 2);
  t.throws(() => revocation.admit(presented(alice)), { code: 'BAD_CERT', sub: 'revoked' });
  t.equal(revocation.status.state, 'current');
  t.end();
});

t.test('of one issuer the newest list counts, in whatever order they come; of several, each must have one', (t) => {
  const now = Date.now();
  const sub = ca.intermediate('Sub CA');
  const [old, fresh] = [{ thisUpdate: now - 2 * DAY_MS, nextUpdate: now - DAY_MS }, { thisUpdate: now }];
  const dir = t.testdir({
    'before.pem': ca.crl([], old) + ca.crl([], fresh),
    'behind.pem': ca.crl([], fresh) + ca.crl([], old),
    'other.pem': ca.crl([], fresh) + sub.crl([], old),
  });
  const stateOf = (name: string) => open(t, [join(dir, name)]).revocation.status.state;
  t.strictSame(['before.pem', 'behind.pem', 'other.pem'].map(stateOf), ['current', 'current', 'failed']);
  t.end();
});

t.test('a list that ends is announced a day before, and recovers', (t) => {
  const start = Date.now();
  let now = start;
  const dir = t.testdir({ crl: ca.crl([], { thisUpdate: start, nextUpdate: start + 3 * DAY_MS }) });
  const file = join(dir, 'crl');
  const { revocation, lines } = open(t, [file], { now: () => now });
  const said = (reason?: string) => lines.filter((l) => l.event === 'crl.stale' && l['reason'] === reason).length;
  revocation.tick();
  t.equal(said('due'), 0);
  now += 2.5 * DAY_MS;
  revocation.tick();
  revocation.tick();
  t.equal(said('due'), 1, 'once');
  now += DAY_MS;
  revocation.tick();
  revocation.tick();
  t.equal(said(), 1, 'once');
  t.throws(() => revocation.admit(presented(bob)), { code: 'BAD_CERT', sub: 'revocation_unknown' });
  writeFileSync(file, ca.crl([], { thisUpdate: now, nextUpdate: now + 9 * DAY_MS }));
  revocation.reload();
  t.equal(revocation.admit(presented(bob)).length, 2);
  t.equal(revocation.status.state, 'current');
  t.end();
});

t.test('a live link is cut when its certificate is revoked, and only that', async (t) => {
  const dir = t.testdir({ crl: ca.crl([]) });
  const file = join(dir, 'crl');
  const { first, second, line, revocation, links } = await connected(t, [file]);
  const cut = () => links.map((link) => revocation.isCut(link));
  t.notOk(cut().includes(true));
  writeFileSync(`${file}.new`, ca.crl([alice]));
  renameSync(`${file}.new`, file); // no reload: the change of the file is enough
  t.same(await first.inbox.next(), { type: 'error', code: 'BAD_CERT', sub: 'revoked' });
  t.same(await first.link.closed, { code: 'BAD_CERT', sub: 'revoked' });
  t.match(await line('certificate.revoked'), { subject: 'CN=alice', code: 'BAD_CERT', sub: 'revoked' });
  t.ok(await isAlive(second));
  t.strictSame(cut(), [true, false]);
  t.throws(() => revocation.admit(presented(alice)), { code: 'BAD_CERT', sub: 'revoked' }, 'and does not come back');
});

t.test('a list that is replaced while it is read is read again', async (t) => {
  const file = join(t.testdir({ crl: ca.crl([]) }), 'crl');
  const keepAlive = setInterval(() => {}, 1000); // looking for changes keeps no process alive
  t.teardown(() => clearInterval(keepAlive));
  const again = Promise.withResolvers<void>();
  let times = 0;
  const onLoaded = (): void => {
    if (++times === 1) writeFileSync(file, ca.crl([alice]));
    else again.resolve();
  };
  const { revocation } = open(t, [file], { onLoaded });
  await again.promise;
  t.throws(() => revocation.admit(presented(alice)), { code: 'BAD_CERT', sub: 'revoked' });
});

t.test('while a list is away or stale live links stay, and what the others name is cut', async (t) => {
  let now = Date.now();
  const sub = ca.intermediate('Sub CA');
  const dir = t.testdir({
    ca: ca.crl([], { nextUpdate: now + DAY_MS }),
    sub: sub.crl([], { nextUpdate: now + 9 * DAY_MS }),
  });
  const at = (name: string) => join(dir, name);
  const { first, second, line, revocation } = await connected(t, [at('ca'), at('sub')], { now: () => now });
  now += 2 * DAY_MS;
  revocation.tick();
  await line('crl.stale');
  t.ok((await isAlive(first)) && (await isAlive(second)), 'stale');
  t.throws(() => revocation.admit(presented(bob)), { code: 'BAD_CERT', sub: 'revocation_unknown' });
  rmSync(at('ca'));
  await line('crl.failed');
  t.ok((await isAlive(first)) && (await isAlive(second)), 'away');
  t.throws(() => revocation.admit(presented(bob)), { code: 'BAD_CERT', sub: 'revocation_unknown' });
  rmSync(at('sub'));
  writeFileSync(at('ca'), ca.crl([bob]));
  t.same(await second.link.closed, { code: 'BAD_CERT', sub: 'revoked' }, 'named, while the other one is away');
  t.ok(await isAlive(first));
});

t.test('a live link is cut when its certificate ends', async (t) => {
  let now = Date.now();
  const ending = ca.client('ending', { notAfter: now + 3 * DAY_MS });
  const { first, second, line } = await connected(t, [], { now: () => now }, [ending, bob]);
  t.ok(await isAlive(first));
  now += 3 * DAY_MS + 1000;
  t.same(await first.link.closed, { code: 'BAD_CERT', sub: 'expired' });
  t.match(await line('certificate.expired'), { subject: 'CN=ending', sub: 'expired' });
  t.ok(await isAlive(second));
});

t.test('a live link is cut when an authority above it ends, or is trusted no more', async (t) => {
  let now = Date.now();
  const sub = ca.intermediate('Sub CA', { notAfter: now + DAY_MS });
  const carol = sub.client('carol');
  const opened = open(t, [], { now: () => now });
  const server = await startServer(t, {
    admit: opened.revocation.admit,
    onLink: (link) => {
      opened.revocation.watch(link);
      link.onFrame((frame) => frame.type === 'ping' && link.send({ type: 'pong', id: frame.id, server_time: 0 }));
    },
  });
  const link = await dial(server.port, credentials(carol, sub));
  t.ok(await isAlive({ link, inbox: inbox<Reply>(link) }));
  now += 2 * DAY_MS;
  t.same(await link.closed, { code: 'BAD_CERT', sub: 'expired' });
  const other = await dial(server.port, credentials(bob));
  inbox(other);
  opened.revocation.renew(trusting(authority('New CA')));
  t.same(await other.closed, { code: 'BAD_CERT', sub: 'untrusted' });
});

t.test('the deny list is keyed on serial and key, not on the fingerprint', async (t) => {
  const { first, second, revocation } = await connected(t, []);
  const keyPair = { publicKey: parsePem(alice.pem)[0]!.publicKey, privateKey: alice.key };
  revocation.deny([revocationKeys(parsePem(alice.pem)[0]!)[1]]);
  t.same(await first.link.closed, { code: 'BAD_CERT', sub: 'revoked' });
  t.ok(await isAlive(second));
  const reissued = ca.client('alice', { keyPair });
  t.throws(
    () => revocation.admit(presented(reissued)),
    { code: 'BAD_CERT', sub: 'revoked' },
    'the same key in another certificate',
  );
  revocation.deny([revocationKeys(parsePem(bob.pem)[0]!)[0]]);
  t.same(await second.link.closed, { code: 'BAD_CERT', sub: 'revoked' });
});

t.test('a link that was admitted before the list changed and opened after it', async (t) => {
  const dir = t.testdir({ crl: ca.crl([]) });
  const { revocation } = open(t, [join(dir, 'crl')], { pollMs: 1e6 });
  const server = await startServer(t, { admit: revocation.admit });
  const [link, client] = await Promise.all([server.nextLink(), dial(server.port, credentials(alice))]);
  inbox(client);
  writeFileSync(join(dir, 'crl'), ca.crl([alice]));
  revocation.reload();
  revocation.watch(link);
  t.same(await client.closed, { code: 'BAD_CERT', sub: 'revoked' });
});

t.test('the end of a certificate is announced 30, 14, 7 and 1 days before', async (t) => {
  const start = Date.now();
  let now = start;
  const ending = ca.client('ending', { notAfter: start + 31.5 * DAY_MS });
  const own = ca.server({ notAfter: start + 31.5 * DAY_MS });
  const { revocation, lines } = await connected(t, [], { now: () => now }, [ending, bob]);
  revocation.watchOwn(parsePem(own.pem)[0]!);
  const days = (subject: string) =>
    lines.filter((l) => l.event === 'certificate.expiring' && l['subject'] === subject).map((l) => l['days']);
  for (let day = 0; day <= 31; day++, now += DAY_MS) revocation.tick();
  for (const subject of ['CN=ending', 'CN=localhost']) t.same(days(subject), [29, 13, 6, 0], subject);
  t.same(days('CN=bob'), [], 'nothing about who has 90 days');
});

t.test('tells once of each certificate that a properly signed list names', async (t) => {
  const [aliceKey] = revocationKeys(presented(alice)[0]);
  const [bobKey] = revocationKeys(presented(bob)[0]);
  const file = join(t.testdir({ 'ca.crl': ca.crl([alice]) }), 'ca.crl');
  const told: (readonly string[])[] = [];
  const { revocation } = open(t, [file], { onRevoked: (keys) => told.push(keys) });
  t.strictSame(told, [[aliceKey]]);
  revocation.reload();
  writeFileSync(file, authority('Test CA').crl([bob]));
  revocation.reload();
  t.equal(told.length, 1, 'not again, and not of a list that somebody else signed');
  writeFileSync(file, ca.crl([alice, bob]));
  revocation.reload();
  t.strictSame(told[1], [bobKey]);
});

t.test('tells of lists of an authority that only clients have shown, as soon as it is shown', async (t) => {
  const sub = ca.intermediate('Sub CA');
  const [carol, dave, erin] = [sub.client('carol'), sub.client('dave'), sub.client('erin')];
  const keyOf = (issued: Issued) => revocationKeys(presented(issued)[0])[0];
  const file = join(t.testdir({ 'all.crl': ca.crl([]) + sub.crl([carol]) }), 'all.crl');
  const told: (readonly string[])[] = [];
  const { revocation } = open(t, [file], { onRevoked: (keys) => told.push(keys) });
  t.strictSame(told, [], 'who signed it is not known');
  revocation.admit(presented(dave, sub));
  t.strictSame(told, [[keyOf(carol)]]);
  revocation.admit(presented(erin, sub));
  writeFileSync(file, ca.crl([]) + sub.crl([carol, dave]));
  revocation.reload();
  t.strictSame(told.slice(1), [[keyOf(dave)]]);
  revocation.renew(trusting(authority('Another CA')));
  writeFileSync(file, ca.crl([]) + sub.crl([carol, dave, erin]));
  revocation.reload();
  t.equal(told.length, 2, 'it is not trusted any more');
});

t.test('who was let in is let in again without another look, until anything changes that the look was at', (t) => {
  const start = Math.floor(Date.now() / 1000) * 1000;
  let now = start;
  const clock = () => now;
  const known = (revocation: Revocation, issued = bob) =>
    revocation.admit(presented(issued)) === revocation.admit(presented(issued));
  const refused = (revocation: Revocation, sub: string, issued = bob) =>
    t.throws(() => revocation.admit(presented(issued)), { code: 'BAD_CERT', sub }, sub);

  const far = { thisUpdate: start - 1000, nextUpdate: start + 300 * DAY_MS };
  const file = join(t.testdir({ crl: ca.crl([alice], far) }), 'crl');
  const { revocation } = open(t, [file], { now: clock, pollMs: 1e6 });
  t.ok(known(revocation));
  const chain = revocation.admit(presented(bob));
  t.equal(revocation.parse(chain[0].der), chain[0], 'nor are its certificates read again');
  t.not(revocation.parse(presented(alice)[0].der), presented(alice)[0], 'of who was refused nothing is kept');
  refused(revocation, 'revoked', alice);
  writeFileSync(file, ca.crl([alice, bob], far));
  t.equal(revocation.admit(presented(bob)), chain, 'the file is not read yet');
  revocation.reload();
  refused(revocation, 'revoked');
  writeFileSync(file, ca.crl([], far));
  revocation.reload();
  t.ok(known(revocation));
  revocation.deny([revocationKeys(chain[0])[1]]);
  refused(revocation, 'revoked');

  const { revocation: trusting1 } = open(t, [], { now: clock, pollMs: 1e6 });
  t.ok(known(trusting1));
  now = chain[0].notAfter + 1;
  refused(trusting1, 'expired');
  now = chain[0].notBefore - 1;
  refused(trusting1, 'not_yet_valid');
  now = start;
  t.ok(known(trusting1));
  trusting1.renew(trusting(authority('New CA')));
  refused(trusting1, 'untrusted');

  const soon = start + DAY_MS;
  writeFileSync(file, ca.crl([], { ...far, nextUpdate: soon }));
  const { revocation: stale } = open(t, [file], { now: clock, pollMs: 1e6, crlGraceMs: 60_000 });
  t.ok(known(stale));
  now = soon + 60_000;
  t.ok(known(stale), 'to the end of the grace');
  now += 1001; // a list counts in seconds
  refused(stale, 'revocation_unknown');

  now = start;
  writeFileSync(file, ca.crl([], far) + ca.crl([bob], { thisUpdate: soon, nextUpdate: soon + DAY_MS }));
  const { revocation: coming } = open(t, [file], { now: clock, pollMs: 1e6 });
  t.ok(known(coming));
  now = soon + 1000;
  refused(coming, 'revoked');
  t.end();
});
