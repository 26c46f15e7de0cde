/**
 * Breaks one rule of the verifier after the other, and says which breaks no test notices: `npm run mutants`, or with words that the names
 * of the wanted mutants hold. Nothing is written into the tree: a hook gives the broken file to the test. Exit 1 if a mutant survives, or
 * no longer applies.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

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
const BUNDLE = 'verify/bundle.ts';
const BUNDLE_LOG = 'verify/bundle-log.ts';
const BUNDLE_MESSAGE = 'verify/bundle-message.ts';
const BUNDLE_LINEAGE = 'verify/bundle-lineage.ts';
const BUNDLE_RECEIPTS = 'verify/bundle-receipts.ts';
const BUNDLE_SUMS = 'verify/bundle-sums.ts';
const COMPARISON = 'verify/comparison.ts';
const CHECKS = 'verify/checks.ts';
const REPORT = 'verify/report.ts';
const AHEAD = 'verify/signatures-ahead.ts';
const THREAD = 'verify/signature-thread.ts';
const CRL_FILES = 'verify/crl-files.ts';
const BUNDLE_CRLS = 'verify/bundle-crls.ts';
const USTAR = 'transcript/ustar.ts';
const BUNDLE_TEXT = 'transcript/bundle.ts';
const LINEAGE = 'transcript/lineage.ts';
const MEMORY = 'transcript/lineage-memory.ts';
const STATEMENT = 'transcript/key-statement.ts';
const MESSAGE_STATEMENT = 'transcript/statement.ts';
const RECEIPT = 'transcript/receipt.ts';
const CHECKPOINT = 'transcript/checkpoint.ts';
const NOTE = 'transcript/note.ts';
const LEAF = 'transcript/leaf.ts';

const OUTSIDE = 'verify/outside.ts';
const ATTESTATIONS = 'verify/attestations.ts';
const BUNDLE_ATTESTATION = 'verify/bundle-attestation.ts';
const COSIGNATURE = 'transcript/cosignature.ts';
const STAMP = 'transcript/stamp.ts';

const MUTANTS: readonly Mutant[] = [
  [BUNDLE_RECEIPTS, "if (part) this.#findings.add('E_FORMAT'", "if (false) this.#findings.add('E_FORMAT'"],
  [BUNDLE_RECEIPTS, 'if (early !== undefined)', 'if (false)'],
  [BUNDLE_RECEIPTS, 'if (!isCiphertextOf(ms, [part]))', 'if (false)'],
  [BUNDLE_RECEIPTS, 'else if (named.user === user)', 'else if (false)'],
  [BUNDLE_RECEIPTS, 'if (!this.receipts.has(number))', 'if (false)'],
  [BUNDLE_RECEIPTS, 'if (ms.kind === KIND.message) this.#wanted.set', 'if (true) this.#wanted.set'],
  [BUNDLE_LINEAGE, 'if (!isThreaded(ms.kind)) {', 'if (false) {'],
  [COMPARISON, '!isReceipt && ', ''],
  [LINEAGE, "if (isClosed) find('E_CLOSED'", "if (false) find('E_CLOSED'"],
  [LINEAGE, 'isClosed = ms.kind === KIND.close;', ''],
  [LINEAGE, 'isClosed = ms.kind === KIND.close;', 'isClosed ||= ms.kind === KIND.close;'],
  [LINEAGE, '    if (!isThreaded(ms.kind)) return;\n', ''],
  [MESSAGE_STATEMENT, '  if (!isThreaded(ms.kind)) checkPlain(ms);\n', ''],
  [MESSAGE_STATEMENT, "if (ms.convCtr !== 0) bad('ms.conv_ctr'", "if (false) bad('ms.conv_ctr'"],
  [MESSAGE_STATEMENT, 'if (!equal(value, NO_HASH)) bad(field', 'if (false) bad(field'],
  [MESSAGE_STATEMENT, "within('ms.parts', ms.parts, 1, 1);", ''],
  [MESSAGE_STATEMENT, 'if (!isReceiptLength(ms.ciphertextBytes))', 'if (false)'],
  [
    MESSAGE_STATEMENT,
    "if (!equal(ms.conversation, NO_HASH)) bad('ms.conversation'",
    "if (false) bad('ms.conversation'",
  ],
  [MESSAGE_STATEMENT, "if (isOpen) within('ms.session_ctr'", "if (false) within('ms.session_ctr'"],
  [MESSAGE_STATEMENT, "within('ms.ciphertext_bytes', ms.ciphertextBytes, bytes, bytes);", ''],
  [RECEIPT, 'bytes > 0 &&', ''],
  [RECEIPT, 'bytes <= MAX_ACKNOWLEDGED * HASH_BYTES &&', ''],
  [RECEIPT, 'bytes % HASH_BYTES === 0', 'true'],
  [AUDIT, 'if (leaf.serverTime < this.#time)', 'if (false)'],
  [AUDIT, 'if (this.#open) this.#open.isDamaged = true;', ''],
  [AUDIT, 'return this.#fillSlot();\n    }', 'return;\n    }'],
  [AUDIT, "if (index === 1 && leaf.type !== 'key')", 'if (false)'],
  [AUDIT, '    this.#checkCoverage(where, leaf.serverTime);\n', ''],
  [AUDIT, "if (leaf.type === 'link') this.#link(where, leaf.checkpoint);", ''],
  [AUDIT, '    this.#closeBatch();\n    const [first]', '    const [first]'],
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
  [AUDIT, 'formatVkey(key) !== formatVkey(this.#log)', 'false'],
  [AUDIT, '!matchesServerName(own, parseOrigin(statement.log.name).host)', 'false'],
  [AUDIT, '!agrees(statement, text, previousSignature) || ', ''],
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
  [CERTIFICATES, 'if (at <= end) continue;', ''],
  [CERTIFICATES, 'if (at <= end) continue;', 'continue;'],
  [CERTIFICATES, 'edges.push(...this.#ends);', ''],
  [CERTIFICATES, 'this.#trust.names?.get(crl) ?? ', ''],
  [CERTIFICATES, 'c.notAfter + 1', 'Infinity'],
  [CERTIFICATES, 'edges.push(revoked.get(serial)?.at ?? Infinity)', ';'],
  [CERTIFICATES, '...this.#trust.roots].flatMap', '].flatMap'],

  [DIRECTORY, 'openOwn(bytes, audit.keyAt(peekSize(bytes)), name, findings)', 'peekCheckpoint(bytes)'],
  [DIRECTORY, "openOwn(note, audit.keyAt(size), 'checkpoint', findings)", 'peekCheckpoint(note)'],
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
  [PROGRAM, '.length > 1)', '.length > 9)'],
  [PROGRAM, 'return EXIT[verdict];', 'return 0;'],
  [PROGRAM, 'findings.verdict(strict)', 'findings.verdict(false)'],

  [USTAR, 'if (whole.compare(EMPTY, 0, padding, size) !== 0)', 'if (false)'],
  [USTAR, 'if (this.#open !== null || this.#heldBytes > 0)', 'if (false)'],
  [USTAR, 'else if (this.#emptyBlocks < 2)', 'else if (false)'],
  [USTAR, 'if (++this.#emptyBlocks > 2)', 'if (++this.#emptyBlocks > 9)'],
  [USTAR, 'if (this.#emptyBlocks > 0) {', 'if (false) {'],
  [USTAR, 'if (digits === undefined) {', 'if (false) {'],
  [USTAR, "if (!isName(name)) faults.push('is no name for a file');", 'if (!isName(name)) void 0;'],
  [USTAR, 'else if (!block.equals(header(name, size)))', 'else if (false)'],
  [USTAR, 'if (name <= this.#last)', 'if (name < this.#last)'],
  [USTAR, 'if (name <= this.#last)', 'if (name === this.#last)'],
  [USTAR, 'if (size > this.#limitOf(name))', 'if (false)'],
  [USTAR, 'name.length <= MAX_NAME_CHARS && NAME.test(name)', 'NAME.test(name)'],
  [BUNDLE_TEXT, "if (lines.length !== 7 || lines[6] !== '')", 'if (lines.length < 6)'],
  [BUNDLE_TEXT, 'if (lines[0] !== TITLE)', 'if (false)'],
  [BUNDLE_TEXT, "if (profile !== 'complete' && profile !== 'selective')", 'if (false)'],
  [BUNDLE_TEXT, 'if (messages > MAX_BUNDLE_MESSAGES)', 'if (false)'],
  [BUNDLE_TEXT, 'found?.length === HASH_BYTES ? found :', 'found ? found :'],
  [BUNDLE_TEXT, 'if (size > MAX_BATCH || index >= size)', 'if (index >= size)'],
  [BUNDLE_TEXT, 'if (size > MAX_BATCH || index >= size)', 'if (size > MAX_BATCH)'],
  [BUNDLE_TEXT, ' || Buffer.compare(prefix, BATCH_PREFIX) !== 0', ''],
  [BUNDLE_TEXT, 'bytes.length !== BATCH_PREFIX.length + BS_BYTES || ', ''],
  [BUNDLE_TEXT, 'if (lines.length > 63)', 'if (false)'],
  [BUNDLE_TEXT, 'if (digits === undefined || number === 0) return null;', 'if (digits === undefined) return null;'],
  [BUNDLE_SUMS, 'if (odd >= 0)', 'if (false)'],
  [BUNDLE_SUMS, 'const odd = isWhole ?', 'const odd = true ?'],
  [BUNDLE_SUMS, 'if (nameIn(line) !== name) return', 'if (false) return'],
  [BUNDLE_SUMS, 'if (!line.startsWith(`${digest}  `))', 'if (false)'],
  [
    BUNDLE_SUMS,
    'nameIn(this.#lines[this.#at]!) < name; this.#at++) this.#missing();',
    'nameIn(this.#lines[this.#at]!) < name; this.#at++);',
  ],
  [BUNDLE_SUMS, 'for (; this.#at < this.#lines.length; this.#at++) this.#missing();', ''],
  [BUNDLE, "for (const fault of faults) this.#find('E_FORMAT', name, fault);", ''],
  [
    BUNDLE,
    "if (file === null) return this.#find('E_FORMAT', name, 'is no file of a bundle');",
    'if (file === null) return;',
  ],
  [BUNDLE, "this.#find('E_FORMAT', name, message);", ''],
  [BUNDLE, 'if (files === 0) throw', 'if (false) throw'],
  [BUNDLE, 'if (reader.fault !== null) findings.add', 'if (false) findings.add'],
  [BUNDLE, '    this.#closeMessage();\n    this.#list?.end();', '    this.#list?.end();'],
  [BUNDLE, '    this.#list?.end();\n', ''],
  [BUNDLE, 'if (this.#sums === null) this.#find', 'if (false) this.#find'],
  [BUNDLE, 'if (this.#head && this.#head.messages !== this.#count)', 'if (false)'],
  [BUNDLE, 'if (this.#count === 0) this.#find', 'if (false) this.#find'],
  [BUNDLE, 'this.#known(logs, name, note);', ''],
  [BUNDLE, '    this.#authorities().end();\n', ''],
  [BUNDLE, "if (this.#headDigest !== null) this.#list.check('BUNDLE', this.#headDigest);", ''],
  [BUNDLE, 'more.length > 0 || hex(own!.fingerprint) !== fingerprint', 'more.length > 0'],
  [BUNDLE, 'more.length > 0 || hex(own!.fingerprint) !== fingerprint', 'hex(own!.fingerprint) !== fingerprint'],
  [BUNDLE, 'const crls = [...this.#trust.crls, ...this.#crls.names.keys()];', 'const crls = [...this.#trust.crls];'],
  [
    BUNDLE,
    'const crls = [...this.#trust.crls, ...this.#crls.names.keys()];',
    'const crls = [...this.#crls.names.keys()];',
  ],
  [BUNDLE, 'this.#audit.add(certificate, this.#intermediates)', 'this.#audit.add(certificate, [])'],
  [BUNDLE, 'if (this.#head) this.#checkSeal(this.#audit, this.#head);', ''],
  [
    BUNDLE,
    'if (!verify(own.publicKey, algorithmOf(own.publicKey), CONTEXT.bundle, this.#sums, signature))',
    'if (false)',
  ],
  [BUNDLE, "audit.check(where, name, created, this.#isByServer ? 'serverAuth' : 'clientAuth');", ''],
  [BUNDLE, "this.#isByServer ? 'serverAuth' : 'clientAuth'", "'clientAuth'"],
  [BUNDLE, '    this.#checkServer(logs);\n', ''],
  [BUNDLE, 'this.#crls.judge((origin) => logs.get(origin), this.#findings);', ''],
  [
    BUNDLE_CRLS,
    "if (lists.length > 1) throw new ChatError('BAD_FRAME', 'holds",
    "if (false) throw new ChatError('BAD_FRAME', 'holds",
  ],
  [BUNDLE_CRLS, "if (leaf.type !== 'crl') throw", 'if (false) throw'],
  [BUNDLE_CRLS, "findings.add('E_FORMAT', `${where}.${leaf", "void ('E_FORMAT', `${where}.${leaf"],
  [BUNDLE_CRLS, 'this.#checkPlace(`${where}.tlog-proof`, leaf, proof, logOf, findings);', ''],
  [BUNDLE_CRLS, 'const isOther = list !== null && !equal(', 'const isOther = list !== null && false && !equal('],
  [BUNDLE_CRLS, 'else checkCrlEntry(`${where}.entry`', 'else void (`${where}.entry`'],
  [BUNDLE_CRLS, '    log.checkCoverage(where, leaf.serverTime);\n', ''],
  [BUNDLE_CRLS, 'if (root === null || !equal(root, checkpoint.root))', 'if (false)'],
  [CRL_FILES, '`${digest}.crl` !== name', 'false'],
  [CRL_FILES, "findings.add('E_FORMAT', where, file.fault);", ''],
  [CRL_FILES, "findings.add('E_FORMAT', where, ChatError.from(error).message);", ''],
  [CRL_FILES, "findings.add('W_CRL_MISSING', where, `the list", "void ('W_CRL_MISSING', where, `the list"],
  [CRL_FILES, 'leaf.thisUpdate !== list.thisUpdate || ', ''],
  [CRL_FILES, ' || leaf.nextUpdate !== list.nextUpdate', ''],
  [AUDIT, "if (leaf.type === 'crl') checkCrlEntry(", 'if (false) checkCrlEntry('],
  [AUDIT, 'crls: [...trust.crls, ...names.keys()]', 'crls: [...trust.crls]'],
  [THREAD, 'return own !== undefined && verify(', 'return own === undefined || true || verify('],
  [THREAD, '      openCheckpoint(body, log);\n', ''],
  [AHEAD, 'return Atomics.load(this.#states, slot) === STATE.good;', 'return true;'],
  [BUNDLE, 'if (log && logs.has(log.origin)) this.#find', 'if (log && logs.has(log.origin)) void'],
  [BUNDLE, 'if (number !== this.#lastNumber + 1) this.#find', 'if (false) this.#find'],
  [BUNDLE, 'if (order <= this.#order) this.#find', 'if (false) this.#find'],
  [BUNDLE, 'if (last && Math.sign(index - last.index) * Math.sign(time - last.time) < 0)', 'if (false)'],
  [BUNDLE, 'if (isIncluded) this.#placed', 'this.#placed'],
  [BUNDLE, "else this.#find('E_CKPT_SIG', name,", "else void ('E_CKPT_SIG', name,"],
  [BUNDLE, 'isGood: isSound && this.#findings.errors === before', 'isGood: isSound'],
  [BUNDLE_LOG, 'if (read.checkpoint === null) findings.add', 'if (false) findings.add'],
  [BUNDLE_LOG, 'if (keys.every((key) => formatVkey(key) !== formatVkey(statement.log)))', 'if (false)'],
  [BUNDLE_LOG, 'return this.#wasCovered === true;', 'return true;'],
  [BUNDLE_LOG, 'notBefore <= at && at <= notAfter', 'at <= notAfter'],
  [BUNDLE_LOG, 'notBefore <= at && at <= notAfter', 'notBefore <= at'],
  [BUNDLE_LOG, "!this.#certificates.judge(where, c.certificate, at, 'serverAuth').fault", 'true'],
  [
    BUNDLE_LOG,
    "if (first) this.#certificates.check(where, first.certificate, at, 'serverAuth');",
    'if (first) return;',
  ],
  [BUNDLE_LOG, 'else if (this.#statements.length > 0)', 'else if (false)'],
  [
    BUNDLE_LOG,
    "if (signature === undefined) findings.add('E_FORMAT', `${place}.sig`, 'is missing');",
    'if (signature === undefined) return false;',
  ],
  [
    BUNDLE_LOG,
    'else if (certificate === undefined)\n    findings.add(',
    'else if (certificate === undefined)\n    void (',
  ],
  [BUNDLE_LOG, 'else if (!matchesServerName(certificate, parseOrigin(log.name).host))', 'else if (false)'],
  [BUNDLE_LOG, "findings.add('E_KEYBIND', `${place}.sig`, message);", ''],
  [BUNDLE, 'if (this.#open && !isSound) this.#open.isSound = false;', ''],
  [BUNDLE_LOG, 'if (from !== size) throw', 'if (false) throw'],
  [BUNDLE_LOG, 'if (found) this.#tie(where, found);', ''],
  [BUNDLE_LOG, 'if (root !== undefined) this.#compare(where, found, root);', 'if (root !== undefined) return;'],
  [BUNDLE_LOG, "this.#find(code === 'SIG_FAIL' ? 'E_CKPT_SIG' : 'E_FORMAT', where, message);", ''],
  [
    BUNDLE_LOG,
    'if (other !== undefined) return this.#compare(where, found, other);',
    'if (other !== undefined) return;',
  ],
  [BUNDLE_LOG, 'if (size > newest.size)', 'if (false)'],
  [BUNDLE_LOG, 'proof.note !== this.#note || ', ''],
  [BUNDLE_LOG, ' || !isConsistent(size, root, newest.size, newest.root, proof.path)', ''],
  [BUNDLE_LOG, "this.isVouched ? 'E_FORK' : 'E_CONSISTENCY'", "'E_FORK'"],
  [BUNDLE_LOG, 'if (!equal(root, other))', 'if (false)'],
  [BUNDLE_MESSAGE, "found.type === 'msg' ? found : refuse('is not the entry of a message')", 'found as MsgLeaf'],
  [BUNDLE_MESSAGE, 'if (place && bs && !equal(bs.audience, place.log.audience))', 'if (false)'],
  [BUNDLE_MESSAGE, 'if (log === undefined) {\n      this.#find(', 'if (log === undefined) {\n      void ('],
  [BUNDLE_MESSAGE, 'if (entry) log.checkCoverage(file, entry.serverTime);', ''],
  [BUNDLE_MESSAGE, 'if (!isIncluded) this.#find', 'if (false) this.#find'],
  [BUNDLE_MESSAGE, 'isIncluded: isIncluded && log.isVouched', 'isIncluded'],
  [BUNDLE_MESSAGE, "this.#findings.addOnce(name, 'E_CERT_UNKNOWN'", "void (name, 'E_CERT_UNKNOWN'"],
  [
    BUNDLE_MESSAGE,
    'verify(own.publicKey, algorithmOf(own.publicKey), CONTEXT.senderBatch, statement, signature);',
    'true;',
  ],
  [AHEAD, 'sha256(statement, sha256(signature))', 'sha256(statement)'],
  [BUNDLE_MESSAGE, 'if (isGood) this.signers.add(name);', 'this.signers.add(name);'],
  [BUNDLE_MESSAGE, "entry && this.#certificates.check(file, name, entry.serverTime, 'clientAuth')", '{ fault: null }'],
  [BUNDLE_MESSAGE, 'index === entry.position - 1 && ', ''],
  [BUNDLE_MESSAGE, 'size === bs.count && ', ''],
  [BUNDLE_MESSAGE, ' && equal(root, bs.batchRoot)', ''],
  [BUNDLE_MESSAGE, 'if (!isRight) this.#find', 'if (false) this.#find'],
  [BUNDLE_MESSAGE, '!equal(ms.sender, bs.sender) || ', ''],
  [BUNDLE_MESSAGE, ' || !equal(ms.session, bs.session)', ''],
  [BUNDLE_MESSAGE, 'else if (ms.sessionCtr !== bs.firstCtr + entry.position - 1)', 'else if (false)'],
  [BUNDLE_MESSAGE, 'if (this.#conversation && !equal(ms.conversation, this.#conversation))', 'if (false)'],
  [BUNDLE_MESSAGE, 'if (Math.abs(ms.clientTime - entry.serverTime) > MAX_SKEW_MS)', 'if (false)'],
  [BUNDLE_MESSAGE, 'if (isCommitted(kf, ms, plaintext))', 'if (true)'],
  [BUNDLE_MESSAGE, 'isSigned: hasSignature && hasPath', 'isSigned: true'],
  [BUNDLE_LINEAGE, ' && message.isSigned)', ')'],
  [BUNDLE_LINEAGE, 'if (message.isSigned) this.#stated', 'this.#stated'],
  [BUNDLE_LINEAGE, 'before !== undefined && before.leaf !== hex(msLeaf)', 'before !== undefined'],
  [BUNDLE_LINEAGE, 'if (thread && ms.sessionCtr <= thread.sessionCtr)', 'if (false)'],
  [
    BUNDLE_LINEAGE,
    'if (thread && ms.sessionCtr <= thread.sessionCtr)',
    'if (thread && ms.sessionCtr < thread.sessionCtr)',
  ],
  [BUNDLE_LINEAGE, 'thread.last.batchIndex !== batchIndex || ', ''],
  [BUNDLE_LINEAGE, ' || thread.last.serverTime !== serverTime', ''],
  [BUNDLE_LINEAGE, 'if (end !== null && bs.firstCtr < end)', 'if (false)'],
  [BUNDLE_LINEAGE, 'if (due && !equal(bs.prevBatch, due))', 'if (false)'],
  [BUNDLE_LINEAGE, 'isFirst ? NO_HASH : ', ''],
  [BUNDLE_LINEAGE, 'bs.firstCtr === end ? thread?.last.bsLeaf : undefined', 'undefined'],
  [BUNDLE_LINEAGE, 'if (convCtr > 1 && !hasLink) this.#find', 'if (false) this.#find'],
  [BUNDLE_LINEAGE, 'if (convCtr < due) return this.#find', 'if (convCtr < due) return void'],
  [BUNDLE_LINEAGE, 'if (convCtr > due) return this.#gap', 'if (convCtr > due) return void'],
  [BUNDLE_LINEAGE, 'if (last !== undefined && equal(prevConv, last)) return;', 'return;'],
  [BUNDLE_LINEAGE, 'if (hasLink && last === undefined)', 'if (false)'],
  [BUNDLE_LINEAGE, "hasLink && convCtr === 1 && this.#profile === 'selective'", 'false'],
  [BUNDLE_LINEAGE, "if (hasLink) return this.#find('E_CONV_LINK'", "if (hasLink) return void ('E_CONV_LINK'"],
  [BUNDLE_LINEAGE, 'if (last !== undefined && convCtr === 1)', 'if (false)'],
  [BUNDLE_LINEAGE, "this.#profile === 'complete' ? 'E_CONV_GAP' : 'W_GAP'", "'W_GAP'"],
  [BUNDLE_LINEAGE, "this.#profile === 'complete' ? 'E_CONV_GAP' : 'W_GAP'", "'E_CONV_GAP'"],
  [COMPARISON, '!equal(own.head.conversation, other.head.conversation)', 'false'],
  [COMPARISON, 'if (other.stated.get(place)!.leaf !== leaf)', 'if (false)'],
  [COMPARISON, 'if (other.placed.get(place)!.leaf !== leaf)', 'if (false)'],
  [COMPARISON, 'if (rival && !equal(rival, root))', 'if (false)'],
  [COMPARISON, 'origin === log.origin && isVouched', 'origin === log.origin'],
  [COMPARISON, "missing(own.stated, other.stated, name, 'of this", "void ('of this"],
  [COMPARISON, "missing(other.stated, own.stated, name, 'of the", "void ('of the"],
  [CHECKS, "found.some((code) => code.startsWith('E_')) ? 'failed'", "false ? 'failed'"],
  [CHECKS, "skipped.has(name) ? 'none'", "false ? 'none'"],
  [REPORT, 'line.replace(/[&<>"\']/g', 'line.replace(/[&]/g'],
  [REPORT, "shown(line.replaceAll('\\t', '    '))", 'line'],
  [REPORT, 'if (text.length <= MAX_TEXT_CHARS) return text;', 'return text;'],
  [REPORT, "verdict === 'VALID' ? [{ points: PROVEN }]", 'true ? [{ points: PROVEN }]'],
  [REPORT, "isGood ? 'proven' : 'FAULTY'", "'proven'"],

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
  [LINEAGE, 'if (last !== undefined && isLast) return', 'if (false) return'],
  [LINEAGE, 'thread?.convCtr ?? ', ''],
  [LINEAGE, 'thread?.lastLeaf ?? ', ''],
  [MEMORY, 'this.#leaves.set(hex(sender) + hex(conversation), lastLeaf);', ''],
  [MEMORY, 'this.#counters.set(', 'void ('],
  [MEMORY, 'this.#changed.add(key);', ''],
  [MEMORY, 'this.#senders.add(hex(sender));', ''],
  [MEMORY, "this.#ends.delete(this.#endOf.get(key) ?? '');", ''],
  [LINEAGE, 'if (opening !== null) find', 'if (false) find'],
  [LINEAGE, 'if (isTrue((log) => log.hasEnd(part))) return null;', 'return null;'],
  [LINEAGE, 'if (!isTrue((log) => log.hasSession(sender))) return null;', 'return null;'],
  [LINEAGE, 'if (equal(part, FIRST_OPENING))', 'if (false)'],
  [LINEAGE, 'if (state.isLater)\n', 'if (true)\n'],
  [LINEAGE, ' && isLast) return', ') return'],
  [LINEAGE, 'const isLast = here !== undefined || (', 'const isLast = here !== undefined && ('],
  [LINEAGE, '!state.isLater || lost <= 0', '!state.isLater || lost < 0'],
  [LINEAGE, '!state.isLater || lost <= 0', '!state.isLater'],
  [LINEAGE, ' && equal(last.batchRoot, batchRoot)', ''],
  [LINEAGE, 'kept && last?.firstCtr === firstCtr && ', 'false && '],
  [LINEAGE, '    if (isRepeated) return;\n', ''],
  [LINEAGE, 'earlierCtr ?? 0, isCarried ?', '0, isCarried ?'],
  [LINEAGE, 'isClosed: kept?.isClosed ?? false, lastCtr', 'isClosed: false, lastCtr'],
  [STATEMENT, '!verify(certificateKey, algorithm, CONTEXT.logKey, text, signature.subarray(1))', 'false'],
  [STATEMENT, 'if (log.name !== name)', 'if (false)'],
  [STATEMENT, 'previous !== null && verify(', 'previous !== null || verify('],
  [CHECKPOINT, 'if (checkpoint.origin !== keys[0].name)', 'if (false)'],
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
  [OUTSIDE, 'if (quorum === 0) return null;', 'if (quorum > 0) return null;'],
  [OUTSIDE, '[quorum - 1] ?? null', '[0] ?? null'],
  [OUTSIDE, 'if (!equal(stamp.imprint, imprintOf(note)))', 'if (false)'],
  [OUTSIDE, 'return this.#isTrusted(where, stamp)\n      ?', 'return true\n      ?'],
  [OUTSIDE, 'until: stamp.time + stamp.accuracyMs', 'until: stamp.time'],
  [OUTSIDE, 'if (serverTime <= moment + MAX_SKEW_MS) return;', 'return;'],
  [OUTSIDE, 'if (serverTime >= moment - MAX_SKEW_MS) return;', 'return;'],
  [OUTSIDE, 'if (serverTime <= moment + MAX_SKEW_MS) return;', 'if (serverTime <= moment) return;'],
  [OUTSIDE, 'if (stampRoots.length === 0) return false;', 'if (stampRoots.length === 0) return true;'],
  [OUTSIDE, 'trustTimeStamp(stamp, stampRoots, this.#trust.crls, this.#trust.at);', ''],
  [OUTSIDE, 'this.#findings.add(code, where, failure.message);', ''],
  [ATTESTATIONS, 'size > index || size === 0', 'size === 0'],
  [ATTESTATIONS, 'size > index || size === 0', 'size > index'],
  [ATTESTATIONS, 'if (!equal(own, root))', 'if (false)'],
  [ATTESTATIONS, '    this.#cosigned(where, stamp.checkpoint, size);\n', ''],
  [ATTESTATIONS, 'this.#outside.checkNotBefore(where, leaf.serverTime, moment.from);', ''],
  [ATTESTATIONS, 'if (quorum > 0 && this.#cosignedSize === 0)', 'if (false)'],
  [ATTESTATIONS, 'if (requiresStamp && this.#stampedSize === 0)', 'if (false)'],
  [ATTESTATIONS, 'if (lastMessage !== null && lastMessage >= size)', 'if (false)'],
  [ATTESTATIONS, "code === 'SIG_FAIL' ? 'E_CKPT_SIG' : 'E_STAMP'", "'E_STAMP'"],
  [BUNDLE_ATTESTATION, 'if (moment) this.#limits.push', 'if (moment) void'],
  [BUNDLE_ATTESTATION, 'if (cosigned !== null) this.#limits.push', 'if (cosigned !== null) void'],
  [BUNDLE_ATTESTATION, 'else if (quorum > 0)', 'else if (false)'],
  [BUNDLE_ATTESTATION, 'else if (requiresStamp)', 'else if (false)'],
  [BUNDLE_ATTESTATION, 'if (quorum > 0) this.#findings', 'if (false) this.#findings'],
  [BUNDLE_ATTESTATION, 'if (requiresStamp) this.#findings', 'if (false) this.#findings'],
  [BUNDLE_ATTESTATION, "this.#findings.add('E_STAMP', where, message);", ''],
  [DIRECTORY, 'const others = cosigned === null ? known :', 'const others = true ? known :'],
  [
    DIRECTORY,
    "if (!file.isMissing) findings.add('E_INPUT', 'cosigned'",
    "if (false) findings.add('E_INPUT', 'cosigned'",
  ],
  [COSIGNATURE, 'if (seconds === 0n || seconds > BigInt(MAX_TIME_S)) throw wrong(witness);', ''],
  [
    COSIGNATURE,
    'if (!verify(null, message, witness.publicKey, signature.subarray(TIME_BYTES))) throw wrong(witness);',
    '',
  ],
  [COSIGNATURE, 'time < earlier.time', 'time > earlier.time'],
  [STAMP, 'if (token.length === 0)', 'if (false)'],
];

const root = fileURLToPath(new URL('..', import.meta.url));
const hook = join(root, 'scripts/mutant-hook.ts');
/** The tamper matrix as directories and bundles: written once, judged by each mutant. */
const cases = mkdtempSync(join(tmpdir(), 'mutants-'));
process.on('exit', () => rmSync(cases, { recursive: true, force: true }));
const bundles = join(cases, 'bundles');
mkdirSync(bundles);

