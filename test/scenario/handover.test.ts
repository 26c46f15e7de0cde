/** What was said before, from a device to another of the same user: who gets it, what is believed of it, and what a kill leaves. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { hex, type Fingerprint } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { conversationBundle } from '../../client/conversation-bundle.ts';
import { announcementContent, pieceContent } from '../../client/handover-content.ts';
import type { Vault } from '../../client/vault.ts';
import type { Reply } from '../../protocol/messages.ts';
import { formatKeyStatement, signKeyStatement } from '../../transcript/key-statement.ts';
import { parseVkey, verifierKey, type VerifierKey } from '../../transcript/note.ts';
import { auditBundle } from '../../verify/bundle.ts';
import { Findings } from '../../verify/finding.ts';
import { parsePem } from '../../x509/certificate.ts';
import { ca, serverCertificate } from '../support/pair.ts';
import type { Issued } from '../support/pki.ts';
import { anotherOf, type DeviceApp, devicesOf, PATIENCE_MS, textOf } from '../support/apps.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(240_000); // a busy machine is no failure

const fingerprintOf = ({ app }: DeviceApp): Fingerprint => app.identity.fingerprint;
const historyTold = (device: DeviceApp): string[] => device.told('warning').filter((text) => /history/.test(text));
const took = (device: DeviceApp): Promise<void> =>
  device.until('a history', () => historyTold(device).some((text) => /handed over its history/.test(text)));

async function scene(t: Test) {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.say('bob', 'one');
  await bob.hears('one');
  await bob.say('alice', 'two');
  await alice.hears('two');
  const row = await alice.say('bob', 'three');
  await alice.app.waitFor(row, 'delivered', PATIENCE_MS);
  const laptop = anotherOf(t, w, alice, 'alices-laptop');
  return { w, alice, bob, laptop };
}

t.test('a new device has no history until it is approved; then it has, in order, and proven', async (t) => {
  const { alice, bob, laptop } = await scene(t);
  await laptop.enter();
  await bob.say('alice', 'four');
  await laptop.hears('four');
  t.strictSame(laptop.texts('bob'), ['four'], 'what is written from now on reaches it: the authority vouches for it');
  t.notOk(alice.app.ownDevices.approved().has(hex(fingerprintOf(laptop))));

  await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
  t.ok(alice.app.ownDevices.approved().has(hex(fingerprintOf(laptop))));
  await took(laptop);
  t.strictSame(laptop.texts('bob'), ['one', 'two', 'three', 'four']);
  t.strictSame(laptop.told('alarm'), []);
  t.match(historyTold(laptop), [/^your device [0-9a-f]{16}… handed over its history: 3 messages/]);
  const { id } = await laptop.app.open('bob');
  t.strictSame(
    laptop.vault.history(id, 100).map(({ seq, sender, direction, state }) => [seq, sender, direction, state]),
    alice.vault.history(id, 100).map(({ seq, sender, direction, state }) => [seq, sender, direction, state]),
  );
  t.strictSame(laptop.vault.unshown(null, 100).map(textOf), ['four'], 'it is nothing to be told of');
  for (const { hash } of laptop.vault.history(id, 100))
    t.ok(laptop.vault.ledger.opening(hash!), 'and can be disclosed');

  await laptop.say('bob', 'five');
  await bob.hears('five');
  await alice.hears('five');
  for (const each of [alice, bob, laptop]) t.strictSame(each.told('alarm'), []);
  t.strictSame(alice.vault.handovers.outgoing(), []);
  t.equal(alice.texts().length, 5, 'nothing of it is kept as a message');
  t.equal(laptop.texts().length, 5);

  await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
  await laptop.until('the second', () => historyTold(laptop).length === 2);
  t.match(historyTold(laptop)[1], /: 0 messages that were not here$/, 'nothing twice');
  t.equal(laptop.texts().length, 5);
  await t.rejects(alice.app.open('alice'), { code: 'NO_SUCH_PEER' }, 'nobody talks with himself');
});

t.test('nobody signs for a history, and nobody is said to keep it back', async (t) => {
  const { alice, laptop } = await scene(t);
  await laptop.enter();
  await alice.leave();
  alice.withheldAfterMs = 100;
  await alice.enter();
  await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
  await took(laptop);
  await sleep(300);
  t.strictSame(
    alice.told('warning').filter((text) => /keep it back/.test(text)),
    [],
  );
  t.equal(alice.app.status().withheld, 0);
});

t.test('it proves to others what was said under a certificate of the server that it has never seen', async (t) => {
  const { w, alice, laptop } = await scene(t);
  const from = Math.ceil(Date.now() / 1000) * 1000;
  await sleep(from - Date.now() + 10);
  const renewed = ca.server({ notBefore: from });
  writeFileSync(join(w.dir, 'certs/server.crt'), renewed.pem);
  writeFileSync(join(w.dir, 'certs/server.key'), renewed.keyPem);
  await w.reload();
  await w.line('certificate.renewed');
  await laptop.enter();
  await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
  await took(laptop);
  const { pieces } = await conversationBundle(
    laptop.app,
    laptop.app.vault.conversationWith('bob')!,
    { from: undefined, until: undefined },
    'all',
    false,
  );
  const findings = new Findings();
  const { messages } = auditBundle(pieces, { roots: parsePem(ca.pem), crls: [] }, findings);
  t.ok(messages >= 3);
  t.equal(findings.errors, 0, JSON.stringify(findings.kept));
});

t.test('only what was said since, or nothing', async (t) => {
  const { alice, bob, laptop } = await scene(t);
  await laptop.enter();
  await alice.app.ownDevices.approve(fingerprintOf(laptop), null);
  t.strictSame(laptop.texts(), []);
  const { id } = await alice.app.open('bob');
  const since = alice.vault.history(id, 1)[0]!.serverTime!;
  await alice.app.ownDevices.approve(fingerprintOf(laptop), since);
  await took(laptop);
  t.ok(laptop.texts('bob').includes('three'));
  await bob.say('alice', 'four');
  await laptop.hears('four');
  t.strictSame(laptop.told('alarm'), []);
});

t.test('a third device gets nothing that is for the second', async (t) => {
  const { w, alice, laptop } = await scene(t);
  const phone = anotherOf(t, w, alice, 'alices-phone');
  await laptop.enter();
  await phone.enter();
  await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
  await took(laptop);
  await phone.app.settled();
  t.strictSame(phone.texts(), []);
  t.strictSame(phone.vault.handovers.allIncoming(), []);
  t.strictSame(phone.told('alarm'), []);
  await alice.app.ownDevices.approve(fingerprintOf(phone), 0);
  await took(phone);
  t.strictSame(phone.texts('bob'), ['one', 'two', 'three']);
  t.equal(historyTold(laptop).length, 1, 'the second is told nothing of the third');
  await t.rejects(phone.app.ownDevices.approve(Buffer.alloc(32, 7) as Uint8Array as Fingerprint, 0), {
    code: 'NOT_FOUND',
  });
});

/** What an old device may do to the history that it hands over, and what is found. */
const LIES: readonly (readonly [string, (vault: Vault) => void, RegExp])[] = [
  [
    'another text',
    ({ ledger }) => change(ledger, 'opening', (found) => found && { ...found, body: Buffer.from('never said') }),
    /^SIG_FAIL\/commitment/,
  ],
  [
    'another key of the commitment',
    ({ ledger }) => change(ledger, 'opening', (found) => found && { ...found, kf: randomBytes(32) }),
    /^SIG_FAIL\/commitment/,
  ],
  [
    'another signature',
    ({ ledger }) =>
      change(ledger, 'allEvidence', (all) =>
        all.map((each) => ({ ...each, signature: randomBytes(each.signature.length) })),
      ),
    /^SIG_FAIL\/batch/,
  ],
  [
    'another place in the log',
    ({ ledger }) =>
      change(ledger, 'allEvidence', (all) => all.map((each, i) => ({ ...each, ack: all[(i + 1) % all.length]!.ack }))),
    /^(SIG_FAIL|BAD_FRAME|BAD_CERT)/,
  ],
  [
    'another order',
    (vault) => change(vault, 'messageByHash', (found) => found && { ...found, seq: 1000 - (found.seq ?? 0) }),
    /^SIG_FAIL\/order/,
  ],
];
function change<O extends object, K extends keyof O>(
  owner: O,
  name: K,
  lie: (found: O[K] extends (...args: never[]) => infer R ? R : never) => unknown,
): void {
  const honest = owner[name] as (...args: unknown[]) => never;
  Object.assign(owner, { [name]: (...args: unknown[]) => lie(honest.apply(owner, args)) });
}

