/** Who may change contacts how often, and who hears of it, with a store that answers as the test says. */
import t from 'tap';
import { CHANGES_AT_ONCE, Contacts, MAX_ASKED, type ContactsOptions } from '../../server/contacts.ts';
import type { User } from '../../store/contract/accounts.ts';
import type { ContactAction, ContactState } from '../../store/contract/contacts.ts';

t.test('nobody is asked and asked again without end; a block always works', async (t) => {
  let ms = 0;
  let told = 0;
  const pair = { mine: null, theirs: null };
  const store = {
    findUser: async () => ({ id: 2, username: 'bob' }),
    contactsOf: async () => [],
    changeContact: async () => ({ before: pair, after: { mine: 'asked', theirs: 'asking' } }),
  };
  const contacts = new Contacts({
    store: store as never,
    policy: 'request',
    visibility: 'everybody',
    now: () => 0,
    monotonicMs: () => ms,
    tell: () => void told++,
    part: () => undefined,
    forget: () => undefined,
  });
  const change = (userId: number, action: ContactAction) =>
    contacts.change({ id: userId, username: `u${userId}` } as User, action, 'bob');
  for (let i = 0; i < CHANGES_AT_ONCE; i += 2) (await change(1, 'add'), await change(1, 'remove'));
  t.equal(told, 2 * CHANGES_AT_ONCE);
  for (const action of ['add', 'accept', 'decline', 'remove', 'unblock'] as const)
    await t.rejects(change(1, action), { code: 'RATE_LIMIT', retryAfterMs: 3000 }, action);
  t.equal(told, 2 * CHANGES_AT_ONCE, 'and nobody hears of it');
  await change(1, 'block');
  await change(3, 'add');
  ms += 3000;
  await change(1, 'add');
  await t.rejects(change(1, 'remove'), { code: 'RATE_LIMIT' });
});

interface Pair {
  readonly mine: ContactState | null;
  readonly theirs: ContactState | null;
}
const ALICE = { id: 1, username: 'alice' } as User;

function desk(options: Partial<ContactsOptions> = {}) {
  const made = {
    told: [] as (readonly [userId: number, about: string, state: string])[],
    parted: 0,
    forgotten: [] as number[],
    before: { mine: null, theirs: null } as Pair,
    after: { mine: null, theirs: null } as Pair,
    people: [] as { username: string; email: string; state: ContactState; changedAt: number }[],
    everybody: [] as { username: string; email: string; displayName: string | null }[],
  };
  const store = {
    findUser: async (name: string) => {
      const id = ['', 'alice', 'bob'].indexOf(name);
      return id < 1 ? null : { id, username: name };
    },
    contactsOf: async () => made.people,
    changeContact: async () => ({ before: made.before, after: made.after }),
    directory: async (after: string, most: number) =>
      made.everybody.filter(({ username }) => username > after).slice(0, most),
  };
  const contacts = new Contacts({
    store: store as never,
    policy: 'request',
    visibility: 'everybody',
    now: () => 5,
    tell: (userId, { username, state }) => void made.told.push([userId, username, state]),
    part: () => void made.parted++,
    forget: (userId) => void made.forgotten.push(userId),
    ...options,
  });
  const change = async (action: ContactAction, before: Pair, after: Pair) => {
    Object.assign(made, { before, after, told: [], parted: 0, forgotten: [] });
    return await contacts.change(ALICE, action, 'bob');
  };
  return Object.assign(made, { contacts, change });
}

t.test('each is told what has changed for himself, and nobody of a block but who made it', async (t) => {
  const d = desk();
  const none = { mine: null, theirs: null };
  t.strictSame(await d.change('add', none, { mine: 'asked', theirs: 'asking' }), { username: 'bob', state: 'asked' });
  t.strictSame(d.told, [
    [1, 'bob', 'asked'],
    [2, 'alice', 'asking'],
  ]);
  await d.change('block', { mine: 'contact', theirs: 'contact' }, { mine: 'blocked', theirs: 'contact' });
  t.strictSame(d.told, [[1, 'bob', 'blocked']]);
  t.strictSame(await d.change('remove', { mine: 'contact', theirs: null }, none), { username: 'bob', state: 'none' });
  t.strictSame(d.told, [[1, 'bob', 'none']]);
});

