/** Spans of time as a person writes them: 30s, 10m, 7d. */
import { ChatError } from '../base/errors.ts';
import { duration, Unwanted } from '../runtime/setting-types.ts';

/** How long a message stays: null for `off`. @throws USAGE */
export function parseExpiry(text: string, what: string): number | null {
  if (text === 'off') return null;
  const type = duration('1s', '365d');
  try {
    return type.parse(type.fromText(text), '/');
  } catch (error) {
    if (error instanceof Unwanted) throw new ChatError('USAGE', `${what}: ${error.message}, or off`);
    throw error;
  }
}

/** @throws USAGE */
export function parseDuration(text: string, what: string): number {
  const type = duration('1ms', '24d');
  try {
    return type.parse(type.fromText(text), '/');
  } catch (error) {
    if (error instanceof Unwanted) throw new ChatError('USAGE', `${what}: ${error.message}`);
    throw error;
  }
}
