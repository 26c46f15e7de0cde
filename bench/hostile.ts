/**
 * What others notice of somebody who wants to hurt: the latency of honest pairs while nothing else happens, and while one user sends at full
 * speed, one reads nothing of what is sent to him, or all members of a room flood it. With the limits that the product has by itself. Every
 * answer of the server to them is counted, and what the attack takes of its memory.
 */
import type { Author, SignedBatch } from './author.ts';
import { bodiesOf, SEALED_BYTES } from './bodies.ts';
import { fail, type Client } from './client.ts';
import { latency } from './latency.ts';
import type { Sample } from './report.ts';
import type { ChatTarget } from './target.ts';

/** Honest ones; each far below its limit. */
const PAIRS = 20;
const PER_SECOND = 200;
/** Requests of each attacker that are not answered yet: all that the server takes before it stops to read. */
const OUTSTANDING = 64;
const BATCH = 16;
const MEMBERS = 50;

/** Sends the next batch when the last one is accepted, and the same bytes again whenever anything else is answered, without a pause. */
class Flood {
  answers = 0;
  refusals = 0;
  /** that did not say how long to wait */
  silent = 0;
  readonly #client: Client;
  readonly #author: Author;
  readonly #bodies = bodiesOf(SEALED_BYTES);
  readonly #outstanding = new Map<number, SignedBatch>();
  #current: SignedBatch;
  #lastId = 1_000_000; // of those of login
  #isRunning = true;

  constructor(client: Client, author: Author) {
    this.#client = client;
    this.#author = author;
    this.#current = author.batch(this.#bodies(BATCH));
    client.link.onFrame((frame) => {
      if (frame.type === 'error' && frame.code !== 'RATE_LIMIT')
        fail(`an attacker was answered ${JSON.stringify(frame)}`);
      if (frame.type === 'error') this.#refused(frame.retry_after_ms);
      if (!('id' in frame) || frame.id === undefined) return;
      const batch = this.#outstanding.get(frame.id);
      if (!this.#outstanding.delete(frame.id)) return;
      this.answers++;
      if (frame.type === 'msg_ack' && batch === this.#current) this.#current = this.#author.batch(this.#bodies(BATCH));
      this.#send();
    });
    for (let i = 0; i < OUTSTANDING; i++) this.#send();
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    await this.#client.close();
  }

  #refused(retryAfterMs: number | undefined): void {
    this.refusals++;
    if (retryAfterMs === undefined) this.silent++;
  }
  #send(): void {
    if (!this.#isRunning) return;
    const id = ++this.#lastId;
    this.#outstanding.set(id, this.#current);
    this.#client.link.send({ ...this.#current, id });
  }
}

interface Attack {
  readonly floods: readonly Flood[];
  stop(): Promise<void>;
}

/** For a server of its own. */
export async function hostile(target: ChatTarget, seconds: number): Promise<Sample> {
  const honest = (): Promise<Sample> => latency(target, PAIRS, PER_SECOND, seconds);
  await target.prepare(2 * PAIRS + 4);
  await honest(); // compiled
  const quiet = await honest();
  const sample: Record<string, number> = { 'quiet: p99 ms': quiet['p99 ms']!, 'quiet: max ms': quiet['max ms']! };
  const attacks: readonly (readonly [string, () => Promise<Attack>])[] = [
    ['one at full speed', () => fullSpeed(target)],
    ['one who reads nothing', () => deafReader(target)],
    [`a room of ${MEMBERS} flooded by all`, () => floodedRoom(target)],
  ];
  for (const [name, begin] of attacks) {
    const before = target.server.rssBytes;
    const attack = await begin();
    const during = await honest();
    const grown = target.server.rssBytes - before;
    await attack.stop();
    const total = (of: (flood: Flood) => number): number => attack.floods.reduce((sum, flood) => sum + of(flood), 0);
    sample[`${name}: p99 ms`] = during['p99 ms']!;
    sample[`${name}: max ms`] = during['max ms']!;
    sample[`${name}: p99 over the quiet one`] = during['p99 ms']! / quiet['p99 ms']!;
    sample[`${name}: RSS MB more`] = grown / 1e6;
    sample[`${name}: answers`] = total(({ answers }) => answers);
    sample[`${name}: RATE_LIMIT`] = total(({ refusals }) => refusals);
    sample[`${name}: RATE_LIMIT without a time`] = total(({ silent }) => silent);
  }
  return sample;
}

/** The pairs behind the honest ones attack. */
const attacker = (number: number): number => PAIRS + number;

async function fullSpeed(target: ChatTarget): Promise<Attack> {
  const client = await target.connect(2 * attacker(0));
  const flood = new Flood(client, await target.author(attacker(0), client));
  return { floods: [flood], stop: () => flood.stop() };
}

/** His line is full at once; what is sent on and on has to wait somewhere. */
async function deafReader(target: ChatTarget): Promise<Attack> {
  const sender = await target.connect(2 * attacker(1));
  const author = await target.author(attacker(1), sender);
  const reader = await target.connect(2 * attacker(1) + 1);
  reader.link.pause();
  const flood = new Flood(sender, author);
  return {
    floods: [flood],
    stop: async () => {
      await flood.stop();
      reader.link.resume();
      await reader.close();
    },
  };
}

/** Nobody acknowledges anything either. */
async function floodedRoom(target: ChatTarget): Promise<Attack> {
  const room = await target.roomOf(MEMBERS);
  if (typeof room === 'string') return fail(room);
  const floods = (await room.writers()).map(({ client, author }) => new Flood(client, author));
  return { floods, stop: async () => void (await Promise.all(floods.map((flood) => flood.stop()))) };
}
