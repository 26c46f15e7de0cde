import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { equal } from '../../base/bytes.ts';
import type { ChatError } from '../../base/errors.ts';
import { disk, type Files } from '../../server/log/files.ts';
import { acquireLock } from '../../store/lock.ts';
import { TranscriptLog } from '../../server/log/log.ts';
import { decodeAck } from '../../transcript/ack.ts';
import { openCheckpoint, signCheckpoint } from '../../transcript/checkpoint.ts';
import { openKeyStatement } from '../../transcript/key-statement.ts';
import { decodeLeaf, type CertLeaf, type KeyLeaf } from '../../transcript/leaf.ts';
import { leafHash, nodesOver, rootOf, Tree } from '../../transcript/merkle.ts';
import { isConsistent, isIncluded, rootFromRange } from '../../transcript/proof.ts';
import { parseVkey } from '../../transcript/note.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { createPrivateKey } from 'node:crypto';
import type { Issued } from '../support/pki.ts';
import { LATER, NOW } from '../support/store-world.ts';
import { checkTileDirectory } from '../support/tile-directory.ts';
import { entry, identity, logOptions, openLog, ORIGIN } from '../support/transcript-world.ts';

const keys = identity();
const readIn = (dir: string) => (path: string) => readFile(join(dir, path)).catch(() => null);
const hold = (dir: string) => checkTileDirectory(readIn(`${dir}/log`), parse(dir));
const parse = (dir: string) => readFileSync(`${dir}/log/key.stmt`, 'utf8').match(/^vkey (.*)$/m)![1]!;

t.test('a new log begins with the certificate and the key statement that it signed', async (t) => {
  const dir = t.testdir();
  const log = await TranscriptLog.open(logOptions(dir, keys.server));
  t.equal(log.size, 0);
  t.throws(() => log.certification.identity, { code: 'INTERNAL' }, 'not before it is certified');
  await log.certification.certify();
  const { statement, algorithm, signature } = log.certification.identity;
  const { publicKey, fingerprint } = parseCertificate(keys.server.der);
  const opened = openKeyStatement(Buffer.from(statement), Buffer.concat([Buffer.of(algorithm), signature]), publicKey);
  t.ok(equal(opened.serverCertificate, fingerprint));
  t.equal(opened.log.name, ORIGIN);
  const [cert, key] = (await log.entries(0, 2)).map(decodeLeaf) as [CertLeaf, KeyLeaf];
  t.strictSame([cert.type, key.type, cert.serverTime], ['cert', 'key', NOW]);
  t.ok(equal(cert.chain[0]!, keys.server.der));
  t.equal(Buffer.from(key.statement).toString(), statement);
  t.equal(readFileSync(`${dir}/log/key.stmt`, 'utf8'), statement);
  t.ok(equal(openCheckpoint(Buffer.from(log.latest.note), parseVkey(log.vkey)).root, log.latest.root));
  await log.certification.certify();
  t.equal(log.size, 2, 'once');
  await log.close();
});

