/**
 * A password and messages that are like nothing else go through the real programs: to a person, into a room, as an edit, and as the
 * history that a new device gets. They are then looked for everywhere, and private keys with them: on the wire, inside TLS, in logs,
 * arguments, environments, and every file. Each search is shown to find what is there.
 */
import { createPrivateKey, randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Vault } from '../../client/vault.ts';
import { laptopOf } from '../support/laptop.ts';
import { certificates, root, System, type Program } from '../support/system.ts';

const preload = new URL('./tls-recorder.ts', import.meta.url).href;

t.setTimeout(300_000);

interface Whoami {
  readonly certificate: { readonly sha256: string };
}
type Shape = (canary: string) => string[];
/** Every form in which bytes are written down. Base64 looks different at each of three places in a longer text. */
const SHAPES: Readonly<Record<string, Shape>> = {
  'as it is': (canary) => [canary],
  'UTF-16': (canary) => [
    Buffer.from(canary, 'utf16le').toString('latin1'),
    Buffer.from(canary, 'utf16le').swap16().toString('latin1'),
  ],
  hexadecimal: (canary) => {
    const digits = Buffer.from(canary, 'latin1').toString('hex');
    return [digits, digits.toUpperCase()];
  },
  base64: (canary) => base64(canary, 'base64'),
  base64url: (canary) => base64(canary, 'base64url'),
};
function base64(canary: string, encoding: 'base64' | 'base64url'): string[] {
  return [0, 1, 2].map((before) => {
    const text = Buffer.from(' '.repeat(before) + canary, 'latin1')
      .toString(encoding)
      .replaceAll('=', '');
    // Without the digits that hold bits of what stands before or behind.
    return text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + canary.length) * 8) / 6));
  });
}
/** The shapes in which the canary is there. */
function found(canary: string, places: readonly Buffer[]): string[] {
  return Object.entries(SHAPES)
    .filter(([, shape]) => shape(canary).some((text) => places.some((bytes) => bytes.includes(text, 0, 'latin1'))))
    .map(([name]) => name);
}

/** What waits for somebody, as the server has it. */
function queued(path: string): Buffer[] {
  const database = new DatabaseSync(path, { readOnly: true });
  const rows = database.prepare('SELECT parts FROM contents ORDER BY entry').all();
  database.close();
  return rows.map((row) => Buffer.from(row['parts'] as Uint8Array));
}

const filesIn = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
const contentsOf = (dir: string, fits: (path: string) => boolean = () => true): Buffer[] =>
  filesIn(dir)
    .filter(fits)
    .map((path) => readFileSync(path));

/** Everything that a process could have written to, piece by piece, as a debugger or a dump of the machine would see it. */
function memoryOf(pid: number): Buffer[] {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    return readFileSync(`/proc/${pid}/maps`, 'latin1')
      .split('\n')
      .flatMap((line) => {
        const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
        if (from === undefined || to === undefined) return [];
        const bytes = Buffer.alloc(Number(BigInt(`0x${to}`) - BigInt(`0x${from}`)));
        try {
          return used(bytes.subarray(0, readSync(memory, bytes, 0, bytes.length, BigInt(`0x${from}`))));
        } catch {
          return []; // given back meanwhile
        }
      });
  } finally {
    closeSync(memory);
  }
}

const PAGE_BYTES = 4096;
/** Runs of pages that are not all zeros: most of what a process reserves it never writes to. */
function used(bytes: Buffer): Buffer[] {
  const zeros = Buffer.alloc(PAGE_BYTES);
  const runs: Buffer[] = [];
  let start = -1;
  for (let at = 0; at <= bytes.length; at += PAGE_BYTES) {
    const page = bytes.subarray(at, at + PAGE_BYTES);
    const isUsed = page.length > 0 && !page.equals(zeros);
    if (isUsed && start < 0) start = at;
    if (!isUsed && start >= 0) {
      runs.push(bytes.subarray(start, at));
      start = -1;
    }
  }
  return runs;
}

/** Passes everything on to the server and keeps it. */
async function tap(t: Test, port: number): Promise<{ port: number; bytes: () => Buffer }> {
  const chunks: Buffer[] = [];
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (chunk) => void chunks.push(chunk));
      from.pipe(to);
      from.on('error', () => to.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return { port: (server.address() as { port: number }).port, bytes: () => Buffer.concat(chunks) };
}

