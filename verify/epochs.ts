/**
 * The logs that one node has had, in one directory: the first itself, later ones in `e2`, `e3`… inside of it. Each is judged like any
 * log; here is what ties them to each other: whether what a later one says of the one before is so.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { equal } from '../base/bytes.ts';
import { openCheckpoint, peekCheckpoint, type Checkpoint } from '../transcript/checkpoint.ts';
import {
  formatOrigin,
  parseKeyStatement,
  parseOrigin,
  recoveryLines,
  type KeyStatement,
} from '../transcript/key-statement.ts';
import { formatVkey, MAX_NOTE_BYTES } from '../transcript/note.ts';
import { readInside } from './capped-file.ts';
import type { Trust } from './certificate-audit.ts';
import { Findings } from './finding.ts';
import { auditDirectory, MAX_STATEMENT_BYTES, type AuditedLog, type KnownCheckpoint } from './log-directory.ts';

interface Epoch {
  /** What its folder says that it is: 1 for the first. */
  readonly number: number;
  /** Before the name of each of its files. */
  readonly prefix: string;
  readonly dir: string;
  /** Null: auditDirectory() says why. */
  readonly statement: KeyStatement | null;
  readonly findings: Findings;
  readonly known: KnownCheckpoint[];
  audited: AuditedLog | null;
}

/** As auditDirectory(), of all logs that are there, the newest last. */
export function auditEpochs(
  dir: string,
  trust: Trust,
  known: readonly KnownCheckpoint[],
  findings: Findings,
  onProgress?: (done: number, total: number) => void,
): AuditedLog[] {
  const epochs: Epoch[] = [1, ...laterIn(dir)].map((number) => ({
    number,
    prefix: number === 1 ? '' : `e${number}/`,
    dir: number === 1 ? dir : join(dir, `e${number}`),
    statement: statementIn(number === 1 ? dir : join(dir, `e${number}`)),
    findings: new Findings(),
    known: [],
    audited: null,
  }));
  const before = predecessors(epochs, findings);
  const lost = new Map<Epoch, Lost[]>();
  for (const note of known) {
    const origin = originOf(note.note);
    const owner = epochs.find(({ statement }) => statement?.log.name === origin) ?? epochs.at(-1)!;
    const next = epochs.find((epoch) => before.get(epoch) === owner);
    const found = lostIn(owner, next, note);
    if (found === null) owner.known.push(note);
    else lost.set(next!, [...(lost.get(next!) ?? []), { name: note.name, ...found }]);
  }
  for (const epoch of epochs) {
    const last = before.get(epoch);
    const earlier = last?.audited?.lineage;
    epoch.audited = auditDirectory(epoch.dir, trust, epoch.known, epoch.findings, onProgress, earlier);
    findings.include(epoch.findings, epoch.prefix);
    if (last) compare(last, epoch, lost.get(epoch) ?? [], findings);
  }
  return epochs.flatMap(({ audited }) => audited ?? []);
}

/** The log that each goes on from, where both are there and are what their folders say. Finds what is missing. */
function predecessors(epochs: readonly Epoch[], findings: Findings): ReadonlyMap<Epoch, Epoch> {
  const found = new Map<Epoch, Epoch>();
  if (epochs.length === 1) return found; // the log of a later epoch may be judged by itself
  const name = epochs.find(({ statement }) => statement !== null)?.statement?.log.name;
  const isOwn = ({ number, statement }: Epoch): boolean =>
    !name || !statement || statement.log.name === formatOrigin({ ...parseOrigin(name), epoch: number });
  for (const [i, epoch] of epochs.entries()) {
    const { number, prefix, statement } = epoch;
    const last = epochs[i - 1];
    if (!isOwn(epoch))
      findings.add(
        'E_TRUNCATED',
        `${prefix}key.stmt`,
        `is of ${statement?.log.name}: the log of this epoch is missing`,
      );
    if (last === undefined) continue;
    if (number !== last.number + 1)
      findings.add('E_TRUNCATED', `e${last.number + 1}`, 'the log of this epoch is missing');
    else if (isOwn(last) && isOwn(epoch)) found.set(epoch, last);
  }
  return found;
}

