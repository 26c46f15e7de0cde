/** Times in words that mean the same on every machine. */

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;

/** Unix ms. RFC 3339 with a time zone: without one the answer would depend on the machine. Null: not a time. */
export function parseTime(text: string): number | null {
  const at = TIME.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : at;
}

/** A time beyond what a date can be is shown as its number: whoever says it may be hostile. */
export const iso = (ms: number): string => (ms <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms`);
