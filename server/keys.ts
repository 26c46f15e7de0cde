/** What devices publish and fetch before they can encrypt for each other: bindings and key packages. The server reads none of them. */
import { hex, type ConversationId, type Hash } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import type { Reply, Request } from '../protocol/messages.ts';
import type { Conversation } from '../store/contract/conversations.ts';
import type { Store } from '../store/store.ts';
import { contactRefusal, type ContactPolicy } from './contacts.ts';
import type { Member } from './members.ts';
import { RateLimit } from './rate-limit.ts';

/** Ordinary packages of one device. */
const MAX_POOL = 100;
/** Packages that a user may take: each empties somebody's pool by one. */
const TAKEN_PER_HOUR = 2000;

export interface KeysOptions {
  readonly store: Store;
  /** @throws NOT_FOUND for a conversation that the member has no part in */
  readonly conversation: (member: Member, id: Uint8Array, fresh: boolean) => Promise<Conversation>;
  readonly contactPolicy: ContactPolicy;
  readonly monotonicMs?: () => number;
}

export class Keys {
  readonly #o: KeysOptions;
  readonly #takes: RateLimit;

  constructor(options: KeysOptions) {
    this.#o = options;
    this.#takes = new RateLimit(TAKEN_PER_HOUR / 60, options.monotonicMs, TAKEN_PER_HOUR);
  }

  async putBinding({ device }: Member, { id, binding }: Request<'binding_put'>): Promise<Reply<'ok'>> {
    await this.#o.store.putBinding(device.id, binding);
    return { type: 'ok', id };
  }

  /** @throws NOT_FOUND */
  async binding({ id, hash }: Request<'binding_get'>): Promise<Reply<'binding'>> {
    const binding = await this.#o.store.binding(hash as Hash);
    if (binding === null) throw new ChatError('NOT_FOUND', 'no such binding', { field: 'binding_get.hash' });
    return { type: 'binding', id, binding };
  }

  /** @throws BAD_FRAME unless a last resort is one package; QUOTA */
  async put({ device }: Member, frame: Request<'keypackages_put'>): Promise<Reply<'keypackages'>> {
    const { id, packages, last_resort: isLastResort, fresh: isFresh = false } = frame;
    if (isLastResort && packages.length !== 1) bad('keypackages_put.packages', 'one last resort');
    const count = await this.#o.store.putKeyPackages(device.id, { packages, isLastResort, isFresh }, MAX_POOL);
    return { type: 'keypackages', id, count };
  }

  /** @throws NOT_FOUND naming the conversation or the device; BLOCKED, NOT_CONTACT; RATE_LIMIT */
  async take(member: Member, frame: Request<'keypackages_take'>): Promise<Reply<'keypackages_taken'>> {
    const ids = (await this.#idsOf(member, frame, false)) ?? (await this.#idsOf(member, frame, true));
    if (ids === null)
      throw new ChatError('NOT_FOUND', 'no such device in this conversation', { field: 'keypackages_take.devices' });
    this.#takes.take(`user:${member.user.id}`, ids.size);
    const taken = await this.#o.store.takeKeyPackages([...ids.keys()]);
    const packages = taken.map((each) => ({ device: ids.get(each.deviceId)!, package: each.package }));
    return { type: 'keypackages_taken', id: frame.id, packages };
  }

  /** The wanted devices by number; null: one of them is no valid device of a member. */
  async #idsOf(
    member: Member,
    { conversation, devices }: Request<'keypackages_take'>,
    fresh: boolean,
  ): Promise<Map<number, Uint8Array> | null> {
    const { members, standing } = await this.#o.conversation(member, conversation as ConversationId, fresh);
    // They are for writing to somebody, and few: who may not write may not empty a pool either.
    const refusal = contactRefusal(this.#o.contactPolicy, standing, 'keypackages_take.conversation');
    if (refusal !== null) throw refusal;
    const known = new Map(members.flatMap((each) => each.devices).map((device) => [hex(device.fingerprint), device]));
    const wanted = devices.map((fingerprint) => known.get(hex(fingerprint)));
    if (!wanted.every((device) => device !== undefined)) return null;
    return new Map(wanted.map(({ id, fingerprint }) => [id, fingerprint]));
  }
}
