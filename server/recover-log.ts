/**
 * `chat-server transcript recover`: after acknowledged entries were lost for good, the next start begins a new log under the same name,
 * whose first statement says what was lost. docs/TRANSCRIPT.md §c.
 */
import { createPublicKey } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { equal, utf8, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { LoadedServerConfig } from '../runtime/config.ts';
import { checkOwner } from '../runtime/files.ts';
import { openCheckpoint, peekCheckpoint, type Checkpoint, type LogKeys } from '../transcript/checkpoint.ts';
import { parseKeyStatement } from '../transcript/key-statement.ts';
import { EMPTY_ROOT } from '../transcript/merkle.ts';
import { formatVkey, verifierKey, type VerifierKey } from '../transcript/note.ts';
import { logHostOf, readTls } from './configuration.ts';
import { readAnchor } from './log/anchor.ts';
import { epochAt, makeEpoch, newestEpoch, originOf, type Epoch } from './log/epochs.ts';
import { disk } from './log/files.ts';
import { loadLogKey } from './log/key-file.ts';
import { formerKeys, prepareKey, readTakeovers } from './log/key-succession.ts';
import { acquireLock, type Lock } from '../store/lock.ts';
import { Nodes } from './log/nodes.ts';
import { Publication } from './log/publication.ts';
import { recover, rootAt, type Recovered } from './log/recovery.ts';
import { SEGMENT_BYTES } from './log/segments.ts';
import { Signer } from './log/signer.ts';

/**
 * @param knownFiles checkpoints of this log that somebody holds
 * @throws NOT_FOUND if there is no log, or nothing is lost; IN_USE while the server runs; CONFIG_INVALID if a file is no checkpoint of this log;
 * UNSAFE_FILE for another user than the server's
 */
export async function beginEpoch(
  config: LoadedServerConfig,
  knownFiles: readonly string[],
  out: (line: string) => void,
  now: number,
): Promise<void> {
  const { transcript, stateDir, serverName, node } = config.values;
  checkOwner(stateDir, 'state_dir');
  const host = serverName ?? logHostOf(config, readTls(config, now).own);
  const old = newestEpoch(transcript.dir, stateDir);
  const origin = originOf(old, host, node);
  if (!existsSync(old.dir)) throw nothing('there is no log yet');
  if (isToBegin(old)) {
    if (knownFiles.length > 0) throw unfit('--known', `${origin} begins at the next start, without ${knownFiles[0]}`);
    return out(`nothing is changed: the next start begins ${origin} already`);
  }
  const locks: Lock[] = [];
  try {
    locks.push(acquireLock(join(old.dir, 'lock')), acquireLock(`${old.keyFile}.lock`));
    const previous = keyOf(old, origin);
    const former = formerKeys(await readTakeovers(old.keyFile)).map(({ key }) => key);
    const keys: LogKeys = [previous, ...former];
    const known = await knownOf(old, keys, knownFiles);
    const { kept, isWhole } = await keptOf(old, keys, known);
    const newest = known.reduce((a, b) => (b.size > a.size ? b : a), { size: 0, root: EMPTY_ROOT });
    if (isWhole && newest.size <= kept.size)
      throw nothing('nothing is known to be lost: the log has everything that is known to have been signed');
    const last = newest.size >= kept.size ? newest : kept;
    const next = epochAt(transcript.dir, stateDir, old.epoch + 1);
    await makeEpoch(next, { previous, kept: kept.size, known: last });
    const lost =
      last.size === kept.size ? 'what it signed beyond its entries' : `entries ${kept.size} to ${last.size - 1}`;
    out(`${lost} of ${origin} are lost; ${kept.size} are kept in ${old.dir}`);
    out(`the next start begins ${originOf(next, host, node)}, and tells every client`);
  } finally {
    for (const lock of locks.reverse()) lock.release();
  }
}

/**
 * `chat-server transcript rotate`: another key for the same log.
 * @throws NOT_FOUND if there is no log; UNSAFE_FILE for another user than the server's
 */
export function rotateKey(config: LoadedServerConfig, out: (line: string) => void): void {
  const { transcript, stateDir } = config.values;
  checkOwner(stateDir, 'state_dir');
  const isNew = prepareKey(newestEpoch(transcript.dir, stateDir).keyFile);
  const what = isNew ? 'a new key of the log is made' : 'nothing is changed: a new key of the log was made already';
  out(`${what}; it takes over at the next start, if the server was stopped for less than 10 seconds`);
}

const nothing = (why: string): ChatError => new ChatError('NOT_FOUND', why, { field: 'transcript.dir' });
const unfit = (field: string, why: string): ChatError => new ChatError('CONFIG_INVALID', why, { field });

/** It was made by an earlier call, and no server was started since. */
const isToBegin = ({ epoch, dir, keyFile }: Epoch): boolean =>
  epoch > 1 && !existsSync(keyFile) && !existsSync(join(dir, 'key.stmt'));

/** The key that the log had: by its statement, or by its file. */
function keyOf({ dir, keyFile }: Epoch, origin: string): VerifierKey {
  const statement = join(dir, 'key.stmt');
  if (existsSync(statement)) {
    const { log } = parseKeyStatement(readFileSync(statement));
    if (log.name !== origin)
      throw unfit('transcript.dir', `${statement} is of ${log.name}, and this server writes ${origin}`);
    return log;
  }
  return verifierKey(origin, createPublicKey(loadLogKey(keyFile, false)));
}

type Tree = Pick<Checkpoint, 'size' | 'root'>;

/** What the log is known to have signed, as far as anybody has told. */
async function knownOf({ dir, anchorFile }: Epoch, keys: LogKeys, files: readonly string[]): Promise<Tree[]> {
  const anchor = await readAnchor(disk, anchorFile, keys);
  const published = await disk.readFile(join(dir, 'checkpoint'));
  return [
    ...(anchor ? [anchor.checkpoint] : []),
    ...(published ? [opened(published, keys, join(dir, 'checkpoint'))] : []),
    ...files.map((file) => opened(read(file), keys, file)),
  ];
}

function read(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new ChatError('CONFIG_INVALID', `${file} cannot be read`, { field: '--known', cause });
  }
}

