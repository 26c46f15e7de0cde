/** `room …`, and `#room` in the place of a person, as somebody at a shell meets them; a real server, each command a process of its own. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import { main } from '../../client/main.ts';
import { ca } from '../support/pair.ts';
import { PASSWORD, world, type World } from '../support/world.ts';

t.setTimeout(180_000); // a busy machine is no failure

class Sink extends Writable {
  text = '';
  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

async function shell(t: Test, w: World, name: string) {
  const person = await w.person(name);
  const file = (kind: string, content: string): string => {
    const path = join(t.testdirName, `${name}.${kind}`);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const env = {
    CHAT_CLIENT_HOME: join(t.testdirName, `home-${name}`),
    CHAT_SERVER: `localhost:${w.port}`,
    CHAT_CA_FILE: file('ca', ca.pem),
    CHAT_CERT_FILE: file('crt', person.issued.pem),
    CHAT_KEY_FILE: file('key', person.issued.keyPem),
    CHAT_PASSWORD_FILE: file('password', PASSWORD.toString()),
  };
  return async (...args: readonly string[]) => {
    const [out, err] = [new Sink(), new Sink()];
    const status = await main(args, env, { stdin: Readable.from([]), stdout: out, stderr: err });
    return { status, out: out.text, err: err.text };
  };
}

t.test('a room from the shell', async (t) => {
  t.testdir({});
  const w = await world(t);
  const alice = await shell(t, w, 'alice');
  const bob = await shell(t, w, 'bob');
  t.match(await bob('login'), { status: 0 });
  t.match(await alice('room', 'create', '#ops', '--public', '--topic', 'all hands'), {
    status: 0,
    out: '#ops created\n',
  });
  t.match(await alice('room', 'create', '#ops'), { status: 8, err: /\[ROOM_EXISTS\]\n$/ });
  t.match(await alice('room', 'create', 'ops'), { status: 2, err: /\[BAD_NAME\]\n$/ });
  t.match(await alice('room', 'create', '#x', '--public', '--private'), { status: 2, err: /\[USAGE\]\n$/ });
  t.match(await bob('send', '#ops', 'hello'), { status: 8, err: /join it, or be invited \[NOT_FOUND\]\n$/ });
  t.match(await bob('room', 'join', '#ops'), { status: 0, out: '#ops joined\n' });
  t.match(await alice('send', '#ops', 'stand by'), { status: 0, out: /^#ops #\d+ accepted\n$/ });
  t.match(await bob('recv', '#ops'), { status: 0, out: /^#\d+ \d\d:\d\d \[#ops\] alice: stand by\n$/ });
  t.match(await bob('history', '#ops'), { status: 0, out: /\[#ops\] alice: stand by\n$/ });
  t.match(await bob('room', 'list'), { out: '#ops (public, 2 members, you are member): all hands\n' });
  t.match(await bob('room', 'topic', '#ops', 'mine'), { status: 4, err: /\[NOT_ALLOWED\/role\]\n$/ });
  t.match(await alice('room', 'role', '#ops', 'bob', 'admin'), { status: 0, out: '#ops changed\n' });
  t.match(await bob('room', 'topic', '#ops', 'ours'), { status: 0, out: '#ops changed\n' });
  t.match(await alice('room', 'topic', '#ops'), { status: 0, out: 'ours\n' });
  t.match(await alice('room', 'members', '#ops'), { out: 'alice: owner, can read\nbob: admin, can read\n' });
  t.match(await alice('room', 'kick', '#ops', 'bob', '--json'), {
    status: 0,
    out: /"result":"kicked","user":"bob","is_out":true/,
  });
  t.match(await alice('room', 'members', '#ops'), { out: 'alice: owner, can read\n' });
  t.match(await bob('recv', '--quiet'), { status: 0 });
  t.match(await bob('history', '#ops'), { status: 0, out: /alice: stand by\n$/ }, 'what was said stays');

  t.match(await alice('room', 'create', '#plan'), { status: 0 });
  t.match(await alice('room', 'invite', '#plan', 'bob'), { status: 0, out: '#plan invited\n' });
  t.match(await alice('room', 'invite', '#plan', 'carol'), { status: 8, err: /\[NO_SUCH_PEER\]\n$/ });
  t.match(await alice('send', '#plan', 'at noon'), { status: 0 });
  t.match(await bob('recv'), { status: 0, out: /\[#plan\] alice: at noon\n$/ });
  t.match(await bob('send', '#plan', 'fine', '--json'), { status: 0, out: /"peer":"#plan"/ });
  t.match(await alice('room', 'ban', '#plan', 'bob'), { status: 0, out: '#plan banned\n' });
  t.match(await alice('room', 'members', '#plan'), { out: 'alice: owner, can read\nbob: banned\n' });
  t.match(await alice('room', 'unban', '#plan', 'bob'), { status: 0, out: '#plan unbanned\n' });
  t.match(await alice('room', 'leave', '#plan'), { status: 0, out: '#plan left\n' });
  t.match(await alice('send', '#plan', 'gone'), { status: 8, err: /\[NO_SUCH_ROOM\]\n$/ });
  t.match(await alice('contact', 'verify', '#plan'), { status: 2, err: /\[BAD_NAME\]\n$/ });
});
