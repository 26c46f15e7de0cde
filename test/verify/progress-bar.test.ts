/** What somebody sees who waits for a verdict at a terminal. */
import t from 'tap';
import { ProgressBar } from '../../verify/progress-bar.ts';

const CLEAR = '\u001b[K';
function bar() {
  const written: string[] = [];
  return { written, progress: new ProgressBar((text) => written.push(text)) };
}

t.test('it grows, and nothing is left of it', async (t) => {
  const { written, progress } = bar();
  progress.show(0, 200);
  progress.show(100, 200);
  progress.show(200, 200);
  progress.end();
  t.same(written, [
    `\r[${'.'.repeat(30)}]   0 %, 0 of 200 checked${CLEAR}`,
    `\r[${'#'.repeat(15)}${'.'.repeat(15)}]  50 %, 100 of 200 checked${CLEAR}`,
    `\r[${'#'.repeat(30)}] 100 %, 200 of 200 checked${CLEAR}`,
    `\r${CLEAR}`,
  ]);
  progress.end();
  t.equal(written.length, 4, 'once');
});

t.test('100,000 messages are a hundred lines, not as many as messages', async (t) => {
  const { written, progress } = bar();
  for (let done = 1; done <= 100_000; done++) progress.show(done, 100_000);
  t.equal(written.length, 101);
});

t.test('another number than was announced', async (t) => {
  const { written, progress } = bar();
  progress.show(1, 0);
  progress.show(7, 5);
  t.match(written.at(-1), /100 %/);
  t.notMatch(written.join(''), /NaN|Infinity|10[1-9] %|1[1-9]\d %/);
});

t.test('who has seen nothing gets nothing', async (t) => {
  const { written, progress } = bar();
  progress.end();
  t.same(written, []);
});
