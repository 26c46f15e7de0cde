/** A log that holds what somebody signed twice, or in another order, or not at all: and what only looks like it. */
import { createPublicKey } from 'node:crypto';
import t from 'tap';
import { equal } from '../../base/bytes.ts';
import { entriesOf } from '../../client/alarm-proof.ts';
import type { Alarm } from '../../client/ledger.ts';
import { notesOf } from '../../client/trust.ts';
import { decodeAck } from '../../transcript/ack.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { verifierKey } from '../../transcript/note.ts';
import { checkTlogProof, decodeTlogProof } from '../../transcript/tlog-proof.ts';
import { ORIGIN, type Delivery, type ScriptedServer } from './scripted-server.ts';
import { isAlarm, isMessage, logIn, quiet, type Side } from './side.ts';

const alarms = (side: Side) => side.events.filter(isAlarm).map(({ error }) => `${error.code}/${error.sub}`);
const warnings = (side: Side) => side.events.flatMap((e) => (e.on === 'warning' ? [e.text] : []));
const kept = (side: Side) => side.app.vault.ledger.alarms();

/** Where the log holds what is kept: each entry is proven under a note that it has signed. */
function provenPlaces(alarm: Alarm | undefined, server: ScriptedServer): number[] {
  const key = verifierKey(ORIGIN, createPublicKey(server.logKey));
  return entriesOf(alarm!).map(({ index, entry, proof: file }) => {
    const proof = decodeTlogProof(file);
    checkTlogProof(proof, leafHash(entry), key);
    return proof.index === index ? index : NaN;
  });
}
async function deliver(side: Side, ...deliveries: readonly Delivery[]): Promise<void> {
  for (const delivery of deliveries) {
    side.server.latest.send(delivery);
    await quiet(side);
  }
}

t.test('one batch at two places of the log', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  const sent = await server.compose('bob', ['pay 100']);
  const [first, second] = [server.append(sent), server.append(sent)];
  await deliver(side, server.delivery(sent, first));
  await side.until(isMessage);
  await deliver(side, server.delivery(sent, first));
  t.strictSame([alarms(side), warnings(side), kept(side)], [[], [], []], 'the same place again is harmless');
  await deliver(side, server.delivery(sent, second, 4), server.delivery(sent, second), server.delivery(sent, first));
  t.strictSame([alarms(side), side.shown()], [['REPLAY/log'], ['pay 100']], 'said once, shown once');
  t.match(kept(side), [{ code: 'REPLAY', message: /one signed batch of bob twice, as entries 0 and 2$/ }]);
  t.strictSame(provenPlaces(kept(side)[0], server), [first, second]);
  t.ok(notesOf(kept(side)[0]!).includes(server.note(4).toString()));
  const [place] = side.app.vault.ledger.allEvidence().filter(({ batch }) => equal(batch, sent.batch));
  t.equal(decodeAck(place!.ack).first, first, 'the transcript stays with the first place');
});

for (const isInOrder of [false, true])
  t.test(`the log holds a later message first, and ${isInOrder ? 'hides that' : 'delivers it so'}`, async (t) => {
    const side = await logIn(t);
    const { server } = side;
    await deliver(side, await server.say(server.latest, 'bob', ['one']));
    const [two, three] = [await server.compose('bob', ['two']), await server.compose('bob', ['three'])];
    const places = [server.append(three), server.append(two)] as const;
    const out = [server.delivery(three, places[0]), server.delivery(two, places[1])];
    await deliver(side, ...(isInOrder ? out.toReversed() : out));
    await deliver(side, await server.say(server.latest, 'bob', ['four']), ...out);
    t.strictSame(alarms(side), ['LINEAGE/order'], 'said once');
    t.strictSame(side.shown().toSorted(), ['four', 'one', 'three', 'two'], 'each is proven');
    const found = kept(side).filter(({ code }) => code === 'LINEAGE');
    const [low, high] = places.map((first) => first + 1);
    const sentence = `the log holds message 3 of a session of bob as entry ${low}, before message 2 as entry ${high}`;
    t.match(found, [{ message: sentence }]);
    t.strictSame(new Set(provenPlaces(found[0], server)), new Set(places));
    t.ok(notesOf(found[0]!).length > 0);
    t.equal(warnings(side).length, isInOrder ? 0 : 1, 'what was missing when the later one came');
  });

t.test('a message that did not come before the next one', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  const one = await server.say(server.latest, 'bob', ['one']);
  const two = await server.compose('bob', ['two']);
  const late = server.append(two);
  const three = await server.say(server.latest, 'bob', ['three']);
  await deliver(side, one, three);
  const gap = /^1 message of bob before the next one did not arrive \(.*expired.*out\) \[WITHHELD\]$/;
  t.match([warnings(side), alarms(side)], [[gap], []], 'it may have expired, and is no proof of a lie');
  t.match(kept(side), [{ code: 'WITHHELD', message: /did not arrive/ }]);
  t.strictSame(provenPlaces(kept(side)[0], server), [0, 4], 'what is known, and what came next');
  t.equal(notesOf(kept(side)[0]!).length, 2);
  await deliver(side, server.delivery(two, late));
  t.match(warnings(side), [gap, 'the next message of bob is one that did not arrive before'], 'late, and in its place');
  await deliver(side, await server.say(server.latest, 'bob', ['four']));
  t.strictSame(side.shown(), ['one', 'three', 'two', 'four']);
  t.strictSame([alarms(side), warnings(side).length, kept(side).length], [[], 2, 1], 'and that was all');
});

t.test('what a crash held back comes after the next session has begun', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  await server.say(server.latest, 'bob', ['one']);
  const two = await server.compose('bob', ['two']);
  const late = server.append(two);
  await deliver(side, await server.say(server.latest, 'bob', ['three'], { isAnew: true }));
  t.match(warnings(side), [/^the next message of bob follows one that did not arrive \(.* \[WITHHELD\]$/]);
  await deliver(side, server.delivery(two, late));
  await deliver(side, await server.say(server.latest, 'bob', ['four']));
  await deliver(side, await server.say(server.latest, 'bob', ['five'], { isAnew: true }));
  t.strictSame(side.shown(), ['one', 'three', 'two', 'four', 'five']);
  t.strictSame([alarms(side), warnings(side).length, kept(side).length], [[], 1, 1]);
});