t.test('proofs and entries agree with the tree over what was appended, from memory and from disk', async (t) => {
  const dir = t.testdir();
  let log = await openLog(logOptions(dir, keys.server));
  const all: Uint8Array[] = await log.entries(0, log.size);
  const heads = [log.latest];
  for (const [i, count] of [1, 3, 255, 1, 1, 510, 2, 700, 40].entries()) {
    const entries = Array.from({ length: count }, () => entry(NOW + i));
    const first = log.size;
    const head = await log.append({ time: NOW + i, entries });
    all.push(...entries);
    heads.push(head);
    t.equal(head.size, first + count);
    if (i % 3 === 1) await log.publish();
  }
  const check = async (when: string) => {
    const leaves = all.map(leafHash);
    const tree = new Tree(leaves.length, nodesOver(leaves));
    t.ok(equal(log.latest.root, rootOf(leaves)), `${when}: root`);
    for (const index of [0, 1, 255, 256, 511, 800, leaves.length - 1])
      t.ok(
        isIncluded(index, leaves.length, leaves[index]!, await log.proofs.inclusion(index), log.latest.root),
        `${index}`,
      );
    for (const { size, root } of heads)
      t.ok(isConsistent(size, root, log.size, log.latest.root, await log.proofs.consistency(size)), `from ${size}`);
    t.strictSame(await log.proofs.range(200, 300, 600), new Tree(600, nodesOver(leaves.slice(0, 600))).range(200, 300));
    t.strictSame(await log.entries(0, log.size), all, `${when}: entries`);
    t.strictSame(await log.entries(250, 520), all.slice(250, 520));
    for (const [first, count] of [
      [2, 3],
      [700, 60],
      [log.size - 3, 2],
    ] as const) {
      const ack = decodeAck(await log.proofs.ack(first, count, NOW));
      t.equal(ack.treeSize, log.size);
      const root = rootFromRange(first, leaves.slice(first, first + count + 1), log.size, ack.proof);
      t.ok(root && equal(root, log.latest.root), `${when}: ACK of ${first}`);
      t.equal(ack.checkpoint.length, 0);
    }
    t.strictSame(await log.proofs.range(3, 9), tree.range(3, 9));
  };
  await check('written');
  await log.publish();
  await check('published');
  t.equal((await hold(dir))?.size, log.size);
  const { note } = log.latest;
  await log.close();
  log = await openLog(logOptions(dir, keys.server));
  t.equal(log.latest.note, note, 'the very same note');
  t.equal(log.time, NOW + 8);
  await check('opened again');
  await t.rejects(log.entries(0, log.size + 1), RangeError);
  await t.rejects(log.proofs.consistency(5, log.size + 1), RangeError);
  await log.close();
});

t.test('a window that is refused leaves no trace', async (t) => {
  const dir = t.testdir();
  const log = await openLog(logOptions(dir, keys.server));
  await log.append({ time: NOW + 5, entries: [entry(NOW + 5)] });
  const { note } = log.latest;
  await t.rejects(log.append({ time: NOW + 5, entries: [] }), RangeError);
  await t.rejects(log.append({ time: NOW + 4, entries: [entry(NOW + 4)] }), RangeError, 'the time goes back');
  const large = Array.from({ length: 5 }, () => entry(NOW + 5, 60_000));
  await t.rejects(log.append({ time: NOW + 5, entries: large }), { code: 'TOO_LARGE', field: 'wal' });
  const first = log.append({ time: NOW + 5, entries: [entry(NOW + 5)] });
  await t.rejects(log.append({ time: NOW + 5, entries: [entry(NOW + 5)] }), { code: 'INTERNAL' }, 'one at a time');
  t.equal((await first).size, 4);
  t.not(log.latest.note, note);
  await log.close();
  await t.rejects(log.append({ time: NOW + 5, entries: [entry(NOW + 5)] }), { code: 'SHUTTING_DOWN' });
  const again = await openLog(logOptions(dir, keys.server));
  t.equal(again.size, 4);
  await again.close();
});

t.test('segments are used again, and the directory stays small', async (t) => {
  const dir = t.testdir();
  const log = await openLog(logOptions(dir, keys.server));
  for (let i = 0; i < 60; i++) {
    await log.append({ time: NOW, entries: [entry(NOW, 5000)] });
    if (i % 5 === 4) await log.publish();
  }
  const wal = readdirSync(`${dir}/log/wal`);
  t.ok(wal.length <= 3, wal.join(' '));
  t.ok(Math.max(...wal.map((name) => Number.parseInt(name))) >= 7, 'several were filled');
  await log.close();
  const again = await openLog(logOptions(dir, keys.server));
  t.equal(again.size, 62);
  t.equal((await again.entries(0, 62)).length, 62);
  await again.close();
});

