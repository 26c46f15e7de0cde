/** Who is there now, and who is typing: what is asked about others and heard of them, and what they are told of this user. None of it is kept. */
import type { ConversationId } from '../base/bytes.ts';
import type { Line } from './line.ts';
import type { Listeners } from './listeners.ts';
import type { OwnPresence, PresenceState } from './presence.ts';
import type { Notice } from './requester.ts';
import type { Session } from './session.ts';
import type { Vault } from './vault.ts';

export class Whereabouts {
  readonly #vault: Vault;
  readonly #line: Line;
  readonly #listeners: Listeners;
  readonly #own: string;
  readonly #watched = new Set<string>();

  constructor(vault: Vault, line: Line, listeners: Listeners, own: string) {
    this.#vault = vault;
    this.#line = line;
    this.#listeners = listeners;
    this.#own = own;
  }

  /** Answers whether somebody is connected now, and reports every change from then on. @throws NO_SUCH_PEER */
  async watch(username: string): Promise<boolean> {
    this.#watched.add(username);
    const { session } = this.#line;
    if (session === null) return false;
    const asked = session.requester.request({ type: 'presence_watch', username }, 'presence');
    return (await this.#line.explained(asked)).online;
  }
  /** Another session: the server has to be told anew who is watched. */
  resume({ requester }: Session): void {
    for (const username of this.#watched)
      requester.request({ type: 'presence_watch', username }, 'presence').then(
        ({ online, state = null }) => this.#listeners.tell({ on: 'presence', username, isOnline: online, state }),
        () => {}, // asked again at the next login
      );
  }
  heard(frame: Extract<Notice, { readonly type: 'presence' | 'typing' }>): void {
    const { username } = frame;
    if (frame.type === 'presence') {
      const { online, state = null } = frame;
      return this.#listeners.tell({ on: 'presence', username, isOnline: online, state });
    }
    const conversation = frame.conversation as ConversationId;
    const members = this.#vault.conversation(conversation)?.members ?? [];
    if (username === this.#own || !members.some((member) => member.username === username)) return;
    this.#listeners.tell({ on: 'typing', conversation, username, isTyping: frame.on });
  }

  /** What others are told of this user, after the change. @throws what the server refuses */
  choose(change: { readonly state?: PresenceState; readonly last_seen?: boolean }): Promise<OwnPresence> {
    return this.#line.asked(({ requester }) =>
      requester.request({ type: 'presence_set', ...change }, 'presence_choice'),
    );
  }
  /** Tells the others of the conversation, if this user wants that and there is a connection. */
  typing(conversation: ConversationId, isOn: boolean): void {
    if (this.#vault.profile.sendsTyping())
      this.#line.session?.requester.link.send({ type: 'typing', conversation, on: isOn });
  }
}
