/** What belongs to a commit and is too large for one frame: put at the server in pieces, and fetched by the reference that was signed. */
import { equal } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { BLOB_PIECE_BYTES, MAX_BLOB_BYTES, type Reply } from '../protocol/messages.ts';
import type { BlobReference } from './e2ee/layout.ts';
import type { Requester } from './requester.ts';

/** Pieces that are asked for at the same time: as much as a delivery may hold. */
const AT_ONCE = 4;

/**
 * Returns when the server has all of it; what it has already is not sent again.
 * @throws RATE_LIMIT, and what else the requests throw; BAD_FRAME/blob_have for a server that does not keep count
 */
export async function putBlob(requester: Requester, blob: Uint8Array): Promise<void> {
  const hash = sha256(blob);
  const put = async (offset: number): Promise<number> => {
    const piece = blob.subarray(offset, offset + BLOB_PIECE_BYTES);
    const ask = { type: 'blob_put', hash, size: blob.length, offset, piece } as const;
    return (await requester.request(ask, 'blob_have')).bytes;
  };
  for (let have = await put(0); have < blob.length;) {
    const offsets: number[] = [];
    for (let at = have; at < blob.length && offsets.length < AT_ONCE; at += BLOB_PIECE_BYTES) offsets.push(at);
    const now = Math.max(...(await Promise.all(offsets.map(put))));
    if (now <= have)
      throw new ChatError('BAD_FRAME', 'the server does not take what is put', { field: 'blob_have.bytes' });
    have = now;
  }
}

/**
 * Whatever its writer says of the size: else a false reference would make the server the liar.
 * @throws TOO_LARGE for a reference to more than anybody needs; BAD_FRAME/reference for one with another size than what has that hash;
 *   NOT_FOUND/blob when the server does not have it; SIG_FAIL/blob for something else than is referred to
 */
export async function fetchBlob(requester: Requester, { hash, size }: BlobReference): Promise<Uint8Array> {
  if (size > MAX_BLOB_BYTES)
    throw new ChatError('TOO_LARGE', `a blob of ${size} bytes is referred to`, { field: 'blob' });
  const get = (offset: number): Promise<Reply<'blob'>> =>
    requester.request({ type: 'blob_get', hash, offset }, 'blob').catch(missing);
  const first = await get(0);
  const blob = Buffer.alloc(first.size);
  const take = ({ piece, size: said }: Reply<'blob'>, offset: number): void => {
    if (said !== blob.length || piece.length !== Math.min(BLOB_PIECE_BYTES, said - offset)) throw another();
    blob.set(piece, offset);
  };
  take(first, 0);
  for (let from = BLOB_PIECE_BYTES; from < blob.length; from += AT_ONCE * BLOB_PIECE_BYTES) {
    const offsets: number[] = [];
    for (let at = from; at < blob.length && offsets.length < AT_ONCE; at += BLOB_PIECE_BYTES) offsets.push(at);
    await Promise.all(offsets.map(async (offset) => take(await get(offset), offset)));
  }
  if (!equal(sha256(blob), hash)) throw another();
  if (size !== blob.length)
    throw new ChatError('BAD_FRAME', `a reference to ${size} bytes, where ${blob.length} have that hash`, {
      field: 'reference',
    });
  return blob;
}

function missing(cause: unknown): never {
  const error = ChatError.from(cause);
  if (error.code !== 'NOT_FOUND') throw error;
  throw new ChatError('NOT_FOUND', 'what a commit refers to was never put, or the server keeps it back', {
    sub: 'blob',
    cause,
  });
}
const another = (): ChatError =>
  new ChatError('SIG_FAIL', 'the server answered with something else than a commit refers to', { sub: 'blob' });
