/** Who hears that somebody is typing, with connections that write down what they are sent. */
import t from 'tap';
import type { Reply } from '../../protocol/messages.ts';
import type { ContactPolicy } from '../../server/contacts.ts';
import type { Member } from '../../server/members.ts';
import { Typing } from '../../server/typing.ts';
import type { Standing } from '../../store/contract/contacts.ts';
import type { Conversation } from '../../store/contract/conversations.ts';

function desk(policy: ContactPolicy = 'open') {
  const made = {
    ms: 0,
    heard: [] as string[],
    /** what was looked up: standing of user 1 with these */
    asked: [] as number[],
    blocked: new Set<number>(),
    queuedBytes: 0,
    absent: new Set<number>(),
  };
  const store = {
    standing: async (_: number, other: number): Promise<Standing> => {
      made.asked.push(other);
      return made.blocked.has(other) ? 'blocked' : 'strangers';
    },
  };
  const typing = new Typing(store as never, policy, () => made.ms);
  const link = (name: string) => ({
    get queuedBytes() {
      return made.queuedBytes;
    },
    send: (frame: Reply) => {
      if (frame.type === 'typing') made.heard.push(`${name}: ${frame.username} ${frame.on}`);
    },
  });
  const member = (userId: number, device = 1): Member =>
    ({
      user: { id: userId, username: `u${userId}` },
      device: { id: 10 * userId + device },
      link: link(`${userId}/${device}`),
    }) as unknown as Member;
  /** What is heard of user 1 in a conversation of so many. */
  const tells = async (members: number, standing: Conversation['standing'] = 'contacts', isOn = true) => {
    made.heard = [];
    made.asked = [];
    const all = Array.from({ length: members }, (_, i) => ({ userId: i + 1, username: `u${i + 1}`, devices: [] }));
    const conversation = { id: Buffer.alloc(32), epoch: 1, members: all, standing } as never;
    await typing.tell(member(1), conversation, isOn, (userId) =>
      made.absent.has(userId) ? [] : [member(userId), member(userId, 2)],
    );
    return made.heard;
  };
  return Object.assign(made, { typing, member, tells });
}

t.test('all connections of the others are told, and none of one’s own', async (t) => {
  const d = desk();
  t.strictSame(await d.tells(3), ['2/1: u1 true', '2/2: u1 true', '3/1: u1 true', '3/2: u1 true']);
  d.absent.add(2);
  t.strictSame(await d.tells(3, 'contacts', false), ['3/1: u1 false', '3/2: u1 false']);
  t.strictSame(d.asked, [3], 'of who is away nothing is asked');
  t.strictSame(await d.tells(1, 'self'), []);
});

t.test('nobody hears it across a block; in a room the others do', async (t) => {
  const d = desk();
  d.blocked.add(2);
  t.strictSame(await d.tells(3), ['3/1: u1 true', '3/2: u1 true']);
  t.strictSame(await d.tells(2, 'blocked'), []);
  t.strictSame(d.asked, [], 'of two, what is known of their conversation is enough');
});

t.test('of two who may not write to each other neither hears it; who is in one room may', async (t) => {
  for (const policy of ['request', 'closed'] as const) {
    const d = desk(policy);
    t.strictSame(await d.tells(2, 'strangers'), []);
    t.equal((await d.tells(2, 'contacts')).length, 2);
    t.equal((await d.tells(3, 'strangers')).length, 4);
  }
  t.equal((await desk('open').tells(2, 'strangers')).length, 2, 'unless everybody may write to everybody');
});

t.test('large rooms, and connections that do not keep up, are told nothing', async (t) => {
  const d = desk();
  t.equal((await d.tells(50)).length, 98);
  t.equal((await d.tells(51)).length, 0);
  d.queuedBytes = 65_536;
  t.equal((await d.tells(2)).length, 2);
  d.queuedBytes++;
  t.equal((await d.tells(2)).length, 0);
});

t.test('each device may say it once a second, and has saved up a minute', async (t) => {
  const d = desk();
  const [one, other] = [d.member(1), d.member(1, 2)];
  for (let i = 0; i < 60; i++) t.ok(d.typing.admits(one));
  t.notOk(d.typing.admits(one));
  t.ok(d.typing.admits(other), 'another device');
  d.ms += 1001;
  t.ok(d.typing.admits(one));
  t.notOk(d.typing.admits(one));
});
