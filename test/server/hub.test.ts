/** Who is connected and who is told what, with a store and a sequencer that answer when the test says so. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { hex, type ConversationId, type Fingerprint } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { idKey } from '../../base/id-key.ts';
import { MAX_SEND_BYTES, type Reply } from '../../protocol/messages.ts';
import type { Charge } from '../../server/charges.ts';
import { ConversationAccess } from '../../server/conversation-access.ts';
import { Conversations } from '../../server/conversations.ts';
import { Hub } from '../../server/hub.ts';
import type { Member } from '../../server/members.ts';
import type { Accepted, Submission } from '../../server/submission.ts';
import type { PresenceChoice, Seen, User } from '../../store/contract/accounts.ts';
import type { Standing } from '../../store/contract/contacts.ts';
import type { Conversation, Group } from '../../store/contract/conversations.ts';
import type { Device } from '../../store/contract/devices.ts';
import type { ContactPolicy } from '../../server/contacts.ts';
import { credentials, memoryLog } from '../support/pair.ts';
import { authority } from '../support/pki.ts';
import { KIND } from '../../transcript/statement.ts';
import { cursorsOf, Lineage, type ConversationFrame, type Letter, type SendFrame } from '../support/raw-client.ts';

type Message = SendFrame['messages'][number];
const ORIGIN = 'localhost/log/n1';
const turn = (): Promise<void> => new Promise(setImmediate);
const later = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 2));
const FREE: Charge = () => {};
const own = credentials(authority().client('alice', { key: 'ed25519' }));

const VISIBLE = { state: 'online', showsLastSeen: true } as const;

class Desk {
  now = 1_000_000;
  readonly names = ['', 'alice', 'bob', 'carol'];
  readonly log = memoryLog();
  readonly usage = new Map<number, { bytes: number; rows: number }>();
  shares: { senderUserId: number; bytes: number; rows: number }[] = [];
  standing: Standing = 'strangers';
  contactPolicy: ContactPolicy = 'open';
  asked: string[] = [];
  acknowledged: (readonly [device: number, cursors: number[]])[] = [];
  onAcknowledged: () => void = () => {};
  isDown = false;
  /** hash → size of what alice's device has put */
  readonly blobs = new Map<string, number>();
  keptInfoBytes = 0;
  /** gate of store.conversation() */
  gate: Promise<void> = Promise.resolve();
  /** gate of store.backlog() */
  reading: Promise<void> = Promise.resolve();
  /** devices whose queue was read */
  pages: number[] = [];
  /** gate of store.setLastSeen() */
  leaving: Promise<void> = Promise.resolve();
  /** gate of store.standing() */
  judging: Promise<void> = Promise.resolve();
  /** gate of store.setPresence() */
  choosing: Promise<void> = Promise.resolve();
  /** of users, as the store has it */
  readonly presences = new Map<number, PresenceChoice>();
  deviceEpoch = 1;
  devices = new Map([
    [1, [11]],
    [2, [21]],
    [3, [31]],
  ]);
  lastSeen: number[] = [];
  group: Group | null = null;
  /** of the conversation */
  members = [1, 2];
  readonly conversationId = randomBytes(32) as Uint8Array as ConversationId;
  readonly submitted: Submission[] = [];
  /** whether the log has the batch */
  isKnown = false;
  accept: (submission: Submission) => Accepted = (submission) => this.accepted(submission);
  readonly hub: Hub;
  readonly access: ConversationAccess;

  constructor() {
    const user = (name: string): User | null => {
      const id = this.names.indexOf(name);
      return id < 1 ? null : this.user(id);
    };
    const store = {
      findUser: async (name: string) => user(name),
      setLastSeen: async (seen: readonly Seen[]) => {
        await this.leaving;
        this.lastSeen.push(...seen.map(({ userId }) => userId));
      },
      setPresence: async (id: number, choice: PresenceChoice) => {
        await this.choosing;
        this.presences.set(id, choice);
      },
      backlog: async (id: number) => (this.pages.push(id), await this.reading, { items: [], isWhole: true }),
      queueUsages: async (ids: readonly number[]) => {
        this.asked.push(`usage ${ids.join()}`);
        return ids.map((id) => this.usage.get(id) ?? { bytes: 0, rows: 0 });
      },
      acknowledge: async (id: number, cursors: readonly number[]) => {
        this.acknowledged.push([id, [...cursors]]);
        this.onAcknowledged();
        if (this.isDown) throw new ChatError('STORE_FAILED', 'the database is away');
      },
      queueShares: async () => this.shares,
      conversation: async (id: ConversationId): Promise<Conversation | null> => {
        this.asked.push('conversation');
        const found = hex(id) === hex(this.conversationId) ? this.conversation : null;
        await this.gate;
        return found;
      },
      openDirect: async () => this.conversation,
      group: async () => this.group,
      blobSizes: async (id: number, hashes: readonly Uint8Array[]) =>
        hashes.map((hash) => (id === 11 ? (this.blobs.get(hex(hash)) ?? null) : null)),
      keptInfoBytes: async (id: number) => (id === 1 ? this.keptInfoBytes : 0),
      standing: async () => {
        const { standing } = this;
        await this.judging;
        return standing;
      },
    };
    const sequencer = {
      submit: async (submission: Submission, deliver: (accepted: Accepted) => Promise<void> | void) => {
        this.submitted.push(submission);
        await deliver(this.accept(submission));
      },
      isKnown: async () => this.isKnown,
    };
    const conversations = new Conversations(store, () => this.now);
    this.access = new ConversationAccess({
      store: store as never,
      conversations,
      origin: ORIGIN,
      contactPolicy: this.contactPolicy,
      now: () => this.now,
    });
    this.hub = new Hub({
      store: store as never,
      conversations,
      sequencer: sequencer as never,
      origin: ORIGIN,
      log: this.log.log,
      now: () => this.now,
      ttlMs: 1000,
      queueBytes: 10_000,
      settleAgainMs: 1,
      contactPolicy: this.contactPolicy,
    });
  }

  get conversation(): Conversation {
    const member = (userId: number) => ({
      userId,
      username: this.names[userId]!,
      devices: (this.devices.get(userId) ?? []).map((id) => ({ id, fingerprint: fingerprintOf(id) })),
    });
    return {
      id: this.conversationId,
      epoch: this.deviceEpoch,
      members: this.members.map(member),
      standing: this.standing,
    };
  }
  get frame(): ConversationFrame {
    const { id, epoch, members } = this.conversation;
    return {
      conversation: id,
      epoch,
      members: members.map(({ username, devices }) => ({ username, devices: devices.map((d) => d.fingerprint) })),
    };
  }

  /** As the store has him. */
  user(id: number): User {
    return { id, username: this.names[id], lastSeen: null, presence: this.presences.get(id) ?? VISIBLE } as User;
  }

  /** @param user as he was read @param judgedAt before that; left out: just now */
  join(device: number, user: User = this.user(Math.floor(device / 10)), judgedAt?: number): Joined {
    const userId = user.id;
    const frames: Reply[] = [];
    const closed: unknown[] = [];
    const link = {
      peerChain: own.chain,
      queuedBytes: 0,
      send: (frame: Reply) => void (closed.length > 0 || frames.push(frame)),
      close: (code?: string) => void closed.push(code),
    };
    const member = this.hub.join(
      {
        user,
        device: { id: device, userId, fingerprint: fingerprintOf(device) } as Device,
        keyHashes: [own.chain[0].spkiHash],
      },
      link as never,
      judgedAt,
    );
    return { member, frames, closed };
  }

  accepted({ messages }: Submission): Accepted {
    const hashes = messages.map(() => ({
      statementHash: fingerprintOf(0) as never,
      leafHash: fingerprintOf(0) as never,
    }));
    return {
      firstIndex: 1,
      serverTime: 1,
      repeated: false,
      unoffered: false,
      evidence: {
        algorithm: 1,
        signature: Buffer.alloc(64),
        batch: Buffer.alloc(172),
        ack: Buffer.alloc(40),
        checkpoint: { size: 7, note: 'note' },
        hashes,
      },
      messages: messages.map((m, i) => ({
        ...m,
        ...hashes[i]!,
        index: 2 + i,
        seq: 1 + i,
        cursors: m.recipients.map((_, r) => 100 + 10 * i + r),
      })),
    };
  }
}

