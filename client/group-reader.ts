/**
 * What a proven statement of others does to the group of its conversation: a message is opened, a commit carried out, an invitation taken.
 * Runs inside Groups.exclusively(); what it changes counts once it is saved.
 *
 * The statement has signed for the MLS message as it is, so what that says of itself (whose group, which epoch) is the sender's word. What
 * the server says is compared with it. A message from before this device was let in is nobody's fault; one from a state that this device
 * should have reached and has not is a gap, or a lie, and nothing is shown.
 */
import { equal, hex, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Delivered } from '../protocol/messages.ts';
import { messageAad, type MessageStatement } from '../transcript/statement.ts';
import { fetchBlob } from './blobs.ts';
import { guessing, withoutRival } from './commit-under-way.ts';
import { isVerdict } from './delivery-check.ts';
import { refuse } from './e2ee/refusal.ts';
import { headerOf, type Header } from './e2ee/header.ts';
import { epochOf, usersIn } from './e2ee/held.ts';
import type { WelcomeParts } from './e2ee/invitation.ts';
import type { OwnDevice } from './e2ee/key-package.ts';
import { readCommitParts } from './e2ee/layout.ts';
import type { Member } from './e2ee/sketch.ts';
import type { GroupEngine, Heard } from './group-engine.ts';
import { isOf, NO_GROUP, type Group } from './group-state.ts';
import type { Groups } from './groups.ts';
import { Invitations } from './invitations.ts';
import type { KeyTable } from './key-table.ts';
import type { Conversation as Roster } from './roster.ts';
import type { Session } from './session.ts';

/** What comes of one statement. */
export type Opened =
  | { readonly kind: 'message'; readonly opening: Uint8Array }
  /** sealed before this device could read it */
  | { readonly kind: 'unreadable' }
  | {
      readonly kind: 'commit';
      /** who is in the group now that was not before */
      readonly came: readonly Member[];
      /** who was taken out of it, and who is in it after that */
      readonly gone: readonly Member[];
      readonly inside: readonly Member[];
      /** users of whom no device was in the group before, or is in it any more; what was when this device came in is no news */
      readonly newcomers: readonly string[];
      readonly leavers: readonly string[];
      /** a key package that was used up, and must go with the same transaction */
      readonly usedPackage: Uint8Array | null;
      readonly isOut: boolean;
      /** others have made another group in its place, without this device */
      readonly isReplaced: boolean;
    };

const NOTHING: Extract<Opened, { kind: 'commit' }> = {
  kind: 'commit',
  came: [],
  gone: [],
  inside: [],
  newcomers: [],
  leavers: [],
  usedPackage: null,
  isOut: false,
  isReplaced: false,
};

export interface Item {
  readonly ms: MessageStatement;
  readonly delivered: Delivered;
  readonly roster: Roster;
  /** username of the sender, as his certificate says */
  readonly by: string;
  /** Unix ms, of the log */
  readonly at: number;
}

interface Place {
  readonly header: Header;
  readonly generation: number;
}

export class GroupReader {
  readonly #groups: Groups;
  readonly #invitations: Invitations;
  /** conversation → commit that brought an invitation which could not be used */
  readonly #refused = new Map<string, { readonly generation: number; readonly epoch: number }>();

  constructor(keys: KeyTable, groups: Groups) {
    this.#groups = groups;
    this.#invitations = new Invitations(keys, groups);
  }

  /**
   * @param check throws for an opening that is not the one that was signed: then nothing has happened to the group
   * @throws DECRYPT_FAIL with a sub, REPLAY, BAD_FRAME; SIG_FAIL and BAD_CERT for what is wrong with a binding
   */
  async message(
    session: Session,
    engine: GroupEngine,
    item: Item,
    check: (opening: Uint8Array) => void,
  ): Promise<Opened> {
    const { ms, delivered } = item;
    const [sealed] = delivered.parts;
    if (sealed === undefined || delivered.parts.length !== 1)
      throw new ChatError('BAD_FRAME', 'a message of several parts', { field: 'parts' });
    const { header, generation } = this.#place(item, sealed);
    return guessing(engine, this.#groups.of(ms.conversation), header, ms.conversation, (group) =>
      this.#opened(session, engine, group, sealed, { header, generation }, item, check),
    );
  }

