/** What a client makes of the server's list of rooms. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { ChatError, type Code } from '../../base/errors.ts';
import { REPORTED } from '../../protocol/hello.ts';
import { Rooms } from '../../client/rooms.ts';

t.test(
  'a room that is not on the list is closed when this user is not in it, and not for being far behind on it',
  async (t) => {
    const [mine, past] = [randomBytes(32), randomBytes(32)];
    const room = { public: true, founder: false, closed: false };
    const vault = {
      conversations: () => [
        { id: mine, peer: '#zz', room },
        { id: past, peer: '#zzz', room },
      ],
    };
    const warnings: string[] = [];
    const rooms = new Rooms(vault as never, {} as never, {} as never, 'alice', {
      warn: (text: string) => void warnings.push(text),
    } as never);
    let listed = 0;
    const session = {
      requester: {
        request: async () => {
          const name = `#a${String(listed++).padStart(6, '0')}`;
          return { rooms: [{ room: name, visibility: 'public', members: 1 }], has_more: true };
        },
      },
      rosters: {
        close: () => true,
        refresh: async (id: Uint8Array) => {
          if (id === past) throw new ChatError('NOT_FOUND', 'no such conversation');
        },
      },
    };
    await rooms.refresh(session as never);
    t.equal(listed, 200, 'it is not followed for ever');
    t.strictSame(warnings, ['you are not in #zzz any more; what was said stays here']);
  },
);

t.test('who was invited, and is no member any more when this device comes back, is not let in later', async (t) => {
  const [id, other] = [randomBytes(32), randomBytes(32)];
  const known = { id, peer: '#plan', room: { public: false, founder: true, closed: false } };
  let invited = ['bob', 'carol'];
  const wanted: Uint8Array[] = [];
  const vault = {
    conversations: () => [known],
    conversationWith: () => known,
    rooms: {
      invited: () => invited,
      forget: (_: unknown, users: readonly string[]) => void (invited = invited.filter((u) => !users.includes(u))),
    },
  };
  const groups = { stored: () => ({ conversation: {} }) };
  const rooms = new Rooms(vault as never, groups as never, {} as never, 'alice', {
    want: (which: Uint8Array) => void wanted.push(which),
    warn: () => {},
  } as never);
  const said = { conversation: other, members: [{ username: 'alice' }, { username: 'carol' }] };
  const session = {
    requester: {
      request: async ({ type }: { readonly type: string }) =>
        type === 'room_get' ? said : { rooms: [{ room: '#plan', role: 'owner' }], has_more: false },
    },
  };
  await rooms.refresh(session as never);
  t.strictSame(invited, ['bob', 'carol'], 'what is said of another room says nothing');
  said.conversation = id;
  await rooms.refresh(session as never);
  t.strictSame(invited, ['carol']);
  t.strictSame(wanted, [id, id]);
  invited = [];
  await rooms.refresh(session as never);
  t.equal(wanted.length, 2);
});

// Fails when what the server cannot answer at that moment is left for the next login.
t.test('a room has changed, and the server cannot say now who is in it: it is asked again', async (t) => {
  const id = randomBytes(32);
  const known = { id, peer: '#plan', room: { public: true, founder: false, closed: false } };
  const refusals: Code[] = ['RATE_LIMIT', 'UNAVAILABLE'];
  const answered = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  const ask = async (settled: () => void): Promise<void> => {
    const code = refusals.shift();
    if (code !== undefined) throw new ChatError(code, 'not now', { cause: REPORTED, retryAfterMs: 1 });
    settled();
  };
  const session = {
    requester: { request: () => ask(() => {}).then(() => ({ conversation: id, members: [] })) },
    rosters: {
      refresh: () => ask(answered.resolve),
      enter: async () => void entered.resolve(),
    },
  };
  const vault = { conversation: () => known };
  const host = { warn: () => {}, want: () => {} };
  const lobby = { wait: () => {}, detach: () => {} };
  const groups = { stored: () => ({ conversation: null }) };
  const rooms = new Rooms(vault as never, groups as never, lobby as never, 'alice', host as never);
  const changed = (by: string): void =>
    rooms.changes.heard(session as never, {
      type: 'room_changed',
      room: '#plan',
      conversation: id,
      change: 'joined',
      by,
    });
  changed('bob');
  await answered.promise;
  refusals.push('RATE_LIMIT', 'UNAVAILABLE');
  changed('alice');
  await entered.promise;
  t.strictSame(refusals, []);
});

t.test('what the server does not have it is not asked for again', async (t) => {
  let asked = 0;
  const known = { id: randomBytes(32), peer: '#plan', room: { public: true, founder: false, closed: false } };
  const refresh = async (): Promise<void> => {
    asked++;
    throw new ChatError('NOT_FOUND', 'no such conversation', { cause: REPORTED });
  };
  const rooms = new Rooms({ conversation: () => known } as never, {} as never, {} as never, 'alice', {
    warn: () => {},
  } as never);
  const change = { room: '#plan', conversation: known.id, change: 'joined', by: 'bob' } as const;
  rooms.changes.heard({ rosters: { refresh } } as never, { type: 'room_changed', ...change });
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  t.equal(asked, 1);
});
