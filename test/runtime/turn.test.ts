import t from 'tap';
import { inLaterTurn, mayRead, Share } from '../../runtime/turn.ts';

const MIB = 1024 * 1024;
const turn = (): Promise<void> => new Promise(setImmediate);

t.test('a turn has room for a mebibyte of what is large, and for all that is small', async (t) => {
  t.equal(mayRead(MIB), true);
  t.equal(mayRead(4097), false);
  for (let i = 0; i < 100; i++) t.equal(mayRead(4096), true);
  await turn();
  t.equal(mayRead(4097), true);
  await turn();
});

t.test('a link has its steps in each turn, which leave less room for what is large', async (t) => {
  const links = Array.from({ length: 33 }, () => new Share());
  for (let i = 0; i < 32; i++) t.ok(links.every((link) => link.take()));
  t.notOk(links.some((link) => link.take()));
  t.equal(mayRead(4097), false);
  t.equal(mayRead(4096), true);
  await turn();
  t.ok(links.every((link) => link.take()));
  t.equal(mayRead(4097), true);
  await turn();
});

t.test('what waits is read in its order, as much of it in a turn, before what comes then', async (t) => {
  mayRead(MIB);
  const read: number[] = [];
  for (let i = 0; i < 5; i++)
    inLaterTurn(() => {
      read.push(i);
      mayRead(MIB / 2);
    });
  t.strictSame(read, []);
  for (const expected of [
    [0, 1],
    [0, 1, 2, 3],
    [0, 1, 2, 3, 4],
  ]) {
    await turn();
    t.strictSame(read, expected);
  }
  await turn();
  inLaterTurn(() => inLaterTurn(() => read.push(6)));
  await turn();
  t.equal(read.length, 5, 'not in the same turn');
  await turn();
  t.equal(read.length, 6);
});
