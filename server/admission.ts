/**
 * Judges what a device wants to send before the sequencer does: sizes, membership, roster, contacts, quota; and finds out which devices it
 * is for.
 */
import { same, type ConversationId, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { idKey } from '../base/id-key.ts';
import { encodeFrame } from '../protocol/frame-codec.ts';
import { MAX_BATCH_DELIVERIES, MAX_BODY_BYTES, MAX_SEND_BYTES, type Request } from '../protocol/messages.ts';
import type { Store } from '../store/store.ts';
import { NO_HASH } from '../transcript/merkle.ts';
import { decodeMs, isOfSession, isReceipt, KIND, type MessageStatement } from '../transcript/statement.ts';
import type { Charge } from './charges.ts';
import { contactRefusal, type ContactPolicy } from './contacts.ts';
import { devicesOf, isPartOf, noConversation, rosterOf, type Conversations, type Recipient } from './conversations.ts';
import { checkKind, companions } from './groups.ts';
import type { Member } from './members.ts';
import type { Quota } from './quota.ts';
import type { Sequencer } from './sequencer.ts';
import type { Submission } from './submission.ts';

/** When a sender tries again whose recipient has no valid certificate. */
const NO_DEVICE_RETRY_MS = 60_000;
/** Devices that one message is queued for: what the store keeps about it has room for 6553 (`messages.targets`, a BLOB of MySQL). */
const MAX_RECIPIENTS = 4096;
/** Of what is kept for the GroupInfos of one user's commits: 256 trees of a thousand devices. */
const MAX_KEPT_INFO_BYTES = 512 * 1024 * 1024;

export interface AdmissionOptions {
  readonly store: Pick<Store, 'blobSizes' | 'keptInfoBytes'>;
  readonly sequencer: Pick<Sequencer, 'isKnown'>;
  readonly conversations: Conversations;
  readonly quota: Quota;
  readonly now: () => number;
  /** how long a message waits for a device, ms */
  readonly ttlMs: number;
  readonly contactPolicy: ContactPolicy;
  /** what waits for this device is on its way */
  readonly keepsUp: (deviceId: number) => boolean;
  /** the store is told what these devices keep; false: it knows that already */
  readonly toldOf: (deviceIds: readonly number[]) => Promise<boolean>;
}

/** For whom a message in one conversation is. */
interface Audience {
  readonly rosterHash: Hash;
  /** devices that it is queued for */
  readonly recipients: readonly number[];
  /** those of them that are not the sender's own */
  readonly peers: readonly number[];
  /** whether the other member has any device that is neither revoked nor expired */
  readonly hasDevices: boolean;
  /** Null, or why the sender may not write there: it is not his, or the two may not write to each other. */
  readonly refusal: ChatError | null;
}

/** For so many devices. Answers why that cannot be. @throws as Charge */
type Pay = (devices: number) => Promise<ChatError | null>;

export class Admission {
  readonly #o: AdmissionOptions;

  constructor(options: AdmissionOptions) {
    this.#o = options;
  }

  /**
   * What the sequencer is to be asked: membership, roster, sizes and quota are judged here. To be called batch by batch.
   * @param charge for messages in conversations of the sender, before it is asked who has room for them
   * @throws TOO_LARGE, BAD_FRAME, NOT_FOUND, STALE, QUOTA, with the field; what `charge` throws
   */
  async admit(member: Member, frame: Request<'msg_send'>, charge: Charge): Promise<Submission> {
    if (isLongerThan(frame, MAX_SEND_BYTES))
      throw new ChatError('TOO_LARGE', `a msg_send of more than ${MAX_SEND_BYTES} bytes`, { field: 'msg_send' });
    const longest = this.#o.now() + this.#o.ttlMs;
    const audiences = new Map<string, Audience>();
    const messages: Submission['messages'][number][] = [];
    let refusal: ChatError | null = null;
    let deliveries = 0;
    const batchSize = companions(frame.messages);
    const statements = frame.messages.map(({ statement }) => decodeMs(statement));
    const { id, userId, fingerprint } = member.device;
    const isKnown = (): Promise<boolean> => this.#o.sequencer.isKnown({ userId, fingerprint }, frame.batch);
    const pay =
      (conversation: string, count: number, field: string): Pay =>
      async (devices) => {
        deliveries += count * devices;
        // What is in the log already goes to all of them, however many they have become since.
        if (deliveries > MAX_BATCH_DELIVERIES && statements.length > 1 && !(await isKnown())) return tooMany();
        charge(conversation, count, devices, field);
        return null;
      };
    for (const [i, message] of frame.messages.entries()) {
      const { statement, parts, group = null, group_info: groupInfo = null, expires_at: wanted = longest } = message;
      const expiresAt = Math.min(wanted, longest);
      const field = `msg_send.messages[${i}].statement`;
      const ms = statements[i]!;
      checkKind(ms, message, batchSize, `msg_send.messages[${i}]`);
      if (byteCount(parts) > MAX_BODY_BYTES)
        throw new ChatError('TOO_LARGE', `parts of more than ${MAX_BODY_BYTES} bytes`, {
          field: `msg_send.messages[${i}].parts`,
        });
      if (isOfSession(ms.kind)) {
        messages.push({ statement, parts, group, groupInfo, recipients: [], peers: [], expiresAt });
        continue;
      }
      if (isReceipt(ms.kind)) {
        const witnesses = await this.#witnesses(
          member,
          ms.conversation,
          message.to!,
          pay(idKey(ms.conversation), 1, field),
        );
        refusal ??= witnesses.refusal;
        messages.push({ statement, parts, group, groupInfo, ...witnesses, expiresAt });
        continue;
      }
      const key = idKey(ms.conversation);
      let audience = audiences.get(key);
      if (audience === undefined) {
        const payAll = pay(key, countOf(statements, ms.conversation), field);
        audiences.set(key, (audience = await this.#audience(member, ms.conversation, payAll)));
      }
      const { recipients, peers } = audience;
      const isCommit = ms.kind === KIND.membership;
      refusal ??= refusalBy(audience, ms.rosterHash, isCommit, field);
      const submitted = { statement, parts, group, groupInfo, recipients, peers, expiresAt };
      if (!isCommit) {
        messages.push(submitted);
        continue;
      }
      const { blobs, refusal: unkept } = await this.#blobsOf(member, message, `msg_send.messages[${i}]`);
      refusal ??= unkept ?? null;
      messages.push({ ...submitted, ...(blobs && { blobs }) });
    }
    // What is in the log already gets its answer again, whatever has become of roster and queue since: the sender would sign anew what
    // was delivered long ago.
    if (refusal !== null && !(await isKnown())) throw refusal;
    const { peerChain } = member.link;
    const chain = peerChain.map(({ der }) => der);
    const until = Math.min(...peerChain.map(({ notAfter }) => notAfter));
    return {
      refusal,
      device: { id, userId, fingerprint, publicKey: peerChain[0].publicKey, chain, until },
      algorithm: frame.algorithm,
      signature: frame.signature,
      batch: frame.batch,
      messages,
      statements,
    };
  }

  /** What a commit refers to, if this device has put all of it, and its user may have it kept. */
  async #blobsOf(
    { device, user }: Member,
    message: Request<'msg_send'>['messages'][number],
    at: string,
  ): Promise<{ blobs?: Submission['messages'][number]['blobs']; refusal?: ChatError }> {
    const { parts_blob: parts, info_blob: groupInfo } = message;
    const named = Object.entries({ parts, groupInfo }).flatMap(([use, hash]) =>
      hash ? [{ use, hash: hash as Hash }] : [],
    );
    if (named.length === 0) return {};
    const sizes = await this.#o.store.blobSizes(
      device.id,
      named.map(({ hash }) => hash),
    );
    if (sizes.includes(null)) {
      const field = named[sizes.indexOf(null)]!.use === 'parts' ? 'parts_blob' : 'info_blob';
      return {
        refusal: new ChatError('NOT_FOUND', 'this blob was not put, or not all of it', {
          field: `${at}.${field}`,
        }),
      };
    }
    const infoBytes = named.reduce((sum, { use }, i) => (use === 'groupInfo' ? sum + sizes[i]! : sum), 0);
    if (infoBytes > 0 && (await this.#o.store.keptInfoBytes(user.id)) + infoBytes > MAX_KEPT_INFO_BYTES)
      return {
        refusal: new ChatError('QUOTA', 'too much is kept for the commits of this user', { field: `${at}.info_blob` }),
      };
    return { blobs: Object.fromEntries(named.map(({ use, hash }, i) => [use, { hash, size: sizes[i]! }])) };
  }

  async #audience(member: Member, id: ConversationId, pay: Pay): Promise<Audience> {
    const conversation = await this.#o.conversations.find(id);
    // Who was a member when the log took his batch still gets its answer (admit), and what is to be said to it goes to those of now.
    const standing = conversation?.standing ?? 'strangers';
    const isPart = conversation !== null && isPartOf(conversation, member.user);
    const isSelf = standing === 'self';
    const audience = (conversation === null ? [] : devicesOf(conversation)).filter(({ id }) => id !== member.device.id);
    const unpaid = isPart ? await pay(audience.length) : null;
    const { recipients, peers } = await this.#withRoom(member, unpaid === null ? audience : [], isSelf);
    return {
      rosterHash: isPart ? rosterOf(conversation) : NO_HASH,
      recipients,
      peers,
      hasDevices: isSelf ? audience.length > 0 : audience.some(({ userId }) => userId !== member.user.id),
      refusal: isPart ? (unpaid ?? contactRefusal(this.#o.contactPolicy, standing, 'msg_send')) : noConversation(),
    };
  }

  /**
   * Whom a receipt is queued for: the devices of the author, and the others of the sender. An author who has left, or whom the sender may
   * not write to, gets none, and that is no refusal: what the device has kept, it has kept.
   */
  async #witnesses(
    member: Member,
    id: ConversationId,
    author: string,
    pay: Pay,
  ): Promise<Pick<Audience, 'recipients' | 'peers' | 'refusal'>> {
    const conversation = await this.#o.conversations.find(id);
    if (conversation === null || !isPartOf(conversation, member.user))
      return { recipients: [], peers: [], refusal: noConversation() };
    const { members, standing } = conversation;
    const isHeard = contactRefusal(this.#o.contactPolicy, standing, 'msg_send') === null;
    const devices = members.flatMap(({ userId, username, devices }) => {
      if (userId !== member.user.id && (username !== author || !isHeard)) return [];
      return devices.flatMap((device) => (device.id === member.device.id ? [] : [{ id: device.id, userId }]));
    });
    const unpaid = await pay(devices.length);
    return { ...(await this.#withRoom(member, unpaid === null ? devices : [])), refusal: unpaid };
  }

  /** Who never comes back, or never acknowledges, keeps nobody from the other devices. */
  async #withRoom({ user }: Member, devices: readonly Recipient[], isSelf = false) {
    const waiting = devices.flatMap(({ id }) => (this.#o.keepsUp(id) ? [] : [id]));
    let full = await this.#o.quota.full(waiting, user.id);
    // Who has just taken what waited has room, though the store does not know it yet.
    if (full.size > 0 && (await this.#o.toldOf([...full]))) full = await this.#o.quota.full([...full], user.id);
    const reached = full.size === 0 ? devices : devices.filter(({ id }) => !full.has(id));
    return {
      recipients: reached.map(({ id }) => id),
      peers: reached.flatMap(({ id, userId }) => (isSelf || userId !== user.id ? [id] : [])),
    };
  }
}

const tooMany = (): ChatError =>
  new ChatError('TOO_LARGE', `more than ${MAX_BATCH_DELIVERIES} deliveries of one batch`, {
    field: 'msg_send.messages',
  });

/** Null: a message that was signed for this roster may go to this audience. */
function refusalBy(
  { refusal, rosterHash, recipients, peers, hasDevices }: Audience,
  signed: Hash,
  isCommit: boolean,
  field: string,
): ChatError | null {
  if (refusal !== null) return refusal;
  if (!same(signed, rosterHash))
    return new ChatError('STALE', 'the devices of the conversation have changed', { sub: 'roster', field });
  if (recipients.length > MAX_RECIPIENTS)
    return new ChatError('QUOTA', `more than ${MAX_RECIPIENTS} devices in one conversation`, { field });
  // A commit is for whoever there is: removing the last device of the other member is one.
  if (isCommit) return null;
  // Acknowledged, it would be nobody's: between a revocation and a new certificate the sender's device keeps it.
  if (!hasDevices)
    return new ChatError('UNAVAILABLE', 'the recipient has no valid device now', {
      field,
      retryAfterMs: NO_DEVICE_RETRY_MS,
    });
  if (peers.length === 0) return new ChatError('QUOTA', 'too much waits for the recipient already', { field });
  return null;
}

/** Of a batch: its messages in this conversation. */
const countOf = (statements: readonly MessageStatement[], id: ConversationId): number =>
  statements.reduce((count, { kind, conversation }) => {
    const counts = !isOfSession(kind) && !isReceipt(kind) && same(conversation, id);
    return counts ? count + 1 : count;
  }, 0);

const byteCount = (parts: readonly Uint8Array[]): number => parts.reduce((sum, part) => sum + part.length, 0);

/** Encoded only when an estimate from above does not settle it. */
function isLongerThan(frame: Request<'msg_send'>, limit: number): boolean {
  const estimate = frame.messages.reduce(
    (sum, { parts, group_info: info }) => sum + 352 + parts.length * 5 + byteCount(parts) + (info?.length ?? 0),
    2048,
  );
  return estimate > limit && encodeFrame(frame).length > limit;
}
