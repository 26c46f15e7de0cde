/** Key packages are used up by a state of a group, not by each try to leave it. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { equal, hex, type Fingerprint } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { ASK_AGAIN_MS, TakenPackages } from '../../client/taken-packages.ts';

const device = (): Fingerprint => randomBytes(32) as Uint8Array as Fingerprint;
/** A server with a key package for each of these, as often as it is asked: it begins with the device, and has a number. */
function desk(...stocked: readonly Fingerprint[]) {
  const made = {
    ms: 0,
    asked: [] as number[],
    judgedAtOnce: 0,
    /** numbers of those whose time is over */
    over: (number: number): boolean => number < 0,
    /** what comes when all others are gone */
    last: Infinity,
    /** times that it answers */
    most: Infinity,
    inside: [] as string[],
    group: [1, 1],
    alarms: [] as ChatError[],
  };
  const roster = {
    id: randomBytes(32),
    members: [{ username: 'bob', devices: [...stocked] }],
  };
  let [n, judging] = [0, 0];
  const session = {
    serverNow: () => made.ms,
    alarm: (error: ChatError) => void made.alarms.push(error),
    requester: {
      request: async ({ devices }: { devices: readonly Uint8Array[] }) => {
        made.asked.push(devices.length);
        if (made.asked.length > made.most) throw new ChatError('RATE_LIMIT', 'too much in too short a time');
        const found = devices.filter((each) => stocked.some((one) => equal(one, each)));
        return {
          packages: found.map((each) => ({
            device: each,
            package: Buffer.concat([each, Buffer.of(Math.min(++n, made.last))]),
          })),
        };
      },
    },
  };
  const engine = {
    holder: async (published: Uint8Array) => {
      made.judgedAtOnce = Math.max(made.judgedAtOnce, ++judging);
      await null;
      judging--;
      if (made.over(published[32]!)) throw new ChatError('DECRYPT_FAIL', 'over', { sub: 'freshness' });
      const keys = [`key of ${hex(published.subarray(0, 32))}`];
      return { user: 'bob', deviceId: published.subarray(0, 16), certificate: published.subarray(0, 32), keys };
    },
    keys: async () => made.inside,
  };
  const groups = {
    bindings: { resolving: (_: unknown, work: () => unknown) => work() },
    exclusively: (_: unknown, __: unknown, work: (e: typeof engine) => unknown) => work(engine),
    of: () => ({ generation: made.group[0], conversation: { state: { groupContext: { epoch: made.group[1] } } } }),
  };
  const taken = new TakenPackages(groups as never, () => made.ms);
  const take = async (devices: readonly Fingerprint[], state?: string): Promise<number[]> => {
    const into = state === undefined ? undefined : { state, leaving: [] };
    if (state !== undefined) made.group = state.split('/').map(Number);
    const all = await taken.of(session as never, engine as never, roster as never, devices, [], into);
    return all.map((each) => each[32]!);
  };
  return Object.assign(made, { take, taken });
}

// Fails when each try takes others, and when one that was used is taken for another state.
t.test('a commit that is made again has the same ones; the next one, and a new group, have others', async (t) => {
  const [one, two] = [device(), device()];
  const d = desk(one, two);
  t.strictSame(await d.take([one], '1/5'), [1]);
  t.strictSame(await d.take([one, two], '1/5'), [1, 2], 'the roster has changed, and not the group');
  t.strictSame(d.asked, [1, 1], 'asked for the new one alone');
  t.strictSame(await d.take([one], '1/6'), [3], 'the first one is used up, or a sign of another commit');
  t.strictSame(await d.take([one], '2/6'), [4], 'of another group');
  t.strictSame(await d.take([one]), [5]);
  t.strictSame(await d.take([one]), [6], 'a group that is made');
  d.taken.forget();
  t.strictSame(await d.take([one], '2/6'), [7], 'another connection');
});

t.test('who has none is asked again after a while, or when somebody waits for him; a hundred at a time', async (t) => {
  const [one, none] = [device(), device()];
  const d = desk(one);
  t.strictSame(await d.take([none, one], '1/1'), [1]);
  await d.take([none], '1/1');
  t.strictSame(d.asked, [2]);
  d.taken.wanted(none);
  await d.take([none], '1/1');
  d.ms += ASK_AGAIN_MS;
  await d.take([none], '1/1');
  t.strictSame(d.asked, [2, 1, 1]);
  d.ms -= 86_400_000;
  await d.take([none], '1/1');
  t.strictSame(d.asked, [2, 1, 1, 1], 'also when the clock was set back');
  const many = Array.from({ length: 130 }, device);
  const crowd = desk(...many);
  t.equal((await crowd.take(many, '1/1')).length, 100);
  t.equal(crowd.judgedAtOnce, 32);
});

t.test('whose key another device has is left out, and named; the others come in', async (t) => {
  const [one, two] = [device(), device()];
  const d = desk(one, two);
  d.inside = [`key of ${hex(one)}`];
  t.strictSame(await d.take([one, two], '1/1'), [2]);
  t.match(d.alarms, [{ code: 'DECRYPT_FAIL', sub: 'key_package', message: /^a key package of bob/ }]);
  t.strictSame(await d.take([one], '1/1'), [], 'not asked for again at once');
  t.equal(d.alarms.length, 1);
  const late = d.take([two], '1/2');
  d.group = [1, 3];
  await t.rejects(late, { code: 'STALE', sub: 'epoch' }, 'who is inside now was not looked at');
});

// Fails when one that is over is waited upon like one that is not there.
t.test('of whom the oldest are over, the next are asked for at once', async (t) => {
  const [away, here] = [device(), device()];
  const d = desk(away, here);
  d.over = (number) => number !== 2 && number < 40;
  t.strictSame(await d.take([away, here], '1/1'), [40, 2]);
  t.strictSame(d.asked, [2, ...Array.from({ length: 38 }, () => 1)]);
  t.strictSame(await d.take([away, here], '1/1'), [40, 2], 'and kept as any other');
  t.equal(d.asked.length, 39);
  t.strictSame(d.alarms, []);

  const gone = desk(away);
  [gone.last, gone.over] = [5, () => true];
  t.strictSame(await gone.take([away], '1/1'), []);
  t.equal(gone.asked.length, 6, 'the last resort comes again and again');
  await gone.take([away], '1/1');
  t.equal(gone.asked.length, 6, 'after a while');
  const limited = desk(away, here);
  limited.over = (number) => number !== 2;
  limited.most = 10;
  t.strictSame(await limited.take([away, here], '1/1'), [2], 'nobody waits for him');
  limited.most = 0;
  await t.rejects(limited.take([device()], '1/1'), { code: 'RATE_LIMIT' });
  const endless = desk(away);
  endless.over = () => true;
  t.strictSame(await endless.take([away], '1/1'), []);
  t.equal(endless.asked.length, 101);
});
