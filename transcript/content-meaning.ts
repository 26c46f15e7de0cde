/**
 * What a content means to a person: a text, an answer, a reaction, another version of something, or that something is taken back. What
 * this version cannot show is named by type and size, and never guessed at. docs/TRANSCRIPT.md §a.
 */
import { fromUtf8, utf8, type Hash } from '../base/bytes.ts';
import type { Key } from './content-cbor.ts';
import { DISPOSITION, TEXT_PLAIN, type Content, type Expiration, type Part } from './content.ts';

/**
 * message: `target` is what it answers, if anything. reaction: `target` is what is reacted to. edit and delete: `target` is the first
 * version of what is changed; an edit with `isReaction` is of a reaction. nothing: an empty body that takes nothing back.
 */
export interface Meaning {
  readonly kind: 'message' | 'reaction' | 'edit' | 'delete' | 'nothing';
  readonly target: Hash | null;
  readonly isReaction: boolean;
  /** what is to be shown, as it came: it has not passed printable(); null: nothing that is text */
  readonly text: string | null;
  /** what else is there, by type and size, as it came */
  readonly others: readonly string[];
}

export function meaningOf({ part, replaces, inReplyTo }: Content): Meaning {
  const isReaction = part.disposition === DISPOSITION.reaction;
  const { texts, others } = shownOf(part);
  const text = texts.length === 0 ? null : texts.join(isReaction ? ' ' : '\n');
  const shown = { isReaction, text, others };
  if (part.cardinality === 'null')
    return replaces === null
      ? { ...shown, kind: 'nothing', target: null }
      : { ...shown, kind: 'delete', target: replaces };
  if (replaces !== null) return { ...shown, kind: 'edit', target: replaces };
  if (isReaction && inReplyTo !== null) return { ...shown, kind: 'reaction', target: inReplyTo };
  return { ...shown, kind: 'message', target: inReplyTo };
}

interface Shown {
  readonly texts: readonly string[];
  readonly others: readonly string[];
}

/** §4.4: of chooseOne the first that can be shown whole; of singleUnit all or none; of processAll whatever can be. */
function shownOf(part: Part): Shown {
  switch (part.cardinality) {
    case 'null':
      return { texts: [], others: [] };
    case 'external':
      return { texts: [], others: [`${part.contentType}, ${part.size} bytes elsewhere`] };
    case 'single': {
      const text = isText(part.contentType) ? fromUtf8(part.content) : null;
      return text === null
        ? { texts: [], others: [`${part.contentType}, ${part.content.length} bytes`] }
        : { texts: [text], others: [] };
    }
    case 'multi': {
      const all = part.parts.map(shownOf);
      if (part.semantics === 'chooseOne')
        return all.find(({ others }) => others.length === 0) ?? all.find(({ texts }) => texts.length > 0) ?? all[0]!;
      const others = all.flatMap((each) => each.others);
      const isWhole = part.semantics === 'processAll' || others.length === 0;
      return { texts: isWhole ? all.flatMap((each) => each.texts) : [], others };
    }
  }
}

/** Plain text, and Markdown, which its readers may show as it is written (§7.1 of the draft); in UTF-8. */
function isText(contentType: string): boolean {
  const [type, ...parameters] = contentType.toLowerCase().split(';');
  const charset = parameters.map((each) => each.trim()).find((each) => each.startsWith('charset='));
  const isKnown = type?.trim() === 'text/plain' || type?.trim() === 'text/markdown';
  return isKnown && (charset === undefined || /^charset="?(utf-8|us-ascii)"?$/.test(charset));
}

/** What one content says beside its text. */
export interface Frame {
  /** 16 fresh random bytes */
  readonly salt: Uint8Array;
  readonly expires?: Expiration | null;
  readonly extensions?: ReadonlyMap<Key, Uint8Array>;
}

/** @param inReplyTo what is answered */
export const textContent = (frame: Frame, text: string, inReplyTo: Hash | null = null): Content =>
  contentOf(frame, { inReplyTo }, single(DISPOSITION.render, text));
/** @param content bytes that are no text */
export const bytesContent = (frame: Frame, content: Uint8Array, inReplyTo: Hash | null = null): Content =>
  contentOf(
    frame,
    { inReplyTo },
    {
      ...{ disposition: DISPOSITION.attachment, language: '', cardinality: 'single' },
      ...{ contentType: 'application/octet-stream', content },
    },
  );
export const reactionContent = (frame: Frame, reaction: string, target: Hash): Content =>
  contentOf(frame, { inReplyTo: target }, single(DISPOSITION.reaction, reaction));
/** @param target the first version @param inReplyTo what that one answers */
export const editContent = (frame: Frame, text: string, target: Hash, inReplyTo: Hash | null): Content =>
  contentOf(frame, { replaces: target, inReplyTo }, single(DISPOSITION.render, text));
/** @param inReplyTo of what is taken back; @param isReaction it is a reaction */
export const deleteContent = (frame: Frame, target: Hash, inReplyTo: Hash | null, isReaction: boolean): Content =>
  contentOf(
    frame,
    { replaces: target, inReplyTo },
    { disposition: isReaction ? DISPOSITION.reaction : DISPOSITION.render, language: '', cardinality: 'null' },
  );

const single = (disposition: number, text: string): Part => ({
  disposition,
  language: '',
  cardinality: 'single',
  contentType: TEXT_PLAIN,
  content: utf8(text),
});

const contentOf = (
  { salt, expires = null, extensions = new Map() }: Frame,
  { replaces = null, inReplyTo }: { readonly replaces?: Hash | null; readonly inReplyTo: Hash | null },
  part: Part,
): Content => ({
  salt,
  replaces,
  topicId: new Uint8Array(0),
  expires,
  inReplyTo,
  extensions,
  part,
});
