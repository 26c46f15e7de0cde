/**
 * Invitations into a group, as they come with the commit that lets somebody in: which of them is for this device, and what it comes into by it.
 * Runs inside Groups.exclusively(); what it changes counts once it is saved.
 */
import { equal } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { MessageStatement } from '../transcript/statement.ts';
import { fetchBlob } from './blobs.ts';
import { refuse } from './e2ee/refusal.ts';
import type { Header } from './e2ee/header.ts';
import { epochOf, groupIdIn, settingsIn } from './e2ee/held.ts';
import type { WelcomeParts } from './e2ee/invitation.ts';
import type { OwnDevice } from './e2ee/key-package.ts';
import { readDoor, TREE_AT_SERVER } from './e2ee/layout.ts';
import type { Member } from './e2ee/sketch.ts';
import type { GroupEngine } from './group-engine.ts';
import { checkEntry } from './group-rules.ts';
import { entered } from './group-state.ts';
import type { Groups } from './groups.ts';
import type { KeyTable } from './key-table.ts';
import type { Conversation as Roster } from './roster.ts';
import type { Session } from './session.ts';

export interface Invitation extends Pick<WelcomeParts, 'shared' | 'tree'> {
  readonly reference: Uint8Array;
  readonly secrets: Uint8Array;
  readonly own: { readonly secret: Uint8Array; readonly isLastResort: boolean };
}
export interface Accepted {
  /** who is in the group */
  readonly members: readonly Member[];
  /** a key package that was used up, and must go with the same transaction */
  readonly usedPackage: Uint8Array | null;
}

export class Invitations {
  readonly #keys: KeyTable;
  readonly #groups: Groups;

  constructor(keys: KeyTable, groups: Groups) {
    this.#keys = keys;
    this.#groups = groups;
  }

  /** The one that is for a key package of this device, if there is any. */
  find({ shared, tree, each }: WelcomeParts): Invitation | null {
    for (const { reference, secrets } of each) {
      const own = this.#keys.package(reference);
      if (own !== null) return { shared, tree, reference, secrets, own };
    }
    return null;
  }

  /**
   * @param place group and epoch of the commit that it came with @param device this one
   * @returns null: the tree of the group is not to be had any more
   * @throws DECRYPT_FAIL with a sub; SIG_FAIL and BAD_CERT for what is wrong with a binding
   */
  async accept(
    session: Session,
    engine: GroupEngine,
    { ms, roster }: { readonly ms: MessageStatement; readonly roster: Roster },
    place: { readonly header: Header; readonly generation: number },
    { shared, tree, reference, secrets, own }: Invitation,
    device: OwnDevice,
  ): Promise<Accepted | null> {
    const { header, generation } = place;
    const found =
      tree !== null && equal(tree, TREE_AT_SERVER) ? await treeOf(session, ms, generation, header.epoch + 1) : tree;
    if (found === undefined) return null;
    const { conversation, by } = await this.#groups.bindings.resolving(session, () =>
      engine.join({ shared, tree: found, secrets }, device, own.secret),
    );
    const members = await engine.members(conversation);
    if (!equal(groupIdIn(conversation), header.groupId) || epochOf(conversation) !== header.epoch + 1)
      refuse('welcome', 'an invitation into another group than the commit is of');
    if (!equal(by.certificate, ms.sender))
      refuse('sender', `the invitation was made by a device of ${by.user} that did not sign for it`);
    checkEntry(roster, settingsIn(conversation), members);
    const joined = entered({ generation, conversation, commit: new Uint8Array() });
    const { entry } = this.#groups.of(ms.conversation);
    // Our own commit may be on its way from a later state, and then it still counts when it is accepted.
    const isLater = entry?.generation === generation && epochOf(entry.conversation) > joined.since;
    this.#groups.set(ms.conversation, isLater ? { ...joined, entry } : joined);
    if (own.isLastResort) this.#groups.hurry(ms.conversation); // whoever has it comes into every group that it was used for
    return { members, usedPackage: own.isLastResort ? null : reference };
  }
}

/**
 * The tree of a large group as a commit has made it; what it has to be is in the invitation. Undefined: the server does not keep it any
 * more, for the invitation has waited too long, and this device has to come in from outside.
 */
async function treeOf(
  session: Session,
  { conversation }: MessageStatement,
  generation: number,
  epoch: number,
): Promise<Uint8Array | null | undefined> {
  try {
    const ask = { type: 'group_get', conversation, group: { generation, epoch } } as const;
    const { group_info: info } = await session.requester.request(ask, 'group');
    if (info === undefined) return undefined;
    const { tree } = readDoor(info);
    return tree && (await fetchBlob(session.requester, tree));
  } catch (cause) {
    const error = ChatError.from(cause);
    if (error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
