/** The server ends and comes back; its log is asked for proofs, and shown what it must have forgotten. */
import { execFileSync } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Hash } from '../../base/bytes.ts';
import { openCheckpoint } from '../../transcript/checkpoint.ts';
import { isConsistent } from '../../transcript/proof.ts';
import { formatVkey } from '../../transcript/note.ts';
import { ca, dial } from '../support/pair.ts';
import { textOf } from '../support/raw-client.ts';
import { root } from '../support/system.ts';
import { openConversation, prove, world, type Person, type World } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('a stop answers what was taken, says so to everybody, and ends with 0; nothing accepted is lost', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const stranger = await w.dial(w.certificate('carol'));
  const talk = await openConversation(a, 'bob');
  const batches = Array.from({ length: 20 }, (_, i) => alice.lineage.texts(talk, [`${i}`]));
  const ids = batches.map((batch) => a.send(batch));
  await a.answer(ids[0]!, 'msg_ack');
  const { port } = w;
  const stopped = w.stop();
  const answers = await Promise.allSettled(ids.map((id) => a.answer(id, 'msg_ack')));
  for (const each of answers)
    if (each.status === 'rejected') t.equal((each.reason as { code: string }).code, 'SHUTTING_DOWN');
  t.strictSame(await a.link.closed, { code: 'SHUTTING_DOWN' });
  t.match(a.frames.at(-1), { type: 'bye', code: 'SHUTTING_DOWN' });
  t.strictSame(await stranger.link.closed, { code: 'SHUTTING_DOWN' }, 'also who has not logged in');
  t.equal(await stopped, 0);
  t.ok(w.lines.some(({ event }) => event === 'server.stopped'));
  await t.rejects(dial(port, alice.own), { code: 'UNREACHABLE' });

  await w.restart();
  const again = await w.login(alice);
  for (const batch of batches) again.check(await again.request(batch, 'msg_ack'), batch);
  const b = await w.login(bob);
  t.strictSame(
    (await b.delivered(20)).map(textOf),
    batches.map((_, i) => `${i}`),
    'each once, in order, whoever was answered before the end',
  );
  await b.settled();
  t.equal(b.frames.filter(({ type }) => type === 'msg_deliver').length > 0, true);
});

t.test('the server certificate is renewed while people talk; who comes later believes the same log', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const talk = await openConversation(a, 'bob');
  await a.request(alice.lineage.texts(talk, ['before']), 'msg_ack');
  const early = await w.dial(bob); // has seen the old certificate, and logs in when there is a new one
  const renewed = ca.server({ key: 'ec256' });
  writeFileSync(join(w.dir, 'certs/server.crt'), renewed.pem);
  writeFileSync(join(w.dir, 'certs/server.key'), renewed.keyPem);
  await w.reload();
  t.match(await w.line('certificate.renewed'), { level: 'info' });
  await prove(early, bob); // checks the statement against the certificate of its own connection
  t.equal(textOf((await early.delivered(1))[0]!), 'before');
  await a.request(alice.lineage.texts(talk, ['after']), 'msg_ack');
  await early.close();
  const b = await w.login(bob);
  t.same(b.link.peerChain[0].der, renewed.der);
  t.equal(formatVkey(b.log!), formatVkey(early.log!), 'one log, one key');
  await w.stop();
  const verdict = execFileSync(process.execPath, [
    join(root, 'bin/chat-verify'),
    join(w.dir, 'state/transcript'),
    '--ca',
    join(w.dir, 'certs/ca.crt'),
  ]);
  t.match(String(verdict), /^VALID/m);
});

t.test(
  'a person’s certificate is renewed: mail and unanswered messages of the old one are the new one’s',
  async (t) => {
    const w = await world(t, { 'limits.devices_per_account': 1 });
    const [alice, bob] = [await w.person('alice'), await w.person('bob')];
    const a = await w.login(alice);
    const talk = await openConversation(a, 'bob');
    const sent = alice.lineage.texts(talk, ['while bob is away']);
    await a.request(sent, 'msg_ack');

    const sameKey = ({ issued }: Person) => ({
      keyPair: { privateKey: issued.key, publicKey: createPublicKey(issued.key) },
      notAfter: Date.now() + 400 * 86_400_000,
    });
    const b = await w.login(w.certificate('bob', sameKey(bob)));
    t.strictSame((await b.delivered(1)).map(textOf), ['while bob is away']);
    await b.settled();
    await t.rejects(w.login({ ...bob, token: null }), { code: 'BAD_CERT', sub: 'revoked' }, 'the old one is retired');
    await t.rejects(w.login(w.certificate('bob')), { code: 'DEVICE_LIMIT' }, 'another key is another device');

    await a.close();
    const renewed = w.certificate('alice', sameKey(alice));
    const again = await w.login(renewed);
    const ack = await again.request(sent, 'msg_ack');
    t.equal(ack.messages[0]!.seq, 1, 'known, whichever certificate asks');
    const unsent = alice.lineage.texts(talk, ['never sent'], { peek: true });
    await t.rejects(again.request(unsent, 'msg_ack'), { code: 'STALE' }, 'for the roster has changed');
    const now = await again.request({ type: 'conversation_get', conversation: talk.conversation }, 'conversation');
    const late = alice.lineage.texts(now, ['never sent'], { peek: true });
    await t.rejects(again.request(late, 'msg_ack'), { code: 'SIG_FAIL', sub: 'sender' });
    await again.request(renewed.lineage.texts(now, ['by the new one']), 'msg_ack');
    t.strictSame((await b.delivered(2)).map(textOf), ['while bob is away', 'by the new one'], 'nothing twice');
  },
);