const JUDGE = 'test/verify/judge.ts';
/** A mutant that never ends is noticed as well. */
const PATIENCE_MS = 120_000;
const LANES = Math.max(2, availableParallelism());

const environment = (mutant: Mutant | null): NodeJS.ProcessEnv => ({
  ...process.env,
  TAP_BAIL: '1',
  TAP_TIMEOUT: '100',
  CHAT_FEW_FLIPS: '1',
  CHAT_TAMPER_CASES: cases,
  CHAT_MUTANT: JSON.stringify(mutant ?? []),
});

/** Whether a row of the matrix is judged otherwise than it should be. */
async function isMisjudged(mutant: Mutant | null, folder: string): Promise<boolean> {
  const options = {
    argv: [folder],
    execArgv: ['--import', hook],
    env: environment(mutant),
    stdout: true,
    stderr: true,
  };
  const worker = new Worker(join(root, JUDGE), options);
  const timer = setTimeout(() => void worker.terminate(), PATIENCE_MS);
  try {
    const [status] = (await once(worker, 'exit')) as [number];
    return status !== 0;
  } catch {
    return true;
  } finally {
    clearTimeout(timer);
  }
}

async function fails(mutant: Mutant | null, test: string): Promise<boolean> {
  const child = spawn(process.execPath, ['--import', hook, test], {
    cwd: root,
    timeout: PATIENCE_MS,
    stdio: 'ignore',
    // What a test starts is to have the broken file as well.
    env: { ...environment(mutant), NODE_OPTIONS: `--import ${hook}` },
  });
  const [status] = (await once(child, 'close')) as [number | null];
  return status !== 0;
}

