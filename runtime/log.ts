/**
 * Everything that is ever logged: a line is an event and fields out of two closed lists, and no free text but the operator's own. The only door to pino.
 * What a peer wrote is shown through printable(); bodies, keys, passwords and error messages have no field to travel in.
 */
import { pino, destination, stdTimeFunctions } from 'pino';
import { ChatError, CODES } from '../base/errors.ts';
import { REPORTED } from '../protocol/hello.ts';
import { printable } from './printable.ts';

/** `thing.happened`; docs/OPERATING.md says what each means. Events that end in `.refused` are what a peer can cause at will: they are rate-limited. */
// prettier-ignore
export const EVENTS = [
  // the process
  'server.starting', 'server.listening', 'server.reloaded', 'server.draining', 'server.stopped', 'server.failed',
  'config.failed', 'admin.listening', 'log.suppressed', 'log.refused',
  // connections, TLS, certificates
  'connection.accepted', 'connection.refused', 'tls.refused',
  'certificate.validated', 'certificate.refused', 'certificate.expiring', 'certificate.expired', 'certificate.revoked',
  'certificate.renewed',
  'crl.loaded', 'crl.stale', 'crl.failed', 'crl.logged',
  // the inner handshake and the channel
  'handshake.done', 'handshake.refused',
  // accounts
  'register.done', 'register.unproven', 'login.done', 'login.resumed', 'login.refused', 'login.locked',
  'account.suspended', 'account.resumed', 'password.set',
  'session.closed', 'request.refused',
  // messages: counts, sizes and places; never bodies
  'message.duplicate', 'message.incomplete',
  // disk and database
  'store.opened', 'store.migrated', 'store.recovered', 'store.failed',
  'transcript.opened', 'transcript.held', 'transcript.rekeyed', 'transcript.recovered', 'transcript.failed',
  'transcript.ahead',
  // parties outside
  'witness.cosigned', 'witness.refused', 'witness.forked', 'witness.failed', 'timestamp.logged', 'timestamp.failed',
] as const;
export type LogEvent = (typeof EVENTS)[number];

/** Append only. A name means one thing in every event. */
export const FIELDS = {
  // who and where
  address: 'string', // IP address of the other end, or what is listened on
  port: 'number',
  connection: 'number', // counted from 1 since the start of this process
  user: 'string', // the only place for a name
  subject: 'string', // of a certificate
  issuer: 'string',
  serial: 'string', // of a certificate, hexadecimal
  fingerprint: 'string', // of a certificate, or the confirmation of a session key: both are public
  session: 'string', // its public id
  node: 'string',
  version: 'string',
  pid: 'number',
  // what went wrong
  code: 'string', // of base/errors.ts
  sub: 'string',
  field: 'string',
  errno: 'string', // of the operating system or database: ECONNRESET, ER_DUP_ENTRY
  kind: 'string', // class of an unexpected error
  stack: 'string', // its frames
  retryAfterMs: 'number',
  refused: 'string', // names of fields that are in no list
  of: 'string', // the event that was suppressed
  suppressed: 'number', // lines that were not written
  // what happened
  reason: 'string', // a word of ours
  because: 'string', // what an operator has said himself
  signal: 'string',
  type: 'string', // of a frame
  command: 'string', // of the admin socket
  suite: 'number',
  protocol: 'string', // of TLS
  cipher: 'string',
  group: 'string', // of the key agreement
  witness: 'string', // its key name
  file: 'string',
  backend: 'string',
  // how much
  index: 'number', // in the log
  size: 'number', // of the log, in entries
  counter: 'number', // of a sender or a record
  count: 'number',
  bytes: 'number',
  depth: 'number', // of a queue
  status: 'number', // of an HTTP answer
  days: 'number', // until something ends
  ms: 'number',
} as const;

type TypeOf = { string: string; number: number };
export type Fields = { readonly [K in keyof typeof FIELDS]?: TypeOf[(typeof FIELDS)[K]] | undefined };

