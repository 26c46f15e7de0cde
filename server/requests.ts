/** The requests of one connection: which are allowed when, who carries each out, and what each failure is answered with. */
import { fromUtf8, hex, utf8 } from '../base/bytes.ts';
import { ChatError, CODES } from '../base/errors.ts';
import type { Reply, Request } from '../protocol/messages.ts';
import type { ServerLink } from '../runtime/link.ts';
import { errorFields, type Log } from '../runtime/log.ts';
import type { ContactAction } from '../store/contract/contacts.ts';
import type { Conversation } from '../store/contract/conversations.ts';
import type { Store } from '../store/store.ts';
import type { AccountSession } from './accounts.ts';
import type { Blobs } from './blobs.ts';
import type { Contacts } from './contacts.ts';
import type { ConversationAccess } from './conversation-access.ts';
import type { CrlHistory } from './crl-history.ts';
import type { Devices } from './devices.ts';
import type { FairQueue } from './fair-queue.ts';
import { PASSWORD_CHANGED, type Ending } from './endings.ts';
import type { Hub } from './hub.ts';
import type { Member } from './members.ts';
import type { Keys } from './keys.ts';
import type { RateLimit } from './rate-limit.ts';
import type { Rooms } from './rooms.ts';
import { splitChain } from './chain-bytes.ts';
import { Charges } from './charges.ts';
import { RETRY_AFTER_MS, unavailable } from './unavailable.ts';
import type { TranscriptLog } from './log/log.ts';
import type { OutsideJobs } from './outside.ts';
import { peekCheckpoint } from '../transcript/checkpoint.ts';

/** Of the batches of one turn of the event loop: some 5 ms of work. Each costs as much as 4 messages in it. */
export const INTAKE_COST = 160;
const SEND_COST = 4;
/** What has limits of its own, or none, from who is logged in: of what is acknowledged there is no more than he was sent. */
const FREE: ReadonlySet<Request['type']> = new Set(['msg_send', 'msg_received', 'msg_skipped']);
/** Of everything else: for each certificate key, for of a certificate there may be a second spelling. */
export const REQUESTS_PER_MINUTE = 6000;

export interface RequestOptions {
  readonly link: ServerLink;
  readonly account: AccountSession;
  readonly hub: Hub;
  readonly access: ConversationAccess;
  readonly keys: Keys;
  readonly blobs: Blobs;
  readonly contacts: Contacts;
  readonly devices: Devices;
  readonly rooms: Rooms;
  readonly store: Store;
  readonly transcript: TranscriptLog;
  readonly crls: CrlHistory;
  readonly attested: OutsideJobs['attested'];
  /** messages, by user */
  readonly sends: RateLimit;
  /** devices that messages go to, by conversation */
  readonly roomDeliveries: RateLimit;
  /** batches that are judged in one turn of the event loop; of INTAKE_COST */
  readonly intake: FairQueue;
  /** all other requests, by certificate key */
  readonly requests: RateLimit;
  readonly log: Log;
  readonly now: () => number;
  /** the link was closed for its certificate (revocation.ts): what was asked over it and was not begun is not carried out */
  readonly isCut: () => boolean;
  readonly onLoggedIn?: () => void;
}

/** Settles, and never rejects, when the request has its reply; the next one need not wait for that. */
interface Taken {
  readonly answered: Promise<void>;
}
const ANSWERED: Taken = { answered: Promise.resolve() };

interface RequestEvents {
  /** a batch of his is within all limits */
  readonly onAdmitted: () => void;
  /** he has asked for more than he may */
  readonly onExcess: (retryAfterMs: number, isShared: boolean) => void;
}

export class Requests {
  readonly #o: RequestOptions;
  readonly #on: RequestEvents;
  member: Member | null = null;
  /** the link has closed */
  isOver = false;

  constructor(options: RequestOptions, on: RequestEvents) {
    this.#o = options;
    this.#on = on;
  }

