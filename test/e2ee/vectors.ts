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
import { inThread } from './thread.ts';

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

const STANDARD = [1, 2, 3, 4, 5, 6, 7];
/**
 * The library's: 3 (ChaCha20-Poly1305), 4 and 6 (X448) need packages that are not installed here; 5 and 7 (NIST's larger curves) take its
 * own cryptography ten times as long, so they wait for where vectors are required, as in CI.
 */
export const SUITES: Readonly<Record<string, readonly number[]>> = {
  ours: STANDARD,
  library: areRequired ? [1, 2, 5, 7] : [1, 2],
};
/** Of the library's, those that it says to be without. */
export const ABSENT = [3, 4, 6];

export interface Counts {
  /** How many vectors a file has of each suite. */
  readonly each: number;
  /** Of these; else of all standard ones. */
  readonly suites?: readonly number[];
  /** Where all take too long: of the library's cryptography, and of ours beyond suite 3, every nth alone. */
  readonly every?: number;
}

/** Each vector of a file with each provider that has its suite, in a thread. */
export async function withSuites<T extends { readonly cipher_suite: number }>(
  caller: string,
  file: string,
  counts: Counts,
  work: (vector: T, suite: CiphersuiteImpl, check: (holds: boolean, what: string) => void) => Promise<void>,
): Promise<void> {
  await inThread(caller, file, async (report) => {
    const vectors = loadVectors<T>(file);
    if (!vectors) return report.skip('no vectors: set CHAT_VECTORS');
    for (const [name, provider] of Object.entries(PROVIDERS))
      for (const id of (counts.suites ?? STANDARD).filter((id) => SUITES[name]!.includes(id))) {
        const suite = await suiteOf(id, provider);
        const own = vectors.filter((vector) => vector.cipher_suite === id);
        report.ok(suite !== null && own.length === counts.each, `${name}, suite ${id}: ${own.length} vectors`);
        const every = name === 'ours' && id <= 3 ? 1 : (counts.every ?? 1);
        for (const [i, vector] of suite ? own.entries() : []) {
          if ((i + 1) % every > 0) continue;
          let checks = 0;
          const wrong: string[] = [];
          await work(vector, suite!, (holds, what) => {
            checks++;
            if (!holds) wrong.push(what);
          });
          report.ok(checks > 0 && wrong.length === 0, `${i}: ${checks} checks${wrong.map((what) => `, not ${what}`)}`);
        }
      }
  });
}

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
