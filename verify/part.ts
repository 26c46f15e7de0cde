/** A part of what was handed over: what stands in it, or why that can't be said. It is read before anybody judges it. */
import { ChatError } from '../base/errors.ts';

export type Part<T> = { readonly value: T; readonly fault: null } | { readonly value: null; readonly fault: string };

/** @param bytes undefined: there is none */
export function partOf<T>(bytes: Uint8Array | undefined, parse: (bytes: Uint8Array) => T): Part<T> {
  if (bytes === undefined) return MISSING;
  try {
    return { value: parse(bytes), fault: null };
  } catch (error) {
    const { code, message } = ChatError.from(error);
    if (code === 'INTERNAL') throw error;
    return { value: null, fault: message };
  }
}

const MISSING = { value: null, fault: 'is missing' } as const;
