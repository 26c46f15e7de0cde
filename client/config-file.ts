/** The text of `config.toml` as plain values. The client's only door to smol-toml. */
import { parse } from 'smol-toml';
import { ChatError } from '../base/errors.ts';

/** @throws CONFIG_INVALID with the place of the fault */
export function parseToml(text: string, path: string): Record<string, unknown> {
  try {
    return parse(text) as Record<string, unknown>;
  } catch (cause) {
    const { line } = cause as { line?: number };
    throw new ChatError('CONFIG_INVALID', `${path}${line === undefined ? '' : `, line ${line}`}: not valid TOML`, {
      cause,
    });
  }
}
