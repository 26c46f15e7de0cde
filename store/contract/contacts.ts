/** What users are to each other, and who can be found. */

/** What one user's row says about another. `asked`: waits for an answer of the other; `asking`: has to answer. */
export type ContactState = 'asked' | 'asking' | 'contact' | 'blocked';

export type ContactAction = 'add' | 'accept' | 'decline' | 'remove' | 'block' | 'unblock';

/** Of two users to each other; a block on either side outweighs everything. */
export type Standing = 'strangers' | 'contacts' | 'blocked';

export interface Person {
  readonly username: string;
  readonly email: string;
  readonly displayName: string | null;
}

export interface Contact {
  readonly userId: number;
  readonly username: string;
  readonly email: string;
  readonly state: ContactState;
  readonly changedAt: number;
}

export interface ContactStore {
  /**
   * What one user does about another; both rows change together, and two who act on each other at once do it one after the other. Who
   * asks somebody that asks him has accepted. Repeating changes nothing.
   * @throws NO_SUCH_PEER unless both exist and are two; BLOCKED (sub `by_you` for one's own block); NOT_FOUND for what there is nothing
   *   to do with
   */
  changeContact(
    userId: number,
    otherId: number,
    action: ContactAction,
    at: number,
  ): Promise<{
    readonly before: { readonly mine: ContactState | null; readonly theirs: ContactState | null };
    readonly after: { readonly mine: ContactState | null; readonly theirs: ContactState | null };
  }>;
  /** By username. */
  contactsOf(userId: number): Promise<Contact[]>;
  standing(userA: number, userB: number): Promise<Standing>;
  /** Active accounts by username, those after `after`. */
  directory(after: string, limit: number): Promise<Person[]>;
}
