/** `chat-verify` as its user meets it: arguments, lines, JSON, exit status, and nothing on the terminal that somebody else wrote. */
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { formatVkey } from '../../transcript/note.ts';
import { verifyProgram } from '../../verify/program.ts';
import { compose, fingerprintOf, noteAt, pemOf, seal, STORY, writeFiles } from '../support/log-writer.ts';
import { cosignatureLine, witnessVkey, withLines, type Cosigner } from '../support/token-writer.ts';
import { DAY, list, type Made } from '../x509/maker.ts';
import { ca, caKey, flipped, world } from './tamper.ts';

const leaves = compose(world, STORY.slice(0, 4));
const files = seal(world, leaves);
const root = t.testdir({ log: {}, torn: {}, ca: pemOf(ca.der) });
const path = (name: string) => join(root, name);
writeFiles(path('log'), files);
writeFiles(path('torn'), files);
const bundle = files.get('tile/entries/000.p/17')!;
writeFileSync(path('torn/tile/entries/000.p/17'), flipped(bundle, bundle.length - 1));
writeFileSync(path('ca.der'), ca.der);
writeFileSync(path('later'), noteAt(world, compose(world)));
writeFileSync(path('now'), noteAt(world, leaves));
const authority: Made = {
  der: Buffer.from(ca.der),
  pair: { publicKey: ca.publicKey, privateKey: caKey },
  subject: Buffer.from(ca.subject.der),
  serial: 0,
};
writeFileSync(path('crl'), list(authority, { from: world.begin - DAY, until: world.begin + DAY }));

const cosigners = ['w1', 'w2'].map((name) => {
  const { publicKey, privateKey: key } = generateKeyPairSync('ed25519');
  return { name: `witness.example/${name}`, key, publicKey };
}) as [Cosigner, Cosigner];
const witnesses = cosigners.map(witnessVkey) as [string, string];

function run(...argv: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const progress: number[] = [];
  const io = { out: (line: string) => out.push(line), err: (line: string) => err.push(line) };
  const exit = verifyProgram(argv, '1.2.3', { ...io, progress: (done) => progress.push(done) });
  return { exit, out, err, progress };
}
const json = (...argv: string[]) => {
  const { exit, out } = run(...argv, '--json');
  return { status: exit, lines: out.length, ...JSON.parse(out[0]!) };
};

t.test('verdicts in text', async (t) => {
  const good = run(path('log'), '--ca', path('ca'));
  t.equal(good.exit, 0);
  t.match(good.out[0], /^W_NO_CRL entry 1: no revocation list of /, 'warnings are listed');
  t.equal(good.out[1], `log ${world.origin}, judged by the CA certificates in ${path('ca')}`);
  t.match(
    good.out[2],
    /^VALID 8 messages in 4 batches, 17 entries, 3 senders, \d{4}-\S+Z to \S+Z, 0 errors, 1 warning$/,
    'one line at the end',
  );
  t.equal(good.out.length, 3);
  t.same(good.err, []);
  t.same(good.progress, [17], 'progress is told');

  const torn = run(path('torn'), '--ca', path('ca'));
  t.equal(torn.exit, 10);
  t.match(torn.out.at(-1), /^TAMPERED at entry 16: E_LEAF /, 'the verdict says where');
  t.same(run(path('torn'), '--ca', path('ca'), '--quiet').out, [torn.out.at(-1)], 'and nothing else if quiet');
  t.equal(run(path('log'), '--ca', path('ca'), '--strict').exit, 11, 'warnings count if strict');
  t.match(run(path('log'), '--ca', path('ca'), '--strict').out.at(-1), /^INCOMPLETE at entry 1: W_NO_CRL/);
  t.equal(run(path('log'), '--ca', path('ca.der'), '--crl', path('crl'), '--strict').exit, 0, 'and nothing is missing');
  t.equal(run(path('log'), '--ca', path('ca'), '--known', path('now')).exit, 0);
  const rollback = run(path('torn'), '--ca', path('ca'), '--known', path('now'), '--known', path('later'));
  t.equal(rollback.exit, 14, 'equivocation ranks highest');
  t.match(rollback.out.at(-1), new RegExp(`^EQUIVOCATION at ${path('later')}: E_ROLLBACK `), 'and is the reason given');
});

