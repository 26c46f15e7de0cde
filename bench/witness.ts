/** What the recipient of a pair signs about the messages that came: as chat-client does, one statement about many, after a short quiet time. */
import { randomBytes } from 'node:crypto';
import type { ConversationId, Hash, SessionId } from '../base/bytes.ts';
import { CONTEXT, sign } from '../base/signature.ts';
import type { Credentials } from '../runtime/tls.ts';
import { leafHash, NO_HASH, rootOf } from '../transcript/merkle.ts';
import { encodeReceipt, MAX_ACKNOWLEDGED } from '../transcript/receipt.ts';
import { audienceOf, ciphertextHash, encodeBs, encodeMs, KIND } from '../transcript/statement.ts';
import type { SignedBatch } from './author.ts';
import { sessionOpening } from '../test/support/session-opening.ts';

/** After the last message, and after the first one that waits; those of client/quiet.ts. */
const QUIET_MS = 200;
const LONGEST_QUIET_MS = 1000;

export class Witness {
  readonly #own: Credentials;
  readonly #audience: Hash;
  readonly #author: string;
  readonly #session = randomBytes(16) as Uint8Array as SessionId;
  readonly #due: Hash[] = [];
  #conversation: ConversationId | null = null;
  #ctr = 0;
  #prevBatch: Hash = NO_HASH;
  #isSending = false;
  #timer: NodeJS.Timeout | null = null;
  #since = 0;
  /** Set by whoever has the connection. */
  send: (batch: SignedBatch) => void = () => {};

  /** @param author username of the one whose messages come */
  constructor(own: Credentials, origin: string, author: string) {
    this.#own = own;
    this.#audience = audienceOf(origin);
    this.#author = author;
  }

  /** Messages that came, and that the server does not have the receipt of. */
  get owed(): number {
    return this.#due.length + (this.#isSending ? 1 : 0);
  }

  /** @param statement MS of a message */
  keep(statement: Uint8Array): void {
    this.#conversation ??= Buffer.from(statement.subarray(80, 112)) as Uint8Array as ConversationId;
    this.#due.push(leafHash(statement));
    if (!this.#isSending) this.#wait();
  }

  /** What was sent is in the log. */
  acknowledged(): void {
    this.#isSending = false;
    if (this.#due.length > 0) this.#wait();
  }

  #wait(): void {
    const now = Date.now();
    if (this.#timer) clearTimeout(this.#timer);
    else this.#since = now;
    const left = this.#since + LONGEST_QUIET_MS - now;
    this.#timer = setTimeout(() => this.#sendNext(), Math.max(0, Math.min(QUIET_MS, left)));
  }

  #sendNext(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#isSending = true;
    const parts = [encodeReceipt(this.#due.splice(0, MAX_ACKNOWLEDGED))];
    const sender = this.#own.chain[0].fingerprint;
    const firstCtr = this.#ctr + 1;
    const opening =
      firstCtr === 1 ? [sessionOpening(this.#own.chain[0].fingerprint, this.#session, null, Date.now())] : [];
    this.#ctr += opening.length;
    const statement = encodeMs({
      kind: KIND.delivered,
      parts: 1,
      ciphertextBytes: parts[0]!.length,
      sender,
      session: this.#session,
      sessionCtr: ++this.#ctr,
      clientTime: Date.now(),
      conversation: this.#conversation!,
      convCtr: 0,
      prevConv: NO_HASH,
      rosterHash: NO_HASH,
      commitment: NO_HASH,
      ciphertextHash: ciphertextHash(parts),
    });
    const batch = encodeBs({
      sender,
      session: this.#session,
      firstCtr,
      count: opening.length + 1,
      signTime: Date.now(),
      prevBatch: this.#prevBatch,
      batchRoot: rootOf([...opening.map((each) => leafHash(each.statement)), leafHash(statement)]),
      audience: this.#audience,
    });
    this.#prevBatch = leafHash(batch);
    const messages = [...opening, { statement, parts, to: this.#author }];
    this.send({ type: 'msg_send', ...sign(this.#own.privateKey, CONTEXT.senderBatch, batch), batch, messages });
  }
}
