/** One entry's inclusion as a file (C2SP tlog-proof@v1): index, path and checkpoint, readable by any tool that knows the format. */
import { base64, equal, fromBase64, utf8, view, type Hash } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { decimal, openCheckpoint, peekCheckpoint, type Checkpoint } from './checkpoint.ts';
import { formatHashLines, parseHashLines } from './hash-lines.ts';
import { MAX_NOTE_BYTES, type VerifierKey } from './note.ts';
import { rootFromInclusion } from './proof.ts';

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
const LINE_FEED = 0x0a;
const DECIMAL = 'a decimal number without leading zeros';

/** @throws BAD_FRAME naming the field if the result would not be read back */
export function encodeTlogProof({ index, path, checkpoint, extra }: TlogProof): Buffer {
  const lines = [HEADER, ...(extra?.length ? [`extra ${base64(extra)}`] : []), `index ${index}`];
  const bytes = Buffer.concat([utf8(`${lines.join('\n')}\n${formatHashLines(path)}\n`), checkpoint]);
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
  const whole = view(bytes);
  const end = whole.indexOf('\n\n', 0, 'latin1') + 1; // behind the last line
  if (end === 0) bad('proof.checkpoint', 'an empty line and a checkpoint');
  let at = 0;
  const line = (): string => {
    const from = at;
    at = Math.min(end, whole.indexOf(LINE_FEED, from) + 1);
    return whole.toString('latin1', from, at - 1);
  };
  if (line() !== HEADER) bad('proof.header', HEADER);
  let next = line();
  const extra = next.startsWith('extra ') ? fromBase64(next.slice(6)) : undefined;
  if (extra === null || extra?.length === 0) bad('proof.extra', 'base64');
  if (extra) next = line();
  const index = (next.startsWith('index ') ? decimal(next.slice(6)) : null) ?? bad('proof.index', DECIMAL);
  const path = parseHashLines(whole, at, end) ?? bad('proof.path', 'a hash in base64 on each line');
  if (path.length > MAX_PATH) bad('proof.path', `at most ${MAX_PATH} hashes`);
  const checkpoint = bytes.subarray(end + 1);
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
