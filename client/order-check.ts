/**
 * Whether what a device signed stands in the log, and comes, in the order in which it was made. One batch at two places of a log, and a later
 * message at a place before an earlier one, are contradictions that the log itself has signed: alarms, with both acknowledgements. Places are
 * compared and not arrivals: what a crash held back comes late, and stands where it belongs.
 * A gap only looks like a lie: messages expire, disappear, are refused, and pass by who is not in the group. So it is a warning, kept with what
 * proves it; it says what did not come before the next message, and stays true when that comes later.
 */
import { equal, hex, type Hash } from '../base/bytes.ts';
import { encode, type Encodable } from '../base/cbor.ts';
import { ChatError, type Code } from '../base/errors.ts';
import { NO_HASH } from '../transcript/merkle.ts';
import { decodeBs, type MessageStatement } from '../transcript/statement.ts';
import type { CheckedBatch } from './delivery-check.ts';
import { placeOf, type Evidence, type Ledger } from './ledger.ts';
import type { Seen } from './seen-table.ts';
import type { Vault } from './vault.ts';

/** Something to be kept with what proves it, once for each subject. */
export interface Finding {
  readonly code: Extract<Code, 'REPLAY' | 'LINEAGE' | 'WITHHELD'>;
  readonly sub: string;
  readonly sentence: string;
  readonly subject: string;
  /** the batches with their acknowledgements, and the signed notes into which these prove; CBOR */
  readonly detail: Buffer;
}
export interface Order {
  /** It follows the last statement of its session that is here, and that is a message. */
  readonly isContinued: boolean;
  readonly finding: Finding | null;
  /** what a person is to see, and nothing has to prove */
  readonly remark: string | null;
}

export const errorOf = ({ code, sub, sentence }: Finding): ChatError => new ChatError(code, sentence, { sub });

/** The same signed batch was shown at another place of its log (which one that is, its sender signed). To be asked before it is kept. */
export function findReplay(ledger: Ledger, { leaf, first, username, evidence }: CheckedBatch): Finding | null {
  const known = ledger.evidence(leaf);
  if (known === null) return null;
  const before = placeOf(known);
  if (before === first) return null;
  return {
    code: 'REPLAY',
    sub: 'log',
    sentence: `the log holds one signed batch of ${username} twice, as entries ${before} and ${first}`,
    subject: `${hex(leaf)} ${first}`,
    detail: proofOf([known, evidence]),
  };
}

/**
 * A message or commit that held. To be asked when its batch is kept, and the statement itself is not yet.
 * @param leaf leaf(MS)
 * @param index in the log
 */
export function checkOrder(vault: Vault, batch: CheckedBatch, ms: MessageStatement, leaf: Hash, index: number): Order {
  const finding = findReorder(vault, batch, ms, leaf, index);
  if (finding !== null) return { isContinued: false, finding, remark: null };
  const { username } = batch;
  const order = { isContinued: false, finding: null, remark: null };
  const last = vault.incoming.lineage(ms.sender, ms.conversation, ms.session);
  if (last === null) return order; // a device that is new to this profile may begin anywhere
  const isSameSession = equal(last.session, ms.session);
  const due = isSameSession ? last.convCtr + 1 : 1;
  if (ms.convCtr < due)
    return { ...order, remark: `the next message of ${username} is one that did not arrive before` };
  if (ms.convCtr === due) {
    // Not behind a commit: it may have let this device in, and what follows was perhaps written before.
    if (equal(ms.prevConv, last.lastLeaf))
      return { ...order, isContinued: isSameSession && !vault.groups.hasCommit(last.lastLeaf) };
    if (equal(ms.prevConv, NO_HASH))
      return {
        ...order,
        remark: `${username} goes on without what was said before: the device has lost its records`,
      };
    if (!isSameSession && vault.seen.has(ms.conversation, ms.sender, ms.prevConv)) return order;
  }
  const before = vault.seen.find(ms.conversation, { device: ms.sender, ...last });
  const known = before?.place ? vault.ledger.evidence(before.place.batch) : null;
  return {
    ...order,
    finding: {
      code: 'WITHHELD',
      sub: 'gap',
      sentence: `${missing(ms.convCtr - due, username)} (withheld by the server, expired, refused here, or sent while this device was out)`,
      subject: `before ${hex(leaf)}`,
      detail: proofOf(known === null ? [batch.evidence] : [known, batch.evidence]),
    },
  };
}

function missing(count: number, username: string): string {
  if (count === 0) return `the next message of ${username} follows one that did not arrive`;
  return `${count} message${count === 1 ? '' : 's'} of ${username} before the next one did not arrive`;
}

/** Its neighbours in the session stand on the wrong side of it, in the same log. */
function findReorder(
  { seen, ledger }: Vault,
  { username, bs, evidence }: CheckedBatch,
  { sender: device, session, conversation, convCtr }: MessageStatement,
  leaf: Hash,
  index: number,
): Finding | null {
  const isWrong = (other: Seen): boolean =>
    other.place !== null && other.convCtr < convCtr !== other.place.index < index;
  for (const other of seen.around(conversation, { device, session, convCtr }).filter(isWrong)) {
    const known = ledger.evidence(other.place!.batch);
    if (known === null || !equal(decodeBs(known.batch).audience, bs.audience)) continue;
    const [early, late] = [Math.min(convCtr, other.convCtr), Math.max(convCtr, other.convCtr)];
    const [low, high] = [Math.min(index, other.place!.index), Math.max(index, other.place!.index)];
    return {
      code: 'LINEAGE',
      sub: 'order',
      sentence: `the log holds message ${late} of a session of ${username} as entry ${low}, before message ${early} as entry ${high}`,
      subject: [hex(leaf), hex(other.leaf)].sort().join(' '),
      detail: proofOf([known, evidence]),
    };
  }
  return null;
}

const proofOf = (batches: readonly Evidence[]): Buffer =>
  encode({
    batches: batches.map((each) => ({ ...each, v: 1 })),
    notes: [...new Set(batches.map(({ note }) => note))],
  } as unknown as Encodable);
