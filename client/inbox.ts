/**
 * What the server delivers, and what of it is believed. A message is shown only after all of this held: the sender's certificate comes
 * from our authority and is that of a member of the conversation; the signature covers the batch; the log holds the batch where its
 * acknowledgement says, under a checkpoint of the pinned key; it was sealed by the device that signed, in the group of the conversation,
 * for this statement; body and commitment are the ones that were signed. Then it is stored with its evidence and the group as it is after
 * it, and only then acknowledged.
 *
 * What does not hold is never shown as a message: it becomes an alarm, with the whole delivery kept as evidence, and it is not
 * acknowledged but skipped: the server goes on with what comes after. So an altered copy cannot make the server delete the true one,
 * nobody is told "delivered" of something that could not be read, no number of false deliveries keeps the true ones away, and one that
 * stays false is offered again at each login (and reported once) until the server lets it expire.
 * A receipt is believed by the same rules, but that it was sealed (receipt-reader.ts); it is shown as the state of the message that it is about.
 * A gap in a sender's counters is different, and what the log holds twice or in another order (order-check.ts): the message itself is
 * proven, so it is shown, below a warning that others are missing, or beside an alarm about the log.
 */
import { equal, hex, type ConversationId, type Hash } from '../base/bytes.ts';
import { encode, type Encodable } from '../base/cbor.ts';
import { ChatError } from '../base/errors.ts';
import { MAX_RECEIVED, type Delivered, type Hidden, type Reply } from '../protocol/messages.ts';
import { leafHash, NO_HASH } from '../transcript/merkle.ts';
import {
  decodeMs,
  isCiphertextOf,
  isCommitted,
  isPartOfCiphertext,
  isReceipt,
  KIND,
  type MessageStatement,
} from '../transcript/statement.ts';
import { readOpening } from './body.ts';
import { checkBatch, isVerdict, type CheckedBatch } from './delivery-check.ts';
import type { DeviceKeys } from './device.ts';
import { usersIn } from './e2ee/held.ts';
import { isOfCommit } from './e2ee/layout.ts';
import { ConversationQueue } from './e2ee/queue.ts';
import type { Member } from './e2ee/sketch.ts';
import type { Gossip } from './gossip.ts';
import type { GroupEngine } from './group-engine.ts';
import { GROUP_WORK } from './group-thread.ts';
import { GroupReader, type Opened } from './group-reader.ts';
import type { Groups } from './groups.ts';
import { readHandover } from './handover-content.ts';
import type { Handover } from './handover.ts';
import { UNREADABLE } from './message-table.ts';
import { checkOrder, errorOf, findReplay, type Finding } from './order-check.ts';
import { patiently } from './patience.ts';
import { readReceipt, type HeldReceipt } from './receipt-reader.ts';
import type { Session } from './session.ts';
import { isBetrayal } from './trust.ts';
import type { Conversation } from './roster.ts';
import type { Message } from './message-table.ts';
import type { ReceivedCommit, Vault } from './vault.ts';

export interface InboxEvents {
  message(message: Message): void;
  /** something that a person must see, and that did not stop the message */
  warn(sentence: string): void;
  /** there may be word for a person in the vault */
  noticed(): void;
  /** something false; shown once for each delivery */
  alarm(error: ChatError): void;
  /** the state of a message changed: delivered, read, or expired */
  changed(message: Message): void;
  /** there is something to say about what was received */
  owes(): void;
  /** this device was let into a group, for which it gave a key package */
  joined(): void;
  /** a group changed by somebody else's doing */
  grouped(id: ConversationId): void;
}

/** Deliveries that wait to be checked: a server that keeps its own limits never comes near. */
const MAX_WAITING_BYTES = 32 * 1024 * 1024;
/** What each costs while it waits, beside what is in it. */
const FRAME_BYTES = 2048;

export class Inbox {
  readonly #vault: Vault;
  readonly #events: InboxEvents;
  readonly #username: string;
  readonly #now: () => number;
  readonly #groups: Groups;
  readonly #devices: DeviceKeys;
  readonly #reader: GroupReader;
  readonly #handover: Handover;
  readonly #gossip: Gossip;
  readonly #queue = new ConversationQueue();
  #waitingBytes = 0;
  /** Connections on which something could not be dealt with: what came after it may need it, and is offered again with it. */
  readonly #stalled = new WeakSet<Session>();