t.test('verdicts in JSON', async (t) => {
  const good = json(path('log'), '--ca', path('ca'));
  t.match(good, {
    lines: 1,
    status: 0,
    v: 1,
    type: 'verdict',
    verdict: 'VALID',
    exit: 0,
    errors: 0,
    warnings: 1,
    unlisted: 0,
  });
  t.match(good.findings, [{ code: 'W_NO_CRL', where: 'entry 1', message: String }]);
  t.same(good.checked, {
    origin: world.origin,
    size: 17,
    entries: 17,
    batches: 4,
    messages: 8,
    senders: ['alice', 'bob', 'carol'].map((name) => hex(fingerprintOf(world.people[name]!))),
    first: new Date(world.begin).toISOString(),
    last: new Date(world.begin + 2500).toISOString(),
  });
  const unreadable = json(path('none'), '--ca', path('ca'));
  t.match(unreadable, { status: 13, verdict: 'UNREADABLE', exit: 13, checked: null, findings: [{ code: 'E_INPUT' }] });
});

t.test('a damaged directory has few findings, and each code is among them', async (t) => {
  const all = compose(world);
  const moved = seal(world, all, { entries: (entries) => [...entries.slice(0, 3), ...entries.slice(4), entries[3]!] });
  mkdirSync(path('moved'));
  writeFiles(path('moved'), moved);
  writeFileSync(path('moved/tile/1/000.p/2'), flipped(moved.get('tile/1/000.p/2')!, 1));
  const report = json(path('moved'), '--ca', path('ca'));
  t.equal(report.status, 10);
  t.ok(report.findings.length <= 60, `${report.findings.length} kept`);
  t.equal(report.unlisted, report.errors + report.warnings - report.findings.length);
  t.ok(
    report.findings.some((f: { code: string }) => f.code === 'E_TILE'),
    'the last to be found is not crowded out',
  );
  t.match(run(path('moved'), '--ca', path('ca')).out.at(-3), report.unlisted > 0 ? /^… and \d+ more$/ : /./);
});

t.test('witnesses', async (t) => {
  const [one, two] = cosigners;
  const seconds = Math.floor(world.begin / 1000) + 60;
  const note = withLines(noteAt(world, leaves), cosignatureLine(noteAt(world, leaves), one, seconds));
  mkdirSync(path('seen'));
  writeFiles(path('seen'), files);
  writeFileSync(path('seen/checkpoint'), note);
  writeFileSync(path('witnesses'), `# who watches\n${witnesses.join('\n')}\n`);
  const asked = (...more: string[]) => json(path('seen'), '--ca', path('ca'), ...more);
  t.match(asked('--witness', witnesses[0]), { status: 0, verdict: 'VALID' }, 'one, named by its vkey');
  t.match(asked('--witness', path('witnesses'), '--quorum', '1'), { status: 0 }, 'one of those in a file');
  const missing = asked('--witness', path('witnesses'));
  t.match(missing, { status: 11, verdict: 'INCOMPLETE' }, 'all of them, if nobody says how many');
  t.match(missing.findings.at(-1), { code: 'W_NO_QUORUM', message: 'not cosigned by 2 of the 2 witnesses' });
  const mixed = run(path('seen'), '--ca', path('ca'), '--witness', witnesses[0], '--witness', path('witnesses'));
  t.match(mixed, { exit: 2, err: [/count twice/] }, 'the same in two places');
  t.match(asked('--witness', path('none')), { status: 13 }, 'a file that is not there');
  t.match(asked('--witness', path('ca'), '--quorum', '1'), { status: 13 }, 'a file without a witness');
  t.equal(witnessVkey(two), witnesses[1]);
  t.match(asked('--tsa', path('ca')), { status: 0 }, 'an authority, and nothing is asked of it');
  const stamp = asked('--tsa', path('ca'), '--require', 'timestamp');
  t.match(stamp, { status: 11, verdict: 'INCOMPLETE' });
  t.match(stamp.findings.at(-1), { code: 'W_NO_STAMP', where: 'log' });
  t.match(asked('--tsa', path('none')), { status: 13 });
});

