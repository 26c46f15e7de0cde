/** What the interactive mode does with people: contacts, safety numbers, and who is told what was read here. */
import { ChatError } from '../base/errors.ts';
import { printable } from '../runtime/printable.ts';
import { canonicalEmail, canonicalUsername } from '../x509/identity.ts';
import type { App } from './app.ts';
import { CONTACT_ACTIONS, CONTACT_WORDS } from './contacts.ts';
import { standingOf, verifiedPeople } from './marks.ts';
import { setReadReceipts, shownReadReceipts } from './read-receipts.ts';
import type { Conversation } from './roster.ts';
import { verificationLines } from './verification.ts';

export const PEOPLE_HELP = [
  '/contacts           who is in contact, who asks, who is verified',
  '/add /accept /decline /remove /block /unblock PERSON',
  '/verify [PERSON]    the number to compare, by voice or face to face, and the certificates behind it',
  '/trust [PERSON] [off]  it was the same: the person is verified from now on; off: no more',
  '/receipts [on|off|default] [PERSON]  who is told what you have read',
];

/** What is to be known of somebody before he is written to; null: nothing. */
export function standingNote({ vault }: App, person: string): string | null {
  const { is } = standingOf(vault, person);
  if (is === 'verified') return `${printable(person, 64)} is verified.`;
  return is === 'ended' ? `${printable(person, 64)} was verified, and is not any more: /verify` : null;
}

/** False for what is no command about people. @throws what the server refuses; USAGE, NOT_ALLOWED */
export async function obeyPeopleLine(
  app: App,
  here: Conversation,
  line: string,
  print: (text: string) => void,
): Promise<boolean> {
  const [command = '', ...words] = line.trim().split(/\s+/);
  const [first, second] = words;
  switch (command) {
    case '/contacts': {
      const people = await app.contacts();
      const verified = verifiedPeople(app.vault);
      if (people.length === 0) print('No contacts.');
      for (const { username, state } of people)
        print(`${printable(username, 64)}: ${CONTACT_WORDS[state]}${verified.has(username) ? ', verified' : ''}`);
      return true;
    }
    case '/receipts':
      setReadReceipts(app.vault, first, second);
      print(shownReadReceipts(app.vault).join('; '));
      return true;
    case '/verify':
      for (const text of verificationLines(await app.comparisons.show(first ?? here.peer))) print(text);
      return true;
    case '/trust': {
      const isOff = words.at(-1) === 'off';
      const person = (isOff ? words.slice(0, -1) : words)[0] ?? here.peer;
      if (isOff) app.comparisons.clear(person);
      else await app.comparisons.confirm(person);
      print(`${printable(person, 64)}: ${isOff ? 'not verified' : 'verified'}`);
      return true;
    }
  }
  const action = CONTACT_ACTIONS.find((name) => command === `/${name}`);
  if (action === undefined) return false;
  if (first === undefined) throw new ChatError('USAGE', `/${action} wants a name`);
  const account = first.includes('@') ? canonicalEmail(first) : canonicalUsername(first);
  const { username, state } = await app.changeContact(action, account);
  print(`${printable(username, 64)}: ${CONTACT_WORDS[state]}`);
  return true;
}
