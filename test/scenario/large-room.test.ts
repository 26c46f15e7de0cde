/** A room of more than fifty devices, whose tree newcomers fetch and nobody else gets: real clients, a real server, many who are away. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t, { type Test } from 'tap';
import { sha256 } from '../../base/hash.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { Authority, createBinding } from '../../client/e2ee/binding.ts';
import { Engine } from '../../client/e2ee/conversation.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { deviceOf, type DeviceApp } from '../support/apps.ts';
import { ca } from '../support/pair.ts';
import { world, type World } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

const AWAY = 55;
const DAY_MS = 86_400_000;

/** Somebody who has published a key package, and is in the room as far as the server knows. */
async function absent(w: World, engine: Engine, name: string, room: string): Promise<void> {
  const person = await w.person(name);
  const client = await w.login(person);
  const [{ der, fingerprint, notBefore, notAfter }] = person.own.chain;
  const keys = await engine.newDeviceKey();
  const deviceId = randomBytes(16);
  const statement = { organisation: 'localhost', user: name, deviceId, mlsKey: keys.mlsKey, notBefore, notAfter };
  const binding = createBinding(statement, [der], person.own.privateKey);
  await client.request({ type: 'binding_put', binding }, 'ok');
  const own = { user: name, deviceId, bindingHash: sha256(binding), ...keys };
  const { published } = await engine.keyPackage(own, { notBefore: Date.now() - DAY_MS, notAfter: Date.now() + DAY_MS });
  await client.request({ type: 'keypackages_put', packages: [published], last_resort: false }, 'keypackages');
  await client.request({ type: 'room_join', room }, 'room');
  await client.close();
  if (fingerprint.length !== 32) throw new Error('test');
}

const commitBytes = ({ delivered }: DeviceApp): number[] =>
  delivered
    .filter(({ statement }) => decodeMs(statement).kind === KIND.membership)
    .map(({ parts }) => parts.reduce((sum, part) => sum + part.length, 0));

async function largeRoom(t: Test): Promise<{ w: World; alice: DeviceApp; bob: DeviceApp }> {
  t.testdir({});
  const w = await world(t);
  const [alice, bob] = [await deviceOf(t, w, 'alice'), await deviceOf(t, w, 'bob')];
  await alice.enter();
  await bob.enter();
  await alice.app.rooms.create('#all', true);
  await bob.app.rooms.join('#all');
  await alice.say('#all', 'two of us');
  await bob.hears('two of us');
  await bob.leave();
  const authority = new Authority({
    organisation: 'localhost',
    roots: [parseCertificate(ca.der)],
    bindings: new Map(),
  });
  const engine = await Engine.open(authority);
  const { id } = await alice.app.open('#all');
  for (let i = 0; i < AWAY; i++) {
    await absent(w, engine, `away${i}`, '#all');
    alice.vault.rooms.invite(id, `away${i}`);
  }
  await alice.say('#all', 'all of us');
  t.equal(alice.usersIn('#all').length, AWAY + 2);
  await bob.enter();
  await bob.hears('all of us');
  return { w, alice, bob };
}

// Fails when the server keeps no tree but the newest.
t.test('who is let in while away fetches the tree of that moment, and reads all since', async (t) => {
  const { w, alice, bob } = await largeRoom(t);
  const [carol, dave] = [await deviceOf(t, w, 'carol'), await deviceOf(t, w, 'dave')];
  for (const each of [carol, dave]) await (await each.enter()).leave();
  for (const name of ['carol', 'dave']) {
    t.equal(await alice.app.rooms.invite('#all', name), true);
    await alice.say('#all', `with ${name}`);
  }
  await carol.enter();
  await carol.hears('with carol', 'with dave');
  t.strictSame(carol.texts('#all'), ['with carol', 'with dave'], 'though the group has gone on');
  await carol.say('#all', 'here');
  await bob.hears('here');
  t.ok(Math.max(...commitBytes(bob).slice(-2)) < 20_000, `commits of ${commitBytes(bob).join()} bytes to everybody`);
  for (const each of [alice, bob, carol]) t.strictSame(each.told('alarm'), []);
});

// Fails when an invitation without its tree is an error.
t.test('an invitation that has waited longer than its tree: in from outside', async (t) => {
  const { w, alice } = await largeRoom(t);
  const carol = await deviceOf(t, w, 'carol');
  await (await carol.enter()).leave();
  t.equal(await alice.app.rooms.invite('#all', 'carol'), true);
  await alice.say('#all', 'too long ago');
  const db = new DatabaseSync(join(w.dir, 'state', 'chat.db'));
  db.exec('DELETE FROM group_infos');
  db.close();
  const { id } = await alice.app.open('#all');
  const commits = alice.vault.groups.commits(id).length;
  await carol.enter();
  await carol.until('the way in', () => carol.usersIn('#all').includes('carol'));
  while (alice.vault.groups.commits(id).length === commits) await new Promise(setImmediate); // alice knows it
  await alice.say('#all', 'now');
  await carol.hears('now');
  t.strictSame(carol.texts('#all'), ['UNREADABLE', 'now']);
  for (const each of [alice, carol]) t.strictSame(each.told('alarm'), []);
});
