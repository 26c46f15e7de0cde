/** A signed batch on its way to the server, as it is kept until it is acknowledged or refused. */
import { hex, type ConversationId } from '../base/bytes.ts';
import { bytes, list, optional, record, text, uint, type Decoded } from '../base/decode.ts';
import type { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { MAX_BLOB_BYTES } from '../protocol/messages.ts';
import { decodeMs, isOfSession, isThreaded, KIND, type MessageStatement } from '../transcript/statement.ts';

export const staged = record({
  algorithm: uint(255),
  signature: bytes(1, 4096),
  batch: bytes(172),
  messages: list(
    record({
      statement: bytes(248),
      parts: list(bytes(0, 2_000_000), 1024, 1),
      group: optional(record({ generation: uint(2 ** 32 - 1, 1), epoch: uint() })),
      group_info: optional(bytes(1, 2_000_000)),
      parts_blob: optional(bytes(1, MAX_BLOB_BYTES)),
      info_blob: optional(bytes(1, MAX_BLOB_BYTES)),
      to: optional(text(64)),
      expires_at: optional(uint()),
    }),
    1024,
    1,
  ),
  rows: list(uint(), 1024),
  kfs: list(bytes(32), 1024),
});
/**
 * A signed batch, exactly as it is sent and sent again; `rows` are its messages here, `kfs` the keys of their commitments; receipts come
 * behind them, and the opening of a new session before them. A commit, which changes a group, goes alone but for that; the close of a session
 * alone. None of these has a row.
 */
export type StagedBatch = Decoded<typeof staged>;

/** Statements before the first message: that of a session that begins. */
export const openings = ({ messages }: Pick<StagedBatch, 'messages'>): 0 | 1 =>
  decodeMs(messages[0]!.statement).kind === KIND.open ? 1 : 0;

/** Where its statements belong, each once. */
export const conversationsOf = (batch: StagedBatch): ConversationId[] => [
  ...new Map(
    batch.messages
      .map(({ statement }) => decodeMs(statement))
      .flatMap(({ kind, conversation: id }) => (isOfSession(kind) ? [] : [[hex(id), id] as const])),
  ).values(),
];
/** The message that a refusal names. */
function namedBy({ field }: ChatError, { messages }: StagedBatch): MessageStatement | null {
  const at = /^msg_send\.messages\[(\d+)\]/.exec(field ?? '')?.[1];
  const message = at === undefined ? undefined : messages[Number(at)];
  return message === undefined ? null : decodeMs(message.statement);
}
/** Its conversation; all of them if none is named. */
export function concernedBy(error: ChatError, batch: StagedBatch): ConversationId[] {
  const ms = namedBy(error, batch);
  return ms === null ? conversationsOf(batch) : [ms.conversation];
}
/** Whether a refusal is about a message or a commit of one conversation, and about no other. */
export function isOfOne(error: ChatError, batch: StagedBatch): boolean {
  const ms = namedBy(error, batch);
  return ms !== null && isThreaded(ms.kind);
}
/** As it is sent: blobs by their hashes. */
export const named = ({ parts_blob: parts, info_blob: info, ...message }: StagedBatch['messages'][number]) => ({
  ...message,
  ...(parts && { parts_blob: sha256(parts) }),
  ...(info && { info_blob: sha256(info) }),
});

/** The conversation whose group the batch changes; null for one of messages. */
export function commitOf(batch: StagedBatch): ConversationId | null {
  const { kind, conversation } = decodeMs(batch.messages.at(-1)!.statement);
  return kind === KIND.membership ? conversation : null;
}
