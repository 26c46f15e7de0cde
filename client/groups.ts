/**
 * The owner of all MLS states: one at a time works on those of a conversation, whatever belongs together is stored in one transaction, and what
 * was not stored has not happened. Inbox and outbox decide what is done; how a state becomes bytes and back, group-store.ts.
 *
 * States are values, and two encryptions from one would use one key twice, so there is a lock for each conversation: work on a large group
 * takes seconds in the other thread, and nothing else waits for it. Locks are never held while somebody waits for the inbox or the outbox.
 */
import { hex, type ConversationId } from '../base/bytes.ts';
import { parseOrigin } from '../transcript/key-statement.ts';
import { Acquaintances } from './acquaintances.ts';
import { Bindings } from './bindings.ts';
import type { ClientIdentity } from './identity.ts';
import type { Session } from './session.ts';
import type { Vault } from './vault.ts';
import { GroupEngine } from './group-engine.ts';
import { entered, type Group } from './group-state.ts';
import { GroupStore } from './group-store.ts';
import { ThreadLost } from './group-thread.ts';
import { erase } from './e2ee/group.ts';
import { epochOf, pendingEpoch, type Held } from './e2ee/held.ts';
import { ConversationQueue } from './e2ee/queue.ts';

/** Of one conversation, until they are saved. */
interface Changes {
  group: Group | null;
  readonly spent: Uint8Array[];
  /** what is stored of the age of keys, beside the group */
  readonly counts: (() => void)[];
}

const MAX_ROUNDS = 4;

export class Groups {
  readonly bindings: Bindings;
  readonly acquaintances: Acquaintances;
  readonly #vault: Vault;
  readonly #own: ClientIdentity;
  readonly #store: GroupStore;
  readonly #queue = new ConversationQueue();
  /** as they are on disk, and as the work that is under way has made them */
  readonly #stored = new Map<string, Group>();
  readonly #changed = new Map<string, Changes>();
  /** the furthest that proven statements say a group has come */
  readonly #reached = new Map<string, { readonly generation: number; readonly epoch: number }>();
  readonly #broken = new Set<string>();
  #engine: { readonly organisation: string; readonly opening: Promise<GroupEngine> } | null = null;

  constructor(vault: Vault, own: ClientIdentity, now: () => number) {
    this.#vault = vault;
    this.#own = own;
    this.#store = new GroupStore(vault.groups, vault.freshness, now);
    this.bindings = new Bindings(vault);
    this.acquaintances = new Acquaintances(vault, own, this.bindings, now);
  }

  /** Bindings are worth something in one organisation alone: the one whose server keeps this log. */
  static organisationOf = (session: Session): string => parseOrigin(session.log.origin).host;