t.test(
  'who may not write to each other any more may not see each other either; a block outweighs every policy',
  async (t) => {
    const [both, none] = [{ mine: 'contact', theirs: 'contact' } as const, { mine: null, theirs: null }];
    const blocked = { mine: 'contact', theirs: 'blocked' } as const;
    for (const [policy, after, isParted] of [
      ['request', both, false],
      ['request', none, true],
      ['closed', none, true],
      ['open', none, false],
      ['open', blocked, true],
      ['request', blocked, true],
      ['open', { mine: 'blocked', theirs: 'contact' }, true],
    ] as const) {
      const d = desk({ policy });
      await d.change('remove', both, after);
      t.strictSame([d.parted, d.forgotten], isParted ? [1, []] : [0, [1]], `${policy} ${JSON.stringify(after)}`);
    }
  },
);

t.test('where the operator brings people together nobody does it himself, and everybody may end it', async (t) => {
  const d = desk({ policy: 'closed' });
  const none = { mine: null, theirs: null };
  for (const action of ['add', 'accept'] as const)
    await t.rejects(d.change(action, none, none), { code: 'NOT_CONTACT', sub: 'closed' }, action);
  for (const action of ['decline', 'remove', 'block', 'unblock'] as const) await d.change(action, none, none);
  for (const name of ['alice', 'nobody'])
    await t.rejects(d.contacts.change(ALICE, 'add', name), { code: 'NO_SUCH_PEER', field: 'account' }, name);
});

t.test('so many requests may wait for an answer, and no more', async (t) => {
  const d = desk();
  const one = (state: ContactState, i: number) => ({ username: `u${i}`, email: '', state, changedAt: 0 });
  const none = { mine: null, theirs: null };
  d.people = Array.from({ length: 2 * MAX_ASKED - 1 }, (_, i) => one(i < MAX_ASKED ? 'contact' : 'asked', i));
  await d.change('add', none, none);
  d.people.push(one('asked', -1));
  await t.rejects(d.change('add', none, none), { code: 'QUOTA', field: 'account' });
  await d.change('accept', none, none);
});

t.test('lists come in pages, and the directory shows what its setting says', async (t) => {
  const names = Array.from({ length: 401 }, (_, i) => `u${1000 + i}`);
  const fill = (d: ReturnType<typeof desk>) => {
    d.people = names.map((username, i) => ({
      username,
      email: `${username}@example.org`,
      state: i === 0 ? 'blocked' : 'contact',
      changedAt: i,
    }));
    d.everybody = names.map((username, i) => ({ username, email: '', displayName: i === 0 ? 'First' : null }));
    return d.contacts;
  };
  type Page = { readonly people: readonly { readonly username: string }[]; readonly has_more: boolean };
  const pagesOf = async (read: (after: string) => Promise<Page>) => {
    const pages = [await read('')];
    for (let page = pages[0]!; page.has_more; pages.push(page)) page = await read(page.people.at(-1)!.username);
    return pages.map(({ people }) => people.length);
  };
  const contacts = fill(desk());
  t.strictSame(await pagesOf((after) => contacts.list(ALICE, after)), [200, 200, 1]);
  t.strictSame((await contacts.list(ALICE, '')).people[0], {
    username: 'u1000',
    email: 'u1000@example.org',
    state: 'blocked',
    at: 0,
  });
  t.strictSame(await pagesOf((after) => contacts.directory(ALICE, after)), [200, 200, 1]);
  const { people } = await contacts.directory(ALICE, '');
  t.strictSame(people.slice(0, 2), [
    { username: 'u1000', email: '', display_name: 'First' },
    { username: 'u1001', email: '' },
  ]);
  const known = fill(desk({ visibility: 'contacts' }));
  t.strictSame(await pagesOf((after) => known.directory(ALICE, after)), [200, 200], 'no stranger, and nobody blocked');
  t.strictSame((await known.directory(ALICE, '')).people[0], { username: 'u1001', email: 'u1001@example.org' });
  t.strictSame(await fill(desk({ visibility: 'nobody' })).directory(ALICE, ''), { people: [], has_more: false });
});
