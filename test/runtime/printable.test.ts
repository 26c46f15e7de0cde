import fc from 'fast-check';
import t from 'tap';
import { printable, printableJson } from '../../runtime/printable.ts';

const fuzz = process.env['FUZZ'] === '1';
const RUNS = fuzz ? { numRuns: 50_000 } : { numRuns: 500, seed: 20261121 };

const cases: readonly (readonly [name: string, text: string, shown: string])[] = [
  ['NUL', 'a\0b', 'a\\u{0}b'],
  ['BEL', '\x07', '\\u{7}'],
  ['backspace over what was shown', 'ok\b\bno', 'ok\\u{8}\\u{8}no'],
  ['tab', 'a\tb', 'a\\u{9}b'],
  ['line feed: a second line that looks like ours', 'hi\nYou: yes', 'hi\\u{a}You: yes'],
  ['vertical tab', '\v', '\\u{b}'],
  ['form feed', '\f', '\\u{c}'],
  ['carriage return: writes over the sender', 'x\rbob: y', 'x\\u{d}bob: y'],
  ['shift out: another character set', '\x0e', '\\u{e}'],
  ['XOFF', '\x13', '\\u{13}'],
  ['substitute', '\x1a', '\\u{1a}'],
  ['SGR colour', '\x1b[31mred', '\\u{1b}[31mred'],
  ['clear screen', '\x1b[2J\x1b[H', '\\u{1b}[2J\\u{1b}[H'],
  ['cursor up and erase', '\x1b[1A\x1b[K', '\\u{1b}[1A\\u{1b}[K'],
  ['conceal', '\x1b[8m', '\\u{1b}[8m'],
  ['alternate screen', '\x1b[?1049h', '\\u{1b}[?1049h'],
  ['bracketed paste off', '\x1b[?2004l', '\\u{1b}[?2004l'],
  ['device status report: answers as typed input', '\x1b[6n', '\\u{1b}[6n'],
  ['DECRQSS', '\x1bP$q"p\x1b\\', '\\u{1b}P$q"p\\u{1b}\\'],
  ['OSC 0 window title', '\x1b]0;root@host\x07', '\\u{1b}]0;root@host\\u{7}'],
  [
    'OSC 8 hyperlink',
    '\x1b]8;;http://x\x1b\\bank\x1b]8;;\x1b\\',
    '\\u{1b}]8;;http://x\\u{1b}\\bank\\u{1b}]8;;\\u{1b}\\',
  ],
  ['OSC 52 clipboard', '\x1b]52;c;cm0=\x07', '\\u{1b}]52;c;cm0=\\u{7}'],
  ['OSC 1337', '\x1b]1337;File=:AA==\x07', '\\u{1b}]1337;File=:AA==\\u{7}'],
  ['kitty graphics (APC)', '\x1b_Gf=32;\x1b\\', '\\u{1b}_Gf=32;\\u{1b}\\'],
  ['privacy message', '\x1b^x', '\\u{1b}^x'],
  ['full reset', '\x1bc', '\\u{1b}c'],
  ['DEL', 'a\x7f', 'a\\u{7f}'],
  ['C1 padding', '\x80', '\\u{80}'],
  ['NEL', 'a\x85b', 'a\\u{85}b'],
  ['C1 DCS', '\x90', '\\u{90}'],
  ['C1 CSI', '\x9b31m', '\\u{9b}31m'],
  ['C1 ST', '\x9c', '\\u{9c}'],
  ['C1 OSC', '\x9d0;t', '\\u{9d}0;t'],
  ['C1 APC', '\x9f', '\\u{9f}'],
  ['soft hyphen', 'pay\u00adpal', 'pay\\u{ad}pal'],
  ['combining grapheme joiner', 'a\u034fb', 'a\\u{34f}b'],
  ['Arabic letter mark', '\u061c', '\\u{61c}'],
  ['Hangul filler', '\u3164', '\\u{3164}'],
  ['halfwidth Hangul filler', '\uffa0', '\\u{ffa0}'],
  ['Mongolian vowel separator', '\u180e', '\\u{180e}'],
  ['zero-width space', 'a\u200bb', 'a\\u{200b}b'],
  ['zero-width non-joiner', '\u200c', '\\u{200c}'],
  ['zero-width joiner', '\u200d', '\\u{200d}'],
  ['left-to-right mark', '\u200e', '\\u{200e}'],
  ['right-to-left mark', '\u200f', '\\u{200f}'],
  ['line separator', 'a\u2028b', 'a\\u{2028}b'],
  ['paragraph separator', 'a\u2029b', 'a\\u{2029}b'],
  ['LRE', '\u202a', '\\u{202a}'],
  ['RLE', '\u202b', '\\u{202b}'],
  ['PDF', '\u202c', '\\u{202c}'],
  ['LRO', '\u202d', '\\u{202d}'],
  ['RLO: gnp.exe', 'photo\u202egnp.exe', 'photo\\u{202e}gnp.exe'],
  ['word joiner', '\u2060', '\\u{2060}'],
  ['invisible times', '\u2062', '\\u{2062}'],
  ['LRI', '\u2066', '\\u{2066}'],
  ['RLI', '\u2067', '\\u{2067}'],
  ['FSI', '\u2068', '\\u{2068}'],
  ['PDI', '\u2069', '\\u{2069}'],
  ['inhibit symmetric swapping', '\u206a', '\\u{206a}'],
  ['variation selector 1', 'a\ufe00', 'a\\u{fe00}'],
  ['byte-order mark', '\ufeff', '\\u{feff}'],
  ['interlinear annotation', '\ufff9', '\\u{fff9}'],
  ['noncharacter', '\uffff', '\\u{ffff}'],
  ['noncharacter in the middle', '\ufdd0', '\\u{fdd0}'],
  ['high surrogate alone', 'a\ud800b', 'a\\u{d800}b'],
  ['low surrogate alone', '\udc00', '\\u{dc00}'],
  ['surrogates in the wrong order', '\udc00\ud800', '\\u{dc00}\\u{d800}'],
  ['musical begin beam', '\u{1d173}', '\\u{1d173}'],
  ['language tag', '\u{e0001}', '\\u{e0001}'],
  ['tag letters', 'hi\u{e0061}\u{e007f}', 'hi\\u{e0061}\\u{e007f}'],
  ['variation selector 17', '\u{e0100}', '\\u{e0100}'],
  ['noncharacter of the last plane', '\u{10ffff}', '\\u{10ffff}'],
];