t.test('an old device that lies is caught, and what it lies about is left out', async (t) => {
  for (const [what, lie, found] of LIES)
    await t.test(what, async (t) => {
      const { alice, laptop } = await scene(t);
      await laptop.enter();
      lie(alice.vault);
      await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
      await took(laptop);
      t.match(laptop.told('alarm')[0], found);
      t.match(historyTold(laptop), [/ records of it do not hold and were left out$/]);
      t.ok(laptop.texts().length < 3);
      t.notOk(laptop.texts().includes('never said'));
    });
});

t.test('nor does it pass off a key, or a certificate, as that of the log', async (t) => {
  const { w, alice, laptop } = await scene(t);
  await laptop.enter();
  const { origin } = w.server.transcript;
  const [shown] = alice.vault.ledger.keyStatements(origin);
  const forged = ca.server();
  const statementOf = (log: VerifierKey, by: Issued, named = by) => {
    const fingerprint = sha256(named.der) as Uint8Array as Fingerprint;
    const text = formatKeyStatement({
      log,
      notBefore: 0,
      notAfter: 9e12,
      serverCertificate: fingerprint,
      previous: null,
    });
    const signed = signKeyStatement(text, by.key);
    const [algorithm, signature] = [signed[0]!, signed.subarray(1)];
    return { ...shown!, statement: text.toString(), algorithm, signature, certificate: by.der };
  };
  const other = verifierKey(origin, generateKeyPairSync('ed25519').publicKey);
  const own = parseVkey(shown!.vkey);
  const lies = [
    { ...shown!, signature: randomBytes(shown!.signature.length) },
    statementOf(other, forged),
    statementOf(own, forged, serverCertificate),
    statementOf(own, ca.server({ san: ['DNS:other.example'] })),
  ];
  change(alice.vault.ledger, 'keyStatements', () => lies);
  await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
  await took(laptop);
  t.match(historyTold(laptop), [/ 4 records of it do not hold and were left out$/]);
  t.equal(laptop.vault.ledger.keyStatements(origin).length, 1);
});