interface Joined {
  readonly member: Member;
  readonly frames: Reply[];
  readonly closed: unknown[];
}
const fingerprintOf = (id: number): Fingerprint => Buffer.alloc(32, `device ${id} `) as Uint8Array as Fingerprint;
const lineage = (): Lineage => new Lineage(fingerprintOf(11), own.privateKey, ORIGIN);
const types = ({ frames }: Joined): string[] => frames.map(({ type }) => type);

t.test(
  'a message that disappears waits no longer than it says, and never longer than the server keeps anything',
  async (t) => {
    const desk = new Desk();
    const a = desk.join(11);
    desk.join(21);
    await turn();
    const expiryOf = async (expires_at: number): Promise<number | undefined> => {
      const frame = lineage().texts(desk.frame, ['x']);
      const messages = frame.messages.map((message) => ({ ...message, expires_at }));
      return (await desk.hub.admit(a.member, { ...frame, messages, id: 9 }, FREE)).messages[0]?.expiresAt;
    };
    t.equal(await expiryOf(1_000_500), 1_000_500);
    t.equal(await expiryOf(9_000_000), 1_001_000);
    t.equal(await expiryOf(5), 5, 'one that is over already goes at the next look');
  },
);

t.test('the sender’s answer comes first; then his other devices and the other’s; nobody twice', async (t) => {
  const desk = new Desk();
  desk.devices.set(1, [11, 12]);
  const [a, phone, b] = [desk.join(11), desk.join(12), desk.join(21)];
  await turn();
  const order: string[] = [];
  for (const [name, { member }] of Object.entries({ a, phone, b })) {
    const { link } = member as { link: { send: (frame: Reply) => void } };
    const before = link.send;
    link.send = (frame) => (order.push(`${name} ${frame.type}`), before(frame));
  }
  const submission = await desk.hub.admit(a.member, { ...lineage().texts(desk.frame, ['x', 'y']), id: 9 }, FREE);
  t.strictSame(
    submission.messages.map(({ recipients, peers, expiresAt }) => [recipients, peers, expiresAt]),
    [
      [[12, 21], [21], 1_001_000],
      [[12, 21], [21], 1_001_000],
    ],
  );
  await desk.hub.send(a.member, 9, submission);
  t.strictSame(order, [
    'a checkpoint',
    'a msg_ack',
    'phone checkpoint',
    'phone msg_deliver',
    'b checkpoint',
    'b msg_deliver',
  ]);
  t.match(a.frames.at(-1), {
    id: 9,
    messages: [
      { seq: 1, queued: false },
      { seq: 2, queued: false },
    ],
  });
  desk.accept = (s) => ({ ...desk.accepted(s), repeated: true });
  await desk.hub.send(a.member, 10, submission);
  t.strictSame([order.slice(6), desk.pages.slice(3)], [['a msg_ack'], []], 'a repetition delivers nothing');
  desk.accept = (s) => ({ ...desk.accepted(s), repeated: true, unoffered: true });
  await desk.hub.send(a.member, 10, submission);
  t.strictSame(desk.pages.slice(3).sort(), [12, 21], 'but what the first time left in their queues is looked for');
  desk.hub.leave(b.member);
  await desk.hub.send(a.member, 11, submission);
  t.match(a.frames.at(-1), { messages: [{ queued: true }, { queued: true }] }, 'his own phone does not count');
});

