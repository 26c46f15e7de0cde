/**
 * What this device writes and what it receives. This file joins the parts that do it, which know each other by no more than what they are
 * given here, and says in which order they begin and end; it decides nothing about a message.
 */
import { randomBytes } from 'node:crypto';
import type { ConversationId } from '../base/bytes.ts';
import { ChatError, CODES } from '../base/errors.ts';
import { REPORTED } from '../protocol/hello.ts';
import { encodeContent, SALT_BYTES, type Content } from '../transcript/content.ts';
import type { Frame } from '../transcript/content-meaning.ts';
import { MAX_TEXT_BYTES } from './body.ts';
import { DeviceKeys } from './device.ts';
import { usersIn } from './e2ee/held.ts';
import { Gossip } from './gossip.ts';
import { Groups } from './groups.ts';
import { Handover } from './handover.ts';
import type { ClientIdentity } from './identity.ts';
import { Inbox } from './inbox.ts';
import type { Line } from './line.ts';
import type { Listeners } from './listeners.ts';
import { JOIN_WAIT_MS, Lobby } from './lobby.ts';
import type { Message } from './message-table.ts';
import { Milestones, type Milestone } from './milestones.ts';
import { Outbox } from './outbox.ts';
import { patiently } from './patience.ts';
import { LONGEST_TIMER_MS } from './pauses.ts';
import type { Notice } from './requester.ts';
import type { Session } from './session.ts';
import type { Vault } from './vault.ts';
import { Withheld } from './withheld.ts';

export interface CorrespondenceOptions {
  readonly vault: Vault;
  readonly identity: ClientIdentity;
  /** WITHHELD_AFTER_MS if left out */
  readonly withheldAfterMs?: number;
  /** JOIN_WAIT_MS if left out */
  readonly joinWaitMs?: number;
}

/** How long what is to be said about received messages may hold up a command, and the end. */
const RECEIPT_MS = 5000;
const FAREWELL_MS = 1000;
/** How long a session may take to end at a logout. */
const END_MS = 5000;

export class Correspondence {
  readonly groups: Groups;
  readonly lobby: Lobby;
  readonly handover: Handover;
  readonly #vault: Vault;
  readonly #username: string;
  readonly #line: Line;
  readonly #now: () => number;
  readonly #gossip: Gossip;
  readonly #devices: DeviceKeys;
  readonly #outbox: Outbox;
  readonly #inbox: Inbox;
  readonly #withheld: Withheld;
  readonly #milestones: Milestones;
  #publishing: Promise<void> = Promise.resolve();

