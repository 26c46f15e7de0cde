/**
 * Two bundles of one conversation, each judged by itself before: whether both can be true, and what one has and the other
 * has not. Only what is proven in both is held against a sender or a server: what is not could have been made by either party.
 */
import { hex, same } from '../base/bytes.ts';
import { messageFolder } from '../transcript/bundle.ts';
import type { AuditedBundle } from './bundle.ts';
import type { Findings } from './finding.ts';
import type { Place, Places } from './places.ts';

/** @param name of the other bundle, as the user gave it */
export function compareBundles(own: AuditedBundle, other: AuditedBundle, name: string, findings: Findings): void {
  if (own.head && other.head && !same(own.head.conversation, other.head.conversation))
    return findings.add('E_INPUT', name, 'is of another conversation');
  const [here, there] = [byNumber(own.placed), byNumber(other.placed)];
  for (const [row, rival] of both(own.stated, other.stated)) {
    const where = whereOf(own.stated, row);
    if (!other.stated.isAt(rival, own.stated.hashAt(row)))
      findings.add('E_DOUBLE', where, `the sender signed another message for ${name}`);
    const [place, second] = [here[numberOf(own.stated, row)], there[numberOf(other.stated, rival)]];
    if (place !== undefined && place.name === second?.name && place.index !== second.index)
      findings.add(
        'E_CTR_REGRESS',
        where,
        `the server has logged it twice: at ${place.index}, and for ${name} at ${second.index}`,
      );
  }
  for (const [row, rival] of both(own.placed, other.placed))
    if (!other.placed.isAt(rival, own.placed.hashAt(row)))
      findings.add('E_FORK', whereOf(own.placed, row), `the server showed another entry at this place to ${name}`);
  for (const log of own.logs) {
    const roots = other.logs.find(({ origin, isVouched }) => origin === log.origin && isVouched)?.roots;
    if (log.isVouched && roots)
      for (const [row, rival, size] of both(log.roots, roots))
        if (!roots.isAt(rival, log.roots.hashAt(row)))
          findings.add(
            'E_FORK',
            log.origin,
            `the server signed another history of ${size} entries for ${name}: ${hex(roots.hashAt(rival))}`,
          );
  }
  missing(own.stated, other.stated, name, 'of this bundle are not in the other', findings);
  missing(other.stated, own.stated, name, 'of the other bundle are not in this one', findings);
}

/** Rows of the same place in one and the other, and where that is. */
function* both(own: Places, other: Places): Generator<readonly [row: number, rival: number, index: number]> {
  for (const { name, index, row } of own.entries()) {
    const rival = other.find(name, index);
    if (rival !== undefined) yield [row, rival, index];
  }
}

const numberOf = (places: Places, row: number): number => Math.abs(places.labelAt(row));
const whereOf = (places: Places, row: number): string => messageFolder(numberOf(places, row));

/** Where each message stands, by its number. */
function byNumber(placed: Places): readonly (Place | undefined)[] {
  const found: Place[] = [];
  for (const { name, index, row } of placed.entries()) found[placed.labelAt(row)] = { name, index };
  return found;
}

function missing(own: Places, other: Places, name: string, what: string, findings: Findings): void {
  let count = 0;
  let first = Infinity;
  for (const { name: session, index, row } of own.entries()) {
    const number = own.labelAt(row);
    const isReceipt = number < 0;
    if (isReceipt || other.find(session, index) !== undefined) continue;
    count++;
    first = Math.min(first, number);
  }
  if (count > 0)
    findings.add('W_MISSING', name, `${count} messages ${what}, the first of them ${messageFolder(first)}`);
}