function opened(note: Uint8Array, keys: LogKeys, file: string): Checkpoint {
  try {
    return openCheckpoint(note, keys);
  } catch (cause) {
    throw new ChatError('CONFIG_INVALID', `${file} is no checkpoint that ${formatVkey(keys[0])} has signed`, {
      field: '--known',
      cause,
    });
  }
}

/** How far the entries go that are there and belong to what is known; not whole: the log could not be opened, or is another one. */
async function keptOf(
  { dir, keyFile }: Epoch,
  keys: LogKeys,
  known: readonly Tree[],
): Promise<{ kept: Tree; isWhole: boolean }> {
  const none = { kept: { size: 0, root: EMPTY_ROOT }, isWhole: false };
  let recovered: Recovered | null = null;
  let publication: Publication;
  let nodes: Nodes;
  try {
    recovered = await recover(disk, dir, SEGMENT_BYTES, keys);
    await recovered.segments.close();
    ({ nodes, publication } = recovered);
  } catch {
    try {
      publication = await Publication.open(disk, dir);
      const note = await publication.checkpoint();
      // A copy that was made beside the server has no `state`; what it shows is what its checkpoint says, which knownOf() has judged.
      const { size, root } = publication.state.size === 0 && note !== null ? peekCheckpoint(note) : publication.state;
      nodes = await Nodes.restore(size, (level, index, width) => publication.hashes(level, index, width));
      if (!equal(nodes.root(), root)) return none;
    } catch {
      return none;
    }
  }
  const contradicts = async ({ size, root }: Tree): Promise<boolean> =>
    size <= nodes.size && !equal(await rootAt(nodes, size).catch(() => EMPTY_ROOT as Hash), root);
  for (const tree of known) if (await contradicts(tree)) return none;
  if (recovered !== null && recovered.checkpointSize < nodes.size) await publishRest(recovered, keyFile, keys);
  const note = await publication.checkpoint();
  const shown = note === null ? 0 : peekCheckpoint(note).size;
  const size = Math.min(nodes.size, shown); // nobody else can see more
  return { kept: { size, root: await rootAt(nodes, size) }, isWhole: recovered !== null };
}

/** What is durable and was not published before the end is shown under the log's last checkpoint, if its key is still there. */
async function publishRest(
  { nodes, publication, entries, entriesFrom, time }: Recovered,
  keyFile: string,
  keys: LogKeys,
): Promise<void> {
  if (!existsSync(keyFile)) return;
  const signer = await Signer.load(keyFile, keys[0].name, false);
  if (keys.every((key) => formatVkey(key) !== formatVkey(signer.verifier))) return;
  const [size, root] = [nodes.size, nodes.root()];
  await signer.mend(entries.at(-1), size);
  await publication.publish(size, root, time, utf8(signer.sign(size, root).note), {
    hashes: (level, index, width) => nodes.unpublished(level, index, width),
    entries: (from, to) => entries.slice(from - entriesFrom, to - entriesFrom),
  });
}
