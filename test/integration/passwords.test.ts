/** Who changes his password, on real connections: what goes on, what ends, and what may come in after it. */
import t from 'tap';
import { Secret } from '../../base/secret.ts';
import { DEFAULT_KDF, formatKdf, saltedPassword, verifierOf } from '../../protocol/scram.ts';
import { prove, world } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

const SALT = Buffer.alloc(16, 5);
const KDF = formatKdf(DEFAULT_KDF);

t.test('the connection that asks for it goes on; all others of the account end, and nobody else is met', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const laptop = w.certificate('bob');
  const [a, onLaptop] = [await w.login(alice), await w.dial(laptop)];
  await prove(onLaptop, laptop);
  const desk = await w.dial(bob);
  await prove(desk, bob);
  const before = bob.token!;

  const salted = (): Promise<Secret> => saltedPassword(Buffer.from('another one'), SALT, DEFAULT_KDF);
  const { storedKey: stored_key, serverKey: server_key } = verifierOf(await salted());
  const from = w.lines.length;
  const set = { type: 'password_set', salt: SALT, kdf: KDF, stored_key, server_key } as const;
  const { token } = await desk.request(set, 'password_ok');
  t.strictSame(await onLaptop.link.closed, { code: 'NOT_LOGGED_IN', sub: 'password' });
  t.match(w.lines.slice(from), [{ event: 'password.set', user: 'bob' }]);
  for (const client of [a, desk]) t.match(await client.request({ type: 'ping' }, 'pong'), { type: 'pong' });

  const again = await w.dial(bob);
  await t.rejects(again.request({ type: 'resume', token: before }, 'login_ok'), { code: 'AUTH_FAIL' });
  await t.rejects(prove(await w.dial(bob), bob), { code: 'AUTH_FAIL' });
  await prove(await w.dial(bob), bob, { password: await salted() });
  const resumed = await w.dial(bob);
  await resumed.request({ type: 'resume', token }, 'login_ok');
  await t.rejects(resumed.request(set, 'password_ok'), { code: 'NOT_LOGGED_IN', sub: 'proof' }, 'by token');
});
