/**
 * Work on one group takes long: of another conversation messages are read and written meanwhile, and those of this one come in their order when it is done.
 */
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { GroupEngine } from '../../client/group-engine.ts';
import { restore } from '../../client/e2ee/delta.ts';
import { groupIdIn } from '../../client/e2ee/held.ts';
import { devicesOf } from '../support/apps.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(280_000); // a busy machine is no failure

t.test('a group that is being worked on holds up no other', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = await devicesOf(t, w, 'alice', 'bob', 'carol');
  await bob.say('alice', 'hello');
  await alice.say('bob', 'hello, bob');
  await carol.app.rooms.create('#large', false);
  await carol.app.rooms.invite('#large', 'alice');
  await carol.say('#large', 'before');
  await alice.hears('hello', 'before');

  const { snapshot, deltas } = alice.vault.groups.current(alice.vault.conversationWith('#large')!.id)!;
  const large = hex(groupIdIn(restore(snapshot, deltas)));
  const gate = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const { receive } = GroupEngine.prototype;
  t.teardown(() => {
    GroupEngine.prototype.receive = receive;
    gate.resolve(); // a client that ends waits for it
  });
  GroupEngine.prototype.receive = async function (held, ...rest) {
    if (hex(groupIdIn(held)) === large) {
      reached.resolve();
      await gate.promise;
    }
    return receive.call(this, held, ...rest);
  };
  const texts = ['one', 'two', 'three'];
  for (const text of texts) await carol.say('#large', text);
  await reached.promise;
  await bob.say('alice', 'meanwhile');
  await alice.hears('meanwhile');
  await alice.say('bob', 'answered meanwhile');
  await bob.hears('answered meanwhile');
  t.strictSame(alice.texts('#large'), ['before'], 'control: that is still worked on');
  gate.resolve();
  await alice.hears(...texts);
  t.strictSame(alice.texts('#large'), ['before', ...texts]);
  await alice.say('#large', 'read');
  await carol.hears('read');
  for (const each of [alice, bob, carol]) t.strictSame(each.told('alarm'), []);
});
