/**
 * What a disclosed message says, in words and for programs: its content (transcript/content.ts), and which message of the bundle it answers,
 * reacts to, changes or takes back. A plaintext that is no content is a text, as senders of before wrote it.
 */
import { fromUtf8, hex, view } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { beginsAsContent, decodeContent, type Content } from '../transcript/content.ts';
import { meaningOf, type Meaning } from '../transcript/content-meaning.ts';
import type { JudgedMessage } from './bundle-messages.ts';
import { iso } from './time.ts';

export interface Saying {
  readonly number: number;
  /** server time, Unix ms */
  readonly time: number;
  /** fingerprint, in hexadecimal */
  readonly sender: string;
  /** bytes: neither content nor text */
  readonly kind: Meaning['kind'] | 'bytes';
  readonly text: string | null;
  readonly others: readonly string[];
  /** leaf(MS), in hexadecimal, and its number and sender when it is in the bundle before this one */
  readonly target: { readonly id: string; readonly number: number | null; readonly sender: string | null } | null;
  readonly expires: Content['expires'];
}

/**
 * UTF-16 units of all that is said in one bundle, 300 for each of 100,000 messages: it is kept until it is printed, as one text of at most
 * 2^29 units, in which each of them may take eight (`\u{200b}`).
 */
const MAX_SAID = 32 * 1024 * 1024;

export class Sayings {
  /** by leaf(MS), a letter for each byte: number of the message */
  readonly #numbers = new Map<string, number>();
  /** by number: who wrote it; one text for each of them */
  readonly #senders: string[] = [];
  readonly #names = new Map<string, string>();
  #said = 0;
  readonly #most: number;

  constructor(most = MAX_SAID) {
    this.#most = most;
  }

  /** Messages in their order, all of them. Null for one that says nothing here. */
  of({ number, leaf, ms, msLeaf, plaintext }: JudgedMessage): Saying | null {
    if (!leaf || !ms || !msLeaf) return null;
    const sender = this.#named(hex(ms.sender));
    this.#numbers.set(letters(msLeaf), number);
    this.#senders[number] = sender;
    if (!plaintext) return null;
    const place = { number, time: leaf.serverTime, sender };
    const content = contentOf(plaintext);
    if (content === null) {
      const text = fromUtf8(plaintext);
      const others = text === null ? [`${plaintext.length} bytes that are not text`] : [];
      const kind = text === null ? ('bytes' as const) : ('message' as const);
      return { ...place, kind, ...this.#within(text, others), target: null, expires: null };
    }
    const { kind, text, others, target } = meaningOf(content);
    const id = target && hex(target);
    const known = target && this.#numbers.get(letters(target));
    return {
      ...place,
      ...{ kind, ...this.#within(text, others), expires: content.expires },
      target: id === null ? null : { id, number: known ?? null, sender: known == null ? null : this.#senders[known]! },
    };
  }

  /** A text that would be one too many is named by its size, and never cut. */
  #within(text: string | null, others: readonly string[]): Pick<Saying, 'text' | 'others'> {
    const units = others.reduce((sum, { length }) => sum + length, text?.length ?? 0);
    if (this.#said + units > this.#most)
      return { text: null, others: [`${units} characters, not shown: there is too much before them`] };
    this.#said += units;
    return { text, others };
  }

  #named(sender: string): string {
    const known = this.#names.get(sender) ?? sender;
    this.#names.set(known, known);
    return known;
  }
}
const letters = (hash: Uint8Array): string => view(hash).toString('latin1');

function contentOf(plaintext: Uint8Array): Content | null {
  if (!beginsAsContent(plaintext)) return null;
  try {
    return decodeContent(plaintext);
  } catch (error) {
    if (ChatError.from(error).code === 'INTERNAL') throw error;
    return null;
  }
}

/**
 * For people; other people's words, that have not passed shown(). What is said about a message stands in brackets in front of what it says, and a
 * text that begins so itself, in any of its lines, stands in quotation marks: nobody writes in the name of the verifier.
 * @param userBehind fingerprint in hexadecimal → whose certificate that is
 * @param most characters of a text
 */
export function wordsOf(saying: Saying, userBehind: (fingerprint: string) => string, most = Infinity): string {
  const { kind, text, others, target, expires } = saying;
  const which = target?.number == null ? 'a message that is not in this bundle' : `message ${target.number}`;
  const about = {
    message: target === null ? [] : [`[in reply to ${which}]`],
    reaction: [`[reaction to ${which}]`],
    edit: [`[${which} is changed to]`],
    delete: [`[${which} is deleted]`],
    nothing: ['[nothing]'],
    bytes: [],
  }[kind];
  const until =
    expires === null
      ? []
      : [
          expires.isRelative
            ? `[disappears ${expires.seconds} s after it is read]`
            : `[until ${iso(expires.seconds * 1000)}]`,
        ];
  const isCut = text !== null && text.length > most;
  return [
    ...about,
    ...(isWithoutEffect(saying, userBehind) ? ['[which another has sent: without effect]'] : []),
    ...until,
    ...others.map((other) => `(${other.replace(BRACKETS, '?')})`),
    ...(isCut ? [`[the first ${most} of ${text.length} characters]`] : []),
    ...(text === null ? [] : [quoted(isCut ? text.slice(0, most) : text)]),
  ].join(' ');
}

const BRACKETS = /[\p{Ps}\p{Pe}]/gu;
const BEGINS_AS_OURS = /^[\s\u2800]*[\p{Ps}\p{Pi}"]/mu;
const quoted = (text: string): string => (BEGINS_AS_OURS.test(text) ? `“${text}”` : text);

/** Only who has sent a message changes it, or takes it back. */
function isWithoutEffect({ kind, target, sender }: Saying, userBehind: (fingerprint: string) => string): boolean {
  const changes = kind === 'edit' || kind === 'delete';
  return changes && target?.sender != null && userBehind(target.sender) !== userBehind(sender);
}

/** For programs. @param userBehind as in wordsOf() */
export function fieldsOf(saying: Saying, userBehind: (fingerprint: string) => string) {
  const { number, time, sender, kind, text, others, target, expires } = saying;
  return {
    message: number,
    at: iso(time),
    sender,
    kind,
    text,
    ...(others.length === 0 ? {} : { others }),
    ...(target && { target: target.id, target_message: target.number }),
    ...(isWithoutEffect(saying, userBehind) && { without_effect: true }),
    ...(expires && {
      expires: expires.isRelative ? { after_s: expires.seconds } : { at: iso(expires.seconds * 1000) },
    }),
  };
}
