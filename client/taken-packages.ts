/**
 * Key packages of others, by which they are let into groups: taken from the server, and each judged. What is taken for one state of a group is
 * kept as long as that state, for its commit may have to be made again when only the roster has changed. What is wrong with one concerns its
 * device alone.
 */
import { equal, hex, type ConversationId, type Fingerprint } from '../base/bytes.ts';
import { encode } from '../base/cbor.ts';
import { ChatError } from '../base/errors.ts';
import { ASKED_AT_ONCE, inParallel } from './in-parallel.ts';
import type { GroupEngine } from './group-engine.ts';
import type { Groups } from './groups.ts';
import type { Session } from './session.ts';
import type { Conversation as Roster } from './roster.ts';
import { MAX_ADDS } from './e2ee/conversation.ts';
import { epochOf, type Held } from './e2ee/held.ts';
import { nameOf } from './e2ee/judge.ts';
import type { Member } from './e2ee/sketch.ts';

/** So many ordinary ones has a device at most. docs/PROTOCOL.md §5.7 */
const MAX_POOL = 100;
/** A device without key packages is asked for again after this time. */
export const ASK_AGAIN_MS = 60_000;

/** The group that they come into. */
interface Into {
  /** as stateOf() says */
  readonly state: string;
  /** who goes out of it with the same commit */
  readonly leaving: readonly Member[];
}
export const stateOf = (generation: number, conversation: Held): string => `${generation}/${epochOf(conversation)}`;

type Holder = Awaited<ReturnType<GroupEngine['holder']>>;

export class TakenPackages {
  readonly #groups: Groups;
  readonly #now: () => number;
  /** device → when it had no key package */
  readonly #asked = new Map<string, number>();
  /** conversation → what was taken for the newest state of its group, by device */
  readonly #taken = new Map<string, { readonly state: string; readonly packages: Map<string, Uint8Array> }>();

  constructor(groups: Groups, now: () => number) {
    this.#groups = groups;
    this.#now = now;
  }

