/**
 * What the acknowledgement of a batch must prove before it is believed: that the log holds these statements, and behind all that it held when
 * they were sent.
 */
import { ChatError } from '../base/errors.ts';
import type { Reply } from '../protocol/messages.ts';
import { checkAck, decodeAck, type Receipt } from '../transcript/ack.ts';
import type { VerifierKey } from '../transcript/note.ts';
import type { Evidence } from './ledger.ts';
import type { StagedBatch } from './staged-batch.ts';

/** A batch that is in the log. */
export interface Acceptance {
  readonly receipt: Receipt;
  /** places in their conversations, one for each message */
  readonly seqs: readonly number[];
  readonly evidence: Evidence;
}

/**
 * @param key of the log
 * @param noteBefore the checkpoint that the acknowledgement proves into, where it has none of its own
 * @param sizeBefore of the log when the batch was first sent; null: the log may have held it already
 * @throws SIG_FAIL, BAD_FRAME; ROLLBACK/shrunk
 */
export function checkAcceptance(
  batch: StagedBatch,
  reply: Reply<'msg_ack'>,
  key: VerifierKey,
  noteBefore: Uint8Array | undefined,
  sizeBefore: number | null,
): Acceptance {
  const ack = decodeAck(reply.ack);
  const sent = {
    algorithm: batch.algorithm,
    signature: batch.signature,
    bs: batch.batch,
    messages: batch.messages.map(({ statement }) => statement),
  };
  const receipt = checkAck(ack, sent, key, noteBefore);
  if (reply.messages.length !== batch.messages.length)
    throw new ChatError('BAD_FRAME', 'places for another number of messages', { field: 'msg_ack.messages' });
  if (sizeBefore !== null && receipt.first < sizeBefore)
    throw new ChatError(
      'ROLLBACK',
      `the server's record has shrunk: it had ${sizeBefore} entries before this message`,
      {
        sub: 'shrunk',
      },
    );
  const seqs = reply.messages.map(({ seq }) => seq);
  const evidence = {
    algorithm: batch.algorithm,
    signature: batch.signature,
    batch: batch.batch,
    ack: reply.ack,
    note: Buffer.from(receipt.note).toString('utf8'),
    items: sent.messages.map((statement) => ({ statement })),
  };
  return { receipt, seqs, evidence };
}