  /** Never rejects. */
  async take(frame: Request): Promise<Taken> {
    if (this.#isEnded) return ANSWERED; // and no answer: the end is the last that he is told
    try {
      if (this.member === null || !FREE.has(frame.type)) this.#takeRequest();
      if (frame.type === 'msg_send') return await this.#send(frame);
      return (await this.#dispatch(frame)) ?? ANSWERED;
    } catch (error) {
      this.#refuse('id' in frame ? frame.id : undefined, error);
    }
    return ANSWERED;
  }

  /** Batches are admitted in the order in which they came, so that their counters fit; the commit is not waited for. */
  async #send(frame: Request<'msg_send'>): Promise<Taken> {
    const { hub, sends, roomDeliveries, intake } = this.#o;
    const member = this.#loggedIn();
    const user = `user:${member.user.id}`;
    const { length } = frame.messages;
    sends.take(user, length);
    const place = intake.place(member.user.id, SEND_COST + length);
    await place.enter();
    setImmediate(() => place.leave());
    if (this.#isEnded) return ANSWERED;
    // What many devices are to get costs as much as many messages: one to a full room is work for 1,000 mailboxes.
    const charges = new Charges(user, length, sends, roomDeliveries);
    const admitted = hub.admit(member, frame, charges.charge);
    admitted.catch(() => charges.giveBack());
    const submission = await admitted;
    if (this.#isEnded) {
      charges.giveBack();
      return ANSWERED;
    }
    this.#on.onAdmitted();
    const refused = (error: unknown): void => {
      charges.giveBack();
      this.#refuse(frame.id, error);
    };
    return { answered: hub.send(member, frame.id, submission).catch(refused) };
  }

  async #dispatch(frame: Exclude<Request, { type: 'msg_send' }>): Promise<Taken | void> {
    const {
      link,
      access,
      account,
      attested,
      blobs,
      hub,
      contacts,
      crls,
      devices,
      keys,
      rooms,
      store,
      transcript,
      now,
    } = this.#o;
    switch (frame.type) {
      case 'register':
        await account.register(frame);
        return link.send({ type: 'ok', id: frame.id });
      case 'login':
        return link.send(await account.login(frame));
      case 'login_proof':
      case 'resume': {
        if (frame.checkpoint !== undefined) peekCheckpoint(utf8(frame.checkpoint)); // what is none is refused before anything has happened
        const judgedAt = hub.endings;
        const login = frame.type === 'resume' ? await account.resume(frame) : await account.prove(frame);
        hub.changed(login);
        // Only now: looking it up costs reads, and what it finds may end this process. Waited for: whoever is logged in may write.
        if (frame.checkpoint !== undefined) await transcript.present(frame.checkpoint);
        if (this.isOver || this.#isEnded) return; // who has gone must not take the place of whoever came after him
        this.member = hub.join(login, link, judgedAt);
        this.#o.onLoggedIn?.();
        link.send(login.reply);
        return;
      }
      case 'password_set': {
        const member = this.#loggedIn();
        // Whoever has the one before is not to go on with it, nor to come in by it at this moment.
        const endOthers = (ending: Ending): void => void hub.endAll(member.user.id, ending, member);
        const reply = await account.setPassword(frame).catch((error: unknown) => {
          // The database may have it all the same: they come back by what it has.
          if (CODES[ChatError.from(error).code].blame === 'world') endOthers({ code: 'UNAVAILABLE' });
          throw error;
        });
        endOthers(PASSWORD_CHANGED);
        return link.send(reply);
      }
      case 'conversation_open':
        return link.send(conversationReply(frame.id, await access.open(this.#loggedIn(), frame.peer)));
      case 'conversation_get': {
        const conversation = await access.find(this.#loggedIn(), frame.conversation, true);
        return link.send(conversationReply(frame.id, conversation));
      }
      case 'certificate_get': {
        this.#loggedIn();
        const device = await store.deviceByFingerprint(
          frame.fingerprint as Parameters<Store['deviceByFingerprint']>[0],
        );
        if (device === null)
          throw new ChatError('NOT_FOUND', 'no such certificate', { field: 'certificate_get.fingerprint' });
        return link.send({ type: 'certificate', id: frame.id, chain: splitChain(device.chain) });
      }
      case 'presence_watch':
        return link.send({ type: 'presence', id: frame.id, ...(await hub.watch(this.#loggedIn(), frame.username)) });
      case 'presence_set': {
        const { state, last_seen: showsLastSeen } = frame;
        const change = {
          ...(state === undefined ? {} : { state }),
          ...(showsLastSeen === undefined ? {} : { showsLastSeen }),
        };
        const choice = await hub.choosePresence(this.#loggedIn(), change);
        const { state: chosen, showsLastSeen: last_seen } = choice;
        return link.send({ type: 'presence_choice', id: frame.id, state: chosen, last_seen });
      }
      case 'typing':
        return await hub.typing(this.#loggedIn(), frame.conversation, frame.on);
      case 'device_list':
        return link.send({ type: 'devices', id: frame.id, devices: await devices.list(this.#loggedIn()) });
      case 'device_revoke':
        await devices.revoke(this.#loggedIn(), frame.fingerprint);
        return link.send({ type: 'ok', id: frame.id });
      case 'contact_add':
      case 'contact_accept':
      case 'contact_decline':
      case 'contact_remove':
      case 'contact_block':
      case 'contact_unblock': {
        const action = frame.type.slice('contact_'.length) as ContactAction;
        const changed = await contacts.change(this.#loggedIn().user, action, frame.account);
        return link.send({ type: 'contact', id: frame.id, ...changed });
      }
      case 'contact_list':
        return link.send({
          type: 'contacts',
          id: frame.id,
          ...(await contacts.list(this.#loggedIn().user, frame.after)),
        });
      case 'directory': {
        const page = await contacts.directory(this.#loggedIn().user, frame.after);
        return link.send({ type: 'directory', id: frame.id, ...page });
      }
      case 'msg_received':
        if (!hub.received(this.#loggedIn(), frame.cursors)) this.#takeRequest();
        return;
      case 'msg_skipped':
        if (!this.#loggedIn().outlet.skipped(frame.cursors)) this.#takeRequest();
        return;
      case 'binding_put':
        return link.send(await keys.putBinding(this.#loggedIn(), frame));
      case 'binding_get':
        this.#loggedIn();
        return link.send(await keys.binding(frame));
      case 'blob_put':
        return link.send(await blobs.put(this.#loggedIn(), frame));
      case 'blob_get':
        this.#loggedIn();
        return link.send(await blobs.get(frame));
      case 'keypackages_put':
        return link.send(await keys.put(this.#loggedIn(), frame));
      case 'keypackages_take':
        return link.send(await keys.take(this.#loggedIn(), frame));
      case 'room_create':
      case 'room_list':
      case 'room_get':
      case 'room_join':
      case 'room_leave':
      case 'room_invite':
      case 'room_kick':
      case 'room_ban':
      case 'room_unban':
      case 'room_role':
      case 'room_topic':
        return link.send(await rooms.answer(this.#loggedIn(), frame));
      case 'sync':
        return this.#later(frame.id, this.#loggedIn().outlet.sync(), () => ({ type: 'synced', id: frame.id }));
      case 'group_get':
        return this.#later(frame.id, access.group(this.#loggedIn(), frame.conversation, frame.group), (group) => ({
          type: 'group',
          id: frame.id,
          conversation: frame.conversation,
          generation: group?.generation ?? 0,
          epoch: group?.epoch ?? 0,
          ...(group?.groupInfo ? { group_info: group.groupInfo } : {}),
        }));
      case 'log_consistency': {
        this.#loggedIn();
        if (frame.from > frame.to || frame.to > transcript.latest.size)
          throw new ChatError('BAD_FRAME', 'no such range of sizes', { field: 'log_consistency.to' });
        return link.send({
          type: 'log_consistency',
          id: frame.id,
          hashes: await transcript.proofs.consistency(frame.from, frame.to),
        });
      }
      case 'log_checkpoint':
        this.#loggedIn();
        return link.send({ type: 'log_checkpoint', id: frame.id, note: transcript.latest.note });
      case 'log_attested': {
        this.#loggedIn();
        const { note, token } = (await attested(frame.size)) ?? {};
        const found = note === undefined ? {} : { note: fromUtf8(note) ?? '', ...(token && { token }) };
        return link.send({ type: 'log_attested', id: frame.id, ...found });
      }
      case 'crl_get':
        this.#loggedIn();
        return link.send(await crls.answer(frame));
      case 'ping':
        return link.send({ type: 'pong', id: frame.id, server_time: now() });
      case 'bye':
        return link.close();
    }
  }

  get #isEnded(): boolean {
    return this.member?.isEnded === true || this.#o.isCut();
  }

  /** What waits for acknowledgements must not keep them from being read. */
  #later<T>(id: number, wanted: Promise<T>, reply: (value: T) => Reply): Taken {
    const { link } = this.#o;
    return { answered: wanted.then((value) => link.send(reply(value))).catch((error) => this.#refuse(id, error)) };
  }

  /** @throws RATE_LIMIT */
  #takeRequest(): void {
    const { link, requests } = this.#o;
    requests.take(hex(link.peerChain[0].spkiHash), 1);
  }

  #loggedIn(): Member {
    if (this.member === null) throw new ChatError('NOT_LOGGED_IN', 'log in first');
    return this.member;
  }

  #refuse(id: number | undefined, error: unknown): void {
    const { link, log } = this.#o;
    const failure = ChatError.from(error);
    const { blame } = CODES[failure.code];
    const line = blame === 'us' ? log.error : blame === 'world' ? log.warn : log.debug;
    line('request.refused', errorFields(failure));
    // That it is the database is for the operator. The peer may repeat, and must not take it for a failure of its own store.
    const { code, sub, field, retryAfterMs } =
      failure.code === 'STORE_FAILED' ? unavailable('the database did not answer', RETRY_AFTER_MS) : failure;
    const reply: Reply<'error'> = {
      type: 'error',
      ...(id === undefined ? {} : { id }),
      code,
      ...(sub === undefined ? {} : { sub }),
      ...(field === undefined ? {} : { field }),
      ...(retryAfterMs === undefined ? {} : { retry_after_ms: retryAfterMs }),
    };
    link.send(reply);
    if (code === 'RATE_LIMIT') this.#on.onExcess(retryAfterMs ?? 0, sub === 'room');
  }
}

function conversationReply(id: number, conversation: Conversation): Reply<'conversation'> {
  return {
    type: 'conversation',
    id,
    conversation: conversation.id,
    epoch: conversation.epoch,
    members: conversation.members.map(({ username, devices }) => ({
      username,
      devices: devices.map((device) => device.fingerprint),
    })),
  };
}
