/**
 * Lines on a terminal of so many columns. A terminal goes on at its left edge where a line does not fit, and what is longer than that
 * could put words there that look like another line: of somebody else, or of this program. So nothing but a line begins there.
 */
import { cells } from '../runtime/printable.ts';

/** As under the line breaks of a body. */
const INDENT = '    ';
/** In fewer there is no room for anybody's line. */
const MIN_COLUMNS = 16;
/** An address that is broken cannot be opened; without a blank, what of it stands at the edge looks like no line of anybody. */
const WHOLE = /^[!-~]*[a-z]:\/\/[!-~]+$/i;
/** Some terminals draw a character twice as wide when this follows. */
const EMOJI_STYLE = '\uFE0F';

/** Each with the marks on it; what printable() made of one is one. */
const CHARACTERS = /\\u\{[0-9a-f]{1,6}\}|[^]\p{M}*/gu;

/** @param text printable, but for line breaks @param columns undefined or 0: not known, and left to the terminal */
export function wrapped(text: string, columns: number | undefined): string {
  if (columns === undefined || columns < MIN_COLUMNS) return text;
  return text
    .split('\n')
    .map((line) => (widthOf(line) <= columns ? line : wrappedLine(line, columns)))
    .join('\n');
}

function wrappedLine(line: string, columns: number): string {
  const rows: string[] = [];
  let row = '';
  let width = 0;
  const goOn = (): void => {
    rows.push(row);
    row = INDENT;
    width = INDENT.length;
  };
  for (const word of line.match(/ +|[^ ]+/g) ?? []) {
    const wide = widthOf(word);
    const fitsBelow = wide <= columns - INDENT.length;
    if (width + wide > columns && word.startsWith(' ')) {
      goOn();
      continue;
    }
    if (width + wide > columns && (fitsBelow || WHOLE.test(word)) && row.trim() !== '') goOn();
    for (const part of fitsBelow || WHOLE.test(word) ? [word] : word.match(CHARACTERS)!) {
      const more = widthOf(part);
      if (width + more > columns && part !== word) goOn();
      row += part;
      width += more;
    }
  }
  return [...rows, row].map((each) => each.trimEnd()).join('\n');
}

function widthOf(text: string): number {
  let width = 0;
  for (const character of text) width += character === EMOJI_STYLE ? 1 : cells(character);
  return width;
}

/** Of several characters, which most terminals draw as one, and readline takes for several. */
const COMPOSED = /\u200D|\uFE0F|\p{Regional_Indicator}|\p{Emoji_Modifier}/u;
const CLUSTERS = new Intl.Segmenter('en', { granularity: 'grapheme' });
const TAB = 8;

/**
 * How many rows are above the end of a text that is typed. Too many would be taken back together with what somebody else said, too few
 * leave a copy behind: where it is not sure, it is as few as may be.
 * @param counted as readline counts them
 */
export function rowsAbove(text: string, columns: number, counted: number): number {
  if (counted === 0 || columns < 2 || !COMPOSED.test(text)) return counted;
  let offset = 0;
  for (const { segment } of CLUSTERS.segment(text)) {
    const width = segment === '\t' ? TAB - (offset % TAB) : Math.min(2, widthOf(segment));
    if (width === 2 && (offset + 1) % columns === 0) offset++;
    offset += width;
  }
  return Math.min(counted, Math.floor(offset / columns));
}
