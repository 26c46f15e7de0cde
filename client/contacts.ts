/**
 * The people of this profile: who is in contact, who asks to be, whom it has blocked. The server keeps the list and says when it changes;
 * what it said last is kept here, so that whatever changed while nobody was connected is announced at the next login, once.
 */
import type { Reply } from '../protocol/messages.ts';
import type { Requester } from './requester.ts';
import type { KnownContact } from './profile-table.ts';
import type { Vault } from './vault.ts';

export const CONTACT_ACTIONS = ['add', 'accept', 'decline', 'remove', 'block', 'unblock'] as const;
export type ContactAction = (typeof CONTACT_ACTIONS)[number];
export type ContactState = Reply<'contact'>['state'];
export const CONTACT_WORDS: Readonly<Record<ContactState, string>> = {
  contact: 'in contact',
  asking: 'asks you: accept or decline',
  asked: 'was asked',
  blocked: 'blocked',
  none: 'not in contact',
};
export type Contact = Reply<'contacts'>['people'][number];
export type Person = Reply<'directory'>['people'][number];

/** Pages that are asked for at most: a server that never ends its list is not followed for ever. */
const MAX_PAGES = 500;

export class Contacts {
  readonly #vault: Vault;
  readonly #announce: (username: string, state: ContactState, before: ContactState) => void;

  /** @param announce what the other side did, or another device of one's own */
  constructor(vault: Vault, announce: (username: string, state: ContactState, before: ContactState) => void) {
    this.#vault = vault;
    this.#announce = announce;
  }

  /** The list as it is now; what is new in it is announced. */
  async refresh(requester: Requester): Promise<Contact[]> {
    const people = await pages<Contact>(async (after) => {
      const { people, has_more: hasMore } = await requester.request({ type: 'contact_list', after }, 'contacts');
      return { people, hasMore };
    });
    const before = new Map(this.#vault.profile.contacts().map(({ username, state }) => [username, state]));
    this.#vault.profile.setContacts(people.map(({ username, state }) => ({ username, state })));
    for (const { username, state } of people) {
      const was = before.get(username) ?? 'none';
      before.delete(username);
      if (was !== state) this.#announce(username, state, was);
    }
    for (const [username, was] of before) this.#announce(username, 'none', was);
    return people;
  }

  /** @throws NO_SUCH_PEER, BLOCKED, NOT_FOUND, NOT_CONTACT, QUOTA */
  async change(requester: Requester, action: ContactAction, account: string): Promise<KnownContact> {
    const { username, state } = await requester.request({ type: `contact_${action}`, account }, 'contact');
    this.#remember(username, state);
    return { username, state };
  }

  /** Something happened while we are connected. What this device did itself is known already. */
  changed({ username, state }: Reply<'contact_changed'>): void {
    const before = this.#vault.profile.contacts().find((each) => each.username === username)?.state ?? 'none';
    if (before === state) return;
    this.#remember(username, state);
    this.#announce(username, state, before);
  }

  directory(requester: Requester): Promise<Person[]> {
    return pages<Person>(async (after) => {
      const { people, has_more: hasMore } = await requester.request({ type: 'directory', after }, 'directory');
      return { people, hasMore };
    });
  }

  #remember(username: string, state: ContactState): void {
    const others = this.#vault.profile.contacts().filter((each) => each.username !== username);
    this.#vault.profile.setContacts(state === 'none' ? others : [...others, { username, state }]);
  }
}

/** All pages, each asked for after the last name of the one before; it ends when names do not rise. */
async function pages<T extends { readonly username: string }>(
  ask: (after: string) => Promise<{ readonly people: readonly T[]; readonly hasMore: boolean }>,
): Promise<T[]> {
  const all: T[] = [];
  for (let page = 0, after = ''; page < MAX_PAGES; page++) {
    const { people, hasMore } = await ask(after);
    all.push(...people);
    const last = people.at(-1)?.username ?? '';
    if (!hasMore || last <= after) break;
    after = last;
  }
  return all;
}

/** In words, or null for what nobody needs to be told. */
export function announcement(username: string, state: ContactState, before: ContactState): string | null {
  switch (state) {
    case 'asking':
      return `${username} asks to be in contact: accept or decline`;
    case 'contact':
      return before === 'asked'
        ? `${username} has accepted: you are in contact`
        : `you are in contact with ${username}`;
    case 'none':
      if (before === 'asked') return `${username} has not accepted`;
      return before === 'contact' ? `you are no longer in contact with ${username}` : null;
    case 'asked':
    case 'blocked':
      return null; // done by this person, here or on another device
  }
}
