/**
 * A power cut for a real process: disk-trace.c, loaded into it, writes down what it does to its folder, and this file plays that on a disk
 * that knows what was synced. After a cut the folder has that, and of the rest what chance leaves: any of the unsynced sectors, any of the
 * unsynced names. Data is durable after a sync of the file that began behind it, a name after a sync of its directory (fsync(2)).
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

const SECTOR_BYTES = 512;
const HEADER_BYTES = 24;
const [OPEN, CLOSE, WRITE, ZEROS, TRUNCATE, RENAME, UNLINK, MKDIR, RMDIR, LINK, SYNC_BEGIN, SYNC_END] = [
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
] as const;

/** Bytes at a place; or, without bytes, another length. */
interface Change {
  readonly at: number;
  readonly bytes: Buffer | null;
}
type Names = Map<string, Inode>;

class Content {
  #buffer: Buffer;
  #length: number;
  constructor(bytes: Buffer) {
    this.#buffer = Buffer.from(bytes);
    this.#length = bytes.length;
  }
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }
  apply({ at, bytes }: Change): void {
    const end = bytes === null ? at : Math.max(this.#length, at + bytes.length);
    if (end > this.#buffer.length) this.#buffer = Buffer.concat([this.bytes, Buffer.alloc(2 * end - this.#length)]);
    if (bytes === null) this.#buffer.fill(0, at, this.#length);
    bytes?.copy(this.#buffer, at);
    this.#length = end;
  }
}

/** Content, or names: as the process sees it, as it is on the disk, and what lies between. */
abstract class Inode<T = unknown> {
  changes: T[] = [];
  /** changes that were synced, ever */
  #synced = 0;

  get count(): number {
    return this.#synced + this.changes.length;
  }
  /** Makes the first so many changes durable. */
  sync(count: number): void {
    const done = this.changes.splice(0, Math.max(0, count - this.#synced));
    this.#synced += done.length;
    for (const change of done) this.settle(change);
  }
  protected abstract settle(change: T): void;
}
class File extends Inode<Change> {
  readonly now: Content;
  readonly durable: Content;
  constructor(bytes: Buffer = Buffer.alloc(0)) {
    super();
    this.now = new Content(bytes);
    this.durable = new Content(bytes);
  }
  protected settle(change: Change): void {
    this.durable.apply(change);
  }
}
class Directory extends Inode<(names: Names) => void> {
  readonly names: Names = new Map();
  readonly durable: Names = new Map();
  protected settle(change: (names: Names) => void): void {
    change(this.durable);
  }
}

/** Of SQLite: shared memory, which no process finds again after a power cut. */
const isMemory = (name: string): boolean => name.endsWith('-shm');

/** One folder, as a process has it and as its disk has it. */
export class TracedDisk {
  readonly #path: string;
  readonly #root: Directory;
  readonly #open = new Map<number, Inode>();
  /** number of a sync → what it makes durable when it ends */
  readonly #syncs = new Map<number, { readonly inode: Inode; readonly count: number }>();

  /** Everything that is in the folder now is durable. */
  constructor(path: string) {
    this.#path = path;
    this.#root = load(path);
  }

  /** What a process did. Its last record may be cut off. */
  replay(trace: Buffer): void {
    this.#open.clear();
    this.#syncs.clear();
    for (let at = 0; at + HEADER_BYTES <= trace.length;) {
      const [operation, flag, fd] = [trace.readUInt8(at), trace.readUInt8(at + 1), trace.readInt32LE(at + 4)];
      const [position, a, b] = [
        Number(trace.readBigUInt64LE(at + 8)),
        trace.readUInt32LE(at + 16),
        trace.readUInt32LE(at + 20),
      ];
      const from = at + HEADER_BYTES;
      at = from + (operation === ZEROS ? 0 : a) + b;
      if (at > trace.length) return;
      const bytes = operation === ZEROS ? Buffer.alloc(a) : trace.subarray(from, from + a);
      this.#take(operation, flag, fd, position, bytes, trace.toString('utf8', from + a, from + a + b));
    }
  }

  /** Names whose content is not what the folder has, or that only one of the two has: none, or the trace missed something. */
  differences(): string[] {
    const seen = contents(load(this.#path));
    const traced = contents(this.#root);
    return [...new Set([...seen.keys(), ...traced.keys()])].filter((name) => {
      const [a, b] = [seen.get(name), traced.get(name)];
      return a === null || b === null ? a !== b : !a || !b || !a.equals(b);
    });
  }

  /** Makes of the folder what it is after a power cut now. @param chance in [0, 1); null: nothing is left but what was synced */
  cutPower(chance: (() => number) | null): void {
    const survives = (): boolean => chance !== null && chance() < 0.5;
    const kept = new Map<File, Buffer>();
    const contentOf = (file: File): Buffer => {
      const known = kept.get(file);
      if (known) return known;
      const left = new Content(file.durable.bytes);
      for (const change of file.changes) for (const part of sectorsOf(change)) if (survives()) left.apply(part);
      kept.set(file, left.bytes);
      return left.bytes;
    };
    const write = (directory: Directory, path: string): void => {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      const names = new Map(directory.durable);
      for (const change of directory.changes) if (survives()) change(names);
      for (const [name, node] of names)
        if (node instanceof Directory) write(node, join(path, name));
        else writeFileSync(join(path, name), contentOf(node as File), { mode: 0o600 });
    };
    rmSync(this.#path, { recursive: true });
    write(this.#root, this.#path);
    chmodSync(this.#path, 0o700);
  }

  #take(operation: number, flag: number, fd: number, position: number, bytes: Buffer, second: string): void {
    switch (operation) {
      case OPEN:
        return this.#opened(fd, bytes.toString(), (flag & 1) !== 0, (flag & 2) !== 0);
      case CLOSE:
        return void this.#open.delete(fd);
      case WRITE:
      case ZEROS:
        return this.#change(fd, { at: position, bytes: Buffer.from(bytes) });
      case TRUNCATE:
        return this.#change(fd, { at: position, bytes: null });
      case RENAME: {
        const node = this.#at(bytes.toString());
        if (node) this.#renamed(bytes.toString(), second, node);
        return;
      }
      case LINK: {
        const node = this.#at(bytes.toString());
        if (node) this.#name(second, (names, name) => void names.set(name, node));
        return;
      }
      case UNLINK:
      case RMDIR:
        return this.#name(bytes.toString(), (names, name) => void names.delete(name));
      case MKDIR: {
        const made = new Directory();
        return this.#name(bytes.toString(), (names, name) => void names.set(name, made));
      }
      case SYNC_BEGIN: {
        const inode = this.#open.get(fd);
        return void (inode && this.#syncs.set(position, { inode, count: inode.count }));
      }
      case SYNC_END: {
        const begun = this.#syncs.get(position);
        return begun?.inode.sync(begun.count);
      }
      default:
        throw new Error(`operation ${operation} in a trace`);
    }
  }

  #opened(fd: number, path: string, mayCreate: boolean, isTruncated: boolean): void {
    if (this.#at(path) === null && mayCreate) {
      const made = new File();
      this.#name(path, (names, name) => void names.set(name, made));
    }
    const node = this.#at(path);
    if (node === null) return void this.#open.delete(fd); // removed before it was traced
    this.#open.set(fd, node);
    if (isTruncated) this.#change(fd, { at: 0, bytes: null });
  }
  #change(fd: number, change: Change): void {
    const file = this.#open.get(fd);
    if (!(file instanceof File)) return;
    file.changes.push(change);
    file.now.apply(change);
  }
  #renamed(from: string, to: string, node: Inode): void {
    if (dirname(from) !== dirname(to)) throw new Error(`${from} was renamed to another directory`);
    const name = from.slice(from.lastIndexOf('/') + 1);
    this.#name(to, (names, target) => {
      if (names.get(name) === node) names.delete(name); // one step: a rename is never half done
      names.set(target, node);
    });
  }
  #name(path: string, change: (names: Names, name: string) => void): void {
    const parent = this.#at(dirname(path));
    if (!(parent instanceof Directory)) return;
    const name = path.slice(path.lastIndexOf('/') + 1);
    const work = (names: Names): void => change(names, name);
    work(parent.names);
    parent.changes.push(work);
  }
  #at(path: string): Inode | null {
    let node: Inode | undefined = this.#root;
    for (const name of relative(this.#path, path).split('/').filter(Boolean))
      node = node instanceof Directory ? node.names.get(name) : undefined;
    return node ?? null;
  }
}

function load(path: string): Directory {
  const directory = new Directory();
  for (const name of readdirSync(path)) {
    if (isMemory(name)) continue;
    const inside = join(path, name);
    const inode = lstatSync(inside).isDirectory() ? load(inside) : new File(readFileSync(inside));
    directory.names.set(name, inode);
    directory.durable.set(name, inode);
  }
  return directory;
}

/** Path below the root → content; null for a directory. */
function contents(directory: Directory, prefix = ''): Map<string, Buffer | null> {
  const found = new Map<string, Buffer | null>();
  for (const [name, inode] of directory.names)
    if (inode instanceof Directory) {
      found.set(prefix + name, null);
      for (const [path, bytes] of contents(inode, `${prefix}${name}/`)) found.set(path, bytes);
    } else if (!isMemory(name)) found.set(prefix + name, (inode as File).now.bytes);
  return found;
}

/** A disk writes whole sectors, and those in any order. */
function sectorsOf({ at, bytes }: Change): Change[] {
  if (bytes === null) return [{ at, bytes }];
  const parts: Change[] = [];
  for (let from = 0; from < bytes.length;) {
    const to = Math.min(bytes.length, from + SECTOR_BYTES - ((at + from) % SECTOR_BYTES));
    parts.push({ at: at + from, bytes: bytes.subarray(from, to) });
    from = to;
  }
  return parts;
}

/**
 * The library that a process loads, compiled here and now. Null where there is no C compiler: then the report says so, or the test has
 * failed, where CHAT_REQUIRE lists `cc`.
 */
export function diskTracer(t: Test): string | null {
  const folder = mkdtempSync(join(tmpdir(), 'chat-tracer-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const library = join(folder, 'disk-trace.so');
  const source = fileURLToPath(new URL('./disk-trace.c', import.meta.url));
  const options = ['-O1', '-Wall', '-Werror', '-shared', '-fPIC', '-pthread'];
  try {
    execFileSync('cc', [...options, '-o', library, source, '-ldl'], { stdio: ['ignore', 'ignore', 'inherit'] });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    if ((process.env['CHAT_REQUIRE'] ?? '').split(',').includes('cc'))
      t.fail('a C compiler is required, and not there');
    else t.pass('no C compiler here', { skip: 'no cc on the path' });
    return null;
  }
  return library;
}
