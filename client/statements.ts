/**
 * Makes what this device states about its messages: statements with their counters and links, and one signed batch around them.
 * Time, keys, random bytes and the sealing come in as arguments, and the state that counters continue from is only read.
 */
import type { KeyObject } from 'node:crypto';
import { equal, hex, type ConversationId, type Fingerprint, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { CONTEXT, sign } from '../base/signature.ts';
import { MAX_BATCH_MESSAGES, MAX_SEND_BYTES } from '../protocol/messages.ts';
import { leafHash, NO_HASH, rootOf } from '../transcript/merkle.ts';
import { encodeReceipt } from '../transcript/receipt.ts';
import {
  audienceOf,
  ciphertextHash,
  commitment,
  encodeBs,
  encodeMs,
  KIND,
  messageAad,
  rosterHash,
  type MessageStatement,
} from '../transcript/statement.ts';
import { openingOf, partBytes } from './body.ts';
import type { Sealed } from './group-writer.ts';
import type { DueReceipt } from './receipt-table.ts';
import type { Conversation, Message, Session, StagedBatch } from './vault.ts';

/** CBOR around one statement, its parts, the state of its group and the time when it expires, at most. */
const ITEM_OVERHEAD_BYTES = 248 + 32 + 64 + 48 + 20;
/** The rest of a msg_send: batch statement, largest signature, names of the fields. */
const FRAME_OVERHEAD_BYTES = 172 + 1024 + 128;
/** A username in UTF-8. */
const MAX_NAME_BYTES = 256;

/** The leading messages that one batch can carry; at least one if there is any. One that must go alone goes alone. */
export function fillBatch(waiting: readonly Message[]): Message[] {
  const taken: Message[] = [];
  let bytes = FRAME_OVERHEAD_BYTES;
  for (const message of waiting) {
    bytes += partBytes(message.plaintext.length) + ITEM_OVERHEAD_BYTES;
    if (taken.length > 0 && (message.isSolo || bytes > MAX_SEND_BYTES)) break;
    taken.push(message);
    if (message.isSolo || taken.length === MAX_BATCH_MESSAGES) break;
  }
  return taken;
}

export interface Signer {
  readonly fingerprint: Fingerprint;
  readonly privateKey: KeyObject;
}

/** Seals what belongs to a statement. @param aad of the statement, which is encoded but for what the sealing decides */
export type Seal = (message: Message, opening: Uint8Array, aad: Uint8Array) => Promise<Sealed>;

/** The leading receipts that have room behind so many messages; none behind one that must go alone. */
export function withReceipts(messages: readonly Message[], receipts: readonly DueReceipt[]): readonly DueReceipt[] {
  if (messages.some(({ isSolo }) => isSolo)) return [];
  let bytes = FRAME_OVERHEAD_BYTES;
  for (const { plaintext } of messages) bytes += partBytes(plaintext.length) + ITEM_OVERHEAD_BYTES;
  const fitting = receipts.findIndex(({ messages: hashes }, i) => {
    bytes += hashes.length * NO_HASH.length + ITEM_OVERHEAD_BYTES + MAX_NAME_BYTES;
    return bytes > MAX_SEND_BYTES || messages.length + i >= MAX_BATCH_MESSAGES;
  });
  return fitting < 0 ? receipts : receipts.slice(0, fitting);
}

/**
 * @param messages in sending order
 * @param receipts behind them; together 1..1024
 * @param conversations has every conversation of the messages
 * @param commitmentKeys 32 fresh random bytes for each message
 * @param origin of the log that the batch is for: a batch is worthless to every other
 * @throws TOO_LARGE, BAD_CERT/weak_key; whatever `seal` throws
 */
export async function composeBatch(
  signer: Signer,
  session: Session,
  messages: readonly Message[],
  conversations: ReadonlyMap<string, Conversation>,
  commitmentKeys: readonly Uint8Array[],
  origin: string,
  now: number,
  seal: Seal,
  receipts: readonly DueReceipt[] = [],
): Promise<StagedBatch> {
  const threads = new Map<string, Thread>();
  const stated: StagedBatch['messages'] = [];
  for (const [i, message] of messages.entries()) {
    const key = hex(message.conversation);
    const conversation = conversations.get(key)!;
    const thread = threads.get(key) ?? threadOf(conversation, session);
    const kf = commitmentKeys[i]!;
    const opening = openingOf(kf, message.plaintext);
    const draft: MessageStatement = {
      ...draftOf(signer, session, conversation, thread, session.lastCtr + 1 + i, message.clientTime),
      kind: KIND.message,
      ciphertextBytes: partBytes(message.plaintext.length),
    };
    // The commitment covers the statement before it, so the rest is encoded first; the sealing covers the commitment as well.
    const committed = { ...draft, commitment: commitment(kf, encodeMs(draft), message.plaintext) };
    const sealed = await seal(message, opening, messageAad(encodeMs(committed)));
    const bytes = sealed.parts.reduce((sum, part) => sum + part.length, 0);
    if (sealed.parts.length !== 1 || bytes !== draft.ciphertextBytes)
      throw new ChatError('INTERNAL', `a sealed message of ${bytes} bytes`);
    const statement = encodeMs({ ...committed, ciphertextHash: ciphertextHash(sealed.parts) });
    threads.set(key, { convCtr: draft.convCtr, lastLeaf: leafHash(statement) });
    const { expiresAt } = message;
    stated.push({ statement, ...sealed, ...(expiresAt === null ? {} : { expires_at: expiresAt }) });
  }
  for (const receipt of receipts)
    stated.push(receiptOf(signer, session, receipt, session.lastCtr + 1 + stated.length, now));
  const rows = messages.map((message) => message.row);
  return { ...signedBatch(signer, session, stated, origin, now), rows, kfs: [...commitmentKeys] };
}

/** In the clear: nothing is sealed, committed to or linked. */
function receiptOf(
  { fingerprint: sender }: Signer,
  { id }: Session,
  { kind, conversation, to, messages }: DueReceipt,
  sessionCtr: number,
  clientTime: number,
): StagedBatch['messages'][number] {
  const parts = [encodeReceipt(messages)];
  const statement = encodeMs({
    kind,
    parts: 1,
    ciphertextBytes: parts[0]!.length,
    sender,
    session: id,
    sessionCtr,
    clientTime,
    conversation,
    convCtr: 0,
    prevConv: NO_HASH,
    rosterHash: NO_HASH,
    commitment: NO_HASH,
    ciphertextHash: ciphertextHash(parts),
  });
  return { statement, parts, to };
}

/**
 * A batch of one commit, which changes the group of the conversation.
 * @throws BAD_CERT/weak_key; whatever `seal` throws
 */
export async function composeCommit(
  signer: Signer,
  session: Session,
  conversation: Conversation,
  origin: string,
  now: number,
  seal: (aad: Uint8Array) => Promise<Sealed>,
): Promise<StagedBatch> {
  const draft: MessageStatement = {
    ...draftOf(signer, session, conversation, threadOf(conversation, session), session.lastCtr + 1, now),
    kind: KIND.membership,
  };
  const sealed = await seal(messageAad(encodeMs(draft)));
  const statement = encodeMs({
    ...draft,
    parts: sealed.parts.length,
    ciphertextBytes: sealed.parts.reduce((sum, part) => sum + part.length, 0),
    ciphertextHash: ciphertextHash(sealed.parts),
  });
  return { ...signedBatch(signer, session, [{ statement, ...sealed }], origin, now), rows: [], kfs: [] };
}

/** Where a device has got to in one conversation. */
interface Thread {
  readonly convCtr: number;
  readonly lastLeaf: Hash;
}

function threadOf({ session, convCtr, lastLeaf }: Conversation, { id }: Session): Thread {
  const isContinued = session !== null && equal(session, id);
  return { convCtr: isContinued ? convCtr : 0, lastLeaf };
}

/** All that is known before the sealing. */
const draftOf = (
  signer: Signer,
  session: Session,
  conversation: Conversation,
  thread: Thread,
  sessionCtr: number,
  clientTime: number,
): Omit<MessageStatement, 'kind'> => ({
  parts: 1,
  ciphertextBytes: 0,
  sender: signer.fingerprint,
  session: session.id,
  sessionCtr,
  clientTime,
  conversation: conversation.id,
  convCtr: thread.convCtr + 1,
  prevConv: thread.lastLeaf,
  rosterHash: rosterOf(conversation.id, conversation),
  commitment: NO_HASH,
  ciphertextHash: NO_HASH,
});

function signedBatch(
  signer: Signer,
  session: Session,
  messages: StagedBatch['messages'],
  origin: string,
  now: number,
): Omit<StagedBatch, 'rows' | 'kfs'> {
  const batch = encodeBs({
    sender: signer.fingerprint,
    session: session.id,
    firstCtr: session.lastCtr + 1,
    count: messages.length,
    signTime: now,
    prevBatch: session.lastBatch,
    batchRoot: rootOf(messages.map(({ statement }) => leafHash(statement))),
    audience: audienceOf(origin),
  });
  return { ...sign(signer.privateKey, CONTEXT.senderBatch, batch), batch, messages };
}

/** The audience that a statement signs: all devices of all members, the sender's own as well. */
export const rosterOf = (id: ConversationId, { epoch, members }: Pick<Conversation, 'epoch' | 'members'>): Hash =>
  rosterHash(
    id,
    epoch,
    members.flatMap((member) => member.devices as Fingerprint[]),
  );