t.test('partial tiles of the checkpoint before stay for its readers, older ones go', async (t) => {
  const dir = t.testdir();
  const log = await openLog(logOptions(dir, keys.server));
  const partials = () =>
    readdirSync(`${dir}/log/tile/0/000.p`)
      .map(Number)
      .sort((a, b) => a - b);
  t.strictSame(partials(), [2]);
  await log.append({ time: NOW, entries: [entry(NOW)] });
  await log.publish();
  t.strictSame(partials(), [2, 3]);
  await log.append({ time: NOW, entries: [entry(NOW), entry(NOW)] });
  await log.publish();
  t.strictSame(partials(), [3, 5]);
  await log.append({ time: NOW, entries: Array.from({ length: 251 }, () => entry(NOW)) });
  await log.publish();
  t.equal(log.size, 256);
  t.strictSame(partials(), [5], 'the full tile has no partial one');
  t.ok(statSync(`${dir}/log/tile/0/000`).isFile());
  await log.append({ time: NOW, entries: [entry(NOW)] });
  await log.publish();
  t.notOk(readdirSync(`${dir}/log/tile/0`).includes('000.p'), 'an empty directory goes, too');
  t.strictSame(readdirSync(`${dir}/log/tile/1/000.p`), ['1']);
  await log.close();
  writeFileSync(`${dir}/log/tile/0/001.p/7`, 'of a publication that was cut off');
  const wasWritten = [...Array(10)].map(() => entry(NOW));
  const again = await openLog(logOptions(dir, keys.server));
  await again.append({ time: NOW, entries: wasWritten });
  await again.close();
  t.equal((await hold(dir))?.size, 267);
});

t.test('the directory is a valid log at every instant', async (t) => {
  const dir = t.testdir();
  let checks = 0;
  let last = 0;
  let vkey = '';
  const checked = async (): Promise<void> => {
    if (vkey === '') return;
    const { size } = (await checkTileDirectory(readIn(`${dir}/log`), vkey))!;
    if (size < last) throw new Error(`checkpoint went back from ${last} to ${size}`);
    last = size;
    checks++;
  };
  const files: Files = {
    ...disk,
    rename: async (from, to) => (await disk.rename(from, to), checked()),
    remove: async (path) => (await disk.remove(path), checked()),
    removeDirectory: async (path) => (await disk.removeDirectory(path), checked()),
    syncDirectory: async (path) => (await disk.syncDirectory(path), checked()),
  };
  const log = await openLog(logOptions(dir, keys.server, { files }));
  vkey = log.vkey;
  for (const count of [3, 250, 1, 5, 300, 1]) {
    await log.append({ time: NOW, entries: Array.from({ length: count }, () => entry(NOW)) });
    await log.publish();
  }
  await log.close();
  const again = await openLog(logOptions(dir, keys.server, { files }));
  await again.append({ time: NOW, entries: [entry(NOW)] });
  await again.close();
  t.equal(last, 563);
  t.ok(checks > 100, `${checks} checks`);
});

t.test('one process at a time', async (t) => {
  const dir = t.testdir();
  const log = await openLog(logOptions(dir, keys.server));
  await t.rejects(TranscriptLog.open(logOptions(dir, keys.server)), {
    code: 'IN_USE',
    message: new RegExp(`${process.pid}`),
  });
  mkdirSync(`${dir}/copy`);
  await t.rejects(
    TranscriptLog.open(logOptions(dir, keys.server, { dir: `${dir}/copy` })),
    { code: 'IN_USE' },
    'another directory with the same key',
  );
  const script = `import('${new URL('../../store/lock.ts', import.meta.url).href}').then(({ acquireLock }) => {
    try { acquireLock(process.argv[1]); console.log('locked') } catch (e) { console.log(e.code) } })`;
  const other = () =>
    spawnSync(process.execPath, ['-e', script, `${dir}/log/lock`], { encoding: 'utf8' }).stdout.trim();
  t.equal(other(), 'IN_USE', 'another process');
  await log.close();
  t.equal(other(), 'locked', 'after it has ended');
  const killed = spawnSync(
    process.execPath,
    ['-e', script.replace("console.log('locked')", "process.kill(process.pid, 'SIGKILL')"), `${dir}/log/lock`],
    { encoding: 'utf8' },
  );
  t.equal(killed.signal, 'SIGKILL');
  t.ok(readdirSync(`${dir}/log`).includes('lock.pid'), 'it has left its traces');
  acquireLock(`${dir}/log/lock`).release();
  t.throws(() => acquireLock(`${dir}/nowhere/lock`), { code: 'LOG_FAILED', message: /nowhere/ });
});