  async #opened(
    session: Session,
    engine: GroupEngine,
    group: Group,
    sealed: Uint8Array,
    { header, generation }: Place,
    item: Item,
    check: (opening: Uint8Array) => void,
  ): Promise<Opened> {
    const { ms } = item;
    if (isBefore(group, generation, header)) {
      if (group.conversation === null || generation > group.generation)
        this.#lost(session, ms.conversation, generation);
      const refused = this.#refused.get(hex(ms.conversation));
      if (group.conversation === null && refused?.generation === generation && header.epoch > refused.epoch)
        refuse('gap', 'the invitation before it could not be used');
      return { kind: 'unreadable' };
    }
    const result = await this.#receive(session, engine, group, sealed, header, item);
    if (result.kind !== 'message') return refuse('kind', 'a commit where a message was stated');
    if (!equal(result.sender.certificate, ms.sender))
      refuse('sender', `the message was sealed by a device of ${result.sender.user} that did not sign for it`);
    check(result.plaintext);
    this.#groups.set(ms.conversation, { ...group, conversation: result.conversation }, result.spent);
    return { kind: 'message', opening: result.plaintext };
  }

  /** @param device this one. @throws as message() */
  async commit(session: Session, engine: GroupEngine, item: Item, device: OwnDevice): Promise<Opened> {
    const { ms, delivered } = item;
    const { commit: given, welcome } = readCommitParts(delivered.parts);
    const commit = 'hash' in given ? await fetchBlob(session.requester, given).catch(withheld) : given;
    const { header, generation } = this.#place(item, commit);
    const id = ms.conversation;
    const alone = withoutRival(this.#groups.of(id), header, generation, commit);
    if (alone !== this.#groups.of(id)) this.#groups.set(id, alone);
    return guessing(engine, alone, header, id, (before) =>
      this.#carriedOut(session, engine, before, commit, welcome, { header, generation }, item, device),
    );
  }

  async #carriedOut(
    session: Session,
    engine: GroupEngine,
    before: Group,
    commit: Uint8Array,
    welcome: WelcomeParts | null,
    { header, generation }: Place,
    item: Item,
    device: OwnDevice,
  ): Promise<Opened> {
    const id = item.ms.conversation;
    // Who was taken out and is let in again has not heard of what was between.
    const isAhead = before.conversation !== null && header.epoch > epochOf(before.conversation);
    const again =
      generation === before.generation && isAhead && welcome !== null ? this.#invitations.find(welcome) : null;
    const isOurs = before.conversation !== null && generation === before.generation && header.epoch >= before.since;
    const isFollowed = isOurs && again === null;
    const followed = isFollowed ? await this.#follow(session, engine, before, commit, header, item) : null;
    const isNews = before.conversation === null || generation > before.generation;
    // What takes this device out may also let it in again: it was in under the certificate before a renewal.
    const isInvited = isNews || followed?.isOut === true;
    const invitation = isInvited && welcome !== null ? this.#invitations.find(welcome) : again;
    if (followed !== null && invitation === null) return followed;
    // Where this device knows who is in a private room, nobody else leads it into another group of that room, or out of the one it has.
    if (
      item.roster.room?.public === false &&
      before.conversation !== null &&
      !usersIn(before.conversation).includes(item.by)
    )
      refuse('policy', `${item.by} was not in the room, and made another group for it`);
    if (invitation !== null)
      try {
        const place = { header, generation };
        const accepted = await this.#invitations.accept(session, engine, item, place, invitation, device);
        if (accepted !== null) return { ...NOTHING, came: accepted.members, usedPackage: accepted.usedPackage };
        this.#lost(session, id, generation, true);
        return NOTHING;
      } catch (error) {
        if (isVerdict(ChatError.from(error))) {
          this.#refused.set(hex(id), { generation, epoch: header.epoch });
          this.#lost(session, id, generation, true);
        }
        throw error;
      }
    if (!isNews || before.conversation === null) return NOTHING;
    // What it had is over. Who was inside is still to be known of a private room: it is made anew with them if nobody can come into the other.
    if (item.roster.room?.public === false) this.#groups.markBroken(id);
    else this.#groups.set(id, { ...NO_GROUP, entry: before.entry });
    return { ...NOTHING, isReplaced: true };
  }

  async #follow(
    session: Session,
    engine: GroupEngine,
    before: Group,
    commit: Uint8Array,
    header: Header,
    item: Item,
  ): Promise<typeof NOTHING> {
    const { ms } = item;
    const result = await this.#receive(session, engine, before, commit, header, item);
    if (result.kind === 'message') return refuse('kind', 'a message where a commit was stated');
    if (result.kind === 'adopted') {
      this.#groups.set(ms.conversation, { ...before, conversation: result.conversation });
      return NOTHING;
    }
    const { by, added } = result.change;
    if (!equal(by.certificate, ms.sender))
      refuse('sender', `the commit was made by a device of ${by.user} that did not sign for it`);
    if (result.kind === 'removed') {
      this.#groups.set(ms.conversation, { ...NO_GROUP, entry: before.entry });
      return { ...NOTHING, came: added, isOut: true };
    }
    this.#groups.set(ms.conversation, { ...before, conversation: result.conversation }, result.spent);
    const [were, are] = [usersIn(before.conversation!), usersIn(result.conversation)];
    const newcomers = are.filter((user) => !were.includes(user));
    const leavers = were.filter((user) => !are.includes(user));
    const inside = await engine.members(result.conversation);
    const gone = (await engine.members(before.conversation!)).filter(
      ({ bindingHash }) => !inside.some((each) => equal(each.bindingHash, bindingHash)),
    );
    return { ...NOTHING, came: added, gone, inside, newcomers, leavers };
  }

  async #receive(
    session: Session,
    engine: GroupEngine,
    group: Group,
    bytes: Uint8Array,
    header: Header,
    { ms, delivered, at }: Item,
  ): Promise<Heard> {
    const { conversation } = group;
    if (conversation === null) return refuse('group', 'this device is not in the group');
    if (header.epoch > epochOf(conversation)) {
      this.#lost(session, ms.conversation, group.generation);
      refuse('gap', 'a change of the group before it did not arrive');
    }
    const result = await this.#groups.bindings.resolving(session, () => engine.receive(conversation, bytes, at));
    if (result.kind !== 'adopted' && !equal(result.authenticatedData, messageAad(delivered.statement)))
      refuse('statement', 'it was sealed for another statement');
    return result;
  }

  /** What the message says of itself, which must be what the server says. */
  #place({ ms, delivered }: Item, bytes: Uint8Array): Place {
    const { generation, epoch } = delivered;
    if (generation === undefined || epoch === undefined)
      throw new ChatError('BAD_FRAME', 'a message that is not encrypted end to end', {
        field: 'msg_deliver.generation',
      });
    const header = headerOf(bytes);
    if (!isOf(header, ms.conversation, generation)) refuse('group', 'a message of another group');
    if (header.epoch !== epoch) refuse('epoch', 'a message of another epoch than the server says');
    this.#groups.reached(ms.conversation, generation, epoch);
    return { header, generation };
  }

  /**
   * Nothing more can be read until this device has come in anew. A state that has led somewhere until now is a new reason for that.
   * @param isLetIn others have changed the group for this device, which may have looked before, in vain
   */
  #lost(session: Session, id: ConversationId, generation: number, isLetIn = false): void {
    const { conversation, generation: own } = this.#groups.of(id);
    const isNews = conversation !== null && !this.#groups.isBroken(id);
    if (isNews) this.#groups.markBroken(id);
    if (generation >= own) session.wantGroup(id, isNews || isLetIn);
  }
}

/** A commit that was delivered, and what it refers to is not to be had: as if it had not been. Whose doing that is, nobody can tell. */
function withheld(cause: unknown): never {
  const { code, sub } = ChatError.from(cause);
  if (code === 'NOT_FOUND' && sub === 'blob')
    refuse('gap', 'a change of the group did not arrive: it was never put, or the server keeps it back');
  throw cause;
}

/** Whether it was sealed in a state that this device was never in. */
const isBefore = (group: Group, generation: number, header: Header): boolean =>
  group.conversation === null || generation !== group.generation || header.epoch < group.since;
