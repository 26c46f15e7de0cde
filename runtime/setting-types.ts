/**
 * The types that a setting can have: one parser for a value of a TOML file and for the text of a variable or flag, the words for what
 * is wanted, and the JSON Schema. Nothing here repeats a value in an error: it may be a secret in the wrong place.
 */
import { resolve } from 'node:path';

/** A value that is not of the type; the message says what is wanted. */
export class Unwanted extends Error {}
const want = (what: string): never => {
  throw new Unwanted(`want ${what}`);
};

export interface SettingType<T> {
  /** For people: "a duration (10s, 5m, 72h, 30d) of 1s..1h". */
  readonly wants: string;
  /** JSON Schema of the value in a file. */
  readonly schema: Readonly<Record<string, unknown>>;
  /**
   * @param raw what TOML gave
   * @param base absolute folder that relative paths start from
   * @throws Unwanted
   */
  parse(raw: unknown, base: string): T;
  /** The raw value that this text of an environment variable or flag stands for. @throws Unwanted */
  fromText(text: string): unknown;
}

const same = (text: string): unknown => text;

/** @param pattern of the whole text */
export const string = (pattern: RegExp, wants: string): SettingType<string> => ({
  wants,
  schema: { type: 'string', pattern: pattern.source },
  parse: (raw) => (typeof raw === 'string' && raw.length <= 4096 && pattern.test(raw) ? raw : want(wants)),
  fromText: same,
});

export const oneOf = <const T extends string>(...values: readonly T[]): SettingType<T> => {
  const wants = `one of ${values.join(', ')}`;
  return {
    wants,
    schema: { enum: values },
    parse: (raw) => values.find((value) => value === raw) ?? want(wants),
    fromText: same,
  };
};

export const integer = (min: number, max: number): SettingType<number> => {
  const wants = `an integer in ${min}..${max}`;
  return {
    wants,
    schema: { type: 'integer', minimum: min, maximum: max },
    parse: (raw) =>
      typeof raw === 'number' && Number.isSafeInteger(raw) && raw >= min && raw <= max ? raw : want(wants),
    // Number('') is 0 and Number('0x10') is 16.
    fromText: (text) => (/^(0|[1-9]\d{0,15})$/.test(text) ? Number(text) : want(wants)),
  };
};

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const millis = (text: string): number => {
  const [, count, unit] = /^(0|[1-9]\d{0,9})(ms|s|m|h|d)$/.exec(text) ?? [];
  return unit === undefined ? NaN : Number(count) * UNITS[unit as keyof typeof UNITS];
};

/** In milliseconds; the bounds are durations too. */
export const duration = (min: string, max: string): SettingType<number> => {
  const wants = `a duration like 500ms, 10s, 5m, 72h or 30d, of ${min}..${max}`;
  return {
    wants,
    schema: { type: 'string', pattern: '^(0|[1-9][0-9]{0,9})(ms|s|m|h|d)$' },
    parse: (raw) => {
      const value = typeof raw === 'string' ? millis(raw) : NaN;
      return value >= millis(min) && value <= millis(max) ? value : want(wants);
    },
    fromText: same,
  };
};

/** No item twice. In text: `a,b`, or a JSON list. */
export const listOf = <T>(item: SettingType<T>, minItems: number, maxItems: number): SettingType<readonly T[]> => {
  const wants = `a list of ${minItems}..${maxItems}, each ${item.wants}`;
  return {
    wants,
    schema: { type: 'array', items: item.schema, minItems, maxItems, uniqueItems: true },
    parse: (raw, base) => {
      if (!Array.isArray(raw) || raw.length < minItems || raw.length > maxItems) return want(wants);
      if (new Set(raw.map((value) => JSON.stringify(value))).size !== raw.length) return want('no item twice');
      return raw.map((value: unknown) => item.parse(value, base));
    },
    fromText: (text) => {
      try {
        if (text.startsWith('[')) return JSON.parse(text) as unknown;
      } catch {
        // `[::1]:6000` is no JSON, and a list of one.
      }
      return text.split(',').map((part) => item.fromText(part.trim()));
    },
  };
};

export interface Endpoint {
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: number;
}
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45})$/;
export const isHost = (text: string): boolean => HOST.test(text);

/** `host:port` or `[ipv6]:port`. @param minPort 0 where the machine may choose one */
export const endpoint = (minPort: 0 | 1): SettingType<Endpoint> => {
  const wants = 'HOST:PORT or [IPV6]:PORT';
  return {
    wants,
    schema: { type: 'string', pattern: '^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9.-]+):[0-9]{1,5}$' },
    parse: (raw) => {
      const [, six, name, port = ''] =
        (typeof raw === 'string' && /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(0|[1-9]\d{0,4})$/.exec(raw)) || [];
      const host = six ?? name ?? '';
      if (!isHost(host) || (six !== undefined && !six.includes(':'))) return want(wants);
      return Number(port) >= minPort && Number(port) <= 65_535 ? { host, port: Number(port) } : want(wants);
    },
    fromText: same,
  };
};

/** Absolute afterwards: a relative one starts from the folder of the file that says it, else from the working directory. */
export const path: SettingType<string> = {
  wants: 'a path',
  schema: { type: 'string', minLength: 1 },
  parse: (raw, base) =>
    typeof raw === 'string' && raw.length > 0 && raw.length <= 4096 && !raw.includes('\0')
      ? resolve(base, raw)
      : want('a path'),
  fromText: same,
};
