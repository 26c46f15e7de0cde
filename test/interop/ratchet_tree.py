"""The ratchet tree as the extension has it, and its hash: RFC 9420 §7, §12.4.3.3, appendix C."""
import hashlib

from identity import Refused
from integers import u32
from labels import Reader, vector

BASIC = 1  # the type of all credentials
FROM_KEY_PACKAGE, FROM_UPDATE, FROM_COMMIT = 1, 2, 3
LEAF, PARENT = 1, 2


def read_leaf(reader):
    start = reader.at
    leaf = {'encryption_key': reader.vector(), 'signature_key': reader.vector()}
    reader.expect((2, BASIC))
    leaf['identity'] = reader.vector()
    for _ in range(5):  # capabilities
        reader.vector()
    source = reader.uint(1)
    if source == FROM_KEY_PACKAGE:
        reader.take(16)  # lifetime
    elif source == FROM_COMMIT:
        reader.vector()  # parent hash
    elif source != FROM_UPDATE:
        raise Refused('BAD_FRAME', 'leaf_node_source')
    reader.vector()  # extensions
    reader.vector()  # signature
    leaf['encoded'] = reader.since(start)
    return leaf


def read_tree(extension):
    """All nodes, blank ones None, filled up to a full tree (§7.8: array representation)."""
    outer = Reader(extension)
    reader, nodes = Reader(outer.vector()), []
    outer.end()
    while not reader.is_at_end():
        if reader.uint(1) == 0:
            nodes.append(None)
        elif reader.uint(1) == LEAF:
            nodes.append(read_leaf(reader))
        else:
            start = reader.at
            for _ in range(3):  # encryption key, parent hash, unmerged leaves
                reader.vector()
            nodes.append({'encoded': reader.since(start)})
    while len(nodes) & (len(nodes) + 1):
        nodes.append(None)
    return nodes


def level(index):
    count = 0
    while index >> count & 1:
        count += 1
    return count


def left(index):
    return index ^ (1 << (level(index) - 1))


def right(index):
    return index ^ (3 << (level(index) - 1))


def tree_hash(nodes, index):
    """§7.8."""
    node = nodes[index]
    encoded = b'\0' if node is None else b'\1' + node['encoded']
    if level(index) == 0:
        return hashlib.sha512(bytes([LEAF]) + u32(index // 2) + encoded).digest()
    children = vector(tree_hash(nodes, left(index))) + vector(tree_hash(nodes, right(index)))
    return hashlib.sha512(bytes([PARENT]) + encoded + children).digest()
