/** Which stamps the server asks for and logs: those of an authority made of openssl, and none of one that answers otherwise. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { equal } from '../../base/bytes.ts';
import { TimeStamper } from '../../server/log/time-stamper.ts';
import { decodeLeaf, encodeLeaf } from '../../transcript/leaf.ts';
import { decodeStamp } from '../../transcript/stamp.ts';
import { parsePem } from '../../x509/certificate.ts';
import { openTimeStamp, trustTimeStamp } from '../../x509/time-stamp.ts';
import { NOW } from '../support/store-world.ts';
import { entry, identity, logOptions, openLog, silent } from '../support/transcript-world.ts';
import { localTsa, serveTsa, type Misdeed, type Tsa } from '../support/tsa.ts';

t.setTimeout(240_000); // a busy machine is no failure
const { server } = identity();
const folder = t.testdir({ one: {}, two: {} });
const [tsa, other] = ['one', 'two'].map((name) => localTsa(join(folder, name))) as [Tsa, Tsa];
const rootsOf = ({ ca }: Tsa) => parsePem(readFileSync(ca, 'latin1'));

async function setting(t: Test, by = tsa) {
  const dir = t.testdir({ log: {} });
  mkdirSync(join(dir, 'state'), { recursive: true });
  const transcript = await openLog(logOptions(join(dir, 'state'), server));
  t.teardown(() => transcript.close().catch(() => undefined));
  const http: { misdeed: Misdeed | null } = { misdeed: null };
  const { url, requests } = await serveTsa(t, by, () => http.misdeed);
  const start = (more: { now?: () => number; timeoutMs?: number } = {}) =>
    new TimeStamper({
      transcript,
      url,
      roots: rootsOf(tsa),
      note: () => transcript.published(),
      enter: async (leavesAt) => {
        const firstIndex = transcript.size;
        const time = Math.max(NOW, transcript.time);
        await transcript.append({ time, entries: leavesAt(time).map(encodeLeaf) });
        return { firstIndex };
      },
      log: silent,
      now: Date.now,
      timeoutMs: 60_000,
      ...more,
    });
  const newest = async () => decodeLeaf((await transcript.entries(transcript.size - 1, transcript.size))[0]!);
  const grow = async () => {
    await transcript.append({ time: NOW, entries: [entry(NOW, 12)] }); // empty TIME entries are no stamps
    await transcript.publish();
  };
  return { transcript, http, requests, start, newest, grow };
}

t.test('stamped and logged', async (t) => {
  const { transcript, requests, start, newest, grow } = await setting(t);
  const stamper = start();
  const note = await transcript.published();
  await stamper.round();
  const leaf = await newest();
  if (leaf.type !== 'time') return t.fail(leaf.type);
  const { checkpoint, token } = decodeStamp(leaf.stamp);
  t.same(Buffer.from(checkpoint), note, 'the note itself');
  trustTimeStamp(openTimeStamp(token), rootsOf(tsa), []);
  await stamper.round();
  await transcript.publish();
  await stamper.round();
  await start().round();
  t.equal(requests.length, 1, 'nothing new but the stamp, also after a restart');
  await grow();
  await stamper.round();
  await transcript.publish();
  t.equal(requests.length, 2);
  await grow();
  await start().round();
  t.equal(requests.length, 3, 'and what is new after a restart');
  t.notOk(equal(requests[0]!.subarray(-30), requests[1]!.subarray(-30)), 'each with a number of its own');
});

t.test('what comes while the authority answers', async (t) => {
  for (const isRestarted of [false, true]) {
    const { transcript, http, requests, start, grow } = await setting(t);
    const stamper = start();
    http.misdeed = (response, honest) =>
      void grow().then(() => response.writeHead(200, { 'content-type': 'application/timestamp-reply' }).end(honest));
    await stamper.round();
    http.misdeed = null;
    await transcript.publish();
    const next = isRestarted ? start() : stamper;
    await next.round();
    t.equal(requests.length, 2, 'is under the next stamp, though nothing else has come');
    await transcript.publish();
    await next.round();
    await start().round();
    t.equal(requests.length, 2, 'and then there is no more');
  }
});

t.test('answers that are no good', async (t) => {
  const { transcript, http, requests, start } = await setting(t);
  const { size } = transcript;
  const refused = async (want: { code: string; sub?: string }, misdeed: Misdeed, more = {}) => {
    http.misdeed = misdeed;
    await t.rejects(start(more).round(), want);
    t.equal(transcript.size, size, 'nothing is logged');
  };
  const reply = (body: Buffer, code = 200, type = 'application/timestamp-reply'): Misdeed => {
    return (response) => void response.writeHead(code, { 'content-type': type }).end(body);
  };
  await refused({ code: 'UNAVAILABLE', sub: 'refused' }, reply(Buffer.alloc(0), 503));
  await refused({ code: 'UNAVAILABLE', sub: 'refused' }, (response, honest) =>
    reply(honest, 200, 'text/html')(response, honest),
  );
  await refused({ code: 'UNAVAILABLE', sub: 'refused' }, reply(Buffer.from('30053003020102', 'hex')));
  await refused({ code: 'BAD_CERT', sub: 'malformed' }, reply(Buffer.from('hello')));
  await refused({ code: 'BAD_CERT', sub: 'malformed' }, reply(Buffer.from('30053003020100', 'hex')));
  await refused({ code: 'TOO_LARGE' }, reply(Buffer.alloc(100_000)));
  await refused({ code: 'SIG_FAIL' }, (response, honest) => {
    honest[honest.length - 1]! ^= 1;
    reply(honest)(response, honest);
  });
  const earlier = tsa.answer(requests[0]!);
  await refused({ code: 'SIG_FAIL', sub: 'time_stamp' }, reply(earlier));
  await refused({ code: 'BAD_CERT' }, (response, honest) => reply(other.answer(requests.at(-1)!))(response, honest));
  await refused({ code: 'SIG_FAIL', sub: 'clock' }, (response, honest) => reply(honest)(response, honest), {
    now: () => Date.now() - 360_000,
  });
  await refused({ code: 'UNREACHABLE', sub: 'no_answer' }, (response) => void response.destroy());
  await refused({ code: 'UNREACHABLE', sub: 'timeout' }, (response) => void response.writeHead(200).write('0'), {
    timeoutMs: 200,
  });
  http.misdeed = null;
  await start().round();
  t.equal(transcript.size, size + 1, 'and an honest one is');
});

t.test('after a clock that was ahead', async (t) => {
  const { transcript, requests, start } = await setting(t);
  const grow = async (by: number) => {
    const time = Date.now() + by;
    await transcript.append({ time, entries: [entry(time, 12)] });
    await transcript.publish();
    return transcript.size;
  };
  const near = await grow(240_000);
  await start().round();
  t.equal(transcript.size, near + 1, 'by so much it may be off');
  const size = await grow(3_600_000);
  const asked = requests.length;
  await start().round();
  t.same([requests.length, transcript.size], [asked, size], 'nobody is asked until the clock has come up');
  const isLate = { code: 'SIG_FAIL', sub: 'clock' };
  await t.rejects(start({ now: () => Date.now() + 3_600_000 }).round(), isLate, 'nor is a stamp logged');
  t.equal(transcript.size, size);
});

t.test('what is newer than the authority says it can be', async (t) => {
  const { transcript, start } = await setting(t);
  const time = Date.now() + 540_000;
  await transcript.append({ time, entries: [entry(time, 12)] });
  await transcript.publish();
  const { size } = transcript;
  const early = start({ now: () => Date.now() + 280_000 }); // less than five minutes from the authority, and from the entry
  await t.rejects(early.round(), { code: 'SIG_FAIL', sub: 'clock' });
  t.equal(transcript.size, size);
});

t.test('what is under way ends with the server', async (t) => {
  const { transcript, http, requests, start } = await setting(t);
  const { size } = transcript;
  http.misdeed = () => undefined;
  const stamper = start({ timeoutMs: 60_000 });
  const round = t.rejects(stamper.round(), { code: 'UNREACHABLE' });
  while (requests.length === 0) await pause(5);
  await stamper.close();
  await round;
  t.equal(transcript.size, size);
});
