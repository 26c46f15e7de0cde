/**
 * What end-to-end encryption costs a client: milliseconds of processor time (median) on this machine, and of the clock where a
 * disk is waited for. `node bench/e2ee.ts [members]` prints a sample as JSON; the room has 100 members unless told otherwise.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { u32, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';
import { byInvitation, openToAll, type Conversation } from '../client/e2ee/group.ts';
import { delta, restore, snapshot } from '../client/e2ee/delta.ts';
import type { Evidence } from '../client/ledger.ts';
import type { Received } from '../client/incoming.ts';
import { Vault } from '../client/vault.ts';
import { encodeContent, SALT_BYTES } from '../transcript/content.ts';
import { textContent } from '../transcript/content-meaning.ts';
import { World } from '../test/e2ee/people.ts';

const members = Number(process.argv[2] ?? 100);
const world = await World.open();
const { engine, now } = world;
const sample: Record<string, number> = {};

/** Median over `runs`; what `prepare` does is not counted. */
async function measure<T, U>(
  name: string,
  runs: number,
  prepare: () => T | Promise<T>,
  work: (x: T) => Promise<U> | U,
): Promise<U> {
  const times: number[] = [];
  let last: U | undefined;
  for (let i = 0; i < runs + Math.ceil(runs / 5); i++) {
    const input = await prepare();
    const from = process.cpuUsage();
    last = await work(input);
    const { user, system } = process.cpuUsage(from);
    if (i >= Math.ceil(runs / 5)) times.push((user + system) / 1000);
  }
  const median = times.toSorted((a, b) => a - b)[times.length >> 1]!;
  sample[`${name}, CPU ms`] = median;
  return last as U;
}

const [alice, bob] = await Promise.all([world.person('alice'), world.person('bob')]);
await measure(
  'key package',
  40,
  () => {},
  () => world.keyPackage(bob),
);
const bobs = await world.keyPackage(bob);
await measure(
  'direct: create, add, welcome',
  40,
  () => {},
  async () => {
    const made = await world.create(alice);
    return engine.adopt((await engine.commit(made, { add: [bobs.published] }, now, openToAll)).conversation);
  },
);
const made = await world.create(alice);
const direct = await engine.commit(made, { add: [bobs.published] }, now, openToAll);
let a = engine.adopt(direct.conversation);
let b = await measure(
  'direct: join',
  40,
  () => {},
  () => world.join(bob, bobs, direct.welcome!),
);
const body = randomBytes(1000);
const aad = randomBytes(240);
const sent: Uint8Array[] = [];
await measure(
  'encrypt 1 kB',
  500,
  () => {},
  async () => {
    const { conversation, message } = await engine.encrypt(a, body, aad);
    a = conversation;
    sent.push(message);
  },
);
let i = 0;
let before = b;
await measure(
  'decrypt 1 kB',
  500,
  () => {},
  async () => {
    const result = await engine.receive(b, sent[i++]!, now, byInvitation);
    if (result.kind === 'message') [before, b] = [b, result.conversation];
  },
);
await measure(
  'delta of a message',
  500,
  () => {},
  () => delta(before, b),
);
sample['delta of a message, bytes'] = delta(before, b)?.length ?? 0;
sample['message of 1 kB, bytes'] = sent[0]?.length ?? 0;
await measure(
  'commit with fresh keys',
  20,
  () => {},
  () => engine.commit(a, {}, now, openToAll),
);

