/**
 * Who is in a conversation, and that each of their devices has a certificate of that person. The server lists the devices; this is
 * where a device that it made up is found, before anything is signed for it or shown as coming from it.
 */
import { equal, hex, type ConversationId, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Reply } from '../protocol/messages.ts';
import { selfConversation } from '../protocol/self-conversation.ts';
import type { Certificate } from '../x509/certificate.ts';
import { canonicalEmail, canonicalUsername, identityOf } from '../x509/identity.ts';
import { DeviceCertificates } from './device-certificates.ts';
import type { ClientIdentity } from './identity.ts';
import type { Requester } from './requester.ts';
import { roomWithId, type RoomReply } from './room-list.ts';
import type { Conversation, RoomFacts, Roster } from './roster.ts';
import type { Vault } from './vault.ts';

/** Somebody has these certificates, and no others, but for the one of this device. */
export type SeenDevices = (username: string, certificates: readonly Certificate[]) => void;

export class Rosters {
  readonly certificates: DeviceCertificates;
  readonly #vault: Vault;
  readonly #requester: Requester;
  readonly #own: ClientIdentity;
  readonly #self: ConversationId;
  readonly #seen: SeenDevices;
  /** conversations whose devices were checked on this connection, as they were then */
  readonly #checked = new Map<string, number>();
  /** user → the devices that this connection has found to be his, when he was checked last */
  readonly #known = new Map<string, string>();

  /** @param organisation host of the log's origin @param seen told of each member whose devices were checked */
  constructor(vault: Vault, requester: Requester, own: ClientIdentity, organisation: string, seen: SeenDevices) {
    this.#seen = seen;
    this.#self = selfConversation(organisation, own.username);
    this.#vault = vault;
    this.#requester = requester;
    this.#own = own;
    this.certificates = new DeviceCertificates(vault, requester, own);
  }

  /**
   * The direct conversation with somebody.
   * @param peer username or e-mail address
   * @throws NO_SUCH_PEER, BAD_NAME; BAD_CERT for somebody else than was asked for, or a device that is not a member's
   */
  async open(peer: string): Promise<Conversation> {
    const asked = peer.includes('@') ? canonicalEmail(peer) : canonicalUsername(peer);
    const reply = await this.#requester.request({ type: 'conversation_open', peer: asked }, 'conversation');
    return this.#keep(reply, asked);
  }
  /** The conversation of this user's own devices. @throws BAD_CERT */
  async openSelf(): Promise<Conversation> {
    const peer = this.#own.username;
    return this.#keep(await this.#requester.request({ type: 'conversation_open', peer }, 'conversation'), peer);
  }
  isSelf(id: ConversationId): boolean {
    return equal(id, this.#self);
  }
  /** Asks the server again. @throws NOT_FOUND, also for a room that one is not in any more; BAD_CERT */
  async refresh(id: ConversationId): Promise<Conversation> {
    const known = this.#vault.conversation(id);
    let reply: Reply<'conversation'>;
    try {
      reply = await this.#ask(id);
    } catch (error) {
      if (error instanceof ChatError && error.code === 'NOT_FOUND') this.close(id);
      throw error;
    }
    if (known !== null)
      return known.room === undefined ? this.#keep(reply) : this.#keepRoom(reply, known.peer, known.room);
    const room = await roomWithId(this.#requester, id);
    return room === null ? this.#keep(reply) : this.#keepRoom(reply, room.room, this.#factsOf(room));
  }
  /**
   * A room that this user is a member of, as the server has just said.
   * @throws NOT_FOUND, BAD_CERT; BAD_CERT/untrusted for another room than the one that had this name
   */
  async enter(room: RoomReply): Promise<Conversation> {
    const id = room.conversation as ConversationId;
    const before = this.#vault.conversationWith(room.room);
    if (before !== null && before.room?.closed !== true && !equal(before.id, id)) await this.#assertGone(before);
    const known = this.#vault.conversation(id);
    const facts = this.#factsOf(room);
    if (known?.room !== undefined && known.room.public !== facts.public)
      throw new ChatError('BAD_CERT', `the server says that ${room.room} is another kind of room than it was`, {
        sub: 'untrusted',
      });
    const founder = facts.founder || known?.room?.founder === true;
    return this.#keepRoom(await this.#ask(id), room.room, { ...facts, founder });
  }
  /** This user is not in the room any more; what was said there stays. Answers whether that is news. */
  close(id: ConversationId): boolean {
    const known = this.#vault.conversation(id);
    if (known?.room === undefined || known.room.closed) return false;
    const { peer, epoch, members, room } = known;
    this.#vault.putRoster(id, { peer, epoch, members, room: { ...room, closed: true } });
    return true;
  }
  /** As it is known, with every device checked; asked for when it is not known, or not right any more. @throws NOT_FOUND, BAD_CERT */
  async trusted(id: ConversationId): Promise<Conversation> {
    const known = this.#vault.conversation(id);
    if (known === null || !this.#hasThisDevice(known)) return this.refresh(id);
    if (this.#checked.get(hex(id)) === known.epoch) return known;
    try {
      await this.#check(id, known);
      return known;
    } catch (error) {
      if (!(error instanceof ChatError) || (error.code !== 'BAD_CERT' && error.code !== 'NOT_FOUND')) throw error;
      return this.refresh(id);
    }
  }

  async #ask(id: ConversationId): Promise<Reply<'conversation'>> {
    const reply = await this.#requester.request({ type: 'conversation_get', conversation: id }, 'conversation');
    if (equal(reply.conversation, id)) return reply;
    throw new ChatError('BAD_FRAME', 'another conversation than asked for', { field: 'conversation' });
  }

  #factsOf({ visibility, members }: RoomReply): RoomFacts {
    const own = members.find(({ username }) => username === this.#own.username);
    return { public: visibility === 'public', founder: own?.role === 'owner', closed: false };
  }

  /** A name may be used again, but not for another room as long as this user is in the one that has it. */
  async #assertGone({ id, peer }: Conversation): Promise<void> {
    try {
      await this.refresh(id);
    } catch (error) {
      if (error instanceof ChatError && error.code === 'NOT_FOUND') return;
      throw error;
    }
    throw new ChatError('BAD_CERT', `the server put another room in the place of ${peer}`, { sub: 'untrusted' });
  }

  async #keepRoom({ conversation, epoch, members }: Reply<'conversation'>, peer: string, room: RoomFacts) {
    this.#assertCounted(members);
    const roster = { peer, epoch, members: copied(members), room: { ...room, closed: false } };
    return this.#put(conversation as ConversationId, roster);
  }

  #assertCounted(members: Roster['members']): void {
    if (!this.#hasThisDevice({ members }))
      throw new ChatError('BAD_CERT', 'the server does not count this device to the conversation: was it revoked', {
        sub: 'revoked',
      });
  }

  async #put(id: ConversationId, roster: Roster): Promise<Conversation> {
    await this.#check(id, roster);
    this.#vault.putRoster(id, roster);
    return this.#vault.conversation(id)!;
  }

