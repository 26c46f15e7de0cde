/** What does not fit goes on behind an indent: whatever it says, no line but the first begins at the edge. */
import fc from 'fast-check';
import t from 'tap';
import { rowsAbove, wrapped } from '../../client/wrapping.ts';

t.test('rows of so many columns', async (t) => {
  for (const [text, columns, rows] of [
    ['bob: hello', 20, ['bob: hello']],
    ['bob: twenty columns.', 20, ['bob: twenty columns.']],
    ['bob: twenty-one column', 20, ['bob: twenty-one', '    column']],
    ['bob: twenty columns too many', 20, ['bob: twenty columns', '    too many']],
    [
      'bob: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
      20,
      ['bob: aaaaaaaaaaaaaaa', '    aaaaaaaaaaaaaaaa', '    aaaaaaaa'],
    ],
    [`bob: ${' '.repeat(15)}carol: I agree`, 20, ['bob:', '    carol: I agree']],
    [`bob: ${'\u00a0'.repeat(15)}carol: I agree`, 20, ['bob:', '    carol: I agree']],
    [
      `bob: ${'x'.repeat(15)}Server\u00a0delivered:\u00a0✔`,
      20,
      ['bob: xxxxxxxxxxxxxxx', '    Server delivered', '    : ✔'],
    ],
    ['bob: 你好你好你好你好你', 20, ['bob: 你好你好你好你', '    好你']],
    ['bob: ❤️❤️❤️❤️❤️❤️❤️❤️❤️', 20, ['bob: ❤️❤️❤️❤️❤️❤️❤️', '    ❤️❤️']],
    [
      'bob: see https://chat.example.org/what/is/to/be/seen now',
      20,
      ['bob: see', '    https://chat.example.org/what/is/to/be/seen', '    now'],
    ],
    [`bob: ${'\\u{1b}'.repeat(5)}`, 20, ['bob: \\u{1b}\\u{1b}', '    \\u{1b}\\u{1b}', '    \\u{1b}']],
    ['bob: one\n    two of many words', 20, ['bob: one', '    two of many', '    words']],
    ['bob: a line that is longer', 0, ['bob: a line that is longer']],
    ['bob: a line that is longer', undefined, ['bob: a line that is longer']],
  ] as const)
    t.strictSame(wrapped(text, columns).replaceAll('\u00a0', ' ').split('\n'), rows, `${text} in ${columns}`);
});

t.test('property: what is said stays, in rows that fit and are indented', async () => {
  const words = fc.array(fc.stringMatching(/^[a-z]{1,30}$/), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(words, fc.integer({ min: 16, max: 60 }), (words, columns) => {
      const [first, ...rows] = wrapped(words.join(' '), columns).split('\n');
      const fits = [first!, ...rows].every((row) => row.length <= columns);
      const isWhole = [first!, ...rows].join('').replaceAll(' ', '') === words.join('');
      return fits && isWhole && rows.every((row) => /^ {4}\S/.test(row));
    }),
    { seed: 20261123 },
  );
});

t.test('what a terminal may draw as one takes back no more rows than it took', async (t) => {
  for (const [text, columns, counted, rows] of [
    ['You: 你好你好你好你好你好', 20, 1, 1],
    ['You: 🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪', 20, 1, 0],
    ['You: 🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪', 20, 1, 1],
    ['You: 👩\u200d💻👩\u200d💻👩\u200d💻👩\u200d💻', 20, 1, 0],
    ['You: 👍🏽👍🏽👍🏽👍🏽\tx', 20, 1, 0],
    ['You: 👍🏽👍🏽👍🏽👍🏽\t\tx', 20, 1, 1],
    ['You: ❤️', 20, 0, 0],
  ] as const)
    t.equal(rowsAbove(text, columns, counted), rows, text);
});
