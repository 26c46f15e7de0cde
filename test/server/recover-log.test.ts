/** A log that is put back from a copy of a running server, and ended: what is kept of it is what its files show. */
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { LoadedServerConfig } from '../../runtime/config.ts';
import { epochAt, inherit } from '../../server/log/epochs.ts';
import { SEGMENT_BYTES } from '../../server/log/segments.ts';
import { beginEpoch } from '../../server/recover-log.ts';
import { auditEpochs } from '../../verify/epochs.ts';
import { Findings } from '../../verify/finding.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { NOW } from '../support/store-world.ts';
import { entry, identity, logOptions, openLog, ORIGIN } from '../support/transcript-world.ts';

const { ca, server } = identity();

/** @param hasKey of the log */
async function ended(t: Test, hasKey: boolean): Promise<void> {
  const dir = t.testdir();
  const folder = join(dir, 'log');
  const options = logOptions(dir, server, { segmentBytes: SEGMENT_BYTES });
  const log = await openLog(options);
  const append = () => log.append({ time: NOW, entries: [entry(NOW)] });
  await append();
  await log.publish();
  await append();
  cpSync(folder, join(dir, 'copy'), { recursive: true });
  const size = hasKey ? log.size : log.publishedSize;
  const last = log.size;
  await append();
  const { note } = log.latest;
  await log.close();
  rmSync(folder, { recursive: true });
  cpSync(join(dir, 'copy'), folder, { recursive: true });

  if (!hasKey) rmSync(options.keyFile);
  writeFileSync(join(dir, 'known'), note);
  const values = { transcript: { dir: folder }, stateDir: dir, serverName: 'localhost', node: 'n1' };
  const lines: string[] = [];
  const say = (line: string): void => void lines.push(line);
  await beginEpoch({ values } as unknown as LoadedServerConfig, [join(dir, 'known')], say, NOW);
  t.match(lines[0], `entries ${size} to ${last} of ${ORIGIN} are lost; ${size} are kept`);

  const next = epochAt(folder, dir, 2);
  const succession = inherit(next, folder, dir);
  const now = () => NOW - 3_600_000;
  const second = await openLog({ ...options, ...next, origin: `${ORIGIN}/e2`, succession, now });
  t.equal(second.time, NOW, 'a clock that was set back does not put its entries before those of the log before');
  await second.append({ time: NOW, entries: [entry(NOW)] });
  await second.close();
  const findings = new Findings();
  const known = [{ name: 'known', note: Buffer.from(note) }];
  auditEpochs(folder, { roots: [parseCertificate(ca.der)], crls: [] }, known, findings);
  const errors = findings.kept.filter(({ code }) => code.startsWith('E_'));
  t.strictSame(
    errors.filter(({ code }) => code !== 'E_STAMP'),
    [],
    'they are where they are said to be',
  ); // entry() has junk for stamps
}

t.test('windows that were acknowledged, and not published yet, are kept and published', (t) => ended(t, true));
t.test('what nobody can sign any more is not kept', (t) => ended(t, false));

t.test('a copy that has only what is published: all of that is kept', async (t) => {
  const dir = t.testdir({ copy: {} });
  const folder = join(dir, 'log');
  const log = await openLog(logOptions(dir, server, { segmentBytes: SEGMENT_BYTES }));
  await log.append({ time: NOW, entries: [entry(NOW)] });
  await log.publish();
  const { size } = log;
  await log.close();
  // As docs/OPERATING.md has it copied beside a running server.
  for (const name of ['key.stmt', 'key.sig', 'checkpoint', 'tile'])
    cpSync(join(folder, name), join(dir, 'copy', name), { recursive: true });
  const values = { transcript: { dir: join(dir, 'copy') }, stateDir: dir, serverName: 'localhost', node: 'n1' };
  const lines: string[] = [];
  await beginEpoch({ values } as unknown as LoadedServerConfig, [], (line) => void lines.push(line), NOW);
  t.match(lines[0], `what it signed beyond its entries of ${ORIGIN} are lost; ${size} are kept`);
});
