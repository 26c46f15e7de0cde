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
 *
 * Each statement is judged in statement-reader.ts, and what held is kept in intake.ts; here, in what order, and who is told.
 */
import { hex, type ConversationId, type Hash } from '../base/bytes.ts';
import { encode, type Encodable } from '../base/cbor.ts';
import { ChatError } from '../base/errors.ts';
import { MAX_RECEIVED, type Delivered, type Reply } from '../protocol/messages.ts';
import { leafHash } from '../transcript/merkle.ts';
import { decodeMs } from '../transcript/statement.ts';
import { checkBatch, isVerdict } from './delivery-check.ts';
import type { DeviceKeys } from './device.ts';
import { ConversationQueue } from './e2ee/queue.ts';
import type { Gossip } from './gossip.ts';
import type { Groups } from './groups.ts';
import type { Handover } from './handover.ts';
import { Intake } from './intake.ts';
import type { Message } from './message-table.ts';
import { errorOf } from './order-check.ts';
import { patiently } from './patience.ts';
import type { Session } from './session.ts';
import { isShown, StatementReader } from './statement-reader.ts';
import { isBetrayal } from './trust.ts';
import type { Vault } from './vault.ts';

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
  readonly #now: () => number;
  readonly #groups: Groups;
  readonly #reader: StatementReader;
  readonly #intake: Intake;
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
    this.#handover = handover;
    this.#gossip = gossip;
    this.#reader = new StatementReader(vault, groups, devices, username);
    this.#intake = new Intake(vault, groups, handover, username, now);
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
        const row = this.#vault.outgoing.expire(message as Hash);
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
        const { good, bad } = await this.#reader.read(session, engine, batch, frame.items);
        session.log.keep(batch.checkpoint, batch.note); // by itself: a fork must leave its proof behind
        return { good, bad, ...this.#intake.keep(session, batch, good, ids) };
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

  #changed(rows: readonly number[]): void {
    for (const row of rows) {
      const message = this.#vault.message(row);
      if (message !== null) this.#events.changed(message);
    }
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

/** At once, and so perhaps before it is told what of the same delivery is kept. */
function skip({ requester }: Session, items: readonly Delivered[]): void {
  const cursors = items.map(({ cursor }) => cursor);
  for (let i = 0; i < cursors.length; i += MAX_RECEIVED)
    requester.link.send({ type: 'msg_skipped', cursors: cursors.slice(i, i + MAX_RECEIVED) });
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
const partBytes = (item: Delivered): number => item.parts.reduce((sum, part) => sum + part.length, 512);
