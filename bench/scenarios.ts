/** What can be measured, by name. What each scenario does stands at the head of its file. */
import { readFileSync, statfsSync } from 'node:fs';
import { connectStorm } from './connect.ts';
import { crowd, idle } from './crowd.ts';
import { hostile } from './hostile.ts';
import { latency } from './latency.ts';
import { offline } from './offline.ts';
import { fanout, relay } from './relay.ts';
import { FLOOR, OURS, type Results, type Sample } from './report.ts';
import { runScript, temporaryFolder } from './server-process.ts';
import type { Target } from './target.ts';
import { bundleVerifier, verifier } from './verifier.ts';
import { openMysqlWorld, openWorld, type World, type WorldOptions } from './world.ts';

/** Everything that is to be measured, and on what. */
export interface Bench {
  readonly isQuick: boolean;
  /** of each measurement that is a flow */
  readonly seconds: number;
  readonly runs: number;
  readonly options: WorldOptions;
  /** Opened when it is first asked for, and warm. */
  world(): Promise<World>;
  /** Ends its servers; what they kept stays until this process ends. */
  closeWorld(): Promise<void>;
  /** Says loudly that something is not measured, and why. */
  skip(name: string, why: string): void;
}
export interface Scenario {
  readonly name: string;
  /** part of `--quick` */
  readonly isQuick: boolean;
  measure(bench: Bench): Promise<Results[]>;
}

export const PAIRS = 50;
const CROWD = 5000;
/** Descriptors that this process needs beside its connections. */
const SPARE_FILES = 200;
/** What ten million entries take on the disk, tiles and write-ahead log, with room to spare. */
const GROWTH_BYTES = 12e9;
/** As the product has it by itself, docs/OPERATING.md. */
const MESSAGES_PER_MINUTE = 6000;
const ROOM_DELIVERIES_PER_MINUTE = 600_000;
const QUEUE_MB = 64;
const MEMORY_DISK = '/dev/shm';

type Work = (target: Target, bench: Bench) => Promise<Sample | string>;

const connections = ({ isQuick }: Bench): number => (isQuick ? 200 : 1000);
const offlineCount = ({ isQuick }: Bench): number => (isQuick ? 3000 : 10_000);

const relay32: Work = (target, bench) => relay(target, PAIRS, 32, bench.seconds);
const relay1: Work = (target, bench) => relay(target, PAIRS, 1, bench.seconds);
/** So many pairs that one has ended before its next one begins. */
const paced =
  (perSecond: number, pairs = PAIRS): Work =>
  (target, { isQuick }) =>
    latency(target, pairs, perSecond, isQuick ? 2 : 8);
const away: Work = (target, bench) => offline(target, offlineCount(bench));

