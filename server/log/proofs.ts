/** Proofs from the tree of one signed head, and from the smaller ones that it grew out of. Signs nothing, and knows nothing newer. */
import type { Hash } from '../../base/bytes.ts';
import { encodeAck } from '../../transcript/ack.ts';
import type { Tree } from '../../transcript/merkle.ts';
import type { Nodes } from './nodes.ts';

export class Proofs {
  readonly #nodes: Nodes;
  readonly #tree: Tree;

  constructor(nodes: Nodes, size: number) {
    this.#nodes = nodes;
    this.#tree = nodes.tree(size);
  }

  /**
   * The binary ACK for the batch whose SIGB leaf is at `first`, without its checkpoint.
   * @param count messages in the batch
   * @throws RangeError for entries that are not there; LOG_CORRUPT
   */
  async ack(first: number, count: number, serverTime: number): Promise<Buffer> {
    const tree = this.#tree;
    const proof = await this.#nodes.prove(tree, () => tree.range(first, first + count + 1));
    return encodeAck({ first, count, serverTime, treeSize: tree.size, proof, checkpoint: Buffer.alloc(0) });
  }

  /** MTH of every maximal subtree outside [from, to) in the tree of `size`. @throws RangeError, LOG_CORRUPT */
  range(from: number, to: number, size = this.#tree.size): Promise<Hash[]> {
    return this.#nodes.prove(this.#treeOf(size), (tree) => tree.range(from, to));
  }
  /** Leaf to root. @throws RangeError, LOG_CORRUPT */
  inclusion(index: number, size = this.#tree.size): Promise<Hash[]> {
    return this.#nodes.prove(this.#treeOf(size), (tree) => tree.inclusion(index));
  }
  /** That the tree of `from` is a prefix of the tree of `to`. @throws RangeError, LOG_CORRUPT */
  async consistency(from: number, to = this.#tree.size): Promise<Hash[]> {
    return this.#nodes.prove(this.#treeOf(to), (tree) => tree.consistency(from));
  }

  #treeOf(size: number): Tree {
    if (size > this.#tree.size) throw new RangeError(`a tree of ${size} in a log of ${this.#tree.size}`);
    return size === this.#tree.size ? this.#tree : this.#nodes.tree(size);
  }
}
