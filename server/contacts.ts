/**
 * Who may write to whom. `contacts.policy`: `open` lets everybody write to everybody, `request` only to those who accepted, `closed` only
 * to those whom the operator brought together. A block outweighs every policy, in both directions.
 */
import { ChatError } from '../base/errors.ts';
import type { Reply } from '../protocol/messages.ts';
import type { User } from '../store/contract/accounts.ts';
import type { ContactAction, ContactState, Standing } from '../store/contract/contacts.ts';
import type { ConversationStanding } from '../store/contract/conversations.ts';
import type { Store } from '../store/store.ts';
import { RateLimit } from './rate-limit.ts';

export type ContactPolicy = 'open' | 'request' | 'closed';
export type DirectoryVisibility = 'everybody' | 'contacts' | 'nobody';

/** People in one answer of the directory. */
const PAGE = 200;
/** Requests of one user that wait for an answer: nobody can fill the lists of others. */
export const MAX_ASKED = 200;
/** Of one user: each is told to the other, and who is asked and asked again has nothing against it but a block. */
const CHANGES_PER_MINUTE = 20;
export const CHANGES_AT_ONCE = 400;

export interface ContactsOptions {
  readonly store: Store;
  readonly policy: ContactPolicy;
  readonly visibility: DirectoryVisibility;
  readonly now: () => number;
  readonly monotonicMs?: () => number;
  /** To every connection of a user. */
  readonly tell: (userId: number, notice: Reply<'contact_changed'>) => void;
  /** What is remembered of a user's conversations is out of date. */
  readonly forget: (userId: number) => void;
  /** The same, and neither of the two is to see more of the other. */
  readonly part: (userA: number, userB: number) => void;
}

export class Contacts {
  readonly #o: ContactsOptions;
  readonly #changes: RateLimit;

  constructor(options: ContactsOptions) {
    this.#o = options;
    this.#changes = new RateLimit(CHANGES_PER_MINUTE, options.monotonicMs, CHANGES_AT_ONCE);
  }

  /**
   * @throws NO_SUCH_PEER, BLOCKED, NOT_FOUND; QUOTA for too many; RATE_LIMIT; NOT_CONTACT/closed where only the operator brings people
   *   together
   */
  async change(user: User, action: ContactAction, account: string): Promise<Omit<Reply<'contact'>, 'type' | 'id'>> {
    const { store, policy, now, tell, forget, part } = this.#o;
    // Not of a block: that is what helps against the others.
    if (action !== 'block') this.#changes.take(`user:${user.id}`, 1);
    const other = await store.findUser(account);
    if (other === null || other.id === user.id)
      throw new ChatError('NO_SUCH_PEER', 'nobody else has this name', { field: 'account' });
    if (policy === 'closed' && (action === 'add' || action === 'accept'))
      throw new ChatError('NOT_CONTACT', 'the operator of this server decides who is in contact', { sub: 'closed' });
    if (
      action === 'add' &&
      (await store.contactsOf(user.id)).filter(({ state }) => state === 'asked').length >= MAX_ASKED
    )
      throw new ChatError('QUOTA', 'too many of your requests wait for an answer', { field: 'account' });
    const at = now();
    const { before, after } = await store.changeContact(user.id, other.id, action, at);
    if (contactRefusal(policy, standingAfter(after), 'account') === null) forget(user.id);
    else part(user.id, other.id);
    if (before.mine !== after.mine) tell(user.id, notice(other, after.mine, at));
    // Whom somebody has blocked is his alone to know.
    if (before.theirs !== after.theirs) tell(other.id, notice(user, after.theirs, at));
    return { username: other.username, state: after.mine ?? 'none' };
  }

  /** A page of the user's own, after a name. */
  async list(user: User, after: string): Promise<Omit<Reply<'contacts'>, 'type' | 'id'>> {
    const found = (await this.#o.store.contactsOf(user.id)).filter(({ username }) => username > after);
    const people = found.map(({ username, email, state, changedAt }) => ({ username, email, state, at: changedAt }));
    return { people: people.slice(0, PAGE), has_more: people.length > PAGE };
  }

  /** A page of those who have an account, after a name, as far as this user may see them. */
  async directory(user: User, after: string): Promise<Omit<Reply<'directory'>, 'type' | 'id'>> {
    const { store, visibility } = this.#o;
    if (visibility === 'nobody') return { people: [], has_more: false };
    if (visibility === 'contacts') {
      const known = (await store.contactsOf(user.id)).filter(
        ({ state, username }) => state === 'contact' && username > after,
      );
      const people = known.slice(0, PAGE).map(({ username, email }) => ({ username, email }));
      return { people, has_more: known.length > PAGE };
    }
    const found = await store.directory(after, PAGE + 1);
    const people = found.slice(0, PAGE).map(({ username, email, displayName }) => ({
      username,
      email,
      ...(displayName === null ? {} : { display_name: displayName }),
    }));
    return { people, has_more: found.length > PAGE };
  }
}

const standingAfter = ({
  mine,
  theirs,
}: {
  readonly mine: ContactState | null;
  readonly theirs: ContactState | null;
}): Standing =>
  mine === 'blocked' || theirs === 'blocked' ? 'blocked' : mine === 'contact' ? 'contacts' : 'strangers';

/** Null, or why one of the two may neither write to the other nor see whether he is there. */
export function contactRefusal(policy: ContactPolicy, standing: ConversationStanding, field: string): ChatError | null {
  if (standing === 'blocked') return new ChatError('BLOCKED', 'one of you has blocked the other', { field });
  if (standing === 'contacts' || standing === 'self' || policy === 'open') return null;
  return new ChatError('NOT_CONTACT', 'the two of you are not in contact', { field });
}

const notice = (about: User, state: ContactState | null, at: number): Reply<'contact_changed'> => ({
  type: 'contact_changed',
  username: about.username,
  state: state ?? 'none',
  at,
});
