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


def root_of(known, low, high, proof):
    """The root of [low, high): `known` are hashes by index, `proof` yields every maximal subtree without any of these."""
    if not any(low <= index < high for index in known):
        return next(proof)
    if high - low == 1:
        return known[low]
    middle = low + split(high - low)
    return node(root_of(known, low, middle, proof), root_of(known, middle, high, proof))


def proven_root(known, size, hashes):
    """As root_of for a whole tree; every hash of the proof must be used."""
    proof = iter(hashes)
    try:
        root = root_of(known, 0, size, proof)
    except StopIteration:
        raise Refused('BAD_PROOF', 'too short') from None
    if next(proof, None) is not None:
        raise Refused('BAD_PROOF', 'too long')
    return root


def tree_root(leaves):
    return proven_root(dict(enumerate(leaves)), len(leaves), [])


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