/** Numbers. */
function laterIn(dir: string): number[] {
  try {
    const names = readdirSync(dir).filter((name) => /^e([2-9]|[1-9][0-9]{1,8})$/.test(name));
    return names.map((name) => Number(name.slice(1))).sort((a, b) => a - b);
  } catch {
    return []; // auditDirectory() says what is wrong with it
  }
}

function statementIn(dir: string): KeyStatement | null {
  const file = readInside(join(dir, 'key.stmt'), MAX_STATEMENT_BYTES);
  try {
    return 'bytes' in file ? parseKeyStatement(file.bytes) : null;
  } catch {
    return null;
  }
}

/** Of the log that is there, as its checkpoint says. */
function sizeIn(dir: string): number {
  const file = readInside(join(dir, 'checkpoint'), MAX_NOTE_BYTES);
  try {
    return 'bytes' in file ? peekCheckpoint(file.bytes).size : 0;
  } catch {
    return 0;
  }
}

function originOf(note: Uint8Array): string | null {
  try {
    return peekCheckpoint(note).origin;
  } catch {
    return null;
  }
}

/** A checkpoint that somebody holds, of entries that the next log says are lost, so that its log need not have them. */
interface Lost extends Pick<Checkpoint, 'size' | 'root'> {
  readonly name: string;
}

/** Null: of others, or of what is here all the same; judged like any. */
function lostIn(
  owner: Epoch,
  next: Epoch | undefined,
  { note }: KnownCheckpoint,
): Pick<Checkpoint, 'size' | 'root'> | null {
  const recovery = next?.statement?.recovery;
  if (!recovery || owner.statement === null) return null;
  try {
    const { size, root } = openCheckpoint(note, owner.statement.log);
    const isLost = size > recovery.kept && size <= recovery.known.size && size > sizeIn(owner.dir);
    return isLost ? { size, root } : null;
  } catch {
    return null;
  }
}

/**
 * Whether the server says itself, by good certificates, which key the log before had and what was lost of it: else anybody may have made
 * the one log or the other, or altered what the file says.
 */
function isSaid(before: Epoch, { audited, statement }: Epoch): boolean {
  const [said, read] = [audited?.vouched?.recovery, statement?.recovery];
  const isSame = said && read && recoveryLines(said).join() === recoveryLines(read).join();
  return before.audited?.isVouched === true && isSame === true;
}

/** What the statement of a log says of the one before, and what is there. */
function compare(before: Epoch, epoch: Epoch, lost: readonly Lost[], findings: Findings): void {
  const { prefix, statement } = epoch;
  if (!statement?.recovery || before.statement === null) return;
  const where = `${prefix}key.stmt`;
  const { kept, known } = statement.recovery;
  const { previous } = statement;
  const code = (accusing: 'E_FORK' | 'E_ROLLBACK') => (isSaid(before, epoch) ? accusing : 'E_CONSISTENCY');
  for (const [i, { name, size, root }] of lost.entries()) {
    if (size === known.size && !equal(root, known.root))
      findings.add(code('E_FORK'), name, `the server signed another history for size ${size} than it says it did`);
    else if (lost.slice(0, i).some((other) => other.size === size && !equal(other.root, root)))
      findings.add(
        before.audited?.isVouched ? 'E_FORK' : 'E_CONSISTENCY',
        name,
        `the server signed two histories of ${size} entries`,
      );
  }
  if (previous?.name === before.statement.log.name && formatVkey(previous) !== formatVkey(before.statement.log))
    findings.add('E_KEYBIND', where, 'the log before it had another key');
  const checkpoint = before.audited?.checkpoint;
  if (!checkpoint) return;
  const { size, root } = checkpoint;
  if (size < kept)
    findings.add('E_TRUNCATED', where, `${kept} entries of the log before were kept, and ${size} are here`);
  if (size > known.size)
    findings.add(code('E_ROLLBACK'), where, `the log before signed ${size} entries, and it admits ${known.size}`);
  if (size === known.size && !equal(root, known.root))
    findings.add(
      code('E_FORK'),
      where,
      `the log before signed another history of ${known.size} entries than it says here`,
    );
}
