/** docs/PROTOCOL.md §5.1 and §5.2, read as types: what stands there is taken at its bounds and refused beyond them, field by field. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { Value } from '../../base/cbor.ts';
import type { Decode } from '../../base/decode.ts';
import { replies, requests } from '../../protocol/messages.ts';

const page = readFileSync(new URL('../../docs/PROTOCOL.md', import.meta.url), 'utf8');
const section = (title: string): string => new RegExp(`^### ${title} [^]*?(?=^### )`, 'm').exec(page)?.[0] ?? '';
const rowsOf = (title: string): ReadonlyMap<string, string> =>
  new Map([...section(title).matchAll(/^\| `(\w+)` \|(.*?)\|/gm)].map(([, type, fields]) => [type!, fields!.trim()]));

/** Values that a field may have, and some that it may not. */
interface Range {
  readonly good: readonly Value[];
  readonly bad: readonly Value[];
}
interface Field extends Range {
  readonly name: string;
  readonly isOptional: boolean;
}

const number = (text: string): number =>
  text.includes('³²') ? 2 ** 32 - 1 : text.includes('⁵³') ? 2 ** 53 - 1 : Number(text.replaceAll(',', ''));
const bytes = (from: number, to = from): Range => ({
  good: [Buffer.alloc(from), Buffer.alloc(to)],
  bad: [...(from === 0 ? [] : [Buffer.alloc(from - 1)]), Buffer.alloc(to + 1), 'text'],
});
const integer = (from: number, to: number): Range => ({
  good: [from, to],
  bad: [from - 1, ...(to < Number.MAX_SAFE_INTEGER ? [to + 1] : []), 'text'],
});
const text = (from: number, to: number): Range => ({
  good: ['x'.repeat(from), 'x'.repeat(to)],
  bad: [...(from === 0 ? [] : ['x'.repeat(from - 1)]), 'x'.repeat(to + 1), 1],
});
const words = (...known: string[]): Range => ({ good: known, bad: ['another', 1] });
const flag: Range = { good: [true, false], bad: [1] };

/** What has its name's meaning everywhere, as §5 says above the tables, and what another section lists. */
const KNOWN: Readonly<Record<string, Range>> = {
  id: integer(1, 2 ** 32 - 1),
  username: text(1, 64),
  by: text(1, 64),
  email: text(3, 254),
  room: text(2, 64),
  after: text(0, 64),
  'contact.state': words('none', 'asked', 'asking', 'contact', 'blocked'),
  code: words('QUOTA'),
};
for (const type of ['contacts', 'contact_changed']) Object.assign(KNOWN, { [`${type}.state`]: KNOWN['contact.state'] });
/** As they were written out first. */
const met = new Map<string, Range>();

/** `a`, `b?` uint, `c`: 1..3 × {`d`, `e`} → its four parts; not within brackets. */
function split(row: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let isOpen = true;
  for (const piece of row.split(/(?<=,)(?= )|(?=[{}()])/)) {
    if (isOpen) parts.push('');
    parts[parts.length - 1] += isOpen ? piece.trimStart() : piece;
    if (/^[{(]/.test(piece)) depth++;
    if (/^[})]/.test(piece)) depth--;
    isOpen = depth === 0 && piece.endsWith(',');
  }
  return parts.map((part) => part.replace(/,$/, ''));
}

function fieldsOf(type: string, row: string): Field[] {
  const fields: Field[] = [];
  const parts = split(row);
  for (let i = 0; i < parts.length; i++) {
    const [, name, mark, said = ''] = /^`(\w+)(\?)?`:? ?(.*)$/.exec(parts[i]!) ?? [];
    if (name === undefined) throw new Error(`${type}: ${parts[i]}`);
    let range: Range;
    if (/^`\w+`/.test(said)) {
      let all = said;
      while (!all.includes(' or ') && /^`\w+`( or `\w+`)?$/.test(parts[i + 1] ?? '')) all += `, ${parts[++i]}`;
      range = words(...[...all.matchAll(/`(\w+)`/g)].map(([, word]) => word!));
    } else range = rangeOf(type, name, said);
    if (said !== '' && !met.has(name)) met.set(name, range);
    fields.push({ name, isOptional: mark !== undefined, ...range });
  }
  return fields;
}

