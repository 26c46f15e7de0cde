/**
 * Settings as a table: from it come the parser, the annotated example, the JSON Schema and the list of effective values, so that they
 * cannot drift apart. Pure: environment and file contents arrive as arguments. Every fault is reported, not the first alone.
 * The only door to smol-toml.
 */
import { parse as parseToml, TomlError } from 'smol-toml';
import { ChatError } from '../base/errors.ts';
import { printable } from './printable.ts';
import { Unwanted, type SettingType } from './setting-types.ts';

export interface Setting<T> {
  /** As in the file: `tls.handshake_timeout`. */
  readonly key: string;
  readonly type: SettingType<unknown>;
  /** One sentence or two. */
  readonly doc: string;
  /** As in the file. A function sees what the settings above it came to. Undefined: stays unset, or is a fault where it is required. */
  readonly default: unknown;
  /** Words for a default that is computed. */
  readonly defaultDoc?: string;
  /** A value that shows the form; as in the file. */
  readonly example: unknown;
  /** Variables that mean the same, besides the one made of prefix and key. */
  readonly aliases?: readonly string[];
  /** The value names a file that nobody else may read. */
  readonly secretFile?: boolean;
  /** Left out of listings that are made to be shown around. */
  readonly redact?: boolean;
  /** The value itself is a secret: it has no place in a file or flag, only in the alias. */
  readonly environmentOnly?: boolean;
  readonly required: boolean;
  /** Carries the type only. */
  readonly value?: T;
}
export interface Place {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Absolute. */
  readonly cwd: string;
  readonly isRoot: boolean;
  readonly isTerminal: boolean;
}
export type ComputedDefault = (get: (key: string) => unknown, place: Place) => unknown;
type Details = Partial<Omit<Setting<unknown>, 'key' | 'type' | 'doc' | 'value' | 'required'>>;

/** A setting that always has a value. */
export const setting = <T>(key: string, type: SettingType<T>, doc: string, details: Details): Setting<T> => ({
  ...{ key, type, doc, default: undefined, example: details.default, required: true },
  ...details,
});
/** A setting that may stay unset. */
export const optionalSetting = <T>(key: string, type: SettingType<T>, doc: string, details: Details) =>
  ({ ...setting(key, type, doc, details), required: false }) as Setting<T | undefined>;

export type Table = { readonly [name: string]: Setting<unknown> | Table };
export type ValuesOf<S> = {
  readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : ValuesOf<S[K]>;
};

const isSetting = (node: Setting<unknown> | Table): node is Setting<unknown> => typeof node['key'] === 'string';
export const settingsOf = (table: Table): Setting<unknown>[] =>
  Object.values(table).flatMap((node) => (isSetting(node) ? [node] : settingsOf(node)));

/** One source of values. Later layers win. */
export interface Layer {
  readonly source: string;
  /** Absolute folder for relative paths. */
  readonly base: string;
  readonly entries: readonly { readonly setting: Setting<unknown>; readonly name: string; readonly raw: unknown }[];
  readonly faults: readonly string[];
}

type Entry = Layer['entries'][number];
const show = (name: string): string => printable(name, 80);

/** @param text of a TOML file @param source its path */
export function fileLayer(table: Table, source: string, base: string, text: string): Layer {
  const byKey = new Map(settingsOf(table).map((setting) => [setting.key, setting]));
  const sections = new Set(
    [...byKey.keys()].flatMap((key) =>
      key
        .split('.')
        .slice(0, -1)
        .map((_, i, p) => p.slice(0, i + 1).join('.')),
    ),
  );
  const entries: Entry[] = [];
  const faults: string[] = [];
  const walk = (node: object, prefix: string): void => {
    for (const [name, raw] of Object.entries(node) as [string, unknown][]) {
      const key = prefix + name;
      // A quoted key with a dot in it would be a second spelling.
      const setting = name.includes('.') ? undefined : byKey.get(key);
      if (setting?.environmentOnly) faults.push(`${key} (${source}): is a secret and has no place in a file`);
      else if (setting) entries.push({ setting, name: key, raw });
      else if (sections.has(key) && isTable(raw)) walk(raw, `${key}.`);
      else faults.push(`${show(key)} (${source}): no such setting`);
    }
  };
  try {
    walk(parseToml(text, { maxDepth: 8 }), '');
  } catch (error) {
    // The library's message quotes the line, which may hold a secret.
    const where = error instanceof TomlError ? ` at line ${error.line}, column ${error.column}` : '';
    faults.push(`${source}: not TOML${where}`);
  }
  return { source, base, entries, faults };
}

/** Not a list and not a date. */
const isTable = (raw: unknown): raw is object =>
  typeof raw === 'object' && raw !== null && [Object.prototype, null].includes(Object.getPrototypeOf(raw) as object);

/** Variables `PREFIX__SECTION__NAME` and aliases. An empty variable counts as unset, as compose files and units write them. */
export function environmentLayer(table: Table, prefix: string, { env, cwd }: Place): Layer {
  const names = new Map<string, Setting<unknown>>();
  for (const setting of settingsOf(table)) {
    if (!setting.environmentOnly) names.set(variableOf(prefix, setting), setting);
    for (const alias of setting.aliases ?? []) names.set(alias, setting);
  }
  const entries: Entry[] = [];
  const faults: string[] = [];
  for (const [name, text] of Object.entries(env)) {
    const setting = names.get(name);
    if (!setting && name.startsWith(`${prefix}__`)) faults.push(`${show(name)} (environment): no such setting`);
    if (!setting || text === undefined || text === '') continue;
    const other = entries.find((entry) => entry.setting === setting);
    if (other) faults.push(`${name} (environment): says the same as ${other.name}; set one of them`);
    fromText(setting, name, 'environment', text, entries, faults);
  }
  return { source: 'environment', base: cwd, entries, faults };
}
export const variableOf = (prefix: string, { key }: Setting<unknown>): string =>
  `${prefix}__${key.replaceAll('.', '__').toUpperCase()}`;

