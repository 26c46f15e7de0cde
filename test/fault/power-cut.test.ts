/**
 * The power fails again and again while people talk, at random moments: the real server, with its log and its SQLite, finds what was synced
 * and whatever chance has left of the rest. Whatever somebody saw accepted is delivered once, in order, with its bytes.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { audit, auditTranscript, drain, peopleOf, Person, Talk } from '../support/load.ts';
import { diskTracer, TracedDisk } from '../support/power-cut.ts';
import { random, System } from '../support/system.ts';

t.setTimeout(450_000);

const preload = new URL('./small-segments.ts', import.meta.url).href;
/** Long enough for an answer that did not wait for a sync to arrive before it. */
const SYNC_US = 2000;

/** A server whose disk is known; each start begins on what the last end has left. */
class Machine {
  readonly #system: System;
  readonly #library: string;
  readonly #trace: string;
  #disk: TracedDisk;

  constructor(system: System, library: string) {
    this.#system = system;
    this.#library = library;
    this.#trace = join(system.dir, 'disk.trace');
    this.#disk = new TracedDisk(system.state);
  }

  async start(): Promise<void> {
    rmSync(this.#trace, { force: true });
    this.#disk = new TracedDisk(this.#system.state);
    const env = {
      LD_PRELOAD: this.#library,
      DISK_TRACE: this.#trace,
      DISK_TRACE_ROOT: this.#system.state,
      DISK_TRACE_SYNC_US: String(SYNC_US),
    };
    await this.#system.start({ preload, env });
  }
  /** What the process that has ended did, on the disk. */
  #replay(): void {
    this.#disk.replay(readFileSync(this.#trace));
  }
  async cutPower(chance: (() => number) | null): Promise<void> {
    await this.#system.kill();
    this.#replay();
    this.#disk.cutPower(chance);
  }
  /** Ends as an operator ends it. @returns what of the folder the trace does not explain */
  async stop(t: Test): Promise<string[]> {
    t.equal(await this.#system.stop(), 0);
    this.#replay();
    return this.#disk.differences();
  }
}

/** Alice and Bob both ways, and Carol with each of them one way. */
async function talks(t: Test, system: System): Promise<Talk[]> {
  const [alice, bob, carol] = await Promise.all([
    Person.open(t, system, 'alice'),
    Person.open(t, system, 'bob'),
    Person.open(t, system, 'carol'),
  ]);
  const pairs = [
    [alice, bob],
    [bob, alice],
    [alice, carol],
    [carol, bob],
  ] as const;
  return Promise.all(pairs.map(([from, to]) => Talk.between(from, to, 8)));
}

t.test('no message that was accepted is lost when the power fails', async (t) => {
  const library = diskTracer(t);
  if (library === null) return;
  const chance = random(t, 20261121);
  const system = await System.create(t);
  const machine = new Machine(system, library);
  await machine.start();
  const all = await talks(t, system);
  for (const talk of all) talk.begin();
  const cycles = process.env['FUZZ'] ? 60 : 8;
  for (let cycle = 0; cycle < cycles; cycle++) {
    await all[Math.floor(chance() * all.length)]!.more(1 + Math.floor(chance() * 40));
    await sleep(chance() * 50); // the moment is what is random here
    await machine.cutPower(cycle % 3 === 0 ? null : chance);
    await machine.start();
    for (const person of peopleOf(all)) await person.until('the server again', () => person.isConnected);
  }
  await drain(all);
  t.comment(`${all.reduce((sum, { bodies }) => sum + bodies.length, 0)} messages, ${cycles} power cuts`);
  audit(t, all);
  t.strictSame(await machine.stop(t), [], 'the trace explains every byte of the folder');
  await auditTranscript(t, system, all);
  for (const person of peopleOf(all)) await person.app.close();
});
