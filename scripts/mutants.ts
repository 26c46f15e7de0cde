/**
 * Breaks one rule of the verifier after the other, and some promises of the server and of the client, and says which breaks nothing notices. `--help` says
 * how to choose some of them. Nothing is written into the tree, but for `--remember`. CONTRIBUTING.md.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { deserialize } from 'node:v8';
import { genCerts } from '../test/support/log-writer.ts';
import { byHand } from './mutants/by-hand.ts';
import { reasonOf, staleReasons } from './mutants/known.ts';
import { fails, isWaitedFor, Lane, Unloadable } from './mutants/lane.ts';
import { remember } from './mutants/memory.ts';
import { nameOf, type Mutant } from './mutants/mutant.ts';
import type { RowData } from './mutants/witness-thread.ts';
import { filesOfVerifier, sitesOf } from './mutants/sites.ts';
import { survey, type Survey } from './mutants/survey.ts';

const USAGE = `usage: npm run mutants -- [WORD ...]

Asks rows and tests about all mutants, or about those whose names hold every WORD. A name is the file, the line, and the change:
  server/outlet.ts:152: "if (sent.length === 0) return false;" → ""
so that \`npm run mutants -- server/outlet.ts\` asks about one file, and \`npm run mutants -- verify/ E_KEYBIND\` about one code.

  --quiet      survivors and the score alone
  --remember   writes down who noticed what, to be asked first from then on; with all mutants only
  -h, --help

exit  0 all were noticed  1 one survives that scripts/mutants/known.ts does not name, or does not apply any longer  2 usage`;
const given = process.argv.slice(2);
const words = given.filter((word) => !word.startsWith('-'));
const options = new Set(given.filter((word) => word.startsWith('-')));
if (options.has('--help') || options.has('-h')) {
  console.log(USAGE);
  process.exit(0);
}
const isQuiet = options.delete('--quiet');
const isToRemember = options.delete('--remember');
const [unknown] = options;
if (unknown !== undefined || (isToRemember && words.length > 0)) {
  console.error(
    `mutants: ${unknown === undefined ? '--remember goes with all mutants' : `no such option: ${unknown}`}`,
  );
  console.error(USAGE);
  process.exit(2);
}
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
// What is read from the sources is noticed quickly, all of it: it comes last, so that no lane is left alone with a long one.
const all = [...mutants, ...filesOfVerifier().flatMap(sitesOf)];
const chosen = all.filter((mutant) => words.every((word) => nameOf(mutant).includes(word)));

process.env['CHAT_TAMPER_CASES'] = folder;
const matrix = await Promise.all(['tamper', 'tamper-bundle'].map((test) => fails(null, `test/verify/${test}.test.ts`)));
if (matrix.includes(true)) throw new Error('the tamper matrix fails without any mutant');
delete process.env['CHAT_TAMPER_CASES'];
const cases = [folder, join(folder, 'bundles')].flatMap(
  (each) => deserialize(readFileSync(join(each, 'cases'))) as RowData['cases'],
);
const data: RowData = { cases };
let surveyed: Promise<Survey> | null = null;
const surveyOnce = (): Promise<Survey> => (surveyed ??= survey(cases, lanes));

/** What speaks against the check as a whole. */
const troubles = [...stale, ...staleReasons()].map((name) => `does not apply once: ${name}`);
const survivors: string[] = [];
const killed: [mutant: Mutant, witness: string][] = [];
let explained = 0;

async function judge(lane: Lane, mutant: Mutant): Promise<string> {
  const name = nameOf(mutant);
  const reason = reasonOf(mutant);
  try {
    const witness = await lane.noticedBy(mutant);
    if (witness !== null && reason !== null) troubles.push(`is noticed after all, by ${witness}: ${name}`);
    if (witness !== null) killed.push([mutant, witness]);
    else if (reason !== null) explained++;
    else survivors.push(name);
    return witness === null ? (reason ?? 'SURVIVED') : `killed by ${witness}`;
  } catch (error) {
    if (!(error instanceof Unloadable)) throw error;
    troubles.push(`is no program: ${name}: ${error.message}`);
    return 'IS NO PROGRAM';
  }
}

let done = 0;
/** Judges what is left of a list that several may share. */
async function judgeAll(left: Mutant[]): Promise<void> {
  const lane = new Lane(data, surveyOnce);
  for (let mutant = left.shift(); mutant !== undefined; mutant = left.shift()) {
    const from = Date.now();
    const word = await judge(lane, mutant);
    done++;
    if (!isQuiet) console.log(`${done}/${chosen.length} ${word} (${Date.now() - from} ms): ${nameOf(mutant)}`);
  }
  await lane.end();
}
const shared = chosen.filter((mutant) => !isWaitedFor(mutant));
await Promise.all([judgeAll(chosen.filter(isWaitedFor)), ...Array.from({ length: lanes }, () => judgeAll(shared))]);
if (isToRemember) remember(killed);
for (const trouble of troubles) console.log(trouble);
for (const name of survivors) console.log(`survived: ${name}`);
const seconds = Math.round((Date.now() - began) / 1000);
const score = `${killed.length} of ${chosen.length} killed, ${explained} are known to survive, ${survivors.length} survived`;
console.log(`mutants: ${score}, ${troubles.length} troubles, ${seconds} s`);
process.exitCode = survivors.length + troubles.length > 0 || killed.length === 0 ? 1 : 0;
