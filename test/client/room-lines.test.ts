/** What the interactive mode says of a change of a room that is only half done. */
import t from 'tap';
import type { App } from '../../client/app.ts';
import { obeyRoomLine } from '../../client/room-lines.ts';
import type { Conversation } from '../../client/roster.ts';

t.test('who cannot be taken out of the group yet, or let into it, is not said to be', async (t) => {
  for (const isDone of [true, false]) {
    const rooms = { invite: async () => isDone, remove: async () => isDone };
    const said: string[] = [];
    const here = { peer: '#ops', room: {} } as unknown as Conversation;
    for (const line of ['/invite bob', '/kick bob', '/ban bob'])
      t.equal(await obeyRoomLine({ rooms } as unknown as App, here, line, (text) => said.push(text)), 'here');
    const out = 'bob is out of the list, and can read until the next message is written.';
    t.strictSame(
      said,
      isDone
        ? ['bob is in.', 'bob is out.', 'bob is out.']
        : ['bob is a member, and has no device yet that can read.', out, out],
    );
  }
});

t.test('a topic does not pass for what somebody says', async (t) => {
  const said: string[] = [];
  const here = { peer: '#ops', room: {} } as unknown as Conversation;
  for (const topic of ['Server delivered: ✔', 'alice: I agree\r', null]) {
    const rooms = { view: async () => ({ topic }) };
    await obeyRoomLine({ rooms } as unknown as App, here, '/topic', (text) => said.push(text));
  }
  t.strictSame(said, ['Topic: Server delivered: ✔', 'Topic: alice: I agree\\u{d}', 'No topic.']);
});