t.test('a conversation is looked up once, and never from before a device was added', async (t) => {
  const desk = new Desk();
  const { member } = desk.join(11);
  await desk.access.find(member, desk.conversationId);
  await desk.access.find(member, desk.conversationId);
  t.equal(desk.asked.length, 1);
  desk.now += 60_001;
  await desk.access.find(member, desk.conversationId);
  t.equal(desk.asked.length, 2, 'not for ever');
  await desk.access.find(member, desk.conversationId, true);
  t.equal(desk.asked.length, 3, 'fresh when asked for');

  desk.hub.forgetConversations(2);
  const gate = Promise.withResolvers<void>();
  desk.gate = gate.promise;
  const old = desk.access.find(member, desk.conversationId);
  desk.deviceEpoch = 2; // bob's phone
  desk.hub.forgetConversations(2);
  gate.resolve();
  t.equal((await old).epoch, 1, 'it was asked for before');
  t.equal((await desk.access.find(member, desk.conversationId)).epoch, 2, 'and is not remembered');
  desk.deviceEpoch = 3;
  desk.hub.changed({ ...desk.join(22).member, isNewDevice: false, renewed: null });
  t.equal((await desk.access.find(member, desk.conversationId)).epoch, 2);
  desk.hub.changed({ ...desk.join(22).member, isNewDevice: true, renewed: null });
  t.equal((await desk.access.find(member, desk.conversationId)).epoch, 3, 'a login has made another device');
  desk.hub.forgetConversations(3);
  desk.asked = [];
  await desk.access.find(member, desk.conversationId);
  t.equal(desk.asked.length, 0, 'what changes for others is no matter');
  const carol = desk.join(31);
  for (const id of [desk.conversationId, randomBytes(32)])
    await t.rejects(desk.access.find(carol.member, id), { code: 'NOT_FOUND', field: 'conversation' });
});

t.test('quota is asked once a batch and device, not of who keeps up, and counts messages without a body', async (t) => {
  const desk = new Desk();
  const a = desk.join(11);
  await turn();
  const texts = Array.from({ length: 100 }, () => '');
  const admit = () => desk.hub.admit(a.member, { ...lineage().texts(desk.frame, texts), id: 1 }, FREE);
  await admit();
  t.strictSame(desk.asked, ['conversation', 'usage 21']);
  const quota = { code: 'QUOTA', field: 'msg_send.messages[0].statement' };
  desk.usage.set(21, { bytes: 10_001, rows: 0 });
  await t.rejects(admit(), quota);
  desk.usage.set(21, { bytes: 0, rows: 20 });
  await t.rejects(admit(), quota);
  desk.isKnown = true;
  t.equal((await admit()).messages.length, 100, 'what is in the log already gets its answer again');
  desk.isKnown = false;
  desk.usage.set(21, { bytes: 9_488, rows: 1 });
  await admit();
  desk.now += 5000;
  desk.shares = [{ senderUserId: 1, bytes: 0, rows: 1 }];
  await t.rejects(admit(), quota, 'his own part of what waits counts twice');
  desk.usage.set(21, { bytes: 20_000, rows: 1 });
  const reading = Promise.withResolvers<void>();
  desk.reading = reading.promise;
  const b = desk.join(21);
  await t.rejects(admit(), quota, 'connected, and behind');
  reading.resolve();
  await turn();
  desk.asked = [];
  await admit();
  t.strictSame(desk.asked, [], 'what waits for him is on its way');
  desk.hub.leave(b.member);
  desk.devices.set(2, [21, 22]);
  desk.hub.forgetConversations(2);
  desk.asked = [];
  t.strictSame((await admit()).messages[0]?.recipients, [22], 'the other device has room');
  t.strictSame(desk.asked, ['conversation', 'usage 21,22'], 'one question for all of them');
  desk.devices.set(2, []);
  desk.hub.forgetConversations(2);
  await t.rejects(admit(), { code: 'UNAVAILABLE', retryAfterMs: 60_000 }, 'nobody there at all: the sender keeps it');
});

t.test('what a batch costs is charged before anybody is asked who has room, and to members alone', async (t) => {
  const desk = new Desk();
  const [a, carol] = [desk.join(11), desk.join(31)];
  await turn();
  const charged: unknown[] = [];
  const charge = (...args: unknown[]) => void charged.push(args);
  const admit = (member: Member, to: Charge) =>
    desk.hub.admit(member, { ...lineage().texts(desk.frame, ['x', 'y', 'z']), id: 1 }, to);
  await admit(a.member, charge);
  t.match(charged, [[idKey(desk.conversationId), 3, 1]], 'three messages, of which each goes to one device');
  desk.asked = [];
  const refusal = new ChatError('RATE_LIMIT', 'too much');
  await t.rejects(
    admit(a.member, () => {
      throw refusal;
    }),
    refusal,
  );
  t.strictSame(desk.asked, [], 'nothing was asked');
  await t.rejects(admit(carol.member, charge), { code: 'NOT_FOUND' });
  t.equal(charged.length, 1, 'a stranger uses up nothing of theirs');
});

t.test(
  'a batch that goes to too many devices is refused as a whole, before it is charged or anybody is asked',
  async (t) => {
    const desk = new Desk();
    const a = desk.join(11);
    desk.devices.set(
      2,
      Array.from({ length: 1000 }, (_, i) => 1000 + i),
    );
    await turn();
    desk.asked = [];
    const charged: unknown[] = [];
    const charge = (...args: unknown[]) => void charged.push(args);
    const admit = (count: number) => {
      const texts = Array.from({ length: count }, () => 'x');
      return desk.hub.admit(a.member, { ...lineage().texts(desk.frame, texts), id: 1 }, charge);
    };
    await t.rejects(admit(17), { code: 'TOO_LARGE', field: 'msg_send.messages' });
    t.strictSame([charged, desk.asked], [[], ['conversation']], 'no queue');
    t.equal((await admit(16)).messages[15]?.recipients.length, 1000);
    t.match(charged, [[idKey(desk.conversationId), 16, 1000]]);
    desk.isKnown = true;
    const { refusal, messages } = await admit(17);
    t.strictSame([refusal, messages[16]?.recipients.length], [null, 1000], 'what is in the log already goes to all');
  },
);

