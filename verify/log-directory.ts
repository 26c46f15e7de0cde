/**
 * A log as files (C2SP tlog-tiles) against a set of CA certificates: reads hostile input with a cap on every file, recomputes the whole
 * tree from the entries, and compares it with every hash tile and with the signed checkpoint. Never stops at the first finding. A server
 * may be writing the directory: the checkpoint is read before any tile, and what comes after it is left alone.
 */
import { join } from 'node:path';
import { equal, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { openCheckpoint, peekCheckpoint, type Checkpoint } from '../transcript/checkpoint.ts';
import { parseKeyStatement, type KeyStatement } from '../transcript/key-statement.ts';
import { MAX_ENTRY_BYTES } from '../transcript/leaf.ts';
import type { LineageState } from '../transcript/lineage.ts';
import { EMPTY_ROOT, Frontier, leafHash } from '../transcript/merkle.ts';
import { MAX_NOTE_BYTES, type VerifierKey } from '../transcript/note.ts';
import { decodeBundle, tileIn, tilePath, TILE_WIDTH } from '../transcript/tile.ts';
import { Attestations } from './attestations.ts';
import { readInside } from './capped-file.ts';
import type { Trust } from './certificate-audit.ts';
import { readLists } from './crl-files.ts';
import type { Findings } from './finding.ts';
import { HashTiles } from './hash-tiles.ts';
import { LogAudit, type Tally } from './log-audit.ts';
import { OutsideAudit } from './outside.ts';
import { readTile } from './tile-file.ts';

export const MAX_STATEMENT_BYTES = 64 * 1024;
const MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES);

export interface AuditedLog {
  readonly origin: string;
  /** Null: the log did not sign what is there. */
  readonly checkpoint: Checkpoint | null;
  /** A good certificate stands behind the key that signed it. */
  readonly isVouched: boolean;
  /** The first statement of its key that a good certificate has signed. */
  readonly vouched: KeyStatement | null;
  readonly tally: Tally;
  /** What it says of sessions, for the log of the next epoch. */
  readonly lineage: LineageState;
}

/** A signed note of this log that the caller holds from elsewhere: it makes truncation and forks visible. */
export interface KnownCheckpoint {
  readonly name: string;
  readonly note: Uint8Array;
}

/**
 * Checks everything that the files of one log can show. Null if it can't even be said whose log it is. What can't be read is a finding.
 * @param earlier what the log of the epoch before says of sessions
 */
export function auditDirectory(
  dir: string,
  trust: Trust,
  known: readonly KnownCheckpoint[],
  findings: Findings,
  onProgress: (done: number, total: number) => void = () => {},
  earlier?: LineageState,
): AuditedLog | null {
  // Before the checkpoint: a statement that is older than it stands in the log, a younger one might not yet.
  const text = read(dir, 'key.stmt', MAX_STATEMENT_BYTES, findings);
  const signature = read(dir, 'key.sig', MAX_STATEMENT_BYTES, findings);
  const cosigned = trust.outside?.quorum ? cosignedIn(dir, findings) : null; // never newer than the checkpoint
  const note = read(dir, 'checkpoint', MAX_NOTE_BYTES, findings);
  if (text === null || signature === null || note === null) return null;

  let log: VerifierKey;
  try {
    ({ log } = parseKeyStatement(text));
  } catch (error) {
    findings.add('E_FORMAT', 'key.stmt', ChatError.from(error).message);
    return null;
  }
  const size = peekSize(note);
  // A copy that was made while the server wrote may have it of a later checkpoint, of which there is nothing else.
  const isAhead = cosigned !== null && peekSize(cosigned) > size;
  const beside = cosigned === null ? [] : [{ name: 'cosigned', note: cosigned }];
  const sizes = new Set([...known, ...beside].map((each) => peekSize(each.note)));
  const lists = readLists(dir, findings); // after the checkpoint: a server keeps a list before it logs it
  const outside = new OutsideAudit({ ...trust, crls: [...trust.crls, ...lists.values()] }, findings);
  const attestations = new Attestations(dir, size, outside, findings);
  const onStamp: ConstructorParameters<typeof LogAudit>[4] = (index, leaf) =>
    attestations.entry(index, leaf, (at) => audit.keyAt(at));
  const audit: LogAudit = new LogAudit(log, trust, findings, lists, onStamp, earlier);
  const tiles = new HashTiles(dir, size, findings);
  const roots = replay(dir, size, audit, tiles, sizes, findings, onProgress);
  audit.end();
  const checkpoint = openOwn(note, audit.keyAt(size), 'checkpoint', findings);
  const opened = ({ name, note: bytes }: KnownCheckpoint) => {
    const found = openOwn(bytes, audit.keyAt(peekSize(bytes)), name, findings);
    return found ? [{ name, ...found }] : [];
  };
  const wanted = known.flatMap(opened);
  const [own] = beside.flatMap(opened);
  audit.keyFiles(text, signature);

  const root = roots.get(size);
  const isProven = checkpoint !== null && root !== undefined && equal(root, checkpoint.root);
  tiles.end(isProven);
  if (checkpoint && root && !isProven)
    findings.add('E_ROOT', 'checkpoint', `the entries do not have the root that was signed for size ${size}`);
  if (checkpoint) attestations.checkpoint('checkpoint', note, size);
  if (own && cosigned) attestations.checkpoint('cosigned', cosigned, own.size);
  attestations.end(isProven, tiles.areRight, (at) => audit.isVouched(at), audit.lastMessage);
  if (own && isAhead)
    findings.add('W_COSIGNED_AHEAD', 'cosigned', `of ${own.size} entries; the checkpoint has ${size}`);
  else if (own) wanted.push(own);
  const isVouched = audit.isVouched(size);
  if (checkpoint)
    for (const w of wanted)
      compare(
        w,
        checkpoint,
        { isProven, isVouched: isVouched && audit.isVouched(w.size) },
        roots.get(w.size),
        findings,
      );
  const { tally, lineage, vouched } = audit;
  return { origin: log.name, checkpoint, isVouched, vouched, tally, lineage };
}