/** @param flags by key; undefined: not given */
export function flagLayer(table: Table, flags: Flags, { cwd }: Place): Layer {
  const byKey = new Map(settingsOf(table).map((setting) => [setting.key, setting]));
  const entries: Entry[] = [];
  const faults: string[] = [];
  for (const [key, value] of Object.entries(flags)) {
    const setting = byKey.get(key);
    if (!setting || setting.environmentOnly) faults.push(`--${show(key)}: no such setting`);
    else if (value !== undefined)
      fromText(setting, `--${key}`, 'flags', typeof value === 'string' ? value : value.join(','), entries, faults);
  }
  return { source: 'flags', base: cwd, entries, faults };
}
export type Flags = Readonly<Record<string, string | readonly string[] | undefined>>;

function fromText(
  setting: Setting<unknown>,
  name: string,
  source: string,
  text: string,
  entries: Entry[],
  faults: string[],
) {
  try {
    entries.push({ setting, name, raw: setting.type.fromText(text) });
  } catch (error) {
    if (!(error instanceof Unwanted)) throw error;
    faults.push(`${name} (${source}): ${error.message}`);
  }
}

export interface Resolved<T extends Table> {
  /** Frozen to the leaves. */
  readonly values: ValuesOf<T>;
  /** Where each value came from: `default`, or the source of a layer. */
  readonly sources: ReadonlyMap<string, string>;
  /** `key = value  # source`, a line each. @param redact leaves out what tells about this machine and its accounts */
  effective(redact: boolean): string;
}

/**
 * @param layers lowest first
 * @param check finds what no single setting can see; called once all settings are good, so that it may rely on them
 * @throws CONFIG_INVALID with every fault in its message, and the first setting at fault as its field
 */
export function resolveSettings<T extends Table>(
  table: T,
  layers: readonly Layer[],
  place: Place,
  check: (values: ValuesOf<T>, sources: ReadonlyMap<string, string>) => readonly string[] = () => [],
): Resolved<T> {
  const faults = layers.flatMap((layer) => layer.faults);
  const parsed = new Map<string, unknown>();
  const raws = new Map<string, unknown>();
  const sources = new Map<string, string>();
  const take = (setting: Setting<unknown>, name: string, source: string, raw: unknown, base: string): void => {
    try {
      parsed.set(setting.key, setting.type.parse(raw, base));
      raws.set(setting.key, raw);
      sources.set(setting.key, source);
    } catch (error) {
      if (!(error instanceof Unwanted)) throw error;
      faults.push(`${name} (${source}): ${error.message}`);
    }
  };
  for (const setting of settingsOf(table)) {
    const given = layers.flatMap((layer) =>
      layer.entries.filter((e) => e.setting === setting).map((e) => ({ ...e, layer })),
    );
    // All of them: a fault in a value that is overridden today is found today.
    for (const { name, raw, layer } of given) take(setting, name, layer.source, raw, layer.base);
    if (given.length > 0) continue;
    const { default: start, required, key } = setting;
    const raw = typeof start === 'function' ? (start as ComputedDefault)((key) => parsed.get(key), place) : start;
    if (raw !== undefined) take(setting, key, 'default', raw, place.cwd);
    else if (required) faults.push(`${key}: has to be set`);
  }
  const build = (node: Table): object =>
    Object.freeze(
      Object.fromEntries(
        Object.entries(node).map(([name, child]) => [
          name,
          isSetting(child) ? frozen(parsed.get(child.key)) : build(child),
        ]),
      ),
    );
  const values = build(table) as ValuesOf<T>;
  if (faults.length === 0) faults.push(...check(values, sources));
  if (faults.length > 0) throw invalid(faults);
  const line = (setting: Setting<unknown>, redact: boolean): string => {
    const source = sources.get(setting.key);
    if (source === undefined) return `# ${setting.key} is not set`;
    const value = parsed.get(setting.key);
    const shown = setting.environmentOnly
      ? '«secret»'
      : redact && setting.redact
        ? '«redacted»'
        : isText(value) || (Array.isArray(value) && value.every(isText))
          ? value // paths are absolute by now
          : raws.get(setting.key);
    return `${setting.key} = ${JSON.stringify(shown)}  # ${source}`;
  };
  return {
    values,
    sources,
    effective: (redact) =>
      `${settingsOf(table)
        .map((s) => line(s, redact))
        .join('\n')}\n`,
  };
}

export function invalid(faults: readonly string[]): ChatError {
  const field = /^[\w.-]+/.exec(faults[0] ?? '')?.[0];
  const message = faults.length === 1 ? (faults[0] ?? '') : `${faults.length} faults:\n  ${faults.join('\n  ')}`;
  return new ChatError('CONFIG_INVALID', message, field === undefined ? {} : { field });
}

const isText = (value: unknown): boolean => typeof value === 'string';

function frozen<V>(value: V): V {
  if (Array.isArray(value)) value.forEach(frozen);
  return Object.freeze(value);
}
