/**
 * Loaded into a program before it starts: whatever its TLS sockets carry is appended to the file named in CHAT_RECORD, as TLS carries it;
 * and what a server finds inside the inner channel to the same with `.frames` behind its name.
 */
import { appendFileSync } from 'node:fs';
import { TLSSocket } from 'node:tls';
import { substitute } from './substitute.ts';

const file = process.env['CHAT_RECORD'] ?? '';
const record = (chunk: unknown): void => {
  if (chunk instanceof Uint8Array) appendFileSync(file, chunk);
  else if (typeof chunk === 'string') appendFileSync(file, chunk, 'latin1');
};

interface Stream {
  push(chunk: unknown, encoding?: BufferEncoding): boolean;
  _write(chunk: unknown, encoding: BufferEncoding, done: () => void): void;
  _writev(chunks: readonly { readonly chunk: unknown }[], done: () => void): void;
}
const stream = TLSSocket.prototype as unknown as Stream;
const { push, _write, _writev } = stream;
Object.assign(stream, {
  push(this: Stream, chunk: unknown, encoding?: BufferEncoding) {
    record(chunk);
    return push.call(this, chunk, encoding);
  },
  _write(this: Stream, chunk: unknown, encoding: BufferEncoding, done: () => void) {
    record(chunk);
    _write.call(this, chunk, encoding, done);
  },
  _writev(this: Stream, chunks: readonly { readonly chunk: unknown }[], done: () => void) {
    for (const { chunk } of chunks) record(chunk);
    _writev.call(this, chunks, done);
  },
} satisfies Stream);

export const recording =
  <T>(decode: (plaintext: Uint8Array) => T) =>
  (plaintext: Uint8Array): T => {
    appendFileSync(`${file}.frames`, plaintext);
    return decode(plaintext);
  };
substitute('/protocol/frame-codec.ts', { decodeRequests: 'by.recording(real.decodeRequests)' }, import.meta.url);
