/**
 * Breaks one rule of the verifier after the other in a copy of the tree, and says which breaks no test notices: `node scripts/mutants.ts`,
 * or with words that the names of the wanted mutants hold. Takes minutes. Exit 1 if a mutant survives, or no longer applies.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** file, what stands there (once), what stands there instead */
type Mutant = readonly [file: string, from: string, to: string];

const AUDIT = 'verify/log-audit.ts';
const CERTIFICATES = 'verify/certificate-audit.ts';
const DIRECTORY = 'verify/log-directory.ts';
const TILES = 'verify/hash-tiles.ts';
const TILE_FILE = 'verify/tile-file.ts';
const FILE = 'verify/capped-file.ts';
const FINDING = 'verify/finding.ts';
const PROGRAM = 'verify/program.ts';
const LINEAGE = 'transcript/lineage.ts';
const STATEMENT = 'transcript/key-statement.ts';
const CHECKPOINT = 'transcript/checkpoint.ts';
const NOTE = 'transcript/note.ts';
const LEAF = 'transcript/leaf.ts';

const MUTANTS: readonly Mutant[] = [
  [AUDIT, 'if (leaf.serverTime < this.#time)', 'if (false)'],
  [AUDIT, 'if (this.#open) this.#open.isDamaged = true;', ''],
  [AUDIT, 'return this.#fillSlot();\n    }', 'return;\n    }'],
  [AUDIT, "if (index === 1 && leaf.type !== 'key')", 'if (false)'],
  [AUDIT, '    this.#checkCoverage(where, leaf.serverTime);\n', ''],
  [AUDIT, "if (leaf.type === 'link') this.#link(where, leaf.checkpoint);", ''],
  [AUDIT, 'this.#closeBatch();\n    this.#certificates.end();', 'this.#certificates.end();'],
  [AUDIT, '    this.#certificates.end();\n', ''],
  [AUDIT, 'if (this.tally.messages === 0)', 'if (false)'],
  [AUDIT, 'if (this.#logged.size === 0)', 'if (false)'],
  [AUDIT, 'if (!this.#logged.has(nameOf(text)))', 'if (false)'],
  [AUDIT, 'else if (this.#logged.has(nameOf(text, signature))) return;', 'else return;'],
  [AUDIT, 'else if (this.#signatures.has(nameOf(signature)))', 'else if (true)'],
  [AUDIT, 'else if (this.#signatures.has(nameOf(signature)))', 'else if (false)'],
  [AUDIT, 'if (open === null) return this.#find(', 'if (open === null) return void ('],
  [AUDIT, 'if (position !== open.slots + 1 && !open.isDamaged)', 'if (false)'],
  [AUDIT, 'if (position !== open.slots + 1 && !open.isDamaged)', 'if (position !== open.slots + 1)'],
  [AUDIT, '`);\n      open.isDamaged = true;', '`);'],
  [AUDIT, 'if (serverTime !== open.leaf.serverTime)', 'if (false)'],
  [AUDIT, '++this.#open.slots === this.#open.count', 'false'],
  [AUDIT, '    this.#checkSender(where, leaf, bs.sender);\n', ''],
  [AUDIT, '    this.#lineage.apply(change);\n', ''],
  [AUDIT, "if (open.isDamaged && (position > 0 || code === 'E_BATCH_SHORT')) continue;", ''],
  [AUDIT, '      open.isDamaged = true;\n        return [];', 'return [];'],
  [AUDIT, '> MAX_SKEW_MS', '>= MAX_SKEW_MS'],
  [AUDIT, '> MAX_SKEW_MS', '> Infinity'],
  [
    AUDIT,
    'if (own === undefined)\n      return this.#findings.addOnce(name',
    'if (own === undefined)\n      return void (name',
  ],
  [AUDIT, 'if (verify(own.publicKey', 'if (true || verify(own.publicKey'],
  [AUDIT, 'CONTEXT.senderBatch', 'CONTEXT.clientHandshake'],
  [AUDIT, "this.#certificates.check(where, name, serverTime, 'clientAuth');", ''],
  [AUDIT, "serverTime, 'clientAuth'", "serverTime, 'serverAuth'"],
  [AUDIT, 'formatVkey(statement.log) !== formatVkey(this.#log)', 'false'],
  [AUDIT, '!matchesServerName(own, parseOrigin(statement.log.name).host)', 'false'],
  [AUDIT, 'previousSignature.length === 0', 'true'],
  [AUDIT, 'isEndorsed(statement, text, previousSignature)', 'true'],
  [AUDIT, "this.#certificates.check(where, name, serverTime, 'serverAuth');", ''],
  [AUDIT, 'until: notAfter + 1', 'until: notAfter'],
  [AUDIT, 'until: notAfter + 1', 'until: Infinity'],
  [AUDIT, 'from: notBefore,', 'from: 0,'],
  [AUDIT, 'if (this.#covered.from <= at && at < this.#covered.until) return;', 'if (this.#covered.until > 0) return;'],
  [AUDIT, '      this.#covered = { from: 0, until: 0 };\n', ''],
  [AUDIT, '.slice(0, MAX_STATEMENTS - 1)', ''],
  [AUDIT, 'if (judged.fault) continue;', ''],
  [AUDIT, "if (newest) this.#certificates.check(where, newest.certificate, at, 'serverAuth');", 'if (newest) return;'],
  [AUDIT, 'peekCheckpoint(note).origin === this.#log.name', 'false'],
  [AUDIT, "this.#find('E_LINK', where, ChatError.from(error).message);", ''],
  [AUDIT, "this.#find('E_FORMAT', where, message);", ''],
  [AUDIT, 'this.tally.senders.add(name);', ';'],

  [CERTIFICATES, 'more.slice(0, 1 + MAX_INTERMEDIATES - known.length)', 'more'],
  [CERTIFICATES, '...known.slice(1), ', ''],
  [CERTIFICATES, 'known.from <= at && at < known.until', 'true'],
  [CERTIFICATES, 'at < known.until', 'true'],
  [CERTIFICATES, 'known.from <= at', 'true'],
  [CERTIFICATES, 'this.#findings.addOnce(`${purpose} ${name}`, fault.code, where, fault.message)', 'void where'],
  [CERTIFICATES, 'namesakes.length > 0 && ', ''],
  [CERTIFICATES, 'namesakes.every(', 'false && namesakes.every('],
  [CERTIFICATES, 'crlsOf([crl], ca).length === 0', 'false'],
  [CERTIFICATES, "revocation: 'at-signing'", "revocation: 'live'"],
  [CERTIFICATES, 'crls,\n        at,', 'crls: [],\n        at,'],
  [CERTIFICATES, 'if (crlsOf(crls, ca).length > 0) continue;', ''],
  [CERTIFICATES, 'if (crlsOf(crls, ca).length > 0) continue;', 'continue;'],
  [CERTIFICATES, 'c.notAfter + 1', 'Infinity'],
  [CERTIFICATES, 'edges.push(revoked.get(serial)?.at ?? Infinity)', ';'],
  [CERTIFICATES, '...this.#trust.roots].flatMap', '].flatMap'],

  [DIRECTORY, 'openOwn(bytes, log, name, findings)', 'peekCheckpoint(bytes)'],
  [DIRECTORY, "openOwn(note, log, 'checkpoint', findings)", 'peekCheckpoint(note)'],
  [DIRECTORY, '  audit.end();\n', ''],
  [DIRECTORY, '  audit.keyFiles(text, signature);\n', ''],
  [DIRECTORY, 'equal(root, checkpoint.root);', 'true;'],
  [DIRECTORY, '  tiles.end(isProven);\n', ''],
  [DIRECTORY, 'if (checkpoint && root && !isProven)', 'if (false)'],
  [DIRECTORY, 'if (size > checkpoint.size)', 'if (false)'],
  [DIRECTORY, 'size === checkpoint.size ? checkpoint.root : root', 'root'],
  [DIRECTORY, 'if (own === undefined || equal(own, known.root)) return;', 'return;'],
  [DIRECTORY, 'if (isProven || size === checkpoint.size)', 'if (true)'],
  [DIRECTORY, 'if (isProven || size === checkpoint.size)', 'if (isProven)'],
  [DIRECTORY, 's > start && s < end', 'false'],
  [DIRECTORY, 'stop === size || sizes.has(stop)', 'stop === size'],
  [DIRECTORY, "code === 'SIG_FAIL' ? 'E_CKPT_SIG' : 'E_FORMAT'", "'E_FORMAT'"],
  [DIRECTORY, "findings.add('E_INPUT', name, file.fault);", ''],
  [DIRECTORY, "findings.add('E_ENTRIES', file.path", "void ('E_ENTRIES', file.path"],
  [DIRECTORY, 'findings.add(file.isMissing', 'void (file.isMissing'],
  [DIRECTORY, "file.isMissing ? 'E_TRUNCATED' : 'E_ENTRIES'", "'E_TRUNCATED'"],

  [TILES, 'stored === undefined || equal(stored, hash)', 'true'],
  [TILES, 'level === 0 && !areEntriesProven', 'level === 0'],
  [TILES, 'level === 0 && !areEntriesProven', 'false'],
  [TILES, 'if (height % TILE_HEIGHT !== 0) return;', 'if (height !== 0) return;'],
  [TILES, "this.#findings.add('E_TILE', open.path, file.fault);", ''],
  [TILES, "this.#findings.add('E_TILE', file.path, ChatError.from(error).message);", ''],
  [TILES, 'tile?.index !== tileIndex', 'tile === undefined'],
  [TILE_FILE, 'yield TILE_WIDTH;', ''],
  [TILE_FILE, 'wider < TILE_WIDTH; wider++', 'false; wider++'],
  [TILE_FILE, 'if (!file.isMissing) return file;', ''],
  [TILE_FILE, 'width === tile.width ? file.bytes : prefix(file.bytes, tile)', 'file.bytes'],
  [FILE, ' | constants.O_NONBLOCK', ''],
  [FILE, ' | constants.O_NOFOLLOW', ''],
  [FILE, 'if (!stat.isFile())', 'if (false)'],
  [FILE, 'if (length > maxBytes) return null;', ''],
  [FILE, 'fstatSync(fd).isDirectory() ? null : ', ''],
  [FINDING, 'before === 0 || ', ''],
  [FINDING, 'before < MAX_KEPT_OF_A_CODE && ', ''],
  [FINDING, 'if (this.#once.has(key)) return;', ''],
  [FINDING, "isStrict && this.warnings > 0 ? 'INCOMPLETE' : 'VALID'", "'VALID'"],
  [
    FINDING,
    "RANKING = ['EQUIVOCATION', 'UNREADABLE', 'TAMPERED'",
    "RANKING = ['TAMPERED', 'EQUIVOCATION', 'UNREADABLE'",
  ],
  [FINDING, "'TAMPERED', 'UNTRUSTED', 'INCOMPLETE']", "'UNTRUSTED', 'TAMPERED', 'INCOMPLETE']"],
  [PROGRAM, 'io.out(shown(line))', 'io.out(line)'],
  [PROGRAM, 'io.out(shown(`${verdict}', 'io.out((`${verdict}'],
  [PROGRAM, 'return text.replace(/[^\\x20-\\x7e]/g', 'return text.replace(/[^\\s\\S]/g'],
  [PROGRAM, "const isReadable = findings.count('E_INPUT') === 0;", 'const isReadable = true;'],
  [PROGRAM, 'if (fault) findings.add', 'if (false) findings.add'],
  [PROGRAM, '.length > 1)', '.length > 9)'],
  [PROGRAM, 'return EXIT[verdict];', 'return 0;'],
  [PROGRAM, 'findings.verdict(strict)', 'findings.verdict(false)'],

  [LINEAGE, 'if (!equal(bs.audience, audience))', 'if (false)'],
  [LINEAGE, 'if (messages.length !== bs.count)', 'if (false)'],
  [LINEAGE, '!equal(bs.batchRoot, rootOf(messages.map((m) => m.leaf)))', 'false'],
  [LINEAGE, 'if (fault !== null) find(fault, 0,', 'if (false) find(fault!, 0,'],
  [LINEAGE, "if (fault === 'E_CTR_REGRESS') return", 'if (false) return'],
  [LINEAGE, '!equal(bs.prevBatch, before.lastBatch)', 'false'],
  [LINEAGE, '!equal(ms.sender, sender) || ', ''],
  [LINEAGE, ' || !equal(ms.session, session)', ''],
  [LINEAGE, 'if (fault !== null) find(fault, position,', 'if (false) find(fault!, position,'],
  [LINEAGE, 'if (convCtr !== lastCtr + 1)', 'if (false)'],
  [LINEAGE, 'if (link !== null) find', 'if (false) find'],
  [LINEAGE, 'if (isContinued) return', 'if (false) return'],
  [LINEAGE, "last === undefined ? null : { code: 'W_CONV_RESTART'", "true ? null : { code: 'W_CONV_RESTART'"],
  [LINEAGE, "if (last !== undefined) return { code: 'E_CONV_LINK'", "if (false) return { code: 'E_CONV_LINK'"],
  [LINEAGE, 'thread?.convCtr ?? ', ''],
  [LINEAGE, 'thread?.lastLeaf ?? ', ''],
  [LINEAGE, 'this.#leaves.set(hex(sender) + hex(conversation), lastLeaf);', ''],
  [LINEAGE, 'this.#counters.set(', 'void ('],
  [STATEMENT, '!verify(certificateKey, algorithm, CONTEXT.logKey, text, signature.subarray(1))', 'false'],
  [STATEMENT, 'if (log.name !== name)', 'if (false)'],
  [STATEMENT, 'previous !== null && verify(', 'previous !== null || verify('],
  [CHECKPOINT, 'if (checkpoint.origin !== log.name)', 'if (false)'],
  [CHECKPOINT, "lines.length !== 4 || lines[3] !== ''", 'lines.length < 4'],
  [CHECKPOINT, '(0|[1-9][0-9]{0,15})', '[0-9]{1,16}'],
  [NOTE, '!verify(null, utf8(text), key.publicKey, signature)', 'false'],
  [NOTE, 'if (signers.size === 0)', 'if (false)'],
  [NOTE, 'k.name === name && k.keyId === keyId', 'k.name === name'],
  [NOTE, 'k.name === name && k.keyId === keyId', 'k.keyId === keyId'],
  [NOTE, '/[\\0-\\x09\\x0b-\\x1f]/.test(whole)', 'false'],
  [NOTE, 'if (hex(u32(keyId)) !== id)', 'if (false)'],
  [LEAF, "c.zeros(1, 'reserved');", "c.take(1, 'reserved');"],
  [LEAF, '  c.end();\n  return leaf;', '  return leaf;'],
  [LEAF, 'if (countOf(bs) !== aux)', 'if (false)'],
];

