/**
 * Whether somebody is there, as others are told: what he has chosen decides. Who is invisible looks as if he had left, and when he was
 * there last is said of nobody who does not want it. Decides who may watch whom, and owns who does; who is connected is the hub's.
 */
import { ChatError } from '../base/errors.ts';
import type { Reply } from '../protocol/messages.ts';
import type { PresenceChoice, User } from '../store/contract/accounts.ts';
import type { Store } from '../store/store.ts';
import { contactRefusal, type ContactPolicy } from './contacts.ts';
import type { Member } from './members.ts';
import type { LastSeen } from './last-seen.ts';
import { Turns } from './turns.ts';

/** Users that one connection may watch. */
const MAX_WATCHED = 1024;

export interface PresenceOptions {
  readonly store: Pick<Store, 'findUser' | 'standing' | 'setPresence'>;
  readonly lastSeen: LastSeen;
  /** who may watch whom */
  readonly contactPolicy: ContactPolicy;
  readonly now: () => number;
}

type Shown = Omit<Reply<'presence'>, 'type' | 'id'>;

export class Presence {
  readonly #o: PresenceOptions;
  readonly #watchers = new Map<number, Set<Member>>();
  /** of users who are connected, as chosen last */
  readonly #choices = new Map<number, PresenceChoice>();
  /**
   * What users have chosen since this process began: whoever is logging in, or asked about, was read before that, perhaps. At most one for
   * each account.
   */
  readonly #chosen = new Map<number, PresenceChoice>();
  /** Of each user: a choice keeps what the one before it has not named. */
  readonly #turns = new Turns<number>();

  /** How often two users were parted: who was found to be allowed to watch somebody before that, perhaps is not any more. */
  #parted = 0;

  constructor(options: PresenceOptions) {
    this.#o = options;
  }

  /** His first connection. */
  came(user: User): void {
    const choice = this.#choiceOf(user);
    this.#choices.set(user.id, choice);
    if (choice.state !== 'invisible') this.#announce(user, true, choice);
  }
  /** His last connection is gone. If others could not see him until then, nobody is to know when that was. */
  left(user: User): void {
    const choice = this.#choiceOf(user);
    this.#choices.delete(user.id);
    if (choice.state !== 'invisible') this.#goes(user, choice);
  }
  /** Whether others are told that somebody who is connected is there. */
  isVisible(userId: number): boolean {
    const choice = this.#choices.get(userId);
    return choice !== undefined && choice.state !== 'invisible';
  }

  /** Keeps what he chooses, and tells who watches him; a field that is missing stays as it was. Answers what is so now. */
  choose(user: User, change: Partial<PresenceChoice>): Promise<PresenceChoice> {
    return this.#turns.take(user.id, () => this.#choose(user, change));
  }

  async #choose(user: User, change: Partial<PresenceChoice>): Promise<PresenceChoice> {
    const before = this.#choiceOf(user);
    const after = { ...before, ...change };
    if (after.state === before.state && after.showsLastSeen === before.showsLastSeen) return after;
    await this.#o.store.setPresence(user.id, after);
    this.#chosen.set(user.id, after);
    if (!this.#choices.has(user.id)) return after; // he left meanwhile
    this.#choices.set(user.id, after);
    const isLeaving = after.state === 'invisible' && before.state !== 'invisible';
    if (isLeaving) this.#goes(user, after);
    else if (after.state !== before.state) this.#announce(user, true, after);
    return after;
  }

  /** The presence of a user now, and from now on of every change. @throws NO_SUCH_PEER; BLOCKED, NOT_CONTACT; QUOTA */
  async watch(member: Member, username: string): Promise<Shown> {
    const user = await this.#o.store.findUser(username);
    if (user === null)
      throw new ChatError('NO_SUCH_PEER', 'nobody has this name', { field: 'presence_watch.username' });
    if (user.id !== member.user.id) await this.#checkWatch(member.user, user);
    if (member.watching.size >= MAX_WATCHED && !member.watching.has(user.id))
      throw new ChatError('QUOTA', 'too many users are watched already', { field: 'presence_watch.username' });
    member.watching.add(user.id);
    const watchers = this.#watchers.get(user.id);
    if (watchers) watchers.add(member);
    else this.#watchers.set(user.id, new Set([member]));
    const lastSeen = this.#o.lastSeen.of(user);
    return shown({ ...user, lastSeen }, this.#choices.has(user.id), this.#choiceOf(user));
  }

  /** What has come about while the store was asked counts as well. @throws BLOCKED, NOT_CONTACT */
  async #checkWatch(watching: User, watched: User): Promise<void> {
    const { store, contactPolicy } = this.#o;
    let parted: number;
    do {
      parted = this.#parted;
      const standing = await store.standing(watching.id, watched.id);
      const refusal = contactRefusal(contactPolicy, standing, 'presence_watch.username');
      if (refusal !== null) throw refusal;
    } while (parted !== this.#parted);
  }

  unwatchAll(member: Member): void {
    for (const id of member.watching) {
      const watchers = this.#watchers.get(id);
      watchers?.delete(member);
      if (watchers?.size === 0) this.#watchers.delete(id);
    }
  }
  /** Somebody may not be watched any longer by these, who are all connections of another one. */
  part(userId: number, watching: Iterable<Member>): void {
    this.#parted++;
    for (const member of watching) {
      member.watching.delete(userId);
      this.#watchers.get(userId)?.delete(member);
    }
  }

  #choiceOf({ id, presence }: User): PresenceChoice {
    return this.#choices.get(id) ?? this.#chosen.get(id) ?? presence;
  }

  /** Away, or as if he were. */
  #goes(user: User, choice: PresenceChoice): void {
    const at = this.#o.now();
    this.#o.lastSeen.saw(user.id, at);
    this.#announce({ ...user, lastSeen: at }, false, choice);
  }

  #announce(user: User, isConnected: boolean, choice: PresenceChoice): void {
    const presence = shown(user, isConnected, choice);
    for (const watcher of this.#watchers.get(user.id) ?? []) watcher.link.send({ type: 'presence', ...presence });
  }
}

function shown({ username, lastSeen }: User, isConnected: boolean, { state, showsLastSeen }: PresenceChoice): Shown {
  const online = isConnected && state !== 'invisible';
  return {
    username,
    online,
    ...(online && (state === 'away' || state === 'dnd') ? { state } : {}),
    ...(online || !showsLastSeen || lastSeen === null ? {} : { last_seen: lastSeen }),
  };
}
