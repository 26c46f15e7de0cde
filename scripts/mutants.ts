/**
 * Breaks one rule of the verifier after the other, and says which breaks nothing notices: `npm run mutants`, or with words that the names of
 * the wanted mutants hold; `--quiet` tells the survivors and the score alone. Nothing is written into the tree. Exit 1 if a mutant survives
 * that `known.ts` does not name, or one no longer applies. CONTRIBUTING.md.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { deserialize } from 'node:v8';
import { genCerts } from '../test/support/log-writer.ts';
import { byHand } from './mutants/by-hand.ts';
import { reasonOf, staleReasons } from './mutants/known.ts';
import { fails, Lane, Unloadable } from './mutants/lane.ts';
import { nameOf, type Mutant } from './mutants/mutant.ts';
import type { RowData } from './mutants/witness-thread.ts';
import { filesOfVerifier, sitesOf } from './mutants/sites.ts';
import { survey } from './mutants/survey.ts';

const words = process.argv.slice(2).filter((word) => word !== '--quiet');
const isQuiet = process.argv.includes('--quiet');
const began = Date.now();
/** The tamper matrix as directories and bundles: written once, judged with each mutant. */
const folder = mkdtempSync(join(tmpdir(), 'mutants-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
mkdirSync(join(folder, 'bundles'));
// For all that is started, and for all threads.
Object.assign(process.env, { CHAT_FEW_FLIPS: '1', CHAT_TEST_CERTS: join(folder, 'certs'), TAP_BAIL: '1' });
genCerts();

const lanes = Math.max(2, availableParallelism());
const { mutants, stale } = byHand();
const all = [...filesOfVerifier().flatMap(sitesOf), ...mutants];
const chosen = all.filter((mutant) => words.every((word) => nameOf(mutant).includes(word)));

process.env['CHAT_TAMPER_CASES'] = folder;
const matrix = await Promise.all(['tamper', 'tamper-bundle'].map((test) => fails(null, `test/verify/${test}.test.ts`)));
if (matrix.includes(true)) throw new Error('the tamper matrix fails without any mutant');
delete process.env['CHAT_TAMPER_CASES'];
const cases = [folder, join(folder, 'bundles')].flatMap(
  (each) => deserialize(readFileSync(join(each, 'cases'))) as RowData['cases'],
);
const data: RowData = { cases, survey: await survey(cases, lanes) };

/** What speaks against the check as a whole. */
const troubles = [...stale, ...staleReasons()].map((name) => `does not apply once: ${name}`);
const survivors: string[] = [];
let killed = 0;
let explained = 0;

async function judge(lane: Lane, mutant: Mutant): Promise<string> {
  const name = nameOf(mutant);
  const reason = reasonOf(mutant);
  try {
    const witness = await lane.noticedBy(mutant);
    if (witness !== null && reason !== null) troubles.push(`is noticed after all, by ${witness}: ${name}`);
    if (witness !== null) killed++;
    else if (reason !== null) explained++;
    else survivors.push(name);
    return witness === null ? (reason ?? 'SURVIVED') : `killed by ${witness}`;
  } catch (error) {
    if (!(error instanceof Unloadable)) throw error;
    troubles.push(`is no program: ${name}: ${error.message}`);
    return 'IS NO PROGRAM';
  }
}

let next = 0;
let done = 0;
await Promise.all(
  Array.from({ length: lanes }, async () => {
    const lane = new Lane(data);
    for (let mutant = chosen[next++]; mutant !== undefined; mutant = chosen[next++]) {
      const from = Date.now();
      const word = await judge(lane, mutant);
      done++;
      if (!isQuiet) console.log(`${done}/${chosen.length} ${word} (${Date.now() - from} ms): ${nameOf(mutant)}`);
    }
    await lane.end();
  }),
);
for (const trouble of troubles) console.log(trouble);
for (const name of survivors) console.log(`survived: ${name}`);
const seconds = Math.round((Date.now() - began) / 1000);
const score = `${killed} of ${chosen.length} killed, ${explained} are known to survive, ${survivors.length} survived`;
console.log(`mutants: ${score}, ${troubles.length} troubles, ${seconds} s`);
process.exitCode = survivors.length + troubles.length > 0 || killed === 0 ? 1 : 0;
