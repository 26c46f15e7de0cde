import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { ChatError, CODES } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import {
  errorFields,
  EVENTS,
  FIELDS,
  levelOf,
  openLog,
  REFUSALS_PER_WINDOW,
  WINDOW_MS,
  type Fields,
  type Level,
  type LogEvent,
} from '../../runtime/log.ts';

function recorder(options: { level?: Level; format?: 'json' | 'text' } = {}) {
  const lines: string[] = [];
  const clock = { now: 0 };
  const log = openLog({
    level: options.level ?? 'debug',
    format: options.format ?? 'json',
    to: { write: (line) => void lines.push(line) },
    now: () => clock.now,
  });
  return { log, lines, clock, last: () => JSON.parse(lines.at(-1) ?? 'null') as Record<string, unknown> };
}

t.test('the lists', async (t) => {
  t.equal(new Set(EVENTS).size, EVENTS.length, 'no event twice');
  for (const event of EVENTS) t.match(event, /^[a-z]+\.[a-z]+$/);
  for (const [name, type] of Object.entries(FIELDS)) {
    t.match(name, /^[a-z][A-Za-z]*$/);
    t.ok(['string', 'number'].includes(type));
  }
  for (const name of ['body', 'password', 'key', 'token', 'message', 'msg', 'error', 'err', 'level', 'time', 'event'])
    t.notOk(Object.hasOwn(FIELDS, name), `${name} is no field`);
});

t.test('a JSON line: level, time, event, fields; one line', async (t) => {
  const { log, lines, last } = recorder();
  log.info('server.listening', { address: '127.0.0.1', port: 6000 });
  t.match(last(), {
    level: 'info',
    time: /^\d{4}-\d\d-\d\dT[\d:.]+Z$/,
    event: 'server.listening',
    address: '127.0.0.1',
    port: 6000,
  });
  t.strictSame(Object.keys(last()), ['level', 'time', 'event', 'address', 'port']);
  t.match(lines[0], /^[^\n]+\n$/);
  log
    .with({ connection: 7 })
    .with({ user: 'alice' })
    .debug('message.duplicate', { index: 3, user: 'bob', bytes: undefined });
  t.match(last(), { level: 'debug', connection: 7, user: 'bob', index: 3 });
  t.equal(lines.at(-1)?.match(/"user"/g)?.length, 1, 'no key twice');
  t.notOk(Object.hasOwn(last(), 'bytes'));
});

t.test('levels', async (t) => {
  for (const [level, want] of [
    ['debug', 4],
    ['info', 3],
    ['warn', 2],
    ['error', 1],
    ['silent', 0],
  ] as const) {
    const { log, lines } = recorder({ level });
    for (const name of ['debug', 'info', 'warn', 'error'] as const) log[name]('server.stopped');
    t.equal(lines.length, want, level);
  }
});

t.test('a field that is in no list, or of another type, shows its name only', async (t) => {
  const CANARY = 'hunter2';
  const { log, lines, last } = recorder();
  const refused: readonly (readonly [why: string, fields: object, names: string])[] = [
    ['no such field', { password: CANARY }, 'password'],
    ['two of them', { body: CANARY, key: CANARY }, 'body,key'],
    ['an object', { user: { name: CANARY } }, 'user'],
    ['a list', { user: [CANARY] }, 'user'],
    ['text for a number', { port: CANARY }, 'port'],
    ['a number for text', { user: 42 }, 'user'],
    ['bytes', { fingerprint: Buffer.from(CANARY) }, 'fingerprint'],
    ['a secret', { user: new Secret(Buffer.from(CANARY)) }, 'user'],
    ['an error', { err: new Error(CANARY) }, 'err'],
    ['null', { user: null }, 'user'],
    ['not a number', { bytes: NaN }, 'bytes'],
    ['infinite', { bytes: Infinity }, 'bytes'],
    ['an object that converts', { user: { toString: () => CANARY, toJSON: () => CANARY } }, 'user'],
    [
      "pino's own names",
      { level: CANARY, time: CANARY, pid: CANARY, hostname: CANARY, msg: CANARY },
      'level,time,pid,hostname,msg',
    ],
    ['another event', { event: CANARY }, 'event'],
    [
      'inherited names',
      JSON.parse(`{"__proto__":"${CANARY}","constructor":"${CANARY}","toString":1}`) as object,
      '__proto__,constructor,toString',
    ],
  ];
  for (const [why, fields, names] of refused) {
    log.info('session.closed', { address: '::1', ...fields } as Fields);
    t.match(last(), { event: 'session.closed', address: '::1', level: 'info' }, why);
    t.equal(last()['refused'], names, why);
    log.with(fields as Fields).info('session.closed');
    t.equal(last()['refused'], names, `${why}, bound`);
  }
  log.info(`secret is ${CANARY}` as LogEvent);
  t.match(last(), { event: 'log.refused', refused: 'event' }, 'an event that is in no list');
  t.notMatch(lines.join(''), CANARY);
  t.notMatch(lines.join(''), Buffer.from(CANARY).toString('base64'));
});

