/** A certificate chain as the store keeps it: u32 length ‖ DER, leaf first. */
import { concat, u32, view } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';

export const joinChain = (chain: readonly Uint8Array[]): Buffer =>
  concat(...chain.flatMap((der) => [u32(der.length), der]));

/** @throws STORE_FAILED when the stored bytes are damaged */
export function splitChain(bytes: Uint8Array): Buffer[] {
  const all = view(bytes);
  const chain: Buffer[] = [];
  for (let at = 0; at < all.length;) {
    const end = at + 4 + (at + 4 <= all.length ? all.readUInt32BE(at) : Infinity);
    if (end > all.length) throw new ChatError('STORE_FAILED', 'a stored certificate chain is cut off');
    chain.push(all.subarray(at + 4, end));
    at = end;
  }
  return chain;
}