t.test('few queues are read at a time, the beginnings of all before what is left of long ones', async (t) => {
  const desk = new Desk();
  const reading = Promise.withResolvers<void>();
  desk.reading = reading.promise;
  for (let i = 0; i < 40; i++) desk.join(10 * (100 + i));
  await turn();
  t.equal(desk.pages.length, 16, 'of 32 items each, as many as two whole pages');
  reading.resolve();
  while (desk.pages.length < 40) await turn();
  t.equal(new Set(desk.pages).size, 40);
});

t.test('a device that has just acknowledged what waited has room, though nobody has told the store', async (t) => {
  const desk = new Desk();
  const a = desk.join(11);
  const reading = Promise.withResolvers<void>();
  desk.reading = reading.promise;
  const b = desk.join(21);
  await turn();
  desk.usage.set(21, { bytes: 20_000, rows: 1 });
  const admit = () => desk.hub.admit(a.member, { ...lineage().texts(desk.frame, ['text']), id: 1 }, FREE);
  const quota = { code: 'QUOTA', field: 'msg_send.messages[0].statement' };
  await t.rejects(admit(), quota);
  t.strictSame(desk.acknowledged, []);
  b.member.unsettled.add(5);
  desk.onAcknowledged = () => desk.usage.delete(21);
  t.strictSame((await admit()).messages[0]?.recipients, [21]);
  t.strictSame(desk.acknowledged, [[21, [5]]]);
  desk.usage.set(21, { bytes: 20_000, rows: 1 });
  desk.asked = [];
  await t.rejects(admit(), quota, 'full all the same');
  t.strictSame(desk.asked, ['usage 21'], 'and asked once');
  reading.resolve();
});

t.test('who is no member any more gets the answer to what the log has, and writes nothing', async (t) => {
  const desk = new Desk();
  const carol = desk.join(31);
  const admit = (to = desk.frame) => desk.hub.admit(carol.member, { ...lineage().texts(to, ['x']), id: 1 }, FREE);
  const gone = { ...desk.frame, conversation: randomBytes(32) };
  const refusal = { code: 'NOT_FOUND', field: 'conversation' };
  for (const to of [desk.frame, gone]) await t.rejects(admit(to), refusal);
  desk.isKnown = true;
  t.match(await admit(), { refusal, messages: [{ recipients: [11, 21] }] });
  t.match(await admit(gone), { refusal, messages: [{ recipients: [] }] });
});

t.test('nothing is admitted for more devices than the store can keep count of', async (t) => {
  const desk = new Desk();
  const a = desk.join(11);
  const admit = (count: number) => {
    desk.devices.set(
      2,
      Array.from({ length: count }, (_, i) => 21 + i),
    );
    desk.hub.forgetConversations(2);
    return desk.hub.admit(a.member, { ...lineage().texts(desk.frame, ['x']), id: 1 }, FREE);
  };
  t.equal((await admit(4096)).messages[0]?.recipients.length, 4096);
  await t.rejects(admit(4097), { code: 'QUOTA', field: 'msg_send.messages[0].statement' });
});

t.test('a device that skips what it is sent fills its queue, and no more than that', async (t) => {
  const desk = new Desk();
  const [a, b] = [desk.join(11), desk.join(21)];
  await turn();
  const send = async () =>
    desk.hub.send(a.member, 1, await desk.hub.admit(a.member, { ...lineage().texts(desk.frame, ['x']), id: 1 }, FREE));
  desk.usage.set(21, { bytes: 10_001, rows: 1 });
  await send();
  t.equal(types(b).at(-1), 'msg_deliver');
  b.member.outlet.skipped([99]);
  await send();
  b.member.outlet.skipped([100]);
  await t.rejects(send(), { code: 'QUOTA' });
});

t.test('a commit is for every device that has room, and is not refused when none has', async (t) => {
  const desk = new Desk();
  desk.devices.set(1, [11, 12]);
  desk.devices.set(2, [21, 22]);
  const a = desk.join(11);
  const commit = (more: object = {}, lies: object = {}) => {
    const letter = { to: desk.frame, parts: [Buffer.from('commit')], group: { generation: 1, epoch: 0 } };
    const frame = lineage().batch([{ ...letter, groupInfo: Buffer.from('info'), ...more }], lies);
    return desk.hub.admit(a.member, { ...frame, id: 1 }, FREE);
  };
  const { messages } = await commit();
  t.match(messages, [{ recipients: [12, 21, 22], group: { generation: 1, epoch: 0 }, groupInfo: Buffer.from('info') }]);
  desk.usage.set(21, { bytes: 20_000, rows: 1 });
  desk.usage.set(22, { bytes: 20_000, rows: 1 });
  t.strictSame((await commit()).messages[0]!.recipients, [12]);
  desk.devices.set(2, []);
  desk.hub.forgetConversations(2);
  t.strictSame((await commit()).messages[0]!.recipients, [12], 'removing the last device of somebody is a commit');
  const stale = { code: 'STALE', sub: 'roster', field: 'msg_send.messages[0].statement' };
  await t.rejects(commit({ to: { ...desk.frame, epoch: 7 } }), stale);
});