t.test('usage', async (t) => {
  for (const [argv, says] of [
    [[], /want one bundle, or one log directory/],
    [[path('log')], /want --ca/],
    [[path('log'), path('log'), '--ca', path('ca')], /want one bundle/],
    [['-', '--ca', '-'], /only once/],
    [[path('bundle'), '--ca', path('ca'), '--at', 'yesterday'], /--at/],
    [[path('bundle'), '--ca', path('ca'), '--report', 'pdf'], /--report/],
    [[path('bundle'), '--ca', path('ca'), '--report', 'md', '--json'], /--report or --json/],
    [[path('log'), '--ca', path('ca'), '--report', 'md'], /for bundles/],
    [[path('log'), '--ca', path('ca'), '--compare', path('bundle')], /for bundles/],
    [[path('log'), '--ca', '-', '--known', '-'], /only once/],
    [[path('log'), '--ca', path('ca'), '--require', 'recipient-receipt'], /for bundles/],
    [[path('log'), '--ca', path('ca'), '--require', 'truth'], /--require: want recipient-receipt or timestamp/],
    [[path('log'), '--ca', path('ca'), '--require', 'timestamp'], /want --tsa/],
    [[path('log'), '--ca', path('ca'), '--quorum', '1'], /want --witness/],
    [[path('log'), '--ca', path('ca'), '--witness', witnesses[0], '--quorum', '2'], /--quorum: want 1\.\.1/],
    [[path('log'), '--ca', path('ca'), '--witness', witnesses[0], '--quorum', '0'], /--quorum: want 1\.\.1/],
    [[path('log'), '--ca', path('ca'), '--witness', witnesses[0], '--witness', witnesses[0]], /count twice/],
    [[path('log'), '--ca', path('ca'), '--witness', witnesses[0].replace(/\+[0-9a-f]{8}/, '+00000000')], /--witness/],
    [[path('log'), '--ca', path('ca'), '--witness', formatVkey(world.log)], /--witness/],
    [[path('log'), '--ca', '-', '--witness', '-'], /only once/],
    [[path('log'), '--ca', '-', '--tsa', '-'], /only once/],
    [
      [path('log'), '--ca', path('ca'), '--trust-me'],
      /^chat-verify: unknown option '--trust-me'; chat-verify --help shows how$/,
    ],
    [[path('log'), '--ca'], /^chat-verify: option '--ca' wants a value; chat-verify --help shows how$/],
    [[path('log'), '--ca', '--crl', 'x'], /^chat-verify: option '--ca' wants a value; chat-verify --help shows how$/],
    [[path('log'), '--strict=1'], /^chat-verify: option '--strict' does not take an argument; /],
  ] as const) {
    const { exit, out, err } = run(...argv);
    t.same([exit, out], [2, []], argv.join(' '));
    t.match(err[0], says);
  }
  t.match(run('--help'), { exit: 0, out: [/^chat-verify: /] });
  t.match(run('--version'), { exit: 0, out: ['1.2.3'] });
  t.match(run('chain', '--help'), { exit: 0, out: [/^chat-verify chain: /] });
});

