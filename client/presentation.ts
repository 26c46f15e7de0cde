/** How messages look to people and to programs. Every string of somebody else passes printable(); bytes stay exact in JSON alone. */
import { base64url, fromUtf8, hex, utf8 } from '../base/bytes.ts';
import { escaped, printable } from '../runtime/printable.ts';
import type { Meaning } from '../transcript/content-meaning.ts';
import { KIND } from '../transcript/statement.ts';
import { iso } from '../verify/time.ts';
import { MIN_ID_DIGITS, type Reading } from './annotations.ts';
import { UNREADABLE } from './message-table.ts';
import type { SignedReceipt } from './receipt-table.ts';
import { isRoomName } from './room-terms.ts';
import type { Occupant } from './rooms.ts';
import type { Message } from './message-table.ts';

/** A body for a terminal: line by line, so that line breaks survive and nothing else does. */
export function shownBody(body: Uint8Array): string {
  const text = fromUtf8(body);
  if (text === null) return `(${body.length} bytes that are not text)`;
  return text
    .replace(/\r?\n$/, '')
    .split(/\r?\n/)
    .map((line) => printable(line.replaceAll('\t', '    ')))
    .join('\n    ');
}

const MAX_QUOTE_COLUMNS = 30;
const MAX_REACTION_CHARS = 16;

/** What a message says now, or why there is nothing to be read. */
export function shownContent({ message, current, reactions }: Reading): string {
  const { gone, reason, sender } = message;
  if (gone !== null) return gone === 'deleted' ? `[message deleted by ${printable(sender, 64)}]` : '[message expired]';
  if (reason === UNREADABLE) return '[a message from before this device joined]';
  const edited = current === message ? '' : ' (edited)';
  return `${unmarked(shownText(current))}${edited}${Object.entries(tally(reactions)).map(shownReaction).join('')}`;
}
const shownReaction = ([text, people]: [string, string[]]): string => ` [${text} ${people.join(', ')}]`;