t.test(
  'a commit refers to what its device has put, or is refused; also when that is gone, if the log has it',
  async (t) => {
    const desk = new Desk();
    const [a, b] = [desk.join(11), desk.join(21)];
    const [parts, info] = [randomBytes(32), randomBytes(32)];
    const commit = (more: object, member = a.member) => {
      const letter = { to: desk.frame, parts: [Buffer.from('commit')], group: { generation: 1, epoch: 0 } };
      const frame = lineage().batch([{ ...letter, groupInfo: Buffer.from('info') }]);
      return desk.hub.admit(member, { ...frame, messages: [{ ...frame.messages[0]!, ...more }], id: 1 }, FREE);
    };
    const both = { parts_blob: parts, info_blob: info };
    const missing = (name: string) => ({ code: 'NOT_FOUND', field: `msg_send.messages[0].${name}` });
    desk.blobs.set(hex(info), 70);
    await t.rejects(commit(both), missing('parts_blob'));
    await t.rejects(commit({ info_blob: info }, b.member), missing('info_blob'), 'put by another device');
    desk.isKnown = true;
    t.match(await commit(both), { refusal: missing('parts_blob') });
    desk.isKnown = false;
    desk.blobs.set(hex(parts), 80);
    const blobs = { parts: { hash: parts, size: 80 }, groupInfo: { hash: info, size: 70 } };
    t.match((await commit(both)).messages, [{ blobs }]);
    t.strictSame((await commit({ info_blob: info })).messages[0]!.blobs, { groupInfo: blobs.groupInfo });
    t.equal((await commit({})).messages[0]!.blobs, undefined);

    desk.keptInfoBytes = 512 * 1024 * 1024 - 70;
    t.match((await commit(both)).messages, [{ blobs }], 'just so much is kept for the commits of one user');
    desk.keptInfoBytes++;
    const full = { code: 'QUOTA', field: 'msg_send.messages[0].info_blob' };
    await t.rejects(commit(both), full);
    t.match(
      (await commit({ parts_blob: parts })).messages,
      [{ blobs: { parts: blobs.parts } }],
      'that counts in queues',
    );
    desk.isKnown = true;
    t.match(await commit(both), { refusal: full });
  },
);

t.test('the fields of a group belong to what they are beside', async (t) => {
  const desk = new Desk();
  const a = desk.join(11);
  const letter = { to: desk.frame, parts: [Buffer.from('x')] };
  const group = { generation: 1, epoch: 1 };
  const commit = { ...letter, group, groupInfo: Buffer.from('info') };
  const admit = (letters: Letter[], lies: object = {}, change = (frame: SendFrame) => frame) =>
    desk.hub.admit(a.member, { ...change(lineage().batch(letters, lies)), id: 1 }, FREE);
  const receipt: Letter = { to: desk.frame, parts: [randomBytes(32)], receipt: { kind: KIND.read, author: 'bob' } };
  const withField = (more: object) => (frame: SendFrame) => ({
    ...frame,
    messages: frame.messages.map((message) => ({ ...message, ...more })),
  });
  const without = (name: string) => (frame: SendFrame) => ({
    ...frame,
    messages: frame.messages.map(
      (message) => Object.fromEntries(Object.entries(message).filter(([key]) => key !== name)) as typeof message,
    ),
  });
  const rows: [name: string, attempt: () => Promise<unknown>, field: string][] = [
    ['of another kind', () => admit([letter], { ms: { kind: KIND.attachment } }), '[0].statement'],
    ['a receipt for nobody', () => admit([receipt], {}, without('to')), '[0].to'],
    ['a receipt in a group', () => admit([receipt], {}, withField({ group })), '[0].group'],
    ['a receipt with GroupInfo', () => admit([receipt], {}, withField({ group_info: Buffer.of(1) })), '[0].group_info'],
    ['a message to somebody', () => admit([letter], {}, withField({ to: 'bob' })), '[0].to'],
    ['a message with a blob', () => admit([letter], {}, withField({ parts_blob: randomBytes(32) })), '[0].parts_blob'],
    ['a receipt with a blob', () => admit([receipt], {}, withField({ info_blob: randomBytes(32) })), '[0].info_blob'],
    ['a commit with a message', () => admit([letter, commit]), '[1].statement'],
    ['two commits', () => admit([commit, commit]), '[0].statement'],
    [
      'a commit that commits to a body',
      () => admit([commit], { ms: { commitment: Buffer.alloc(32, 1) } }),
      '[0].statement',
    ],
    ['a commit of no state', () => admit([{ ...letter, groupInfo: Buffer.from('info') }]), '[0].group'],
    [
      'a message that is not encrypted',
      () =>
        admit([letter, letter], {}, (frame) => {
          const [first, { group: _, ...second }] = frame.messages as [Message, Message];
          return { ...frame, messages: [first, second] };
        }),
      '[1].group',
    ],
    [
      'a commit without GroupInfo',
      () => admit([{ ...letter, group }], { ms: { kind: KIND.membership } }),
      '[0].group_info',
    ],
    [
      'a message with GroupInfo',
      () =>
        admit([letter, { ...letter, group }], {}, (frame) => {
          const [first, second] = frame.messages;
          return { ...frame, messages: [first!, { ...second!, group_info: Buffer.from('info') }] };
        }),
      '[1].group_info',
    ],
  ];
  for (const [name, attempt, field] of rows)
    await t.rejects(attempt(), { code: 'BAD_FRAME', field: `msg_send.messages${field}` }, name);
  await t.rejects(
    admit([{ ...commit, groupInfo: Buffer.alloc(MAX_SEND_BYTES) }]),
    { code: 'TOO_LARGE', field: 'msg_send' },
    'the GroupInfo counts',
  );
  t.match((await admit([{ ...letter, group }])).messages, [{ group, groupInfo: null }]);
});