  constructor(options: CorrespondenceOptions, line: Line, listeners: Listeners, now: () => number) {
    const { vault, identity } = options;
    this.#vault = vault;
    this.#username = identity.username;
    this.#line = line;
    this.#now = now;
    const warn = (text: string) => listeners.warn(text);
    this.#withheld = new Withheld(({ conversation, seq }) => {
      const peer = vault.conversation(conversation)?.peer ?? 'the recipient';
      warn(`${peer} was connected, and has not signed for message #${seq}: the server may keep it back`);
    }, options.withheldAfterMs);
    this.#milestones = new Milestones(vault, { on: (look) => listeners.on(look), down: () => line.down });
    const groups = new Groups(vault, identity, now);
    this.groups = groups;
    this.#gossip = new Gossip(vault, now);
    this.#devices = new DeviceKeys(vault, groups, identity);
    const lobby = new Lobby(
      {
        inside: (id) => {
          const { conversation } = groups.stored(id);
          return conversation === null ? [] : usersIn(conversation);
        },
        want: (id) => this.want(id, true),
      },
      options.joinWaitMs ?? JOIN_WAIT_MS,
      now,
    );
    this.lobby = lobby;
    this.#outbox = new Outbox(
      vault,
      groups,
      this.#devices,
      lobby,
      identity,
      {
        accepted: (message, isQueued) => {
          const isHandover = line.session?.rosters.isSelf(message.conversation) === true; // for which nobody signs
          this.#withheld.changed(message, isQueued || isHandover);
          listeners.tell({ on: 'state', message, isQueued });
        },
        failed: (message) => listeners.tell({ on: 'state', message, isQueued: false }),
        warn,
        noticed: () => listeners.tellNotices(),
        grouped: (conversation, isIdle) => listeners.tell({ on: 'group', conversation, isIdle }),
      },
      now,
    );
    this.handover = new Handover(
      vault,
      identity,
      {
        accepted: (row) => this.waitFor(row, 'accepted', LONGEST_TIMER_MS),
        renew: (id) => groups.markBroken(id),
        pump: () => this.#outbox.pump(),
        warn,
        refused: (error, subject, detail) => line.alarm(error, subject, detail),
      },
      now,
    );
    this.#inbox = new Inbox(
      vault,
      groups,
      this.#devices,
      this.handover,
      this.#gossip,
      identity.username,
      {
        message: (message) => listeners.tell({ on: 'message', message }),
        changed: (message) => {
          this.#withheld.changed(message, true);
          listeners.tell({ on: 'state', message, isQueued: false });
        },
        owes: () => this.#outbox.owe(),
        warn,
        noticed: () => listeners.tellNotices(),
        alarm: (error) => listeners.tell({ on: 'alarm', error }),
        joined: () => this.#publish(),
        grouped: (conversation) => {
          listeners.tell({ on: 'group', conversation, isIdle: false });
          const isIn = groups.stored(conversation).conversation !== null && !groups.isBroken(conversation);
          const isExpected = isIn && lobby.entered(conversation);
          if (isExpected || vault.outgoing.isWaiting(conversation)) this.want(conversation, true);
          else this.#outbox.pump(); // keys in it may have to be replaced
        },
      },
      now,
    );
  }

  attach(session: Session): void {
    this.#publish();
    this.#outbox.attach(session);
    this.handover.resume(session);
  }
  detach(): void {
    this.#outbox.detach();
    this.#withheld.forget();
  }

  /** Keeps it on disk and sends it as soon as that is possible. Answers its row. @throws TOO_LARGE; what `make` throws */
  write(conversation: ConversationId, body: Uint8Array, make: (frame: Frame) => Content): number {
    if (body.length > MAX_TEXT_BYTES)
      throw new ChatError('TOO_LARGE', `a message has at most ${MAX_TEXT_BYTES} bytes`, { field: 'body' });
    const row = this.#vault.transaction(() => {
      // Of messages that wait together the first one tells: the others may be read by who was not there at what is behind it.
      const extensions = this.#vault.outgoing.isWaiting(conversation) ? new Map() : this.#gossip.take(conversation);
      const content = make({ salt: randomBytes(SALT_BYTES), extensions });
      return this.#vault.outgoing.enqueue(conversation, this.#username, encodeContent(content), this.#now());
    });
    this.#outbox.pump();
    return row;
  }
  /** @throws as Milestones.reached() */
  waitFor(row: number, want: Milestone, timeoutMs: number): Promise<Message> {
    return this.#milestones.reached(row, want, timeoutMs);
  }
  receive(session: Session, frame: Extract<Notice, { readonly type: 'msg_deliver' | 'msg_expired' }>): void {
    if (frame.type === 'msg_deliver') this.#inbox.deliver(session, frame);
    else this.#inbox.expired(session, frame);
  }
  /** Resolves when all that was delivered so far is dealt with. */
  get received(): Promise<void> {
    return this.#inbox.settled;
  }
  /** @see Outbox.want */
  want(id: ConversationId, isNewReason?: boolean): void {
    this.#outbox.want(id, isNewReason);
  }
  /** Somebody has seen these; their authors are told, if this profile tells them. */
  markShown(rows: readonly number[]): void {
    this.#vault.markShown(rows);
    this.#outbox.owe();
  }
  /** How many were accepted while somebody was there to take them, and nobody has signed for since. */
  get withheld(): number {
    return this.#withheld.count;
  }

  /** What was delivered is dealt with and receipted, and what others need to write to this device is at the server. */
  async settled(): Promise<void> {
    await this.#publishing;
    await this.#inbox.settled;
    this.#line.session?.acknowledgements.flush();
    await this.#outbox.receipt(RECEIPT_MS);
    await this.handover.settled;
  }
  /** Ends the session of this device with a signed statement, behind all that can be sent now. Answers whether the server has it. */
  endSession(): Promise<boolean> {
    return this.#outbox.end(END_MS);
  }

  /** Nobody waits any more, nothing else is begun, and what was received is receipted if that is possible soon. */
  async end(): Promise<void> {
    this.handover.stop();
    this.#milestones.close();
    await this.#outbox.receipt(FAREWELL_MS);
  }
  /** After end() and detach(): resolves when nothing is done any more. */
  async ended(): Promise<void> {
    await this.#publishing;
    await this.#outbox.settled;
    await this.#inbox.settled;
    await this.handover.closed();
  }

  /** One after the other. What fails for the connection's sake, or cannot be done for long, is done after the next login. */
  #publish(): void {
    const { session } = this.#line;
    this.#publishing = this.#publishing.then(async () => {
      if (session === null || this.#line.session !== session) return;
      try {
        await patiently(session, () => this.#devices.publish(session));
      } catch (cause) {
        const error = ChatError.from(cause);
        if (this.#line.session !== session || error.cause === REPORTED || isLost(error)) return;
        session.fault(error, 'device', Buffer.alloc(0));
      }
    });
  }
}

const isLost = ({ code }: ChatError): boolean => CODES[code].exit === CODES.CONNECTION_LOST.exit;