/** Feeds every entry to the audit, and every node to the tiles; answers the root at each of `sizes` that was reached, and at `size`. */
function replay(
  dir: string,
  size: number,
  audit: LogAudit,
  tiles: HashTiles,
  sizes: ReadonlySet<number>,
  findings: Findings,
  onProgress: (done: number, total: number) => void,
): ReadonlyMap<number, Hash> {
  const roots = new Map<number, Hash>([[0, EMPTY_ROOT]]);
  let frontier = Frontier.empty;
  while (frontier.size < size) {
    const start = frontier.size;
    const entries = readBundle(dir, size, start, findings);
    if (entries === null) break;
    const end = start + entries.length;
    for (const stop of new Set([...[...sizes].filter((s) => s > start && s < end).sort((a, b) => a - b), end])) {
      const leaves = entries.slice(frontier.size - start, stop - start).map(leafHash);
      frontier = frontier.append(leaves, (height, index, hash) => tiles.node(height, index, hash));
      if (stop === size || sizes.has(stop)) roots.set(stop, frontier.root());
    }
    for (const [i, entry] of entries.entries()) audit.entry(start + i, entry);
    onProgress(end, size);
  }
  return roots;
}

/** The entries from `start` on that stand in one bundle; null, and a finding, if they can't be had. */
function readBundle(dir: string, size: number, start: number, findings: Findings): Buffer[] | null {
  const bundle = tileIn(size, 'entries', start / TILE_WIDTH);
  const end = start + bundle.width - 1;
  const rest = `entries ${start} to ${end}, and nothing behind them was checked`;
  const file = readTile(dir, bundle, MAX_BUNDLE_BYTES);
  if ('fault' in file) {
    findings.add(file.isMissing ? 'E_TRUNCATED' : 'E_ENTRIES', tilePath(bundle), `${file.fault}: ${rest}`);
    return null;
  }
  try {
    return decodeBundle(file.bytes, bundle.width);
  } catch (error) {
    findings.add('E_ENTRIES', file.path, `${ChatError.from(error).message}: ${rest}`);
    return null;
  }
}

/**
 * Two signed notes that contradict each other prove it themselves; for another size, the entries must be those that were signed. Notes of a
 * key behind which nobody stands prove nothing against the server: anybody can make two.
 */
function compare(
  known: Checkpoint & { readonly name: string },
  checkpoint: Checkpoint,
  { isProven, isVouched }: { readonly isProven: boolean; readonly isVouched: boolean },
  root: Hash | undefined,
  findings: Findings,
): void {
  const { name, size } = known;
  const code = (accusing: 'E_FORK' | 'E_ROLLBACK') => (isVouched ? accusing : 'E_CONSISTENCY');
  if (size > checkpoint.size)
    return findings.add(code('E_ROLLBACK'), name, `the server signed size ${size}; this log has ${checkpoint.size}`);
  const own = size === checkpoint.size ? checkpoint.root : root;
  if (own === undefined || equal(own, known.root)) return;
  if (isProven || size === checkpoint.size)
    findings.add(code('E_FORK'), name, `the server signed another history for size ${size}`);
  else findings.add('E_CONSISTENCY', name, `the first ${size} entries are not those that were signed`);
}

function openOwn(note: Uint8Array, log: VerifierKey, where: string, findings: Findings): Checkpoint | null {
  try {
    return openCheckpoint(note, log);
  } catch (error) {
    const { code, message } = ChatError.from(error);
    findings.add(code === 'SIG_FAIL' ? 'E_CKPT_SIG' : 'E_FORMAT', where, message);
    return null;
  }
}

/** A checkpoint with a bad signature still says how many entries to look at. */
function peekSize(note: Uint8Array): number {
  try {
    return peekCheckpoint(note).size;
  } catch {
    return 0;
  }
}

/** The newest checkpoint that witnesses have cosigned, if the server keeps one. */
function cosignedIn(dir: string, findings: Findings): Buffer | null {
  const file = readInside(join(dir, 'cosigned'), MAX_NOTE_BYTES);
  if ('bytes' in file) return file.bytes;
  if (!file.isMissing) findings.add('E_INPUT', 'cosigned', file.fault);
  return null;
}

function read(dir: string, name: string, maxBytes: number, findings: Findings): Buffer | null {
  const file = readInside(join(dir, name), maxBytes);
  if ('bytes' in file) return file.bytes;
  findings.add('E_INPUT', name, file.fault);
  return null;
}