t.test('what cannot be read', async (t) => {
  for (const [argv, where, says] of [
    [[path('ca'), '--ca', path('ca')], path('ca'), /is no bundle: the archive has a header without a size/],
    [[path('none'), '--ca', path('ca')], path('none'), /ENOENT/],
    [[path('x'.repeat(300)), '--ca', path('ca')], path('x'.repeat(300)), /ENAMETOOLONG/],
    [[path('log'), '--ca', path('none')], path('none'), /ENOENT/],
    [[path('log'), '--ca', path('log')], path('log'), /directory/],
    [[path('log'), '--ca', path('now')], path('now'), /PEM|CERTIFICATE/i],
    [[path('log'), '--ca', path('ca'), '--crl', path('ca')], path('ca'), /./],
    [[path('log'), '--ca', path('ca'), '--known', path('none')], path('none'), /ENOENT/],
    [[path('log/tile'), '--ca', path('ca')], 'key.stmt', /is missing/],
  ] as const) {
    const { status, findings, checked } = json(...argv);
    t.equal(status, 13, argv.slice(0, 1).concat(argv.slice(-2)).join(' '));
    t.match(findings[0], { code: 'E_INPUT', where, message: says });
    t.equal(checked, null);
  }
});

t.test('nothing that a terminal would obey', async (t) => {
  const name = 'a\u001b[31m\u202e\nVALID';
  mkdirSync(path('odd'));
  writeFileSync(join(path('odd'), name), 'no note');
  const known = join(path('odd'), name);
  const text = run(path('log'), '--ca', path('ca'), '--known', known);
  t.equal(text.exit, 10);
  t.ok(
    text.out.every((line) => !/[\p{C}\n]/u.test(line)),
    'text',
  );
  t.match(text.out.join('\n'), 'a\\u{1b}[31m\\u{202e}\\u{a}VALID');
  const { out } = run(path('log'), '--ca', path('ca'), '--known', known, '--json');
  t.match(out[0], /^[\x20-\x7e]+$/, 'JSON');
  t.equal(
    JSON.parse(out[0]!).findings.find((f: { code: string }) => f.code === 'E_FORMAT').where,
    known,
    'which loses nothing',
  );
  const quiet = /^[^\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]*$/;
  const words = ['--\u001b[31m\u009b\u202e', '--ca', path('ca')];
  for (const argv of [words, ['chain', ...words], ['chain', '--ca', `${path('none')}\u009b\u202e`, '--chain', 'x']]) {
    const said = run(...argv);
    t.ok([2, 13].includes(said.exit));
    t.match([...said.out, ...said.err].join('\n'), quiet, 'nor does an option or a file that is not there');
  }
  const none = ['chain', '--json', '--ca', `${path('none')}\u009b\u202e`, '--chain', 'x'];
  t.match(run(...none).out[0], /^[\x20-\x7e]+$/);
  t.match(JSON.parse(run(...none).out[0]!).message, '\u009b\u202e');
});

t.test('as a process', async (t) => {
  const main = fileURLToPath(new URL('../../verify/main.ts', import.meta.url));
  const spawned = (input: string | Buffer, ...argv: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...argv], { input, encoding: 'utf8' });
    return { status, stdout, stderr };
  };
  const good = spawned(pemOf(ca.der), path('log'), '--ca', '-', '--quiet');
  t.match(good, { status: 0, stdout: /^VALID .*\n$/, stderr: '' }, 'a CA from standard input');
  t.match(spawned('', path('torn'), '--ca', path('ca')), { status: 10, stdout: /\nTAMPERED .*\n$/ });
  t.match(spawned('', path('log')), { status: 2, stdout: '', stderr: /want --ca/ });
  const shell = `"$0" "$1" "$2" --ca "$3" | true; echo "\${PIPESTATUS[0]}"`;
  const piped = spawnSync('bash', ['-c', shell, process.execPath, main, path('torn'), path('ca')], {
    encoding: 'utf8',
  });
  if (piped.error) t.comment('no bash here');
  else t.equal(piped.stdout, '10\n', 'the verdict is the exit status also when nobody reads it');
});
