/**
 * Whole groups under random operations, kept by snapshots and deltas and brought back from them at random. After every step all members
 * have the same secret, what was stored is what is in memory, and whoever was removed has nothing. FUZZ=1: other seeds, and more of them.
 */
import { equal } from '../../base/bytes.ts';
import { epochAuthenticator, openToAll, type Conversation, type Received } from '../../client/e2ee/group.ts';
import { delta, restore, snapshot } from '../../client/e2ee/delta.ts';
import type { OwnKeyPackage } from '../../client/e2ee/key-package.ts';
import { World, type Person } from './people.ts';
import { inThread, type Report } from './thread.ts';

const world = await World.open();
const { engine, now } = world;
const STEPS = 25;
const MAX_MEMBERS = 12;

/** A member as its vault would keep it: a snapshot of the epoch, and what came since. */
class Kept {
  readonly person: Person;
  conversation: Conversation;
  #snapshot: Buffer;
  #deltas: Buffer[] = [];
  deltaBytes = 0;

  constructor(person: Person, conversation: Conversation) {
    this.person = person;
    this.conversation = conversation;
    this.#snapshot = snapshot(conversation);
  }
  become(next: Conversation): void {
    const change = delta(this.conversation, next);
    if (change) this.#deltas.push(change);
    else [this.#snapshot, this.#deltas] = [snapshot(next), []];
    if (change && !next.pending) this.deltaBytes = Math.max(this.deltaBytes, change.length);
    this.conversation = next;
  }
  /** The process ended, and another one goes on. */
  reload(): boolean {
    const again = restore(this.#snapshot, this.#deltas);
    const isSame = equal(snapshot(again), snapshot(this.conversation));
    this.conversation = again;
    return isSame;
  }
}

async function run(t: Report, seed: number, pool: readonly Person[]): Promise<void> {
  let state = seed * 2654435761;
  const random = (n: number): number => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((state ^ (state >>> 12)) >>> 0) % n;
  };
  const some = <T>(from: readonly T[], count: number): T[] =>
    Array.from({ length: count }, () => from[random(from.length)]!).filter((x, i, all) => all.indexOf(x) === i);

  const outside = [...pool];
  const removed: Kept[] = [];
  let inside = [new Kept(outside.shift()!, await world.create(pool[0]!))];
  let deltaBytes = 0;

  const take = (kept: Kept, result: Received): void => {
    if (result.kind === 'removed') removed.push(kept);
    else kept.become(result.conversation);
  };
  const everybodyReceives = async (author: Kept | null, bytes: Uint8Array): Promise<void> => {
    const gone: Kept[] = [];
    for (const kept of inside) {
      if (kept === author) continue;
      const result = await engine.receive(kept.conversation, bytes, now, openToAll);
      take(kept, result);
      if (result.kind === 'removed') gone.push(kept);
    }
    inside = inside.filter((kept) => !gone.includes(kept));
  };

  for (let step = 0; step < STEPS; step++) {
    const author = inside[random(inside.length)]!;
    const kind = random(10);
    if (kind < 3 || inside.length === 1) {
      const joiners = outside.splice(0, Math.min(1 + random(3), MAX_MEMBERS - inside.length, outside.length));
      const others = inside.filter((kept) => kept !== author);
      const leaving = random(3) === 0 && others.length > 1 ? some(others, 1) : [];
      await commit(author, joiners, leaving);
    } else if (kind < 5 && inside.length > 2) {
      await commit(
        author,
        [],
        some(
          inside.filter((kept) => kept !== author),
          1 + random(2),
        ),
      );
    } else if (kind === 5) await commit(author, [], []);
    else if (kind === 6 && outside.length > 0 && inside.length < MAX_MEMBERS) {
      const joiner = outside.shift()!;
      const joined = await engine.joinExternal(await engine.door(author.conversation), joiner.device, now);
      await everybodyReceives(null, joined.commit);
      inside.push(new Kept(joiner, joined.conversation));
    } else if (kind === 7) {
      const back = inside[random(inside.length)]!;
      const joined = await engine.joinExternal(await engine.door(author.conversation), back.person.device, now);
      await everybodyReceives(null, joined.commit);
      removed.splice(removed.indexOf(back), 1);
      inside.push(new Kept(back.person, joined.conversation));
    } else {
      for (let i = 0; i < 3; i++) {
        const writer = inside[random(inside.length)]!;
        const sent = await engine.encrypt(writer.conversation, Buffer.from(`${seed}/${step}`), Buffer.of(i));
        writer.become(sent.conversation);
        await everybodyReceives(writer, sent.message);
        for (const kept of removed)
          await engine.receive(kept.conversation, sent.message, now, openToAll).then(
            () => t.ok(false, 'a removed member reads'),
            () => {},
          );
      }
    }
    if (random(3) === 0)
      for (const kept of some(inside, 2))
        if (!kept.reload()) t.ok(false, `seed ${seed}, step ${step}: restored otherwise`);
    const secrets = new Set(inside.map((kept) => Buffer.from(epochAuthenticator(kept.conversation)).toString('hex')));
    if (secrets.size !== 1) t.ok(false, `seed ${seed}, step ${step}: ${secrets.size} groups`);
    for (const kept of removed)
      if (secrets.has(Buffer.from(epochAuthenticator(kept.conversation)).toString('hex')))
        t.ok(false, 'a removed member shares the secret');
    deltaBytes = Math.max(deltaBytes, ...inside.map((kept) => kept.deltaBytes));
  }
  t.ok(
    deltaBytes < 1500,
    `seed ${seed}: ${inside.length} members, ${removed.length} removed, deltas of at most ${deltaBytes} bytes`,
  );

  async function commit(author: Kept, joiners: readonly Person[], leaving: readonly Kept[]): Promise<void> {
    const packages: OwnKeyPackage[] = [];
    for (const joiner of joiners) packages.push(await world.keyPackage(joiner));
    const wanted = { add: packages.map((p) => p.published), remove: leaving.map((kept) => kept.person.device) };
    const made = await engine.commit(author.conversation, wanted, now, openToAll);
    author.become(made.conversation);
    if (random(4) === 0 && !author.reload()) t.ok(false, 'a pending commit was restored otherwise');
    if (random(4) === 0) {
      author.become(engine.drop(author.conversation)); // the server was not reached, and the epoch is still open
      return commit(author, joiners, leaving);
    }
    author.become(engine.adopt(author.conversation));
    await everybodyReceives(author, made.commit);
    for (const [i, joiner] of joiners.entries())
      inside.push(new Kept(joiner, await world.join(joiner, packages[i]!, made.welcome!)));
  }
}

await inThread(import.meta.filename, 'random groups', async (t) => {
  const base = process.env['FUZZ'] ? Date.now() % 1_000_000 : 1;
  const pool: Person[] = [];
  for (let i = 0; i < 60; i++) pool.push(await world.person(`user${i}`));
  for (let seed = base; seed < base + (process.env['FUZZ'] ? 500 : 20); seed++) await run(t, seed, pool);
});