export type Line = (event: LogEvent, fields?: Fields) => void;
/** `error` is for blame `us` alone: a line there is something we would look into. */
export interface Log {
  readonly debug: Line;
  readonly info: Line;
  readonly warn: Line;
  readonly error: Line;
  /** A log whose lines have these fields as well. */
  with(fields: Fields): Log;
}

export const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type Level = (typeof LEVELS)[number];

export interface LogOptions {
  readonly level: Level;
  readonly format: 'json' | 'text';
  /** A file descriptor, written synchronously so that a crash loses no line, or anything that takes whole lines. */
  readonly to: number | { write(line: string): void };
  /** Monotonic milliseconds, for the rate limit. */
  readonly now?: () => number;
}

/** No value is longer; the rest is cut with an ellipsis. */
const MAX_COLUMNS = 512;
const MAX_STACK_FRAMES = 20;
/** Lines that a full disk does not take wait for it up to here; what comes then is lost. */
const MAX_UNWRITTEN_BYTES = 1024 * 1024;
/** Lines of one event, code and sub in each window; the rest is counted. */
export const REFUSALS_PER_WINDOW = 20;
export const WINDOW_MS = 10_000;
const MAX_WINDOWS = 1000;

export function openLog({ level, format, to, now = () => performance.now() }: LogOptions): Log {
  const sink = typeof to === 'number' ? descriptor(to) : to;
  const logger = pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: {},
    },
    format === 'json' ? sink : { write: (line: string) => sink.write(asText(line)) },
  );
  const windows = new Map<
    string,
    { until: number; left: number; suppressed: number; event: LogEvent; code: string | undefined }
  >();

  /** Counted only where it is a refusal. */
  function suppressed(event: LogEvent, fields: Record<string, unknown>): boolean {
    const at = now();
    for (const [key, window] of windows) {
      if (at < window.until) continue;
      windows.delete(key);
      if (window.suppressed > 0)
        logger.warn(allowed('log.suppressed', { of: window.event, code: window.code, suppressed: window.suppressed }));
    }
    if (!event.endsWith('.refused')) return false;
    const key = windows.size < MAX_WINDOWS ? `${event} ${fields['code']} ${fields['sub']}` : event;
    let window = windows.get(key);
    if (!window) {
      window = {
        until: at + WINDOW_MS,
        left: REFUSALS_PER_WINDOW,
        suppressed: 0,
        event,
        code: fields['code'] as string | undefined,
      };
      windows.set(key, window);
    }
    if (window.left > 0) {
      window.left--;
      return false;
    }
    window.suppressed++;
    return true;
  }

  const bound = (bindings: Fields): Log => {
    const at =
      (name: 'debug' | 'info' | 'warn' | 'error'): Line =>
      (event, fields) => {
        if (!logger.isLevelEnabled(name)) return;
        const kept = allowed(event, { ...bindings, ...fields });
        if (!suppressed(event, kept)) logger[name](kept);
      };
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      with: (fields) => bound({ ...bindings, ...fields }),
    };
  };
  return bound({});
}

/**
 * What may be logged about an error: its code, field and sub, the errno beneath it; for blame `us` also its class and stack frames, unless it is
 * the peer who says so.
 * Never a message: those of a database driver carry the statement, values and all.
 */
export function errorFields(error: unknown): Fields {
  const named = ChatError.from(error);
  const { code, field, sub, retryAfterMs } = named;
  // The original, where there is one: it has the stack that tells something.
  const origin = named.cause instanceof Error ? named.cause : named;
  const errno = (origin as { code?: unknown }).code;
  const known = { code, field, sub, retryAfterMs, errno: isErrno(errno) && errno !== code ? errno : undefined };
  if (isReported(error)) return { ...known, reason: 'reported' };
  if (CODES[code].blame !== 'us') return known;
  return { ...known, kind: kindOf(origin), stack: framesOf(origin) };
}

/** The peer says it of itself: whatever its code is, nothing was found here. */
export const isReported = (error: unknown): boolean => error instanceof ChatError && error.cause === REPORTED;