function rangeOf(type: string, name: string, said: string): Range {
  const list = /^([\d,]+)\.\.([\d,]+) × (.*)$/.exec(said);
  if (list !== null) return listOf(number(list[1]!), number(list[2]!), rangeOf(type, `${name}[]`, list[3]!));
  if (said.startsWith('{')) return mapOf(fieldsOf(`${type}.${name}`, said.slice(1, said.lastIndexOf('}'))));
  const [word = ''] = said.split(' ');
  if (/^\d+ bytes/.test(said)) return bytes(number(word));
  const between = /^([\d,]+)\.\.([\d,²³⁵−]+)( bytes)?/.exec(said);
  if (between !== null) return (between[3] ? bytes : integer)(number(between[1]!), number(between[2]!));
  if (word === 'b32') return bytes(32);
  if (word === 'uint' || word === 'time') return integer(0, Number.MAX_SAFE_INTEGER);
  if (word === 'bool') return flag;
  const limit = /^text\((\d+)\)/.exec(said)?.[1];
  const known = KNOWN[`${type.split('.')[0]}.${name}`] ?? KNOWN[name] ?? KNOWN[word] ?? met.get(name);
  if (limit !== undefined && KNOWN[name] === undefined) return text(1, Number(limit));
  if (limit !== undefined) t.equal(KNOWN[name]!.good[1]?.toString().length, Number(limit), `${type}.${name}`);
  if (known === undefined) throw new Error(`what is ${type}.${name} ${said}?`);
  return known;
}

const listOf = (from: number, to: number, { good: [one], bad }: Range): Range => ({
  good: [Array<Value>(from).fill(one!), Array<Value>(to).fill(one!)],
  bad: [
    ...(from === 0 ? [] : [Array<Value>(from - 1).fill(one!)]),
    Array<Value>(to + 1).fill(one!),
    ...bad.map((b) => [b]),
  ],
});
const withField = (fields: readonly Field[], name: string, value: Value | undefined): Map<string, Value> =>
  new Map(
    fields.flatMap((f): [string, Value][] => {
      const chosen = f.name === name ? value : f.good[0];
      return chosen === undefined ? [] : [[f.name, chosen]];
    }),
  );
const mapOf = (fields: readonly Field[]): Range => ({
  good: fields.flatMap(({ name, good }) => good.map((value) => withField(fields, name, value))),
  bad: [
    ...fields.flatMap(({ name, bad }) => bad.map((value) => withField(fields, name, value))),
    ...fields.flatMap(({ name, isOptional }) => (isOptional ? [] : [withField(fields, name, undefined)])),
    withField(fields, '', undefined).set('unheard_of', 1),
    1,
  ],
});

for (const [title, table] of [
  ['5\\.1', requests],
  ['5\\.2', replies],
] as const) {
  const rows = rowsOf(title);
  t.strictSame([...rows.keys()].sort(), Object.keys(table).sort(), `${title}: every type, and no other`);
  for (const [type, row] of rows) {
    const decode = (table as Record<string, Decode<unknown>>)[type]!;
    const head: Field = { name: 'type', isOptional: false, ...words(type) };
    // Of two forms of an item the first is read here; the other is in test/protocol/messages.test.ts.
    const said = row
      .replace(/, one for each[^{]* either (\{.*\}) or \{.*$/, ' × $1')
      .replace(/, for each .*$|; codes are in .*$/, '');
    const { good, bad } = mapOf([head, ...(said.trim() === '' ? [] : fieldsOf(type, said))]);
    t.doesNotThrow(() => good.forEach((frame) => decode(frame, type)), `${type}: all that the page allows`);
    for (const frame of bad) t.throws(() => decode(frame, type), { code: 'BAD_FRAME' }, `${type}: nothing else`);
    const optional = fieldsOf(type, said.trim() === '' ? '`none`: 1..1 × uint' : said).filter((f) => f.isOptional);
    for (const { name } of optional) {
      const frame = new Map(good[0] as Map<string, Value>);
      frame.delete(name);
      t.doesNotThrow(() => decode(frame, type), `${type}.${name} may be missing`);
    }
  }
}
