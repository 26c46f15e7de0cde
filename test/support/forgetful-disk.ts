/**
 * A disk in memory that knows what was synced. After a power cut it has that, and of the rest whatever chance leaves: any of the
 * unsynced sectors, any of the unsynced names. Every operation passes `before`, which may make it fail.
 */
import { dirname } from 'node:path';
import type { Files, OpenFile } from '../../server/log/files.ts';

const SECTOR_BYTES = 512;

class Inode {
  /** its last name */
  path = '';
  now: Buffer = Buffer.alloc(0);
  durable: Buffer = Buffer.alloc(0);
  /** not yet synced */
  writes: { readonly at: number; readonly bytes: Buffer }[] = [];
}
class Directory {
  now = new Map<string, Inode | Directory>();
  durable = new Map<string, Inode | Directory>();
  /** not yet synced */
  changes: ((names: Map<string, Inode | Directory>) => void)[] = [];
}

export type Operation = 'open' | 'write' | 'datasync' | 'rename' | 'remove' | 'makeDirectory' | 'syncDirectory';

export const errno = (code: string): Error => Object.assign(new Error(`${code}: injected`), { code });

export class ForgetfulDisk implements Files {
  readonly #rootPath: string;
  #root = new Directory();
  /** Throws for an operation that is to fail, before it has any effect. */
  before: (operation: Operation, path: string) => void = () => undefined;
  /** Called when an operation has had its effect. */
  after: (operation: Operation, path: string) => void = () => undefined;
  operations = 0;

  constructor(root: string) {
    this.#rootPath = root;
  }

  /** What is left when the power fails now. @param chance answers in [0, 1) */
  afterPowerCut(chance: () => number): ForgetfulDisk {
    const left = new ForgetfulDisk(this.#rootPath);
    const kept = new Map<Inode, Inode>();
    const keep = (inode: Inode): Inode => {
      let copy = kept.get(inode);
      if (copy === undefined) {
        copy = new Inode();
        copy.path = inode.path;
        copy.now = Buffer.from(inode.durable);
        for (const { at, bytes } of inode.writes)
          for (let i = 0; i < bytes.length; i += SECTOR_BYTES)
            if (chance() < 0.5) copy.now = written(copy.now, at + i, bytes.subarray(i, i + SECTOR_BYTES));
        copy.durable = Buffer.from(copy.now);
        kept.set(inode, copy);
      }
      return copy;
    };
    const visit = ({ durable, changes }: Directory): Directory => {
      const names = new Map(durable);
      for (const change of changes) if (chance() < 0.5) change(names);
      const copy = new Directory();
      // A removal that was not synced may leave the directory, with what was durable in it.
      for (const [name, node] of names) copy.now.set(name, node instanceof Directory ? visit(node) : keep(node));
      copy.durable = new Map(copy.now);
      return copy;
    };
    left.#root = visit(this.#root);
    return left;
  }

  async open(path: string, how: 'create' | 'change'): Promise<OpenFile> {
    const { directory, name } = this.#place(path);
    this.#begin('open', path);
    let inode = directory.now.get(name);
    if (how === 'create') {
      if (inode !== undefined) throw errno('EEXIST');
      const made = (inode = new Inode());
      made.path = path;
      this.#change(directory, (names) => names.set(name, made));
    }
    if (inode === undefined || inode instanceof Directory) throw errno('ENOENT');
    this.after('open', path);
    return this.#file(inode);
  }

  async readFile(path: string): Promise<Buffer | null> {
    const node = this.#find(path);
    return node instanceof Inode ? Buffer.from(node.now) : null;
  }

  async list(path: string): Promise<string[]> {
    const node = this.#find(path);
    return node instanceof Directory ? [...node.now.keys()] : [];
  }

  async rename(from: string, to: string): Promise<void> {
    const { directory, name } = this.#place(from);
    this.#begin('rename', to);
    const inode = directory.now.get(name);
    if (inode === undefined || dirname(from) !== dirname(to)) throw errno('ENOENT');
    if (inode instanceof Inode) inode.path = to;
    this.#change(directory, (names) => {
      names.delete(name);
      names.set(nameOf(to), inode);
    });
    this.after('rename', to);
  }

  async remove(path: string): Promise<void> {
    const directory = this.#find(dirname(path));
    if (!(directory instanceof Directory) || !directory.now.has(nameOf(path))) return;
    this.#begin('remove', path);
    this.#change(directory, (names) => names.delete(nameOf(path)));
    this.after('remove', path);
  }

  async removeDirectory(path: string): Promise<void> {
    const node = this.#find(path);
    if (!(node instanceof Directory) || node.now.size > 0) return;
    this.#begin('remove', path);
    this.#change(this.#place(path).directory, (names) => names.delete(nameOf(path)));
    this.after('remove', path);
  }

  async makeDirectory(path: string): Promise<boolean> {
    const { directory, name } = this.#place(path);
    if (directory.now.has(name)) return false;
    this.#begin('makeDirectory', path);
    const made = new Directory();
    this.#change(directory, (names) => names.set(name, made));
    this.after('makeDirectory', path);
    return true;
  }

  async syncDirectory(path: string): Promise<void> {
    this.#begin('syncDirectory', path);
    const directory = this.#find(path);
    if (!(directory instanceof Directory)) throw errno('ENOENT');
    directory.durable = new Map(directory.now);
    directory.changes = [];
    this.after('syncDirectory', path);
  }

  /** Changes bytes behind everybody's back, as a failing medium does. */
  damage(path: string, change: (bytes: Buffer) => Buffer): void {
    const inode = this.#place(path).directory.now.get(nameOf(path)) as Inode;
    inode.now = change(Buffer.from(inode.now));
    inode.durable = Buffer.from(inode.now);
    inode.writes = [];
  }

  #file(inode: Inode): OpenFile {
    return {
      read: async (into, position) => inode.now.copy(into, 0, position),
      write: async (bytes, position) => {
        this.#begin('write', inode.path);
        inode.now = written(inode.now, position, bytes);
        inode.writes.push({ at: position, bytes: Buffer.from(bytes) });
        this.after('write', inode.path);
      },
      datasync: async () => {
        this.#begin('datasync', inode.path);
        inode.durable = Buffer.from(inode.now);
        inode.writes = [];
        this.after('datasync', inode.path);
      },
      close: async () => undefined,
    };
  }

  #begin(operation: Operation, path: string): void {
    this.operations++;
    this.before(operation, path);
  }

  #find(path: string): Inode | Directory | undefined {
    let node: Inode | Directory | undefined = this.#root;
    for (const name of path.slice(this.#rootPath.length).split('/').filter(Boolean))
      node = node instanceof Directory ? node.now.get(name) : undefined;
    return node;
  }

  #place(path: string): { directory: Directory; name: string } {
    const directory = this.#find(dirname(path));
    if (!(directory instanceof Directory)) throw errno('ENOENT');
    return { directory, name: nameOf(path) };
  }

  #change(directory: Directory, change: (names: Map<string, Inode | Directory>) => void): void {
    change(directory.now);
    directory.changes.push(change);
  }
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** In place if it fits: a segment is written a thousand times. */
function written(content: Buffer, at: number, bytes: Uint8Array): Buffer {
  const end = at + bytes.length;
  const whole = content.length >= end ? content : Buffer.concat([content, Buffer.alloc(end - content.length)]);
  whole.set(bytes, at);
  return whole;
}

/** Numbers in [0, 1) that are the same for the same seed (mulberry32). */
export function chanceOf(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