const people = [alice];
for (let n = 1; n < members; n++) people.push(await world.person(`user${n}`));
let room = await world.create(alice);
let witness: Conversation | null = null;
/** after the first hundred have come */
let hundred: Conversation = a;
const from = process.cpuUsage();
for (let n = 1; n < members; n += 100) {
  const packages = [];
  for (const p of people.slice(n, n + 100)) packages.push(await world.keyPackage(p));
  const step = await engine.commit(room, { add: packages.map((p) => p.published) }, now, openToAll);
  room = engine.adopt(step.conversation);
  if (witness) {
    const result = await engine.receive(witness, step.commit, now, byInvitation);
    if (result.kind === 'commit') witness = result.conversation;
  }
  if (n === 1) hundred = room;
  witness ??= await world.join(people[1]!, packages[0]!, step.welcome!);
}
const used = process.cpuUsage(from);
sample[`room of ${members}: made, 100 at a time, CPU ms`] = (used.user + used.system) / 1000;
const guest = await world.person('gustav');
const guests = await world.keyPackage(guest);
const added = await measure(
  'room: add one',
  10,
  () => {},
  () => engine.commit(room, { add: [guests.published] }, now, openToAll),
);
await measure(
  'room: a member takes who was added',
  10,
  () => {},
  () => engine.receive(witness!, added.commit, now, byInvitation),
);
await measure(
  'room: the newcomer joins',
  10,
  () => {},
  () => world.join(guest, guests, added.welcome!),
);
const removed = await measure(
  'room: remove one',
  10,
  () => {},
  () => engine.commit(room, { remove: [people[members >> 1]!.device] }, now, openToAll),
);
await measure(
  'room: a member takes who was removed',
  10,
  () => {},
  () => engine.receive(witness!, removed.commit, now, byInvitation),
);
const door = await measure(
  'room: group info',
  10,
  () => {},
  () => engine.door(room),
);
const external = await measure(
  'room: join from outside',
  5,
  () => {},
  () => engine.joinExternal(door, guest.device, now),
);
await measure(
  'room: a member takes who came from outside',
  5,
  () => {},
  () => engine.receive(witness!, external.commit, now, openToAll),
);
const kept = await measure(
  'room: snapshot',
  10,
  () => {},
  () => snapshot(room),
);
await measure(
  'room: restore',
  10,
  () => {},
  () => restore(kept, []),
);
sample['room: snapshot, bytes'] = kept.length;
sample['room: tree and group info, bytes'] = (door.tree?.length ?? 0) + door.groupInfo.length;
await measure(
  'room: encrypt 1 kB',
  100,
  () => {},
  async () => (room = (await engine.encrypt(room, body, aad)).conversation),
);

const text = encodeContent(textContent({ salt: randomBytes(SALT_BYTES), expires: null }, 'x'.repeat(900)));
/** A message of somebody, one of as many as there are in the room, who have all written before. */
const received = (conversation: ConversationId, number: number): Received => ({
  conversation,
  seq: number,
  hash: randomBytes(32) as Uint8Array as Hash,
  lineage: {
    fingerprint: sha256(u32(number % members)) as Uint8Array as Fingerprint,
    session: Buffer.alloc(16, 1) as Uint8Array as SessionId,
    convCtr: 1 + Math.floor(number / members),
  },
  direction: 'in',
  sender: 'somebody',
  body: text,
  kf: randomBytes(32),
  reason: null,
  clientTime: number,
  serverTime: number,
});
const EVIDENCE: Evidence = {
  algorithm: 1,
  signature: Buffer.alloc(72, 1),
  batch: Buffer.alloc(172, 1),
  ack: Buffer.alloc(500, 1),
  note: 'n'.repeat(220),
  items: [{ statement: Buffer.alloc(248, 1) }],
};

// One's own message, and the step of its ratchet durable in the vault (SQLite, synchronous = FULL) before it would leave; and somebody's message
// with the step, its evidence and its place, in one transaction, before it would be acknowledged.
const folder = mkdtempSync(join(process.env['CHAT_BENCH_DIR'] ?? tmpdir(), 'chat-bench-e2ee-'));
const vault = Vault.open(join(folder, 'vault'));
for (const [name, start] of Object.entries({ 'of 2': a, 'of 101': hundred, [`of ${members}`]: room })) {
  const id = randomBytes(32) as Uint8Array as ConversationId;
  vault.groups.setCurrent(id, { generation: 1, since: 1, snapshot: snapshot(start), sketch: null });
  vault.transaction(() => {
    for (let n = 0; n < members; n++) vault.incoming.add(received(id, n));
  });
  let state = start;
  const [all, keeping, taking]: [number[], number[], number[]] = [[], [], []];
  for (let n = 0; n < 200; n++) {
    const began = performance.now();
    const { conversation } = await engine.encrypt(state, body, aad);
    const sealed = performance.now();
    vault.groups.addDelta(id, delta(state, conversation)!);
    const kept = performance.now();
    all.push(kept - began);
    keeping.push(kept - sealed);
    state = (await engine.encrypt(conversation, body, aad)).conversation;
    const message = received(id, members + n);
    const opened = performance.now();
    vault.transaction(() => {
      vault.ledger.addEvidence(message.hash, 'bench/log/n1', EVIDENCE);
      vault.incoming.add(message);
      vault.groups.addDelta(id, delta(conversation, state)!);
    });
    taking.push(performance.now() - opened);
  }
  const median = (times: number[]): number => times.toSorted((x, y) => x - y)[times.length >> 1]!;
  sample[`${name}: encrypt 1 kB and keep it durably, wall ms`] = median(all);
  sample[`${name}: keep it durably, wall ms`] = median(keeping);
  sample[`${name}: keep a message of another durably, wall ms`] = median(taking);
}
vault.close();
rmSync(folder, { recursive: true });
console.log(JSON.stringify(sample));
