/** The mutation check leaves no rule out: every code has a mutant that keeps it silent, and what was written down by hand still applies. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { FINDINGS } from '../../verify/finding.ts';
import { byHand } from '../../scripts/mutants/by-hand.ts';
import { lastWitness } from '../../scripts/mutants/memory.ts';
import { applied, nameOf, root, sourceOf } from '../../scripts/mutants/mutant.ts';
import { filesOfVerifier, sitesOf } from '../../scripts/mutants/sites.ts';

const files = filesOfVerifier();
const sites = files.flatMap(sitesOf);

t.test('every code of a finding', async (t) => {
  const coded = sites.flatMap(({ file, start, end }) => {
    const [, code] = /^[^']{0,40}?'([EW]_[A-Z_]+)'/.exec(sourceOf(file).slice(start, end + 40)) ?? [];
    return code ?? [];
  });
  t.same(
    Object.keys(FINDINGS).filter((code) => !coded.includes(code)),
    [],
  );
});

t.test('every file that judges', async (t) => {
  for (const file of ['verify/log-audit.ts', 'verify/bundle.ts', 'verify/epochs.ts', 'transcript/lineage.ts'])
    t.ok(files.includes(file), file);
  t.notOk(files.includes('transcript/content.ts'), 'what a message says is no proof');
});

t.test('sites', async (t) => {
  const [first] = sitesOf('verify/comparison.ts');
  t.match(nameOf(first!), /^verify\/comparison\.ts:\d+: "findings\.add\(" → /);
  t.match(applied(sourceOf(first!.file), first!), /return \(\(\) => undefined\)\('E_INPUT', name, /);
  t.equal(
    new Set(sites.map(nameOf)).size,
    new Set(sites.map(({ file, start }) => `${file} ${start}`)).size,
    'none twice',
  );
});

t.test('by hand', async (t) => {
  const { mutants, stale } = byHand();
  t.same(stale, []);
  t.ok(mutants.every((mutant) => applied(sourceOf(mutant.file), mutant) !== sourceOf(mutant.file)));
});

t.test('who noticed what', async (t) => {
  const last = [...sites, ...byHand().mutants].map(lastWitness).filter((witness) => witness !== null);
  t.ok(last.length > 100, `is written down for ${last.length}: after a change of many, npm run mutants -- --remember`);
  for (const witness of new Set(last)) t.ok(witness.startsWith('row "') || existsSync(join(root, witness)), witness);
});

t.test('how it is used', async (t) => {
  const run = (...args: readonly string[]) =>
    spawnSync(process.execPath, [join(root, 'scripts/mutants.ts'), ...args], { encoding: 'utf8' });
  t.match(run('--help'), { status: 0, stdout: /whose names hold every WORD/, stderr: '' });
  t.match(run('server/outlet.ts', '--quite'), { status: 2, stdout: '', stderr: /no such option: --quite\n/ });
  t.match(run('server/outlet.ts', '--remember'), { status: 2, stderr: /goes with all mutants/ });
});