const LOG_TESTS = ['finding', 'live-directory', 'program', 'bit-flips'].map((name) => `test/verify/${name}.test.ts`);
const BUNDLE_TESTS = ['bundle', 'bundle-receipts', 'signatures-ahead'].map((name) => `test/verify/${name}.test.ts`);
/** Files that have no part in judging a log. */
const OF_BUNDLES = /\/(?:bundle.*|ustar|comparison|checks|report|signature.*)\.ts$/;
/** Files that have no part in judging a bundle. */
const OF_LOGS = /\/(?:log-audit|log-directory|hash-tiles|tile-file|crl-files|lineage)\.ts$/;
/** Files that the matrix hardly sees, and the test that does. */
const OWN: Readonly<Record<string, string>> = {
  [FINDING]: 'test/verify/finding.test.ts',
  [PROGRAM]: 'test/verify/program.test.ts',
  [CHECKS]: 'test/verify/bundle.test.ts',
  [REPORT]: 'test/verify/bundle.test.ts',
  [AHEAD]: 'test/verify/signatures-ahead.test.ts',
  [THREAD]: 'test/verify/signatures-ahead.test.ts',
};

/** Who notices; null: nobody. The quickest is asked first. */
async function noticedBy(mutant: Mutant): Promise<string | null> {
  const [file] = mutant;
  const own = OWN[file] ?? (file.startsWith('transcript/') ? file.replace(/^(.*)\.ts$/, 'test/$1.test.ts') : null);
  const isOwnFirst = Object.hasOwn(OWN, file);
  if (own !== null && isOwnFirst && (await fails(mutant, own))) return own;
  if (!OF_BUNDLES.test(file) && (await isMisjudged(mutant, cases))) return JUDGE;
  if (!OF_LOGS.test(file) && (await isMisjudged(mutant, bundles))) return `${JUDGE} of bundles`;
  const others = [...(OF_BUNDLES.test(file) ? [] : LOG_TESTS), ...(OF_LOGS.test(file) ? [] : BUNDLE_TESTS)];
  for (const test of [...(own !== null && !isOwnFirst ? [own] : []), ...others])
    if (test !== own || !isOwnFirst) if (await fails(mutant, test)) return test;
  return null;
}