  constructor(
    vault: Vault,
    groups: Groups,
    devices: DeviceKeys,
    handover: Handover,
    gossip: Gossip,
    username: string,
    events: InboxEvents,
    now: () => number,
  ) {
    this.#vault = vault;
    this.#groups = groups;
    this.#devices = devices;
    this.#handover = handover;
    this.#gossip = gossip;
    this.#reader = new GroupReader(vault, groups);
    this.#username = username;
    this.#events = events;
    this.#now = now;
  }

  /** Deliveries of a conversation are checked one after the other, in the order in which they came. */
  deliver(session: Session, frame: Reply<'msg_deliver'>): void {
    const bytes = frame.items.reduce((sum, item) => sum + ('parts' in item ? partBytes(item) : 64), FRAME_BYTES);
    if (!this.#waits(session, bytes)) return;
    const ids = conversationsOf(frame);
    void this.#queue.run(ids.length > 0 ? ids.map(hex) : [''], async () => {
      try {
        // What the server has to say first it may not be able to say now; then nothing of what was begun is kept.
        await patiently(session, async () => {
          if (!this.#stalled.has(session)) await this.#take(session, frame, ids);
        });
      } catch (error) {
        this.#refuse(session, frame, ChatError.from(error));
      } finally {
        this.#waitingBytes -= bytes;
      }
    });
  }

  /** The server's word: a message of ours has waited too long. */
  expired(session: Session, { message, cursor }: Reply<'msg_expired'>): void {
    if (!this.#waits(session, FRAME_BYTES)) return;
    void this.#queue
      .runLast(async () => {
        this.#waitingBytes -= FRAME_BYTES;
        // Its acknowledgement comes behind this, which is said again after the next login.
        if (this.#vault.messageByHash(message as Hash)?.state === 'signed') return;
        const row = this.#vault.expire(message as Hash);
        session.acknowledgements.add(cursor);
        if (row !== null) this.#changed([row]);
      })
      .catch((error: unknown) => session.fault(ChatError.from(error), 'expired', Buffer.alloc(0)));
  }

  /** False when it is too much: then nothing more is taken on this connection. */
  #waits(session: Session, bytes: number): boolean {
    this.#waitingBytes += bytes;
    if (this.#waitingBytes <= MAX_WAITING_BYTES) return true;
    const error = new ChatError('QUOTA', 'the server delivers more than was acknowledged');
    session.fault(error, 'inbox', Buffer.alloc(0));
    return false;
  }

  /** Resolves when all that was delivered so far has been dealt with. */
  get settled(): Promise<void> {
    return this.#queue.settled;
  }

  async #take(session: Session, frame: Reply<'msg_deliver'>, ids: readonly ConversationId[]): Promise<void> {
    const batch = await checkBatch(session, frame, session.requester.noteBefore(frame));
    const { good, bad, fresh, changed, warnings, alarms, hasHistory } = await this.#groups.exclusively(
      session,
      ids,
      async (engine) => {
        const { good, bad } = await this.#checkItems(session, engine, batch, frame);
        session.log.keep(batch.checkpoint, batch.note); // by itself: a fork must leave its proof behind
        return { good, bad, ...this.#keep(session, batch, good, ids) };
      },
    );
    session.prove();
    for (const { delivered } of good) session.acknowledgements.add(delivered.cursor, delivered.parts);
    if (hasHistory) this.#handover.taken(session);
    this.#events.noticed();
    for (const warning of warnings) this.#events.warn(warning);
    for (const finding of alarms) this.#events.alarm(errorOf(finding));
    for (const { message, remark } of fresh) {
      if (remark !== null) this.#events.warn(remark);
      if (message !== null) this.#events.message(this.#vault.message(message.row)!);
    }
    this.#changed(changed);
    if (fresh.length > 0) this.#events.owes();
    for (const { delivered, error } of bad) this.#alarm(hex(leafHash(delivered.statement)), error, frame);
    const refused = bad.map(({ delivered }) => delivered);
    skip(session, refused); // only now: their evidence is on disk
    if (good.some(({ opened }) => opened?.kind === 'commit' && opened.usedPackage !== null)) this.#events.joined();
    for (const { ms, opened } of good) {
      if (opened?.kind !== 'commit') continue;
      if (opened.isReplaced && !session.rosters.isSelf(ms.conversation)) session.wantGroup(ms.conversation, true);
      this.#events.grouped(ms.conversation);
    }
    for (const { message, isContinued } of fresh) {
      if (message?.content == null) continue;
      const { conversation, hash, content } = message;
      const heard = { conversation, by: batch.username, hash: hash!, content, isContinued };
      this.#gossip.hear(session, heard, (sentence) => this.#events.warn(sentence));
    }
  }

  async #checkItems(session: Session, engine: GroupEngine, batch: CheckedBatch, frame: Reply<'msg_deliver'>) {
    const good: Good[] = [];
    const bad: { readonly delivered: Delivered; readonly error: ChatError }[] = [];
    for (const [i, delivered] of frame.items.entries()) {
      if (!isShown(delivered)) continue;
      try {
        const ms = decodeMs(delivered.statement);
        const opened = await this.#checkItem(session, engine, batch, delivered, ms, i);
        good.push({ delivered, ms, opened, index: batch.first + 1 + i });
      } catch (cause) {
        const error = ChatError.from(cause);
        if (!isVerdict(error)) throw error;
        bad.push({ delivered, error: naming(batch.username, error) });
      }
    }
    return { good, bad };
  }

