/** What is announced of contacts, when, and how often; and a server whose list never ends. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Reply } from '../../protocol/messages.ts';
import { announcement, Contacts, type ContactState } from '../../client/contacts.ts';
import type { RequestBody, Requester } from '../../client/requester.ts';
import { Vault } from '../../client/vault.ts';

type People = Record<string, ContactState>;

/** A profile, and a server with this list. */
function profile(t: Test, list: People) {
  const vault = Vault.open(join(t.testdir({}), 'profile'));
  t.teardown(() => vault.close());
  const said: string[] = [];
  const contacts = new Contacts(
    vault,
    (username, state, before) => void said.push(`${username}: ${before} → ${state}`),
  );
  const asked: RequestBody[] = [];
  const requester = {
    request: async (body: RequestBody) => {
      asked.push(body);
      if (body.type === 'contact_list' || body.type === 'directory') {
        const all = Object.keys(list)
          .sort()
          .filter((name) => name > body.after);
        const people = all
          .slice(0, 2)
          .map((username) => ({ username, email: `${username}@x.org`, state: list[username], at: 5 }));
        return { people, has_more: all.length > 2 };
      }
      const account = (body as { account: string }).account;
      return { username: account, state: 'asked' };
    },
  } as unknown as Requester;
  const take = () => said.splice(0);
  return { vault, contacts, requester, take, asked, list };
}

t.test('more people than a profile can remember are no reason to remember none', async (t) => {
  const { vault, contacts, requester } = profile(t, { bob: 'contact' });
  const many = Array.from({ length: 30_000 }, (_, i) => ({ username: `u${i}`, state: 'contact' as const }));
  vault.profile.setContacts(many);
  t.equal(vault.profile.contacts().length, 20_000);
  t.equal((await contacts.refresh(requester)).length, 1);
  t.strictSame(vault.profile.contacts(), [{ username: 'bob', state: 'contact' }]);
});

t.test('each change is announced once: at the login after it, or at once', async (t) => {
  const { contacts, requester, take, list, vault } = profile(t, { bob: 'asking', carol: 'contact', dave: 'blocked' });
  t.equal((await contacts.refresh(requester)).length, 3, 'page by page');
  t.strictSame(take(), ['bob: none → asking', 'carol: none → contact', 'dave: none → blocked']);
  await contacts.refresh(requester);
  t.strictSame(take(), [], 'nothing is new');
  list['bob'] = 'contact';
  delete list['carol'];
  await contacts.refresh(requester);
  t.strictSame(take(), ['bob: asking → contact', 'carol: contact → none']);

  const notice = (state: ContactState): Reply<'contact_changed'> => ({
    type: 'contact_changed',
    username: 'eve',
    state,
    at: 1,
  });
  contacts.changed(notice('asking'));
  contacts.changed(notice('asking'));
  t.strictSame(take(), ['eve: none → asking']);
  t.strictSame(await contacts.change(requester, 'add', 'frank'), { username: 'frank', state: 'asked' });
  contacts.changed({ type: 'contact_changed', username: 'frank', state: 'asked', at: 1 });
  t.strictSame(take(), [], 'what this device did itself is no news');
  t.match(
    vault.profile.contacts().find(({ username }) => username === 'frank'),
    { state: 'asked' },
  );
  contacts.changed({ type: 'contact_changed', username: 'frank', state: 'none', at: 1 });
  t.strictSame(take(), ['frank: asked → none']);
  t.notOk(vault.profile.contacts().some(({ username }) => username === 'frank'));
});

t.test('a list that does not rise is not followed', async (t) => {
  const { contacts, asked } = profile(t, {});
  const endless = {
    request: async (body: RequestBody) => {
      asked.push(body);
      return { people: [{ username: 'bob', email: 'b@x.org', state: 'contact', at: 1 }], has_more: true };
    },
  } as unknown as Requester;
  t.equal((await contacts.refresh(endless)).length, 2);
  t.equal(asked.length, 2);
});

t.test('in words, and nothing of what one did oneself', async (t) => {
  const said: readonly (readonly [ContactState, ContactState, string | null])[] = [
    ['none', 'asking', 'bob asks to be in contact: accept or decline'],
    ['asked', 'contact', 'bob has accepted: you are in contact'],
    ['none', 'contact', 'you are in contact with bob'],
    ['asked', 'none', 'bob has not accepted'],
    ['contact', 'none', 'you are no longer in contact with bob'],
    ['asking', 'none', null],
    ['none', 'asked', null],
    ['contact', 'blocked', null],
  ];
  for (const [before, state, words] of said) t.equal(announcement('bob', state, before), words, `${before} → ${state}`);
});
