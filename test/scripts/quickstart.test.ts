/** The first command of the README, in a copy of this project that has never run before: it keeps everything in the project's folder. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { root } from '../support/system.ts';

t.setTimeout(450_000); // a busy machine is no failure

const project = mkdtempSync(join(tmpdir(), 'chat-quick-'));
t.teardown(() => rmSync(project, { recursive: true, force: true }));
const LEFT_OUT = new Set(['node_modules', 'data', 'dist', 'test', 'docs', 'bench', 'certs']);
for (const name of readdirSync(root).filter((each) => !each.startsWith('.') && !LEFT_OUT.has(each)))
  cpSync(join(root, name), join(project, name), { recursive: true });
symlinkSync(join(root, 'node_modules'), join(project, 'node_modules'));

function run(...args: readonly string[]): { status: number | null; out: string; err: string } {
  // Into files: a server that is left running would hold a pipe open.
  const [out, err] = ['out', 'err'].map((name) => join(project, `${name}.txt`)) as [string, string];
  const words = `exec "$0" scripts/quickstart.ts "$@" >out.txt 2>err.txt`;
  const { status } = spawnSync('sh', ['-c', words, process.execPath, ...args], {
    cwd: project,
    env: { ...process.env, HOME: project },
    stdio: 'ignore',
  });
  return { status, out: readFileSync(out, 'utf8'), err: readFileSync(err, 'utf8') };
}

/** RFC 9420 §6: version mls10, wire format mls_private_message. */
const PRIVATE_MESSAGE = /^00010002/;
/** The first part of each message that waits for somebody, in hexadecimal: behind a count and a length. */
async function queued(path: string): Promise<string[]> {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    for (;;) {
      const rows = database.prepare('SELECT parts FROM contents ORDER BY entry').all();
      const parts = rows.map((row) => Buffer.from(row['parts'] as Uint8Array).toString('hex', 8));
      if (parts.length > 0) return parts;
      await sleep(50); // the database is told later
    }
  } finally {
    database.close();
  }
}

t.test('the first time', async (t) => {
  const { status, out, err } = run('--exit');
  t.equal(status, 0, err);
  t.match(out, /^Server running on 127\.0\.0\.1:\d+$/m);
  t.match(out, /^== alice registers and logs in$[^]*^== bob registers and logs in$/m);
  t.match(out, /^alice │ .*Server delivered: ✔/m);
  t.match(out, /^bob +│ .*Server delivered: ✔/m, 'both ways');
  t.match(out, /^bob +│ .*Hello Bob, can you read this\?/m);
  t.match(out, /^VALID /m, 'the transcript that this made');
  const promise =
    '(Every message is signed and recorded. Bodies are end-to-end encrypted: the server cannot read them.)';
  t.match(out, promise);
  t.match(readFileSync(join(root, 'README.md'), 'utf8'), promise, 'as the README says');
  t.match(out, /\n✔ Everything held\.\nserver stopped\n$/);
});

t.test('again: what exists is used, and the server goes on; once more: that server is stopped', async (t) => {
  const { status, out, err } = run();
  t.equal(status, 0, err);
  t.match(out, /^kept those in data\/quickstart\/certs$/m);
  t.match(out, /^== alice logs in$/m);
  const pid = Number(/^Stop the server: kill (\d+)$/m.exec(out)?.[1]);
  t.ok(process.kill(pid, 0), 'still there');
  t.teardown(() => spawnSync('kill', [String(pid)], { stdio: 'ignore' })); // if it is not stopped below
  const command = /^ {2}CHAT_CLIENT_HOME=(\S+) bin\/chat-client -P alice$/m.exec(out);
  const alice = (...args: readonly string[]) =>
    spawnSync(join(project, 'bin/chat-client'), ['-P', 'alice', ...args], {
      cwd: project,
      env: { ...process.env, CHAT_CLIENT_HOME: command?.[1] },
      encoding: 'utf8',
    });
  t.match(alice('whoami'), { status: 0, stdout: /alice/ }, 'the command that it ends with');
  t.match(alice('send', 'bob', 'while you are away'), { status: 0 });
  const waiting = await queued(join(project, 'data/quickstart/server/chat.db'));
  t.ok(waiting.length > 0, 'what waits for bob');
  for (const part of waiting) t.match(part, PRIVATE_MESSAGE, 'is sealed in his group with alice');
  const last = run('--exit');
  t.equal(last.status, 0, last.err);
  t.match(last.out, new RegExp(`since an earlier run, process ${pid}`));
  t.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});

t.test('the exit status tells when something does not hold', async (t) => {
  t.match(run('--nonsense'), { status: 2, err: /unknown argument --nonsense/ });
  writeFileSync(join(project, 'bin/chat-verify'), '#!/bin/sh\nexit 10\n');
  const { status, out, err } = run('--exit');
  t.equal(status, 1);
  t.notMatch(out, /Everything held/);
  t.match(err, /^quickstart: chat-verify ended with status 10$/m);
  t.match(out, /\nserver stopped\n$/);
});
