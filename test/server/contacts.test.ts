/** How often a user may change contacts, with a store that answers as the test says. */
import t from 'tap';
import { CHANGES_AT_ONCE, Contacts } from '../../server/contacts.ts';
import type { ContactAction, User } from '../../store/store.ts';

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
