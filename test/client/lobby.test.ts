/** Who lets whom in, and when: with the group as the test says. */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { ConversationId } from '../../base/bytes.ts';
import { Lobby } from '../../client/lobby.ts';

const ROOM = Buffer.alloc(32, 1) as Uint8Array as ConversationId;

function lobby(t: Test, waitMs = 3000) {
  const made = { ms: 1_000_000, inside: [] as string[], looks: [] as string[][] };
  const it = new Lobby(
    {
      inside: () => made.inside,
      want: (id) => {
        made.looks.push([...it.guests(id)].sort());
        made.inside.push(...it.guests(id));
      },
    },
    waitMs,
    () => made.ms,
  );
  t.teardown(() => it.detach());
  return Object.assign(made, { it });
}
const until = async (isSo: () => boolean): Promise<void> => {
  while (!isSo()) await sleep(5);
};

t.test('the first is let in at once, and all who come in the half second behind him together', async (t) => {
  const l = lobby(t);
  l.it.ask(ROOM, 'bob', 0);
  await until(() => l.looks.length === 1);
  const from = performance.now();
  for (const user of ['carol', 'dave', 'erin']) l.it.ask(ROOM, user, 0);
  await until(() => l.looks.length === 2);
  t.ok(performance.now() - from >= 450);
  t.strictSame(l.looks, [['bob'], ['carol', 'dave', 'erin']], 'who is inside is looked for no more');
});

t.test('whose turn is later acts if the others have not', async (t) => {
  const l = lobby(t);
  l.it.ask(ROOM, 'bob', 1);
  l.it.ask(ROOM, 'carol', 2);
  t.strictSame(l.it.guests(ROOM), []);
  l.ms += 1000;
  t.strictSame(l.it.guests(ROOM), ['bob']);
  await until(() => l.looks.length === 1);
  l.inside.push('carol'); // somebody else was faster
  l.ms += 1000;
  await sleep(1200);
  t.strictSame(l.looks, [['bob']]);
  t.strictSame(l.it.guests(ROOM), [], 'nobody is left');
});

t.test('who goes again is let in by nobody; nor is anybody on another connection', async (t) => {
  const l = lobby(t);
  l.it.ask(ROOM, 'bob', 0);
  l.it.forget(ROOM, ['bob']);
  await sleep(30);
  l.it.ask(ROOM, 'carol', 0);
  l.it.detach();
  await sleep(30);
  t.strictSame([l.looks, l.it.guests(ROOM)], [[], []]);
});

t.test('a server that names thousands fills no memory with them', async (t) => {
  const l = lobby(t);
  for (let i = 0; i < 1500; i++) l.it.ask(ROOM, `guest${i}`, 0);
  t.equal(l.it.guests(ROOM).length, 1000);
});

t.test('how long this device waits for others', async (t) => {
  const l = lobby(t);
  t.equal(l.it.waitsUntil(ROOM), 0, 'nobody was asked');
  l.it.wait(ROOM);
  t.equal(l.it.waitsUntil(ROOM), l.ms + 3000);
  l.ms += 3000;
  t.equal(l.it.waitsUntil(ROOM), 0, 'over');
  l.it.wait(ROOM);
  l.ms -= 86_400_000;
  t.equal(l.it.waitsUntil(ROOM), 0, 'not for a day, when the clock was put back');
  l.it.wait(ROOM);
  t.equal(l.it.entered(ROOM), true);
  t.equal(l.it.entered(ROOM), false);
  t.equal(l.it.waitsUntil(ROOM), 0);
});
