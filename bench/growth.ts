/**
 * What an append and a proof cost as the log grows: server/log alone, in a process of its own, on a real disk. `node bench/growth.ts FOLDER
 * ENTRIES…` prints a sample as JSON; the folder is empty, and 10 million entries take some 6 GB of it.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { TranscriptLog } from '../server/log/log.ts';
import type { LogOptions } from '../server/log/options.ts';
import { encodeLeaf } from '../transcript/leaf.ts';
import { authority } from '../test/support/pki.ts';
import type { Sample } from './report.ts';

/** A batch of 32 messages and its signature. */
const BATCH = 32;
const WINDOW = BATCH + 1;
/** Between two measurements the log grows in windows of this size. */
const BULK = 4096;
/** Of an MSG leaf. */
const ENTRY_BYTES = 260;
/** Windows, and proofs, of each measurement; and how often it is done. */
const COUNT = 100;
const ROUNDS = 5;

const [folder = '.', ...sizes] = process.argv.slice(2);
const server = authority('Benchmark CA').server();
const optionsOf = (dir: string): LogOptions => ({
  dir: `${dir}/log`,
  keyFile: `${dir}/log.key`,
  origin: 'localhost/log/n1',
  serverPrivateKey: server.key,
  serverChain: [server.der],
  now: () => Date.now(),
  onFatal: (error) => {
    throw error;
  },
});
const pattern = encodeLeaf({ type: 'time', serverTime: Date.now(), stamp: randomBytes(ENTRY_BYTES - 12) });
let made = 0;
const entries = (count: number): Buffer[] =>
  Array.from({ length: count }, () => {
    const entry = Buffer.from(pattern);
    entry.writeUInt32BE(made++, ENTRY_BYTES - 4);
    return entry;
  });

for (const name of ['compiled', 'measured']) mkdirSync(join(folder, name));
await grow(join(folder, 'compiled'), [0, 50_000]); // the first one pays for compilation
console.log(JSON.stringify(await grow(join(folder, 'measured'), sizes.map(Number))));

async function grow(dir: string, sizes: readonly number[]): Promise<Sample> {
  let log = await TranscriptLog.open(optionsOf(dir));
  await log.certification.certify();
  const sample: Record<string, number> = {};
  const append = (): Promise<unknown> => log.append({ time: log.time, entries: entries(WINDOW) });
  for (const size of sizes) {
    while (log.size < size) {
      await log.append({ time: log.time, entries: entries(Math.min(BULK, size - log.size)) });
      if (log.size - log.publishedSize > 32 * BULK) await log.publish();
    }
    await log.publish();
    const name = size === 0 ? 'empty' : size.toLocaleString('en-US');
    sample[`${name}: window of ${WINDOW}, CPU ms`] = await measured(append);
    sample[`${name}: its ACK, CPU ms`] = await measured(() => log.proofs.ack(log.size - WINDOW, BATCH, log.time));
    sample[`${name}: inclusion of any, CPU ms`] = await measured(() => log.proofs.inclusion(randomInt(log.size)));
    sample[`${name}: consistency of any, CPU ms`] = await measured(() =>
      log.proofs.consistency(randomInt(log.size) + 1),
    );
    globalThis.gc?.();
    sample[`${name}: RSS MB`] = process.memoryUsage().rss / 1e6;
    const from = performance.now();
    await log.close();
    log = await TranscriptLog.open(optionsOf(dir));
    await log.certification.certify();
    sample[`${name}: closed and opened, s`] = (performance.now() - from) / 1000;
  }
  await log.close();
  return sample;
}

/** Milliseconds of processor time of one, median of the rounds. */
async function measured(work: () => Promise<unknown>): Promise<number> {
  const costs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const from = process.cpuUsage();
    for (let i = 0; i < COUNT; i++) await work();
    const { user, system } = process.cpuUsage(from);
    costs.push((user + system) / 1000 / COUNT);
  }
  return costs.toSorted((a, b) => a - b)[ROUNDS >> 1]!;
}
