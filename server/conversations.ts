/** Conversations as the store has them, remembered: for a short while, or until this process has changed one. */
import type { ConversationId, Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { idKey } from '../base/id-key.ts';
import type { User } from '../store/contract/accounts.ts';
import type { Conversation } from '../store/contract/conversations.ts';
import type { Store } from '../store/store.ts';
import { rosterHash } from '../transcript/statement.ts';

/** How long one may be answered from memory; changes made through this process are seen at once. */
const CACHE_MS = 60_000;
const CACHE_ITEMS = 10_000;

export class Conversations {
  readonly #store: Pick<Store, 'conversation'>;
  readonly #now: () => number;
  readonly #known = new Map<string, { readonly at: number; readonly conversation: Conversation }>();
  /** What the store is being asked, and what it will be asked next: all that come meanwhile get that answer. */
  readonly #asked = new Map<string, Promise<Conversation | null>>();
  readonly #next = new Map<string, Promise<Conversation | null>>();
  /** Counts what was forgotten: an answer of the store that was asked for before must not be remembered after. */
  #forgotten = 0;

  constructor(store: Pick<Store, 'conversation'>, now: () => number) {
    this.#store = store;
    this.#now = now;
  }

  /** @param fresh what the store says from now on */
  async find(id: ConversationId, fresh = false): Promise<Conversation | null> {
    const key = idKey(id);
    const known = this.#known.get(key);
    const now = this.#now();
    // The clock may have been set back since.
    if (known && !fresh && now - known.at < CACHE_MS && known.at <= now) return known.conversation;
    const asked = this.#asked.get(key);
    if (asked === undefined) return this.#ask(key, id);
    let next = this.#next.get(key);
    if (next === undefined) {
      const ask = (): Promise<Conversation | null> => {
        this.#next.delete(key);
        return this.#ask(key, id);
      };
      this.#next.set(key, (next = asked.then(ask, ask)));
    }
    return next;
  }

  /** A room whose members all come back asks for itself as often as it has members, each time for all of them. */
  #ask(key: string, id: ConversationId): Promise<Conversation | null> {
    const asked = this.remembered(() => this.#store.conversation(id, this.#now()));
    const over = (): void => void this.#asked.delete(key);
    this.#asked.set(key, asked);
    asked.then(over, over);
    return asked;
  }

  /** What the store answers, from now on without asking it. */
  async remembered<T extends Conversation | null>(ask: () => Promise<T>): Promise<T> {
    const before = this.#forgotten;
    const conversation = await ask();
    if (conversation !== null && before === this.#forgotten) this.#remember(conversation);
    return conversation;
  }

  /** Its members have changed. */
  forget(id: ConversationId): void {
    this.#forgotten++;
    this.#known.delete(idKey(id));
  }

  /** This user's devices have changed, or whom he may write to. */
  forgetUser(userId: number): void {
    this.#forgetWhere(({ members }) => members.some((m) => m.userId === userId));
  }

  forgetDevices(deviceIds: readonly number[]): void {
    this.#forgetWhere(({ members }) => members.some((m) => m.devices.some(({ id }) => deviceIds.includes(id))));
  }

  #forgetWhere(isConcerned: (conversation: Conversation) => boolean): void {
    this.#forgotten++;
    for (const [key, { conversation }] of this.#known) if (isConcerned(conversation)) this.#known.delete(key);
  }

  #remember(conversation: Conversation): void {
    const key = idKey(conversation.id);
    this.#known.delete(key);
    this.#known.set(key, { at: this.#now(), conversation });
    if (this.#known.size <= CACHE_ITEMS) return;
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest);
      break;
    }
  }
}

export const isPartOf = ({ members }: Conversation, { id }: User): boolean => members.some((m) => m.userId === id);
/** A device that messages of a conversation may go to. */
export interface Recipient {
  readonly id: number;
  readonly userId: number;
}
/** Of conversations in memory, as below. */
const devices = new WeakMap<Conversation, readonly Recipient[]>();
export function devicesOf(conversation: Conversation): readonly Recipient[] {
  const known = devices.get(conversation);
  if (known !== undefined) return known;
  const all = conversation.members.flatMap((member) => member.devices.map(({ id }) => ({ id, userId: member.userId })));
  devices.set(conversation, all);
  return all;
}
/** The same for one that is not there and one that is others'. */
export const noConversation = (): ChatError =>
  new ChatError('NOT_FOUND', 'no such conversation', { field: 'conversation' });

/** Of conversations in memory: in a room of 250 devices it takes longer than everything else that a message is asked. */
const rosters = new WeakMap<Conversation, Hash>();
export function rosterOf(conversation: Conversation): Hash {
  const known = rosters.get(conversation);
  if (known !== undefined) return known;
  const { id, epoch, members } = conversation;
  const fingerprints = members.flatMap(({ devices }) => devices.map(({ fingerprint }) => fingerprint));
  const roster = rosterHash(id, epoch, fingerprints);
  rosters.set(conversation, roster);
  return roster;
}
