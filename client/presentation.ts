/** How messages look to people and to programs. Every string of somebody else passes printable(); bytes stay exact in JSON alone. */
import { base64url, fromUtf8, hex } from '../base/bytes.ts';
import { printable } from '../runtime/printable.ts';
import { UNREADABLE } from './message-table.ts';
import { isRoomName, type Occupant } from './rooms.ts';
import type { Message } from './vault.ts';

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

/** The body, or why there is none to be read. */
export const shownContent = ({ body, reason }: Message): string =>
  reason === UNREADABLE ? '[a message from before this device joined]' : shownBody(body);

/** `14:02 bob: text`, or with the date in a history; of a room `14:02 [#room] bob: text`. */
export function shownMessage(message: Message, peer: string, withDate = false): string {
  const time = new Date(message.serverTime ?? message.clientTime).toISOString();
  const when = withDate ? `${time.slice(0, 16).replace('T', ' ')}Z` : time.slice(11, 16);
  const who = message.direction === 'out' ? 'You' : printable(message.sender, 64);
  const place = message.seq === null ? '' : `#${message.seq} `;
  const room = isRoomName(peer) ? `[${printable(peer, 64)}] ` : '';
  return `${place}${when} ${room}${who}: ${shownContent(message)}${mark(message)}`;
}

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

/** `body` when it is UTF-8, exactly; else `body_base64url`. */
export function messageFields(message: Message, peer: string): Record<string, unknown> {
  const { direction, state, seq, hash, sender, body, clientTime, serverTime, reason } = message;
  const text = fromUtf8(body);
  return {
    conversation: hex(message.conversation),
    peer,
    seq,
    from: sender,
    direction,
    state,
    ...(reason === null ? {} : { reason }),
    ...(text === null ? { body_base64url: base64url(body) } : { body: text }),
    sent_at: new Date(clientTime).toISOString(),
    ...(serverTime === null ? {} : { logged_at: new Date(serverTime).toISOString() }),
    ...(hash === null ? {} : { id: hex(hash) }),
  };
}

/** How a reply is shown in plain mode: `{'status': 'ok'}`. */
export const statusReply = (code: string | null): string =>
  code === null ? "{'status': 'ok'}" : `{'status': 'error', 'code': '${code}'}`;
