/** What a person writes, as content: what may be answered, reacted to, edited and taken back, and by whom. */
import { fromUtf8, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Content, Expiration } from '../transcript/content.ts';
import {
  bytesContent,
  deleteContent,
  editContent,
  reactionContent,
  textContent,
  type Frame,
} from '../transcript/content-meaning.ts';
import type { Message } from './message-table.ts';

const MAX_REACTION_BYTES = 64;

/** A text; or, for a body that is not UTF-8, bytes that stay what they are. */
export function contentOfBody(frame: Frame, body: Uint8Array, inReplyTo: Hash | null = null): Content {
  const text = fromUtf8(body);
  return text === null ? bytesContent(frame, body, inReplyTo) : textContent(frame, text, inReplyTo);
}

/** @throws NOT_FOUND for what is gone */
export const answer = (frame: Frame, body: Uint8Array, to: Message): Content =>
  contentOfBody(frame, body, standing(to).hash);

/** @throws USAGE for what is not one sign or word; NOT_FOUND */
export function reaction(frame: Frame, text: string, to: Message): Content {
  if (!/^\S+$/u.test(text) || /\p{Cc}/u.test(text) || Buffer.byteLength(text) > MAX_REACTION_BYTES)
    throw new ChatError('USAGE', `a reaction is one sign or word of at most ${MAX_REACTION_BYTES} bytes`);
  return reactionContent(lasting(frame, to), text, standing(to).hash!);
}

/** @throws NOT_ALLOWED/author, NOT_FOUND, USAGE for a body that is no text */
export function edit(frame: Frame, body: Uint8Array, of: Message): Content {
  const text = fromUtf8(body);
  if (text === null) throw new ChatError('USAGE', 'what a message is changed to must be a text');
  if (own(of).role !== 'message') throw new ChatError('USAGE', 'only a message can be edited');
  return editContent(lasting(frame, of), text, of.hash!, of.content?.inReplyTo ?? null);
}

/** @throws NOT_ALLOWED/author, NOT_FOUND */
export const deletion = (frame: Frame, of: Message): Content =>
  deleteContent(frame, own(of).hash!, of.content?.inReplyTo ?? null, of.role === 'reaction');

/** What says something about a message disappears with it. */
function lasting(frame: Frame, { expiresAt }: Message): Frame {
  return expiresAt === null ? frame : { ...frame, expires: expirationAt(expiresAt) };
}
/** @param at Unix ms */
export const expirationAt = (at: number): Expiration => ({ isRelative: false, seconds: Math.ceil(at / 1000) });

function standing(message: Message): Message {
  if (message.gone !== null || message.hash === null)
    throw new ChatError('NOT_FOUND', message.gone === null ? 'it is not sent yet' : `that message is ${message.gone}`);
  return message;
}
function own(message: Message): Message {
  if (message.direction !== 'out')
    throw new ChatError('NOT_ALLOWED', 'only its author can change a message', { sub: 'author' });
  return standing(message);
}