t.test('every escape is shown', async (t) => {
  t.ok(cases.length >= 45);
  for (const [name, text, shown] of cases) {
    t.equal(printable(text), shown, name);
    t.equal(printable(text, 1000), shown, `${name}, with a cap that does not matter`);
    t.equal(printable(shown), shown, `${name}, twice`);
  }
});

t.test('in JSON as well, which says the same all the same', async (t) => {
  for (const [name, text] of cases) {
    const json = printableJson(JSON.stringify({ [text]: text }));
    t.equal(printable(json), json, name);
    t.strictSame(JSON.parse(json), { [text]: text }, name);
  }
  t.equal(printableJson('{"body":"Grüße, 你好 ❤️ 👍🏽"}'), '{"body":"Grüße, 你好 ❤️ 👍🏽"}');
  t.equal(printableJson('"\u{e0001}\u009b"'), '"\\udb40\\udc01\\u009b"');
});

t.test('what people write stays', async (t) => {
  for (const text of [
    '',
    'hello, world',
    'Grüße, naïve café, Übermut',
    'Привет',
    'שלום عليكم',
    '你好，世界',
    'नमस्ते',
    'e\u0301',
    '👍🏽 ❤️ 🇩🇪 ☎︎',
    'C:\\temp \\u{1b}',
    'a\u00a0b\u3000c',
    '✔ “quoted” — ‹x›',
  ])
    t.equal(printable(text), text);
});

t.test('marks that pile up on one letter are shown one by one, beyond what any script needs', async (t) => {
  const pile = (count: number): string => `a${'\u0301'.repeat(count)}b`;
  t.equal(printable(pile(8)), pile(8));
  t.equal(printable(pile(10)), `a${'\u0301'.repeat(8)}\\u{301}\\u{301}b`);
  t.equal(printable(pile(10), 1000), printable(pile(10)));
  t.equal(printable(pile(10), 3), 'a\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301…');
  t.equal(printable(printable(pile(5000))), printable(pile(5000)));
  t.equal(printableJson(JSON.stringify(pile(9))), `"a${'\u0301'.repeat(8)}\\u0301b"`);
});

t.test('a cap in cells', async (t) => {
  for (const [text, columns, shown] of [
    ['hello', 5, 'hello'],
    ['hello', 4, 'hel…'],
    ['hello', 1, '…'],
    ['hello', 0, ''],
    ['', 0, ''],
    ['你好', 4, '你好'],
    ['你好', 3, '你…'],
    ['你好', 2, '…'],
    ['👍👍👍', 5, '👍👍…'],
    ['e\u0301e\u0301e\u0301', 3, 'e\u0301e\u0301e\u0301'],
    ['e\u0301e\u0301e\u0301', 2, 'e\u0301…'],
    ['ab\x1bcd', 7, 'ab…'],
    ['ab\x1bcd', 8, 'ab…'],
    ['ab\x1bcd', 10, 'ab\\u{1b}cd'],
    ['ab\x1bcde', 9, 'ab\\u{1b}…'],
  ] as const)
    t.equal(printable(text, columns), shown, `${JSON.stringify(text)} in ${columns}`);
});

/** Written apart from the implementation: by range, not by property. */
const dangerous = (c: number) =>
  c < 0x20 ||
  (c >= 0x7f && c <= 0x9f) ||
  [0xad, 0x34f, 0x61c, 0x180e, 0x3164, 0xffa0, 0xfeff].includes(c) ||
  (c >= 0x200b && c <= 0x200f) ||
  (c >= 0x2028 && c <= 0x202e) ||
  (c >= 0x2060 && c <= 0x206f) ||
  (c >= 0xd800 && c <= 0xdfff) ||
  (c >= 0xfff0 && c <= 0xfffb) ||
  (c >= 0xe0000 && c <= 0xe0fff) ||
  (c & 0xfffe) === 0xfffe;

t.test('property: nothing dangerous comes out, whatever goes in', async () => {
  const nasty = fc.constantFrom(...cases.map(([, text]) => text));
  const units = fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit));
  const text = fc
    .array(fc.oneof(nasty, units, fc.string({ unit: 'binary' })), { maxLength: 30 })
    .map((p) => p.join(''));
  fc.assert(
    fc.property(text, fc.integer({ min: 0, max: 60 }), (text, columns) => {
      for (const shown of [printable(text), printable(text, columns)]) {
        for (const character of shown) if (dangerous(character.codePointAt(0) ?? 0)) return false;
        if (!shown.isWellFormed()) return false;
      }
      const drawn = [...printable(text, columns)].filter((character) => !/[\p{M}\uFE0E\uFE0F]/u.test(character));
      return printable(printable(text)) === printable(text) && drawn.length <= columns;
    }),
    RUNS,
  );
});

t.test('property: every single code point', async (t) => {
  const out = new Set<number>();
  for (let c = 0; c <= 0x10ffff; c++)
    if (dangerous(c) && printable(String.fromCodePoint(c)) === String.fromCodePoint(c)) out.add(c);
  t.strictSame([...out], []);
});
