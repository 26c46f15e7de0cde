/**
 * The process is killed at every step of a commit and of a publication, again and again on the same files: no batch that was accepted
 * is lost, none appears that nobody sent, repetitions close every gap, and an outsider finds nothing wrong with the log.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import type { Submission } from '../../server/submission.ts';
import { decodeLeaf } from '../../transcript/leaf.ts';
import { Findings } from '../../verify/finding.ts';
import { auditDirectory } from '../../verify/log-directory.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { POINTS, type CrashWorld, type Line, type Point } from '../support/crash-driver.ts';
import { LATER } from '../support/store-world.ts';
import { transcriptWorld, type TranscriptWorld } from '../support/transcript-world.ts';
import { testFolder } from '../support/folder.ts';

const driver = fileURLToPath(new URL('../support/crash-driver.ts', import.meta.url));
t.setTimeout(process.env['FUZZ'] ? 3_600_000 : 120_000); // a busy machine is no failure

/** Runs until it has killed itself; answers what it had submitted, and where each was accepted if it said so. */
async function crash(dir: string, point: Point, count: number) {
  const child = spawn(process.execPath, [driver, dir, point, `${count}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  const signal = await new Promise<string | null>((resolve) => child.on('close', (_code, by) => resolve(by)));
  const submitted: Line[] = [];
  const accepted = new Map<string, number>();
  for (const line of Buffer.concat(chunks).toString().split('\n').slice(0, -1)) {
    if (line.startsWith('S ')) submitted.push(JSON.parse(line.slice(2)) as Line);
    else accepted.set(line.split(' ')[1]!, Number(line.split(' ')[2]));
  }
  return { signal, submitted, accepted };
}

const submissionOf = (w: TranscriptWorld, line: Line): Submission => {
  const bytes = (text: string) => Buffer.from(text, 'base64');
  const people = [w.alice, w.bob];
  const { device, publicKey, chain, until } = people[line.sender]!;
  const recipients = people.filter((_, i) => i !== line.sender).map((other) => other.device.id);
  return {
    refusal: null,
    device: { id: device.id, userId: device.userId, fingerprint: device.fingerprint, publicKey, chain, until },
    algorithm: line.algorithm,
    signature: bytes(line.signature),
    batch: bytes(line.batch),
    messages: line.messages.map(({ statement, parts }) => ({
      statement: bytes(statement),
      parts: parts.map(bytes),
      group: null,
      groupInfo: null,
      recipients,
      peers: recipients,
      expiresAt: LATER,
    })),
  };
};

t.test('killed at any step', async (t) => {
  const dir = testFolder(t);
  const w = await transcriptWorld(dir, {}, { segmentBytes: 64 * 1024 });
  await w.close();
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
  const world: CrashWorld = {
    server: { key: w.server.keyPem, der: text(w.server.der) },
    conversation: text(w.conversation),
    senders: [w.alice, w.bob].map(({ device, key, chain }) => ({
      id: device.id,
      userId: device.userId,
      fingerprint: text(device.fingerprint),
      key: key.export({ format: 'pem', type: 'pkcs8' }) as string,
      chain: chain.map(text),
    })),
  };
  writeFileSync(`${dir}/world.json`, JSON.stringify(world));

  const steps: [Point, number][] = POINTS.map((point, i) => [point, point.startsWith('segment') ? 1 : 2 + i]);
  const random = process.env['FUZZ'] ? 300 : 1;
  for (let i = 0; i < random; i++) steps.push(['any', process.env['FUZZ'] ? randomInt(1, 400) : 29 + 30 * i]);
  const sent = new Map<string, Line>();
  let told = 0;
  for (const [point, count] of steps) {
    const name = `${point}, ${count}`;
    const { signal, submitted, accepted } = await crash(dir, point, count);
    t.equal(signal, 'SIGKILL', `${name}: killed`);
    for (const line of submitted) sent.set(line.batch, line);
    told += accepted.size;
    await w.reopen({ segmentBytes: 64 * 1024 });
    const { size } = w.transcript;
    for (const [batch, firstIndex] of accepted) {
      const again = await w.sequencer.submit(submissionOf(w, sent.get(batch)!));
      if (again.firstIndex !== firstIndex || !again.repeated || firstIndex >= size)
        throw new Error(`${name}: the batch accepted at ${firstIndex} is lost or was not stored`);
    }
    // As a client does: everything that was not answered is sent again, in its order.
    for (const line of submitted) if (!accepted.has(line.batch)) await w.sequencer.submit(submissionOf(w, line));
    await w.close();
  }
  t.ok(told > 50, `${told} batches were acknowledged before a kill`);

  await w.reopen({ segmentBytes: 64 * 1024 });
  const logged = (await w.transcript.entries(0, w.transcript.size))
    .map(decodeLeaf)
    .filter((leaf) => leaf.type === 'sigb');
  t.strictSame(
    logged.map((leaf) => Buffer.from(leaf.bs).toString('base64')).sort(),
    [...sent.keys()].sort(),
    'the log has every batch once, and no other',
  );
  for (const [at, person] of [w.alice, w.bob].entries()) {
    const queued = (await w.store.backlog(person.device.id, 0, 100_000, 1e9)).items;
    const expected = [...sent.values()].filter((line) => line.sender !== at).flatMap(({ messages }) => messages);
    t.strictSame(
      queued.map((item) => (item.kind === 'message' ? hex(item.statement) : '')).sort(),
      expected.map(({ statement }) => Buffer.from(statement, 'base64').toString('hex')).sort(),
      'every message is queued once',
    );
    const order = queued.map((item) => (item.kind === 'message' ? item.cursor : 0));
    t.strictSame(
      order,
      order.toSorted((a, b) => a - b),
    );
  }
  await w.close();
  const findings = new Findings();
  const audited = auditDirectory(`${dir}/log`, { roots: [parseCertificate(w.ca.der)], crls: [] }, [], findings);
  t.equal(audited?.checkpoint?.size, w.transcript.size);
  t.equal(findings.verdict(false), 'VALID');
  t.strictSame(
    findings.kept.filter(({ code }) => code.startsWith('E_')),
    [],
    'and an outsider finds nothing wrong',
  );
});
