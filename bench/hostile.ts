/**
 * What others notice of somebody who wants to hurt: the latency of honest pairs while nothing else happens, and while one user sends at full
 * speed, one reads nothing of what is sent to him, or all members of a room flood it. With the limits that the product has by itself. Every
 * answer of the server to them is counted, and what the attack takes of its memory. Honest and hostile ones are two processes. What
 * is quiet is measured before and after each.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { attack, type Attack } from './attackers.ts';
import { fail } from './client.ts';
import { latency } from './latency.ts';
import { statistic, type Sample } from './report.ts';
import type { ChatTarget } from './target.ts';

/** Honest ones; each far below its limit. */
const PAIRS = 20;
const PER_SECOND = 200;
const ROOMS = [50, 500];
/** After an attack: what it has left is told to the database. */
const SETTLE_MS = 3000;

/** For a server of its own. */
export async function hostile(target: ChatTarget, seconds: number): Promise<Sample> {
  const honest = (): Promise<Sample> => latency(target, PAIRS, PER_SECOND, seconds);
  await target.prepare(2 * PAIRS + 4);
  for (const members of ROOMS) await target.roomOf(members); // making one takes memory as well
  await honest(); // compiled
  const quiet: Sample[] = [];
  const attacks: readonly (readonly [string, () => Promise<Attack>])[] = [
    ['one at full speed', () => pair(target, PAIRS, false)],
    ['one who reads nothing', () => pair(target, PAIRS + 1, true)],
    ...ROOMS.map((members) => [`a room of ${members} flooded by all`, () => room(target, members)] as const),
  ];
  const attacked: (readonly [string, Sample])[] = [];
  const sample: Record<string, number> = {};
  for (const [name, begin] of attacks) {
    quiet.push(await honest());
    const before = target.server.rssBytes;
    const attack = await begin();
    attacked.push([name, await honest()]);
    const grown = target.server.rssBytes - before;
    const { answers, refusals, silent } = await attack.stop();
    await sleep(SETTLE_MS);
    sample[`${name}: RSS MB more`] = grown / 1e6;
    sample[`${name}: answers`] = answers;
    sample[`${name}: RATE_LIMIT`] = refusals;
    sample[`${name}: RATE_LIMIT without a time`] = silent;
  }
  quiet.push(await honest());
  const p99 = (each: Sample): number => each['p99 ms']!;
  const usual = statistic(quiet.map(p99)).median;
  sample[`quiet: p99 ms, median of ${quiet.length}`] = usual;
  sample[`quiet: p99 ms, the longest of ${quiet.length}`] = Math.max(...quiet.map(p99));
  for (const [name, during] of attacked) {
    sample[`${name}: p99 ms`] = p99(during);
    sample[`${name}: max ms`] = during['max ms']!;
    sample[`${name}: p99 over the quiet one`] = p99(during) / usual;
  }
  return sample;
}

/** @param number behind the honest pairs @param isDeaf the line of the one who is written to is full at once; what is sent on and on has to wait somewhere */
async function pair(target: ChatTarget, number: number, isDeaf: boolean): Promise<Attack> {
  const conversation = await target.founded(number);
  const [writer, reader] = [target.account(2 * number), target.account(2 * number + 1)];
  return attack({ ...target.place, conversation, writers: [writer], ...(isDeaf && { deaf: reader }) });
}

/** Nobody acknowledges anything either. */
async function room(target: ChatTarget, members: number): Promise<Attack> {
  const room = await target.roomOf(members);
  if (typeof room === 'string') return fail(room);
  return attack({ ...target.place, conversation: room.conversation, writers: target.members(members) });
}