const isPieceFor = (frame: Reply): frame is Reply<'msg_deliver'> =>
  frame.type === 'msg_deliver' && frame.items.some((item) => 'parts' in item && item.parts[0]!.length > 200_000);

t.test('a server that holds back, reorders or repeats pieces of a history', async (t) => {
  const { alice, bob, laptop } = await scene(t);
  const long = 'x'.repeat(300_000);
  for (let i = 0; i < 5; i++) await alice.say('bob', `${i} ${long}`);
  const held: Reply[] = [];
  laptop.hear = (frame) => {
    if (!isPieceFor(frame)) return [frame];
    if (held.length === 0) return (held.push(frame), []); // not now, and not in its order
    return [frame, frame];
  };
  await laptop.enter();
  await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
  for (;;) {
    const [incoming] = laptop.vault.handovers.allIncoming();
    const { announcement, archive } = incoming ?? {};
    if (announcement && laptop.vault.handovers.pieceCount(archive!) === announcement.pieces - 1) break;
    await sleep(20);
  }
  await laptop.app.settled();
  t.strictSame(laptop.texts(), [], 'half a history is none');
  t.ok(held.length > 0);
  await laptop.leave();
  laptop.hear = (frame) => [frame];
  await laptop.enter(); // what was not acknowledged is offered again
  await took(laptop);
  t.strictSame(
    laptop.texts('bob').map((text) => text.slice(0, 5)),
    ['one', 'two', 'three', ...[0, 1, 2, 3, 4].map((i) => `${i} xxx`)],
  );
  t.strictSame(laptop.told('alarm'), []);
  t.strictSame(bob.told('alarm'), []);
});

t.test('nobody else puts a history into a profile', async (t) => {
  const { alice, bob } = await scene(t);
  const archive = randomBytes(16);
  const salt = randomBytes(16);
  const { id } = await bob.app.open('alice');
  const sealed = randomBytes(100);
  const announced = { key: randomBytes(32), sha256: randomBytes(32), size: 100, pieces: 1 };
  for (const content of [
    announcementContent(salt, { v: 1, archive, to: fingerprintOf(alice), ...announced }),
    pieceContent(salt, { v: 1, archive, n: 0, sealed }),
  ]) {
    const row = bob.vault.outgoing.enqueue(id, 'bob', content, Date.now());
    await bob.say('alice', 'well?');
    await bob.app.waitFor(row, 'accepted', PATIENCE_MS);
  }
  await alice.hears('well?');
  await alice.app.settled();
  await sleep(200);
  t.strictSame(alice.vault.handovers.allIncoming(), []);
  t.equal(alice.vault.handovers.incoming(archive), null);
});
