/** `device list` and `device revoke` with the real programs. */
import t from 'tap';
import { System } from '../support/system.ts';

t.setTimeout(240_000);

t.test('what is listed, and what cannot be revoked', async (t) => {
  const system = await System.create(t);
  await system.start();
  const run = async (args: readonly string[], stdin = '') => {
    const program = system.client('alice', args);
    program.type(stdin);
    return { exit: await program.ended, out: program.out, err: program.err };
  };
  t.equal((await run(['register', '--password-stdin'], 'correct horse')).exit, 0);
  const listed = await run(['device', 'list', '--json']);
  t.equal(listed.exit, 0);
  const device = JSON.parse(listed.out) as { sha256: string };
  t.match(device, { v: 1, type: 'device', sha256: /^[0-9a-f]{64}$/, this: true, online: true, revoked_at: null });
  t.match(await run(['device', 'list']), { exit: 0, out: new RegExp(`^${device.sha256} .* this device\n$`) });
  t.match(await run(['device', 'revoke', device.sha256.slice(0, 16)]), {
    exit: 4,
    err: /a device does not revoke itself: do it from another one of yours \[NOT_ALLOWED\/this_device\]/,
  });
  const other = (device.sha256.startsWith('0') ? '1' : '0').repeat(8);
  t.match(await run(['device', 'revoke', other]), { exit: 8, err: /\[NOT_FOUND\]/ });
  for (const digits of ['abc', 'not hexadecimal', ''])
    t.match(await run(['device', 'revoke', digits]), { exit: 2, err: /\[USAGE\]/ }, `“${digits}”`);
  t.match(await run(['device']), { exit: 2, err: /\[USAGE\]/ });
});
