import t from 'tap';
import type { ConversationId } from '../../base/bytes.ts';
import { Conversations } from '../../server/conversations.ts';
import type { Conversation } from '../../store/contract/conversations.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const idOf = (byte: number) => Buffer.alloc(32, byte) as Uint8Array as ConversationId;

t.test(
  'many who ask for the same at once are answered together, none with what was read before it asked',
  async (t) => {
    const reads: { readonly id: ConversationId; readonly answer: (epoch: number | Error) => void }[] = [];
    const conversation = (id: ConversationId): Promise<Conversation | null> =>
      new Promise((resolve, reject) => {
        const answer = (epoch: number | Error): void =>
          epoch instanceof Error ? reject(epoch) : resolve({ id, epoch, members: [], standing: 'contacts' });
        reads.push({ id, answer });
      });
    const conversations = new Conversations({ conversation }, () => 0);
    const epochs: (number | string)[] = [];
    const ask = (id = idOf(1)): void => {
      const at = epochs.push('waits') - 1;
      conversations.find(id, true).then(
        (found) => (epochs[at] = found!.epoch),
        ({ message }: Error) => (epochs[at] = message),
      );
    };
    for (let i = 0; i < 4; i++) ask();
    ask(idOf(2));
    t.equal(reads.length, 2, 'one of each');
    reads[0]!.answer(1);
    reads[1]!.answer(7);
    await turn();
    t.strictSame(epochs, [1, 'waits', 'waits', 'waits', 7], 'who came later may know of something newer');
    t.equal(reads.length, 3);
    ask();
    reads[2]!.answer(2);
    await turn();
    t.strictSame(epochs, [1, 2, 2, 2, 7, 'waits']);
    ask();
    reads[3]!.answer(new Error('down'));
    await turn();
    t.strictSame(epochs.slice(5), ['down', 'waits'], 'who has waited for that asks by himself');
    reads[4]!.answer(3);
    await turn();
    t.equal(epochs[6], 3);
    ask();
    t.equal(reads.length, 6, 'and nothing is left of it');
    reads[5]!.answer(4);
    await turn();
    t.equal((await conversations.find(idOf(1)))!.epoch, 4, 'it is remembered');
    t.equal(reads.length, 6);
  },
);

t.test('nothing is remembered for longer when the clock is set back', async (t) => {
  let [now, epoch] = [1_000_000_000, 0];
  const conversation = async (id: ConversationId) => ({
    id,
    epoch: ++epoch,
    members: [],
    standing: 'contacts' as const,
  });
  const conversations = new Conversations({ conversation }, () => now);
  const found = async () => (await conversations.find(idOf(1)))!.epoch;
  t.strictSame([await found(), await found()], [1, 1]);
  now -= 86_400_000;
  t.strictSame([await found(), await found()], [2, 2]);
  now += 60_000;
  t.equal(await found(), 3);
});

t.test('what has changed is asked anew, also if it was being read meanwhile, and the rest is not', async (t) => {
  const reads: number[] = [];
  let gate: Promise<void> = Promise.resolve();
  const conversation = async (id: ConversationId): Promise<Conversation> => {
    reads.push(id[0]!);
    await gate;
    const member = (userId: number) => ({
      userId,
      username: `u${userId}`,
      devices: [{ id: 10 * userId + 1, fingerprint: Buffer.alloc(32) as never }],
    });
    return { id, epoch: 1, members: [member(0), member(id[0]!)], standing: 'contacts' };
  };
  const conversations = new Conversations({ conversation }, () => 0);
  const readAgain = async (): Promise<number[]> => {
    reads.length = 0;
    for (const byte of [1, 2, 3]) await conversations.find(idOf(byte));
    return [...reads];
  };
  t.strictSame(await readAgain(), [1, 2, 3]);
  t.strictSame(await readAgain(), []);
  const changes: readonly (readonly [name: string, forget: () => void, concerned: number[]])[] = [
    ['one of them', () => conversations.forget(idOf(1)), [1]],
    ['a user', () => conversations.forgetUser(3), [3]],
    ['a user of all', () => conversations.forgetUser(0), [1, 2, 3]],
    ['a device', () => conversations.forgetDevices([99, 11]), [1]],
    ['a device that is nowhere', () => conversations.forgetDevices([99]), []],
  ];
  for (const [name, forget, concerned] of changes) {
    forget();
    t.strictSame(await readAgain(), concerned, name);
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    const old = conversations.find(idOf(1), true);
    forget();
    resolve();
    await old;
    t.ok((await readAgain()).includes(1) || !concerned.includes(1), `${name}: while it is read`);
  }
});

t.test('of very many those that were read last are remembered', async (t) => {
  const reads: string[] = [];
  const conversation = async (id: ConversationId): Promise<Conversation> => {
    reads.push(Buffer.from(id).toString('hex'));
    return { id, epoch: 1, members: [], standing: 'contacts' };
  };
  const conversations = new Conversations({ conversation }, () => 0);
  const find = (number: number) => {
    const id = Buffer.alloc(32);
    id.writeUInt32BE(number);
    return conversations.find(id as Uint8Array as ConversationId);
  };
  for (let number = 0; number < 20_000; number++) await find(number);
  const { length } = reads;
  await find(19_999);
  t.equal(reads.length, length);
  await find(0);
  t.equal(reads.length, length + 1, 'it had to make room');
});