t.test('a receipt goes to the author and to one’s own other devices, whatever the roster says', async (t) => {
  const desk = new Desk();
  desk.devices.set(1, [11, 12]);
  desk.devices.set(2, [21, 22]);
  const a = desk.join(11);
  await turn();
  const admit = async (author: string, to = desk.frame) => {
    const batch = lineage().batch([{ to, parts: [randomBytes(32)], receipt: { kind: KIND.delivered, author } }]);
    const { messages, refusal } = await desk.hub.admit(a.member, { ...batch, id: 1 }, FREE);
    return { refusal, ...messages[0]! };
  };
  t.match(await admit('bob'), { recipients: [12, 21, 22], peers: [21, 22], group: null, refusal: null });
  desk.deviceEpoch = 9;
  desk.hub.forgetConversations(1);
  t.match(await admit('bob'), { recipients: [12, 21, 22] }, 'signed for no roster');
  t.match(await admit('carol'), { recipients: [12], peers: [] }, 'an author who has left hears nothing');
  desk.devices.set(2, []);
  desk.hub.forgetConversations(1);
  t.match(await admit('bob'), { recipients: [12], refusal: null }, 'one without a device is no refusal');
  desk.devices.set(2, [21]);
  desk.usage.set(21, { bytes: 20_000, rows: 2 });
  desk.shares = [{ senderUserId: 1, bytes: 20_000, rows: 2 }];
  desk.hub.forgetConversations(1);
  t.match(await admit('bob'), { recipients: [12], refusal: null }, 'nor one whose queue is full');
  desk.usage.clear();
  desk.standing = 'blocked';
  desk.hub.forgetConversations(1);
  t.match(await admit('bob'), { recipients: [12], refusal: null }, 'nor one who wants to hear nothing');
  await t.rejects(
    admit('bob', { ...desk.frame, conversation: randomBytes(32) }),
    { code: 'NOT_FOUND' },
    'in a conversation of others',
  );
});

t.test(
  'a receipt tells nobody in a room but the author what was read, and not an author who wants to hear nothing',
  async (t) => {
    const desk = new Desk();
    desk.members = [1, 2, 3];
    const a = desk.join(11);
    await turn();
    const admit = async (author: string) => {
      const receipt = { kind: KIND.delivered, author } as const;
      const batch = lineage().batch([{ to: desk.frame, parts: [randomBytes(32)], receipt }]);
      return (await desk.hub.admit(a.member, { ...batch, id: 1 }, FREE)).messages[0]!.recipients;
    };
    t.strictSame(await admit('bob'), [21]);
    t.strictSame(await admit('carol'), [31]);
    desk.standing = 'blocked';
    desk.hub.forgetConversations(1);
    t.strictSame(await admit('bob'), []);
  },
);

t.test('who asks for the state of a group is first sent what led there', async (t) => {
  const desk = new Desk();
  const a = desk.join(11);
  await turn();
  t.equal(await desk.access.group(a.member, desk.conversationId), null);
  const reading = Promise.withResolvers<void>();
  desk.reading = reading.promise;
  desk.group = { generation: 1, epoch: 2, groupInfo: Buffer.from('info') };
  let answer: unknown = 'none';
  const asked = desk.access.group(a.member, desk.conversationId).then((group) => (answer = group));
  await turn();
  t.equal(answer, 'none', 'the queue is being read');
  const before = desk.group;
  desk.group = { ...before, epoch: 3 };
  reading.resolve();
  await asked;
  t.equal(answer, before, 'what came later may not have been sent');
  const carol = desk.join(31);
  await t.rejects(desk.access.group(carol.member, desk.conversationId), { code: 'NOT_FOUND', field: 'conversation' });
});

t.test('presence: on the first device and after the last; watchers go with their connection', async (t) => {
  const desk = new Desk();
  const a = desk.join(11);
  t.strictSame(await desk.hub.watch(a.member, 'bob'), { username: 'bob', online: false });
  t.strictSame(await desk.hub.watch(a.member, 'bob'), { username: 'bob', online: false });
  await t.rejects(desk.hub.watch(a.member, 'nobody'), { code: 'NO_SUCH_PEER' });
  const b1 = desk.join(21);
  const b2 = desk.join(22);
  const again = desk.join(21);
  t.strictSame(b1.closed, ['CONNECTION_LOST']);
  t.strictSame([desk.hub.memberCount, desk.hub.userCount], [3, 2]);
  desk.hub.leave(b1.member); // its session ends a little later
  desk.hub.leave(again.member);
  t.strictSame(types(a), ['presence'], 'once, though he came three times');
  t.strictSame(desk.lastSeen, []);
  desk.hub.leave(b2.member);
  desk.hub.leave(b2.member);
  t.strictSame(types(a), ['presence', 'presence']);
  t.match(a.frames.at(-1), { username: 'bob', online: false, last_seen: 1_000_000 });
  t.match(await desk.hub.watch(a.member, 'bob'), { online: false, last_seen: 1_000_000 });
  t.strictSame(desk.lastSeen, [], 'the store does not know it yet');
  await desk.hub.settled();
  t.strictSame(desk.lastSeen, [2]);
  desk.hub.leave(a.member);
  desk.join(21);
  t.equal(a.frames.length, 2, 'who has left is told nothing');

  const c = desk.join(31);
  for (let i = 0; i < 1024; i++) desk.names.push(`user${i}`);
  for (let i = 0; i < 1024; i++) await desk.hub.watch(c.member, `user${i}`);
  await t.rejects(desk.hub.watch(c.member, 'bob'), { code: 'QUOTA', field: 'presence_watch.username' });
  await desk.hub.watch(c.member, 'user7');
});

t.test('presence: who is blocked while he is found not to be watches nobody', async (t) => {
  const desk = new Desk();
  const a = desk.join(11);
  const gate = Promise.withResolvers<void>();
  desk.judging = gate.promise;
  const watching = desk.hub.watch(a.member, 'bob');
  await turn();
  desk.standing = 'blocked';
  desk.hub.part(2, 1);
  gate.resolve();
  await t.rejects(watching, { code: 'BLOCKED', field: 'presence_watch.username' });
  desk.join(21);
  t.strictSame(a.frames, []);
});

t.test('presence: an invisible one who shows or hides when he was seen tells nobody that he is there', async (t) => {
  const desk = new Desk();
  const [a, b] = [desk.join(11), desk.join(21)];
  await desk.hub.choosePresence(b.member, { state: 'invisible' });
  await desk.hub.watch(a.member, 'bob');
  await desk.hub.settled();
  const before = [a.frames.length, desk.lastSeen.length];
  desk.now += 60_000;
  for (const showsLastSeen of [false, true]) await desk.hub.choosePresence(b.member, { showsLastSeen });
  await desk.hub.settled();
  t.strictSame([a.frames.length, desk.lastSeen.length], before);
});

