/**
 * The admin socket: a Unix socket in the state directory, mode 0600, for the account that runs the daemon and for root. One JSON line
 * in ({"command":"status"}, with what else the command takes), one JSON line out, then it closes. Who can open the socket may already read the daemon's memory and
 * keys, so the file mode is all the authentication there is.
 */
import { chmodSync, lstatSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { ChatError, CODES, type Code } from '../base/errors.ts';

const MAX_REQUEST_BYTES = 4096;
const MAX_REPLY_BYTES = 1024 * 1024;
const TIMEOUT_MS = 5000;

export type AdminCommands = Readonly<Record<string, (request: Readonly<Record<string, unknown>>) => unknown>>;

/**
 * Listens until closed. Connections keep no process alive.
 * @throws IN_USE when somebody answers at the path: a daemon with another state directory, whose socket is not ours to take;
 *   UNSAFE_FILE when something that is no socket is there; UNAVAILABLE when the socket cannot be made
 */
export async function serveAdmin(path: string, commands: AdminCommands): Promise<Server> {
  await removeSocket(path);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let request = '';
    let isAsked = false;
    socket.unref();
    socket.setEncoding('utf8');
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('end', () => isAsked || socket.end());
    socket.on('data', (chunk: string) => {
      if (isAsked) return; // one question each
      request += chunk;
      if (request.length > MAX_REQUEST_BYTES) return socket.destroy();
      const end = request.indexOf('\n');
      if (end < 0) return;
      isAsked = true;
      void answer(commands, request.slice(0, end)).then((reply) => socket.end(`${JSON.stringify(reply)}\n`));
    });
  });
  server.maxConnections = 8;
  await new Promise<void>((resolve, reject) => {
    // It stays: a failed accept() later on must not end the daemon.
    server.on('error', (cause) => reject(unavailable(path, cause)));
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return server;
}

async function removeSocket(path: string): Promise<void> {
  const found = attempt(path, () => lstatSync(path, { throwIfNoEntry: false }));
  if (found === undefined) return;
  if (!found.isSocket())
    throw new ChatError('UNSAFE_FILE', `admin.socket: ${path} is there already, and is no socket`, {
      field: 'admin.socket',
    });
  if (await isAnswered(path))
    throw new ChatError('IN_USE', `admin.socket: a process answers at ${path}; stop it, or choose another path`, {
      field: 'admin.socket',
    });
  attempt(path, () => rmSync(path, { force: true }));
}

/** A socket that was left behind refuses. What cannot be asked (no permission, no more connections) is not free either. */
export function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => (socket.destroy(), resolve(true)));
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT'));
  });
}

function attempt<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw unavailable(path, cause);
  }
}

const unavailable = (path: string, cause: unknown): ChatError =>
  new ChatError('UNAVAILABLE', `the admin socket ${path} cannot be made`, { cause });

/** Never rejects. */
async function answer(commands: AdminCommands, line: string): Promise<unknown> {
  let request: Readonly<Record<string, unknown>>;
  try {
    request = (JSON.parse(line) as Readonly<Record<string, unknown>> | null) ?? {};
  } catch {
    return { error: 'BAD_FRAME' };
  }
  const { command } = request;
  if (typeof command !== 'string' || !Object.hasOwn(commands, command)) return { error: 'UNKNOWN_TYPE' };
  try {
    return await commands[command]?.(request);
  } catch (error) {
    return { error: ChatError.from(error).code };
  }
}

/** Asks the daemon. @throws UNREACHABLE when none answers; UNSAFE_FILE when this user may not ask; what it refused the command with */
export async function askAdmin(
  path: string,
  command: string,
  fields: Readonly<Record<string, unknown>> = {},
): Promise<unknown> {
  const reply = await exchange(path, { ...fields, command });
  const error = (reply as { error?: unknown } | null)?.error;
  if (error === undefined) return reply;
  const code = typeof error === 'string' && Object.hasOwn(CODES, error) ? (error as Code) : 'BAD_FRAME';
  throw new ChatError(code, `the chat-server at ${path} does not do that`);
}

function exchange(path: string, request: object): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const unreachable = (cause?: unknown): void =>
      reject(new ChatError('UNREACHABLE', `no chat-server answers at ${path}`, { cause }));
    let reply = '';
    const socket = connect(path, () => socket.write(`${JSON.stringify(request)}\n`));
    socket.setEncoding('utf8');
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('no answer')));
    socket.on('error', (cause) => (isForbidden(cause) ? reject(forbidden(path, cause)) : unreachable(cause)));
    socket.on('data', (chunk: string) => {
      reply += chunk;
      if (reply.length > MAX_REPLY_BYTES) socket.destroy(new Error('too long an answer'));
    });
    socket.on('end', () => {
      try {
        resolve(JSON.parse(reply));
      } catch (cause) {
        unreachable(cause);
      }
    });
  });
}

const isForbidden = ({ code }: NodeJS.ErrnoException): boolean => code === 'EACCES' || code === 'EPERM';
const forbidden = (path: string, cause: unknown): ChatError =>
  new ChatError('UNSAFE_FILE', `no permission for ${path}: run this as the user of the chat-server, or as root`, {
    field: 'admin.socket',
    cause,
  });
