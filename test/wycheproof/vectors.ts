/** Wycheproof files from the folder that CHAT_VECTORS names; a test without them is a visible skip, or a failure where CHAT_REQUIRE says so. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';

export interface Case {
  readonly tcId: number;
  readonly comment?: string;
  readonly result: 'valid' | 'invalid' | 'acceptable';
  readonly flags: readonly string[];
  readonly [field: string]: unknown;
}
export interface Group {
  readonly type: string;
  readonly tests: readonly Case[];
  readonly [field: string]: unknown;
}

const folder = resolve(import.meta.dirname, '../..', process.env['CHAT_VECTORS'] ?? '../shared/vectors', 'wycheproof');

/** Runs `check` once for a file. It returns how many cases ran; none at all is a failure, and so is a file of another size. */
export function wycheproof(file: string, check: (t: Test, groups: readonly Group[]) => number | Promise<number>): void {
  const path = join(folder, `${file}.json`);
  const isRequired = (process.env['CHAT_REQUIRE'] ?? '').split(',').includes('vectors');
  const skip = !existsSync(path) && !isRequired && `no ${file}.json in CHAT_VECTORS`;
  t.test(`wycheproof ${file}`, { skip }, async (t) => {
    const { testGroups, numberOfTests } = JSON.parse(readFileSync(path, 'utf8')) as {
      testGroups: readonly Group[];
      numberOfTests: number;
    };
    const ran = await check(t, testGroups);
    t.ok(ran > 0, `${ran} of ${numberOfTests} cases ran`);
    t.equal(ran, numberOfTests, 'each case ran or was refused for a stated reason');
  });
}

/** Bytes of a hex field. */
export function bytes(of: { readonly [field: string]: unknown }, field: string): Buffer {
  const text = of[field];
  if (typeof text !== 'string' || !/^([0-9a-f]{2})*$/.test(text)) throw new TypeError(`${field} is not hex`);
  return Buffer.from(text, 'hex');
}

export const named = (c: Case): string => `#${c.tcId} ${c.result} ${c.comment ?? c.flags.join(',')}`;
