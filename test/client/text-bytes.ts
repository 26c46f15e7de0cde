/** What a client that says this commits to. */
import { randomBytes } from 'node:crypto';
import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { encodeContent } from '../../transcript/content.ts';
import { decodeContent } from '../../transcript/content.ts';
import { meaningOf } from '../../transcript/content-meaning.ts';
import { contentOfBody } from '../../client/writing.ts';

/** `plaintext`: as it is, content or not. */
export type Said = string | Uint8Array | { readonly plaintext: Uint8Array };

export function textBytes(said: Said): Uint8Array {
  if (typeof said !== 'string' && 'plaintext' in said) return said.plaintext;
  const body = typeof said === 'string' ? utf8(said) : said;
  return encodeContent(contentOfBody({ salt: randomBytes(16) }, body));
}
/** The text in an opening. */
export function textIn(opening: Uint8Array): string {
  const { text } = meaningOf(decodeContent(opening.subarray(32)));
  return text ?? fromUtf8(opening.subarray(32)) ?? '?';
}
