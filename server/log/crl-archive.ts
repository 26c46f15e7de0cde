/**
 * Revocation lists that the server has worked with, in the folder `crl` beside the log: CAs drop what has expired from later lists, and a
 * verifier in ten years has no other place to find them. A list is durable here before its entry is in the log; `index` says which entry
 * each has, is written after that, and can only lag behind: then a list is logged once more, which harms nothing.
 */
import { join } from 'node:path';
import { fromHex, hex, utf8, type Hash } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { decimal } from '../../transcript/checkpoint.ts';
import { HASH_BYTES } from '../../transcript/merkle.ts';
import type { Crl } from '../../x509/crl.ts';
import { diskError, makeDirectories, replaceFile, type Files } from './files.ts';
import { corrupt } from './publication.ts';

/** A list and its entry in the log. */
export interface LoggedCrl {
  readonly index: number;
  /** Unix ms */
  readonly serverTime: number;
  /** SHA-256 of the DER of the issuer's name, in hexadecimal */
  readonly issuer: string;
  /** SHA-256 of the list's DER */
  readonly digest: Hash;
  readonly bytes: number;
}

export const digestOf = (crl: Crl): Hash => sha256(crl.der) as Uint8Array as Hash;
export const issuerOf = (crl: Crl): string => hex(sha256(crl.issuer.der));

export class CrlArchive {
  readonly #files: Files;
  readonly #folder: string;
  /** In the order of the log. */
  #logged: LoggedCrl[];

  private constructor(files: Files, folder: string, logged: LoggedCrl[]) {
    this.#files = files;
    this.#folder = folder;
    this.#logged = logged;
  }

  /**
   * @param dir of the log
   * @param logSize entries that the index names beyond it are not there
   * @throws LOG_CORRUPT for an index that is none; DISK_FULL, LOG_FAILED
   */
  static async open(files: Files, dir: string, logSize: number): Promise<CrlArchive> {
    const folder = join(dir, 'crl');
    try {
      await makeDirectories(files, folder);
      const bytes = await files.readFile(join(folder, 'index'));
      return new CrlArchive(files, folder, bytes === null ? [] : parseIndex(bytes, logSize));
    } catch (error) {
      throw diskError(error, 'opening the archive of revocation lists');
    }
  }

  has(digest: Hash): boolean {
    const name = hex(digest);
    return this.#logged.some((one) => hex(one.digest) === name);
  }

  /** Those of one issuer, in the order of the log. @param issuer as LoggedCrl.issuer */
  of(issuer: string): readonly LoggedCrl[] {
    return this.#logged.filter((one) => one.issuer === issuer);
  }

  get all(): readonly LoggedCrl[] {
    return this.#logged;
  }

  /** Durable when it resolves. @throws DISK_FULL, LOG_FAILED */
  async keep(crls: readonly Crl[]): Promise<void> {
    try {
      for (const crl of crls) await replaceFile(this.#files, this.#path(digestOf(crl)), crl.der);
      if (crls.length > 0) await this.#files.syncDirectory(this.#folder);
    } catch (error) {
      throw diskError(error, 'archiving a revocation list');
    }
  }

  /** Their entries are durable in the log. @throws DISK_FULL, LOG_FAILED */
  async enter(crls: readonly LoggedCrl[]): Promise<void> {
    const logged = [...this.#logged, ...crls];
    try {
      await replaceFile(this.#files, join(this.#folder, 'index'), formatIndex(logged));
      await this.#files.syncDirectory(this.#folder);
    } catch (error) {
      throw diskError(error, 'archiving a revocation list');
    }
    this.#logged = logged;
  }

  /** At most `length` bytes of a list from `offset` on. @throws LOG_CORRUPT if it is not there any more */
  async read({ digest }: LoggedCrl, offset: number, length: number): Promise<Buffer> {
    const path = this.#path(digest);
    const file = await this.#files.open(path, 'change').catch((error: unknown) => {
      throw corrupt(`crl/${hex(digest)}.crl`, 'cannot be opened', error);
    });
    try {
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, await file.read(bytes, offset));
    } finally {
      await file.close();
    }
  }

  #path(digest: Hash): string {
    return join(this.#folder, `${hex(digest)}.crl`);
  }
}

const formatIndex = (logged: readonly LoggedCrl[]): Buffer =>
  utf8(
    logged
      .map(
        ({ index, serverTime, issuer, digest, bytes }) => `${index} ${serverTime} ${issuer} ${hex(digest)} ${bytes}\n`,
      )
      .join(''),
  );

function parseIndex(bytes: Buffer, logSize: number): LoggedCrl[] {
  const lines = bytes.toString('latin1').split('\n');
  if (lines.pop() !== '') throw corrupt('crl/index', 'is not readable');
  const found = lines.map((line): LoggedCrl => {
    const [, index, serverTime, issuer, digest, length] = LINE.exec(line) ?? [];
    const numbers = [index, serverTime, length].map((text) => decimal(text ?? ''));
    const hash = fromHex(digest ?? '');
    if (issuer === undefined || numbers.includes(null) || hash?.length !== HASH_BYTES)
      throw corrupt('crl/index', 'is not readable');
    const [at, time, size] = numbers as number[];
    return { index: at!, serverTime: time!, issuer, digest: hash as Uint8Array as Hash, bytes: size! };
  });
  return found.filter(({ index }) => index < logSize);
}
const LINE = /^(\d+) (\d+) ([0-9a-f]{64}) ([0-9a-f]{64}) (\d+)$/;
