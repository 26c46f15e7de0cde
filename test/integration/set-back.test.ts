/** A server whose folder was put back from a backup: it must sign nothing that contradicts what it has signed before. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ChatError } from '../../base/errors.ts';
import { prepareKey } from '../../server/log/key-succession.ts';
import { decodeLeaf } from '../../transcript/leaf.ts';
import { ca } from '../support/pair.ts';
import type { RawClient } from '../support/raw-client.ts';
import { openConversation, prove, world, type Person, type World } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

async function say(client: RawClient, person: Person, words: string): Promise<void> {
  const to = await openConversation(client, person.name === 'alice' ? 'bob' : 'alice');
  const undo = person.lineage.mark();
  const batch = person.lineage.batch([{ to, parts: [Buffer.from(words)] }]);
  try {
    const ack = await client.request(batch, 'msg_ack');
    client.check(ack, batch);
  } catch (error) {
    undo();
    throw error;
  }
}

/** With its modes, as a backup has them. */
const copyOf = (from: string, to: string): void => void execFileSync('cp', ['-a', from, to]);

const until = async (ready: () => Promise<unknown>): Promise<void> => {
  for (;;)
    try {
      await ready();
      return;
    } catch (error) {
      const { code, retryAfterMs } = error as ChatError;
      if (code !== 'UNAVAILABLE') throw error;
      await new Promise((resolve) => setTimeout(resolve, retryAfterMs));
    }
};

const isHeld = (w: World): boolean => w.lines.some(({ event }) => event === 'transcript.held');

/** Bob knows what the copy has, Alice what came after it. */
async function putBack(t: Test, settings: Record<string, string>) {
  const w = await world(t, settings);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  await say(await w.login(alice), alice, 'one');
  const b = await w.login(bob);
  await say(b, bob, 'two');
  await w.stop();
  const copy = join(w.dir, 'copy');
  copyOf(join(w.dir, 'state'), copy);
  await w.restart();
  const { size } = w.server.transcript;
  const a = await w.login(alice);
  const bobs = bob.lineage.mark(); // where he was when the copy was made
  await say(a, alice, 'three');
  const newer = a.newestNote!;
  await w.stop();
  rmSync(join(w.dir, 'state'), { recursive: true });
  copyOf(copy, join(w.dir, 'state'));
  bobs();
  w.aheadMs = 60_000;
  return { w, alice, bob, newer, size };
}

t.test('whoever comes first cannot write before those who know more have come', async (t) => {
  const { w, alice, bob, newer, size } = await putBack(t, { 'transcript.settle': '1h' });
  await w.restart();
  const held = await w.line('transcript.held');
  t.match(held, { size, ms: Number });
  t.ok(Number(held['ms']) > 110_000, 'twice the absence');
  const b = await w.login(bob);
  await t.rejects(say(b, bob, 'a fork?'), { code: 'UNAVAILABLE', retryAfterMs: Number });
  await t.rejects(
    w.reload().then(() => say(b, bob, 'a fork?')),
    { code: 'UNAVAILABLE' },
  );
  t.equal(w.server.transcript.size, size, 'nothing was signed');
  const a = await w.dial(alice);
  await t.rejects(prove(a, alice, { checkpoint: newer }), { code: 'ROLLBACK' });
  t.equal(await w.stop(), 1);
  t.equal(readFileSync(join(w.dir, 'state/transcript/checkpoint'), 'utf8').split('\n')[1], String(size));
  await t.rejects(w.restart(), { code: 'ROLLBACK', message: /this server has signed/ }, 'it remembers');
});

t.test('whose folder is what it was goes on when the time is over', async (t) => {
  const lists = mkdtempSync(join(tmpdir(), 'chat-lists-'));
  t.teardown(() => rmSync(lists, { recursive: true }));
  const list = join(lists, 'ca.crl');
  writeFileSync(list, ca.crl([]));
  const w = await world(t, { 'transcript.settle': '1s', 'tls.crl': [list], 'tls.crl_grace': '1d' });
  const [alice] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  await say(a, alice, 'one');
  const note = a.newestNote!;
  await w.restart();
  t.notOk(isHeld(w), 'a quick restart waits for nobody');
  w.aheadMs = 60_000;
  await w.stop();
  w.aheadMs = 90_000;
  writeFileSync(list, ca.crl([]));
  const { size } = w.server.transcript;
  await w.restart();
  t.ok(isHeld(w), 'a list that is new does not keep it from starting');
  t.equal(w.server.transcript.size, size);
  const again = await w.dial(alice);
  await prove(again, alice, { checkpoint: note });
  await until(() => say(again, alice, 'two'));
  const [first] = await w.server.transcript.entries(size, size + 1);
  t.equal(decodeLeaf(first!).type, 'crl', 'the list comes before what is accepted under it');
});

t.test('a certificate that is renewed meanwhile is taken when the time is over', async (t) => {
  const w = await world(t, { 'transcript.settle': '1s' });
  const alice = await w.person('alice');
  await w.person('bob');
  await say(await w.login(alice), alice, 'one');
  await w.stop();
  w.aheadMs = 60_000;
  await w.restart();
  t.ok(isHeld(w));
  const renewed = ca.server();
  writeFileSync(join(w.dir, 'certs/server.crt'), renewed.pem);
  writeFileSync(join(w.dir, 'certs/server.key'), renewed.keyPem);
  await w.reload();
  t.match(await w.line('certificate.renewed'), { level: 'info' });
  t.notOk(w.lines.some(({ event }) => event === 'config.failed'));
  await until(async () => say(await w.login(alice), alice, 'two'));
});

// Fails when somebody can think that a key is out of use which signs on.
t.test('another key of the log does not take over after an absence, and that is said', async (t) => {
  const w = await world(t, { 'transcript.settle': '1h' });
  await w.stop();
  prepareKey(join(w.dir, 'state/log.key'));
  w.aheadMs = 60_000;
  await w.restart();
  t.match(await w.line('transcript.held'), { level: 'warn', reason: 'rotate' });
  await w.restart();
  t.notOk(isHeld(w));
  t.match(await w.line('transcript.rekeyed'), { level: 'info' });
});

t.test('a transcript that is older than what stands beside it is refused at once', async (t) => {
  const w = await world(t);
  const [alice] = [await w.person('alice'), await w.person('bob')];
  await say(await w.login(alice), alice, 'one');
  await w.stop();
  const copy = join(w.dir, 'copy');
  copyOf(join(w.dir, 'state'), copy);
  const back = (name: string) => {
    rmSync(join(w.dir, 'state', name), { recursive: true });
    copyOf(join(copy, name), join(w.dir, 'state', name));
  };
  await w.restart();
  const a = await w.login(alice);
  for (const words of ['two', 'three']) await say(a, alice, words);
  await w.stop();
  back('transcript');
  await t.rejects(w.restart(), { code: 'ROLLBACK', message: /this server has signed/ }, 'the anchor');
  back('log.anchor');
  await t.rejects(w.restart(), { code: 'ROLLBACK', message: /the database has/ }, 'the database');
});
