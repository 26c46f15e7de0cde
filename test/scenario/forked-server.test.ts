/**
 * A server that forks, and brings what people write from one history into the other: two real servers over copies of one log and one key.
 * Nobody sees it alone. Each client finds it in the other's next words, and keeps the two signed notes that prove it to anybody.
 */
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { concat, utf8 } from '../../base/bytes.ts';
import { conversationBundle } from '../../client/conversation-bundle.ts';
import { notesOf } from '../../client/trust.ts';
import type { Request } from '../../protocol/messages.ts';
import type { Member } from '../../server/members.ts';
import { openCheckpoint } from '../../transcript/checkpoint.ts';
import { parseVkey } from '../../transcript/note.ts';
import { verifyProgram } from '../../verify/program.ts';
import { DeviceApp, devicesOf, PATIENCE_MS } from '../support/apps.ts';
import { ca } from '../support/pair.ts';
import { world, type World } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(240_000); // a busy machine is no failure

/** Longer than the time within which a device tells a conversation of one checkpoint only. */
const NEXT_TOLD_MS = 31_000;
/** What would make an honest operator's second server wait for those who know more. */
const UNGUARDED = { 'transcript.settle': '0s' };

/** What is written at one server, for its operator to do with as he likes. */
class Operator {
  readonly #taken: (readonly [Member, Request<'msg_send'>])[] = [];

  constructor({ server: { hub } }: World) {
    const admit = hub.admit.bind(hub);
    hub.admit = (member, frame, charge) => {
      this.#taken.push([member, frame]);
      return admit(member, frame, charge);
    };
  }
  /** As it was signed, in the order in which it came; the author is told nothing of it. */
  async bring({ server: { hub } }: World, author: DeviceApp): Promise<void> {
    for (const [member, frame] of this.#taken.filter(([{ user }]) => user.username === author.person.name)) {
      const link = { peerChain: member.link.peerChain, send: () => {} };
      const silent = { ...member, link, outlet: { checkpoint: () => {} } } as unknown as Member;
      await hub.send(silent, frame.id, await hub.admit(silent, frame, () => {}));
    }
  }
}

interface Sides {
  readonly left: World;
  readonly right: World;
  /** on the left */
  readonly alice: DeviceApp;
  /** on the right */
  readonly bob: DeviceApp;
  readonly operators: { readonly left: Operator; readonly right: Operator };
}

/** Two who have talked at one server, which there are two of from now on. */
async function forked(t: Test): Promise<Sides> {
  testFolder(t);
  const [left, right] = [await world(t, UNGUARDED), await world(t, UNGUARDED)];
  const [alice, atLeft] = await devicesOf(t, left, 'alice', 'bob');
  await alice.say('bob', 'before');
  await atLeft.hears('before');
  await atLeft.say('alice', 'before, too');
  await alice.hears('before, too');
  for (const each of [alice, atLeft]) {
    await each.app.settled();
    await each.leave();
  }
  await left.stop();
  await right.stop();
  const [original, copy] = [join(left.dir, 'state'), join(right.dir, 'state')];
  rmSync(copy, { recursive: true });
  mkdirSync(copy, { mode: 0o700 });
  cpSync(original, copy, { recursive: true });
  await left.restart();
  await right.restart();
  const operators = { left: new Operator(left), right: new Operator(right) };
  const bob = new DeviceApp(t, right, atLeft.person, atLeft.folder);
  return { left, right, alice: await alice.enter(), bob: await bob.enter(), operators };
}

/** The next thing that is said tells of the newest checkpoint that was shown. */
async function sayWithCheckpoint(device: DeviceApp, peer: string, text: string): Promise<void> {
  await device.app.settled();
  device.aheadMs += NEXT_TOLD_MS;
  await device.say(peer, text);
}

/** The notes that are kept with the alarm. */
function provenBy(device: DeviceApp): string[] {
  const alarm = device.vault.ledger.alarms().find(({ code }) => code === 'FORK')!;
  return notesOf(alarm);
}

/** Written to a file, as all that its holder can still prove without the server. */
async function bundleOf(t: Test, device: DeviceApp, peer: string): Promise<string> {
  const path = join(t.testdirName, `${device.person.name}.tar`);
  const { pieces } = await conversationBundle(
    device.app,
    device.app.vault.conversationWith(peer)!,
    { from: undefined, until: undefined },
    'all',
    false,
  );
  writeFileSync(path, concat(...pieces));
  return path;
}
function verify(t: Test, ...args: readonly string[]) {
  const trusted = join(t.testdirName, 'ca.crt');
  writeFileSync(trusted, ca.pem);
  const lines: string[] = [];
  const say = (line: string): void => void lines.push(line);
  const exit = verifyProgram([...args, '--ca', trusted], '0.0.0', { out: say, err: say });
  return { exit, out: lines.join('\n') };
}