  /**
   * One good key package of each device that has any, of a hundred devices at most.
   * @param members who must not come twice
   * @param into left out: no group that is there
   * @throws STALE/epoch when one of the devices is listed no more; what the requests throw
   */
  async of(
    session: Session,
    engine: GroupEngine,
    roster: Roster,
    devices: readonly Fingerprint[],
    members: readonly Member[],
    into?: Into,
  ): Promise<Uint8Array[]> {
    const taken = this.#takenFor(roster.id, into?.state);
    const asked = devices.filter((each) => !this.#wasAsked(each)).slice(0, MAX_ADDS); // the rest with the next commit
    const judged = new Map<string, Holder | null>();
    // Who was away for long has a stock that is over, and behind it a last resort that is not.
    for (let open = asked, round = 0; open.length > 0; round++) {
      const before = new Map(open.map((each) => [each, taken.get(hex(each))]));
      if (round > 0) for (const each of open) taken.delete(hex(each));
      try {
        await this.#take(session, roster, open, taken);
      } catch (error) {
        if (round === 0 || ChatError.from(error).code !== 'RATE_LIMIT') throw error;
        break; // the others do not wait for these
      }
      const holders = await inParallel(open, ASKED_AT_ONCE, async (device) => {
        const published = taken.get(hex(device));
        return published === undefined ? null : this.#holder(session, engine, roster, device, published);
      });
      open = open.filter((device, i) => {
        const [holder, published, last] = [holders[i]!, taken.get(hex(device)), before.get(device)];
        judged.set(hex(device), holder === 'over' ? null : holder);
        const isSame = round > 0 && last !== undefined && published !== undefined && equal(last, published);
        return holder === 'over' && !isSame && round < MAX_POOL;
      });
    }
    const holders = asked.map((device) => judged.get(hex(device)) ?? null);
    const names = new Set(members.map(nameOf));
    const isNobody = holders.every((holder) => holder === null);
    const keys = new Set(isNobody || into === undefined ? [] : await this.#keysIn(session, roster.id, into));
    const good: Uint8Array[] = [];
    for (const [i, device] of asked.entries()) {
      const [published, holder] = [taken.get(hex(device)), holders[i]];
      // A device that has renewed its certificate is still listed with the old one.
      const isAnother = published && holder && names.size !== names.add(nameOf(holder)).size;
      if (isAnother && this.#isNew(session, device, published, holder, keys)) good.push(published);
      else {
        taken.delete(hex(device));
        this.#asked.set(hex(device), this.#now());
      }
    }
    return good;
  }

  /** One for each of them of which there is none yet. */
  async #take(
    session: Session,
    roster: Roster,
    devices: readonly Fingerprint[],
    taken: Map<string, Uint8Array>,
  ): Promise<void> {
    const missing = devices.filter((each) => !taken.has(hex(each)));
    if (missing.length === 0) return;
    const { packages } = await session.requester
      .request({ type: 'keypackages_take', conversation: roster.id, devices: missing }, 'keypackages_taken')
      .catch((error: unknown) => this.#unlisted(session, roster.id, missing, error));
    for (const each of packages)
      if (missing.some((device) => equal(device, each.device))) taken.set(hex(each.device), each.package);
  }

  /** So lately that it is not asked again; after now if the clock was set back. */
  #wasAsked(device: Fingerprint): boolean {
    const [at, now] = [this.#asked.get(hex(device)) ?? -Infinity, this.#now()];
    return at <= now && now < at + ASK_AGAIN_MS;
  }

  /** @throws STALE/epoch when the group has gone on: then others are inside */
  #keysIn(session: Session, id: ConversationId, { state, leaving }: Into): Promise<readonly string[]> {
    return this.#groups.exclusively(session, [id], async (engine) => {
      const { generation, conversation } = this.#groups.of(id);
      if (conversation === null || stateOf(generation, conversation) !== state)
        throw new ChatError('STALE', 'the group has changed meanwhile', { sub: 'epoch' });
      return engine.keys(conversation, leaving);
    });
  }
  /** Whether its keys are its own; then they are among the others. */
  #isNew(session: Session, device: Fingerprint, published: Uint8Array, { user, keys }: Holder, others: Set<string>) {
    if (keys.some((key) => others.has(key))) {
      const why = `a key package of ${user} with a key that another device has`;
      const error = new ChatError('DECRYPT_FAIL', why, { sub: 'key_package' });
      session.alarm(error, `key package of ${hex(device)}`, encode(published));
      return false;
    }
    for (const key of keys) others.add(key);
    return true;
  }

  /** Somebody waits for this device: it is asked for whenever that was done last. */
  wanted(device: Fingerprint): void {
    this.#asked.delete(hex(device));
  }
  /** Devices may have published since: they are asked for again. */
  forget(): void {
    this.#asked.clear();
    this.#taken.clear();
  }

  #takenFor(id: ConversationId, state: string | undefined): Map<string, Uint8Array> {
    if (state === undefined) return new Map();
    const before = this.#taken.get(hex(id));
    if (before?.state === state) return before.packages;
    const packages = new Map<string, Uint8Array>();
    this.#taken.set(hex(id), { state, packages });
    return packages;
  }

  /** One of the devices is revoked or has expired since the roster was asked for. @throws STALE/epoch then; else what was refused */
  async #unlisted(session: Session, id: ConversationId, asked: readonly Fingerprint[], cause: unknown): Promise<never> {
    if (ChatError.from(cause).code !== 'NOT_FOUND') throw cause;
    const listed = (await session.rosters.refresh(id)).members.flatMap(({ devices }) => devices);
    if (asked.every((device) => listed.some((each) => equal(each, device)))) throw cause;
    throw new ChatError('STALE', 'the devices of the conversation have changed', { sub: 'epoch', cause });
  }

  /** Null for one that cannot be used, where that is a lie it is told and kept; `over`: another one of the device may be good. */
  async #holder(
    session: Session,
    engine: GroupEngine,
    roster: Roster,
    device: Fingerprint,
    published: Uint8Array,
  ): Promise<Holder | 'over' | null> {
    try {
      const holder = await this.#groups.bindings.resolving(session, () =>
        engine.holder(published, session.serverNow()),
      );
      const isMembers = roster.members.some(
        ({ username, devices }) => username === holder.user && devices.some((each) => equal(each, device)),
      );
      if (isMembers && equal(holder.certificate, device)) return holder;
      // Published under the certificate before a renewal, and about to be replaced.
      if (isMembers && equal(holder.certificateKeyHash, await session.rosters.certificates.keyHash(device)))
        return null;
      throw new ChatError('SIG_FAIL', `a key package of ${holder.user} in the place of another device's`, {
        sub: 'key_package',
      });
    } catch (cause) {
      const error = ChatError.from(cause);
      const { code, sub } = error;
      const isOver = sub === 'freshness' || sub === 'expired' || sub === 'not_yet_valid';
      const isVerdict = code === 'SIG_FAIL' || code === 'BAD_CERT' || code === 'BAD_FRAME' || code === 'DECRYPT_FAIL';
      if (!isVerdict && code !== 'NOT_FOUND' && code !== 'TOO_LARGE') throw error;
      if (!isOver) session.alarm(error, `key package of ${hex(device)}`, encode(published));
      return sub === 'freshness' ? 'over' : null;
    }
  }
}
