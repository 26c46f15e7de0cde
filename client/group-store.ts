/**
 * Groups on the disk: how a state becomes bytes and back, what of it is written when it has changed, and when its keys were new. Runs inside the
 * transaction of what goes with it.
 */
import { equal, type ConversationId } from '../base/bytes.ts';
import { restore } from './e2ee/delta.ts';
import { Distant, isDistant, nextHandle, ownKeyIn, type Held } from './e2ee/held.ts';
import { decodeSketch, encodeSketch } from './e2ee/sketch.ts';
import type { FreshnessTable } from './freshness-table.ts';
import { changeOf, type Change } from './group-engine.ts';
import type { Group } from './group-state.ts';
import type { GroupTable, StoredGroup } from './group-table.ts';

/** Then a snapshot takes the place of the deltas. */
const MAX_DELTAS = 200;

export class GroupStore {
  readonly #table: GroupTable;
  readonly #freshness: FreshnessTable;
  readonly #now: () => number;

  constructor(table: GroupTable, freshness: FreshnessTable, now: () => number) {
    this.#table = table;
    this.#freshness = freshness;
    this.#now = now;
  }

  load(id: ConversationId): Group {
    const current = this.#table.current(id);
    const entry = this.#table.entry(id);
    return {
      generation: current?.generation ?? 0,
      conversation: current && heldOf(current),
      since: current?.since ?? 0,
      entry:
        entry === null
          ? null
          : { generation: entry.generation, commit: entry.commit, conversation: heldOf({ ...entry, deltas: [] }) },
    };
  }

  /** @param before as it is on the disk */
  store(id: ConversationId, before: Group, after: Group): void {
    this.#write(id, before, after);
    this.#keepFresh(id, before, after);
  }

  #write(id: ConversationId, before: Group, after: Group): void {
    if (after.conversation === null) {
      if (before.conversation !== null) this.#table.dropCurrent(id);
    } else if (after.conversation !== before.conversation) {
      const isSame = before.generation === after.generation && before.since === after.since;
      const { generation, since } = after;
      const change = changeOf(isSame ? before.conversation : null, after.conversation);
      if (change.snapshot !== null) this.#table.setCurrent(id, { generation, since, ...stored(change.snapshot) });
      for (const delta of change.deltas)
        if (this.#table.addDelta(id, delta) >= MAX_DELTAS && !isDistant(after.conversation))
          this.#table.setCurrent(id, { generation, since, ...stored(changeOf(null, after.conversation).snapshot!) });
    }
    if (after.entry === before.entry) return;
    if (after.entry === null) return this.#table.dropEntry(id);
    const { generation, commit, conversation } = after.entry;
    this.#table.setEntry(id, { generation, commit, ...stored(changeOf(null, conversation).snapshot!) });
  }

  /** Who has come in from outside has shown its new key before it was in the group: it is replaced from the inside. */
  #keepFresh(id: ConversationId, before: Group, after: Group): void {
    if (after.conversation === null) return this.#freshness.drop(id);
    const { key, isCommitted } = ownKeyIn(after.conversation);
    const isSame = before.generation === after.generation && before.since === after.since;
    if (isSame && before.conversation !== null && equal(ownKeyIn(before.conversation).key, key)) return;
    this.#freshness.renewed(id, this.#now());
    const isFounded = after.since === 1;
    if (!isSame && isCommitted && !isFounded) this.#freshness.hurry(id);
  }
}

/** A large one is not read before something is done with it. */
const heldOf = ({ snapshot, sketch, deltas }: Omit<StoredGroup, 'generation' | 'since'>): Held =>
  sketch === null ? restore(snapshot, deltas) : new Distant(nextHandle(), decodeSketch(sketch), { snapshot, deltas });
/** As the vault keeps it. */
const stored = ({ bytes, sketch }: NonNullable<Change['snapshot']>): Pick<StoredGroup, 'snapshot' | 'sketch'> => ({
  snapshot: bytes,
  sketch: sketch && encodeSketch(sketch),
});