t.test('the key file', async (t) => {
  const dir = t.testdir();
  const open = () => TranscriptLog.open(logOptions(dir, keys.server));
  await (await open()).close();
  t.equal(statSync(`${dir}/log.key`).mode & 0o777, 0o600);
  t.match(readFileSync(`${dir}/log.key`, 'latin1'), /^-----BEGIN PRIVATE KEY-----/);
  const { vkey } = await open().then(async (log) => (await log.certification.certify(), await log.close(), log));
  for (const mode of [0o640, 0o604, 0o620]) {
    chmodSync(`${dir}/log.key`, mode);
    await t.rejects(open(), { code: 'UNSAFE_FILE', field: 'transcript.key' }, mode.toString(8));
  }
  chmodSync(`${dir}/log.key`, 0o600);
  const good = readFileSync(`${dir}/log.key`);
  writeFileSync(`${dir}/log.key`, keys.server.keyPem);
  await t.rejects(open(), { code: 'CONFIG_INVALID', message: /Ed25519/ }, 'another kind of key');
  rmSync(`${dir}/log.key`);
  await t.rejects(open(), { code: 'CONFIG_INVALID', message: /missing/ }, 'no new key for an old log');
  await t.resolves(
    TranscriptLog.open(logOptions(`${dir}`, keys.server, { dir: `${dir}/other` })).then((log) => log.close()),
  );
  await t.rejects(open(), { code: 'CONFIG_INVALID', message: /not signed by this key/ }, 'the key of another log');
  writeFileSync(`${dir}/log.key`, good);
  const log = await open();
  t.equal(log.vkey, vkey);
  await log.close();
  await t.rejects(
    TranscriptLog.open(logOptions(dir, keys.server, { origin: 'localhost/log/n2' })),
    { code: 'CONFIG_INVALID' },
    'another name',
  );
});

t.test('a new server certificate vouches for the key again', async (t) => {
  const dir = t.testdir();
  const before = await openLog(logOptions(dir, keys.server));
  const { statement } = before.certification.identity;
  await before.close();
  const renewed = keys.ca.server({ key: 'rsa2048', notBefore: NOW - 1000, notAfter: LATER });
  const log = await openLog(logOptions(dir, renewed));
  t.not(log.certification.identity.statement, statement);
  t.equal(log.certification.identity.algorithm, 3);
  t.equal(log.vkey, before.vkey);
  t.strictSame(
    (await log.entries(2, 4)).map((bytes) => decodeLeaf(bytes).type),
    ['cert', 'key'],
  );
  await log.close();
  const again = await openLog(logOptions(dir, renewed));
  t.equal(again.size, 4, 'once');
  await again.close();
  rmSync(`${dir}/log/key.sig`);
  const mended = await openLog(logOptions(dir, renewed));
  t.equal(mended.size, 4, 'half a pair is no statement, and the log has the other half');
  await mended.close();
  t.equal(readFileSync(`${dir}/log/key.sig`)[0], 3, 'it is written again');

  const other = keys.ca.server({ san: ['DNS:other.example'], notBefore: NOW - 1000, notAfter: LATER });
  await t.rejects(TranscriptLog.open(logOptions(dir, other)), { code: 'BAD_CERT', sub: 'wrong_host' });
  await t.rejects(
    TranscriptLog.open(logOptions(dir, keys.server, { serverPrivateKey: createPrivateKey(other.keyPem) })),
    { code: 'CONFIG_INVALID', field: 'tls.key' },
  );
  await t.rejects(TranscriptLog.open(logOptions(dir, keys.server, { origin: 'Localhost' })), { code: 'BAD_FRAME' });
});

