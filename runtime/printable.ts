/**
 * Text that somebody else wrote → text that a terminal only shows. Names, bodies, certificate subjects, file names and the other
 * end's messages all pass through here before a terminal or a log line sees them; this file decides nothing else.
 */

/**
 * What a terminal would obey, hide or reorder: C0 and C1 controls (so ESC, CSI, OSC, CR, LF, TAB), format characters (bidi marks,
 * overrides and isolates; zero-width; tags; interlinear), line and paragraph separators, lone surrogates, noncharacters, and what
 * Unicode says to draw as nothing (fillers, variation selectors). Kept out of it: U+FE0E and U+FE0F, which choose how an emoji looks.
 */
const STEERING =
  /(?![\uFE0E\uFE0F])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Noncharacter_Code_Point}\p{Default_Ignorable_Code_Point}]/u;
/** Marks on one letter beyond what any script needs: they are drawn over the rows above and below, and hide what stands there. */
const PILED = /(?<=[\p{Mn}\p{Me}]{8})[\p{Mn}\p{Me}]/u;
const FORBIDDEN = new RegExp(`${STEERING.source}|${PILED.source}`, 'gu');

/** One cell each, and nothing that is not shown: nearly all that there is. */
const PLAIN = /^[ -~]*$/;

/** Two cells each; East Asian Wide and Fullwidth (UAX #11) by block, and emoji. */
const WIDE =
  /[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97F\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF01-\uFF60\uFFE0-\uFFE6\u{17000}-\u{18DFF}\u{1B000}-\u{1B2FF}\u{20000}-\u{3FFFD}\p{Emoji_Presentation}]/u;
const ZERO_WIDTH = /[\p{Mn}\p{Me}\uFE0E\uFE0F]/u;

/**
 * Everything forbidden becomes visible as `\u{1b}`. The result is one line and has no forbidden code point; applying it twice changes
 * nothing more. A backslash stays as it is, so that `\u{1b}` in the result may also be what the peer typed: harmless, and readable.
 *
 * @param maxColumns cells of a terminal that the result takes at most (wide characters take two, combining ones none); the end that
 * does not fit is replaced by `…`. Left out: no limit. An escape is never cut in two.
 */
export function printable(text: string, maxColumns = Infinity): string {
  if (PLAIN.test(text) && text.length <= maxColumns) return text;
  if (maxColumns === Infinity) return text.replace(FORBIDDEN, escaped);
  const shown: string[] = [];
  let columns = 0,
    // Where to cut if the rest does not fit: the last place that leaves a cell for the ellipsis.
    cut = 0;
  for (const visible of text.replace(FORBIDDEN, escaped).match(/\\u\{[0-9a-f]{1,6}\}|[^]/gu) ?? []) {
    columns += visible.length > 2 ? visible.length : cells(visible);
    if (columns > maxColumns) return maxColumns < 1 ? '' : `${shown.slice(0, cut).join('')}…`;
    shown.push(visible);
    if (columns < maxColumns) cut = shown.length;
  }
  return shown.join('');
}

/** JSON that says the same, and in which nothing forbidden stands as it is: it stands in texts alone, where `\u009b` means the same. */
export const printableJson = (json: string): string =>
  json.replace(FORBIDDEN, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );

/** One character as it is shown where it must not be obeyed, or be taken for what stands around it. */
export const escaped = (character: string): string => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;

/** Of one character that is shown. */
export const cells = (character: string): number => (ZERO_WIDTH.test(character) ? 0 : WIDE.test(character) ? 2 : 1);