t.test('proofs between checkpoints hold, and sizes that never were are refused', async (t) => {
  const w = await world(t);
  const alice = await w.person('alice');
  await w.person('bob');
  const a = await w.login(alice);
  const talk = await openConversation(a, 'bob');
  for (let i = 0; i < 9; i++) await a.request(alice.lineage.texts(talk, ['x', 'y'].slice(0, 1 + (i % 2))), 'msg_ack');
  const notes = a.frames.flatMap((f) => (f.type === 'checkpoint' ? [openCheckpoint(Buffer.from(f.note), a.log!)] : []));
  t.equal(notes.length, 9);
  for (const older of notes)
    for (const newer of notes.filter(({ size }) => size >= older.size)) {
      const { hashes } = await a.request(
        { type: 'log_consistency', from: older.size, to: newer.size },
        'log_consistency',
      );
      if (!isConsistent(older.size, older.root, newer.size, newer.root, hashes as Hash[]))
        t.fail(`${older.size} to ${newer.size}`);
    }
  const { size } = notes.at(-1)!;
  t.strictSame((await a.request({ type: 'log_consistency', from: 0, to: size }, 'log_consistency')).hashes, []);
  for (const [from, to] of [
    [size, size + 1],
    [3, 2],
    [0, Number.MAX_SAFE_INTEGER],
  ] as const)
    await t.rejects(a.request({ type: 'log_consistency', from, to }, 'log_consistency'), {
      code: 'BAD_FRAME',
      field: 'log_consistency.to',
    });
  await a.settled();
});

/** With the modes of folders, which cpSync() makes anew. */
const copy = (from: string, to: string): unknown => execFileSync('cp', ['-a', from, to]);

/** Stops the server, puts back what was saved of it, and starts it. */
async function setBack(w: World, saved: string): Promise<void> {
  await w.stop();
  rmSync(join(w.dir, 'state'), { recursive: true });
  copy(saved, join(w.dir, 'state'));
  await w.restart();
}

t.test('a log that was set back stops as soon as a client shows what it signed', async (t) => {
  for (const kind of ['ROLLBACK', 'FORK', 'FORK of a smaller size'] as const) {
    const w = await world(t);
    const alice = await w.person('alice');
    await w.person('bob');
    await w.stop();
    const saved = join(w.dir, 'saved');
    copy(join(w.dir, 'state'), saved);
    await w.restart();
    const grow = async (text: string): Promise<string> => {
      const a = await w.login(alice);
      const talk = await openConversation(a, 'bob');
      alice.lineage.session = Buffer.from(text.padEnd(16)) as Uint8Array as typeof alice.lineage.session;
      const batch = alice.lineage.texts(talk, [text], { peek: true });
      await a.request(batch, 'msg_ack');
      const note = a.newestNote!;
      await a.close();
      return note;
    };
    const held = await grow('once');
    await setBack(w, saved);
    if (kind !== 'ROLLBACK') await grow('twice');
    if (kind === 'FORK of a smaller size') await grow('thrice');

    const honest = await w.dial(alice);
    await t.rejects(prove(honest, alice, { checkpoint: 'junk' }), { code: 'BAD_FRAME' }, `${kind}: junk stops nobody`);
    const foreign = held.replace(/\n— .*\n/s, '\n— example.org AAAAAAAA\n');
    t.ok(await prove(honest, alice, { checkpoint: foreign }), `${kind}: and leaves the connection as it was`);
    t.notOk(
      w.lines.some(({ event }) => event === 'transcript.failed'),
      `${kind}: nor does the note of another log`,
    );
    await honest.close();

    const a = await w.dial(alice);
    const login = prove(a, alice, { checkpoint: held });
    const code = kind.slice(0, 8).trim();
    if (kind !== 'FORK of a smaller size') await t.rejects(login, { code }, kind);
    else await login.catch(() => {});
    t.match(await w.line('transcript.failed'), { code: code.split(' ')[0], level: 'warn' }, kind);
    t.equal((await a.link.closed).code, 'SHUTTING_DOWN', `${kind}: everybody has to go`);
    t.equal(await w.stop(), 1, `${kind}: it does not end as if all were well`);
  }
});