  async #keep({ conversation, epoch, members }: Reply<'conversation'>, asked?: string): Promise<Conversation> {
    const id = conversation as ConversationId;
    const own = members.find((m) => m.username === this.#own.username);
    const others = members.filter((m) => m !== own);
    if (own !== undefined && this.isSelf(id) && members.length === 1) {
      if (asked !== undefined && asked !== own.username)
        throw new ChatError('BAD_CERT', `the server answered with this user, who is not ${asked}`, {
          sub: 'untrusted',
        });
      this.#assertCounted(members);
      return this.#put(id, { peer: own.username, epoch, members: copied(members) });
    }
    const [peer] = others;
    if (own === undefined || peer === undefined || others.length > 1 || this.isSelf(id))
      throw new ChatError('BAD_CERT', 'the server put others into a conversation of two', { sub: 'untrusted' });
    this.#assertCounted(members);
    const known = this.#vault.conversation(id);
    if (known !== null && known.peer !== peer.username)
      throw new ChatError('BAD_CERT', `the server put ${peer.username} in the place of ${known.peer}`, {
        sub: 'untrusted',
      });
    const isAsked = asked === undefined || asked === peer.username || (await this.#isAddressOf(asked, peer.devices));
    if (!isAsked)
      throw new ChatError('BAD_CERT', `the server answered with ${peer.username}, who is not ${asked}`, {
        sub: 'untrusted',
      });
    return this.#put(id, { peer: peer.username, epoch, members: copied(members) });
  }

  /** Whether the certificate of every one of these devices names the e-mail address: that an account has it is the server's word alone. */
  async #isAddressOf(address: string, devices: readonly Uint8Array[]): Promise<boolean> {
    for (const device of devices) {
      const { leaf } = await this.certificates.of(device as Fingerprint);
      if (identityOf(leaf).email !== address) return false;
    }
    return address.includes('@') && devices.length > 0;
  }

  #hasThisDevice({ members }: Pick<Roster, 'members'>): boolean {
    const own = members.find((member) => member.username === this.#own.username);
    return own?.devices.some((device) => equal(device, this.#own.fingerprint)) === true;
  }

  async #check(id: ConversationId, { epoch, members }: Roster): Promise<void> {
    const unknown = members
      .map(({ username, devices }) => ({
        username,
        devices: devices.filter((device) => !equal(device, this.#own.fingerprint)) as Fingerprint[],
      }))
      .filter(({ username, devices }) => this.#known.get(username) !== nameOf(devices));
    const fetched = await this.certificates.fetch(unknown.flatMap(({ devices }) => devices));
    for (const { username, devices } of unknown) {
      const certificates: Certificate[] = [];
      for (const device of devices) {
        const { leaf, username: owner } = fetched.get(hex(device)) ?? (await this.certificates.of(device));
        if (owner !== username)
          throw new ChatError('BAD_CERT', `the server lists a device of ${leaf.subject.text} as one of ${username}`, {
            sub: 'bad_name',
          });
        certificates.push(leaf);
      }
      this.#seen(username, certificates);
      this.#known.set(username, nameOf(devices));
    }
    this.#checked.set(hex(id), epoch);
  }
}

const copied = (members: Reply<'conversation'>['members']): Roster['members'] =>
  members.map((member) => ({ ...member, devices: [...member.devices] }));

const nameOf = (devices: readonly Fingerprint[]): string => devices.map(hex).sort().join();