t.test('presence: who leaves while he chooses is not said to be there', async (t) => {
  const desk = new Desk();
  const [a, b] = [desk.join(11), desk.join(21)];
  await desk.hub.watch(a.member, 'bob');
  const gate = Promise.withResolvers<void>();
  desk.choosing = gate.promise;
  const chosen = desk.hub.choosePresence(b.member, { state: 'dnd' });
  await turn();
  desk.hub.leave(b.member);
  gate.resolve();
  t.match(await chosen, { state: 'dnd' });
  t.match(a.frames.at(-1), { username: 'bob', online: false });
  t.equal(types(a).filter((type) => type === 'presence').length, 1);
});

t.test('presence: who may not see each other any more are told nothing more of each other', async (t) => {
  const desk = new Desk();
  const [a, b, c] = [desk.join(11), desk.join(21), desk.join(31)];
  await desk.hub.watch(a.member, 'bob');
  await desk.hub.watch(b.member, 'alice');
  await desk.hub.watch(c.member, 'bob');
  desk.hub.part(1, 2);
  await desk.hub.choosePresence(b.member, { state: 'away' });
  await desk.hub.choosePresence(a.member, { state: 'away' });
  t.strictSame([types(a), types(b)], [[], []]);
  t.strictSame(types(c), ['presence'], 'others still are');
});

t.test('who is invisible is not asked to let others in, which all would see; nor who is behind', async (t) => {
  const desk = new Desk();
  desk.join(11);
  const [b, slow] = [desk.join(21), desk.join(22)];
  await turn();
  Object.defineProperty(slow.member.outlet, 'isBehind', { value: true });
  const devices = () => desk.hub.atHand([1, 2, 3]).map(({ device }) => device.id);
  t.strictSame(devices(), [11, 21]);
  await desk.hub.choosePresence(b.member, { state: 'invisible' });
  t.strictSame(devices(), [11]);
});

t.test('a certificate is over for good once another took its place, however often that happens', async (t) => {
  const desk = new Desk();
  const first = desk.join(21);
  const { member } = first;
  const renewed = async (from: number) =>
    desk.hub.changed({ ...member, isNewDevice: true, renewed: fingerprintOf(from) });
  await renewed(77);
  t.strictSame(first.closed, [], 'what is connected under the certificate of today stays');
  await renewed(21);
  t.strictSame(first.closed, ['CONNECTION_LOST']);
  for (const over of [77, 21]) {
    const closed: unknown[] = [];
    const link = { close: (...why: unknown[]) => void closed.push(...why) };
    const device = { ...member.device, fingerprint: fingerprintOf(over) };
    t.throws(() => desk.hub.join({ ...member, device, keyHashes: [] }, link as never), { code: 'BAD_CERT' });
    t.strictSame(closed, ['BAD_CERT', 'revoked']);
  }
});

t.test('presence: of two devices that choose at once, neither takes back what the other has chosen', async (t) => {
  const desk = new Desk();
  const a = desk.join(11);
  const [b1, b2] = [desk.join(21), desk.join(22)];
  await desk.hub.watch(a.member, 'bob');
  const chosen = await Promise.all([
    desk.hub.choosePresence(b1.member, { state: 'invisible' }),
    desk.hub.choosePresence(b2.member, { showsLastSeen: false }),
  ]);
  const both: PresenceChoice = { state: 'invisible', showsLastSeen: false };
  t.strictSame(chosen, [{ ...both, showsLastSeen: true }, both]);
  t.strictSame(desk.presences.get(2), both);
  t.strictSame(await desk.hub.watch(a.member, 'bob'), { username: 'bob', online: false });
});

t.test('presence: who was read before he chose to be invisible comes as invisible', async (t) => {
  const desk = new Desk();
  const a = desk.join(11);
  const b1 = desk.join(21);
  await desk.hub.watch(a.member, 'bob');
  const login = desk.user(2);
  const gate = Promise.withResolvers<void>();
  desk.choosing = gate.promise;
  const chosen = desk.hub.choosePresence(b1.member, { state: 'invisible' });
  await turn();
  desk.hub.leave(b1.member);
  t.match(a.frames.at(-1), { online: false });
  gate.resolve();
  t.match(await chosen, { state: 'invisible' });
  const told = a.frames.length;
  desk.join(22, login);
  t.equal(a.frames.length, told, 'nobody is told');
  t.match(await desk.hub.watch(a.member, 'bob'), { online: false });
});

t.test('who is revoked is cut, and so is whoever was let in before that and comes after it', async (t) => {
  const desk = new Desk();
  const [a, other] = [desk.join(11), desk.join(12)];
  desk.hub.revoked([11]);
  t.strictSame([a.closed, other.closed], [['BAD_CERT'], []]);
  desk.hub.leave(a.member);
  const closed: unknown[] = [];
  const link = { close: (...why: unknown[]) => void closed.push(...why) };
  const login = { ...a.member, keyHashes: [] };
  t.throws(() => desk.hub.join(login, link as never), { code: 'BAD_CERT', sub: 'revoked' });
  t.strictSame(closed, ['BAD_CERT', 'revoked']);
  t.strictSame([desk.hub.isOnline(11), desk.hub.memberCount], [false, 1]);
});

