/** What the interactive mode does with single messages: answers, edits, deletions, reactions, and how long what is written stays. */
import { utf8 } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { App } from './app.ts';
import { parseExpiry } from './durations.ts';
import { shownQuote } from './presentation.ts';
import type { Conversation } from './roster.ts';
import type { Message } from './message-table.ts';

export const MESSAGE_HELP = [
  '/reply [N] TEXT, /react [N] SIGN    about the last message that came, or number N of /history',
  '/edit [N] TEXT, /redact [N]         your last message, or number N: says something else, or is deleted everywhere',
  '/expire [1h|off]    how long what you write here stays, on both sides',
];

/**
 * A row: that was written; `done`: something else was; `unknown`: not a command about messages.
 * @throws USAGE, NOT_FOUND, NOT_ALLOWED, TOO_LARGE
 */
export function obeyMessageLine(
  app: App,
  here: Conversation,
  line: string,
  print: (text: string) => void,
): number | 'done' | 'unknown' {
  const [command = ''] = line.trim().split(/\s+/, 1);
  const rest = line.trim().slice(command.length).trim();
  switch (command) {
    case '/reply': {
      const { message, text } = named(app, here, rest, 'in', true);
      return app.send(here.id, utf8(text), { replyTo: message });
    }
    case '/react': {
      const { message, text } = named(app, here, rest, 'in', true);
      return app.react(message, text);
    }
    case '/edit': {
      const { message, text } = named(app, here, rest, 'out', true);
      return app.edit(message, utf8(text));
    }
    case '/redact': {
      const { message } = named(app, here, rest, 'out', false);
      print(`deleting ${shownQuote(message)}`);
      return app.delete(message);
    }
    case '/expire':
      if (rest !== '') app.vault.profile.setExpiry(here.id, parseExpiry(rest, '/expire'));
      print(shownExpiry(app.vault.profile.expiry(here.id)));
      return 'done';
  }
  return 'unknown';
}

/** `7 text`, or `text` about the newest. */
function named(app: App, { id }: Conversation, rest: string, direction: 'in' | 'out', wantsText: boolean) {
  const { annotations } = app.vault;
  const [, reference, behind = ''] = /^(#?[1-9]\d{0,6}|[0-9a-fA-F]{8,64})(?:\s+([^]*))?$/.exec(rest) ?? [];
  const isNamed = reference !== undefined && (behind !== '' || !wantsText);
  const text = isNamed ? behind : rest;
  if (wantsText ? text === '' : text !== '')
    throw new ChatError('USAGE', wantsText ? 'a text is missing' : 'want a number of /history, or nothing');
  const message: Message | null = isNamed ? annotations.find(id, reference) : annotations.newest(id, direction);
  if (message === null) throw new ChatError('NOT_FOUND', 'there is no such message here yet');
  return { message, text };
}

function shownExpiry(ms: number | null): string {
  if (ms === null) return 'What you write here stays.';
  const units = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'm'],
    [1000, 's'],
  ] as const;
  const [size, unit] = units.find(([size]) => ms % size === 0) ?? [1, 'ms'];
  return `What you write here from now on disappears after ${ms / size}${unit}, on both sides.`;
}