t.test('a server certificate that is renewed while the log runs: entries, then checkpoint, then files', async (t) => {
  const dir = t.testdir();
  const renames: string[] = [];
  const files: Files = { ...disk, rename: (from, to) => (renames.push(basename(to)), disk.rename(from, to)) };
  const log = await openLog(logOptions(dir, keys.server, { files }));
  t.strictSame(renames.slice(-3), ['checkpoint', 'key.sig', 'key.stmt'], 'at the first start');
  const old = log.certification.identity;
  const own = (issued: Issued) => ({ chain: [issued.der], privateKey: issued.key });
  const fingerprint = (issued: Issued) => parseCertificate(issued.der).fingerprint;
  const renewed = keys.ca.server({ key: 'rsa2048', notBefore: NOW - 1000, notAfter: LATER });
  await log.certification.vouch(own(renewed));
  t.strictSame(
    (await log.entries(2, 4)).map((bytes) => decodeLeaf(bytes).type),
    ['cert', 'key'],
  );
  t.equal(readFileSync(`${dir}/log/key.stmt`, 'utf8'), old.statement, 'the files wait for the checkpoint');
  t.not(log.certification.identity.statement, old.statement);
  t.equal(
    log.certification.identityOf(fingerprint(keys.server)),
    old,
    'who still has the old certificate gets its statement',
  );
  t.equal(log.certification.identityOf(fingerprint(renewed)), log.certification.identity);
  renames.length = 0;
  await log.publish();
  t.strictSame(renames.slice(-3), ['checkpoint', 'key.sig', 'key.stmt']);
  t.equal(readFileSync(`${dir}/log/key.stmt`, 'utf8'), log.certification.identity.statement);
  await log.certification.vouch(own(renewed));
  await log.certification.vouch(own(keys.server));
  await log.publish();
  t.equal(log.size, 4, 'what has vouched need not do it again');
  t.equal(readFileSync(`${dir}/log/key.stmt`, 'utf8'), old.statement);
  const other = keys.ca.server({ san: ['DNS:other.example'], notBefore: NOW - 1000, notAfter: LATER });
  await t.rejects(log.certification.vouch(own(other)), { code: 'BAD_CERT', sub: 'wrong_host' });
  t.equal(log.certification.identity, old, 'and nothing has changed');
  await log.close();
});

t.test('a checkpoint that somebody holds', async (t) => {
  const fatal: ChatError[] = [];
  const dir = t.testdir();
  const open = () => openLog(logOptions(dir, keys.server, { onFatal: (error) => fatal.push(error) }));
  const key = () => createPrivateKey(readFileSync(`${dir}/log.key`));
  const note = (size: number, root: Uint8Array, origin = ORIGIN, signer = key()) =>
    signCheckpoint({ origin, size, root: root as never }, signer).toString();

  let log = await open();
  const old = log.latest;
  await log.append({ time: NOW, entries: [entry(NOW), entry(NOW)] });
  await log.present(old.note);
  await log.present(log.latest.note);
  await log.present(
    note(9, Buffer.alloc(32, 1), ORIGIN, createPrivateKey(keys.ca.client('x', { key: 'ed25519' }).keyPem)),
  );
  await t.rejects(log.present('nonsense'), { code: 'BAD_FRAME' });
  await log.append({ time: NOW, entries: [entry(NOW)] });
  t.equal(fatal.length, 0, 'none of these is against the log');

  await t.rejects(log.present(note(6, Buffer.alloc(32, 1))), { code: 'ROLLBACK' });
  await t.rejects(log.append({ time: NOW, entries: [entry(NOW)] }), { code: 'ROLLBACK' });
  await t.rejects(log.publish(), { code: 'ROLLBACK' });
  t.equal(log.size, 5);
  await log.close();
  log = await open();
  await t.rejects(log.present(note(5, Buffer.alloc(32, 1))), { code: 'FORK' });
  await t.rejects(log.append({ time: NOW, entries: [entry(NOW)] }), { code: 'FORK' });
  await log.close();
  log = await open();
  await t.rejects(log.present(note(3, Buffer.alloc(32, 1))), { code: 'FORK' });
  await t.rejects(log.append({ time: NOW, entries: [entry(NOW)] }), { code: 'FORK' }, 'an older size, too');
  await log.close();
  t.strictSame(
    fatal.map(({ code }) => code),
    ['ROLLBACK', 'FORK', 'FORK'],
  );

  copyFileSync(`${dir}/log/checkpoint`, `${dir}/checkpoint`);
  writeFileSync(`${dir}/log/checkpoint`, note(6, Buffer.alloc(32, 1)));
  await t.rejects(open(), { code: 'ROLLBACK' }, 'the published one is larger than the log');
  writeFileSync(`${dir}/log/checkpoint`, note(4, Buffer.alloc(32, 1)));
  await t.rejects(open(), { code: 'FORK' }, 'the published one is of another history');
  copyFileSync(`${dir}/checkpoint`, `${dir}/log/checkpoint`);
  await (await open()).close();
});
