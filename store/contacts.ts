/** Who is whose contact, and who wants to hear nothing of whom. Each of two users has a row of his own about the other. */
import { ChatError } from '../base/errors.ts';
import { insert, run, select, type Operation, type Target } from './operation.ts';
import { integer, text } from './row.ts';
import type { Contact, ContactAction, ContactState, Person, Standing } from './contract/contacts.ts';

/** Numbers of the database. */
const STATES = { asked: 1, asking: 2, contact: 3, blocked: 4 } as const satisfies Record<ContactState, number>;
const stateOf = (value: number): ContactState =>
  (Object.keys(STATES) as ContactState[]).find((name) => STATES[name] === value) as ContactState;

const CONTACTS: Target = {
  table: 'contacts',
  columns: ['user_id', 'other_id', 'state', 'changed_at'],
  key: ['user_id', 'other_id'],
  onConflict: ['state', 'changed_at'],
};

export interface Pair {
  readonly mine: ContactState | null;
  readonly theirs: ContactState | null;
}

/**
 * What becomes of two people's standing when one of them does something. Pure.
 * @throws BLOCKED for asking across a block, sub `by_you` where it is one's own; NOT_FOUND for what there is nothing to do with
 */
export function contactAfter({ mine, theirs }: Pair, action: ContactAction): Pair {
  const isBlocked = mine === 'blocked' || theirs === 'blocked';
  const nothing = (): never => {
    throw new ChatError('NOT_FOUND', 'there is nothing of the kind between you', { field: 'contact' });
  };
  switch (action) {
    case 'add':
      if (isBlocked)
        throw new ChatError('BLOCKED', 'one of you has blocked the other', mine === 'blocked' ? { sub: 'by_you' } : {});
      if (mine === 'contact') return { mine, theirs };
      return mine === 'asking' ? { mine: 'contact', theirs: 'contact' } : { mine: 'asked', theirs: 'asking' };
    case 'accept':
      if (mine === 'contact') return { mine, theirs };
      return mine === 'asking' ? { mine: 'contact', theirs: 'contact' } : nothing();
    case 'decline':
      return mine === 'asking' ? { mine: null, theirs: null } : nothing();
    case 'remove':
      return mine === 'contact' || mine === 'asked' ? { mine: null, theirs: null } : nothing();
    case 'block':
      return { mine: 'blocked', theirs: theirs === 'blocked' ? theirs : null };
    case 'unblock':
      return mine === 'blocked' ? { mine: null, theirs } : nothing();
  }
}

export function* changeContact(
  userId: number,
  otherId: number,
  action: ContactAction,
  at: number,
): Operation<{ before: Pair; after: Pair }> {
  // Both rows of `users` are held, the lower first: two who act on each other do it one after the other.
  const both = yield* select('SELECT id FROM users WHERE id IN (?...) ORDER BY id FOR UPDATE', [userId, otherId]);
  if (both.length !== 2) throw new ChatError('NO_SUCH_PEER', 'nobody else has this name', { field: 'account' });
  const before = yield* pairOf(userId, otherId);
  const after = contactAfter(before, action);
  yield* put(userId, otherId, before.mine, after.mine, at);
  yield* put(otherId, userId, before.theirs, after.theirs, at);
  return { before, after };
}

function* put(user: number, other: number, was: ContactState | null, is: ContactState | null, at: number) {
  if (was === is) return;
  if (is === null) yield* run('DELETE FROM contacts WHERE user_id = ? AND other_id = ?', user, other);
  else yield* insert(CONTACTS, [[user, other, STATES[is], at]]);
}

export function* contactsOf(userId: number): Operation<Contact[]> {
  const rows = yield* select(
    'SELECT c.other_id, c.state, c.changed_at, u.username, u.email FROM contacts c JOIN users u ON u.id = c.other_id ' +
      'WHERE c.user_id = ? ORDER BY u.username',
    userId,
  );
  return rows.map((row) => ({
    userId: integer(row, 'other_id'),
    username: text(row, 'username'),
    email: text(row, 'email'),
    state: stateOf(integer(row, 'state')),
    changedAt: integer(row, 'changed_at'),
  }));
}

export function* standing(userA: number, userB: number): Operation<Standing> {
  const { mine, theirs } = yield* pairOf(userA, userB);
  if (mine === 'blocked' || theirs === 'blocked') return 'blocked';
  return mine === 'contact' ? 'contacts' : 'strangers';
}

export function* directory(after: string, limit: number): Operation<Person[]> {
  const rows = yield* select(
    "SELECT username, email, display_name FROM users WHERE status = 'active' AND username > ? ORDER BY username LIMIT ?",
    after,
    limit,
  );
  return rows.map((row) => ({
    username: text(row, 'username'),
    email: text(row, 'email'),
    displayName: row['display_name'] === null ? null : text(row, 'display_name'),
  }));
}

function* pairOf(mine: number, theirs: number): Operation<Pair> {
  const rows = yield* select(
    'SELECT user_id, state FROM contacts WHERE user_id = ? AND other_id = ? OR user_id = ? AND other_id = ?',
    mine,
    theirs,
    theirs,
    mine,
  );
  const find = (user: number): ContactState | null => {
    const row = rows.find((each) => each['user_id'] === user);
    return row ? stateOf(integer(row, 'state')) : null;
  };
  return { mine: find(mine), theirs: find(theirs) };
}