/** What stands around a text says what others did with it: what in the text looks the same is escaped. */
const unmarked = (text: string): string => text.replace(MARKS, escaped);
const MARKS = /^\[(?=to )|\((?=edited\))|\[(?=\S+ [a-z0-9][\w.@+-]*(?:, [a-z0-9][\w.@+-]*)*\])/gu;

/** Who reacted how: each person once with each sign. */
function tally(reactions: readonly Message[]): Record<string, string[]> {
  const people: Record<string, string[]> = Object.create(null);
  for (const { meaning, sender } of reactions) {
    const who = printable(sender, 64);
    const all = (people[shownSign(meaning)] ??= []);
    if (!all.includes(who)) all.push(who);
  }
  return people;
}

/** What would end it, or go on to somebody else's name, is escaped. */
function shownSign(meaning: Meaning | null): string {
  return printable(meaning?.text ?? '?', MAX_REACTION_CHARS).replace(/[\s,[\]\u2800]/gu, escaped);
}

/** Of one version by itself. */
function shownText({ body, meaning, content, fault }: Message): string {
  if (fault !== null) return `[content that this program cannot read: ${fault}]`;
  const isBytes = content?.part.cardinality === 'single' && content.part.contentType === 'application/octet-stream';
  if (meaning === null || isBytes) return shownBody(body);
  const others = meaning.others.map((other) => `[${printable(other, 100)}]`);
  return [...(meaning.text === null ? [] : [shownBody(utf8(meaning.text))]), ...others].join(' ') || '[nothing]';
}

/** `#3 “stand by”` */
export function shownQuote(message: Message | null): string {
  if (message === null) return 'a message that is not here';
  const place = message.seq === null ? '' : `#${message.seq} `;
  if (message.gone !== null) return `${place}[message ${message.gone}]`;
  const [text = ''] = shownText(message).split('\n');
  // What would end it goes on to what the other one says of it.
  return `${place}“${printable(text.replaceAll(/[“”]/g, '"'), MAX_QUOTE_COLUMNS)}”`;
}

/** `“stand by”`, of an own one. */
export const shownWords = (message: Message): string => shownQuote({ ...message, seq: null });

/** `bob: text`, `bob: [to #3 “stand by”] text`, `bob reacted 👍 to #3 “stand by”`. */
export function shownSaying(reading: Reading, who: string): string {
  const { message, about } = reading;
  const { role, meaning, gone } = message;
  if (role === 'reaction' && gone === null) return `${who} reacted ${shownSign(meaning)} to ${shownQuote(about)}`;
  if (role === 'reaction') return `${who}: [reaction ${gone === 'deleted' ? 'taken back' : 'expired'}]`;
  if (role === 'delete' && about?.role === 'reaction')
    return `${who} took back ${about.seq === null ? 'a reaction' : `the reaction #${about.seq}`}`;
  if (role === 'delete') return `${who} deleted ${shownQuote(about)}`;
  if (role === 'edit' && gone === null)
    return `${who} edited ${about?.seq == null ? 'a message' : `#${about.seq}`}: ${shownText(message)}`;
  const answers = gone === null && role === 'message' && meaning?.target != null ? `[to ${shownQuote(about)}] ` : '';
  return `${who}: ${answers}${shownContent(reading)}`;
}

/** `#3 14:02 bob: text`; in a history with date and id; of a room `14:02 [#room] bob: text`. */
export function shownMessage(reading: Reading, peer: string, withDate = false): string {
  const { message } = reading;
  const time = iso(message.serverTime ?? message.clientTime);
  const when = withDate ? shownTime(time) : time.slice(11, 16);
  const who = message.direction === 'out' ? 'You' : printable(message.sender, 64);
  const place = message.seq === null ? '' : `#${message.seq} `;
  const id = withDate && message.hash !== null ? `${hex(message.hash).slice(0, MIN_ID_DIGITS)} ` : '';
  const room = isRoomName(peer) ? `[${printable(peer, 64)}] ` : '';
  const until =
    withDate && message.expiresAt !== null && message.gone === null
      ? ` (until ${shownTime(iso(message.expiresAt))})`
      : '';
  return `${place}${id}${when} ${room}${shownSaying(reading, who)}${until}${mark(message)}`;
}
const shownTime = (iso: string): string => `${iso.slice(0, 16).replace('T', ' ')}Z`;

function mark({ direction, state, reason }: Message): string {
  if (direction === 'in') return '';
  if (state === 'read') return ' ✓✓ read';
  if (state === 'delivered') return ' ✓✓';
  if (state === 'accepted') return ' ✓';
  return state === 'failed' ? ` ! ${printable(reason ?? 'failed')}` : ' …';
}

/** `bob: member, can read`: the server's word, and beside it what this device knows. */
export const shownOccupant = ({ username, role, canRead }: Occupant): string =>
  `${printable(username, 64)}: ${role ?? "not on the server's list"}, ${canRead ? 'can read' : 'not in the group: cannot read'}`;

/**
 * `body` when it is UTF-8, exactly; else `body_base64url`; neither when it is gone or cannot be read. Of an edited message it is the newest
 * one, and `versions` has them all.
 */
export function messageFields(reading: Reading, peer: string): Record<string, unknown> {
  const { message, current, versions, reactions, about } = reading;
  const { direction, state, role, seq, hash, sender, meaning, content, clientTime, serverTime, reason, gone } = message;
  const target = message.target ?? meaning?.target ?? null;
  const part = current.content?.part;
  return {
    conversation: hex(message.conversation),
    peer,
    seq,
    from: sender,
    direction,
    state,
    kind: role,
    ...(reason === null ? {} : { reason }),
    ...(gone !== null ? { [gone]: true } : bodyFields(current)),
    ...(part !== undefined && 'contentType' in part ? { content_type: part.contentType } : {}),
    ...((current.meaning?.others.length ?? 0) > 0 ? { others: current.meaning?.others } : {}),
    ...(message.fault === null ? {} : { fault: message.fault }),
    ...(target === null ? {} : { [role === 'message' ? 'reply_to' : 'target']: hex(target) }),
    ...(target === null || about?.seq == null
      ? {}
      : { [role === 'message' ? 'reply_to_seq' : 'target_seq']: about.seq }),
    ...(current === message ? {} : { edited: true, versions: [message, ...versions].map(versionFields) }),
    ...(reactions.length === 0 ? {} : { reactions: reactions.map(reactionFields) }),
    ...(message.expiresAt === null ? {} : { expires_at: iso(message.expiresAt) }),
    ...(content?.expires?.isRelative ? { expires_after_ms: content.expires.seconds * 1000 } : {}),
    sent_at: iso(clientTime),
    ...(serverTime === null ? {} : { logged_at: iso(serverTime) }),
    ...(hash === null ? {} : { id: hex(hash) }),
  };
}

function bodyFields({ body, fault }: Message): Record<string, unknown> {
  if (fault !== null) return {};
  const text = fromUtf8(body);
  return text === null ? { body_base64url: base64url(body) } : { body: text };
}
const versionFields = (message: Message): Record<string, unknown> => ({
  ...bodyFields(message),
  sent_at: iso(message.clientTime),
  ...(message.hash === null ? {} : { id: hex(message.hash) }),
});
const reactionFields = ({ sender, meaning, hash }: Message): Record<string, unknown> => ({
  from: sender,
  reaction: meaning?.text ?? null,
  ...(hash === null ? {} : { id: hex(hash) }),
});

/** How a reply is shown in plain mode: `{'status': 'ok'}`. */
export const statusReply = (code: string | null): string =>
  code === null ? "{'status': 'ok'}" : `{'status': 'error', 'code': '${code}'}`;

/** What a device has signed about a message. */
export const receiptFields = ({ kind, by, device, at }: SignedReceipt): Record<string, unknown> => ({
  by,
  device: hex(device),
  said: kind === KIND.read ? 'read' : 'delivered',
  at: iso(at),
});
