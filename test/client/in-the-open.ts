/** A sealing that hides nothing, for tests of what is around it: as long as the true one, and readable. */
import { partBytes } from '../../client/body.ts';
import type { Seal } from '../../client/statements.ts';

/** u32 length ‖ opening ‖ zeros */
export const inTheOpen: Seal = (message, opening) => {
  const part = Buffer.alloc(partBytes(message.plaintext.length));
  part.writeUInt32BE(opening.length);
  part.set(opening, 4);
  return Promise.resolve({ parts: [part], group: { generation: 1, epoch: 1 } });
};
export function openingIn([part]: readonly Uint8Array[]): Uint8Array {
  const bytes = Buffer.from(part!);
  return bytes.subarray(4, 4 + bytes.readUInt32BE());
}
