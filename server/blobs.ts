/** What is too large for one frame, and travels in pieces beside the commit that refers to it by its hash. The server reads none of it. */
import type { Hash } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { BLOB_PIECE_BYTES, MAX_BLOB_BYTES, type Reply, type Request } from '../protocol/messages.ts';
import type { Store } from '../store/store.ts';
import type { Member } from './members.ts';
import { RateLimit } from './rate-limit.ts';

/** What one device may put without referring to it: a commit has two at most, and may have to be made anew. */
const UNUSED = { count: 4, bytes: 2 * MAX_BLOB_BYTES };
/** How long it is kept. */
const UNUSED_MS = 3_600_000;
/** Of one user: twenty trees of a thousand devices at once. */
const BYTES_AT_ONCE = 64 * 1024 * 1024;
const BYTES_PER_MINUTE = 16 * 1024 * 1024;
/** Of each kind, in one go. */
const FORGET_AT_ONCE = 64;

export interface BlobsOptions {
  readonly store: Pick<Store, 'putBlobPiece' | 'blobPiece' | 'forgetBlobs'>;
  /** Unix ms */
  readonly now: () => number;
  readonly monotonicMs?: () => number;
}

export class Blobs {
  readonly #o: BlobsOptions;
  readonly #puts: RateLimit;

  constructor(options: BlobsOptions) {
    this.#o = options;
    this.#puts = new RateLimit(BYTES_PER_MINUTE, options.monotonicMs, BYTES_AT_ONCE);
  }

  /** @throws BAD_FRAME naming the field: a piece of the wrong place or length, or, with the last one, another hash; RATE_LIMIT */
  async put({ user, device }: Member, frame: Request<'blob_put'>): Promise<Reply<'blob_have'>> {
    const { id, size, offset, piece } = frame;
    if (offset % BLOB_PIECE_BYTES !== 0 || offset >= size) bad('blob_put.offset', 'where a piece of it begins');
    const length = Math.min(BLOB_PIECE_BYTES, size - offset);
    if (piece.length !== length) bad('blob_put.piece', `${length} bytes`);
    this.#puts.take(`user:${user.id}`, piece.length);
    const { store, now } = this.#o;
    const bytes = await store.putBlobPiece(device.id, { hash: frame.hash as Hash, size, offset, piece }, now(), UNUSED);
    if (bytes === null) return bad('blob_put.hash', 'the hash of what was put');
    return { type: 'blob_have', id, bytes };
  }

  /** Whoever knows its hash may have it, as with bindings. @throws BAD_FRAME/blob_get.offset, NOT_FOUND */
  async get({ id, hash, offset }: Request<'blob_get'>): Promise<Reply<'blob'>> {
    if (offset % BLOB_PIECE_BYTES !== 0) bad('blob_get.offset', 'where a piece of it begins');
    const found = await this.#o.store.blobPiece(hash as Hash, offset);
    if (found === null)
      throw new ChatError('NOT_FOUND', 'nothing with this hash is kept, or it ends before', { field: 'blob_get.hash' });
    return { type: 'blob', id, ...found };
  }

  /** Deletes what nobody needs any more. */
  async forget(): Promise<void> {
    const { store, now } = this.#o;
    await store.forgetBlobs(now() - UNUSED_MS, FORGET_AT_ONCE);
  }
}