/** The level that a failure is logged at, by who has to act. */
export function levelOf(error: unknown): 'info' | 'warn' | 'error' {
  if (isReported(error)) return 'info';
  const { blame } = CODES[ChatError.from(error).code];
  return blame === 'us' ? 'error' : blame === 'world' ? 'warn' : 'info';
}

const isErrno = (code: unknown): code is string => typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(code);
const kindOf = (error: Error): string | undefined => /^\w{1,64}$/.exec(error.constructor.name)?.[0];

/** The frames at the end of a stack. A message may have lines of its own: what is not shaped like a frame ends the walk upwards. */
function framesOf(error: Error): string {
  const head = String(error);
  const stack = error.stack ?? '';
  const frames: string[] = [];
  for (const line of (stack.startsWith(head) ? stack.slice(head.length) : stack).split('\n').reverse()) {
    const frame =
      /^    at ((?:(?:async |new )?[\w.<>$#[\] ]{1,100} \()?(?:file:\/\/|node:|\/)[^()\s]{1,200}:\d+:\d+\)?)$/.exec(
        line,
      )?.[1];
    if (frame !== undefined) frames.unshift(frame);
    else if (!/^    at (?:.{1,40}\()?(?:<anonymous>|native)\)?$/.test(line)) break;
  }
  return frames.slice(0, MAX_STACK_FRAMES).join(' < ');
}

/** The lists again at run time: a spread of somebody else's object defeats the types. A refused field shows its name, never its value. */
function allowed(event: LogEvent, fields: Fields): Record<string, unknown> {
  const kept: Record<string, unknown> = { event: EVENTS.includes(event) ? event : 'log.refused' };
  const refused = kept['event'] === event ? [] : ['event'];
  for (const [key, value] of Object.entries(fields) as [string, unknown][]) {
    if (value === undefined) continue;
    const want = Object.hasOwn(FIELDS, key) ? FIELDS[key as keyof typeof FIELDS] : undefined;
    if (want === 'string' && typeof value === 'string')
      kept[key] = printable(value, key === 'stack' ? Infinity : MAX_COLUMNS);
    else if (want === 'number' && Number.isFinite(value)) kept[key] = value;
    else refused.push(key);
  }
  if (refused.length > 0) kept['refused'] = printable(refused.join(','), MAX_COLUMNS);
  return kept;
}

/** Sentences that people know; every other event is shown as it is. */
const SENTENCES: { readonly [E in LogEvent]?: (fields: Fields) => string } = {
  'server.listening': (f) => `Server running on ${endpoint(f)}`,
  'connection.accepted': (f) => `Accepted connection from ${endpoint(f)}`,
  'certificate.validated': (f) => `✔ Client certificate validated${f.user === undefined ? '' : ` (${f.user})`}`,
  'handshake.done': (f) => `✔ Session key agreed, fingerprint ${f.fingerprint ?? 'unknown'}`,
};
const endpoint = ({ address = '?', port }: Fields): string =>
  port === undefined ? address : `${address.includes(':') ? `[${address}]` : address}:${port}`;

function asText(json: string): string {
  const { time, level, event, ...fields } = JSON.parse(json) as {
    time: string;
    level: string;
    event: LogEvent;
  } & Fields;
  const sentence = SENTENCES[event]?.(fields);
  if (sentence !== undefined && level === 'info') return `${sentence}\n`;
  const pairs = Object.entries(fields).map(
    ([key, value]) => `${key}=${/[\s"=]/.test(String(value)) ? JSON.stringify(value) : value}`,
  );
  return `${[time, level.padEnd(5), event, ...pairs].join(' ')}\n`;
}

function descriptor(fd: number): { write(line: string): void } {
  const stream = destination({ dest: fd, sync: true, maxLength: MAX_UNWRITTEN_BYTES });
  // A closed standard error must not end a server that can do without it.
  stream.on('error', () => {});
  return { write: (line) => void stream.write(line) };
}
