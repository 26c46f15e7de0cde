/**
 * The database dies, hangs, refuses to write, or takes a commit and cannot say so, while people talk. They see UNAVAILABLE or nothing at
 * all; when it is well again everything goes on by itself, and what was accepted is there once.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { audit, auditTranscript, drain, peopleOf, Person, Talk } from '../support/load.ts';
import { mariadb, type Mariadb } from '../support/mariadb.ts';
import { System, type LogLine } from '../support/system.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(450_000);

interface World {
  readonly system: System;
  readonly proxy: Proxy;
  readonly talks: readonly Talk[];
}

/** The server reaches the database through the proxy. */
async function world(t: Test, database: Mariadb): Promise<World> {
  const dir = testFolder(t);
  const proxy = await Proxy.listen(t, database.port);
  const passwordFile = join(dir, 'database-password');
  database.password().use((bytes) => writeFileSync(passwordFile, bytes, { mode: 0o600 }));
  const url = `mysql://${database.user}@127.0.0.1:${proxy.port}/securechat`;
  const system = await System.create(t, {
    dir,
    settings: { 'db.url': url, 'db.password_file': passwordFile, drain_timeout: '2s' },
  });
  await system.command('db', 'init');
  await system.start();
  const [alice, bob] = await Promise.all([Person.open(t, system, 'alice'), Person.open(t, system, 'bob')]);
  const talks = [await Talk.between(alice, bob, 4), await Talk.between(bob, alice, 4)];
  for (const talk of talks) talk.begin();
  await Promise.all(talks.map((talk) => talk.more(8)));
  return { system, proxy, talks };
}

/** All is well again: both directions go on, by themselves and on the connections that they had or with new ones. */
async function recovered({ system, talks }: World): Promise<void> {
  await Promise.all(talks.map((talk) => talk.more(8)));
  if (system.server.hasEnded) throw new Error(`the server has ended: ${system.server.tail}`);
}

async function finish(t: Test, { system, talks }: World): Promise<void> {
  await drain(talks);
  audit(t, talks);
  t.equal(await system.stop(), 0);
  await auditTranscript(t, system, talks);
  for (const person of peopleOf(talks)) await person.app.close();
}