  /** Null for what is here already: the server repeats what it does not know to be received. */
  async #checkItem(
    session: Session,
    engine: GroupEngine,
    { bs, leaf, username, serverTime: at }: CheckedBatch,
    delivered: Delivered,
    ms: MessageStatement,
    position: number,
  ): Promise<Opened | HeldReceipt | null> {
    if (!equal(ms.sender, bs.sender) || !equal(ms.session, bs.session) || ms.sessionCtr !== bs.firstCtr + position)
      throw new ChatError('SIG_FAIL', 'a statement that does not belong to its batch', { sub: 'statement' });
    if (isReceipt(ms.kind)) {
      const who = { by: username, at, batch: leaf };
      return readReceipt(this.#vault, session, this.#username, who, delivered, ms, this.#readersOf(ms.conversation));
    }
    if (ms.kind !== KIND.message && ms.kind !== KIND.membership)
      throw new ChatError('BAD_FRAME', 'a statement of another kind', { field: 'ms.kind' });
    let roster: Conversation = await session.rosters.trusted(ms.conversation);
    // Into a room write those who are in its group at that time, wherever they are now: the reader compares.
    if (roster.room === undefined && !roster.members.some((member) => member.username === username)) {
      roster = await session.rosters.refresh(ms.conversation);
      if (!roster.members.some((member) => member.username === username))
        throw new ChatError('BAD_CERT', `${username} sent into a conversation without being in it`, {
          sub: 'untrusted',
        });
    }
    if (!isWhatWasSigned(ms, delivered))
      throw new ChatError('SIG_FAIL', 'a body that is not the one that was signed', { sub: 'ct_hash' });
    const hash = leafHash(delivered.statement);
    if (this.#vault.messageByHash(hash) !== null || this.#vault.groups.hasCommit(hash)) return null;
    if (this.#vault.ledger.hasAlarm('TOO_LARGE', `${hex(hash)}/${GROUP_WORK}`))
      throw new ChatError('TOO_LARGE', 'what has taken too long once is not tried again', { field: GROUP_WORK });
    const item = { ms, delivered, roster, by: username, at };
    if (ms.kind === KIND.membership) {
      if (!equal(ms.commitment, NO_HASH))
        throw new ChatError('SIG_FAIL', 'a commit with a commitment', { sub: 'commitment' });
      return this.#reader.commit(session, engine, item, await this.#devices.ready(session, engine));
    }
    return this.#reader.message(session, engine, item, (opening) => {
      const { kf, body } = readOpening(opening);
      if (!isCommitted(kf, delivered.statement, body))
        throw new ChatError('SIG_FAIL', `a body of ${username} that its commitment does not open to`, {
          sub: 'commitment',
        });
      if (session.rosters.isSelf(ms.conversation)) readHandover(body);
    });
  }

  /** Null where this device is not in the group, or knows that it has missed something of it. */
  #readersOf(id: ConversationId): string[] | null {
    const { conversation } = this.#groups.of(id);
    return conversation === null || this.#groups.isBroken(id) ? null : usersIn(conversation);
  }

  /** Everything that came of a batch, in one transaction. */
  #keep(session: Session, batch: CheckedBatch, good: readonly Good[], ids: readonly ConversationId[]) {
    const fresh: { readonly message: Message | null; readonly remark: string | null; readonly isContinued: boolean }[] =
      [];
    const alarms: Finding[] = [];
    /** Keeps the evidence; what is an alarm is one, and of the rest comes the warning. Each is said once. */
    const kept = (finding: Finding): string | null => {
      const { code, sub, subject, sentence, detail } = finding;
      if (!this.#vault.ledger.addAlarm(this.#now(), code, `${subject}/${sub}`, sentence, detail)) return null;
      if (code === 'WITHHELD') return `${sentence} [${code}]`;
      alarms.push(finding);
      return null;
    };
    const warnings: string[] = [];
    const changed: number[] = [];
    const came: Member[] = [];
    const parted: Pick<Extract<Opened, { kind: 'commit' }>, 'gone' | 'inside'>[] = [];
    let hasHistory = false;
    this.#vault.transaction(() => {
      if (good.length > 0) {
        const replay = findReplay(this.#vault.ledger, batch);
        if (replay !== null) kept(replay);
        this.#vault.ledger.addEvidence(batch.leaf, session.log.origin, batch.evidence);
      }
      for (const { delivered, ms, opened, index } of good) {
        if (opened === null) continue;
        if (opened.kind === 'receipt') {
          changed.push(...this.#vault.receipts.add(opened.receipt, opened.isMine));
          continue;
        }
        const hash = leafHash(delivered.statement);
        const { sender: fingerprint, session: of, convCtr } = ms;
        const place: ReceivedCommit = {
          conversation: ms.conversation,
          seq: delivered.seq,
          hash,
          lineage: { fingerprint, session: of, convCtr, place: { batch: batch.leaf, index } },
        };
        const order = checkOrder(this.#vault, batch, ms, hash, index);
        const heard = (message: Message | null): void => {
          const remark = order.finding === null ? order.remark : kept(order.finding);
          fresh.push({ message, remark, isContinued: order.isContinued });
        };
        if (opened.kind === 'commit') {
          this.#vault.addReceivedCommit(place);
          if (opened.usedPackage !== null) this.#vault.keys.deletePackage(opened.usedPackage);
          came.push(...opened.came);
          parted.push(opened);
          const { peer, room } = this.#vault.conversation(ms.conversation)!;
          if (room !== undefined) this.#vault.rooms.forget(ms.conversation, usersOf(opened.came));
          if (room !== undefined) warnings.push(...movements(peer, opened, this.#username));
          if (opened.isOut)
            warnings.push(`${batch.username} took this device out of ${room === undefined ? 'a conversation' : peer}`);
          heard(null);
        } else if (session.rosters.isSelf(ms.conversation)) {
          this.#vault.addReceivedCommit(place);
          if (opened.kind === 'message')
            this.#handover.take(readOpening(opened.opening).body, place.lineage.fingerprint);
          hasHistory = true;
        } else {
          const message = this.#vault.addReceived({ ...place, ...this.#contentOf(batch, ms, opened) });
          if (message !== null) heard(message);
        }
      }
      for (const { message } of fresh) {
        const warning = message === null ? null : this.#vault.annotations.apply(message.row);
        if (warning !== null) warnings.push(warning);
      }
      changed.push(...this.#vault.annotations.purge(this.#now())); // what came too late is not shown
      this.#groups.meet(came);
      for (const { gone, inside } of parted) this.#groups.parted(gone, inside);
      this.#groups.save(ids);
    });
    return { fresh, changed, warnings, alarms, hasHistory };
  }

  #changed(rows: readonly number[]): void {
    for (const row of rows) {
      const message = this.#vault.message(row);
      if (message !== null) this.#events.changed(message);
    }
  }

  #contentOf({ username, serverTime }: CheckedBatch, { clientTime }: MessageStatement, opened: Opened) {
    const { kf, body } = opened.kind === 'message' ? readOpening(opened.opening) : { kf: null, body: Buffer.alloc(0) };
    const direction = username === this.#username ? ('out' as const) : ('in' as const);
    return { direction, sender: username, body, kf, reason: kf === null ? UNREADABLE : null, clientTime, serverTime };
  }

  #refuse(session: Session, frame: Reply<'msg_deliver'>, error: ChatError): void {
    if (isBetrayal(error) || !isVerdict(error)) {
      this.#stalled.add(session);
      if (error.code !== 'CONNECTION_LOST' && error.code !== 'SHUTTING_DOWN')
        session.fault(error, hex(leafHash(frame.batch)), encode(frame as unknown as Encodable));
      return; // offered again after the next login
    }
    this.#alarm(hex(leafHash(frame.batch)), error, frame);
    skip(session, frame.items.filter(isShown));
  }

  #alarm(subject: string, error: ChatError, frame: Reply<'msg_deliver'>): void {
    const detail = encode(frame as unknown as Encodable);
    const isNew = this.#vault.ledger.addAlarm(
      this.#now(),
      error.code,
      `${subject}/${error.sub ?? error.field ?? ''}`,
      error.message,
      detail,
    );
    if (isNew) this.#events.alarm(error);
  }
}

