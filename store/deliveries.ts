/**
 * What messages leave behind for those who do not have them yet: rows in queues, the content while somebody waits for it, and the time at
 * which that is over.
 */
import type { MessageRecord } from './contract/log.ts';
import { encodeParts, encodeTargets, partsBytes } from './entry.ts';
import { Mailboxes } from './mailbox.ts';
import { insert, type Operation, type Scalar, type Target } from './operation.ts';

const CONTENTS: Target = {
  table: 'contents',
  columns: ['entry', 'statement', 'parts', 'generation', 'epoch'],
  key: ['entry'],
  onConflict: 'fail',
};
const EXPIRIES: Target = {
  table: 'expiries',
  columns: ['expires_at', 'entry'],
  key: ['expires_at', 'entry'],
  onConflict: 'keep',
};

export class Deliveries {
  readonly #mailboxes: Mailboxes;
  readonly #contents: Scalar[][] = [];
  readonly #expiries: Scalar[][] = [];

  private constructor(mailboxes: Mailboxes) {
    this.#mailboxes = mailboxes;
  }

  /** @throws NOT_FOUND/device */
  static *hold(recipients: Iterable<number>): Operation<Deliveries> {
    return new Deliveries(yield* Mailboxes.hold(recipients));
  }

  /** Queues a message for those who do not keep it yet; answers what the message's row says of that. */
  deliver(entry: number, message: MessageRecord) {
    const { statement, content, isThreaded, isCommit } = message;
    if (!content) return { targets: [], columns: { waiting: 0, expiresAt: null, targets: null, isReached: false } };
    const { parts, recipients, expiresAt, group, keptBy = [], isReached = false } = content;
    const bytes = partsBytes(parts) + (content.blobs?.parts?.size ?? 0);
    const kept = new Set(keptBy);
    const targets = recipients.map((deviceId) =>
      kept.has(deviceId) ? this.#mailboxes.skip(deviceId) : this.#mailboxes.addMessage(deviceId, entry, bytes),
    );
    const waiting = targets.length - kept.size;
    if (waiting > 0)
      this.#contents.push([entry, statement, encodeParts(parts), group?.generation ?? 0, group?.epoch ?? 0]);
    // Of a message also that has no recipient, or has reached none but its sender's own devices: the sender is told when the time is over.
    const isAnswered = isCommit || !isThreaded || isReached;
    if (waiting > 0 || (isThreaded && (targets.length === 0 || !isAnswered))) this.#expiries.push([expiresAt, entry]);
    return { targets, columns: { waiting, expiresAt, targets: encodeTargets(targets), isReached } };
  }

  /** Once, at the end. */
  *write(): Operation<void> {
    yield* insert(CONTENTS, this.#contents);
    yield* insert(EXPIRIES, this.#expiries);
    yield* this.#mailboxes.write();
  }
}
