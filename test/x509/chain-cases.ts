/**
 * The client-authentication chains of CHAT_VECTORS (derived from C2SP x509-limbo and Netflix BetterTLS). A test without the folder is a
 * visible skip, or a failure where CHAT_REQUIRE says so.
 *
 * Every chain is judged with the defaults of `chat-verify chain`, but for six that are about a setting, which each states in its own
 * description: `pathlen::max-chain-depth-0`, `-0-exhausted`, `-1`, `-1-self-issued` and `-1-exhausted` ("when validating with a maximum chain
 * depth of N"), and `rfc5280::eku::ee-without-eku` ("missing an extKeyUsage extension, which is permitted under RFC 5280"; the same
 * chain under the rules of the web, which are our default, is `webpki::eku::ee-without-eku`, to be refused). With the defaults, three of
 * the six come out otherwise: ee-without-eku is refused, and the two that exhaust a depth that nobody has set are accepted.
 */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t, { type Test } from 'tap';

export interface ChainCase {
  readonly id: string;
  readonly cls: string;
  readonly description: string;
  readonly at: string | null;
  readonly ca: readonly string[];
  readonly chain: readonly string[];
  readonly crls: readonly string[];
}

export interface Settings {
  readonly maxIntermediates?: number;
  readonly allowNoEku?: boolean;
}

const WITH_SETTINGS = 6;

/** What the description of a case says that it is to be judged with. */
function settingsOf({ description }: ChainCase): Settings {
  const depth = /^When validating with a maximum chain depth of (\d+),/m.exec(description)?.[1];
  const isRfc5280 = /missing an extKeyUsage extension, which is permitted under\s+RFC 5280/.test(description);
  return { ...(depth !== undefined && { maxIntermediates: Number(depth) }), ...(isRfc5280 && { allowNoEku: true }) };
}

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
    let withSettings = 0;
    for (const [cls, count] of Object.entries(EXPECTED)) {
      const scored = cases.filter((c) => c.cls === cls);
      t.equal(scored.length, count, `${cls}: all are there`);
      for (const c of scored) {
        const settings = settingsOf(c);
        if (Object.keys(settings).length > 0) withSettings++;
        const verdict = isAccepted(c, c.at ?? AT, settings);
        if (cls === 'tolerate-reject') continue;
        t.equal(verdict.isAccepted, cls === 'must-accept', `${cls} ${c.id}: ${verdict.said}`);
      }
    }
    t.equal(withSettings, WITH_SETTINGS, 'all others with the defaults');
    t.end();
  });
}