t.test('the search finds every shape', (t) => {
  const canary = randomBytes(12).toString('hex');
  for (const [name, shape] of Object.entries(SHAPES))
    for (const before of ['', 'x', 'xy', 'xyz']) {
      const planted = {
        'as it is': Buffer.from(`${before}${canary}zz`),
        'UTF-16': Buffer.from(`${before}${canary}zz`, 'utf16le'),
        hexadecimal: Buffer.from(Buffer.from(`${before}${canary}zz`).toString('hex')),
        base64: Buffer.from(Buffer.from(`${before}${canary}zz`).toString('base64')),
        base64url: Buffer.from(Buffer.from(`${before}${canary}zz`).toString('base64url')),
      }[name];
      t.ok(found(canary, [planted!]).includes(name), `${name} after ${before.length} bytes`);
      t.ok(
        shape(canary).every((text) => text.length >= 24),
        'long enough to be no accident',
      );
    }
  t.strictSame(found(canary, [randomBytes(100_000)]), []);
  const key = randomBytes(32);
  for (const [name, text] of [
    ['as it is', key],
    ['hexadecimal', key.toString('hex')],
    ['base64', key.toString('base64')],
  ] as const)
    t.ok(
      found(key.toString('latin1'), [typeof text === 'string' ? Buffer.from(text) : text]).includes(name),
      `a key, ${name}`,
    );
  t.end();
});

