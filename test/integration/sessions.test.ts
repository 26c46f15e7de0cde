/** Where the sessions of a device begin and end: what a server admits of it, what is in its log, and what the programs make. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { entriesOf, publishedLog } from '../../server/transcript-files.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { closeLetter, deliveredOf, openingLetter, textOf, type Letter, type SendFrame } from '../support/raw-client.ts';
import { System, type Name } from '../support/system.ts';
import { openConversation, world } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('what a server admits', async (t) => {
  const w = await world(t);
  w.hasGroups = false;
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const [a, b] = [await w.login(alice), await w.login(bob)];
  const to = await openConversation(a, 'bob');
  const { lineage } = alice;
  const commit: Letter = {
    to,
    parts: [Buffer.from('commit')],
    group: { generation: 1, epoch: 0 },
    groupInfo: Buffer.from('info'),
  };
  const says = (text: string): Letter => ({ to, parts: [Buffer.from(text)] });
  const refused = async (batch: SendFrame, code: string, more: object): Promise<void> =>
    void (await t.rejects(a.request(batch, 'msg_ack'), { code, ...more }));
  const accepted = async (batch: SendFrame) => {
    const ack = await a.request(batch, 'msg_ack');
    a.check(ack, batch);
    return ack.messages.map(({ seq }) => seq);
  };
  const at = (i: number, field: string) => ({ field: `msg_send.messages[${i}].${field}` });
  const opening = openingLetter(to, null);
  const tried = (letters: readonly Letter[]) => lineage.batch(letters, { peek: true });

  await refused(tried([{ ...opening, parts: [Buffer.alloc(56).fill(1, 0, 16)] }, commit]), 'BAD_FRAME', at(0, 'parts'));
  await refused(tried([{ ...opening, group: { generation: 1, epoch: 0 } }]), 'BAD_FRAME', at(0, 'group'));
  const named = tried([opening]);
  const withName = { ...named, messages: named.messages.map((each) => ({ ...each, to: 'bob' })) };
  await refused(withName, 'BAD_FRAME', at(0, 'to'));
  await refused(tried([opening, commit, says('too much')]), 'BAD_FRAME', at(1, 'statement'));
  const stranger = { session: randomBytes(16) as never, lastCtr: 3, lastBatch: randomBytes(32) as never };
  const link = { sub: 'e_session_link', ...at(0, 'statement') };
  await refused(tried([openingLetter(to, stranger), commit]), 'LINEAGE', link);

  t.strictSame(await accepted(lineage.batch([opening, commit])), [0, 1], 'with what comes first, also a commit');
  t.strictSame(await accepted(lineage.batch([says('one'), closeLetter(to)])), [2, 0]);
  const back = lineage.mark();
  await refused(lineage.batch([says('and another thing')]), 'LINEAGE', { sub: 'e_closed' });
  back();
  const end = lineage.newSession();
  const wrong = { ...end, lastCtr: end.lastCtr - 1 };
  await refused(tried([openingLetter(to, wrong), says('x')]), 'LINEAGE', link);
  t.strictSame(await accepted(lineage.batch([openingLetter(to, end), says('two')])), [0, 3]);
  const early = { session: lineage.session, lastCtr: lineage.ctr, lastBatch: lineage.prevBatch };
  await accepted(lineage.batch([says('three')]));
  const last = lineage.newSession();
  await refused(tried([openingLetter(to, early), says('x')]), 'LINEAGE', link);
  t.strictSame(await accepted(lineage.batch([openingLetter(to, last), says('four')])), [0, 5]);

  const texts = (await b.delivered(5)).map(textOf);
  t.strictSame(texts, ['commit', 'one', 'two', 'three', 'four'], 'others get what is for them');
  await b.settled();
  t.equal(deliveredOf(b.frames).length, 5);
});

t.test('what the programs make of it: a logout closes, the next login goes on where that ended', async (t) => {
  const system = await System.create(t);
  await system.start();
  const run = async (name: Name, ...args: readonly string[]) => {
    const program = system.client(name, args);
    if (args.includes('--password-stdin')) program.type('correct horse battery');
    const status = await program.ended;
    return { status, out: program.out, err: program.err };
  };
  for (const name of ['alice', 'bob'] as const) t.match(await run(name, 'register', '--password-stdin'), { status: 0 });
  t.match(await run('alice', 'logout', '--json'), {
    status: 0,
    out: '{"v":1,"type":"logged_out","was_logged_in":true,"session_closed":false}\n',
  });
  t.match(await run('alice', 'login', '--password-stdin'), { status: 0 });
  t.match(await run('alice', 'send', 'bob', 'one'), { status: 0 });
  t.match(await run('alice', 'logout', '--json'), {
    status: 0,
    err: '',
    out: '{"v":1,"type":"logged_out","was_logged_in":true,"session_closed":true}\n',
  });
  t.match(await run('alice', 'send', 'bob', 'two'), { status: 4, err: /NOT_LOGGED_IN/ });
  t.match(await run('alice', 'send', 'bob', 'two', '--password-stdin'), { status: 0 });
  t.match(await run('bob', 'recv', '--max', '2'), { status: 0, out: /one[^]*two/ });
  await system.stop();
  t.match(await run('alice', 'logout'), {
    status: 0,
    out: 'logged out\n',
    err: /the session stays open: nothing answers .*\[UNREACHABLE\]/,
  });

  const kinds = new Map<string, number[]>();
  const { checkpoint } = publishedLog(system.transcript);
  for (const { leaf } of entriesOf(system.transcript, checkpoint.size)) {
    if (leaf.type !== 'msg') continue;
    const { session, kind } = decodeMs(leaf.ms);
    const key = Buffer.from(session).toString('hex');
    kinds.set(key, [...(kinds.get(key) ?? []), kind]);
  }
  const [first, second, bobs] = [...kinds.values()];
  t.equal(kinds.size, 3);
  t.strictSame([first![0], first!.at(-1)], [KIND.open, KIND.close]);
  t.equal(first!.filter((kind) => kind === KIND.message).length, 1);
  t.equal(second![0], KIND.open);
  t.notOk(second!.includes(KIND.close));
  t.equal(bobs![0], KIND.open, 'also a device that only receipts');
  const judged = await system.verify([]);
  t.match(judged, { exit: 0, verdict: 'VALID', checked: { warnings: undefined } });
  t.notMatch(judged.text, /SESSION/);

  await system.start();
  t.match(await run('alice', 'login', '--password-stdin'), { status: 0 });
  const file = join(system.dir, 'bob.tar');
  t.match(await run('alice', 'transcript', 'export', 'bob', '-o', file), {
    status: 0,
    out: / complete\n$/,
  });
  await system.stop();
});
