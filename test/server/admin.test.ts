import { once } from 'node:events';
import { chmodSync, statSync, writeFileSync, existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ChatError } from '../../base/errors.ts';
import { tellServer } from '../../server/account-changes.ts';
import { askAdmin, serveAdmin } from '../../server/admin.ts';

function place(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'chat-admin-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, 'sock');
}

async function serving(t: Test): Promise<string> {
  const path = place(t);
  const server = await serveAdmin(path, {
    status: () => ({ ok: true }),
    fail: () => {
      throw new ChatError('STORE_FAILED', 'not for the shell');
    },
    later: async ({ user }) => {
      await new Promise(setImmediate);
      if (user !== 'bob') throw new ChatError('NO_SUCH_PEER', 'not for the shell');
      return { connections: 2 };
    },
  });
  t.teardown(() => void server.close());
  return path;
}

/** Sends bytes, and answers everything that comes until the end. */
async function raw(path: string, text: string): Promise<string> {
  const socket = connect(path);
  socket.on('error', () => {});
  let reply = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (reply += chunk));
  socket.end(text);
  await new Promise((resolve) => socket.once('close', resolve));
  return reply;
}

t.test('a question, an answer, one line each', async (t) => {
  const path = await serving(t);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.strictSame(await askAdmin(path, 'status'), { ok: true });
  await t.rejects(askAdmin(path, 'explode'), { code: 'UNKNOWN_TYPE' });
  await t.rejects(askAdmin(path, 'constructor'), { code: 'UNKNOWN_TYPE' });
  await t.rejects(askAdmin(path, 'fail'), { code: 'STORE_FAILED' }, 'a command that fails ends nobody else');
  t.strictSame(await askAdmin(path, 'later', { user: 'bob', command: 'status' }), { connections: 2 });
  await t.rejects(askAdmin(path, 'later', { user: 'carol' }), { code: 'NO_SUCH_PEER' });
  const twice = '{"command":"later","user":"bob"}\n'.repeat(2);
  t.equal(await raw(path, twice), '{"connections":2}\n', 'one question each, also while the answer is not there');
  t.equal(await raw(path, '{"command":"status"}\n{"command":"status"}\n'), '{"ok":true}\n', 'one question each');
  for (const junk of ['\n', 'null\n', '[]\n', '{}\n', '{"command":7}\n', 'GET / HTTP/1.1\r\n'])
    t.match(JSON.parse(await raw(path, junk)), { error: /^(BAD_FRAME|UNKNOWN_TYPE)$/ }, JSON.stringify(junk));
  t.equal(await raw(path, ''), '', 'nothing said, nothing answered');
  t.equal(await raw(path, 'x'.repeat(5000)), '', 'too long a question');
  t.strictSame(await askAdmin(path, 'status'), { ok: true });
});

t.test('a socket that was left behind is replaced, and nothing else is', async (t) => {
  const path = place(t);
  await t.rejects(askAdmin(path, 'status'), { code: 'UNREACHABLE' }, 'nothing there');
  const before = createServer().listen(`${path}.before`);
  await once(before, 'listening');
  renameSync(`${path}.before`, path);
  await t.rejects(serveAdmin(path, {}), { code: 'IN_USE', field: 'admin.socket' }, 'somebody answers there');
  before.close(); // and does not find its file to remove, as after a kill
  await once(before, 'close');
  t.ok(existsSync(path));
  const server = await serveAdmin(path, { status: () => 1 });
  t.equal(await askAdmin(path, 'status'), 1);
  await t.rejects(serveAdmin(path, { status: () => 2 }), { code: 'IN_USE' });
  t.equal(await askAdmin(path, 'status'), 1, 'the first one keeps it');
  server.close();
  writeFileSync(path, 'precious');
  await t.rejects(serveAdmin(path, {}), { code: 'UNSAFE_FILE', field: 'admin.socket' });
  t.ok(existsSync(path));
  await t.rejects(askAdmin(path, 'status'), { code: 'UNREACHABLE' }, 'no socket');
  await t.rejects(serveAdmin(join(path, 'below'), {}), { code: 'UNAVAILABLE' });
});

/** Root may do what it likes: it is another user for as long as this lasts. */
async function asAnother(work: () => Promise<void>): Promise<void> {
  if (process.geteuid?.() !== 0) return work();
  process.seteuid?.(65_534);
  try {
    await work();
  } finally {
    process.seteuid?.(0);
  }
}

t.test('who may not ask is told so', async (t) => {
  const path = await serving(t);
  chmodSync(path, 0o000); // as for anybody but its owner
  const config = { values: { admin: { socket: path }, log: { level: 'silent', format: 'json' } } };
  await asAnother(async () => {
    const why = `no permission for ${path}: run this as the user of the chat-server, or as root`;
    await t.rejects(askAdmin(path, 'status'), { code: 'UNSAFE_FILE', field: 'admin.socket', message: why });
    await t.rejects(tellServer(config as never, 'user_resumed', 'bob'), {
      code: 'UNREACHABLE',
      message: /: repeat this as its user or as root, or/,
    });
  });
});

t.test('a daemon that says something else, or too much, or nothing', async (t) => {
  for (const answer of ['', 'not JSON\n', `"${'x'.repeat(2_000_000)}"`]) {
    const path = place(t);
    const server = createServer((socket) => socket.on('error', () => {}).end(answer)).listen(path);
    await once(server, 'listening');
    await t.rejects(askAdmin(path, 'status'), { code: 'UNREACHABLE' }, `${answer.length} bytes`);
    server.close();
  }
});