t.test('MariaDB', async (t) => {
  const database = await mariadb(t);
  if (database === null) return;
  const w = await world(t, database);
  const { system, proxy, talks } = w;
  const people = peopleOf(talks);
  // What somebody gets who is there is mostly acknowledged before the database is told: Carol is away.
  const carol = await Person.open(t, system, 'carol');
  const toCarol = await Talk.between(talks[0]!.from, carol, 1);
  await carol.app.close();
  const atNextCommit = async (of: Transaction, fate: Fate, then?: () => Promise<void>): Promise<void> => {
    if (of === 'contents') toCarol.begin();
    await proxy.atNextCommit(of, fate, then);
    toCarol.end();
  };
  /** From the last moment at which all was well. */
  let from = 0;
  const begin = (words: string): void => {
    t.comment(words);
    from = system.lines.length;
  };
  const since = () => system.lines.slice(from);
  const isOfWindow = ({ event, ms }: LogLine): boolean => event === 'store.failed' && ms !== undefined; // not of a reader
  // On a slow machine all that is sent may be refused before a window meets it.
  const isOfRequest = ({ event, code }: LogLine): boolean => event === 'request.refused' && code === 'STORE_FAILED';
  const failed = () =>
    system.server.until('a failure', () => since().find((line) => isOfWindow(line) || isOfRequest(line)) ?? null);
  const restored = async () => void (since().some(isOfWindow) && (await system.line('store.recovered', from)));

  for (const words of ['killed and started again', 'and again']) {
    begin(words);
    await database.kill();
    await failed();
    await database.restart();
    await restored();
    await recovered(w);
  }

  begin('told to write nothing');
  await database.sql('SET GLOBAL read_only = ON');
  await failed();
  await database.sql('SET GLOBAL read_only = OFF');
  await restored();
  await recovered(w);

  begin('an account that may only read');
  const rights = (how: string, what: string): string => `${how} ON securechat.* ${what} 'owner'@'127.0.0.1';`;
  await database.sql(rights('REVOKE ALL', 'FROM') + rights('GRANT SELECT', 'TO'));
  proxy.cut(); // rights are looked up when a connection begins
  await failed();
  await database.sql(rights('GRANT ALL', 'TO'));
  proxy.cut();
  await restored();
  await recovered(w);

  begin('stopped in its tracks (SIGSTOP), then going on');
  {
    const pid = await pidOf(database);
    process.kill(pid, 'SIGSTOP');
    try {
      // What is accepted meanwhile is in the journal, and the server is there: it answers its operator and the people's pings.
      await proxy.silence();
      t.match(await system.status(), { store: 'mysql' });
      await Promise.all(people.map(({ app }) => app.connect()));
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await recovered(w);
  }

  for (const kind of ['contents', 'other'] as const)
    for (const fate of ['lose the answer', 'lose the commit'] as const) {
      begin(`commit, ${kind}: ${fate}`);
      await atNextCommit(kind, fate);
      await recovered(w); // nobody need notice: what was not told is told again
    }

  for (const words of ['killed while it commits', 'once more']) {
    begin(words);
    await atNextCommit('contents', 'pass', () => database.kill());
    await failed();
    await database.restart();
    await restored();
    await recovered(w);
  }

  t.comment('everybody was served on and nobody had to start anything again');
  t.notOk(system.server.hasEnded);
  for (const { name, losses } of people)
    t.ok(
      losses.every((code) => ['UNAVAILABLE', 'CONNECTION_LOST', 'SHUTTING_DOWN'].includes(code)),
      `${name}: ${losses.join()}`,
    );
  toCarol.to = await Person.open(t, system, 'carol');
  await finish(t, { ...w, talks: [...talks, toCarol] });

  t.comment('a stop does not wait for a database that says nothing');
  await system.start();
  const pid = await pidOf(database);
  process.kill(pid, 'SIGSTOP');
  try {
    const alice = system.client('alice', ['status']); // leaves a login at the database, which is not answered
    await system.line('handshake.done', system.lines.length - 1);
    void system.stop();
    t.match(await system.server.until('its end', () => (system.server.hasEnded ? true : null)), true);
    await alice.ended;
  } finally {
    process.kill(pid, 'SIGCONT');
  }
});

const pidOf = async (database: Mariadb): Promise<number> =>
  Number(readFileSync((await database.sql('SELECT @@pid_file')).trim(), 'utf8'));

/** With content that somebody has not acknowledged; or without, as of what was acknowledged before it was told. */
type Transaction = 'contents' | 'other';
type Fate = 'lose the answer' | 'lose the commit' | 'pass';

/** Between server and database: passes everything on, and can meddle with the statement COMMIT (MySQL protocol: COM_QUERY). */
class Proxy {
  readonly #server: Server;
  readonly #upstreamPort: number;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #plan: { readonly of: Transaction; readonly fate: Fate; readonly met: () => void } | null = null;
  #quietSince = performance.now();

  private constructor(upstreamPort: number) {
    this.#upstreamPort = upstreamPort;
    this.#server = createServer((near) => this.#join(near));
  }

  static async listen(t: Test, upstreamPort: number): Promise<Proxy> {
    const proxy = new Proxy(upstreamPort);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      proxy.cut();
      proxy.#server.close();
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** Ends all connections. */
  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  /** Resolves when the next such COMMIT has met its fate. */
  async atNextCommit(of: Transaction, fate: Fate, then: () => Promise<void> = async () => {}): Promise<void> {
    await new Promise<void>((resolve) => (this.#plan = { of, fate, met: resolve }));
    await then();
  }

  /** Resolves when the database has said nothing for a second. */
  async silence(): Promise<void> {
    for (this.#quietSince = performance.now(); performance.now() - this.#quietSince < 1000;)
      await new Promise((resolve) => setTimeout(resolve, 50));
  }

  #join(near: Socket): void {
    const far = connect(this.#upstreamPort, '127.0.0.1');
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    let isLosing = false;
    let transaction: Transaction = 'other';
    const end = (): void => {
      near.destroy();
      far.destroy();
      this.#pairs.delete(pair);
    };
    for (const socket of pair) socket.on('error', end).on('close', end);
    near.on('data', (chunk) => {
      // A window in which somebody has not acknowledged something carries statements; logins are over.
      if (chunk.includes('\u0003START TRANSACTION')) transaction = 'other';
      if (chunk.includes('clog-ms1')) transaction = 'contents';
      const plan = this.#plan;
      if (!chunk.includes('\u0003COMMIT') || plan?.of !== transaction) return far.write(chunk);
      this.#plan = null;
      if (plan.fate === 'lose the commit') end();
      else far.write(chunk);
      isLosing = plan.fate === 'lose the answer';
      plan.met();
    });
    far.on('data', (chunk) => {
      this.#quietSince = performance.now();
      if (isLosing) return end();
      near.write(chunk);
    });
  }
}
