/**
 * What members of a conversation tell each other about the server, in private extensions of what they say (docs/TRANSCRIPT.md §d): the
 * newest checkpoint that each has verified, and which statements of the others each has seen last. A server that shows two people two
 * histories, or withholds a message from one of them, has to keep them from ever talking.
 */
import { concat, readU64, u32, u64, view, type Fingerprint, type Hash, type SessionId } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { checkpointText, type Checkpoint } from './checkpoint.ts';
import { ContentReader, writeBytes } from './content-cbor.ts';
import { formatNote, openNote, parseNote, type VerifierKey } from './note.ts';
import { parseCheckpoint } from './checkpoint.ts';

/** Keys of the extensions map. */
export const CHECKPOINTS = 'chatlog/checkpoints';
export const SEEN = 'chatlog/seen';

const MAX_CHECKPOINTS = 16;
/** Entries in one vector. */
export const MAX_SEEN = 16;
const CHECKPOINT_BYTES = 4 + 8 + 32 + 64;
const SEEN_BYTES = 32 + 16 + 8 + 16;
/** Of a leaf hash that is only compared with what the reader has. */
export const LEAF_PREFIX_BYTES = 16;

/** A checkpoint without its origin, which the reader knows by the key. */
export interface ToldCheckpoint {
  readonly keyId: number;
  readonly size: number;
  readonly root: Hash;
  readonly signature: Uint8Array;
}
/** The last statement of one device in the conversation that somebody has seen. */
export interface SeenStatement {
  readonly device: Fingerprint;
  readonly session: SessionId;
  readonly convCtr: number;
  /** first 16 bytes of leaf(MS) */
  readonly leaf: Uint8Array;
}

/** @param note as the log signed it @param log whose signature is taken out of it */
export function toldOf(note: Uint8Array, log: VerifierKey): ToldCheckpoint {
  const { size, root } = parseCheckpoint(openNote(note, [log]).text);
  const signed = parseNote(note).signatures.find(({ name, keyId }) => name === log.name && keyId === log.keyId)!;
  return { keyId: log.keyId, size, root, signature: signed.signature };
}
/** The note again, byte for byte but for the signatures of others; nothing in it is verified. */
export const noteOf = ({ keyId, size, root, signature }: ToldCheckpoint, { name }: VerifierKey): Buffer => {
  const checkpoint: Checkpoint = { origin: name, size, root };
  return formatNote(checkpointText(checkpoint), [{ name, keyId, signature }]);
};

/** The value of the extension. u8 n ‖ n × (key id u32 ‖ size u64 ‖ root[32] ‖ signature[64]) */
export const encodeCheckpoints = (told: readonly ToldCheckpoint[]): Buffer =>
  writeBytes(
    concat(
      Buffer.of(told.length),
      ...told.flatMap(({ keyId, size, root, signature }) => [u32(keyId), u64(size), root, signature]),
    ),
  );
/** @throws BAD_FRAME/content.checkpoints */
export function decodeCheckpoints(value: Uint8Array): ToldCheckpoint[] {
  const field = 'content.checkpoints';
  return entriesOf(value, field, CHECKPOINT_BYTES, MAX_CHECKPOINTS).map((b) => ({
    keyId: b.readUInt32BE(0),
    size: readU64(b, 4, field),
    root: b.subarray(12, 44) as Uint8Array as Hash,
    signature: b.subarray(44),
  }));
}

/** The value of the extension. u8 n ‖ n × (fingerprint[32] ‖ session[16] ‖ conv_ctr u64 ‖ leaf(MS)[0:16]) */
export const encodeSeen = (seen: readonly SeenStatement[]): Buffer =>
  writeBytes(
    concat(
      Buffer.of(seen.length),
      ...seen.flatMap(({ device, session, convCtr, leaf }) => [
        device,
        session,
        u64(convCtr),
        leaf.subarray(0, LEAF_PREFIX_BYTES),
      ]),
    ),
  );
/** @throws BAD_FRAME/content.seen */
export function decodeSeen(value: Uint8Array): SeenStatement[] {
  const field = 'content.seen';
  return entriesOf(value, field, SEEN_BYTES, MAX_SEEN).map((b) => {
    const convCtr = readU64(b, 48, field);
    if (convCtr === 0) bad(field, 'counters from 1 on');
    return {
      device: b.subarray(0, 32) as Uint8Array as Fingerprint,
      session: b.subarray(32, 48) as Uint8Array as SessionId,
      convCtr,
      leaf: b.subarray(56),
    };
  });
}

function entriesOf(value: Uint8Array, field: string, entryBytes: number, max: number): Buffer[] {
  const reader = new ContentReader(value);
  const bytes = view(reader.bytes(field, 1 + max * entryBytes, 1));
  reader.end(field);
  const count = bytes[0]!;
  if (bytes.length !== 1 + count * entryBytes) bad(field, `${entryBytes} bytes for each entry`);
  return Array.from({ length: count }, (_, i) => bytes.subarray(1 + i * entryBytes, 1 + (i + 1) * entryBytes));
}
