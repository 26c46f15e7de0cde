/** Who is slower than the others of a conversation: what he writes is overtaken again and again, and comes through all the same. */
import { setTimeout as rest } from 'node:timers/promises';
import t from 'tap';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { ScriptedServer, type Delivery } from './scripted-server.ts';
import { accepted, isAlarm, isLost, logIn, say, type Side } from './side.ts';

t.setTimeout(180_000); // a busy machine is no failure

const harm = (side: Side): string[] =>
  side.events.flatMap((e) => (isAlarm(e) || isLost(e) ? [`${e.on}: ${e.error.code}/${e.error.sub}`] : []));

/** Another device of Bob's, which is to be let into the group, and can be. */
async function phone(server: ScriptedServer): Promise<void> {
  const peer = await server.peer;
  const issued = server.ca.client('bob', { key: 'ec256' });
  const certificate = parseCertificate(issued.der);
  const { fingerprint } = certificate;
  const device = await peer.device('bob', issued);
  server.people.set('phone', { name: 'phone', issued, certificate, fingerprint });
  server.ghosts = [{ username: 'bob', fingerprint }];
  server.packages = [{ device: fingerprint, package: (await peer.keyPackage(device)).published }];
}

// Fails when it is given up after five times: with an alarm about the server, and for good.
t.test('a group that others change whenever it is planned to change it', async (t) => {
  const server = new ScriptedServer();
  await phone(server);
  const side = await logIn(t, server);
  let overtaken = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'keypackages_take' || overtaken === 12) return false;
    overtaken++;
    void server.composeCommit().then((sent) => {
      link.send(server.delivery(sent, server.append(sent)));
      server.answer(frame, link, 'alice');
    });
    return true;
  };
  await side.app.waitFor(say(side, 'at last'), 'accepted', 60_000);
  t.equal(overtaken, 12);
  t.strictSame(harm(side), []);
});

// Fails when what waits there has failed after five times: of all of it, for the roster was not asked for any more.
t.test('a conversation whose devices change whenever it is written to', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  let refusals = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || refusals === 6) return false;
    refusals++;
    server.epoch++;
    const field = `msg_send.messages[${frame.messages.length - 1}].statement`;
    link.send({ type: 'error', id: frame.id, code: 'STALE', sub: 'roster', field });
    return true;
  };
  const rows = ['to', 'whoever', 'it is now'].map((text) => say(side, text));
  for (const row of rows) await side.app.waitFor(row, 'accepted', 60_000);
  t.equal(refusals, 6);
  t.strictSame(harm(side), []);
  await accepted(side, say(side, 'and on'));
});

// Fails when nothing is written before keys are replaced that are to be replaced: whoever is slower than others change the group never can.
t.test('keys that are to be replaced, and others who are faster each time', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  const overtaking: Delivery[] = [];
  let overtaken = 0;
  server.script = (frame, link) => {
    if (frame.type === 'sync') for (const delivery of overtaking.splice(0)) link.send(delivery);
    if (frame.type !== 'msg_send' || decodeMs(frame.messages.at(-1)!.statement).kind !== KIND.membership) return false;
    overtaken++;
    void server.composeCommit().then((sent) => {
      overtaking.push(server.delivery(sent, server.append(sent)));
      link.send({ type: 'error', id: frame.id, code: 'STALE', sub: 'epoch' });
    });
    return true;
  };
  side.app.vault.freshness.renewed(side.id, Date.now());
  side.app.vault.freshness.hurry(side.id);
  for (const text of ['one', 'two', 'three']) await accepted(side, say(side, text));
  t.ok(overtaken >= 1 && overtaken <= 4, `${overtaken} attempts`);
  server.script = () => false;
  const before = server.written.length;
  while (server.written.length === before) await rest(50);
  t.ok(server.written.at(-1)!.messages.at(-1)!.group_info, 'and they are replaced as soon as that is possible');
  t.strictSame(harm(side), []);
});
