/** What a log says of the sessions and conversations of its senders, in memory: for judging a whole log, entry by entry. */
import { equal, hex, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../base/bytes.ts';
import type { LineageChange, LineageState, SessionLineage } from './lineage.ts';
import { openingHash } from './opening.ts';

export class LineageMemory implements LineageState {
  readonly isLater: boolean;
  readonly earlier: LineageState | undefined;
  readonly #sessions = new Map<string, SessionLineage>();
  readonly #counters = new Map<string, number>();
  readonly #leaves = new Map<string, Hash>();
  readonly #senders = new Set<string>();
  /** Keys of sessions that went on since an opening was last looked at: only then it matters how they end. */
  readonly #changed = new Set<string>();
  /** key of a session → hash of an opening that names its end; and the hashes alone */
  readonly #endOf = new Map<string, string>();
  readonly #ends = new Set<string>();

  /** @param isLater the log is of a later epoch @param earlier what the log before it said, if that is at hand */
  constructor(isLater = false, earlier?: LineageState) {
    this.isLater = isLater;
    this.earlier = earlier;
  }

  session(sender: Fingerprint, session: SessionId): SessionLineage | undefined {
    return this.#sessions.get(hex(sender) + hex(session));
  }
  convCtr(sender: Fingerprint, session: SessionId, conversation: ConversationId): number | undefined {
    return this.#counters.get(hex(sender) + hex(session) + hex(conversation));
  }
  lastLeaf(sender: Fingerprint, conversation: ConversationId): Hash | undefined {
    return this.#leaves.get(hex(sender) + hex(conversation));
  }
  hasSession(sender: Fingerprint): boolean {
    return this.#senders.has(hex(sender));
  }
  hasEnd(part: Hash): boolean {
    for (const key of this.#changed) {
      const { lastCtr, lastBatch } = this.#sessions.get(key)!;
      this.#ends.delete(this.#endOf.get(key) ?? '');
      const session = Buffer.from(key.slice(FINGERPRINT_DIGITS), 'hex') as Uint8Array as SessionId;
      const end = hex(openingHash({ session, lastCtr, lastBatch }));
      this.#endOf.set(key, end);
      this.#ends.add(end);
    }
    this.#changed.clear();
    return this.#ends.has(hex(part));
  }

  apply({
    sender,
    session,
    lastCtr,
    lastBatch,
    isClosed,
    isCarried = false,
    last,
    conversations,
  }: LineageChange): void {
    const key = hex(sender) + hex(session);
    const known = this.#sessions.get(key);
    if (known !== undefined && known.lastCtr === lastCtr && equal(known.lastBatch, lastBatch)) return; // a replay
    this.#senders.add(hex(sender));
    this.#changed.add(key);
    this.#sessions.set(key, { lastCtr, lastBatch, isClosed, isCarried, ...(last && { last: kept(last) }) });
    for (const { conversation, convCtr, lastLeaf } of conversations) {
      this.#counters.set(key + hex(conversation), convCtr);
      this.#leaves.set(hex(sender) + hex(conversation), lastLeaf);
    }
  }
}

const FINGERPRINT_DIGITS = 64;

/** Copies, for a view would keep the whole file that it was read with. */
function kept({ firstCtr, count, batchRoot, prevBatch }: Required<SessionLineage>['last']) {
  const copy = (hash: Hash): Hash => Buffer.from(hash) as Uint8Array as Hash;
  return { firstCtr, count, batchRoot: copy(batchRoot), prevBatch: copy(prevBatch) };
}
