/** Which conversations a member may open and read, and how he comes into their groups. What others have no part in is not there for them. */
import { randomBytes } from 'node:crypto';
import type { ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { selfConversation } from '../protocol/self-conversation.ts';
import type { Conversation, Group, GroupState } from '../store/contract/conversations.ts';
import type { Store } from '../store/store.ts';
import { parseOrigin } from '../transcript/key-statement.ts';
import { contactRefusal, type ContactPolicy } from './contacts.ts';
import { isPartOf, noConversation, type Conversations } from './conversations.ts';
import type { Member } from './members.ts';

export interface ConversationAccessOptions {
  readonly store: Pick<Store, 'findUser' | 'standing' | 'openSelf' | 'openDirect' | 'group' | 'groupInfo'>;
  readonly conversations: Conversations;
  /** of the log that messages go to */
  readonly origin: string;
  readonly contactPolicy: ContactPolicy;
  readonly now: () => number;
}

export class ConversationAccess {
  readonly #o: ConversationAccessOptions;

  constructor(options: ConversationAccessOptions) {
    this.#o = options;
  }

  /** With oneself: that of one's own devices. @throws NO_SUCH_PEER for a name that nobody has; BLOCKED, NOT_CONTACT */
  async open({ user }: Member, peer: string): Promise<Conversation> {
    const { store, conversations, origin, contactPolicy, now } = this.#o;
    const other = await store.findUser(peer);
    if (other === null)
      throw new ChatError('NO_SUCH_PEER', 'nobody has this name', { field: 'conversation_open.peer' });
    if (other.id === user.id) {
      const id = selfConversation(parseOrigin(origin).host, other.username);
      return conversations.remembered(() => store.openSelf(other.id, id, now()));
    }
    const standing = await store.standing(user.id, other.id);
    const refusal = contactRefusal(contactPolicy, standing, 'conversation_open.peer');
    if (refusal !== null) throw refusal;
    const candidate = randomBytes(32) as unknown as ConversationId;
    return conversations.remembered(() => store.openDirect(user.id, other.id, candidate, now()));
  }

  /** @throws NOT_FOUND for a conversation that does not exist or that the member has no part in: the answers are the same */
  async find({ user }: Member, id: Uint8Array, fresh = false): Promise<Conversation> {
    const conversation = await this.#o.conversations.find(id as ConversationId, fresh);
    if (conversation === null || !isPartOf(conversation, user)) throw noConversation();
    return conversation;
  }

  /**
   * The state of a conversation's group, once everything that led there has been sent to the device: who enters by it would lose what
   * was sent in between. Null: there is no group.
   * @param state an earlier one, for who was let in by the commit that made it; answered at once
   * @throws NOT_FOUND, RATE_LIMIT
   */
  async group(member: Member, id: Uint8Array, state?: GroupState): Promise<Group | null> {
    const { store } = this.#o;
    const conversation = await this.find(member, id);
    if (state !== undefined) {
      const groupInfo = await store.groupInfo(conversation.id, state);
      if (groupInfo === null)
        throw new ChatError('NOT_FOUND', 'this state of the group is not kept', { field: 'group_get.group' });
      return { ...state, groupInfo };
    }
    const group = await store.group(conversation.id);
    await member.outlet.sync();
    return group;
  }
}
