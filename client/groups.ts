/**
 * The owner of all MLS states: one at a time works on those of a conversation, whatever belongs together is stored in one transaction, and what
 * was not stored has not happened. Inbox and outbox decide what is done; how a state becomes bytes and back is decided here.
 *
 * States are values, and two encryptions from one would use one key twice, so there is a lock for each conversation: work on a large group
 * takes seconds in the other thread, and nothing else waits for it. Locks are never held while somebody waits for the inbox or the outbox.
 */
import { equal, hex, type ConversationId } from '../base/bytes.ts';
import { parseOrigin } from '../transcript/key-statement.ts';
import { Acquaintances } from './acquaintances.ts';
import { Bindings } from './bindings.ts';
import type { ClientIdentity } from './identity.ts';
import type { Session } from './session.ts';
import type { Vault } from './vault.ts';
import { changeOf, GroupEngine, type Change } from './group-engine.ts';
import { ThreadLost } from './group-thread.ts';
import type { StoredGroup } from './group-table.ts';
import { restore } from './e2ee/delta.ts';
import { erase } from './e2ee/group.ts';
import { groupIdOf } from './e2ee/direct.ts';
import { Distant, epochOf, isDistant, nextHandle, ownKeyIn, pendingEpoch, type Held } from './e2ee/held.ts';
import type { Header } from './e2ee/header.ts';
import { ConversationQueue } from './e2ee/queue.ts';
import { decodeSketch, encodeSketch } from './e2ee/sketch.ts';

/** What a commit of ours makes, by which this device creates a group or comes in from outside. It counts once the commit is accepted. */
export interface Entry {
  readonly generation: number;
  readonly commit: Uint8Array;
  readonly conversation: Held;
}
export interface Group {
  /** 0: none */
  readonly generation: number;
  readonly conversation: Held | null;
  /** First epoch that this device can read. */
  readonly since: number;
  readonly entry: Entry | null;
}
/** Of one conversation, until they are saved. */
interface Changes {
  group: Group | null;
  readonly spent: Uint8Array[];
  /** what is stored of the age of keys, beside the group */
  readonly counts: (() => void)[];
}
export const NO_GROUP: Group = { generation: 0, conversation: null, since: 0, entry: null };

/** Then a snapshot takes the place of the deltas. */
const MAX_DELTAS = 200;
const MAX_ROUNDS = 4;

export class Groups {
  readonly bindings: Bindings;
  readonly acquaintances: Acquaintances;
  readonly #vault: Vault;
  readonly #own: ClientIdentity;
  readonly #now: () => number;
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
    this.#now = now;
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
      if (group !== null) this.#store(id, group);
      for (const count of counts) count();
      erase(spent);
    }
  }
  #changesOf(id: ConversationId): Changes {
    const changes = this.#changed.get(hex(id)) ?? { group: null, spent: [], counts: [] };
    this.#changed.set(hex(id), changes);
    return changes;
  }
  #store(id: ConversationId, group: Group): void {
    const before = this.#load(id);
    this.#write(id, before, group);
    this.#keepFresh(id, before, group);
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
    const known = this.#stored.get(hex(id));
    if (known !== undefined) return known;
    const current = this.#vault.groups.current(id);
    const entry = this.#vault.groups.entry(id);
    const group: Group = {
      generation: current?.generation ?? 0,
      conversation: current && heldOf(current),
      since: current?.since ?? 0,
      entry:
        entry === null
          ? null
          : { generation: entry.generation, commit: entry.commit, conversation: heldOf({ ...entry, deltas: [] }) },
    };
    this.#stored.set(hex(id), group);
    return group;
  }

  #write(id: ConversationId, before: Group, after: Group): void {
    const { groups } = this.#vault;
    if (after.conversation === null) {
      if (before.conversation !== null) groups.dropCurrent(id);
    } else if (after.conversation !== before.conversation) {
      const isSame = before.generation === after.generation && before.since === after.since;
      const { generation, since } = after;
      const change = changeOf(isSame ? before.conversation : null, after.conversation);
      if (change.snapshot !== null) groups.setCurrent(id, { generation, since, ...stored(change.snapshot) });
      for (const delta of change.deltas)
        if (groups.addDelta(id, delta) >= MAX_DELTAS && !isDistant(after.conversation))
          groups.setCurrent(id, { generation, since, ...stored(changeOf(null, after.conversation).snapshot!) });
    }
    if (after.entry === before.entry) return;
    if (after.entry === null) return groups.dropEntry(id);
    const { generation, commit, conversation } = after.entry;
    groups.setEntry(id, { generation, commit, ...stored(changeOf(null, conversation).snapshot!) });
  }

  /** Who has come in from outside has shown its new key before it was in the group: it is replaced from the inside. */
  #keepFresh(id: ConversationId, before: Group, after: Group): void {
    const { freshness } = this.#vault;
    if (after.conversation === null) return freshness.drop(id);
    const { key, isCommitted } = ownKeyIn(after.conversation);
    const isSame = before.generation === after.generation && before.since === after.since;
    if (isSame && before.conversation !== null && equal(ownKeyIn(before.conversation).key, key)) return;
    freshness.renewed(id, this.#now());
    const isFounded = after.since === 1;
    if (!isSame && isCommitted && !isFounded) freshness.hurry(id);
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

export { epochOf };
export const entered = ({ generation, conversation }: Entry): Group => ({
  generation,
  conversation,
  since: epochOf(conversation),
  entry: null,
});
/** A large one is not read before something is done with it. */
const heldOf = ({ snapshot, sketch, deltas }: Omit<StoredGroup, 'generation' | 'since'>): Held =>
  sketch === null ? restore(snapshot, deltas) : new Distant(nextHandle(), decodeSketch(sketch), { snapshot, deltas });
/** As the vault keeps it. */
const stored = ({ bytes, sketch }: NonNullable<Change['snapshot']>): Pick<StoredGroup, 'snapshot' | 'sketch'> => ({
  snapshot: bytes,
  sketch: sketch && encodeSketch(sketch),
});
/** Whether the header is that of a group of this conversation and generation. */
export const isOf = (header: Header, id: ConversationId, generation: number): boolean =>
  equal(header.groupId, groupIdOf(id, generation));
