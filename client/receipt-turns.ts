/**
 * Which receipts go with the next batch. They wait for messages to go with, and once that has lasted long enough, they go by themselves. Where one may
 * have been refused, and which is not known, each goes alone and takes turns with messages, until all have gone.
 */
import type { Message } from './message-table.ts';
import type { DueReceipt, ReceiptTable } from './receipt-table.ts';
import { withReceipts } from './statements.ts';

export class ReceiptTurns {
  readonly #table: ReceiptTable;
  /** They have waited long enough. */
  #isTime = false;
  #isAlone = false;
  /** what went last then */
  #wasReceipt = false;

  constructor(table: ReceiptTable) {
    this.#table = table;
  }

  /** Another connection: none has been refused. */
  begin(): void {
    this.#isAlone = false;
  }
  /** What this device has to say about what it has received goes now, also if nothing else does. */
  call(): void {
    this.#isTime = true;
  }
  /** One may have been refused. */
  separate(): void {
    this.#isAlone = true;
  }

  /** Those of the messages that go now, and the receipts behind them. */
  with(messages: readonly Message[]): {
    readonly messages: readonly Message[];
    readonly receipts: readonly DueReceipt[];
  } {
    if (!this.#isTime) return { messages, receipts: [] };
    const due = this.#table.due();
    this.#isAlone &&= due.length > 0;
    if (this.#isAlone) {
      this.#wasReceipt = messages.length === 0 || !this.#wasReceipt;
      return this.#wasReceipt ? { messages: [], receipts: due.slice(0, 1) } : { messages, receipts: [] };
    }
    const receipts = withReceipts(messages, due);
    if (this.#table.owed() === count(receipts)) this.#isTime = false;
    return { messages, receipts };
  }
}

const count = (receipts: readonly DueReceipt[]): number =>
  receipts.reduce((sum, { messages }) => sum + messages.length, 0);
