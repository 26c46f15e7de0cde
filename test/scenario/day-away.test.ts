/** Three people in a public and a private room, one of whom is away for a day: what was said is read by all in one order. */
import t from 'tap';
import { devicesOf, textOf, type DeviceApp } from '../support/apps.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(400_000); // a busy machine is no failure

const ROUNDS = 14;
const SAID = 12;
const [OPEN, CLOSED] = ['#ops', '#plan'];

t.test('hundreds of messages, and more than twenty changes of each group', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol, dave] = await devicesOf(t, w, 'alice', 'bob', 'carol', 'dave');
  await alice.app.rooms.create(OPEN, true);
  for (const { app } of [bob, carol]) await app.rooms.join(OPEN);
  await alice.app.rooms.create(CLOSED, false);
  for (const name of ['bob', 'carol']) await alice.app.rooms.invite(CLOSED, name);
  for (const room of [OPEN, CLOSED]) {
    for (const each of [alice, bob, carol]) await each.until('all three', () => each.usersIn(room).length === 3);
    await carol.say(room, `good night, ${room}`);
    for (const each of [alice, bob]) await each.hears(`good night, ${room}`);
  }
  await carol.leave();

  for (let round = 0; round < ROUNDS; round++)
    for (const room of [OPEN, CLOSED]) {
      for (const writer of [alice, bob]) {
        const { id } = await writer.app.open(room);
        writer.vault.freshness.renewed(id, Date.now()); // a week passes in it, and whoever was overtaken has rested
        writer.vault.freshness.hurry(id);
        const text = (i: number): string => `${writer.person.name} ${round}.${i} in ${room}`;
        for (let i = 0; i < SAID / 2; i++) await writer.write(room, text(i));
        for (const each of [alice, bob]) await each.hears(text(SAID / 2 - 1));
      }
      if (round % 5 !== 2) continue;
      if (room === OPEN) {
        await dave.app.rooms.join(OPEN);
        await dave.app.rooms.leave(OPEN);
      } else {
        await alice.app.rooms.invite(CLOSED, 'dave');
        await alice.app.rooms.remove(CLOSED, 'kick', 'dave');
      }
    }
  await carol.enter();
  for (const room of [OPEN, CLOSED]) {
    await carol.say(room, `good morning, ${room}`);
    for (const each of [alice, bob]) await each.hears(`good morning, ${room}`);
    const said = (each: DeviceApp) => {
      const { id } = each.vault.conversationWith(room)!;
      return each.vault.history(id, 10_000).map((message) => [message.seq, message.sender, textOf(message)]);
    };
    const all = said(alice);
    t.equal(all.length, ROUNDS * SAID + 2, `${room}: ${all.length} messages`);
    t.equal(all.at(-1)?.[2], `good morning, ${room}`);
    for (const each of [bob, carol])
      t.strictSame(said(each), all, `${room}: the same for ${each.person.name}, in the same places`);
    const commits = carol.vault.groups.commits(carol.vault.conversationWith(room)!.id).length;
    t.ok(commits > 20, `${room}: ${commits} changes of the group`);
  }
  for (const each of [alice, bob, carol]) t.strictSame(each.told('alarm'), [], each.person.name);
});
