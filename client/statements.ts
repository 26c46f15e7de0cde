/**
 * Makes what this device states about its messages: statements with their counters and links, and one signed batch around them.
 * Pure: time, keys and random bytes come in as arguments, and the state that counters continue from is only read.
 */
import type { KeyObject } from 'node:crypto';
import { equal, hex, type ConversationId, type Fingerprint, type Hash } from '../base/bytes.ts';
import { CONTEXT, sign } from '../base/signature.ts';
import { MAX_BATCH_MESSAGES, MAX_SEND_BYTES } from '../protocol/messages.ts';
import { leafHash, NO_HASH, rootOf } from '../transcript/merkle.ts';
import {
  audienceOf,
  ciphertextHash,
  commitment,
  encodeBs,
  encodeMs,
  KIND,
  rosterHash,
  type MessageStatement,
} from '../transcript/statement.ts';
import { sealBody } from './body.ts';
import type { Conversation, Message, Session, StagedBatch } from './vault.ts';

/** CBOR around one statement and its parts, at most. */
const ITEM_OVERHEAD_BYTES = 248 + 32 + 64;
/** The rest of a msg_send: batch statement, largest signature, names of the fields. */
const FRAME_OVERHEAD_BYTES = 172 + 1024 + 128;

/** The leading messages that one batch can carry; at least one if there is any. One that must go alone goes alone. */
export function fillBatch(waiting: readonly Message[]): Message[] {
  const taken: Message[] = [];
  let bytes = FRAME_OVERHEAD_BYTES;
  for (const message of waiting) {
    bytes += message.body.length + ITEM_OVERHEAD_BYTES;
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

/**
 * @param messages in sending order, 1..1024
 * @param conversations has every conversation of the messages
 * @param commitmentKeys 32 fresh random bytes for each message
 * @param origin of the log that the batch is for: a batch is worthless to every other
 * @throws TOO_LARGE, BAD_CERT/weak_key
 */
export function composeBatch(
  signer: Signer,
  session: Session,
  messages: readonly Message[],
  conversations: ReadonlyMap<string, Conversation>,
  commitmentKeys: readonly Uint8Array[],
  origin: string,
  now: number,
): StagedBatch {
  const threads = new Map<string, { convCtr: number; lastLeaf: Hash }>();
  const stated = messages.map((message, i) => {
    const key = hex(message.conversation);
    const conversation = conversations.get(key)!;
    const isContinued = conversation.session !== null && equal(conversation.session, session.id);
    const thread = threads.get(key) ?? {
      convCtr: isContinued ? conversation.convCtr : 0,
      lastLeaf: conversation.lastLeaf,
    };
    const kf = commitmentKeys[i]!;
    const parts = sealBody(kf, message.body);
    const draft: MessageStatement = {
      kind: KIND.message,
      parts: parts.length,
      ciphertextBytes: parts.reduce((sum, part) => sum + part.length, 0),
      sender: signer.fingerprint,
      session: session.id,
      sessionCtr: session.lastCtr + 1 + i,
      clientTime: message.clientTime,
      conversation: message.conversation,
      convCtr: thread.convCtr + 1,
      prevConv: thread.lastLeaf,
      rosterHash: rosterOf(message.conversation, conversation),
      commitment: NO_HASH,
      ciphertextHash: ciphertextHash(parts),
    };
    // The commitment covers the statement before it, so the rest is encoded first.
    const statement = encodeMs({ ...draft, commitment: commitment(kf, encodeMs(draft), message.body) });
    threads.set(key, { convCtr: draft.convCtr, lastLeaf: leafHash(statement) });
    return { statement, parts };
  });
  const batch = encodeBs({
    sender: signer.fingerprint,
    session: session.id,
    firstCtr: session.lastCtr + 1,
    count: messages.length,
    signTime: now,
    prevBatch: session.lastBatch,
    batchRoot: rootOf(stated.map(({ statement }) => leafHash(statement))),
    audience: audienceOf(origin),
  });
  const rows = messages.map((message) => message.row);
  return {
    ...sign(signer.privateKey, CONTEXT.senderBatch, batch),
    batch,
    messages: stated,
    rows,
    kfs: [...commitmentKeys],
  };
}

/** The audience that a statement signs: all devices of all members, the sender's own as well. */
export const rosterOf = (id: ConversationId, { epoch, members }: Pick<Conversation, 'epoch' | 'members'>): Hash =>
  rosterHash(
    id,
    epoch,
    members.flatMap((member) => member.devices as Fingerprint[]),
  );