/** A kill means something only as long as nothing is killed without a mutant. */
async function checkHealth(): Promise<void> {
  const tests = [...LOG_TESTS, ...BUNDLE_TESTS].concat(
    [...new Set(chosen.map(([file]) => file))]
      .filter((file) => file.startsWith('transcript/'))
      .map((file) => file.replace(/^(.*)\.ts$/, 'test/$1.test.ts')),
  );
  for (const folder of [cases, bundles])
    if (await isMisjudged(null, folder)) throw new Error(`${folder} is misjudged without any mutant`);
  await inLanes(tests, async (test) => {
    if (await fails(null, test)) throw new Error(`${test} fails without any mutant`);
  });
}

/** As many at once as there are processors. */
async function inLanes<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const left = [...all];
  const lane = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await work(next);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

const wanted = process.argv.slice(2);
const chosen = MUTANTS.filter((mutant) => wanted.every((word) => mutant.join(' ').includes(word)));
const began = Date.now();
await inLanes(['tamper', 'tamper-bundle'], async (test) => {
  if (await fails(null, `test/verify/${test}.test.ts`)) throw new Error('the tamper matrix fails without any mutant');
});
await checkHealth();

const survivors: string[] = [];
const stale: string[] = [];
let done = 0;
await inLanes(chosen, async (mutant) => {
  const [file, from, to] = mutant;
  const name = `${file}: ${JSON.stringify(from)} → ${JSON.stringify(to)}`;
  if (readFileSync(join(root, file), 'utf8').split(from).length !== 2) {
    stale.push(name);
    return;
  }
  const test = await noticedBy(mutant);
  if (test === null) survivors.push(name);
  console.log(`${++done}/${chosen.length} ${test === null ? 'SURVIVED' : `killed by ${test}`}: ${name}`);
});
for (const name of stale) console.log(`does not apply once: ${name}`);
for (const name of survivors) console.log(`survived: ${name}`);
const killed = chosen.length - survivors.length - stale.length;
const seconds = Math.round((Date.now() - began) / 1000);
console.log(
  `${killed} of ${chosen.length} killed, ${survivors.length} survived, ${stale.length} do not apply, ${seconds} s`,
);
process.exitCode = survivors.length + stale.length > 0 || killed === 0 ? 1 : 0;