t.test(
  'all that a user has begun is ended, also a login that is judged at that moment, and nothing that begins later',
  async (t) => {
    const desk = new Desk();
    const [a, phone, b] = [desk.join(11), desk.join(12), desk.join(21)];
    await desk.hub.watch(b.member, 'alice');
    const before = desk.hub.endings;
    const farewells: unknown[] = [];
    Object.assign(a.member.link, { close: (...why: unknown[]) => void farewells.push(...why) });
    t.equal(desk.hub.endAll(1, { code: 'NOT_LOGGED_IN', sub: 'password' }), 2);
    t.strictSame([farewells, phone.closed, b.closed], [['NOT_LOGGED_IN', 'password'], ['NOT_LOGGED_IN'], []]);
    t.strictSame([desk.hub.isOnline(11), desk.hub.isOnline(12), desk.hub.isOnline(21)], [false, false, true]);
    t.throws(() => desk.join(13, undefined, before), { code: 'NOT_LOGGED_IN', sub: 'password' });
    t.equal(desk.hub.isOnline(13), false);
    desk.hub.leave(desk.join(13).member);
    desk.hub.leave(desk.join(31, undefined, before).member); // nobody else's

    const again = desk.join(12);
    t.equal(desk.hub.endAll(1, { code: 'SUSPENDED' }), 1);
    t.strictSame(again.closed, ['SUSPENDED']);
    t.match(b.frames.at(-1), { type: 'presence', username: 'alice', online: false }, 'at once');
    desk.hub.leave(again.member); // as when its link has closed
    t.throws(() => desk.join(11, undefined, before), { code: 'SUSPENDED' });
    t.equal(desk.hub.userCount, 1);
    t.equal(desk.hub.endAll(1, { code: 'SUSPENDED' }), 0, 'nobody is there');

    const [here, elsewhere] = [desk.join(11), desk.join(12)];
    const judgedAt = desk.hub.endings;
    t.equal(desk.hub.endAll(1, { code: 'NOT_LOGGED_IN', sub: 'password' }, here.member), 1);
    t.strictSame([here.closed, elsewhere.closed], [[], ['NOT_LOGGED_IN']], 'but for the one that asks for it');
    t.ok(desk.hub.isOnline(11));
    t.throws(() => desk.join(12, undefined, judgedAt), { code: 'NOT_LOGGED_IN', sub: 'password' });
  },
);

t.test('from the moment a device is revoked nothing is taken that was signed for a roster with it', async (t) => {
  for (const tell of ['revoked', 'forgetDevices'] as const) {
    const desk = new Desk();
    desk.devices.set(2, [21, 22]);
    const a = desk.join(11);
    await turn();
    const signed = lineage().texts(desk.frame, ['x']);
    const admit = async (batch: SendFrame) =>
      (await desk.hub.admit(a.member, { ...batch, id: 1 }, FREE)).messages[0]!.recipients;
    t.strictSame(await admit(signed), [21, 22]);
    desk.devices.set(2, [21]);
    desk.deviceEpoch++;
    desk.hub[tell]([22]);
    await t.rejects(admit(signed), { code: 'STALE', sub: 'roster' }, tell);
    t.strictSame(await admit(lineage().texts(desk.frame, ['x'])), [21]);
  }
});

t.test('when somebody was seen last is written before a stop goes on', async (t) => {
  const desk = new Desk();
  const gate = Promise.withResolvers<void>();
  desk.leaving = gate.promise;
  const a = desk.join(11);
  desk.hub.leave(a.member);
  let isSettled = false;
  const settled = desk.hub.settled().then(() => (isSettled = true));
  await turn();
  t.notOk(isSettled);
  gate.resolve();
  await settled;
  t.strictSame(desk.lastSeen, [1]);
  desk.leaving = Promise.reject(new ChatError('STORE_FAILED', 'the database is away'));
  desk.hub.leave(desk.join(21).member);
  await desk.hub.settled();
  t.match(desk.log.lines.at(-1), { event: 'store.failed', code: 'STORE_FAILED' }, 'a failure holds nobody up');
});

t.test('an acknowledgement of what was not sent reaches no database', async (t) => {
  const desk = new Desk();
  const a = desk.join(11);
  await desk.hub.received(a.member, [1, 2, 3]); // the store of this test has no acknowledge()
  t.pass();
});

t.test('acknowledgements outlast a database that is away, and end with their connection', async (t) => {
  const desk = new Desk();
  const [a, b] = [desk.join(11), desk.join(21)];
  await turn();
  const sender = lineage();
  const send = async (texts: readonly string[]) =>
    desk.hub.send(a.member, 1, await desk.hub.admit(a.member, { ...sender.texts(desk.frame, texts), id: 1 }, FREE));
  await send(['one', 'two']);
  const cursors = cursorsOf(b.frames);
  t.equal(cursors.length, 2);
  desk.isDown = true;
  await desk.hub.received(b.member, cursors.slice(0, 1));
  await desk.hub.received(b.member, cursors.slice(1));
  while (desk.acknowledged.length < 3) await later();
  t.strictSame(b.closed, [], 'the connection stays');
  t.strictSame(b.member.outlet.known(cursors), cursors, 'nothing is forgotten');
  desk.isDown = false;
  while (b.member.unsettled.size > 0) await later();
  t.strictSame(desk.acknowledged.at(-1), [21, cursors], 'both, once it is back');
  t.strictSame(b.member.outlet.known(cursors), []);

  desk.isDown = true;
  await send(['three']);
  await desk.hub.received(b.member, cursorsOf(b.frames).slice(2));
  desk.hub.leave(b.member);
  const { length } = desk.acknowledged;
  for (let i = 0; i < 5; i++) await later();
  t.equal(desk.acknowledged.length, length, 'who has gone is asked again at the next login');
});

t.test('a backlog that cannot be read ends the connection', async (t) => {
  const broken = new Desk();
  const store = { backlog: async () => Promise.reject(new Error('gone')) };
  const hub = new Hub({
    store,
    sequencer: {},
    origin: ORIGIN,
    log: broken.log.log,
    now: () => 1,
    ttlMs: 1,
    queueBytes: 1,
  } as never);
  const closed: unknown[] = [];
  const link = { send: () => {}, close: (code: string) => void closed.push(code) };
  const user = { id: 1, username: 'alice', presence: VISIBLE } as never;
  hub.join({ user, device: { id: 11, fingerprint: fingerprintOf(11) } as never, keyHashes: [] }, link as never);
  await turn();
  t.strictSame(closed, ['UNAVAILABLE']);
  t.match(broken.log.lines.at(-1), { event: 'store.failed' });
});
