/**
 * What has to happen to the group of a conversation before something can be written in it: made, entered, changed, waited for, or nothing.
 * Asks the server, changes nothing. The roster says who ought to be in the group; what comes of it is judged by every member.
 */
import { equal, hex, type ConversationId, type Fingerprint } from '../base/bytes.ts';
import { ChatError, type Code } from '../base/errors.ts';
import { doorInto, GroupDoors } from './group-doors.ts';
import { isSelf } from './group-rules.ts';
import type { Groups } from './groups.ts';
import type { Session } from './session.ts';
import { deviceCount, type Conversation as Roster } from './roster.ts';
import type { GroupEngine } from './group-engine.ts';
import type { Member } from './e2ee/sketch.ts';
import type { DeviceName } from './e2ee/group.ts';
import { refuse } from './e2ee/refusal.ts';
import type { GroupDoor } from './e2ee/invitation.ts';
import type { OwnDevice } from './e2ee/key-package.ts';
import { epochOf, rosterToken, usersIn } from './e2ee/held.ts';
import { nameOf } from './e2ee/judge.ts';
import { ASK_AGAIN_MS, stateOf, TakenPackages } from './taken-packages.ts';

export type Plan =
  | { readonly kind: 'ready' }
  /** @param add key packages of everybody else who can be let in */
  | { readonly kind: 'create'; readonly generation: number; readonly add: readonly Uint8Array[] }
  | { readonly kind: 'enter'; readonly generation: number; readonly epoch: number; readonly door: GroupDoor }
  /** @param epoch the state that this was planned in */
  | {
      readonly kind: 'change';
      readonly epoch: number;
      readonly add: readonly Uint8Array[];
      readonly remove: readonly DeviceName[];
    }
  /** `alone`: nobody else is in the room; `not_let_in`: a private room, and no member has let this user in yet */
  | { readonly kind: 'wait'; readonly why: 'no_device' | 'no_group_info' | 'alone' | 'not_let_in' }
  /** members were asked to let this device in. @param until Unix ms; after that it enters by itself */
  | { readonly kind: 'wait'; readonly why: 'asked'; readonly until: number };

/** What the plan depends on besides the server, the roster and the group. */
export interface Wishes {
  /** Who may be let into a room though no device of theirs is in it. */
  invited(id: ConversationId): readonly string[];
  /** Own devices that something is handed to: fingerprints in hexadecimal. */
  approved(): readonly string[];
  /** Whether this device has to replace its keys. */
  isDue(id: ConversationId): boolean;
  /** Unix ms until which others may let this device in; 0: it enters by itself. */
  waitsUntil(id: ConversationId): number;
}

/** What says of a state of a group that nobody can use it. */
const UNFIT: ReadonlySet<Code> = new Set<Code>(['DECRYPT_FAIL', 'SIG_FAIL', 'BAD_CERT', 'BAD_FRAME', 'TOO_LARGE']);

export class GroupPlanner {
  readonly doors: GroupDoors;
  readonly #groups: Groups;
  readonly #own: Fingerprint;
  readonly #now: () => number;
  readonly #wishes: Wishes;
  readonly #packages: TakenPackages;
  /** conversation → tree and roster for which nothing was to be done; its epoch stays the same when devices are over by themselves */
  readonly #ready = new Map<
    string,
    {
      readonly tree: unknown;
      readonly epoch: number;
      readonly devices: number;
      readonly invited: string;
      readonly from: number;
      readonly until: number;
    }
  >();

  constructor(groups: Groups, own: Fingerprint, wishes: Wishes, now: () => number) {
    this.#groups = groups;
    this.#own = own;
    this.doors = new GroupDoors(now);
    this.#wishes = wishes;
    this.#now = now;
    this.#packages = new TakenPackages(groups, now);
  }

