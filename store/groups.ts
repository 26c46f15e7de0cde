/**
 * The MLS groups of conversations: what the newest commit of each made, and how a commit is taken back that the log has lost. The log
 * is what counts, so nothing is judged here; whether a commit fits is settled before it is written (server/groups.ts).
 */
import type { ConversationId } from '../base/bytes.ts';
import { first, insert, run, select, type Operation, type Row, type Scalar, type Target } from './operation.ts';
import { blobOrNull, integer, integerOrNull } from './row.ts';
import type { Group, GroupState } from './contract/conversations.ts';
import type { MessageRecord } from './contract/log.ts';

const GROUPS: Target = {
  table: 'conversation_groups',
  columns: ['conversation_id', 'generation', 'epoch', 'entry', 'group_info'],
  key: ['conversation_id'],
  onConflict: ['generation', 'epoch', 'entry', 'group_info'],
};
const COMMITS: Target = {
  table: 'group_commits',
  columns: ['entry', 'conversation_id', 'generation', 'epoch', 'previous_entry'],
  key: ['entry'],
  onConflict: 'fail',
};

const INFOS: Target = {
  table: 'group_infos',
  columns: ['entry', 'conversation_id', 'generation', 'epoch', 'group_info'],
  key: ['entry'],
  onConflict: 'keep',
};
/** Of each conversation, that are kept for those whom they have added. */
export const MAX_INFOS = 16;
const BEFORE_OLDEST = MAX_INFOS - 1;

export function* groupInfo(
  conversation: ConversationId,
  { generation, epoch }: GroupState,
): Operation<Uint8Array | null> {
  const row = yield* first(
    'SELECT i.group_info FROM group_infos i JOIN conversations c ON c.id = i.conversation_id ' +
      'WHERE c.conversation = ? AND i.generation = ? AND i.epoch = ? ORDER BY i.entry DESC LIMIT 1',
    conversation,
    generation,
    epoch,
  );
  return row && blobOrNull(row, 'group_info');
}

export function* group(conversation: ConversationId): Operation<Group | null> {
  const row = yield* first(
    'SELECT g.generation, g.epoch, g.group_info FROM conversation_groups g JOIN conversations c ON c.id = g.conversation_id ' +
      'WHERE c.conversation = ?',
    conversation,
  );
  return row && { ...stateOf(row), groupInfo: blobOrNull(row, 'group_info') };
}

const stateOf = (row: Row): GroupState => ({
  generation: integer(row, 'generation'),
  epoch: integer(row, 'epoch'),
});

interface Held extends GroupState {
  readonly entry: number;
  readonly groupInfo: Uint8Array | null;
}

/** The groups that a window commits to, held. */
export class Groups {
  readonly #groups: Map<number, Held>;
  readonly #changed = new Set<number>();
  readonly #commits: Scalar[][] = [];
  readonly #infos: Scalar[][] = [];

  constructor(groups: Map<number, Held>) {
    this.#groups = groups;
  }

  /** @param conversationIds whose sequences the caller holds */
  static *hold(conversationIds: readonly number[]): Operation<Groups> {
    const rows = yield* select(
      'SELECT conversation_id, generation, epoch, entry FROM conversation_groups WHERE conversation_id IN (?...) ' +
        'ORDER BY conversation_id FOR UPDATE',
      conversationIds,
    );
    return new Groups(
      new Map(
        rows.map((row) => [
          integer(row, 'conversation_id'),
          { ...stateOf(row), entry: integer(row, 'entry'), groupInfo: null },
        ]),
      ),
    );
  }

  /** A commit known from the log alone is taken for one that goes on in the same group. */
  commit(conversationId: number, entry: number, content: MessageRecord['content']): void {
    const before = this.#groups.get(conversationId);
    const made = madeBy(content) ?? { generation: before?.generation ?? 1, epoch: (before?.epoch ?? 0) + 1 };
    this.#groups.set(conversationId, { ...made, entry, groupInfo: content?.groupInfo ?? null });
    this.#changed.add(conversationId);
    this.#commits.push([entry, conversationId, made.generation, made.epoch, before?.entry ?? null]);
    if (content) this.#infos.push(...infoRows(conversationId, entry, made, content));
  }

