"""A commit: proposals by value, and a path of new keys: RFC 9420 §7.6, §12.1, §12.4, as docs/PROTOCOL.md §5.9 allows them."""
from hpke import XWing
from identity import Refused
from integers import u16, u32
from key_package import read_key_package
from labels import decrypt_with_label, derive_secret, encrypt_with_label, optional, vector
from ratchet_tree import read_leaf

BY_VALUE = 1
ADD, REMOVE, EXTERNAL_INIT = 1, 3, 6


def add(key_package):
    return bytes([BY_VALUE]) + u16(ADD) + key_package


def remove(index):
    return bytes([BY_VALUE]) + u16(REMOVE) + u32(index)


def external_init(encapsulated):
    return bytes([BY_VALUE]) + u16(EXTERNAL_INIT) + vector(encapsulated)


def encode_commit(proposals, path=None):
    return vector(b''.join(proposals)) + optional(path)


def _read_proposal(reader):
    reader.expect((1, BY_VALUE))
    kind = reader.uint(2)
    if kind == ADD:
        return kind, read_key_package(reader)
    if kind == REMOVE:
        return kind, reader.uint(4)
    if kind == EXTERNAL_INIT:
        return kind, reader.vector()
    raise Refused('BAD_FRAME', 'proposal')


def _read_path(reader):
    """UpdatePath: leaf and nodes, each a key and a path secret for everybody in a resolution."""
    leaf = read_leaf(reader)

    def read_node(inner):
        return inner.vector(), inner.list_of(lambda one: vector(one.vector()) + vector(one.vector()))
    return leaf, reader.list_of(read_node)


class Commit:
    """As it came."""

    def __init__(self, reader):
        start = reader.at
        self.proposals = reader.list_of(_read_proposal)
        self.path = reader.optional(_read_path)
        self.encoded = reader.since(start)

    def of(self, kind):
        return [value for each, value in self.proposals if each == kind]


def apply(tree, removed, added):
    """§12.4.2: who goes, then who comes. Answers the indices of the new leaves."""
    for index in removed:
        tree.remove(index)
    return [tree.add(leaf) for leaf in added]


def secrets_from(first, count):
    """§7.4: path secrets up from the first one, and the commit secret, which comes after the last one."""
    secrets = [first]
    for _ in range(count):
        secrets.append(derive_secret(secrets[-1], b'path'))
    return secrets[:-1], secrets[-1]


def key_of(path_secret):
    return XWing.derived(derive_secret(path_secret, b'node'))


def keys_of(tree, nodes, secrets):
    """By node, from path secrets; each must be the one in the tree."""
    keys = {node: key_of(secret) for node, secret in zip(nodes, secrets)}
    if any(key.public != tree.nodes[node]['encryption_key'] for node, key in keys.items()):
        raise Refused('BAD_PROOF', 'path secret')
    return keys


def seal_path(tree, leaf, secrets, keys, context, newcomers):
    """The nodes of an UpdatePath; who comes in the same commit gets his secret in the Welcome."""
    nodes = b''
    for (_, beside), secret, key in zip(tree.filtered_path(leaf), secrets, keys):
        others = [each for each in tree.resolution(beside) if each not in newcomers]
        public = [tree.nodes[each]['encryption_key'] for each in others]
        sealed = [encrypt_with_label(each, b'UpdatePathNode', context, secret) for each in public]
        nodes += vector(key.public) + vector(b''.join(sealed))
    return vector(nodes)


def open_path(tree, nodes, sender, private, context, newcomers):
    """The path secret that is for us (§7.5), and its place in the path. `private`: our keys by node."""
    for place, ((_, beside), (_, sealed)) in enumerate(zip(tree.filtered_path(sender), nodes)):
        others = [each for each in tree.resolution(beside) if each not in newcomers]
        if len(others) != len(sealed):
            raise Refused('BAD_FRAME', 'path secrets')
        for index, encrypted in zip(others, sealed):
            if index in private:
                return place, decrypt_with_label(private[index], b'UpdatePathNode', context, encrypted)
    raise Refused('BAD_FRAME', 'nothing for this device')


