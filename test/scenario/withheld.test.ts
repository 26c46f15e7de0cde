/** Three people in a room, and a server that keeps a message from one of them: the others' next words show it. */
import t from 'tap';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import type { Delivered } from '../../protocol/messages.ts';
import { anotherOf, devicesOf } from '../support/apps.ts';
import { deliveredOf } from '../support/raw-client.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(180_000); // a busy machine is no failure

t.test('a message that is kept from one of three', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = await devicesOf(t, w, 'alice', 'bob', 'carol');
  await alice.app.rooms.create('#ops', true);
  await bob.app.rooms.join('#ops');
  await carol.app.rooms.join('#ops');
  for (const each of [alice, bob])
    await each.until('carol in the group', () => each.told('warning').includes('carol can read #ops from now on'));
  await alice.say('#ops', 'hello all');
  await bob.hears('hello all');
  await carol.hears('hello all');
  await bob.say('#ops', 'here');
  await carol.hears('here');
  await alice.hears('here');
  t.strictSame([bob.told('alarm'), carol.told('alarm')], [[], []]);
  const withheld = () => carol.told('warning').filter((text) => text.includes('WITHHELD'));
  t.strictSame(withheld(), [], 'nobody says so without a reason');

  const { fingerprint } = alice.app.identity;
  const isHers = ({ statement }: Delivered): boolean => {
    const ms = decodeMs(statement);
    return ms.kind === KIND.message && Buffer.compare(ms.sender, fingerprint) === 0;
  };
  carol.hear = (frame) => (deliveredOf([frame]).some(isHers) ? [] : [frame]);
  await alice.say('#ops', 'only bob is to read this');
  await bob.hears('only bob is to read this');
  await bob.say('#ops', 'understood');
  await carol.hears('understood');
  await carol.until('the warning', () => withheld().length > 0);
  t.strictSame(withheld().length, 1);
  t.match(withheld()[0], /^bob has seen a message that this device was not given/);
  t.notOk(carol.texts('#ops').includes('only bob is to read this'));
  const [alarm] = carol.vault.ledger.alarms().filter(({ code }) => code === 'WITHHELD');
  t.ok(alarm, 'with the evidence');
  t.strictSame(alice.told('alarm').concat(bob.told('alarm')), []);
});

t.test(
  'what was written before somebody came in, and is sent afterwards, tells nobody of what was before',
  async (t) => {
    testFolder(t);
    const w = await world(t);
    const [alice, bob, carol] = await devicesOf(t, w, 'alice', 'bob', 'carol');
    await alice.app.rooms.create('#plan', false);
    for (const name of ['bob', 'carol']) await alice.app.rooms.invite('#plan', name);
    await alice.say('#plan', 'all here');
    for (const each of [bob, carol]) await each.hears('all here');
    bob.hear = (frame) => (frame.type === 'msg_ack' ? [] : [frame]); // what he writes from now on waits
    await bob.write('#plan', 'on its way');
    for (const n of [1, 2]) {
      await carol.say('#plan', `carol ${n}`);
      await bob.hears(`carol ${n}`);
      await bob.write('#plan', `bob ${n}`);
    }
    await bob.leave();
    const phone = await anotherOf(t, w, alice, 'alices-phone').enter();
    await alice.say('#plan', 'and with a phone');
    await phone.hears('and with a phone');
    bob.hear = (frame) => [frame];
    await bob.enter();
    await phone.hears('bob 1', 'bob 2');
    await bob.say('#plan', 'last');
    await phone.hears('last');
    t.strictSame(phone.vault.ledger.alarms(), []);
  },
);
