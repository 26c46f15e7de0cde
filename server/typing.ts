/**
 * That somebody is typing, told on to those who are connected, and to nobody and nothing else: it is neither stored nor logged, and dropped
 * whenever that is simpler.
 */
import type { Conversation } from '../store/contract/conversations.ts';
import type { Store } from '../store/store.ts';
import { contactRefusal, type ContactPolicy } from './contacts.ts';
import type { Member } from './members.ts';
import { RateLimit } from './rate-limit.ts';

/** Of one connection: one who types says so every few seconds, in one conversation at a time. */
const PER_MINUTE = 60;
/** Larger rooms are told nothing: it would be news of everybody for everybody. */
const MAX_MEMBERS = 50;
/** A connection that does not keep up has more important things to hear. */
const MAX_QUEUED_BYTES = 65_536;

export class Typing {
  readonly #store: Store;
  readonly #policy: ContactPolicy;
  readonly #limit: RateLimit;

  constructor(store: Store, policy: ContactPolicy, monotonicMs?: () => number) {
    this.#store = store;
    this.#policy = policy;
    this.#limit = new RateLimit(PER_MINUTE, monotonicMs);
  }

  /** False: too often, and not even looked at. */
  admits({ device }: Member): boolean {
    try {
      this.#limit.take(`device:${device.id}`, 1);
      return true;
    } catch {
      return false;
    }
  }

  /**
   * @param conversation that the member is in
   * @param connections of a user
   */
  async tell(
    member: Member,
    { id, members, standing }: Conversation,
    isOn: boolean,
    connections: (userId: number) => Iterable<Member>,
  ): Promise<void> {
    const others = members.filter(({ userId }) => userId !== member.user.id);
    if (others.length === 0 || members.length > MAX_MEMBERS) return;
    const notice = { type: 'typing' as const, conversation: id, username: member.user.username, on: isOn };
    for (const { userId } of others) {
      const hearing = [...connections(userId)];
      if (hearing.length === 0) continue;
      const between = others.length === 1 ? standing : await this.#store.standing(member.user.id, userId);
      if (between === 'blocked') continue;
      if (others.length === 1 && contactRefusal(this.#policy, between, 'typing') !== null) continue;
      for (const { link } of hearing) if (link.queuedBytes <= MAX_QUEUED_BYTES) link.send(notice);
    }
  }
}