t.test('what a peer wrote stays in its line', async (t) => {
  for (const format of ['json', 'text'] as const) {
    const { log, lines } = recorder({ format });
    const subject = 'CN=x\n{"level":"info"}\r\x1b[2J\u202e\u2028\u0085\x00\ud800 end';
    log.info('tls.refused', { subject, code: 'BAD_CERT' });
    t.equal(lines.length, 1);
    t.notMatch(lines[0]?.slice(0, -1), /[\p{Cc}\p{Cf}\p{Zl}\p{Cs}]/u);
    t.match(lines[0], /\\u\{1b\}/);
    t.match(lines[0], /\\u\{202e\}/);
    log.info('tls.refused', { subject: 'x'.repeat(100_000) });
    t.ok((lines[1]?.length ?? 0) < 1000, 'and is not long');
  }
});

t.test('text: the sentences, and one readable line for the rest', async (t) => {
  const { log, lines } = recorder({ format: 'text' });
  log.info('server.listening', { address: '127.0.0.1', port: 6000 });
  log.info('server.listening', { address: '::1', port: 6000 });
  log.info('connection.accepted', { address: '192.0.2.7', port: 51234, connection: 1 });
  log.info('certificate.validated');
  log.info('certificate.validated', { user: 'alice', subject: 'CN=alice' });
  log.info('handshake.done', { fingerprint: '0011223344556677', suite: 1 });
  t.strictSame(lines.splice(0), [
    'Server running on 127.0.0.1:6000\n',
    'Server running on [::1]:6000\n',
    'Accepted connection from 192.0.2.7:51234\n',
    '✔ Client certificate validated\n',
    '✔ Client certificate validated (alice)\n',
    '✔ Session key agreed, fingerprint 0011223344556677\n',
  ]);
  log.warn('store.failed', { code: 'STORE_FAILED', errno: 'ENOSPC', subject: 'O=A B, CN="x=y"', ms: 12 });
  t.match(
    lines[0],
    /^\d{4}-\d\d-\d\dT[\d:.]+Z warn  store\.failed code=STORE_FAILED errno=ENOSPC subject="O=A B, CN=\\"x=y\\"" ms=12\n$/,
  );
});

