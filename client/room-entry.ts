/**
 * How this device comes into a room that its user is a member of: what it knows of the group from before counts no more, and the group is to
 * be looked at.
 */
import type { ConversationId } from '../base/bytes.ts';
import { NO_GROUP } from './group-state.ts';
import type { Groups } from './groups.ts';
import type { RoomReply } from './room-list.ts';
import type { Conversation } from './roster.ts';
import type { Session } from './session.ts';
import type { Vault } from './vault.ts';

export class RoomEntry {
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #want: (id: ConversationId) => void;

  /** @param want the group has to be looked at */
  constructor(vault: Vault, groups: Groups, want: (id: ConversationId) => void) {
    this.#vault = vault;
    this.#groups = groups;
    this.#want = want;
  }

  /** @param reply what the server says of the room now. @throws as Rosters.enter() */
  async enter(session: Session, reply: RoomReply): Promise<Conversation> {
    const id = reply.conversation as ConversationId;
    const before = this.#vault.conversation(id);
    // Whoever was out does not know what the group has become, also if this process ends before it has come in again.
    const isBack = before?.room?.closed === true && this.#groups.stored(id).conversation !== null;
    if (isBack && before.room.public) await this.#letGo(session, id);
    const conversation = await session.rosters.enter(reply);
    if (isBack && !before.room.public) this.#groups.markBroken(id); // who was inside is still to be known
    this.#want(id);
    return conversation;
  }

  /** What was said while this device was in its group is read first. */
  async #letGo(session: Session, id: ConversationId): Promise<void> {
    const { generation, since } = this.#groups.stored(id);
    await session.caughtUp();
    await this.#groups.exclusively(session, [id], async () => {
      const group = this.#groups.of(id);
      if (group.generation !== generation || group.since !== since) return; // it was let in meanwhile
      this.#groups.set(id, NO_GROUP);
      this.#vault.transaction(() => this.#groups.save([id]));
    });
  }
}
