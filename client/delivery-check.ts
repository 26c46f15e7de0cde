/** What is true of a signed batch whoever shows it: who signed it, and that the log holds it where its acknowledgement says. */
import { equal, type Fingerprint, type Hash } from '../base/bytes.ts';
import { ChatError, type Code } from '../base/errors.ts';
import { CONTEXT, verify } from '../base/signature.ts';
import type { Hidden, Reply } from '../protocol/messages.ts';
import type { Checkpoint } from '../transcript/checkpoint.ts';
import { decodeAck } from '../transcript/ack.ts';
import { encodeLeaf } from '../transcript/leaf.ts';
import { leafHash, rootOf } from '../transcript/merkle.ts';
import { rootFromRange } from '../transcript/proof.ts';
import { audienceOf, decodeBs, type BatchStatement } from '../transcript/statement.ts';
import type { Evidence } from './ledger.ts';
import type { Session } from './session.ts';

/** As it is delivered, or was kept. */
export type ShownBatch = Pick<Reply<'msg_deliver'>, 'algorithm' | 'signature' | 'batch' | 'ack'> & {
  readonly items: readonly ({ readonly statement: Uint8Array } | Hidden)[];
};
export interface CheckedBatch {
  readonly bs: BatchStatement;
  /** leaf(BS) */
  readonly leaf: Hash;
  readonly username: string;
  readonly serverTime: number;
  /** index of the batch's SIGB leaf in the log */
  readonly first: number;
  readonly checkpoint: { readonly origin: string; readonly size: number; readonly root: Hash };
  readonly note: Uint8Array;
  readonly evidence: Evidence;
}

/**
 * Sender, signature, and place in the log, of the batch as a whole.
 * @param noteBefore the checkpoint that the acknowledgement proves into, where it has none of its own
 * @param open checks the signature of that checkpoint
 * @throws SIG_FAIL, BAD_CERT, BAD_FRAME
 */
export async function checkBatch(
  session: Session,
  frame: ShownBatch,
  noteBefore: Uint8Array | undefined,
  open = (note: Uint8Array): Checkpoint => session.log.open(note),
): Promise<CheckedBatch> {
  const { algorithm, signature, batch, items } = frame;
  const bs = decodeBs(batch);
  const ack = decodeAck(frame.ack);
  if (bs.count !== items.length || ack.count !== items.length)
    throw new ChatError('BAD_FRAME', 'another number of messages than was signed', { field: 'msg_deliver.items' });
  const statements = items.map((item) =>
    'statement' in item ? leafHash(item.statement) : (item.statement_hash as Hash),
  );
  if (!equal(rootOf(statements), bs.batchRoot))
    throw new ChatError('SIG_FAIL', 'other messages than the ones that were signed', { sub: 'batch_root' });
  if (!equal(bs.audience, audienceOf(session.log.origin)))
    throw new ChatError('SIG_FAIL', 'a batch that was signed for another log', { sub: 'audience' });
  const { serverTime } = ack;
  const { leaf, username } = await session.rosters.certificates.validAt(bs.sender as Fingerprint, serverTime);
  if (!verify(leaf.publicKey, algorithm, CONTEXT.senderBatch, batch, signature))
    throw new ChatError('SIG_FAIL', `a batch that ${username} did not sign`, { sub: 'batch' });

  const note = ack.checkpoint.length > 0 ? ack.checkpoint : noteBefore;
  if (note === undefined)
    throw new ChatError('BAD_FRAME', 'a delivery without a checkpoint', { field: 'ack.checkpoint' });
  const checkpoint = open(note);
  if (checkpoint.size !== ack.treeSize)
    throw new ChatError('BAD_FRAME', 'a checkpoint of another size', { field: 'ack.tree_size' });
  const leaves = [
    leafHash(encodeLeaf({ type: 'sigb', serverTime, algorithm, signature, bs: batch })),
    ...items.map((item, i) =>
      'statement' in item
        ? leafHash(encodeLeaf({ type: 'msg', serverTime, position: i + 1, ms: item.statement }))
        : (item.leaf_hash as Hash),
    ),
  ];
  const root = rootFromRange(ack.first, leaves, ack.treeSize, ack.proof);
  if (root === null || !equal(root, checkpoint.root))
    throw new ChatError('SIG_FAIL', 'a message that the log does not hold where it says', { sub: 'range' });
  const evidence = {
    algorithm,
    signature,
    batch,
    ack: frame.ack,
    note: Buffer.from(note).toString('utf8'),
    items: items.map((item) =>
      'statement' in item
        ? { statement: item.statement }
        : { statement_hash: item.statement_hash, leaf_hash: item.leaf_hash },
    ),
  };
  return { bs, leaf: leafHash(batch), username, serverTime, first: ack.first, checkpoint, note, evidence };
}

/** Whether an error says something about what was delivered, rather than about the connection or this machine. */
export const isVerdict = ({ code }: ChatError): boolean => VERDICTS.has(code);
const VERDICTS: ReadonlySet<Code> = new Set<Code>([
  'SIG_FAIL',
  'BAD_CERT',
  'BAD_FRAME',
  'NOT_FOUND',
  'DECRYPT_FAIL',
  'REPLAY',
  'TOO_LARGE',
]);
