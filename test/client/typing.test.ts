/** Keys become few notices: one when the typing begins, again while it goes on, and one when it ends. */
import t from 'tap';
import { TypingNotices } from '../../client/presence.ts';

t.test('begins, goes on, ends', async (t) => {
  const said: boolean[] = [];
  const typing = new TypingNotices((isOn) => said.push(isOn));
  for (let at = 0; at < 7000; at += 100) typing.key('hello', at);
  t.strictSame(said, [true]);
  typing.key('hello', 8000);
  t.strictSame(said, [true, true], 'again, for who came later');
  typing.stop();
  typing.stop();
  t.strictSame(said, [true, true, false]);
  typing.key('h', 8001);
  typing.key('', 8002);
  t.strictSame(said, [true, true, false, true, false], 'an empty line is nothing to wait for');
  for (const line of ['/', '/quit', '/msg bob']) typing.key(line, 9000);
  t.equal(said.length, 5, 'nor is a command');
});
