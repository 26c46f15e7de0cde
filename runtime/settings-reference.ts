/** What people and editors read about a table of settings: the annotated example file and the JSON Schema. */
import { settingsOf, variableOf, type Setting, type Table } from './settings.ts';

/**
 * A TOML file in which every setting is commented out, with its words, type, default and variables. Without the leading `#` each
 * example line is valid; a test does that.
 */
export function describeSettings(table: Table, prefix: string, title: string): string {
  const lines = [`# ${title}`, '# Every setting is shown with an example. A setting that is left out has its default.'];
  let section = '';
  for (const setting of settingsOf(table)) {
    const place = setting.key.split('.').slice(0, -1).join('.');
    if (place !== section) lines.push('', `[${place}]`);
    section = place;
    lines.push('', ...wrap(setting.doc));
    if (setting.environmentOnly) {
      lines.push(`# Only in the environment: ${setting.aliases?.join(', ')}.`);
      continue;
    }
    lines.push(...wrap(`${setting.type.wants}; default: ${defaultText(setting)}`));
    lines.push(...wrap(`environment: ${[variableOf(prefix, setting), ...(setting.aliases ?? [])].join(', ')}`));
    lines.push(`#${setting.key.split('.').at(-1)} = ${JSON.stringify(setting.example)}`);
  }
  return `${lines.join('\n')}\n`;
}

const defaultText = ({ defaultDoc, default: start }: Setting<unknown>): string =>
  defaultDoc ?? (start === undefined ? 'not set' : JSON.stringify(start));

function wrap(text: string, width = 96): string[] {
  const lines: string[] = [];
  let line = '#';
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > width) {
      lines.push(line);
      line = '#';
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

/** Draft 2020-12, for editors: an object that mirrors the sections of the file. */
export function schemaOf(table: Table, title: string): object {
  const root: Section = { type: 'object', additionalProperties: false, properties: {} };
  for (const setting of settingsOf(table)) {
    if (setting.environmentOnly) continue;
    const names = setting.key.split('.');
    const last = names.pop() ?? '';
    let section = root;
    for (const name of names)
      section = section.properties[name] ??= { type: 'object', additionalProperties: false, properties: {} };
    section.properties[last] = {
      description: setting.doc,
      ...setting.type.schema,
      ...(typeof setting.default === 'function' || setting.default === undefined ? {} : { default: setting.default }),
      examples: [setting.example],
    } as unknown as Section;
  }
  return { $schema: 'https://json-schema.org/draft/2020-12/schema', title, ...root };
}
interface Section {
  type: 'object';
  additionalProperties: false;
  properties: Record<string, Section>;
}
