/**
 * Makes what this device states about its messages: statements with their counters and links, and one signed batch around them.
 * Time, keys, random bytes and the sealing come in as arguments, and the state that counters continue from is only read.
 */
import type { KeyObject } from 'node:crypto';
import { equal, hex, type ConversationId, type Fingerprint, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { CONTEXT, sign } from '../base/signature.ts';
import { MAX_BATCH_DELIVERIES, MAX_BATCH_MESSAGES, MAX_SEND_BYTES } from '../protocol/messages.ts';
import { leafHash, NO_HASH, rootOf } from '../transcript/merkle.ts';
import { encodeOpening } from '../transcript/opening.ts';
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
  type Kind,
  type MessageStatement,
} from '../transcript/statement.ts';
import { openingOf as sealedOpening, partBytes } from './body.ts';
import type { Sealed } from './group-writer.ts';
import type { DueReceipt } from './receipt-table.ts';
import type { Conversation } from './roster.ts';
import type { Message } from './message-table.ts';
import type { Session } from './session-table.ts';
import type { StagedBatch } from './staged-batch.ts';

/** CBOR around one statement, its parts, the state of its group and the time when it expires, at most. */
const ITEM_OVERHEAD_BYTES = 248 + 32 + 64 + 48 + 20;
/** The rest of a msg_send: batch statement, largest signature, names of the fields. */
const FRAME_OVERHEAD_BYTES = 172 + 1024 + 128;
/** A username in UTF-8. */
const MAX_NAME_BYTES = 256;

/** A batch holds so many statements, of which the opening of a session is one. */
const ROOM = MAX_BATCH_MESSAGES - 1;
/** Of the deliveries of a batch: for the receipts that go with its messages, each to a few devices. */
const RECEIPT_DELIVERIES = 4096;

/**
 * The leading messages that one batch can carry; at least one if there is any. One that must go alone goes alone.
 * @param devicesIn how many a conversation has
 */
export function fillBatch(waiting: readonly Message[], devicesIn: (id: ConversationId) => number): Message[] {
  const taken: Message[] = [];
  const devices = new Map<string, number>();
  let bytes = FRAME_OVERHEAD_BYTES + ITEM_OVERHEAD_BYTES;
  let deliveries = 0;
  for (const message of waiting) {
    const key = hex(message.conversation);
    if (!devices.has(key)) devices.set(key, devicesIn(message.conversation));
    deliveries += devices.get(key)!;
    bytes += partBytes(message.plaintext.length) + ITEM_OVERHEAD_BYTES;
    const isFull = bytes > MAX_SEND_BYTES || deliveries > MAX_BATCH_DELIVERIES - RECEIPT_DELIVERIES;
    if (taken.length > 0 && (message.isSolo || isFull)) break;
    taken.push(message);
    if (message.isSolo || taken.length === ROOM) break;
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
  let bytes = FRAME_OVERHEAD_BYTES + ITEM_OVERHEAD_BYTES;
  for (const { plaintext } of messages) bytes += partBytes(plaintext.length) + ITEM_OVERHEAD_BYTES;
  const fitting = receipts.findIndex(({ messages: hashes }, i) => {
    bytes += hashes.length * NO_HASH.length + ITEM_OVERHEAD_BYTES + MAX_NAME_BYTES;
    return bytes > MAX_SEND_BYTES || messages.length + i >= ROOM;
  });
  return fitting < 0 ? receipts : receipts.slice(0, fitting);
}

/**
 * In a session that has said nothing yet its opening goes first.
 * @param messages in sending order
 * @param receipts behind them; together 1..1023
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
  const stated = openingOf(signer, session, now);
  const opened = stated.length;
  for (const [i, message] of messages.entries()) {
    const key = hex(message.conversation);
    const conversation = conversations.get(key)!;
    const thread = threads.get(key) ?? threadOf(conversation, session);
    const kf = commitmentKeys[i]!;
    const opening = sealedOpening(kf, message.plaintext);
    const draft: MessageStatement = {
      ...draftOf(signer, session, conversation, thread, session.lastCtr + 1 + opened + i, message.clientTime),
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

function receiptOf(
  signer: Signer,
  session: Session,
  { kind, conversation, to, messages }: DueReceipt,
  sessionCtr: number,
  now: number,
): StagedBatch['messages'][number] {
  return { ...plainly(signer, session, kind, conversation, encodeReceipt(messages), sessionCtr, now), to };
}

/** The statement that a session begins with; nothing in one that has begun. */
function openingOf(signer: Signer, session: Session, now: number): StagedBatch['messages'] {
  if (session.lastCtr > 0) return [];
  return [plainly(signer, session, KIND.open, NOWHERE, encodeOpening(session.before), 1, now)];
}

/** A batch of the last statement of a session. @throws BAD_CERT/weak_key */
export function composeClose(signer: Signer, session: Session, origin: string, now: number): StagedBatch {
  const close = plainly(signer, session, KIND.close, NOWHERE, new Uint8Array(0), session.lastCtr + 1, now);
  return { ...signedBatch(signer, session, [close], origin, now), rows: [], kfs: [] };
}

const NOWHERE = NO_HASH as Uint8Array as ConversationId;

/** In the clear: nothing is sealed, committed to or linked. */
function plainly(
  { fingerprint: sender }: Signer,
  { id }: Session,
  kind: Kind,
  conversation: ConversationId,
  part: Uint8Array,
  sessionCtr: number,
  clientTime: number,
): StagedBatch['messages'][number] {
  const parts = [part];
  const statement = encodeMs({
    kind,
    parts: 1,
    ciphertextBytes: part.length,
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
  return { statement, parts };
}

/**
 * A batch of one commit, which changes the group of the conversation; in a new session its opening goes before it.
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
  const opening = openingOf(signer, session, now);
  const sessionCtr = session.lastCtr + opening.length + 1;
  const draft: MessageStatement = {
    ...draftOf(signer, session, conversation, threadOf(conversation, session), sessionCtr, now),
    kind: KIND.membership,
  };
  const sealed = await seal(messageAad(encodeMs(draft)));
  const statement = encodeMs({
    ...draft,
    parts: sealed.parts.length,
    ciphertextBytes: sealed.parts.reduce((sum, part) => sum + part.length, 0),
    ciphertextHash: ciphertextHash(sealed.parts),
  });
  return { ...signedBatch(signer, session, [...opening, { statement, ...sealed }], origin, now), rows: [], kfs: [] };
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
export function rosterOf(id: ConversationId, { epoch, members }: Pick<Conversation, 'epoch' | 'members'>): Hash {
  const known = rosterHashes.get(members);
  if (known?.epoch === epoch && equal(known.id, id)) return known.hash;
  const devices = members.flatMap((member) => member.devices as Fingerprint[]);
  const hash = rosterHash(id, epoch, devices);
  rosterHashes.set(members, { id, epoch, hash });
  return hash;
}
/** Of rosters in memory, which nobody changes: of a thousand devices it takes longer than sealing what is said to them. */
const rosterHashes = new WeakMap<
  Conversation['members'],
  { readonly id: ConversationId; readonly epoch: number; readonly hash: Hash }
>();
