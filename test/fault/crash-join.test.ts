/**
 * A client that comes into a room, killed with SIGKILL at each of its commits to the vault: by invitation, and from outside where nobody is
 * there to let it in. It comes in with its next life, and reads and is read; nothing is lost, doubled, or sealed twice with one key.
 */
import t, { type Test } from 'tap';
import { fromUtf8 } from '../../base/bytes.ts';
import { Vault } from '../../client/vault.ts';
import type { Message } from '../../client/message-table.ts';
import { password, Person } from '../support/load.ts';
import { PATIENCE_MS, System, type Program } from '../support/system.ts';

const preload = new URL('./failing-client.ts', import.meta.url).href;
/** More than it takes: a test that comes here has failed. */
const MOST = 40;

t.setTimeout(600_000);

async function done(t: Test, program: Program, stdin = ''): Promise<string> {
  program.type(stdin);
  t.equal(await program.ended, 0, program.tail);
  return program.out;
}
const textOf = ({ body, reason }: Message): string | null => reason ?? fromUtf8(body);
const texts = ({ vault }: Person, room: string): (string | null)[] =>
  vault.history(vault.conversationWith(room)!.id, 1000).map(textOf);

async function scene(t: Test) {
  const system = await System.create(t);
  await system.start();
  await done(t, system.client('carol', ['register', '--password-stdin']), password('carol'));
  const alice = await Person.open(t, system, 'alice');
  const carol = (args: readonly string[], n?: number): Program =>
    system.client('carol', args, n === undefined ? {} : { preload, env: { CHAT_FAULT: faultAt(n) } });
  /** Her next life, after a kill: enters, does this, and writes into the room. */
  const again = async (room: string, first: (carol: Person) => Promise<unknown> = async () => {}): Promise<void> => {
    const person = await Person.open(t, system, 'carol');
    await first(person);
    const { id } = await person.app.open(room);
    const row = person.app.send(id, Buffer.from(`carol is in ${room}`));
    await person.app.waitFor(row, 'accepted', PATIENCE_MS);
    t.strictSame(person.alarms, []);
    await person.app.close();
  };
  return { system, alice, carol, again };
}
/** At each commit in turn, before it or after it. */
const faultAt = (n: number): string => `${n % 2 ? 'before' : 'after'}:${n}`;

/** What carol has of each room, and nobody else was told anything false. */
async function audit(t: Test, { system, rooms, alice }: { system: System; rooms: readonly string[]; alice: Person }) {
  const vault = Vault.open(system.clientFolder('carol'));
  for (const room of rooms) {
    const { id } = vault.conversationWith(room)!;
    const kept = vault.history(id, 1000).map(textOf);
    t.strictSame(kept, texts(alice, room), `${room}: the same for both, each once`);
    t.equal(kept.at(-1), `carol is in ${room}`);
  }
  t.strictSame(vault.ledger.alarms(), []);
  vault.close();
  t.strictSame(alice.alarms, []);
  t.equal(await system.stop(), 0);
}

t.test('by invitation', async (t) => {
  const { system, alice, carol, again } = await scene(t);
  const rooms: string[] = [];
  for (let n = 1, end: number | NodeJS.Signals = 'SIGKILL'; end === 'SIGKILL' && n <= MOST; n++) {
    const room = `#plan-${n}`;
    rooms.push(room);
    await alice.app.rooms.create(room, false);
    await alice.app.rooms.invite(room, 'carol');
    const { id } = await alice.app.open(room);
    const row = alice.app.send(id, Buffer.from(`welcome to ${room}`));
    await alice.app.waitFor(row, 'accepted', PATIENCE_MS);
    end = await carol(['recv'], n).ended;
    await again(room);
    await alice.until(`carol in ${room}`, () => texts(alice, room).includes(`carol is in ${room}`));
    t.strictSame(texts(alice, room), [`welcome to ${room}`, `carol is in ${room}`], `${faultAt(n)}: ${end}`);
  }
  t.ok(rooms.length > 5 && rooms.length < MOST, `killed at ${rooms.length - 1} steps`);
  await audit(t, { system, rooms, alice });
});

t.test('from outside', async (t) => {
  const { system, alice, carol, again } = await scene(t);
  const made = Array.from({ length: MOST }, (_, i) => `#ops-${i + 1}`);
  for (const room of made) await alice.app.rooms.create(room, true);
  await alice.app.settled();
  await alice.app.close(); // nobody is there to let her in
  const rooms: string[] = [];
  for (let n = 1, end: number | NodeJS.Signals = 'SIGKILL'; end === 'SIGKILL' && n <= MOST; n++) {
    const room = made[n - 1]!;
    rooms.push(room);
    end = await carol(['room', 'join', room], n).ended;
    await again(room, ({ app }) => app.rooms.join(room));
  }
  t.ok(rooms.length > 5 && rooms.length < MOST, `killed at ${rooms.length - 1} steps`);
  const back = await Person.open(t, system, 'alice');
  for (const room of rooms) await back.until(`carol in ${room}`, () => texts(back, room).length > 0);
  await audit(t, { system, rooms, alice: back });
});