t.test('two histories of one length', async (t) => {
  const { left, right, alice, bob, operators } = await forked(t);
  const common = left.server.transcript.size;
  t.equal(right.server.transcript.size, common);
  await alice.say('bob', 'on the left');
  await bob.say('alice', 'on the right');
  t.strictSame(
    [left, right].map(({ server }) => server.transcript.size),
    [common + 2, common + 2],
  );
  await sayWithCheckpoint(alice, 'bob', 'this is what I was shown');
  await sayWithCheckpoint(bob, 'alice', 'and I this');
  t.strictSame([alice.told('alarm'), bob.told('alarm')], [[], []], 'alone nobody can tell');

  await operators.left.bring(right, alice);
  await operators.right.bring(left, bob);
  for (const [device, words] of [
    [bob, 'this is what I was shown'],
    [alice, 'and I this'],
  ] as const) {
    await device.until('the alarm', () => device.told('alarm').length > 0);
    t.strictSame(device.told('alarm'), [
      `FORK/same_size: the server signed two different records of ${common + 2} entries`,
    ]);
    t.match(
      device.events.find(({ on }) => on === 'lost'),
      { willRetry: false, error: { code: 'FORK' } },
      'the session is over',
    );
    await t.rejects(device.say(device === bob ? 'alice' : 'bob', 'nothing more'), { code: 'FORK' });
    t.ok(device.texts().includes(words), 'what was said is read');
  }

  const key = parseVkey(alice.vault.ledger.pinnedLog(left.server.transcript.origin)!.vkey);
  for (const device of [alice, bob]) {
    const notes = provenBy(device).map((note) => openCheckpoint(Buffer.from(note), key));
    const rivals = notes.filter(({ size }) => size === common + 2);
    t.equal(rivals.length, 2, 'both notes are kept');
    t.notSame(rivals[0]!.root, rivals[1]!.root, 'which the log has signed, and which contradict each other');
  }

  const [ours, theirs] = [await bundleOf(t, alice, 'bob'), await bundleOf(t, bob, 'alice')];
  for (const bundle of [ours, theirs]) t.match(verify(t, bundle), { exit: 0 }, 'each by itself is flawless');
  for (const [bundle, other] of [
    [ours, theirs],
    [theirs, ours],
  ] as const) {
    const found = verify(t, bundle, '--compare', other);
    t.match(found, { exit: 14, out: /\nE_FORK msg\/\d{6}: the server showed another entry at this place to / });
    t.match(found.out, /\nEQUIVOCATION at /);
  }
  // Nor does it need the other's bundle: the note that came with the words is enough beside the own one.
  for (const [device, bundle] of [
    [alice, ours],
    [bob, theirs],
  ] as const) {
    const verdicts = provenBy(device).map((note, i) => {
      const known = join(t.testdirName, `${device.person.name}-${i}`);
      writeFileSync(known, note);
      return verify(t, bundle, '--known', known);
    });
    t.match(
      verdicts.find(({ exit }) => exit !== 0),
      { exit: 14, out: /\nEQUIVOCATION at \S+: E_FORK / },
    );
  }
});

t.test('two histories of different lengths, and a server that is asked to prove that they are one', async (t) => {
  const { left, right, alice, bob, operators } = await forked(t);
  const common = left.server.transcript.size;
  await alice.leave();
  const rows: number[] = [];
  await alice.enter((app) => {
    const { id } = app.vault.conversationWith('bob')!;
    for (const text of ['on the left', 'on the left, too']) rows.push(app.send(id, utf8(text)));
  });
  for (const row of rows) await alice.app.waitFor(row, 'accepted', PATIENCE_MS);
  t.equal(left.server.transcript.size, common + 3, 'one batch of two');
  await bob.say('alice', 'on the right');
  await sayWithCheckpoint(alice, 'bob', 'this is what I was shown');
  await operators.left.bring(right, alice);
  await bob.until('the alarm', () => bob.told('alarm').length > 0);
  t.match(bob.told('alarm'), [
    new RegExp(`^FORK/consistency: the record of \\d+ entries does not continue that of ${common + 3}$`),
  ]);
  const unproven = bob.vault.ledger.unproven(left.server.transcript.origin)!;
  t.equal(unproven.size, common + 3);
  t.ok(provenBy(bob).includes(unproven.note), 'the note is kept');
  await bob.leave();
  await t.rejects(bob.enter(), { code: 'FORK' }, 'nor does another login help');
  const [ours, theirs] = [await bundleOf(t, alice, 'bob'), await bundleOf(t, bob, 'alice')];
  t.match(verify(t, theirs, '--compare', ours), { exit: 14, out: /\nEQUIVOCATION at \S+: E_FORK / });
});
