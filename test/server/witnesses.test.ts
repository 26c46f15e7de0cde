/** What the server shows witnesses, what it makes of their answers, honest ones and others, and what survives a restart. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Fields, Log } from '../../runtime/log.ts';
import type { TranscriptLog } from '../../server/log/log.ts';
import { Witnesses } from '../../server/log/witnesses.ts';
import { openCosignatures, parseWitness } from '../../transcript/cosignature.ts';
import { peekCheckpoint } from '../../transcript/checkpoint.ts';
import { formatVkey, parseNote, verifierKey } from '../../transcript/note.ts';
import { cosignatureLine } from '../support/token-writer.ts';
import { entry, identity, logOptions, openLog } from '../support/transcript-world.ts';
import { NOW } from '../support/store-world.ts';
import { WitnessServer, type Lie } from '../support/witness-server.ts';

t.setTimeout(240_000); // a busy machine is no failure
const { server } = identity();

interface Said {
  readonly event: string;
  readonly fields: Fields;
}
function listening(): { log: Log; said: Said[] } {
  const said: Said[] = [];
  const line = (event: string, fields: Fields = {}) => void said.push({ event, fields });
  const log: Log = { debug: line, info: line, warn: line, error: line, with: () => log };
  return { log, said };
}
const grow = async (log: TranscriptLog, count: number) => {
  await log.append({ time: NOW, entries: Array.from({ length: count }, () => entry(NOW)) });
  await log.publish();
};
async function setting(t: Test, names = ['witness.example/w1']) {
  const dir = t.testdir({});
  const transcript = await openLog(logOptions(dir, server));
  t.teardown(() => transcript.close().catch(() => undefined));
  const servers = await Promise.all(names.map((name) => new WitnessServer(name).serve(t)));
  servers.forEach((each) => (each.logs = [transcript.vkey]));
  const { log, said } = listening();
  const start = (of: TranscriptLog, timeoutMs = 60_000) =>
    new Witnesses({
      transcript: of,
      witnesses: servers.map(({ vkey, url }) => ({ key: parseWitness(vkey), url })),
      log,
      now: Date.now,
      timeoutMs,
    });
  const file = (name: string) => readFileSync(join(dir, 'log', name));
  const keys = servers.map(({ vkey }) => parseWitness(vkey));
  const cosigners = (name: string) => openCosignatures(file(name), keys).map(({ by }) => by.witness.name);
  return { dir, transcript, servers, said, start, file, cosigners, witnesses: start(transcript) };
}
const failures = (said: readonly Said[]) =>
  said.flatMap(({ event, fields: { code, sub, status } }) =>
    event === 'witness.cosigned' ? [] : [[event, code ?? status, sub].filter((word) => word !== undefined).join(' ')],
  );

t.test('two witnesses, and a log that grows', async (t) => {
  const { transcript, servers, witnesses, cosigners, file, said } = await setting(t, ['w.example/1', 'w.example/2']);
  const [one, two] = servers as [WitnessServer, WitnessServer];
  const first = transcript.publishedSize;
  await witnesses.round();
  t.same(cosigners('checkpoint'), ['w.example/1', 'w.example/2']);
  t.same(file('cosigned'), file('checkpoint'));
  t.equal(parseNote(file('checkpoint')).signatures.length, 3);
  await witnesses.round();
  t.equal(one.asked.length, 1, 'nothing new: nobody is asked');
  await grow(transcript, 300);
  t.same(cosigners('checkpoint'), [], 'published without waiting for anybody');
  t.equal(peekCheckpoint(file('cosigned')).size, first, 'and what was cosigned stays');
  const note = await witnesses.round();
  t.same(note, file('checkpoint'), 'it answers what it has made');
  t.same(cosigners('checkpoint'), ['w.example/1', 'w.example/2']);
  for (const count of [1, 2, 5, 256]) {
    await grow(transcript, count);
    await witnesses.round();
  }
  t.same(
    two.asked.map(({ status }) => status),
    [200, 200, 200, 200, 200, 200],
    'each continues what it had seen, by its own reckoning',
  );
  t.equal(two.seen.size, transcript.size);
  t.same(failures(said), []);
});

t.test('a restart', async (t) => {
  const { dir, transcript, servers, witnesses, start, cosigners, file } = await setting(t);
  const [one] = servers as [WitnessServer];
  await grow(transcript, 9);
  await witnesses.round();
  const { size } = transcript;
  await transcript.close();
  const again = await openLog(logOptions(dir, server));
  t.teardown(() => again.close());
  t.same(cosigners('checkpoint'), ['witness.example/w1'], 'a start leaves them where they are');
  one.asked.length = 0;
  await start(again).round();
  t.same(one.asked, [{ old: size, size, status: 200 }], 'remembered, and asked all the same');
  rmSync(join(dir, 'log/cosigned'));
  await grow(again, 3);
  one.asked.length = 0;
  await start(again).round();
  t.same(
    one.asked.map(({ old, status }) => [old, status]),
    [
      [0, 409],
      [size, 200],
    ],
    'forgotten, and told by the witness',
  );
  t.same(cosigners('checkpoint'), ['witness.example/w1']);
  writeFileSync(join(dir, 'log/cosigned'), 'damaged');
  await grow(again, 2);
  await start(again).round();
  t.equal(peekCheckpoint(file('cosigned')).size, again.size, 'damaged, and no harm');
  one.seen = { size: 0, root: '' };
  await grow(again, 1);
  await start(again).round();
  t.equal(one.seen.size, again.size, 'a witness that has forgotten everything');
  t.equal(peekCheckpoint(file('cosigned')).size, again.size);
});

t.test('a log that was set back', async (t) => {
  const { dir, transcript, witnesses, start } = await setting(t);
  await grow(transcript, 5);
  await transcript.close();
  cpSync(dir, `${dir}-copy`, { recursive: true });
  t.teardown(() => rmSync(`${dir}-copy`, { recursive: true, force: true }));
  const whole = await openLog(logOptions(dir, server));
  await grow(whole, 5);
  await start(whole).round();
  const copy = await openLog(logOptions(`${dir}-copy`, server));
  await t.rejects(start(copy).round(), { code: 'ROLLBACK' }, 'it knows more than the copy has');
  await whole.close();
  await copy.close();
  await witnesses.close();
});

t.test('a log that was changed', async (t) => {
  const strange = Buffer.alloc(32, 9).toString('base64');
  const forked = async (t: Test, old: (size: number) => number, isBrief: boolean, status: number) => {
    const { transcript, servers, said, start } = await setting(t);
    const [one] = servers as [WitnessServer];
    await grow(transcript, 9);
    const before = transcript.size;
    one.seen = { size: old(before), root: strange };
    one.isBrief = isBrief;
    await t.rejects(start(transcript).round(), { code: 'FORK' }, 'at a start');
    t.same(failures(said), [`witness.forked ${status}`]);
    t.equal(said[0]?.fields.size, old(before));
    t.equal(one.seen.root, strange, 'it has not changed its mind');
  };
  await t.test('a smaller one', (t) => forked(t, (size) => size - 4, false, 422));
  await t.test('one of the same size', (t) => forked(t, (size) => size, false, 409));
  await t.test('one of the same size, in few words', (t) => forked(t, (size) => size, true, 409));
  await t.test('while the server runs', async (t) => {
    const { transcript, servers, said, witnesses, cosigners } = await setting(t);
    const [one] = servers as [WitnessServer];
    await witnesses.round();
    one.seen = { ...one.seen, root: strange };
    await grow(transcript, 1);
    await t.rejects(witnesses.round(), { code: 'FORK' });
    t.same(failures(said), ['witness.forked 422']);
    t.same(cosigners('checkpoint'), []);
  });
  await t.test('who has seen nothing knows of no other', async (t) => {
    const { servers, said, witnesses } = await setting(t);
    const [one] = servers as [WitnessServer];
    one.lie = (response) => void response.writeHead(422).end();
    await witnesses.round();
    t.same(failures(said), ['witness.refused 422']);
  });
});

t.test('after a clock that was ahead', async (t) => {
  const { transcript, servers, said, start, cosigners } = await setting(t);
  const [one] = servers as [WitnessServer];
  const ahead = Date.now() + 3_600_000;
  await transcript.append({ time: ahead, entries: [entry(ahead)] });
  await transcript.publish();
  const witnesses = start(transcript);
  await witnesses.round();
  t.same(failures(said), ['witness.failed SIG_FAIL clock'], 'at a start it is asked, and its answer is of no use');
  t.same(cosigners('checkpoint'), [], 'for it saw what was made later');
  said.length = one.asked.length = 0;
  await witnesses.round();
  t.same(failures(said), ['transcript.ahead']);
  t.ok(Number(said[0]?.fields.ms) > 3_000_000);
  t.equal(one.asked.length, 0, 'then nobody is asked until the clock has come up');
});

t.test('an entry that is of the future by a little, seen by a witness whose clock is behind by a little', async (t) => {
  const { transcript, servers, said, witnesses, cosigners, file } = await setting(t);
  const [one] = servers as [WitnessServer];
  const ahead = Date.now() + 240_000;
  await transcript.append({ time: ahead, entries: [entry(ahead)] });
  await transcript.publish();
  const behind = (minutes: number): Lie => {
    const at = Math.floor(Date.now() / 1000) - 60 * minutes;
    return (response) => void response.writeHead(200).end(cosignatureLine(file('checkpoint'), one.self, at));
  };
  one.lie = behind(4);
  await witnesses.round();
  t.same(failures(said), ['witness.failed SIG_FAIL clock'], 'eight minutes between the two');
  one.lie = behind(0.5);
  await witnesses.round();
  t.same(cosigners('checkpoint'), ['witness.example/w1']);
});

t.test('answers that are no good', async (t) => {
  const { transcript, servers, said, cosigners, witnesses } = await setting(t);
  const [one] = servers as [WitnessServer];
  const stranger = new WitnessServer(one.self.name);
  const otherKey = formatVkey(verifierKey(transcript.origin, stranger.self.publicKey));
  const answers = async (want: string, lie: Lie | null, status?: () => void) => {
    await witnesses.round();
    said.length = 0;
    one.lie = lie;
    status?.();
    await grow(transcript, 1);
    await witnesses.round();
    t.same(failures(said), [want]);
    t.same(cosigners('checkpoint'), [], `${want}: published as it was`);
    one.lie = null;
    one.logs = [transcript.vkey];
  };
  const text =
    (body: string | Buffer, code = 200, type = 'text/plain'): Lie =>
    (response) =>
      void response.writeHead(code, { 'content-type': type }).end(body);
  const note = () => readFileSync(join(t.testdirName, 'log/checkpoint'));
  const now = () => Math.floor(Date.now() / 1000);
  await answers('witness.failed BAD_FRAME', text('OK\n'));
  await answers('witness.failed SIG_FAIL cosignature', text(''));
  await answers('witness.failed BAD_FRAME', text(Buffer.from([0xff, 0xfe, 10])));
  await answers('witness.failed TOO_LARGE', text('— '.repeat(20_000)));
  await answers('witness.failed SIG_FAIL cosignature', (response, line) =>
    // Its last byte is the highest of a number below 2^252: one in sixteen is zero already.
    text(line.replace(/(..)==\n$/, (_, end) => (end === 'AA' ? 'AQ==\n' : 'AA==\n')))(response, line),
  );
  await answers('witness.failed SIG_FAIL cosignature', (response, line) =>
    text(cosignatureLine(note(), { ...one.self, key: stranger.self.key }, now()))(response, line),
  );
  await answers('witness.failed SIG_FAIL cosignature', (response, line) =>
    text(cosignatureLine(note(), stranger.self, now()))(response, line),
  );
  await answers('witness.failed SIG_FAIL clock', (response, line) =>
    text(cosignatureLine(note(), one.self, now() - 3600))(response, line),
  );
  await answers('witness.failed BAD_FRAME', text('7\n', 409));
  await answers('witness.failed BAD_FRAME', text('seven\n', 409, 'text/x.tlog.size'));
  await answers('witness.failed BAD_FRAME', text('07\n', 409, 'text/x.tlog.size'));
  const same = `${transcript.size}\n`; // what the server believes already
  await answers('witness.failed BAD_FRAME', text(same, 409, 'text/x.tlog.size'));
  await answers('witness.failed UNREACHABLE no_answer', (response) => void response.destroy());
  await answers(
    'witness.failed UNREACHABLE no_answer',
    (response) => void response.writeHead(307, { location: `${one.url}/add-checkpoint` }).end(),
  );
  await answers('witness.refused 503', text('', 503));
  await answers('witness.refused 404', null, () => (one.logs = ['elsewhere.example/log/n1+00000000+AQ==']));
  await answers('witness.refused 403', null, () => (one.logs = [otherKey]));
  said.length = 0;
  await witnesses.round();
  t.same(cosigners('checkpoint'), ['witness.example/w1'], 'and the next round makes up for it');
});

t.test('slow ones', async (t) => {
  const { transcript, servers, said, start, cosigners } = await setting(t, ['w.example/1', 'w.example/2']);
  const [one] = servers as [WitnessServer];
  one.lie = (response) => void response.writeHead(200).write('— ');
  await grow(transcript, 1);
  const ends: (() => void)[] = [];
  const restore = t.intercept(AbortSignal, 'timeout', {
    value: () => {
      const time = new AbortController();
      ends.push(() => time.abort());
      return time.signal;
    },
  });
  const late = start(transcript).round();
  while (!said.some(({ event }) => event === 'witness.cosigned') || one.asked.length === 0) await pause(5);
  for (const end of ends) end(); // for whom nobody waits any longer
  await late;
  restore.restore();
  t.same(failures(said), ['witness.failed UNREACHABLE timeout']);
  t.same(cosigners('checkpoint'), ['w.example/2'], 'holds up no other');
  said.length = 0;
  const asking = start(transcript, 60_000);
  const round = asking.round();
  while (one.asked.length < 2) await pause(5);
  await asking.close();
  await round;
  t.same(failures(said), [], 'what is under way ends with the server, and is no failure');
});

t.test('what is kept has not fewer witnesses than before', async (t) => {
  const { transcript, servers, witnesses, cosigners, file } = await setting(t, ['w.example/1', 'w.example/2']);
  const [one] = servers as [WitnessServer];
  await grow(transcript, 1);
  await witnesses.round();
  const { size } = peekCheckpoint(file('cosigned'));
  one.lie = (response) => void response.writeHead(500).end();
  await grow(transcript, 1);
  await witnesses.round();
  t.same(cosigners('checkpoint'), ['w.example/2']);
  t.same([peekCheckpoint(file('cosigned')).size, cosigners('cosigned').length], [size, 2]);
  one.lie = null;
  await witnesses.round();
  t.equal(cosigners('checkpoint').length, 2, 'asked again, for the same checkpoint');
  t.same([peekCheckpoint(file('cosigned')).size, cosigners('cosigned').length], [size + 1, 2]);
});

t.test('what was published meanwhile stays', async (t) => {
  const { transcript, servers, witnesses, file, cosigners } = await setting(t);
  const [one] = servers as [WitnessServer];
  await grow(transcript, 1);
  let held: (() => void) | null = null;
  one.lie = (response, line) => void (held = () => void response.writeHead(200).end(line));
  const { size } = transcript;
  const round = witnesses.round();
  while (held === null) await pause(5);
  await grow(transcript, 4);
  (held as () => void)();
  await round;
  t.equal(peekCheckpoint(file('checkpoint')).size, size + 4, 'an older checkpoint never takes the place of a newer');
  t.equal(peekCheckpoint(file('cosigned')).size, size);
  t.same(cosigners('cosigned'), ['witness.example/w1']);
});
