/**
 * A real server with witnesses and a time-stamping authority, and what an auditor then can ask for: of its log, and of bundles. openssl agrees
 * about the time-stamp.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { openCosignatures, parseWitness } from '../../transcript/cosignature.ts';
import { certificates, Program, root, System, type Name } from '../support/system.ts';
import { localTsa, serveTsa } from '../support/tsa.ts';
import { WitnessServer } from '../support/witness-server.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(300_000); // a busy machine is no failure

t.test('witnesses and trusted time', async (t) => {
  const folder = testFolder(t, { tsa: {}, system: {}, unpacked: {} });
  const tsa = localTsa(join(folder, 'tsa'));
  const { url } = await serveTsa(t, tsa);
  const [one, two] = await Promise.all(['w.example/1', 'w.example/2'].map((name) => new WitnessServer(name).serve(t)));
  const settings = {
    'transcript.witness': [one!.setting, two!.setting],
    'transcript.witness_every': '1s',
    'transcript.tsa_url': url,
    'transcript.tsa_ca': tsa.ca,
    'transcript.tsa_every': '1s',
  };
  const system = await System.create(t, { dir: join(folder, 'system'), settings });
  t.match(await system.command('config', 'check'), 'configuration is valid');
  await system.start();
  const run = async (name: Name, ...args: readonly string[]) => {
    const program = system.client(name, args);
    t.equal(await program.ended, 0, `${args.join(' ')}: ${program.tail}`);
  };
  const verify = async (...args: readonly string[]) => {
    const certs = certificates();
    const trust = ['--ca', join(certs, 'ca.crt'), '--crl', join(certs, 'ca.crl')];
    const program = new Program(t, [join(root, 'bin/chat-verify'), ...args, ...trust], {});
    return { exit: await program.ended, out: program.out, err: program.err };
  };
  for (const name of ['alice', 'bob'] as const) {
    const program = system.client(name, ['register', '--password-stdin']);
    program.type('correct horse battery');
    t.equal(await program.ended, 0, program.tail);
  }
  await run('alice', 'send', 'bob', 'before all witnesses');
  await run('bob', 'recv', '--max', '1');
  const { log_size: size } = await system.status();
  await system.line('timestamp.logged', 0, (line) => Number(line['size']) >= size);
  const aliceTar = join(folder, 'alice.tar');
  const exported = ['transcript', 'export', 'bob', '-o', aliceTar, '--disclose', 'all', '--force', '--json'];
  let seen: { cosignatures?: number; stamps?: number } = {};
  // What is logged while she asks is stamped a second later.
  for (let i = 0; i < 20 && seen.stamps === undefined; i++) {
    if (i > 0) await setTimeout(1000);
    const program = system.client('alice', [...exported, '--prove']);
    t.equal(await program.ended, 0, program.tail);
    seen = JSON.parse(program.out) as typeof seen;
  }
  t.match(seen, { cosignatures: 2, stamps: 1 }, 'a client is given what others have said');
  await system.stop();

  const outside = [
    '--witness',
    one!.vkey,
    '--witness',
    two!.vkey,
    '--quorum',
    '2',
    '--tsa',
    tsa.ca,
    '--require',
    'timestamp',
  ];
  const log = await verify(system.transcript, ...outside);
  t.equal(log.exit, 0, `of the log: ${log.out}`);
  t.notMatch(log.out, /W_UNSTAMPED|W_STAMP/);
  t.match(
    log.out,
    /W_NO_CRL entry \d+: .* CN=Time root was given/,
    'whether the authority was revoked, nobody has said',
  );
  const stranger = new WitnessServer('w.example/3');
  t.match(await verify(system.transcript, '--witness', stranger.vkey), { exit: 11, out: /W_NO_QUORUM checkpoint/ });

  const hers = await verify(aliceTar, ...outside);
  t.match(
    hers,
    { exit: 0, out: /ok {5}witnesses: .*\nok {5}trusted time: .*\n[^]*\nVALID / },
    'of a bundle of a client',
  );
  t.match(hers.out, /before all witnesses/);
  await run('alice', ...exported);
  t.match(
    await verify(aliceTar, ...outside),
    { exit: 11, out: /W_NO_QUORUM[^]*W_NO_STAMP/ },
    'which asks a server for it',
  );

  const conversation = JSON.parse((await system.command('transcript', 'list', '--json')).split('\n')[0]!)
    .conversation as string;
  const bundle = join(folder, 'ops.tar');
  await system.command('transcript', 'export', '--conversation', conversation, '-o', bundle);
  const good = await verify(bundle, ...outside, '--crl', tsa.crl, '--strict');
  t.match(good, { exit: 0, out: /ok {5}witnesses: .*\nok {5}trusted time: .*\n[^]*\nVALID / }, 'of a bundle');
  const page = await verify(bundle, ...outside, '--report', 'md');
  t.match(
    page.out,
    /Witness, of whom 2 are enough[^]*Time-stamping authority \| CN=Time root, SHA-256 /,
    'and on a page',
  );
  t.match(await verify(bundle, '--witness', stranger.vkey), { exit: 11, out: /W_NO_QUORUM log\/01\/checkpoint/ });
  const elsewhere = join(certificates(), 'ca.crt');
  t.match(await verify(bundle, '--tsa', elsewhere, '--require', 'timestamp'), {
    exit: 11,
    out: /W_STAMP log\/01\/checkpoint\.tsr[^]*W_NO_STAMP log\/01\/checkpoint\.tsr/,
  });

  const unpacked = join(folder, 'unpacked');
  execFileSync('tar', ['xf', bundle, '-C', unpacked]);
  const at = (name: string) => join(unpacked, 'log/01', name);
  const openssl = (data: string) =>
    execFileSync('openssl', ['ts', '-verify', '-data', data, '-in', at('checkpoint.tsr'), '-CAfile', tsa.ca], {
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
    });
  t.match(openssl(at('checkpoint')), 'Verification: OK', 'openssl says so too');
  writeFileSync(at('other'), readFileSync(at('checkpoint'), 'utf8').replace(/— w\.example\/2 .*\n/, ''));
  t.throws(() => openssl(at('other')), 'of the very bytes');
  const script = (...more: readonly string[]) =>
    spawnSync(
      'sh',
      [join(root, 'scripts/verify-with-openssl.sh'), bundle, '2', '--ca', join(certificates(), 'ca.crt'), ...more],
      {
        encoding: 'utf8',
      },
    );
  t.match(
    script('--tsa', tsa.ca),
    { status: 0, stdout: /\nok {5}stamped at .* GMT\n/ },
    'and the script with nothing but openssl',
  );
  t.match(script('--tsa', elsewhere), { status: 1, stderr: /^FAILED log\/01\/checkpoint\.tsr/ });
  const keys = [one!, two!].map(({ vkey }) => parseWitness(vkey));
  t.equal(openCosignatures(readFileSync(at('checkpoint')), keys).length, 2, 'what witnesses said is under the stamp');

  // Without them the server works on, and says so.
  const from = system.lines.length;
  one!.lie = (response) => void response.writeHead(500).end();
  two!.lie = (response) => void response.destroy();
  await system.start();
  await run('alice', 'send', 'bob', 'and behind their backs');
  await system.line('witness.refused', from, (line) => line['status'] === 500);
  await system.line('witness.failed', from, (line) => line['code'] === 'UNREACHABLE');
  await system.stop();
  t.match(await verify(system.transcript, ...outside.slice(0, 6)), { exit: 0, out: /W_UNWITNESSED entry \d+/ });

  // A copy that was taken before is refused by whoever has seen more.
  one!.lie = two!.lie = null;
  const copy = join(folder, 'copy');
  mkdirSync(copy);
  cpSync(system.state, copy, { recursive: true });
  await system.start();
  await run('alice', 'send', 'bob', 'one more');
  const { log_size: later } = await system.status();
  await system.line('timestamp.logged', from, (line) => Number(line['size']) >= later);
  // And a server whose history is another one than a witness has seen ends.
  one!.seen = { ...one!.seen, root: Buffer.alloc(32, 9).toString('base64') };
  await system.client('alice', ['send', 'bob', 'and a fork', '--timeout', '5s']).ended; // too late, maybe
  await system.line('witness.forked', from, (line) => line['status'] === 422);
  t.equal(await system.server.ended, 1);
  const again = system.launch();
  t.equal(await again.ended, 14, 'and does not start');
  t.match(again.err, /a witness has cosigned \d+ entries that this log does not have: it was changed \[FORK\]/);
  rmSync(system.state, { recursive: true });
  cpSync(copy, system.state, { recursive: true });
  chmodSync(system.state, 0o700);
  const set = system.launch();
  t.equal(await set.ended, 14, 'ROLLBACK');
  t.match(set.err, /a witness has cosigned \d+ entries and the log has \d+: it was set back \[ROLLBACK\]/);
});

t.test('settings', async (t) => {
  const refused = async (settings: Record<string, unknown>, says: RegExp) => {
    const system = await System.create(t, { dir: testFolder(t), settings });
    await t.rejects(system.command('config', 'check'), says);
  };
  const witness = new WitnessServer();
  const at = 'http://127.0.0.1:1/w';
  await refused({ 'transcript.tsa_url': 'https://tsa.example.org/' }, /transcript\.tsa_ca: want it together/);
  await refused({ 'transcript.tsa_url': 'ftp://tsa.example.org/' }, /transcript\.tsa_url .*want an http or https URL/);
  await refused({ 'transcript.tsa_url': 'https://me:secret@tsa.example.org/' }, /transcript\.tsa_url .*without user/);
  await refused(
    { 'transcript.tsa_url': at, 'transcript.tsa_ca': '/nowhere/ca.crt' },
    /transcript\.tsa_ca: cannot read/,
  );
  await refused({ 'transcript.witness': [witness.vkey] }, /transcript\.witness .*want a vkey, a space/);
  await refused(
    { 'transcript.witness': [`${witness.vkey.replace(/\+[0-9a-f]{8}/, '+00000000')} ${at}`] },
    /vkey of a witness/,
  );
  await refused(
    { 'transcript.witness': [`${witness.vkey} ${at}`, `${witness.vkey} ${at}/2`] },
    /one key twice is one witness/,
  );
});
