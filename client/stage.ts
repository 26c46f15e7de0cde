/**
 * The one signed batch on the disk, and the group that a commit in it changes: both are kept together, or both given up. The outbox sends
 * what is here; what the server's answer means is decided there and in refusals.ts.
 */
import { equal, type ConversationId } from '../base/bytes.ts';
import { CONTEXT, sign } from '../base/signature.ts';
import { audienceOf, decodeBs, encodeBs } from '../transcript/statement.ts';
import { usersIn, type Held } from './e2ee/held.ts';
import type { Member } from './e2ee/sketch.ts';
import { NO_GROUP } from './group-state.ts';
import type { Groups } from './groups.ts';
import { usersOf } from './group-rules.ts';
import type { Session } from './session.ts';
import type { Signer } from './statements.ts';
import { commitOf, type StagedBatch } from './staged-batch.ts';
import type { Conversation } from './roster.ts';
import type { Vault } from './vault.ts';

export class Stage {
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #signer: Signer;
  readonly #now: () => number;

  constructor(vault: Vault, groups: Groups, signer: Signer, now: () => number) {
    this.#vault = vault;
    this.#groups = groups;
    this.#signer = signer;
    this.#now = now;
  }

  /** The batch on disk, made for this log. */
  async batch(session: Session): Promise<StagedBatch | null> {
    const batch = this.#vault.outgoing.staged();
    if (batch === null) return null;
    const bs = decodeBs(batch.batch);
    const audience = audienceOf(session.log.origin);
    // Also if the certificate before the renewal has signed it: the log may hold it, and only its acknowledgement was lost.
    if (equal(bs.audience, audience)) return batch;
    if (!this.isOwn(batch)) {
      await this.withdraw(session, batch);
      return null;
    }
    // The statements stay what they are, so that a reader who finds them in both logs knows them for the same.
    const renewed = encodeBs({ ...bs, audience, signTime: this.#now() });
    const signed = { ...batch, ...sign(this.#signer.privateKey, CONTEXT.senderBatch, renewed), batch: renewed };
    this.#vault.outgoing.stage(signed);
    return signed;
  }

  /** Signed with the certificate that this device has now. */
  isOwn({ batch }: StagedBatch): boolean {
    return equal(decodeBs(batch).sender, this.#signer.fingerprint);
  }

  /** A group that our commit was for is now what it made of it; everything in one transaction. Answers who is new in it, in words. */
  async adopt(session: Session, batch: StagedBatch, keep: () => void): Promise<string[]> {
    const id = commitOf(batch);
    if (id === null) {
      keep();
      return [];
    }
    return this.#groups.exclusively(session, [id], async (engine) => {
      const { conversation: before, entry } = this.#groups.of(id);
      const group = await this.#groups.adopted(id, engine);
      const { conversation } = group;
      const membersOf = async (state: typeof before): Promise<readonly Member[]> =>
        state === null ? [] : this.#groups.bindings.resolving(session, () => engine.members(state));
      const members = await membersOf(conversation);
      const gone = (await membersOf(before)).filter(
        ({ deviceId }) => !members.some((each) => equal(each.deviceId, deviceId)),
      );
      return this.#vault.transaction(() => {
        keep();
        this.#groups.set(id, group);
        this.#groups.save([id]);
        this.#vault.rooms.forget(
          id,
          members.map(({ user }) => user),
        );
        const roster = this.#vault.conversation(id);
        if (entry === null)
          for (const user of takenOut(roster, before, conversation)) this.#vault.rooms.invite(id, user);
        this.#groups.acquaintances.meet(members);
        this.#groups.acquaintances.parted(gone, members);
        return newReaders(roster, before, conversation);
      });
    });
  }

  /** The batch does not go as it is: its messages wait again, and a commit in it was never made. */
  withdraw(session: Session, batch: StagedBatch): Promise<void> {
    return this.#drop(session, batch, [], () => {});
  }
  /** The same, and this device goes on in a new session. What the groups were is no more than a backup: their keys may have been used since. */
  restart(session: Session, batch: StagedBatch): Promise<void> {
    const all = this.#vault.conversations().map((each) => each.id);
    return this.#drop(session, batch, all, () => this.#vault.sessions.restart(this.#signer.fingerprint, true));
  }

  /** @param lost conversations whose groups have to be made anew @param more done in the same transaction */
  #drop(session: Session, batch: StagedBatch, lost: readonly ConversationId[], more: () => void): Promise<void> {
    const id = commitOf(batch);
    const ids = id === null ? lost : [id, ...lost];
    return this.#groups.exclusively(session, ids, async (engine) => {
      const dropped = id && (await this.#groups.dropped(id, engine));
      this.#vault.transaction(() => {
        this.#vault.outgoing.unstage(false);
        if (id !== null) this.#groups.set(id, dropped!);
        more();
        for (const each of lost) this.#groups.set(each, NO_GROUP);
        this.#groups.save(ids);
      });
    });
  }
}

/** Members of a private room whose last device this one has taken out: nobody else may let them in when they have another. */
function takenOut(roster: Conversation | null, before: Held | null, after: Held | null): string[] {
  if (roster?.room?.public !== false || before === null || after === null) return [];
  const are = usersIn(after);
  const listed = usersOf(roster);
  return usersIn(before).filter((user) => !are.includes(user) && listed.includes(user));
}

/** Who reads in a room that this device was in before: also if it had to come in anew, and others let them in meanwhile. */
function newReaders(roster: Conversation | null, before: Held | null, after: Held | null): string[] {
  if (roster?.room === undefined || before === null || after === null) return [];
  const were = usersIn(before);
  return usersIn(after)
    .filter((user) => !were.includes(user))
    .map((user) => `${user} can read ${roster.peer} from now on`);
}
