/** Blobs: parts and GroupInfos of commits, put piece by piece before the commit that refers to them. */
import type { Hash } from '../../base/bytes.ts';

/** Of a blob; all but its last piece have PIECE_BYTES (store/blobs.ts), and `offset` is where this one begins. */
export interface BlobPiece {
  /** SHA-256 of the whole */
  readonly hash: Hash;
  /** of the whole */
  readonly size: number;
  readonly offset: number;
  readonly piece: Uint8Array;
}

/** Of what one device has put and no commit refers to. */
export interface BlobLimits {
  readonly count: number;
  readonly bytes: number;
}

export interface BlobName {
  readonly hash: Hash;
  readonly size: number;
}

export interface BlobStore {
  /**
   * Appends a piece to a blob of the device, if it begins where the blob ends so far; in any other place nothing changes. The first
   * piece makes the blob; putting one that is whole again makes it newer. What the device has put before and no commit refers to gives way
   * to it, the oldest first, above the limits.
   * @returns how many bytes are there from the beginning; null: it was the last piece, the whole has another hash, and nothing is left
   * @throws NOT_FOUND/device; BAD_FRAME/size for a blob that was begun with another size
   */
  putBlobPiece(deviceId: number, piece: BlobPiece, now: number, limits: BlobLimits): Promise<number | null>;
  /** The piece that `offset` lies in, of a blob that a commit refers to; null: there is none. */
  blobPiece(hash: Hash, offset: number): Promise<{ readonly size: number; readonly piece: Uint8Array } | null>;
  /** Of whole blobs that the device has put; null: it is not there, or not whole. */
  blobSizes(deviceId: number, hashes: readonly Hash[]): Promise<(number | null)[]>;
  /** Of all blobs that are kept for the GroupInfos of commits that devices of this user have made. */
  keptInfoBytes(userId: number): Promise<number>;
  /**
   * Deletes blobs that nobody needs: put before that time, and never referred to; of a commit whose parts wait for no device any more;
   * of a GroupInfo that is neither the newest nor kept (ConversationStore.groupInfo). Before that, GroupInfos that
   * are kept and whose commits wait for no device any more. At most `limit` of each kind. @returns how many
   */
  forgetBlobs(putBefore: number, limit: number): Promise<number>;
}
