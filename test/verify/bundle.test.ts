/** Bundles as their reader meets them: lines, JSON, pages, standard input; what is hostile; and one bit anywhere. */
import { spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import { concat, hex } from '../../base/bytes.ts';
import { commitment, encodeMs } from '../../transcript/statement.ts';
import { ARCHIVE_END, archived } from '../../transcript/ustar.ts';
import { auditBundle } from '../../verify/bundle.ts';
import type { JudgedMessage } from '../../verify/bundle-messages.ts';
import { CHECKS } from '../../verify/checks.ts';
import { EXIT, FINDINGS, Findings } from '../../verify/finding.ts';
import { verifyProgram } from '../../verify/program.ts';
import type { Certificate } from '../../x509/certificate.ts';
import { bundleOf, conversationOf, credentialOf } from '../support/bundle-writer.ts';
import { authority } from '../support/pki.ts';
import { compose, fingerprintOf, pemOf, writeFiles } from '../support/log-writer.ts';
import { BUNDLE_TRUST } from './tamper-bundle-trust.ts';
import { ca, files, flipped, leaves, world } from './tamper.ts';

const isFuzz = process.env['FUZZ'] === '1';
/** For scripts/mutants.ts, which runs this often. */
const isQuick = process.env['CHAT_FEW_FLIPS'] === '1';
const root = t.testdir({ ca: pemOf(ca.der), log: {} });
const path = (name: string) => join(root, name);
const small = bundleOf(world, leaves, 'bc', {}, 'bob');
writeFileSync(path('ab'), bundleOf(world, leaves, 'ab'));
writeFileSync(path('bob'), bundleOf(world, leaves, 'ab', {}, 'bob'));
writeFileSync(path('less'), bundleOf(world, leaves, 'ab', { messages: (m) => m.slice(0, 3) }, 'bob'));
writeFileSync(path('bc'), small);
writeFileSync(path('torn'), flipped(small, small.length - ARCHIVE_END.length - 500));
writeFiles(path('log'), files);

function run(...argv: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const progress: [number, number][] = [];
  const io = { out: (line: string) => out.push(line), err: (line: string) => err.push(line) };
  const watched = { ...io, progress: (done: number, total: number) => progress.push([done, total]) };
  const exit = verifyProgram(argv, '1.2.3', watched);
  return { exit, out, err, progress, text: out.join('\n') };
}
const CA = ['--ca', path('ca')];

t.test('text', async (t) => {
  const { exit, out, err, progress } = run(path('bc'), ...CA);
  t.equal(exit, 0);
  t.same(err, []);
  t.match(out[0], /^W_NO_CRL SHA256SUMS\.sig: /, 'findings first');
  for (const line of out.slice(1, 4))
    t.match(line, /^message \d, \S+Z, O=SecureChat, OU=Client, CN=(\w+): message \d+ of \1$/, 'what is disclosed');
  t.same(
    out.slice(4, -2).map((line) => line.split(':')[0]),
    [
      'ok     form',
      'ok     seal',
      'warned certificates',
      'ok     log key',
      'ok     checkpoints',
      'none   witnesses',
      'none   trusted time',
      'ok     inclusion',
      'ok     signatures',
      'ok     order',
      'ok     disclosure',
      'none   receipts',
      'none   comparison',
    ],
    'each check by itself',
  );
  t.equal(out.at(-2), `log ${world.origin}, judged by the CA certificates in ${path('ca')}`);
  t.match(out.at(-1), /^VALID 3 messages, 3 disclosed, 2 senders, \S+Z to \S+Z, complete, 0 errors, 1 warning$/);
  t.same(progress, [
    [1, 3],
    [2, 3],
    [3, 3],
  ]);
  t.match(run(path('torn'), ...CA), { exit: 10, text: /TAMPERED at msg\/000003\/\S+: E_SUMS/ });
  t.match(run(path('bc'), ...CA, '--strict', '-q'), { exit: 11, text: /^INCOMPLETE at SHA256SUMS.sig: W_NO_CRL/ });
  t.match(run(path('bc'), ...CA, '--at', '2001-01-01T00:00:00Z', '-q'), { exit: 12, text: /E_CERT_EXPIRED/ });
  t.match(run(path('log'), ...CA, '--at', '2001-01-01T00:00:00Z', '-q'), { exit: 12, text: /E_CERT_EXPIRED/ });
});

t.test('comparison', async (t) => {
  t.match(run(path('ab'), ...CA, '--compare', path('bob')), { exit: 0, text: /\nok     comparison: / });
  const less = run(path('ab'), ...CA, '--compare', path('less'));
  t.match(less, {
    exit: 0,
    text: /W_MISSING \S+less: 14 messages of this bundle are not in the other, the first of them msg\/000004\n/,
  });
  t.match(run(path('less'), ...CA, '--compare', path('ab')).text, /14 messages of the other bundle are not/);
  t.match(run(path('ab'), ...CA, '--compare', path('bc')), {
    exit: 13,
    text: /E_INPUT \S+bc: is of another conversation[^]*\nfailed comparison: /,
  });
  t.match(
    run(path('ab'), ...CA, '--compare', path('none')),
    { exit: 13, text: /E_INPUT \S+none: .*ENOENT[^]*\nnone   comparison: / },
    'what cannot be read is not compared',
  );
  const torn = run(path('bc'), ...CA, '--compare', path('torn'));
  t.match(torn, { exit: 10, text: /E_SUMS \S+torn: msg\/000003\// }, 'the other bundle is judged as well');
  t.match(torn.text, /\nok     comparison: /, 'its messages are proven');
  const stranger = authority('Stranger');
  writeFileSync(path('stranger'), stranger.pem);
  const both = run(path('ab'), '--ca', path('stranger'), '--compare', path('less'));
  t.match(
    both,
    { exit: 12, text: /\nfailed comparison: / },
    'of two bundles that nobody vouches for nothing was compared',
  );
  const unsigned = (all: Map<string, Buffer>): void => {
    for (const [name, bytes] of all) if (name.endsWith('/batch.sig')) all.set(name, flipped(bytes, 10));
  };
  writeFileSync(path('unproven'), bundleOf(world, leaves, 'ab', { files: unsigned }, 'bob'));
  t.match(run(path('ab'), ...CA, '--compare', path('unproven')), { exit: 10, text: /\nfailed comparison: / });
});

t.test('JSON', async (t) => {
  const { exit, out } = run(path('bc'), ...CA, '--json');
  t.equal(exit, 0);
  const { checked, checks } = JSON.parse(out[0]!);
  t.match(checked, {
    conversation: hex(conversationOf('bc')),
    profile: 'complete',
    exporter: hex(fingerprintOf(credentialOf(world, 'bob'))),
    logs: [{ origin: world.origin, size: leaves.length }],
    messages: 3,
    receipts: 0,
    delivered: 0,
    read: 0,
    disclosed: 3,
    batches: 3,
  });
  t.equal(checked.senders.length, 2);
  t.same(checks[0], { check: 'form', result: 'ok' });
  t.same(checks.at(-1), { check: 'comparison', result: 'none' });
  const unsigned = (all: Map<string, Buffer>): void => {
    for (const [name, bytes] of all) if (/^msg.*sig$/.test(name)) all.set(name, flipped(bytes, 10));
  };
  writeFileSync(path('unsigned'), bundleOf(world, leaves, 'bc', { files: unsigned }, 'bob'));
  t.same(JSON.parse(run(path('unsigned'), ...CA, '--json').out[0]!).checked.senders, [], 'who signed, and nobody else');
  const torn = JSON.parse(run(path('torn'), ...CA, '--json').out[0]!);
  t.ok(torn.checks.some((c: { check: string; result: string }) => c.check === 'seal' && c.result === 'failed'));
});

t.test('every finding that a bundle can get belongs to one check', async (t) => {
  const ofLogs = [
    'W_KEY_FILES',
    'W_LOST',
    'W_COSIGNED_AHEAD',
    'E_ENTRIES',
    'E_BATCH_SHORT',
    'E_BATCH_ROOT',
    'E_LINK',
    'E_TILE',
    'E_ROOT',
  ];
  const named = CHECKS.flatMap(({ codes }) => codes);
  t.same([...named, ...ofLogs].toSorted(), Object.keys(FINDINGS).toSorted());
});

/** A bundle whose sender wrote this. */
function saying(text: string | Uint8Array) {
  const body = Buffer.from(text);
  const kf = Buffer.alloc(32, 9);
  const step = { sender: 'carol', conversations: ['notes'], at: 0 };
  const ms: NonNullable<Parameters<typeof compose>[2]>['ms'] = (ms) => ({
    ...ms,
    commitment: commitment(kf, encodeMs(ms), body),
  });
  return bundleOf(
    world,
    compose(world, [step], { ms }),
    'notes',
    { messages: (m) => m.map((one) => ({ ...one, opening: concat(kf, body) })) },
    'carol',
  );
}

t.test('pages', async (t) => {
  const page = run(path('ab'), ...CA, '--report', 'html');
  t.equal(page.exit, 0);
  const html = page.text;
  for (const wanted of [
    /<p class="verdict valid">VALID: /,
    /O=SecureChat, OU=Client, CN=alice/,
    /message 1 of bob/,
    /What it does not prove/,
    /Who sat at the keyboard/,
    /SHA-256 [0-9a-f]{64}/,
    /<td>17<\/td>/,
    /chat-verify 1\.2\.3/,
  ])
    t.match(html, wanted);
  t.notMatch(html, /<script|src=|href=|url\(/, 'nothing is fetched');
  t.match(html, /default-src 'none'/);
  const torn = run(path('torn'), ...CA, '--report', 'html').text;
  t.match(torn, /<p class="verdict">TAMPERED: /);
  t.match(torn, /The verdict is not VALID/);
  t.equal(torn.split('<td>FAULTY</td>').length, 2, 'one message is faulty');
  writeFileSync(path('odd'), flipped(small, small.length - ARCHIVE_END.length - 1));
  const odd = run(path('odd'), ...CA, '--report', 'html').text;
  t.equal(odd.split('<td>FAULTY</td>').length, 2, 'also for the form of a file alone');
  const opening = 'msg/000001/opening';
  const lie = { files: (all: Map<string, Buffer>) => all.set(opening, flipped(all.get(opening)!, 40)) };
  writeFileSync(path('lie'), bundleOf(world, leaves, 'bc', lie, 'bob'));
  const lied = run(path('lie'), ...CA, '--report', 'html').text;
  t.equal(lied.split('<td>FAULTY</td>').length, 2, 'and for a text that was sealed and never signed');
  t.match(lied, '(disclosed text is not what was signed)');
  t.match(torn, /<td>E_SUMS<\/td><td>msg\/000003\//);
  const md = run(path('ab'), ...CA, '--report', 'md');
  t.match(md.text, /^# Evidence report\n\n\*\*VALID: /);
  t.match(md.text, /\| 2 \| \S+Z \| O=SecureChat, OU=Client, CN=bob \| message 1 of bob \| 7 \| proven \|/);
  const hidden = bundleOf(world, leaves, 'ab', { messages: (m) => m.map((one) => ({ ...one, opening: null })) });
  writeFileSync(path('hidden'), hidden);
  const undisclosed = run(path('hidden'), ...CA, '--report', 'html').text;
  t.notMatch(undisclosed, 'message 1 of', 'what is not disclosed is not there');
  t.match(undisclosed, '(not disclosed)');

  writeFileSync(path('evil'), saying('<script>x</script>\n| **a** [b](http://c) &amp; "q" \u001b[31m\u202eabc'));
  for (const kind of ['html', 'md']) {
    const { exit, text } = run(path('evil'), ...CA, '--report', kind);
    t.equal(exit, 0);
    t.notMatch(text, /<script>|[\u001b\u202e]/, `${kind}: no tag, nothing that is not seen`);
    t.match(text, '&#60;script&#62;x&#60;');
    if (kind === 'md') t.match(text, '&#124; &#42;&#42;a&#42;&#42; &#91;b&#93;&#40;http&#58;//c&#41; &#38;amp; ');
    else t.match(text, '| **a** [b](http://c) &#38;amp; &#34;q&#34; \\u{1b}[31m\\u{202e}abc');
  }
  writeFileSync(path('bytes'), saying(Buffer.of(0xff, 0xfe)));
  t.match(run(path('bytes'), ...CA, '--report', 'html').text, '(2 bytes that are not text)');
  writeFileSync(path('long'), saying('a'.repeat(20_001)));
  t.match(run(path('long'), ...CA, '--report', 'html').text, '[the first 20000 of 20001 characters]');
});

t.test('as a process, from standard input', async (t) => {
  const main = fileURLToPath(new URL('../../verify/main.ts', import.meta.url));
  const argv = [main, '-', ...CA, '-q'];
  t.match(spawnSync(process.execPath, argv, { input: small, encoding: 'utf8' }), { status: 0, stdout: /^VALID 3 / });
  t.match(spawnSync(process.execPath, argv, { input: '', encoding: 'utf8' }), { status: 13, stdout: /is no bundle/ });
});

function judge(bytes: Uint8Array) {
  const findings = new Findings();
  auditBundle([bytes], { roots: [ca], crls: [] }, findings);
  return { exit: EXIT[findings.verdict(false)], kept: findings.kept };
}

t.test('what is found once speaks against each message', async (t) => {
  const goodOnes = (archive: Uint8Array, roots: readonly Certificate[]): number[] => {
    const good: number[] = [];
    const onMessage = ({ number, isGood }: JudgedMessage) => isGood && good.push(number);
    auditBundle([archive], { roots, crls: [] }, new Findings(), { onMessage });
    return good;
  };
  t.same(goodOnes(small, [ca]), [1, 2, 3]);
  t.same(goodOnes(small, []), [], 'nobody vouches for anything');
  const archiveOf = (name: string) => BUNDLE_TRUST.find((row) => row.name === name)!.archive();
  const alices = [1, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];
  t.same(goodOnes(archiveOf('of another authority'), [ca]), alices, 'nor for one of two');
  t.same(goodOnes(archiveOf('of which there is no statement'), [ca]), [1, 2, 3, 4, 5], 'nor for the log any more');
  writeFileSync(path('stranger'), archiveOf('of another authority'));
  const { text } = run(path('stranger'), ...CA, '--report', 'html');
  t.equal(text.split('<td>FAULTY</td>').length, 4, 'and the page says so');
  t.notMatch(run(path('stranger'), ...CA, '--json').text, /message 2 of bob/, 'nor is it told what they say');
});

t.test('hostile archives', async (t) => {
  const before = readdirSync(root);
  const rest = small.subarray(0, -ARCHIVE_END.length);
  const evil = archived('x', Buffer.from('owned'));
  evil.write('../../owned\0', 0, 'latin1');
  t.equal(judge(concat(rest, evil, ARCHIVE_END)).exit, 10, 'a name that leads out');
  const huge = archived('msg/000009/entry', Buffer.alloc(0));
  huge.write('77777777777', 124, 'latin1');
  t.match(
    judge(concat(rest, huge, ARCHIVE_END)).kept.find(({ where }) => where === 'archive')?.message,
    /8589934591 bytes/,
  );
  t.throws(() => judge(Buffer.alloc(0)), { code: 'BAD_FRAME' });
  t.throws(() => judge(Buffer.alloc(4096, 0x41)), { code: 'BAD_FRAME' });
  t.throws(() => judge(ARCHIVE_END), { code: 'BAD_FRAME' });
  t.same(readdirSync(root), before, 'nothing is ever written');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(small.length), (junk, at) => {
      const { exit } = judge(concat(small.subarray(0, Math.max(at, 1024)), junk));
      if (exit === 0) throw new Error('valid');
    }),
    { seed: 7, numRuns: isFuzz ? 20_000 : isQuick ? 20 : 150 },
  );
});

t.test('one bit anywhere', async (t) => {
  t.equal(judge(small).exit, 0, 'valid before');
  const missed: unknown[] = [];
  let count = 0;
  fc.assert(
    fc.property(fc.nat(small.length - 1), fc.nat(7), (offset, bit) => {
      count++;
      let found;
      try {
        found = judge(flipped(small, offset, bit));
      } catch (error) {
        t.match(error, { code: 'BAD_FRAME' }, 'the first header');
        return;
      }
      if (found.exit < 10 || !found.kept.some(({ code }) => code.startsWith('E_')))
        missed.push([offset, bit, found.exit]);
    }),
    { seed: 20261121, numRuns: isFuzz ? 30_000 : isQuick ? 100 : 2000 },
  );
  t.same(missed, [], `${count} bits, all found`);
  t.ok(count >= (isQuick ? 100 : 2000));
});
