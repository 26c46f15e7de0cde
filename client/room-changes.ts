/**
 * What others do in rooms while this device is connected: said to the person, and followed, for who is in a room now has to be asked for, and the group
 * looked at. Many are told of one change, so they wait a while by chance before they change the group. All of it is of one connection; what
 * changed while nobody was here is found at login (rooms.ts).
 */
import { hex, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { REPORTED } from '../protocol/hello.ts';
import type { Reply } from '../protocol/messages.ts';
import type { Lobby } from './lobby.ts';
import { isPassing, waitMs } from './refusals.ts';
import type { RoomEntry } from './room-entry.ts';
import type { Session } from './session.ts';
import type { Vault } from './vault.ts';

export interface RoomChangesHost {
  /** The group has to be looked at. */
  want(id: ConversationId): void;
  warn(sentence: string): void;
}

/** Of many who are told of one change, the first one's commit is enough. */
const MAX_DELAY_MS = 2000;

export class RoomChanges {
  readonly #vault: Vault;
  readonly #lobby: Lobby;
  readonly #entry: RoomEntry;
  readonly #own: string;
  readonly #host: RoomChangesHost;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** of the connection */
  #ending = new AbortController();
  /** conversation → the look at its members that is under way, or comes behind that */
  readonly #looks = new Map<string, { isBegun: boolean; readonly done: Promise<void> }>();

  /** @param own username of this profile */
  constructor(vault: Vault, lobby: Lobby, entry: RoomEntry, own: string, host: RoomChangesHost) {
    this.#vault = vault;
    this.#lobby = lobby;
    this.#entry = entry;
    this.#own = own;
    this.#host = host;
  }

  /** Somebody has changed a room. A hint: who is in it is asked for again. */
  heard(session: Session, frame: Reply<'room_changed'>): void {
    const { change, username = frame.by } = frame;
    const known = this.#vault.conversation(frame.conversation as ConversationId);
    const isOut = change === 'left' || change === 'kicked' || change === 'banned';
    if (isOut && known !== null) {
      this.#vault.rooms.forget(known.id, [username]);
      this.#lobby.forget(known.id, [username]);
    }
    if (isOut && known !== null && username === this.#own) session.rosters.close(known.id);
    this.#host.warn(announcement(frame, this.#own));
    if (change !== 'topic' && change !== 'role' && change !== 'unbanned')
      this.#persist(() => this.#follow(session, frame, isOut, username === this.#own));
  }

  /** What the server cannot say now it is asked again when it said, and all else at the next login. */
  #persist(ask: () => Promise<void>): void {
    const { signal } = this.#ending;
    ask().catch((cause: unknown) => {
      const error = ChatError.from(cause);
      if (signal.aborted || error.cause !== REPORTED || !isPassing(error)) return;
      this.#after(waitMs(error), () => this.#persist(ask));
    });
  }

  /** Nothing is looked at later. */
  detach(): void {
    this.#ending.abort();
    this.#ending = new AbortController();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#looks.clear();
    this.#lobby.detach();
  }

  async #follow(
    session: Session,
    { room, conversation, change, by, turn }: Reply<'room_changed'>,
    isOut: boolean,
    isOwn: boolean,
  ): Promise<void> {
    const id = conversation as ConversationId;
    const known = this.#vault.conversation(id);
    if (isOwn && isOut) return;
    if (isOwn) {
      if (change === 'joined') this.#lobby.wait(id); // another device of this user has asked for all
      return void (await this.#entry.enter(
        session,
        await session.requester.request({ type: 'room_get', room }, 'room'),
      ));
    }
    if (known === null || known.room?.closed !== false) return;
    await this.#looked(session, id);
    if (isOut) this.#after(Math.random() * MAX_DELAY_MS, () => this.#host.want(id));
    if (change === 'joined' && turn !== undefined && known.room.public) this.#lobby.ask(id, by, turn);
  }

  /** Who is in it now: asked once for all changes that come while it is being asked. */
  #looked(session: Session, id: ConversationId): Promise<void> {
    const last = this.#looks.get(hex(id));
    if (last?.isBegun === false) return last.done;
    const look = { isBegun: false, done: Promise.resolve() };
    look.done = (last?.done ?? Promise.resolve())
      .catch(() => {})
      .then(async () => {
        look.isBegun = true;
        await session.rosters.refresh(id);
      })
      .finally(() => {
        if (this.#looks.get(hex(id)) === look) this.#looks.delete(hex(id));
      });
    this.#looks.set(hex(id), look);
    return look.done;
  }

  #after(ms: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work();
    }, ms);
    this.#timers.add(timer);
  }
}

/** In words. */
function announcement({ room, change, by, username, role, topic }: Reply<'room_changed'>, own: string): string {
  const whom = username === own ? 'you' : (username ?? '');
  switch (change) {
    case 'joined':
      return `${by} has joined ${room}`;
    case 'left':
      return `${by} has left ${room}`;
    case 'invited':
      return `${by} has invited ${whom} into ${room}`;
    case 'kicked':
      return `${by} has removed ${whom} from ${room}`;
    case 'banned':
      return `${by} has banned ${whom} from ${room}`;
    case 'unbanned':
      return `${by} lets ${whom} into ${room} again`;
    case 'role':
      return `${by} made ${whom} ${role ?? 'member'} of ${room}`;
    case 'topic':
      return topic === undefined ? `${by} took the topic of ${room} away` : `${by} set the topic of ${room}: ${topic}`;
  }
}
