/** The MLS working group's vectors (github.com/mlswg/mls-implementations), and how the tests of this room find them. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import {
  ciphersuites,
  defaultCryptoProvider,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  type CiphersuiteImpl,
  type CiphersuiteName,
  type CryptoProvider,
} from 'ts-mls';
import { nodeProvider } from '../../client/e2ee/provider.ts';

const directory = resolve(import.meta.dirname, '../..', process.env['CHAT_VECTORS'] ?? '../shared/vectors');

export const areRequired = (process.env['CHAT_REQUIRE'] ?? '').split(',').includes('vectors');

/** Null where there are none, unless CHAT_REQUIRE wants them. */
export function loadVectors<T>(file: string): readonly T[] | null {
  try {
    return JSON.parse(readFileSync(join(directory, 'mls', file), 'utf8')) as readonly T[];
  } catch (error) {
    if (areRequired) throw error;
    return null;
  }
}

/** Runs `body` with the vectors of a file, or is a visible skip. */
export async function withVectors<T>(
  t: Test,
  file: string,
  body: (t: Test, vectors: readonly T[]) => Promise<void>,
): Promise<void> {
  const vectors = loadVectors<T>(file);
  if (vectors) await t.test(file, async (t) => body(t, vectors));
  else await t.test(file, { skip: 'no vectors: set CHAT_VECTORS' }, async () => {});
}

/** As the library brings it, where its optional dependencies are installed, and ours. */
export const PROVIDERS: Readonly<Record<string, CryptoProvider>> = {
  ours: nodeProvider,
  library: defaultCryptoProvider,
};

/** Null: this provider does not have the suite. */
export async function suiteOf(id: number, provider: CryptoProvider): Promise<CiphersuiteImpl | null> {
  const [name] = Object.entries(ciphersuites).find(([, known]) => known === id) ?? [];
  if (name === undefined) return null;
  try {
    return await getCiphersuiteImpl(getCiphersuiteFromName(name as CiphersuiteName), provider);
  } catch {
    return null;
  }
}

export const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'));
export const hexOf = (value: Uint8Array): string => Buffer.from(value).toString('hex');
