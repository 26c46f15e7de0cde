/** Times in words that mean the same on every machine. */

const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

/** Unix ms. RFC 3339 with a time zone: without one the answer would depend on the machine. Null: not a time. */
export function parseTime(text: string): number | null {
  const [, local] = TIME.exec(text) ?? [];
  if (local === undefined) return null;
  // Date.parse() takes the 31st of February, and 24:00:00, for another moment.
  const plain = Date.parse(`${local}Z`);
  const isReal = !Number.isNaN(plain) && new Date(plain).toISOString().startsWith(local);
  return isReal ? Date.parse(text) : null;
}

/** A time beyond what a date can be is shown as its number: whoever says it may be hostile. */
export const iso = (ms: number): string => (ms <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms`);
