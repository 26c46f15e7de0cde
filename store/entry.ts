/** One integer for a log entry over all logs, and the byte forms of the two columns that hold lists. */
import { concat, u32, view } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';

/** A log has at most 2^40 entries, a database at most 2^13 logs: together what a JavaScript number holds exactly. */
const LOG_ENTRIES = 2 ** 40;

export const entryOf = (logId: number, index: number): number => logId * LOG_ENTRIES + index;
export const indexOf = (entry: number): number => entry % LOG_ENTRIES;
export const logOf = (entry: number): number => Math.floor(entry / LOG_ENTRIES);

/** A recipient's device and the cursor that the message has in its queue. */
export interface QueueTarget {
  readonly deviceId: number;
  readonly cursor: number;
}

const TARGET_BYTES = 10;

/** u32 device ‖ u48 cursor, for each target */
export function encodeTargets(targets: readonly QueueTarget[]): Buffer {
  const bytes = Buffer.allocUnsafe(targets.length * TARGET_BYTES);
  targets.forEach(({ deviceId, cursor }, i) => {
    bytes.writeUInt32BE(deviceId, i * TARGET_BYTES);
    bytes.writeUIntBE(cursor, i * TARGET_BYTES + 4, 6);
  });
  return bytes;
}

/** @throws STORE_FAILED */
export function decodeTargets(bytes: Uint8Array): QueueTarget[] {
  if (bytes.length % TARGET_BYTES !== 0) throw new ChatError('STORE_FAILED', 'a damaged list of queue rows');
  const from = view(bytes);
  return Array.from({ length: bytes.length / TARGET_BYTES }, (_, i) => ({
    deviceId: from.readUInt32BE(i * TARGET_BYTES),
    cursor: from.readUIntBE(i * TARGET_BYTES + 4, 6),
  }));
}

/** u32 count ‖ u32 length of each ‖ the parts */
export const encodeParts = (parts: readonly Uint8Array[]): Buffer =>
  concat(u32(parts.length), ...parts.map((part) => u32(part.length)), ...parts);

/** Views into `bytes`. @throws STORE_FAILED */
export function decodeParts(bytes: Uint8Array): Uint8Array[] {
  const from = view(bytes);
  const count = from.length >= 4 ? from.readUInt32BE(0) : Infinity;
  let at = 4 + 4 * count;
  const parts: Uint8Array[] = [];
  if (at <= from.length)
    for (let i = 0; i < count; i++) {
      const end = at + from.readUInt32BE(4 + 4 * i);
      parts.push(from.subarray(at, end));
      at = end;
    }
  if (at !== from.length) throw new ChatError('STORE_FAILED', 'damaged message parts');
  return parts;
}

export const partsBytes = (parts: readonly Uint8Array[]): number => parts.reduce((sum, part) => sum + part.length, 0);
