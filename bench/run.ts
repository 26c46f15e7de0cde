/**
 * What chat-server costs: the real program in its own process, loaded by this one over the loopback, beside a bare TLS relay that is measured
 * in the same run. Processor time of the server and its ratio to the relay's are what to compare; messages a second depend on who else uses
 * the machine. `npm run bench -- --help`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CHECKED, excesses, ratiosOf, writeBaseline } from './baseline.ts';
import { monotonicUs, summary } from './profile.ts';
import { relay } from './relay.ts';
import { asMarkdown, asText, circumstances, linesOf, OURS, type Line } from './report.ts';
import { PAIRS, SCENARIOS, type Bench, type Scenario } from './scenarios.ts';
import { root, temporaryFolder } from './server-process.ts';
import { KEY_TYPES } from './target.ts';
import { openWorld, type World } from './world.ts';

const HELP = `npm run bench -- [options]
  --quick            less of everything: under a minute on a quiet machine
  --runs N           runs of each scenario (default 3; 2 with --quick)
  --only a,b         of ${SCENARIOS.map(({ name }) => name).join(', ')}
                     (default all; with --quick ${SCENARIOS.filter(({ isQuick }) => isQuick)
                       .map(({ name }) => name)
                       .join(', ')})
  --rivals           the same for InspIRCd, NATS, Mosquitto, ejabberd and Prosody, where they are installed
  --key TYPE         of the clients' certificates: ec256 (default), ed25519 or rsa2048
  --verify-acks      the generator verifies every acknowledgement
  --markdown         the table as Markdown
  --check            fails when the server costs more than twice what bench/baseline.json says, beside the relay; measures twice before it says so
  --write-baseline   measures the same, and writes that file
  --profile          a processor profile of relay1 and relay32 in place of measurements
Results are also written to bench/results/ as JSON. CHAT_BENCH_DIR: where the servers keep their files.`;

/** of traffic, with each window */
const WARM_SECONDS = 30;

const { values: o } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    runs: { type: 'string' },
    only: { type: 'string' },
    rivals: { type: 'boolean', default: false },
    key: { type: 'string', default: 'ec256' },
    'verify-acks': { type: 'boolean', default: false },
    markdown: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    'write-baseline': { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const key = KEY_TYPES.find((type) => type === o.key);
const wanted = o.only?.split(',');
const unknown = wanted?.find((name) => SCENARIOS.every((scenario) => scenario.name !== name));
if (o.help || key === undefined || unknown !== undefined) {
  console.log(unknown === undefined ? HELP : `no scenario ${unknown}\n${HELP}`);
  process.exit(o.help ? 0 : 2);
}

const isComparing = o.check || o['write-baseline'];
const isQuick = o.quick || isComparing;
const clients = { key, isChecking: o['verify-acks'] };
const skipped: string[] = [];
let shared: Promise<World> | null = null;

const bench: Bench = {
  isQuick,
  seconds: isComparing ? 1 : isQuick ? 1.5 : 5,
  runs: Number(o.runs ?? (o.quick ? 2 : 3)),
  options: { clients },
  world: () => (shared ??= warm()),
  closeWorld: async () => {
    const open = shared;
    shared = null;
    await (await open)?.stop();
  },
  skip: (name, why) => {
    skipped.push(`${name}: ${why}`);
    console.log(`NOT MEASURED: ${name}: ${why}`);
  },
};

/**
 * Compiled and grown. V8 goes on compiling for a minute of traffic and longer, which takes up to a tenth of the processor time meanwhile:
 * with `--quick` most of that is measured. The relay and the rivals have nothing to compile for so long.
 */
async function warm(): Promise<World> {
  const world = await openWorld(o.rivals ? { clients, onMissingPeer: bench.skip } : { clients });
  for (const target of world.targets.toReversed())
    for (const window of [32, 1])
      await relay(target, PAIRS, window, isQuick ? 1.5 : target.name === OURS ? WARM_SECONDS : 5);
  return world;
}

async function measure(scenarios: readonly Scenario[]): Promise<Line[]> {
  const lines: Line[] = [];
  for (const scenario of scenarios) {
    const more = (await scenario.measure(bench)).flatMap(linesOf);
    lines.push(...more);
    if (!o.markdown) console.log(asText(more));
  }
  await bench.closeWorld();
  return lines;
}

/** Measures what is too slow once more, and only then believes it. */
async function check(lines: readonly Line[]): Promise<void> {
  const suspects = excesses(lines);
  if (suspects.length > 0) {
    console.log(`\nonce more, because of ${suspects.map(({ what }) => what).join('; ')}`);
    const again = excesses(await measure(SCENARIOS.filter(({ name }) => CHECKED.includes(name))));
    const both = again.filter(({ what }) => suspects.some((suspect) => suspect.what === what));
    for (const { what, ratio, baseline } of both)
      console.log(`TOO SLOW: ${what}: ${ratio.toPrecision(3)} times the relay, and the baseline is ${baseline}`);
    if (both.length > 0) process.exit(1);
  }
  console.log(`\nno slower than bench/baseline.json: ${JSON.stringify(ratiosOf(lines))}`);
}

async function profile(): Promise<void> {
  for (const window of [1, 32]) {
    const folder = temporaryFolder();
    const nodeOptions = ['--cpu-prof', `--cpu-prof-dir=${folder}`, '--cpu-prof-interval=250'];
    const { ours, stop } = await openWorld({ clients, nodeOptions });
    await relay(ours, PAIRS, window, isQuick ? 2 : 5); // until it is compiled
    const from = monotonicUs();
    const sample = await relay(ours, PAIRS, window, isQuick ? 3 : 10);
    const to = monotonicUs();
    await stop();
    console.log(
      `\n== window ${window}: ${typeof sample === 'string' ? sample : `${sample['messages/s']?.toFixed(0)} messages/s`}\n${summary(folder, from, to)}`,
    );
  }
}

const about = circumstances();
console.log(
  `${about.date}\n${about.machine}, load ${about.load.join(' ')}\nNode ${about.node}, OpenSSL ${about.openssl}, commit ${about.commit}\n` +
    `clients' keys ${key}, ${bench.runs} runs, SQLite, everything durable before it is acknowledged\n`,
);
if (o.profile) await profile();
else {
  const names = isComparing ? CHECKED : wanted;
  const lines = await measure(
    SCENARIOS.filter((scenario) => names?.includes(scenario.name) ?? (scenario.isQuick || !isQuick)),
  );
  const servers = [...new Set(lines.flatMap(({ of }) => Object.keys(of)))];
  if (o.markdown) console.log(asMarkdown(lines, servers));
  const folder = join(root, 'bench/results');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${about.date.replaceAll(/[:.]/g, '-')}.json`);
  writeFileSync(file, `${JSON.stringify({ ...about, options: o, skipped, lines }, null, 2)}\n`);
  console.log(`\nwritten to ${file}`);
  if (o['write-baseline']) writeBaseline(about.commit, lines);
  if (o.check) await check(lines);
}
process.exit(0);
