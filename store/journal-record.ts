/** A window of messages as bytes, and back: what the database does not have yet must be whole on the disk. None of them is a commit. */
import { view, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../base/bytes.ts';
import { decode, encodeAt, type Encodable, type Value } from '../base/cbor.ts';
import { ChatError } from '../base/errors.ts';
import type { MessageRecord, WindowRecord } from './contract/log.ts';

/** A window, and where it begins: each begins where the one before it ends. */
export interface NumberedWindow {
  readonly from: number;
  readonly window: WindowRecord;
}

/** Format of the body, its first item. */
const VERSION = 1;
const NOTHING = new Uint8Array(0);
const DEVICE_BYTES = 4;

/** @param before, @param allocate as those of encodeAt() */
export function encodeWindow(
  { from, window }: NumberedWindow,
  before = 0,
  allocate: (byteCount: number) => Buffer = Buffer.allocUnsafe,
): Buffer {
  const { origin, logSize, batches, certificates } = window;
  return encodeAt(before, allocate, [
    VERSION,
    origin,
    from,
    logSize,
    batches.map(({ batch, messages }) => [
      batch.firstIndex,
      batch.fingerprint,
      batch.session,
      batch.firstCtr,
      batch.count,
      batch.sigb,
      batch.batchHash,
      batch.serverTime,
      messages.map(encodeMessage),
    ]),
    certificates,
  ]);
}

/** @throws STORE_FAILED */
export function decodeWindow(body: Uint8Array): NumberedWindow {
  const [version, origin, from, logSize, batches, certificates] = listOf(decode(body));
  if (version !== VERSION)
    throw new ChatError('STORE_FAILED', 'the journal of the database is of another version: start that one once');
  return {
    from: numberOf(from),
    window: {
      origin: typeof origin === 'string' ? origin : damaged(),
      logSize: numberOf(logSize),
      batches: listOf(batches).map((value) => {
        const [firstIndex, fingerprint, session, firstCtr, count, sigb, batchHash, serverTime, messages] =
          listOf(value);
        const batch = {
          firstIndex: numberOf(firstIndex),
          fingerprint: bytesOf<Fingerprint>(fingerprint),
          session: bytesOf<SessionId>(session),
          firstCtr: numberOf(firstCtr),
          count: numberOf(count),
          sigb: bytesOf(sigb),
          batchHash: bytesOf<Hash>(batchHash),
          serverTime: numberOf(serverTime),
        };
        return { batch, messages: listOf(messages).map(decodeMessage) };
      }),
      certificates: listOf(certificates).map((value) => bytesOf<Fingerprint>(value)),
    },
  };
}

function encodeMessage(message: MessageRecord): Encodable {
  const { content } = message;
  return [
    message.index,
    message.conversation ?? NOTHING,
    message.statement,
    message.statementHash,
    message.convCtr,
    message.senderUserId,
    message.senderDeviceId,
    message.isThreaded,
    message.isClose,
    content === null
      ? []
      : [
          content.parts,
          encodeDevices(content.recipients),
          content.expiresAt,
          content.group === null ? [] : [content.group.generation, content.group.epoch],
        ],
  ];
}

function decodeMessage(value: Value): MessageRecord {
  const [index, conversation, statement, statementHash, convCtr, userId, deviceId, isThreaded, isClose, rest] =
    listOf(value);
  const content = listOf(rest);
  return {
    index: numberOf(index),
    conversation: orNull(bytesOf<ConversationId>(conversation)),
    statement: bytesOf(statement),
    statementHash: bytesOf<Hash>(statementHash),
    convCtr: numberOf(convCtr),
    senderUserId: numberOf(userId),
    senderDeviceId: numberOf(deviceId),
    isThreaded: isThreaded === true,
    isCommit: false,
    isClose: isClose === true,
    content: content.length === 0 ? null : contentOf(content),
  };
}

function contentOf([parts, recipients, expiresAt, state]: readonly Value[]): MessageRecord['content'] {
  const group = listOf(state);
  return {
    parts: listOf(parts).map((part) => bytesOf(part)),
    recipients: decodeDevices(bytesOf(recipients)),
    expiresAt: numberOf(expiresAt),
    group: group.length === 0 ? null : { generation: numberOf(group[0]), epoch: numberOf(group[1]) },
    groupInfo: null,
  };
}

/** u32 for each: a room has many, and an item of CBOR costs more. */
function encodeDevices(ids: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(ids.length * DEVICE_BYTES);
  for (const [i, id] of ids.entries()) bytes.writeUInt32BE(id, i * DEVICE_BYTES);
  return bytes;
}
function decodeDevices(bytes: Uint8Array): number[] {
  const from = view(bytes);
  return Array.from({ length: bytes.length / DEVICE_BYTES }, (_, i) => from.readUInt32BE(i * DEVICE_BYTES));
}

function damaged(): never {
  throw new ChatError('STORE_FAILED', 'the journal of the database holds what this program has not written');
}
const orNull = <T extends Uint8Array>(bytes: T): T | null => (bytes.length === 0 ? null : bytes);
const listOf = (value: Value | undefined): readonly Value[] => (Array.isArray(value) ? value : damaged());
const numberOf = (value: Value | undefined): number => (typeof value === 'number' ? value : damaged());
const bytesOf = <T extends Uint8Array>(value: Value | undefined): T =>
  value instanceof Uint8Array ? (value as T) : damaged();