export const SCENARIOS: readonly Scenario[] = [
  beside('relay32', true, () => `${PAIRS} pairs, window 32`, relay32),
  beside('relay1', true, () => `${PAIRS} pairs, window 1`, relay1),
  beside('latency500', true, () => '500 messages/s, paced', paced(500)),
  beside('latency5000', false, () => '5,000 messages/s, paced', paced(5000, 4 * PAIRS)),
  beside(
    'connect',
    true,
    (bench) => `${connections(bench)} connections`,
    (target, bench) => connectStorm(target, connections(bench)),
  ),
  beside(
    'fanout50',
    true,
    () => 'room of 50, window 32',
    (target, bench) => fanout(target, 50, 32, bench.seconds),
  ),
  beside(
    'fanout500',
    false,
    () => 'room of 500, window 8',
    (target, bench) => fanout(target, 500, 8, bench.seconds),
  ),
  beside('offline', true, (bench) => `offline, ${offlineCount(bench).toLocaleString('en-US')} messages`, away),
  {
    name: 'verifier',
    isQuick: true,
    measure: async (bench) => {
      const { folder } = await bench.world();
      await bench.closeWorld();
      return ours('verifier', 'chat-verify, what the others left', [verifier(folder)]);
    },
  },
  {
    name: 'bundle',
    isQuick: false,
    measure: async (bench) => {
      const samples = Array.from({ length: bench.runs }, () => bundleVerifier(temporaryFolder(), 10_000));
      return ours('bundle', 'chat-verify, a bundle of lone messages', samples);
    },
  },
  {
    name: 'bundle100k',
    isQuick: false,
    measure: async () =>
      ours('bundle100k', 'chat-verify, a bundle of 100,000 lone messages', [
        bundleVerifier(temporaryFolder(), 100_000),
      ]),
  },
  {
    name: 'idle',
    isQuick: true,
    measure: (bench) =>
      eachFresh(bench, 'idle', `${connections(bench)} idle connections`, (target) => idle(target, connections(bench))),
  },
  {
    name: 'crowd',
    isQuick: false,
    measure: async (bench) => {
      const [files, limit] = [CROWD + SPARE_FILES, openFilesLimit()];
      if (limit < files) {
        bench.skip('crowd', `${files} open files are needed, and the limit is ${limit} (ulimit -n)`);
        return [];
      }
      const title = `${CROWD.toLocaleString('en-US')} idle connections`;
      return eachFresh(bench, 'crowd', title, (target) => crowd(target, CROWD, bench.seconds));
    },
  },
  {
    name: 'hostile',
    isQuick: false,
    measure: async (bench) => {
      const settings = {
        'limits.messages_per_min': MESSAGES_PER_MINUTE,
        'limits.room_deliveries_per_min': ROOM_DELIVERIES_PER_MINUTE,
        'limits.queue_mb_per_user': QUEUE_MB,
      };
      const world = await openWorld({ ...bench.options, settings });
      const sample = await hostile(world.ours, bench.isQuick ? 3 : 10);
      await world.stop();
      return ours('hostile', '20 honest pairs, 200 messages/s', [sample]);
    },
  },
  {
    name: 'memory',
    isQuick: false,
    measure: async (bench) => {
      const state = temporaryFolder(MEMORY_DISK);
      const world = await openWorld({ ...bench.options, state });
      const results = await eachOf(bench, world, 'memory', 'all in memory, nothing synced', [
        ['window 32', relay32],
        ['window 1', relay1],
        ['500 messages/s', paced(500)],
      ]);
      await world.stop();
      return results;
    },
  },
  {
    name: 'mysql',
    isQuick: false,
    measure: async (bench) => {
      const world = await openMysqlWorld(bench.options);
      if (world === null) {
        bench.skip('mysql', 'no mariadbd or mysqld on this machine');
        return [];
      }
      const results = await eachOf(bench, world, 'mysql', 'MariaDB', [
        ['window 32', relay32],
        ['window 1', relay1],
        ['500 messages/s', paced(500)],
        ['offline', away],
      ]);
      await world.stop();
      return results;
    },
  },
  {
    name: 'growth',
    isQuick: false,
    measure: async (bench) => {
      const folder = temporaryFolder();
      const { bavail, bsize } = statfsSync(folder);
      if (bavail * bsize < GROWTH_BYTES) {
        bench.skip(
          'growth',
          `${GROWTH_BYTES / 1e9} GB of disk are needed, and ${folder} has ${(bavail * bsize) / 1e9}`,
        );
        return [];
      }
      const sizes = [0, 10_000, 1_000_000, 10_000_000];
      return ours('growth', 'log of n entries', [runScript('bench/growth.ts', folder, ...sizes)]);
    },
  },
  {
    name: 'e2ee',
    isQuick: false,
    measure: async () => ours('e2ee', 'client, end to end', [runScript('bench/e2ee.ts')]),
  },
];

/** The same work on every server of the shared world, by turns, so that all meet the same machine. */
function beside(name: string, isQuick: boolean, title: (bench: Bench) => string, work: Work): Scenario {
  return {
    name,
    isQuick,
    measure: async (bench) => [await sideBySide(bench, name, title(bench), (await bench.world()).targets, work)],
  };
}

async function sideBySide(
  bench: Bench,
  name: string,
  scenario: string,
  targets: readonly Target[],
  work: Work,
): Promise<Results> {
  const samples: Record<string, Sample[]> = Object.fromEntries(targets.map((target) => [target.name, []]));
  for (let run = 0; run < bench.runs; run++)
    for (const target of targets.toReversed()) {
      const sample = await work(target, bench);
      if (typeof sample !== 'string') samples[target.name]!.push(sample);
      else if (run === 0 && target.name !== FLOOR) bench.skip(name, `${target.name}: ${sample}`);
    }
  return { name, scenario, samples };
}

/** On servers that were just started, once for each. */
async function eachFresh(
  bench: Bench,
  name: string,
  scenario: string,
  work: (target: Target) => Promise<Sample>,
): Promise<Results[]> {
  const world = await openWorld(bench.options);
  const samples: Record<string, Sample[]> = {};
  for (const target of world.targets) samples[target.name] = [await work(target)];
  await world.stop();
  return [{ name, scenario, samples }];
}

async function eachOf(
  bench: Bench,
  { targets }: World,
  name: string,
  title: string,
  works: readonly (readonly [string, Work])[],
): Promise<Results[]> {
  await relay32(targets[0]!, bench); // compiled
  const results: Results[] = [];
  for (const [what, work] of works)
    results.push(await sideBySide(bench, name, `${title}: ${what}`, targets.slice(0, 2), work));
  return results;
}

const ours = (name: string, scenario: string, samples: readonly Sample[]): Results[] => [
  { name, scenario, samples: { [OURS]: samples } },
];

const openFilesLimit = (): number =>
  Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? 0);
