/** What others are told of this user: whether he is there, when he was last, and whether he is typing. */
import { ChatError } from '../base/errors.ts';
import type { Reply } from '../protocol/messages.ts';
import type { App } from './app.ts';

export const PRESENCE_STATES = ['online', 'away', 'dnd', 'invisible'] as const;
export type PresenceState = (typeof PRESENCE_STATES)[number];
/** As the server keeps it; `last_seen`: others may be told when this user was there last. */
export type OwnPresence = Omit<Reply<'presence_choice'>, 'type' | 'id'>;

export const shownChoice = ({ state, last_seen }: OwnPresence): string =>
  `${STATE_WORDS[state]}; ${last_seen ? 'others are told' : 'nobody is told'} when you were there last`;
const STATE_WORDS: { readonly [S in PresenceState]: string } = {
  online: 'online',
  away: 'away',
  dnd: 'do not disturb',
  invisible: 'invisible: to others you are not there',
};

export const PRESENCE_HELP = [
  '/away, /back, /presence [online|away|dnd|invisible|last-seen on|last-seen off]    what others are told of you',
  '/typing [on|off]    whether others are told that you are typing',
];

/** Lines of the interactive mode. @throws USAGE; what the server refuses */
export async function obeyPresenceLine(app: App, line: string, print: (text: string) => void): Promise<boolean> {
  const [command, ...words] = line.trim().split(/\s+/);
  const word = words.join(' ');
  if (command === '/typing') {
    if (word === 'on' || word === 'off') app.vault.profile.setSendsTyping(word === 'on');
    else if (word !== '') throw new ChatError('USAGE', 'want /typing on or /typing off');
    print(
      app.vault.profile.sendsTyping() ? 'Others are told when you are typing.' : 'Nobody is told when you are typing.',
    );
    return true;
  }
  if (command !== '/presence' && command !== '/away' && command !== '/back') return false;
  if (command !== '/presence' && word !== '') throw new ChatError('USAGE', `${command} takes nothing more`);
  const wanted = command === '/away' ? 'away' : command === '/back' ? 'online' : word;
  print(`You are ${shownChoice(await app.presence(changeOf(wanted)))}.`);
  return true;
}

function changeOf(word: string): { readonly state?: PresenceState; readonly last_seen?: boolean } {
  if (word === '') return {};
  if (word === 'last-seen on' || word === 'last-seen off') return { last_seen: word.endsWith('on') };
  const state = PRESENCE_STATES.find((each) => each === word);
  if (state === undefined)
    throw new ChatError('USAGE', `want one of ${PRESENCE_STATES.join(', ')}, last-seen on or last-seen off`);
  return { state };
}

/** Said again while the typing goes on. */
const AGAIN_MS = 8000;
/** Without a key for so long, nobody is typing. */
const IDLE_MS = 6000;

/** Turns keys into the few notices that they are worth. */
export class TypingNotices {
  readonly #say: (isOn: boolean) => void;
  #saidAt: number | null = null;
  #idle: NodeJS.Timeout | null = null;

  constructor(say: (isOn: boolean) => void) {
    this.#say = say;
  }

  /** A key, behind which this stands in the line: commands and empty lines are nothing that others wait for. */
  key(line: string, now: number): void {
    if (line === '' || line.startsWith('/')) return this.stop();
    if (this.#saidAt === null || now - this.#saidAt >= AGAIN_MS) {
      this.#saidAt = now;
      this.#say(true);
    }
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.stop(), IDLE_MS).unref();
  }

  /** The line was sent, or cleared, or left. */
  stop(): void {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = null;
    if (this.#saidAt === null) return;
    this.#saidAt = null;
    this.#say(false);
  }
}