  /**
   * @param roster trusted
   * @throws DECRYPT_FAIL/group_info for a state of the group that cannot be the newest; what the requests throw
   */
  async plan(session: Session, engine: GroupEngine, roster: Roster, device: OwnDevice): Promise<Plan> {
    const { id } = roster;
    if (isSelf(roster)) return this.#ofOwnDevices(session, engine, roster);
    const { conversation } = this.#groups.stored(id);
    if (conversation === null || this.#groups.isBroken(id)) return this.#fromOutside(session, engine, roster, device);
    this.doors.entered(id);
    const known = this.#ready.get(hex(id));
    const now = this.#now();
    const tree = rosterToken(conversation);
    if (
      known?.tree === tree &&
      known.epoch === roster.epoch &&
      known.devices === deviceCount(roster) &&
      known.invited === this.#wishes.invited(id).join() &&
      known.from <= now && // or the clock was set back
      now < known.until &&
      !this.#wishes.isDue(id)
    )
      return { kind: 'ready' };
    const members = await this.#groups.bindings.resolving(session, () => engine.members(conversation));
    const self = members.find((member) => nameOf(member) === nameOf(device));
    if (self === undefined || !equal(self.bindingHash, device.bindingHash))
      return this.#fromOutside(session, engine, roster, device);
    return this.#fromInside(session, engine, roster, members, device);
  }

  /**
   * Exactly this device and those that it hands something to, or a new group of them: so whoever else made a group of this user's devices,
   * or came into it, reads nothing that this device writes.
   */
  async #ofOwnDevices(session: Session, engine: GroupEngine, roster: Roster): Promise<Plan> {
    const { id } = roster;
    const approved = devicesOf(roster).filter(
      (each) => !equal(each, this.#own) && this.#wishes.approved().includes(hex(each)),
    );
    const { conversation } = this.#groups.stored(id);
    if (conversation !== null && !this.#groups.isBroken(id)) {
      const members = await this.#groups.bindings.resolving(session, () => engine.members(conversation));
      const wanted = [this.#own, ...approved];
      const isIn = (device: Fingerprint) => members.some(({ certificate }) => equal(certificate, device));
      const isWanted = ({ certificate }: Member) => wanted.some((each) => equal(each, certificate));
      if (members.every(isWanted) && wanted.every(isIn) && approved.length > 0) return { kind: 'ready' };
    }
    const { generation } = await session.requester.request({ type: 'group_get', conversation: id }, 'group');
    for (const each of approved) this.#packages.wanted(each); // whoever waits for them waits for that
    const add = await this.#packages.of(session, engine, roster, approved, []);
    if (add.length < approved.length || add.length === 0) return { kind: 'wait', why: 'no_device' };
    return { kind: 'create', generation: Math.max(generation, this.#groups.furthest(id).generation) + 1, add };
  }

  async #fromInside(
    session: Session,
    engine: GroupEngine,
    known: Roster,
    members: readonly Member[],
    device: OwnDevice,
  ): Promise<Plan> {
    const { id } = known;
    const { conversation, generation } = this.#groups.stored(id);
    if (conversation === null) return this.plan(session, engine, known, device);
    const listed = devicesOf(known);
    const isListed = ({ certificate }: Member) => listed.some((each) => equal(each, certificate));
    // Somebody with a new certificate is in the group before this client has asked who is in the conversation; or has one, and is not.
    const roster = members.every(isListed) ? known : await session.rosters.refresh(id);
    const wanted = devicesOf(roster);
    const remove = members.filter((member) => this.#isGone(member, wanted, device));
    const staying = members.filter((member) => !remove.includes(member));
    const missing = wanted.filter((each) => !staying.some(({ certificate }) => equal(certificate, each)));
    // Also of whom no other device is inside than the one that goes: its certificate was renewed.
    const wantedIn = roster.room === undefined ? missing : this.#welcome(roster, missing, members);
    const state = stateOf(generation, conversation);
    const add = await this.#packages.of(session, engine, roster, wantedIn, staying, { state, leaving: remove });
    if (roster.room === undefined && add.length === 0 && !staying.some(({ user }) => user === roster.peer))
      return { kind: 'wait', why: 'no_device' };
    if (add.length > 0 || remove.length > 0) return { kind: 'change', epoch: epochOf(conversation), add, remove };
    if (roster.room !== undefined && !staying.some(({ user }) => user !== device.user))
      return { kind: 'wait', why: 'alone' };
    if (this.#wishes.isDue(id)) return { kind: 'change', epoch: epochOf(conversation), add: [], remove: [] };
    const now = this.#now();
    this.#ready.set(hex(id), {
      tree: rosterToken(conversation),
      epoch: roster.epoch,
      devices: wanted.length,
      invited: this.#wishes.invited(id).join(),
      from: now,
      until: wantedIn.length === 0 ? Infinity : now + ASK_AGAIN_MS,
    });
    return { kind: 'ready' };
  }

  /**
   * Of a room: devices of those who are inside, or whom this profile has invited. That the server lists somebody is no reason: it could
   * list anybody.
   */
  #welcome(
    roster: Roster,
    devices: readonly Fingerprint[],
    inside: readonly Pick<Member, 'user'>[],
  ): readonly Fingerprint[] {
    const users = new Set([...inside.map(({ user }) => user), ...this.#wishes.invited(roster.id)]);
    const theirs = devicesOf({ members: roster.members.filter(({ username }) => users.has(username)) });
    return devices.filter((each) => theirs.some((device) => equal(device, each)));
  }

  /** No longer counted by the server, or this device as it was before it lost its state. */
  #isGone(member: Member, wanted: readonly Fingerprint[], device: OwnDevice): boolean {
    if (equal(member.certificate, this.#own)) return nameOf(member) !== nameOf(device);
    return !wanted.some((each) => equal(each, member.certificate));
  }

  /**
   * First the state of the group is asked for, then everything that is on its way is taken in: an invitation that was sent before is found,
   * and one that is sent later makes the state outdated, so that a commit from it is refused. Coming in while an invitation waits would lose
   * what was written after it.
   */
  async #fromOutside(session: Session, engine: GroupEngine, roster: Roster, device: OwnDevice): Promise<Plan> {
    const { id } = roster;
    const before = this.#groups.stored(id).conversation;
    const asked = this.#groups.furthest(id);
    const reply = await session.requester.request({ type: 'group_get', conversation: id }, 'group');
    await session.caughtUp();
    const now = this.#groups.stored(id).conversation;
    if (now !== null && now !== before && !this.#groups.isBroken(id)) return this.plan(session, engine, roster, device);

    const { generation, epoch, group_info: info } = reply;
    const isBefore = (state: typeof asked): boolean =>
      generation < state.generation || (generation === state.generation && epoch < state.epoch);
    const renewed = (): Promise<Plan> =>
      this.#creation(session, engine, roster, Math.max(generation, this.#groups.furthest(id).generation) + 1, device);
    if (isBefore(asked)) {
      // It lies, or its database was put back from a backup: then nobody can end the state that everybody is in.
      if (this.doors.isLost(id)) return renewed();
      refuse('group_info', 'the server shows a state of the group that is over');
    }
    // Not when it was asked for, but others have gone on since.
    if (isBefore(this.#groups.furthest(id)))
      throw new ChatError('STALE', 'the group has changed meanwhile', { sub: 'epoch' });
    if (generation === 0) return this.#creation(session, engine, roster, 1, device);
    const until = this.#wishes.waitsUntil(id);
    if (until > 0) return { kind: 'wait', why: 'asked', until };
    let door: GroupDoor | null;
    try {
      door = info === undefined ? null : await doorInto(session, id, { generation, epoch }, info);
      if (door !== null && roster.room?.public === false && !(await engine.usersBehind(door)).includes(device.user))
        return now !== null && this.doors.isLost(id) ? renewed() : { kind: 'wait', why: 'not_let_in' };
    } catch (error) {
      if (UNFIT.has(ChatError.from(error).code) && this.doors.isLost(id)) return renewed();
      throw error;
    }
    if (door === null) return this.doors.isLost(id) ? renewed() : { kind: 'wait', why: 'no_group_info' };
    if (this.doors.wasTried(id, door) && this.doors.isLost(id)) return renewed();
    return { kind: 'enter', generation, epoch, door };
  }

  async #creation(
    session: Session,
    engine: GroupEngine,
    roster: Roster,
    generation: number,
    device: OwnDevice,
  ): Promise<Plan> {
    if (roster.room !== undefined) return this.#roomCreation(session, engine, roster, generation, device);
    const of = (username: string) => roster.members.find((m) => m.username === username)?.devices as Fingerprint[];
    for (const each of of(roster.peer)) this.#packages.wanted(each); // whoever waits for them waits for that
    const theirs = await this.#packages.of(session, engine, roster, of(roster.peer), []);
    if (theirs.length === 0) return { kind: 'wait', why: 'no_device' };
    const others = devicesOf(roster).filter(
      (each) => !equal(each, this.#own) && !of(roster.peer).some((theirs) => equal(theirs, each)),
    );
    const ours = await this.#packages.of(session, engine, roster, others, []);
    return { kind: 'create', generation, add: [...theirs, ...ours] };
  }

  /** With those who were in the group before, if this device knows them; a private room is never made by who does not. */
  async #roomCreation(
    session: Session,
    engine: GroupEngine,
    roster: Roster,
    generation: number,
    device: OwnDevice,
  ): Promise<Plan> {
    const { conversation: former } = this.#groups.stored(roster.id);
    const isFounder = generation === 1 && roster.room?.founder === true;
    if (roster.room?.public !== true && former === null && !isFounder) return { kind: 'wait', why: 'not_let_in' };
    const inside = [device.user, ...(former === null ? [] : usersIn(former))].map((user) => ({ user }));
    const others = devicesOf(roster).filter((each) => !equal(each, this.#own));
    const add = await this.#packages.of(session, engine, roster, this.#welcome(roster, others, inside), []);
    return { kind: 'create', generation, add };
  }

  /** Another connection: a device may have published since, and what the server shows is tried again. Since when that was in vain stays known. */
  forget(): void {
    this.#packages.forget();
    this.doors.forget();
  }
}

const devicesOf = ({ members }: Pick<Roster, 'members'>): Fingerprint[] =>
  members.flatMap(({ devices }) => devices as Fingerprint[]);
