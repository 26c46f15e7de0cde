/**
 * The client-authentication chains of CHAT_VECTORS (derived from C2SP x509-limbo and Netflix BetterTLS), and the settings that some of
 * them are about. A test without the folder is a visible skip, or a failure where CHAT_REQUIRE says so.
 */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t, { type Test } from 'tap';

export interface ChainCase {
  readonly id: string;
  readonly cls: string;
  readonly at: string | null;
  readonly ca: readonly string[];
  readonly chain: readonly string[];
  readonly crls: readonly string[];
}

export interface Settings {
  readonly maxIntermediates?: number;
  readonly allowNoEku?: boolean;
}

/**
 * Cases about a setting that is not written in them. `rfc5280::eku::ee-without-eku` and `webpki::eku::ee-without-eku` are the same chain
 * with opposite verdicts, and so are `max-chain-depth-0-exhausted` and any good chain with one intermediate.
 */
const SETTINGS: Readonly<Record<string, Settings>> = {
  'rfc5280::eku::ee-without-eku': { allowNoEku: true },
  'pathlen::max-chain-depth-0': { maxIntermediates: 0 },
  'pathlen::max-chain-depth-0-exhausted': { maxIntermediates: 0 },
  'pathlen::max-chain-depth-1': { maxIntermediates: 1 },
  'pathlen::max-chain-depth-1-self-issued': { maxIntermediates: 1 },
  'pathlen::max-chain-depth-1-exhausted': { maxIntermediates: 1 },
};
/** Cases without a time are valid now, and were made on 20 November 2026 for a year. */
const AT = '2026-12-01T00:00:00Z';
const EXPECTED = { 'must-accept': 56, 'must-reject': 111, 'strict-reject': 12, 'tolerate-reject': 34 } as const;

/** Runs `isAccepted` over the scored cases; it throws nothing. Where a careful verifier may do either, any verdict will do. */
export function chainCases(
  title: string,
  isAccepted: (c: ChainCase, at: string, settings: Settings) => { isAccepted: boolean; said: string },
): void {
  const file = resolve(
    import.meta.dirname,
    '../..',
    process.env['CHAT_VECTORS'] ?? '../shared/vectors',
    'x509/chain-cases.json',
  );
  const isRequired = (process.env['CHAT_REQUIRE'] ?? '').split(',').includes('vectors');
  t.test(title, { skip: !existsSync(file) && !isRequired && 'no x509/chain-cases.json in CHAT_VECTORS' }, (t: Test) => {
    const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { cases: readonly ChainCase[] };
    for (const [cls, count] of Object.entries(EXPECTED)) {
      const scored = cases.filter((c) => c.cls === cls);
      t.equal(scored.length, count, `${cls}: all are there`);
      for (const c of scored) {
        const verdict = isAccepted(c, c.at ?? AT, SETTINGS[c.id] ?? {});
        if (cls === 'tolerate-reject') continue;
        t.equal(verdict.isAccepted, cls === 'must-accept', `${cls} ${c.id}: ${verdict.said}`);
      }
    }
    t.end();
  });
}
