/** One HTTP request to a party outside, with an end to how long and how much it may answer. Follows no redirect. */
import { ChatError } from '../../base/errors.ts';

export interface Answer {
  readonly status: number;
  /** Without parameters. */
  readonly type: string;
  readonly body: Buffer;
}

export interface Limits {
  readonly maxBytes: number;
  readonly timeoutMs: number;
  /** Ends what is under way. */
  readonly signal: AbortSignal;
}

/** @throws UNREACHABLE if there is no whole answer in time; TOO_LARGE for a longer one */
export async function post(url: string, type: string, body: Uint8Array, limits: Limits): Promise<Answer> {
  const signal = AbortSignal.any([limits.signal, AbortSignal.timeout(limits.timeoutMs)]);
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': type },
      body: Buffer.from(body),
      redirect: 'error',
      signal,
    });
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      if (bytes > limits.maxBytes)
        throw new ChatError('TOO_LARGE', `an answer of more than ${limits.maxBytes} bytes`, { field: 'answer' });
      chunks.push(chunk);
    }
    const [contentType = ''] = (response.headers.get('content-type') ?? '').split(';');
    return { status: response.status, type: contentType.trim().toLowerCase(), body: Buffer.concat(chunks) };
  } catch (cause) {
    if (cause instanceof ChatError) throw cause;
    const sub = signal.aborted ? 'timeout' : 'no_answer';
    throw new ChatError('UNREACHABLE', 'no whole answer to an HTTP request', { sub, cause });
  }
}
