/** A message that disappears while its recipient is away, over MariaDB: gone from the queue, and never in a file in a form that can be read. */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { mariadb } from '../support/mariadb.ts';
import { System } from '../support/system.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('what MariaDB keeps of it', async (t) => {
  const database = await mariadb(t);
  if (database === null) return;
  const dir = testFolder(t);
  const passwordFile = join(dir, 'database-password');
  database.password().use((bytes) => writeFileSync(passwordFile, bytes, { mode: 0o600 }));
  const system = await System.create(t, {
    dir,
    settings: { 'db.url': database.url, 'db.password_file': passwordFile },
  });
  await system.command('db', 'init');
  await system.start();
  const run = async (name: 'alice' | 'bob', args: readonly string[], stdin = ''): Promise<string> => {
    const program = system.client(name, args);
    program.type(stdin);
    t.equal(await program.ended, 0, program.tail);
    return program.out;
  };
  for (const name of ['bob', 'alice'] as const)
    await run(name, ['register', '--password-stdin'], 'correct horse battery');
  const body = `body${randomBytes(12).toString('hex')}`;
  await run('alice', ['send', 'bob', '-', '--expire', '20s'], body);
  const contents = async (): Promise<Buffer[]> => {
    const out = await database.sql('SELECT hex(parts) AS parts FROM contents ORDER BY entry', 'securechat');
    return (out.match(/^[0-9A-F]{20,}$/gm) ?? []).map((line) => Buffer.from(line, 'hex'));
  };
  while ((await contents()).length < 2) await sleep(100); // the database is told within a second
  const [commit, sealed, ...more] = await contents();
  t.ok(commit && sealed && more.length === 0, 'a commit that makes the group, and the message');
  const folder = /^(\/\S+)$/m.exec(await database.sql('SELECT @@datadir'))![1]!;
  const holds = (bytes: Uint8Array): boolean =>
    readdirSync(folder, { recursive: true, withFileTypes: true }).some(
      (entry) => entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).includes(Buffer.from(bytes)),
    );
  t.ok(holds(sealed!.subarray(8, 200)), 'control: what is searched has the message as it was sealed');
  while ((await contents()).length > 1) await sleep(200);
  t.strictSame((await contents()).map(String), [String(commit)], 'gone from the queue; the change of the group stays');
  t.notMatch(await run('bob', ['recv']), new RegExp(body));
  t.notMatch(await run('bob', ['history', 'alice']), new RegExp(body));
  t.notMatch(await run('alice', ['history', 'bob']), new RegExp(body), 'nor do her own records have it');
  t.equal(await system.stop(), 0);
  await database.kill(); // stopped, its files would go
  t.notOk(holds(Buffer.from(body)), 'no file of the database has ever had what can be read');
  t.comment(`what was sealed is ${holds(sealed!.subarray(8, 200)) ? 'still' : 'not'} in its files`);
});