const root = fileURLToPath(new URL('..', import.meta.url));
const copy = mkdtempSync(join(tmpdir(), 'mutants-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
for (const name of ['base', 'x509', 'transcript', 'verify', 'test', 'scripts', 'package.json'])
  cpSync(join(root, name), join(copy, name), { recursive: true });
symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
/** The tamper matrix as directories: written once, judged by each mutant. */
const cases = join(copy, 'cases');
mkdirSync(cases);

const fails = (...argv: string[]): boolean => {
  const env = { ...process.env, TAP_BAIL: '1', TAP_TIMEOUT: '100', CHAT_TAMPER_CASES: cases };
  const { status, error } = spawnSync(process.execPath, argv, { cwd: copy, timeout: 120_000, stdio: 'ignore', env });
  if (error && (error as NodeJS.ErrnoException).code !== 'ETIMEDOUT') throw error;
  return status !== 0;
};
const JUDGE = 'test/verify/judge.ts';
const TESTS = ['finding', 'live-directory', 'program', 'bit-flips'].map((name) => `test/verify/${name}.test.ts`);
/** Who notices that this file is broken; null: nobody. The quickest is asked first. */
function noticedBy(file: string): string | null {
  if (fails(JUDGE, cases)) return JUDGE;
  const own = file.startsWith('transcript/') ? [file.replace(/^(.*)\.ts$/, 'test/$1.test.ts')] : [];
  return [...own, ...TESTS].find((test) => fails(test)) ?? null;
}

const wanted = process.argv.slice(2);
const chosen = MUTANTS.filter((mutant) => wanted.every((word) => mutant.join(' ').includes(word)));
/** A kill means something only as long as nothing is killed without a mutant. */
function checkHealth(): void {
  for (const file of new Set(chosen.map(([name]) => (name.startsWith('transcript/') ? name : 'verify/')))) {
    const test = noticedBy(file);
    if (test !== null) throw new Error(`${test} fails without any mutant`);
  }
}
if (fails('test/verify/tamper.test.ts')) throw new Error('the tamper matrix fails without any mutant');
checkHealth();

const survivors: string[] = [];
const stale: string[] = [];
for (const [i, [file, from, to]] of chosen.entries()) {
  const path = join(copy, file);
  const text = readFileSync(path, 'utf8');
  const name = `${file}: ${JSON.stringify(from)} → ${JSON.stringify(to)}`;
  if (text.split(from).length !== 2) {
    stale.push(name);
    continue;
  }
  writeFileSync(
    path,
    text.replace(from, () => to),
  );
  const test = noticedBy(file);
  writeFileSync(path, text);
  if (test === null) survivors.push(name);
  console.log(`${i + 1}/${chosen.length} ${test === null ? 'SURVIVED' : `killed by ${test}`}: ${name}`);
}
checkHealth();
for (const name of stale) console.log(`does not apply once: ${name}`);
for (const name of survivors) console.log(`survived: ${name}`);
const killed = chosen.length - survivors.length - stale.length;
console.log(`${killed} of ${chosen.length} killed, ${survivors.length} survived, ${stale.length} do not apply`);
process.exitCode = survivors.length + stale.length > 0 ? 1 : 0;