  *write(): Operation<void> {
    yield* insert(COMMITS, this.#commits);
    yield* insertInfos(this.#infos);
    yield* insert(
      GROUPS,
      [...this.#changed].map((id) => {
        const { generation, epoch, entry, groupInfo } = this.#groups.get(id) as Held;
        return [id, generation, epoch, entry, groupInfo];
      }),
    );
  }
}

/** What a commit makes of the state that it ends. */
const madeBy = (content: MessageRecord['content']): GroupState | null =>
  content?.group ? { generation: content.group.generation, epoch: content.group.epoch + 1 } : null;

/** Of a commit that has added somebody: it has an invitation behind it. */
const infoRows = (
  conversationId: number,
  entry: number,
  { generation, epoch }: GroupState,
  { parts, groupInfo }: NonNullable<MessageRecord['content']>,
): Scalar[][] => (groupInfo && parts.length > 1 ? [[entry, conversationId, generation, epoch, groupInfo]] : []);

function* insertInfos(rows: readonly Scalar[][]): Operation<void> {
  yield* insert(INFOS, rows);
  for (const conversation of new Set(rows.map(([, id]) => id as number))) {
    const oldest = yield* first(
      `SELECT entry FROM group_infos WHERE conversation_id = ? ORDER BY entry DESC LIMIT 1 OFFSET ${BEFORE_OLDEST}`,
      conversation,
    );
    if (oldest)
      yield* run(
        'DELETE FROM group_infos WHERE conversation_id = ? AND entry < ?',
        conversation,
        integer(oldest, 'entry'),
      );
  }
}

/** Of commits that wait for nobody any more: whom they have added has come in, or comes from outside. */
export function* forgetInfos(limit: number): Operation<void> {
  const rows = yield* select(
    'SELECT i.entry FROM group_infos i WHERE NOT EXISTS (SELECT 1 FROM contents c WHERE c.entry = i.entry) LIMIT ?',
    limit,
  );
  yield* run(
    'DELETE FROM group_infos WHERE entry IN (?...)',
    rows.map((row) => integer(row, 'entry')),
  );
}

/** The contents of a commit have come that was known from the log alone. */
export function* completeCommit(entry: number, content: MessageRecord['content']): Operation<void> {
  const made = madeBy(content);
  const row = yield* first('SELECT conversation_id FROM group_commits WHERE entry = ?', entry);
  if (!made || !row) return;
  const { generation, epoch } = made;
  if (content) yield* insertInfos(infoRows(integer(row, 'conversation_id'), entry, made, content));
  yield* run('UPDATE group_commits SET generation = ?, epoch = ? WHERE entry = ?', generation, epoch, entry);
  // Only while it is the newest: what was committed after it stands.
  yield* run(
    'UPDATE conversation_groups SET generation = ?, epoch = ?, group_info = ? WHERE conversation_id = ? AND entry = ?',
    generation,
    epoch,
    content?.groupInfo ?? null,
    integer(row, 'conversation_id'),
    entry,
  );
}

/** Takes back the commits at these entries. The group that was before has lost its GroupInfo. */
export function* rewindGroups(from: number, to: number): Operation<void> {
  const lost = yield* select(
    'SELECT entry, conversation_id, previous_entry FROM group_commits WHERE entry BETWEEN ? AND ? ORDER BY entry DESC',
    from,
    to,
  );
  for (const row of lost) {
    const entry = integer(row, 'entry');
    const conversation = integer(row, 'conversation_id');
    const previousEntry = integerOrNull(row, 'previous_entry');
    // What another log has added on top stays.
    yield* run(
      'UPDATE group_commits SET previous_entry = ? WHERE conversation_id = ? AND previous_entry = ?',
      previousEntry,
      conversation,
      entry,
    );
    const previous =
      previousEntry === null
        ? null
        : yield* first('SELECT generation, epoch FROM group_commits WHERE entry = ?', previousEntry);
    if (previous) {
      const { generation, epoch } = stateOf(previous);
      yield* run(
        'UPDATE conversation_groups SET generation = ?, epoch = ?, entry = ?, group_info = NULL ' +
          'WHERE conversation_id = ? AND entry = ?',
        generation,
        epoch,
        previousEntry,
        conversation,
        entry,
      );
    } else yield* run('DELETE FROM conversation_groups WHERE conversation_id = ? AND entry = ?', conversation, entry);
  }
  yield* run('DELETE FROM group_infos WHERE entry BETWEEN ? AND ?', from, to);
  yield* run('DELETE FROM group_commits WHERE entry BETWEEN ? AND ?', from, to);
}