t.test('a password is nowhere, and what is written nowhere but before the eyes of those it is for', async (t) => {
  const system = await System.create(t);
  const secret = `pw${randomBytes(12).toString('hex')}`;
  const body = `body${randomBytes(12).toString('hex')}`;
  const edited = `edit${randomBytes(12).toString('hex')}`;
  const toRoom = `room${randomBytes(12).toString('hex')}`;
  const bodies = [body, edited, toRoom];
  const bobSecret = `pw${randomBytes(12).toString('hex')}`;
  const recorded = (name: string): string => join(system.dir, `${name}.tls`);
  const record = (name: string) => ({ preload, env: { CHAT_RECORD: recorded(name) } });
  await system.start(record('server'));
  const wire = await tap(t, system.port);

  const argv: Buffer[] = [];
  const environ: Buffer[] = [];
  const said: Buffer[] = [];
  const look = ({ pid }: Program): void => {
    argv.push(readFileSync(`/proc/${pid}/cmdline`));
    environ.push(readFileSync(`/proc/${pid}/environ`));
  };
  const client = async (
    name: 'alice' | 'bob',
    args: readonly string[],
    stdin: string,
    other: Readonly<Record<string, string>> = {},
  ): Promise<Program> => {
    const { preload, env } = record(name);
    const server = `127.0.0.1:${wire.port}`;
    const program = system.client(name, args, { preload, env: { ...env, CHAT_SERVER: server, ...other } });
    // While it waits for its input, if it does.
    look(program);
    program.type(stdin);
    look(program);
    t.equal(await program.ended, 0, `${name} ${args[0]}: ${program.err}`);
    said.push(Buffer.from(program.err));
    return program;
  };
  const outputs: string[] = [];
  outputs.push((await client('bob', ['register', '--password-stdin', '-v'], bobSecret)).out);
  outputs.push((await client('alice', ['register', '--password-stdin', '-v'], `${secret}\n`)).out);
  outputs.push((await client('alice', ['login', '--password-stdin', '-v'], secret)).out);
  outputs.push((await client('alice', ['send', 'bob', '-', '-v'], body)).out);
  look(system.server);

  const database = (): Buffer[] => contentsOf(system.state, (path) => /\/chat\.db/.test(path));
  t.strictSame(found(body, database()), [], 'while it waits, the database has nothing of the message that can be read');
  let waiting: Buffer[] = [];
  while (waiting.length < 2) {
    await sleep(50); // the database is told later
    waiting = queued(join(system.state, 'chat.db'));
  }
  t.equal(waiting.length, 2, 'control: a commit that makes the group, and the message');
  t.strictSame(found(body, database()), [], 'and now neither');

  const received = await client('bob', ['recv', '--json', '-v'], '');
  t.match(received.out, body, 'control: it is the message that arrived');

  outputs.push((await client('alice', ['room', 'create', '#canary', '--public', '-v'], '')).out);
  outputs.push((await client('bob', ['room', 'join', '#canary', '-v'], '')).out);
  outputs.push((await client('alice', ['send', '#canary', '-', '-v'], toRoom)).out);
  outputs.push((await client('alice', ['edit', 'bob', '2', '-', '-v'], edited)).out);
  while (queued(join(system.state, 'chat.db')).length < 2) await sleep(50);
  for (const each of bodies) t.strictSame(found(each, database()), [], 'the database has none while they wait');
  const more = await client('bob', ['recv', '--json', '-v'], '');
  t.match(more.out, toRoom, 'control: the message to the room arrived');
  t.match(more.out, edited, 'control: and the edit');

  // The history: from one device of Alice's to another.
  const env = laptopOf(system);
  outputs.push((await client('alice', ['login', '--password-stdin', '-v'], secret, env)).out);
  const whoami = JSON.parse((await client('alice', ['whoami', '--json'], '', env)).out) as Whoami;
  const approve = ['device', 'approve', whoami.certificate.sha256.slice(0, 20), '-v'];
  outputs.push((await client('alice', approve, '')).out);
  await client('alice', ['recv', '-v'], '', env);
  const history = await client('alice', ['history', 'bob', '--json', '-v'], '', env);
  t.match(history.out, edited, 'control: it was handed over');
  const memory = memoryOf(system.server.pid);

  const tls = ['server', 'alice', 'bob'].map((name) => readFileSync(recorded(name)));
  const certified = createPrivateKey(readFileSync(join(certificates(), 'alice.key'))).export({ format: 'jwk' });
  const vault = Vault.open(system.clientFolder('alice'));
  const device = vault.keys.device()!;
  vault.close();
  const privateKeys = [
    ['of her certificate', Buffer.from(String(certified.d), 'base64url')],
    ['of her device', Buffer.from(device.mls_private_key).subarray(-32)],
  ] as const;
  const places: Record<string, { readonly bytes: readonly Buffer[]; readonly control: string }> = {
    'the TCP stream': { bytes: [wire.bytes()], control: 'chat/1' },
    'the stream inside TLS': { bytes: tls, control: 'client_hello' },
    'the log of the server': { bytes: [Buffer.from(system.server.err)], control: '"event":"login.done"' },
    'what clients say': { bytes: said, control: 'suite 1' },
    'results of commands': { bytes: outputs.map((out) => Buffer.from(out)), control: 'registered alice' },
    arguments: { bytes: argv, control: 'bin/chat-client' },
    environments: { bytes: environ, control: 'CHAT_PROFILE=alice' },
    'the transcript': { bytes: contentsOf(system.transcript), control: 'localhost/log/n1' },
    'the memory of the server': { bytes: memory, control: 'alice@example.org' },
    'the database': { bytes: database(), control: 'alice' },
    'everything else of the server': { bytes: contentsOf(system.state), control: 'BEGIN PRIVATE KEY' },
    'vaults of the clients': {
      bytes: ['clients', 'laptop'].flatMap((folder) => contentsOf(join(system.dir, folder))),
      control: 'SQLite format 3',
    },
    'configuration files': {
      bytes: filesIn(system.dir)
        .filter((path) => path.endsWith('.toml'))
        .map((path) => readFileSync(path)),
      control: 'state_dir',
    },
  };
  for (const [place, { bytes, control }] of Object.entries(places)) {
    t.ok(
      bytes.some((each) => each.includes(control)),
      `control: ${place} has ${control}`,
    );
    t.strictSame(found(secret, bytes), [], `the password is not in ${place}`);
    t.strictSame(found(bobSecret, bytes), [], `nor is the other one`);
    for (const each of bodies) t.strictSame(found(each, bytes), [], `what was written is not in ${place}`);
    for (const [whose, key] of privateKeys)
      t.strictSame(found(key.toString('latin1'), bytes), [], `nor the private key ${whose}`);
  }
  const frames = [readFileSync(`${recorded('server')}.frames`)];
  t.ok(frames[0]?.includes('login_proof'), 'control: what came to the server inside the inner channel');
  const sealed = waiting[1]!.subarray(8); // the one part, without count and length
  t.ok(frames[0]?.includes(sealed), 'control: the message came as it waited');
  for (const each of bodies)
    t.strictSame(
      found(each, frames),
      [],
      'and is nowhere inside the inner channel, where the server reads all there is',
    );
  t.ok(frames[0]?.includes(Buffer.from(device.mls_key)), 'control: the public key of her device came');
  for (const [whose, key] of privateKeys)
    t.strictSame(found(key.toString('latin1'), frames), [], `the private key ${whose} does not leave the client`);
  t.strictSame(found(secret, frames), [], 'the password does not leave the client at all');
  t.strictSame(found(bobSecret, frames), []);
  for (const bytes of tls) t.ok(bytes.includes('client_hello'), 'control: each end was recorded');
});

t.test('a process that is made to crash leaves neither report nor snapshot', async (t) => {
  const system = await System.create(t);
  await system.start({ shell: 'ulimit -c 0' });
  const names = (): string[] => [...filesIn(system.dir), ...readdirSync(root)];
  const before = new Set(names());
  system.server.child.kill('SIGUSR1');
  t.match(await system.status(), { connections: 0 }, 'SIGUSR1 opens no inspector');
  t.notMatch(system.server.err, /Debugger listening/);
  system.server.child.kill('SIGABRT');
  t.equal(await system.server.ended, 'SIGABRT');
  const left = names().filter((name) => !before.has(name) && /report|core|heap/i.test(basename(name)));
  t.strictSame(left, []);
  t.ok(statSync(system.state).isDirectory());
});
