/**
 * The far end of sqlite.ts: the thread that owns the connection. Calls that wait are taken together in one transaction, with one
 * sync of the disk for all of them (group commit); each runs inside a savepoint, so that one that fails undoes itself alone. Nobody
 * gets an answer before the commit.
 */
import { parentPort, receiveMessageOnPort, workerData, type MessagePort } from 'node:worker_threads';
import { ChatError } from '../base/errors.ts';
import { isRead, mayBeLost, OPERATIONS, type Arguments, type Result } from './operations.ts';
import type { Operation } from './operation.ts';
import { encodePage } from './page.ts';
import { pack } from './parcel.ts';
import { acknowledgeAll } from './acknowledgement.ts';
import { SqliteConnection } from './sqlite-connection.ts';
import type { Failure, Reply, Request } from './sqlite.ts';

/** Calls in one transaction at most: bounds what the first of them waits for. */
const MAX_GROUP = 256;
/** The write-ahead log is emptied when nothing was written for so long, and in a busy database at least this often. */
const QUIET_MS = 1000;
const LONGEST_MS = 30_000;

type Outcome = { readonly value: unknown } | { readonly error: unknown };
type Call = Extract<Request, { readonly args: unknown }>;

const port = parentPort as MessagePort;
const { path } = workerData as { readonly path: string };
let connection: SqliteConnection | null = null;
let emptying: { readonly timer: NodeJS.Timeout; readonly since: number } | null = null;

port.on('message', (first: readonly Request[]) => {
  const requests = [...first];
  while (requests.length < MAX_GROUP) {
    const next = receiveMessageOnPort(port) as { readonly message: readonly Request[] } | undefined;
    if (!next) break;
    requests.push(...next.message);
  }
  let group: Call[] = [];
  const flush = (): void => {
    answer(group);
    group = [];
  };
  for (const request of requests) {
    if ('args' in request) {
      if (group.push(request) === MAX_GROUP) flush();
    } else {
      flush();
      control(request);
    }
  }
  flush();
});

function control(request: Request): void {
  try {
    if (request.method === 'close') {
      connection?.close();
      connection = null;
    } else open().ping();
    post([{ id: request.id, ok: true, value: undefined }]);
  } catch (error) {
    post([{ id: request.id, ok: false, error: failure(error) }]);
  }
}

function open(): SqliteConnection {
  connection ??= SqliteConnection.open(path);
  return connection;
}

function answer(group: readonly Call[]): void {
  if (group.length === 0) return;
  const blocks: ArrayBuffer[] = [];
  const replies = outcomes(group).map((outcome, i): Reply => {
    const { id, method } = group[i] as Call;
    if ('error' in outcome) return { id, ok: false, error: failure(outcome.error) };
    if (method === 'backlog') {
      const page = encodePage(outcome.value as Result<'backlog'>);
      blocks.push(page.numbers.buffer, page.block.buffer);
      return { id, ok: true, value: page };
    }
    const parcel = pack(outcome.value);
    blocks.push(parcel.block);
    return { id, ok: true, value: parcel.value };
  });
  post(replies, blocks);
}

function outcomes(group: readonly Call[]): Outcome[] {
  let db: SqliteConnection;
  try {
    db = open();
    if (group.every(({ method }) => isRead(method))) return group.map((call) => attempt(() => runOne(db, call)));
    db.isEager = !group.every(({ method }) => mayBeLost(method));
    const before = db.changes;
    const done = db.transaction(() => together(db, group));
    // Sweeps that find nothing to do are no activity.
    if (db.changes !== before) emptyLogLater();
    return done;
  } catch (error) {
    // The group has failed as a whole and left nothing. What fits on a full disk one by one may still go.
    if (group.length > 1 && isDiskFull(error)) return group.flatMap((call) => outcomes([call]));
    return group.map(() => ({ error }));
  }
}

/** Each call by itself, undone alone when it fails; acknowledgements of different devices in one, while none of them does. */
function together(db: SqliteConnection, group: readonly Call[]): Outcome[] {
  const alone = (call: Call): Outcome => attempt(() => db.savepoint(() => runOne(db, call)));
  const merged = new Map<number, Call>();
  for (const call of group)
    if (call.method === 'acknowledge' && !merged.has(deviceOf(call))) merged.set(deviceOf(call), call);
  const known = new Map<Call, Outcome>();
  if (merged.size > 1) {
    const calls = [...merged.values()];
    const acks = calls.map(({ args }) => acknowledgement(args as Arguments<'acknowledge'>));
    const all = attempt(() => db.savepoint(() => db.run(acknowledgeAll(acks))));
    if ('value' in all) for (const call of calls) known.set(call, all);
  }
  return group.map((call) => known.get(call) ?? alone(call));
}

const deviceOf = ({ args }: Call): number => (args as Arguments<'acknowledge'>)[0];
const acknowledgement = ([deviceId, cursors, userId]: Arguments<'acknowledge'>) => ({ deviceId, cursors, userId });

function emptyLogLater(): void {
  const since = emptying?.since ?? performance.now();
  const left = since + LONGEST_MS - performance.now();
  clearTimeout(emptying?.timer);
  const timer = setTimeout(
    () => {
      emptying = null;
      try {
        if (connection?.emptyLog() === false) emptyLogLater();
      } catch {
        // The disk is full, or worse: the next call will say so to somebody, and begins the wait again.
      }
    },
    Math.max(0, Math.min(QUIET_MS, left)),
  );
  emptying = { timer: timer.unref(), since };
}

const runOne = (db: SqliteConnection, { method, args }: Call): unknown =>
  db.run((OPERATIONS[method] as (...args: unknown[]) => Operation<unknown>)(...(args as unknown[])));

/** @throws what must end the transaction, so that no caller of the group is told of success */
function attempt(work: () => unknown): Outcome {
  try {
    return { value: work() };
  } catch (error) {
    if (connection?.isBroken) throw error;
    return { error };
  }
}

const isDiskFull = (error: unknown): boolean => error instanceof ChatError && error.code === 'DISK_FULL';

function failure(error: unknown): Failure {
  const { code, message, field, sub } = ChatError.from(error);
  return { code, message, field, sub };
}

const post = (replies: readonly Reply[], blocks: ArrayBuffer[] = []): void => port.postMessage(replies, blocks);
