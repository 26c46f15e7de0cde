/**
 * What this device writes into a group: sealed messages, and the commits that a plan asks for. Runs inside Groups.exclusively(); what it
 * changes counts once it is saved, in the transaction that also stages the batch.
 */
import type { ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { MAX_BLOB_BYTES } from '../protocol/messages.ts';
import type { Groups } from './groups.ts';
import { checkEntry, settingsOf } from './group-rules.ts';
import type { Wanted } from './group-task.ts';
import type { Plan } from './group-plan.ts';
import type { Session } from './session.ts';
import type { Conversation as Roster } from './roster.ts';
import type { GroupEngine } from './group-engine.ts';
import { groupIdOf } from './e2ee/direct.ts';
import { refuse } from './e2ee/refusal.ts';
import { epochOf, pendingEpoch, settingsIn, usersIn, type Held } from './e2ee/held.ts';
import type { GroupDoor, WelcomeParts } from './e2ee/invitation.ts';
import type { OwnDevice } from './e2ee/key-package.ts';
import { commitParts, doorBytes } from './e2ee/layout.ts';

/** What travels of one message, and the state of the group that it was made in. */
export interface Sealed {
  readonly parts: Uint8Array[];
  readonly group: { readonly generation: number; readonly epoch: number };
  /** of a commit: what lets others into the state that it makes */
  readonly group_info?: Uint8Array;
  /** What its parts and its GroupInfo refer to, as it is to be put. */
  readonly parts_blob?: Uint8Array;
  readonly info_blob?: Uint8Array;
}

/** @throws STALE/epoch when there is no group to write in any more */
export async function sealMessage(
  groups: Groups,
  engine: GroupEngine,
  id: ConversationId,
  opening: Uint8Array,
  aad: Uint8Array,
): Promise<Sealed> {
  const group = groups.of(id);
  if (group.conversation === null || groups.isBroken(id)) return outdated();
  const epoch = epochOf(group.conversation);
  const { conversation, message, spent } = await engine.encrypt(group.conversation, opening, aad);
  groups.set(id, { ...group, conversation }, spent);
  groups.wrote(id);
  return { parts: [message], group: { generation: group.generation, epoch } };
}

/**
 * @param aad of the statement that the commit belongs to
 * @throws STALE/epoch when the group is not any more what the plan was made for
 */
export async function makeCommit(
  groups: Groups,
  session: Session,
  engine: GroupEngine,
  roster: Roster,
  plan: Extract<Plan, { readonly kind: 'create' | 'enter' | 'change' }>,
  device: OwnDevice,
  aad: Uint8Array,
): Promise<Sealed> {
  const { id } = roster;
  const group = groups.of(id);
  const at = session.serverNow();
  const commitOf = (conversation: Held, wanted: Wanted) =>
    groups.bindings.resolving(session, () => engine.commit(conversation, { ...wanted, authenticatedData: aad }, at));
  switch (plan.kind) {
    case 'create': {
      const { generation, add } = plan;
      if (group.conversation !== null && group.generation >= generation) return outdated();
      const alone = await engine.create(device, groupIdOf(id, generation), settingsOf(roster, device.user), at);
      const { conversation: made, commit, welcome } = await commitOf(alone, { add });
      const door = await engine.door(made);
      groups.set(id, { ...group, entry: { generation, commit, conversation: await engine.adopt(made) } });
      return sealedCommit(commit, welcome, { generation, epoch: 0 }, door);
    }
    case 'enter': {
      const { generation, epoch } = plan;
      const { conversation, commit } = await groups.bindings.resolving(session, () =>
        engine.joinExternal(plan.door, device, at, aad),
      );
      checkEntry(roster, settingsIn(conversation), await engine.members(conversation));
      if (roster.room?.public === false && group.conversation !== null && generation !== group.generation)
        checkSame(usersIn(group.conversation), usersIn(conversation), roster.peer);
      const door = await engine.door(conversation);
      groups.set(id, { ...group, entry: { generation, commit, conversation } });
      return sealedCommit(commit, null, { generation, epoch }, door);
    }
    case 'change': {
      const { add, remove, epoch } = plan;
      if (
        group.conversation === null ||
        epochOf(group.conversation) !== epoch ||
        pendingEpoch(group.conversation) !== null
      )
        return outdated();
      const { conversation, commit, welcome } = await commitOf(group.conversation, { add, remove });
      const door = await engine.door(conversation);
      groups.set(id, { ...group, conversation });
      return sealedCommit(commit, welcome, { generation: group.generation, epoch }, door);
    }
  }
}

/** @throws TOO_LARGE for what no blob has room for: the group stays as it is */
function sealedCommit(
  commit: Uint8Array,
  welcome: WelcomeParts | null,
  group: Sealed['group'],
  door: GroupDoor,
): Sealed {
  const parts = commitParts(commit, welcome);
  const info = doorBytes(door);
  for (const { blob } of [parts, info])
    if (blob !== null && blob.length > MAX_BLOB_BYTES)
      throw new ChatError('TOO_LARGE', `a change of the group that takes ${blob.length} bytes`, { field: 'commit' });
  return {
    parts: parts.bytes,
    group,
    group_info: info.bytes,
    ...(parts.blob && { parts_blob: parts.blob }),
    ...(info.blob && { info_blob: info.blob }),
  };
}

/** A private room that is made anew has nobody in it who was not in it before. @throws DECRYPT_FAIL/policy */
function checkSame(before: readonly string[], after: readonly string[], room: string): void {
  const stranger = after.find((user) => !before.includes(user));
  if (stranger !== undefined) refuse('policy', `${stranger}, who was not in ${room}, is in another group of that name`);
}

function outdated(): never {
  throw new ChatError('STALE', 'the group has changed meanwhile', { sub: 'epoch' });
}
