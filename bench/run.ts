/**
 * What chat-server costs: the real program in its own process, loaded by this one over the loopback, beside a bare TLS relay that is measured
 * in the same run. Processor time of the server and its ratio to the relay's are what to compare; messages a second depend on who else uses
 * the machine. `npm run bench -- --help`. What the scenarios do stands at the head of their files.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { authority } from '../test/support/pki.ts';
import { connectStorm } from './connect.ts';
import { idle } from './idle.ts';
import { latency } from './latency.ts';
import { offline } from './offline.ts';
import { monotonicUs, summary } from './profile.ts';
import { relay } from './relay.ts';
import { asMarkdown, asText, circumstances, linesOf, type Line, type Sample } from './report.ts';
import { root, startChatServer, startFloor, temporaryFolder, writeCertificates } from './server-process.ts';
import { ChatTarget, FloorTarget, KEY_TYPES, type Target } from './target.ts';
import { bundleVerifier, verifier } from './verifier.ts';

const HELP = `npm run bench -- [options]
  --quick            less of everything: under a minute on a quiet machine
  --runs N           runs of each scenario (default 3; 2 with --quick)
  --only a,b         of relay32, relay1, latency, connect, offline, idle, verifier, bundle
  --key TYPE         of the clients' certificates: ec256 (default), ed25519 or rsa2048
  --check            the generator verifies every acknowledgement
  --markdown         the table as Markdown
  --profile          a processor profile of relay1 and relay32 in place of measurements
Results are also written to bench/results/ as JSON. CHAT_BENCH_DIR: where the servers keep their files.`;

const { values: o } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    runs: { type: 'string' },
    only: { type: 'string' },
    key: { type: 'string', default: 'ec256' },
    check: { type: 'boolean', default: false },
    markdown: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const key = KEY_TYPES.find((type) => type === o.key);
if (o.help || key === undefined) {
  console.log(HELP);
  process.exit(o.help ? 0 : 2);
}

const PAIRS = 50;
const seconds = o.quick ? 1.5 : 5;
const runs = Number(o.runs ?? (o.quick ? 2 : 3));
const connections = o.quick ? 200 : 1000;
const isWanted = (name: string): boolean => o.only === undefined || o.only.split(',').includes(name);

interface World {
  readonly folder: string;
  readonly ours: ChatTarget;
  readonly floor: FloorTarget;
  stop(): Promise<void>;
}

async function world(nodeOptions: readonly string[] = []): Promise<World> {
  const folder = temporaryFolder();
  const ca = authority('Benchmark CA');
  writeCertificates(folder, ca);
  const [chat, bare] = await Promise.all([startChatServer(folder, nodeOptions), startFloor(folder)]);
  const ours = new ChatTarget(chat, ca, { key: key!, isChecking: o.check });
  const floor = new FloorTarget(bare, ca);
  return { folder, ours, floor, stop: async () => void (await Promise.all([chat.stop(), bare.stop()])) };
}

/** One scenario, run by run: the relay, then ours. */
type Scenario = readonly [name: string, title: string, work: (target: Target) => Promise<Sample>];
const SCENARIOS: readonly Scenario[] = [
  ['relay32', `${PAIRS} pairs, window 32`, (target) => relay(target, PAIRS, 32, seconds)],
  ['relay1', `${PAIRS} pairs, window 1`, (target) => relay(target, PAIRS, 1, seconds)],
  ['latency', '500 messages/s, paced', (target) => latency(target, PAIRS, 500, o.quick ? 2 : 8)],
  ['connect', `${connections} connections`, (target) => connectStorm(target, connections)],
];

async function measure(): Promise<Line[]> {
  const lines: Line[] = [];
  const report = (more: readonly Line[]): void => {
    lines.push(...more);
    if (!o.markdown) console.log(asText(more));
  };
  const shared = await world();
  for (const target of [shared.floor, shared.ours]) await relay(target, PAIRS, 8, o.quick ? 1 : 4); // both compiled and grown
  for (const [name, title, work] of SCENARIOS) {
    if (!isWanted(name)) continue;
    const [ours, floor]: [Sample[], Sample[]] = [[], []];
    for (let run = 0; run < runs; run++) {
      floor.push(await work(shared.floor));
      ours.push(await work(shared.ours));
    }
    report(linesOf({ scenario: title, ours, floor }));
  }
  if (isWanted('offline')) {
    const ours: Sample[] = [];
    for (let run = 0; run < runs; run++) ours.push(await offline(shared.ours, 10_000));
    report(linesOf({ scenario: 'offline, 10,000 messages', ours, floor: [] }));
  }
  await shared.stop();
  if (isWanted('verifier')) report(linesOf({ scenario: 'chat-verify', ours: [verifier(shared.folder)], floor: [] }));
  if (isWanted('bundle')) {
    const ours = Array.from({ length: runs }, () => bundleVerifier(shared.folder, 10_000));
    report(linesOf({ scenario: 'chat-verify, a bundle of lone messages', ours, floor: [] }));
  }
  if (isWanted('idle')) {
    const fresh = await world();
    const [floor, ours] = [await idle(fresh.floor, connections), await idle(fresh.ours, connections)];
    report(linesOf({ scenario: `${connections} idle connections`, ours: [ours], floor: [floor] }));
    await fresh.stop();
  }
  return lines;
}

async function profile(): Promise<void> {
  for (const window of [1, 32]) {
    const folder = temporaryFolder();
    const { ours, stop } = await world(['--cpu-prof', `--cpu-prof-dir=${folder}`, '--cpu-prof-interval=250']);
    await relay(ours, PAIRS, window, o.quick ? 2 : 5); // until it is compiled
    const from = monotonicUs();
    const sample = await relay(ours, PAIRS, window, o.quick ? 3 : 10);
    const to = monotonicUs();
    await stop();
    console.log(`\n== window ${window}: ${sample['messages/s']?.toFixed(0)} messages/s\n${summary(folder, from, to)}`);
  }
}

const about = circumstances();
console.log(
  `${about.date}\n${about.machine}, load ${about.load.join(' ')}\nNode ${about.node}, OpenSSL ${about.openssl}, commit ${about.commit}\n` +
    `clients' keys ${key}, ${runs} runs, SQLite, everything durable before it is acknowledged\n`,
);
if (o.profile) await profile();
else {
  const lines = await measure();
  if (o.markdown) console.log(asMarkdown(lines));
  const folder = join(root, 'bench/results');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${about.date.replaceAll(/[:.]/g, '-')}.json`);
  writeFileSync(file, `${JSON.stringify({ ...about, options: o, lines }, null, 2)}\n`);
  console.log(`\nwritten to ${file}`);
}
process.exit(0);
