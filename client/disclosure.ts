/** Whose texts are in a bundle of evidence, as a person says it, and which messages of a conversation those are. */
import { hex, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Proven } from './evidence.ts';
import type { Conversation } from './roster.ts';
import type { Vault } from './vault.ts';

export type Disclosure = 'none' | 'mine' | 'all' | readonly (readonly [first: number, last: number])[];

/** @throws USAGE */
export function parseDisclosure(text: string): Disclosure {
  if (text === 'none' || text === 'mine' || text === 'all') return text;
  return text.split(',').map((part) => {
    const [, first, last = first] = /^([1-9]\d{0,14})(?:-([1-9]\d{0,14}))?$/.exec(part) ?? [];
    if (first === undefined || Number(last) < Number(first))
      throw new ChatError('USAGE', '--disclose wants none, mine, all, or places such as 3,7-9');
    return [Number(first), Number(last)];
  });
}

/** @throws NOT_FOUND for a place at which nothing is that could be disclosed */
export function disclosed(
  vault: Vault,
  { id }: Conversation,
  messages: readonly Proven[],
  disclosure: Disclosure,
): (leaf: Hash) => boolean {
  if (disclosure === 'none') return () => false;
  if (disclosure === 'all') return () => true;
  const rows = vault.placed(id).filter(({ hash, gone }) => hash !== null && gone === null);
  if (disclosure === 'mine') {
    const mine = new Set(rows.filter(({ direction }) => direction === 'out').map(({ hash }) => hex(hash!)));
    return (leaf) => mine.has(hex(leaf));
  }
  const proven = new Set(messages.map(({ leaf }) => hex(leaf)));
  const wanted = new Set<string>();
  for (const [first, last] of disclosure) {
    const within = rows.filter(
      ({ seq, hash }) => seq !== null && first <= seq && seq <= last && proven.has(hex(hash!)),
    );
    if (within.length === 0)
      throw new ChatError('NOT_FOUND', `nothing to disclose at ${first === last ? first : `${first}-${last}`}`);
    for (const { hash } of within) wanted.add(hex(hash!));
  }
  return (leaf) => wanted.has(hex(leaf));
}