t.test('errors: code, sub and field; frames for blame us; never a message', async (t) => {
  const CANARY = 'hunter2';
  const sql = Object.assign(new Error(`INSERT INTO users VALUES ('${CANARY}')\n    at ${CANARY}\n${CANARY}`), {
    code: 'ER_DUP_ENTRY',
    sql: CANARY,
  });
  class QueryError extends Error {}
  const odd = new QueryError(`first\n    at /etc/${CANARY} (secret)\n    at ${CANARY}:1:1\nlast ${CANARY}`);
  const changed = new Error(`${CANARY}\n    at ${CANARY} (first)\n${CANARY}`);
  t.match(
    changed.stack,
    CANARY,
    'V8 writes the stack when it is first asked for; from now on it keeps the former message',
  );
  changed.message = 'other';
  const cases: readonly (readonly [name: string, error: unknown, fields: Record<string, unknown>, stack: boolean])[] = [
    [
      'named',
      new ChatError('BAD_CERT', CANARY, { sub: 'expired', field: 'leaf' }),
      { code: 'BAD_CERT', sub: 'expired', field: 'leaf' },
      false,
    ],
    ['with a wait', new ChatError('LOCKED', CANARY, { retryAfterMs: 5 }), { code: 'LOCKED', retryAfterMs: 5 }, false],
    [
      'caused by a driver',
      new ChatError('STORE_FAILED', CANARY, { cause: sql }),
      { code: 'STORE_FAILED', errno: 'ER_DUP_ENTRY' },
      false,
    ],
    ['our own', new ChatError('INTERNAL', CANARY), { code: 'INTERNAL', kind: 'ChatError' }, true],
    ['unexpected', new TypeError(CANARY), { code: 'INTERNAL', kind: 'TypeError' }, true],
    ['unexpected, of a driver', sql, { code: 'INTERNAL', kind: 'Error', errno: 'ER_DUP_ENTRY' }, true],
    ['a message like frames', odd, { code: 'INTERNAL', kind: 'QueryError' }, true],
    ['a message changed afterwards', changed, { code: 'INTERNAL', kind: 'Error' }, true],
    ['a string', CANARY, { code: 'INTERNAL', kind: 'ChatError' }, true],
    ['nothing', undefined, { code: 'INTERNAL', kind: 'ChatError' }, true],
    [
      'an errno that is a sentence',
      Object.assign(new Error(), { code: `no ${CANARY}` }),
      { code: 'INTERNAL', kind: 'Error' },
      true,
    ],
    ['a number for an errno', Object.assign(new Error(), { code: 5 }), { code: 'INTERNAL', kind: 'Error' }, true],
  ];
  for (const [name, error, want, hasStack] of cases) {
    const { log, lines, last } = recorder();
    const fields = errorFields(error);
    log[levelOf(error)]('server.failed', fields);
    const { level, time: _, event: _event, stack, ...rest } = last();
    t.strictSame(rest, want, name);
    t.notMatch(lines[0], CANARY, name);
    if (hasStack) t.match(stack, /^[^\n]*log\.test\.ts:\d+:\d+/, `${name}: where it was`);
    else t.equal(stack, undefined, name);
    t.equal(
      level,
      { us: 'error', world: 'warn', peer: 'info', user: 'info' }[CODES[fields.code as 'INTERNAL'].blame as 'us'],
      name,
    );
  }
});

t.test('the same refusal again and again: a few lines, then a count', async (t) => {
  const { log, lines, clock } = recorder();
  const refuse = (sub: string) =>
    log.info('tls.refused', { code: 'BAD_CERT', sub, address: `192.0.2.${lines.length}` });
  for (let i = 0; i < 1000; i++) refuse('expired');
  t.equal(lines.length, REFUSALS_PER_WINDOW);
  refuse('revoked');
  log.info('login.refused', { code: 'AUTH_FAIL' });
  t.equal(lines.length, REFUSALS_PER_WINDOW + 2, 'another reason and another event have their own count');
  for (let i = 0; i < 100; i++) log.info('session.closed');
  t.equal(lines.length, REFUSALS_PER_WINDOW + 102, 'only refusals are limited');

  clock.now = WINDOW_MS - 1;
  refuse('expired');
  t.equal(lines.length, REFUSALS_PER_WINDOW + 102, 'until the window ends');
  clock.now = WINDOW_MS;
  lines.length = 0;
  log.info('session.closed');
  t.strictSame(
    lines.map((line) => (JSON.parse(line) as { event: string }).event),
    ['log.suppressed', 'session.closed'],
  );
  t.match(JSON.parse(lines[0] ?? ''), {
    level: 'warn',
    of: 'tls.refused',
    code: 'BAD_CERT',
    suppressed: 1000 - REFUSALS_PER_WINDOW + 1,
  });
  refuse('expired');
  t.equal(lines.length, 3, 'and then they are written again');
  for (let i = 0; i < 5000; i++) log.info('tls.refused', { code: 'BAD_CERT', sub: `s${i}` });
  t.ok(lines.length < 1100, `${lines.length}: the counters are bounded too`);
});

t.test('to a file descriptor, in order, at once', async (t) => {
  const file = join(t.testdir(), 'log');
  const fd = openSync(file, 'w');
  const log = openLog({ level: 'info', format: 'json', to: fd });
  for (let index = 0; index < 100; index++) log.info('message.duplicate', { index });
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  closeSync(fd);
  t.strictSame(
    lines.map((line) => (JSON.parse(line) as { index: number }).index),
    Array.from({ length: 100 }, (_, i) => i),
  );
});

t.test('lines that a full disk does not take are not all kept', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const heap = (): number => (collect(), process.memoryUsage().heapUsed);
  const fd = openSync('/dev/full', 'w');
  const log = openLog({ level: 'info', format: 'json', to: fd });
  const before = heap();
  for (let index = 0; index < 100_000; index++) log.info('message.duplicate', { index, file: 'x'.repeat(256) });
  const grown = heap() - before;
  closeSync(fd);
  t.ok(grown < 10_000_000, `${grown} bytes of some 35,000,000`);
});
