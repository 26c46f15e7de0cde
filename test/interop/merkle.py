"""The Merkle tree and its proofs: RFC 9162 §2.1, docs/TRANSCRIPT.md (head)."""
import hashlib

from identity import Refused


def leaf(data):
    return hashlib.sha256(b'\0' + data).digest()


def node(left, right):
    return hashlib.sha256(b'\1' + left + right).digest()


def split(size):
    """The largest power of two below the size."""
    return 1 << ((size - 1).bit_length() - 1)


def root_of(known, low, high, proof, seen):
    """
    The root of [low, high): `known` are hashes by index, `proof` yields every maximal subtree without any of these.
    `seen` gets each hash on the way, by its range.
    """
    if not any(low <= index < high for index in known):
        root = next(proof)
    elif high - low == 1:
        root = known[low]
    else:
        middle = low + split(high - low)
        root = node(root_of(known, low, middle, proof, seen), root_of(known, middle, high, proof, seen))
    seen[low, high] = root
    return root


def proven_root(known, size, hashes, seen=None):
    """As root_of for a whole tree; every hash of the proof must be used."""
    proof = iter(hashes)
    try:
        root = root_of(known, 0, size, proof, {} if seen is None else seen)
    except StopIteration:
        raise Refused('BAD_PROOF', 'too short') from None
    if next(proof, None) is not None:
        raise Refused('BAD_PROOF', 'too long')
    return root


def inclusion(known, size, hashes, index):
    """The path of one of `known`, its sibling first (RFC 9162 §2.1.3), out of a proof for all of them."""
    seen, path, low, high = {}, [], 0, size
    proven_root(known, size, hashes, seen)
    while high - low > 1:
        middle = low + split(high - low)
        is_left = index < middle
        path.insert(0, seen[middle, high] if is_left else seen[low, middle])
        low, high = (low, middle) if is_left else (middle, high)
    return path


def verify_inclusion(leaf_hash, index, size, path, root):
    """RFC 9162 §2.1.3.2."""
    if index >= size:
        raise Refused('BAD_PROOF', 'index')
    fn, sn, found = index, size - 1, leaf_hash
    for sibling in path:
        if sn == 0:
            raise Refused('BAD_PROOF', 'too long')
        if fn & 1 or fn == sn:
            found = node(sibling, found)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node(found, sibling)
        fn, sn = fn >> 1, sn >> 1
    if (found, sn) != (root, 0):
        raise Refused('BAD_PROOF', 'another root')


def tree_root(leaves):
    if len(leaves) == 1:
        return leaves[0]
    middle = split(len(leaves))
    return node(tree_root(leaves[:middle]), tree_root(leaves[middle:]))


def check_consistency(first, first_root, second, second_root, hashes):
    """RFC 9162 §2.1.4.2, for 0 < first < second."""
    path = list(hashes) if first & (first - 1) else [first_root, *hashes]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    if not path:
        raise Refused('FORK', 'no proof')
    old = new = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise Refused('FORK', 'too long')
        if fn & 1 or fn == sn:
            old, new = node(sibling, old), node(sibling, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node(new, sibling)
        fn, sn = fn >> 1, sn >> 1
    if (old, new, sn) != (first_root, second_root, 0):
        raise Refused('FORK', 'another history')