/** The same, and whose signature it stands under. */
function naming(username: string, error: ChatError): ChatError {
  if (error.message.includes(username)) return error;
  const { code, sub, field } = error;
  return new ChatError(code, `${error.message} (sent by ${username})`, {
    ...(sub === undefined ? {} : { sub }),
    ...(field === undefined ? {} : { field }),
    cause: error,
  });
}

const usersOf = (devices: readonly Member[]): string[] => [...new Set(devices.map(({ user }) => user))];

/** Who can read in a room from now on, and who cannot any more, in words. */
function movements(room: string, { newcomers, leavers }: Extract<Opened, { kind: 'commit' }>, own: string): string[] {
  return [
    ...newcomers.filter((user) => user !== own).map((user) => `${user} can read ${room} from now on`),
    ...leavers.filter((user) => user !== own).map((user) => `${user} can read ${room} no more`),
  ];
}

/** One statement that held; `opened` is null for one that is here already. */
interface Good {
  readonly delivered: Delivered;
  readonly ms: MessageStatement;
  readonly opened: Opened | HeldReceipt | null;
  /** in the log */
  readonly index: number;
}

/** At once, and so perhaps before it is told what of the same delivery is kept. */
function skip({ requester }: Session, items: readonly Delivered[]): void {
  const cursors = items.map(({ cursor }) => cursor);
  for (let i = 0; i < cursors.length; i += MAX_RECEIVED)
    requester.link.send({ type: 'msg_skipped', cursors: cursors.slice(i, i + MAX_RECEIVED) });
}

/** All parts of a message; of a commit perhaps those alone that are for this device. */
function isWhatWasSigned(ms: MessageStatement, { parts, cut }: Delivered): boolean {
  if (cut === undefined) return isCiphertextOf(ms, parts);
  if (ms.kind !== KIND.membership || !isOfCommit(cut.at))
    throw new ChatError('BAD_FRAME', 'parts that nobody can use without the others', { field: 'msg_deliver.cut' });
  return isPartOfCiphertext(ms, parts, cut.at, cut.hashes);
}

/** Those that it changes: of a statement that cannot be read nothing comes. */
function conversationsOf({ items }: Reply<'msg_deliver'>): ConversationId[] {
  const all = new Map<string, ConversationId>();
  for (const item of items) {
    if (!isShown(item)) continue;
    try {
      const { conversation } = decodeMs(item.statement);
      all.set(hex(conversation), conversation);
    } catch {
      continue;
    }
  }
  return [...all.values()];
}
const isShown = (item: Delivered | Hidden): item is Delivered => 'statement' in item;
const partBytes = (item: Delivered): number => item.parts.reduce((sum, part) => sum + part.length, 512);