  /**
   * Runs `work` when nothing else is under way in these conversations. What it changes there and does not save() is forgotten; where the other
   * thread has died of another group meanwhile, it is run again.
   */
  exclusively<T>(
    session: Session,
    ids: readonly ConversationId[],
    work: (engine: GroupEngine) => Promise<T>,
  ): Promise<T> {
    const keys = [...new Set(ids.map(hex))];
    return this.#queue.run(keys, async () => {
      for (let round = 1; ; round++)
        try {
          return await this.#turn(session, keys, work);
        } catch (error) {
          if (!(error instanceof ThreadLost) || round === MAX_ROUNDS) throw error;
        }
    });
  }
  async #turn<T>(session: Session, keys: readonly string[], work: (engine: GroupEngine) => Promise<T>): Promise<T> {
    const engine = (await this.#open(Groups.organisationOf(session))).turn();
    const stored = (): Group[] => keys.flatMap((key) => this.#stored.get(key) ?? []);
    let former: Group[] = [];
    try {
      return await work(engine);
    } catch (error) {
      former = stored();
      for (const key of keys) this.#stored.delete(key); // what is on disk now is what was saved, or not, before it failed
      throw error;
    } finally {
      for (const key of keys) this.#changed.delete(key);
      engine.keep(stored().map(current), stored().map(besides), [...former.map(current), ...former.map(besides)]);
    }
  }

  /** Nothing is worked on any more. */
  async close(): Promise<void> {
    const engine = this.#engine;
    this.#engine = null;
    this.#stored.clear(); // what is not on disk was in the other thread
    await (await engine?.opening)?.close();
  }

  /** As it is now, unsaved changes included. */
  of(id: ConversationId): Group {
    return this.#changed.get(hex(id))?.group ?? this.#load(id);
  }
  /** As it is on disk, for those who only look. */
  stored(id: ConversationId): Group {
    return this.#load(id);
  }
  /** For what changes nothing. */
  engine(session: Session): Promise<GroupEngine> {
    return this.#open(Groups.organisationOf(session));
  }
  /** Inside exclusively(), as all that changes something. @param spent secrets that the group needs no more, once it is stored */
  set(id: ConversationId, group: Group, spent: readonly Uint8Array[] = []): void {
    const changes = this.#changesOf(id);
    changes.group = group;
    changes.spent.push(...spent);
  }
  /** A message was sealed. */
  wrote(id: ConversationId): void {
    this.#changesOf(id).counts.push(() => this.#vault.freshness.used(id));
  }
  /** Keys that others may come to know: they are replaced as soon as that is possible. */
  hurry(id: ConversationId): void {
    this.#changesOf(id).counts.push(() => this.#vault.freshness.hurry(id));
  }
  /** Stores what was set of these conversations, inside the transaction of what goes with it. */
  save(ids: readonly ConversationId[]): void {
    for (const id of ids) {
      const changes = this.#changed.get(hex(id));
      if (changes === undefined) continue;
      this.#changed.delete(hex(id));
      const { group, counts, spent } = changes;
      if (group !== null) this.#put(id, group);
      for (const count of counts) count();
      erase(spent);
    }
  }
  #changesOf(id: ConversationId): Changes {
    const changes = this.#changed.get(hex(id)) ?? { group: null, spent: [], counts: [] };
    this.#changed.set(hex(id), changes);
    return changes;
  }
  #put(id: ConversationId, group: Group): void {
    const before = this.#load(id);
    this.#store.store(id, before, group);
    this.#stored.set(hex(id), group);
    if (before.generation !== group.generation || before.since !== group.since) this.#broken.delete(hex(id)); // it came in anew
  }

  /** A proven statement was made in this state of the group. */
  reached(id: ConversationId, generation: number, epoch: number): void {
    const before = this.furthest(id);
    if (generation > before.generation || (generation === before.generation && epoch > before.epoch))
      this.#reached.set(hex(id), { generation, epoch });
  }
  furthest(id: ConversationId): { readonly generation: number; readonly epoch: number } {
    const { generation, conversation } = this.of(id);
    const own = { generation, epoch: conversation === null ? 0 : epochOf(conversation) };
    const seen = this.#reached.get(hex(id)) ?? own;
    const isOwnFurther =
      own.generation > seen.generation || (own.generation === seen.generation && own.epoch > seen.epoch);
    return isOwnFurther ? own : seen;
  }

  /** This device's state leads nowhere: it has to come in anew. */
  markBroken(id: ConversationId): void {
    this.#broken.add(hex(id));
  }
  isBroken(id: ConversationId): boolean {
    return this.#broken.has(hex(id));
  }

  /** The group after our commit of it was accepted. */
  async adopted(id: ConversationId, engine: GroupEngine): Promise<Group> {
    const group = this.of(id);
    if (group.entry !== null) return entered(group.entry);
    // Evidence may have come before the acknowledgement: then there is nothing left to do.
    const { conversation } = group;
    if (conversation === null || pendingEpoch(conversation) === null) return group;
    return { ...group, conversation: await engine.adopt(conversation) };
  }
  /** The group after our commit of it was refused. */
  async dropped(id: ConversationId, engine: GroupEngine): Promise<Group> {
    const { conversation, ...rest } = this.of(id);
    const isPending = conversation !== null && pendingEpoch(conversation) !== null;
    return { ...rest, conversation: isPending ? await engine.drop(conversation) : conversation, entry: null };
  }

  #load(id: ConversationId): Group {
    const group = this.#stored.get(hex(id)) ?? this.#store.load(id);
    this.#stored.set(hex(id), group);
    return group;
  }

  async #open(organisation: string): Promise<GroupEngine> {
    if (this.#engine?.organisation !== organisation) {
      const { roots, intermediates } = this.#own;
      await this.close();
      const opening = GroupEngine.open({ organisation, roots, intermediates, bindings: this.bindings.all });
      this.#engine = { organisation, opening };
    }
    return this.#engine.opening;
  }
}

const current = ({ conversation }: Group): Held | null => conversation;
const besides = ({ entry }: Group): Held | null => entry && entry.conversation;
