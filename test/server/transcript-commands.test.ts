/** What an operator's commands write of the log. */
import { linkSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { exportTranscript } from '../../server/transcript-commands.ts';
import { conversationOf } from '../support/bundle-writer.ts';
import { seal, writeFiles } from '../support/log-writer.ts';
import { before, ca, first } from '../support/signed-again.ts';

const pem = (der: Uint8Array): string =>
  `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`;

t.test('export: the file is what it was, or all that it is to be', async (t) => {
  const dir = t.testdir({ log: {}, out: {} });
  writeFiles(join(dir, 'log'), seal(first, before));
  const put = (name: string, content: string | Buffer): string => {
    writeFileSync(join(dir, name), content, { mode: 0o600 });
    return join(dir, name);
  };
  const tls = {
    cert: put('server.crt', first.server.chain.map(pem).join('')),
    key: put('server.key', first.server.key.export({ type: 'pkcs8', format: 'pem' })),
    ca: [put('ca.crt', pem(ca.der))],
  };
  const config = { values: { transcript: { dir: join(dir, 'log') }, tls } };
  const lines: string[] = [];
  const conversation = hex(conversationOf('ab'));
  const write = (path: string, force: boolean, id = conversation): Promise<void> =>
    exportTranscript(config as never, { conversation: id, out: path, force }, (line) => lines.push(line));
  const path = join(dir, 'out/ab.tar');

  await write(path, false);
  const whole = readFileSync(path);
  t.match(lines, [/messages, none disclosed, complete$/]);
  await t.rejects(write(path, false), { code: 'USAGE', message: /already/ });

  // Fails when the file is emptied first: whatever ends the writing ends what was there.
  const kept = join(dir, 'out/kept.tar');
  linkSync(path, kept);
  writeFileSync(path, 'of before');
  await write(path, true);
  t.equal(readFileSync(kept, 'utf8'), 'of before');
  t.equal(readFileSync(path).length, whole.length);
  t.strictSame(readdirSync(join(dir, 'out')).sort(), ['ab.tar', 'kept.tar'], 'and nothing beside it');

  await t.rejects(write(path, true, 'ee'.repeat(32)), { code: 'NOT_FOUND' });
  t.equal(readFileSync(path).length, whole.length);
  await t.rejects(write(join(dir, 'none/ab.tar'), true), { code: 'STORE_FAILED' });
  symlinkSync('/dev/null', join(dir, 'out/null'));
  await t.rejects(write(join(dir, 'out/null'), true), { code: 'USAGE', message: /is no file/ });
});
