/** One entry's inclusion as a file (C2SP tlog-proof@v1): index, path and checkpoint, readable by any tool that knows the format. */
import { base64, equal, fromBase64, utf8, view, type Hash } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { decimal, openCheckpoint, peekCheckpoint, type Checkpoint } from './checkpoint.ts';
import { hashFrom, rootFromInclusion } from './merkle.ts';
import { MAX_NOTE_BYTES, type VerifierKey } from './note.ts';

export interface TlogProof {
  readonly index: number;
  /** Leaf's sibling first. */
  readonly path: readonly Hash[];
  /** The signed note, verbatim; a view of what was decoded. */
  readonly checkpoint: Uint8Array;
  /** Not authenticated by anything; left out when empty. */
  readonly extra?: Uint8Array;
}

const HEADER = 'c2sp.org/tlog-proof@v1';
const MAX_PATH = 52; // a tree of 2^52 leaves

/** @throws BAD_FRAME naming the field if the result would not be read back */
export function encodeTlogProof({ index, path, checkpoint, extra }: TlogProof): Buffer {
  const lines = [HEADER, ...(extra?.length ? [`extra ${base64(extra)}`] : []), `index ${index}`, ...path.map(base64)];
  const bytes = Buffer.concat([utf8(`${lines.join('\n')}\n\n`), checkpoint]);
  decodeTlogProof(bytes);
  return bytes;
}

/** @throws BAD_FRAME naming proof.header, .extra, .index, .path or .checkpoint, or as parseNote() and parseCheckpoint() */
export function decodeTlogProof(bytes: Uint8Array): TlogProof {
  const proof = splitTlogProof(bytes);
  peekCheckpoint(proof.checkpoint);
  return proof;
}

/** The same for whoever opens the checkpoint at once: it is not looked into. */
export function splitTlogProof(bytes: Uint8Array): TlogProof {
  if (bytes.length > 2 * MAX_NOTE_BYTES) bad('proof', 'at most 2 MB');
  const end = view(bytes).indexOf('\n\n', 0, 'latin1');
  if (end < 0) bad('proof.checkpoint', 'an empty line and a checkpoint');
  const [header, ...lines] = view(bytes).toString('latin1', 0, end).split('\n');
  if (header !== HEADER) bad('proof.header', HEADER);
  const extra = lines[0]?.startsWith('extra ') ? fromBase64(lines.shift()!.slice(6)) : undefined;
  if (extra === null || extra?.length === 0) bad('proof.extra', 'base64');
  const number = /^index (.+)$/.exec(lines.shift() ?? '')?.[1] ?? '';
  const index = decimal(number) ?? bad('proof.index', 'a decimal number without leading zeros');
  if (lines.length > MAX_PATH) bad('proof.path', `at most ${MAX_PATH} hashes`);
  const path = lines.map((line) => hashFrom(line) ?? bad('proof.path', 'a hash in base64 on each line'));
  const checkpoint = bytes.subarray(end + 2);
  return { index, path, checkpoint, ...(extra && { extra }) };
}

/**
 * The checkpoint under which the entry is proven to be in the log.
 * @param leaf leafHash() of the entry
 * @throws BAD_FRAME or SIG_FAIL/note as openCheckpoint(); SIG_FAIL/inclusion if the path does not lead from the leaf to the root
 */
export function checkTlogProof(proof: TlogProof, leaf: Hash, log: VerifierKey): Checkpoint {
  const checkpoint = openCheckpoint(proof.checkpoint, log);
  const root = rootFromInclusion(proof.index, checkpoint.size, leaf, proof.path);
  if (root === null || !equal(root, checkpoint.root))
    throw new ChatError('SIG_FAIL', 'the entry is not in the log at this index', { sub: 'inclusion' });
  return checkpoint;
}
