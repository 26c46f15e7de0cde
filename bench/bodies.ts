/** What messages are made of, and many things at a time. */
import { randomBytes } from 'node:crypto';

/** The text of a message. */
export const BODY_BYTES = 256;
/** With the commitment key that travels with it in chat-server. */
export const SEALED_BYTES = BODY_BYTES + 32;

/** Runs `work` for 0..count-1, so many at a time. */
export async function inParallel<T>(count: number, atOnce: number, work: (i: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const run = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) results[i] = await work(i);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, run));
  return results;
}

/** No two bodies are the same. */
export function bodiesOf(length: number): (count: number) => Buffer[] {
  const base = randomBytes(length);
  let n = 0;
  return (count) =>
    Array.from({ length: count }, () => {
      const body = Buffer.from(base);
      body.writeUInt32BE(n++ >>> 0, 0);
      return body;
    });
}
