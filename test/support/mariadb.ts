/**
 * A database server of our own for one test file: MariaDB or MySQL from the path, with its data in a temporary directory, on a free
 * port of the loopback. It never touches a server that is running already.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { Secret } from '../../base/secret.ts';
import { atEnd } from './at-end.ts';
import { freePort } from './free-port.ts';

export interface Mariadb {
  /** mysql://… without the password, for the database `securechat`, which exists and is empty */
  readonly url: string;
  readonly port: number;
  /** of the process that runs now */
  readonly pid: number;
  /** of `user` and of everybody made here; a new one each time, so that `openStore` may wipe it */
  password(): Secret;
  readonly user: string;
  /** PEM of the server's certificate, its own CA, for the name `localhost` */
  readonly certificateFile: string;
  /** Gives the running server another certificate, for this name. */
  certify(name: string): Promise<void>;
  /** Runs statements with the stock client as the administrator, over the server's own socket; answers what it prints. */
  sql(text: string, database?: string): Promise<string>;
  /** SIGKILL, as a crash of the machine would look to its clients */
  kill(): Promise<void>;
  /** Starts it again after kill() with the same data on the same port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts one, and stops it when the test ends. Without the programs the test is skipped, which the report shows, or fails when
 * CHAT_REQUIRE says `mysql`.
 */
export async function mariadb(t: Test): Promise<Mariadb | null> {
  const instance = await startMariadb();
  if (instance === null) {
    if ((process.env['CHAT_REQUIRE'] ?? '').split(',').includes('mysql'))
      t.fail('mariadbd or mysqld is required, and not there');
    else t.pass('no mariadbd or mysqld here', { skip: 'no mariadbd or mysqld on the path' });
    return null;
  }
  t.teardown(() => instance.stop());
  return instance;
}

/** Null: there are no programs for it. */
export async function startMariadb(): Promise<Mariadb | null> {
  const server = program('mariadbd') ?? program('mysqld');
  const client = program('mariadb') ?? program('mysql');
  return server === null || client === null ? null : start(server, client);
}

async function start(server: string, client: string): Promise<Mariadb> {
  const dir = mkdtempSync(join(tmpdir(), 'chat-mariadb-')); // 0700
  const data = join(dir, 'data');
  const socket = join(dir, 'sock');
  const port = await freePort();
  const password = randomBytes(18).toString('base64url');
  const asRoot = process.getuid?.() === 0 ? ['--user=root'] : [];
  const common = ['--no-defaults', `--datadir=${data}`, ...asRoot];
  const init = join(dir, 'init.sql');
  // Not the machine's: one that starts sweeps the temporary tables of all others away.
  const env = { ...process.env, TMPDIR: dir };
  const run = (file: string, args: readonly string[]) => promisify(execFile)(file, args, { env });

  const installer = program('mariadb-install-db');
  if (installer) await run(installer, [...common, '--auth-root-authentication-method=normal', '--skip-test-db']);
  else await run(server, [...common, '--initialize-insecure']);
  // Before the port opens: the administrator gets a password, and nobody else has an account.
  writeFileSync(
    init,
    `ALTER USER 'root'@'localhost' IDENTIFIED BY '${password}';\n` +
      `CREATE DATABASE IF NOT EXISTS securechat;\n` +
      `CREATE USER IF NOT EXISTS 'owner'@'127.0.0.1' IDENTIFIED BY '${password}';\n` +
      `GRANT ALL ON securechat.* TO 'owner'@'127.0.0.1';\n`,
    { mode: 0o600 },
  );

  const [keyFile, certificateFile] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  const makeCertificate = async (name: string): Promise<void> => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile];
    const names = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`];
    await run('openssl', ['req', '-x509', '-days', '2', ...key, ...names, '-out', certificateFile]);
  };
  await makeCertificate('localhost');

  let child: ChildProcess;
  const launch = async (): Promise<void> => {
    child = spawn(
      server,
      [
        ...common,
        `--init-file=${init}`,
        `--socket=${socket}`,
        `--port=${port}`,
        `--pid-file=${join(dir, 'pid')}`,
        `--log-error=${join(dir, 'error.log')}`,
        '--bind-address=127.0.0.1',
        '--skip-networking=0',
        '--max-allowed-packet=16M',
        '--innodb-buffer-pool-size=32M',
        '--performance-schema=OFF',
        `--ssl-cert=${certificateFile}`,
        `--ssl-key=${keyFile}`,
      ],
      { stdio: 'ignore', env },
    );
    await listening(port, child);
  };
  const ended = (signal: NodeJS.Signals): Promise<void> =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve();
      child.once('exit', () => resolve());
      child.kill(signal);
    });
  const cleanUp = (): void => {
    child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  };
  const forget = atEnd(cleanUp);
  await launch();
  return {
    url: `mysql://owner@127.0.0.1:${port}/securechat`,
    port,
    get pid() {
      return child.pid ?? 0;
    },
    user: 'owner',
    password: () => new Secret(Buffer.from(password)),
    sql: (text, database) => query(client, socket, password, text, database),
    kill: () => ended('SIGKILL'),
    certificateFile,
    certify: async (name) => {
      await makeCertificate(name);
      await query(client, socket, password, server.endsWith('mariadbd') ? 'FLUSH SSL' : 'ALTER INSTANCE RELOAD TLS');
    },
    restart: launch,
    stop: async () => {
      await ended('SIGKILL'); // nothing here is worth a slow goodbye
      forget();
      cleanUp();
    },
  };
}

/** The password goes through the environment of this one process, not its arguments. */
function query(client: string, socket: string, password: string, text: string, database?: string): Promise<string> {
  const args = ['--no-defaults', '--batch', '--skip-column-names', `--socket=${socket}`, '--user=root'];
  return new Promise((resolve, reject) => {
    const child = execFile(
      client,
      database === undefined ? args : [...args, database],
      { env: { ...process.env, MYSQL_PWD: password } },
      (error, stdout) => (error ? reject(error) : resolve(stdout)),
    );
    child.stdin?.end(text);
  });
}

function program(name: string): string | null {
  const dirs = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return dirs.map((dir) => join(dir, name)).find((path) => existsSync(path)) ?? null;
}

/** Resolves once the server greets; it gives no event that could be awaited. */
function listening(port: number, child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the database server ended with status ${code}`)));
    const attempt = (): void => {
      const socket = connect(port, '127.0.0.1');
      const again = (): void => {
        socket.destroy();
        if (child.exitCode === null && child.signalCode === null) setTimeout(attempt, 25);
      };
      socket.once('error', again);
      socket.once('data', () => {
        socket.removeListener('error', again);
        socket.destroy();
        resolve();
      });
    };
    attempt();
  });
}
