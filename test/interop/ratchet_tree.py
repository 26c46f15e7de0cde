"""The ratchet tree: its nodes, its hashes, and how it is changed: RFC 9420 §4, §7, appendix C."""
import hashlib

from identity import Refused
from integers import u16, u32, u64
from labels import Reader, optional, raw_public, sign_with_label, vector, verify_with_label

VERSION = 1  # mls10
CIPHER_SUITE = 0x0053
SETTINGS = 0xF0C1  # the extension with the rules of a conversation
BASIC = 1  # the type of all credentials
FROM_KEY_PACKAGE, FROM_UPDATE, FROM_COMMIT = 1, 2, 3
LEAF, PARENT = 1, 2
CAPABILITIES = vector(u16(VERSION)) + vector(u16(CIPHER_SUITE)) + vector(u16(SETTINGS)) + vector(b'') + vector(u16(BASIC))


def make_leaf(key, encryption_key, identity, source, where=b''):
    """An encoded LeafNode of our own (§7.2). `source` has what belongs to it; `where`: group and index, of a commit."""
    leaf = vector(encryption_key) + vector(raw_public(key)) + u16(BASIC) + vector(identity) + CAPABILITIES
    leaf += source + vector(b'')
    return leaf + vector(sign_with_label(key, b'LeafNodeTBS', leaf + where))


def from_key_package(not_before, not_after):
    return bytes([FROM_KEY_PACKAGE]) + u64(not_before) + u64(not_after)


def from_commit(parent_hash):
    return bytes([FROM_COMMIT]) + vector(parent_hash)


def read_leaf(reader):
    start = reader.at
    leaf = {'encryption_key': reader.vector(), 'signature_key': reader.vector()}
    reader.expect((2, BASIC))
    leaf['identity'] = reader.vector()
    for _ in range(5):  # capabilities
        reader.vector()
    leaf['source'] = reader.uint(1)
    if leaf['source'] == FROM_KEY_PACKAGE:
        leaf['lifetime'] = reader.uint(8), reader.uint(8)
    elif leaf['source'] == FROM_COMMIT:
        leaf['parent_hash'] = reader.vector()
    elif leaf['source'] != FROM_UPDATE:
        raise Refused('BAD_FRAME', 'leaf_node_source')
    reader.vector()  # extensions
    leaf['signed'] = reader.since(start)
    leaf['signature'] = reader.vector()
    leaf['encoded'] = reader.since(start)
    return leaf


def check_leaf(leaf, where=b''):
    verify_with_label(leaf['signature_key'], b'LeafNodeTBS', leaf['signed'] + where, leaf['signature'])


def _read_node(reader):
    kind = reader.uint(1)
    if kind == LEAF:
        return read_leaf(reader)
    return {
        'encryption_key': reader.vector(),
        'parent_hash': reader.vector(),
        'unmerged': reader.list_of(lambda inner: inner.uint(4)),
    }


def _encode_node(node):
    if 'encoded' in node:
        return node['encoded']
    unmerged = b''.join(map(u32, node['unmerged']))
    return vector(node['encryption_key']) + vector(node['parent_hash']) + vector(unmerged)


def level(index):
    count = 0
    while index >> count & 1:
        count += 1
    return count


def left(index):
    return index ^ (1 << (level(index) - 1))


def right(index):
    return index ^ (3 << (level(index) - 1))


def parent(index):
    high = level(index)
    return (index | 1 << high) & ~(1 << (high + 1))


class Tree:
    """All nodes, blank ones None, filled up to a full tree (array representation)."""

    def __init__(self, nodes):
        self.nodes = list(nodes)
        while len(self.nodes) & (len(self.nodes) + 1):
            self.nodes.append(None)

    @classmethod
    def read(cls, extension):
        reader = Reader(extension)
        nodes = reader.list_of(lambda inner: inner.optional(_read_node))
        reader.end()
        tree = cls(nodes)
        tree._check_parents()
        return tree

    def encode(self):
        """As the extension ratchet_tree has it (§12.4.3.3): without blank nodes at the end."""
        nodes = list(self.nodes)
        while nodes[-1] is None:
            nodes.pop()
        kinds = [bytes([PARENT if i & 1 else LEAF]) for i in range(len(nodes))]
        return vector(b''.join(optional(node and kinds[i] + _encode_node(node)) for i, node in enumerate(nodes)))

    def copy(self):
        return Tree([node and dict(node) for node in self.nodes])

    @property
    def root(self):
        return len(self.nodes) // 2

    def leaves(self):
        """Of members, by their index."""
        return {i: leaf for i, leaf in enumerate(self.nodes[::2]) if leaf}

    def path(self, leaf):
        """Direct path of a leaf index (§4.1.1): nodes, each with its child that is not on the path."""
        at, found = 2 * leaf, []
        while at != self.root:
            up = parent(at)
            found.append((up, right(up) if at == left(up) else left(up)))
            at = up
        return found

    def filtered_path(self, leaf):
        return [(node, beside) for node, beside in self.path(leaf) if self.resolution(beside)]

    def resolution(self, index):
        """§4.1.1."""
        node = self.nodes[index]
        if node:
            return [index, *(2 * each for each in node.get('unmerged', []))]
        return [] if level(index) == 0 else self.resolution(left(index)) + self.resolution(right(index))

    def add(self, leaf):
        """§7.7, §12.1.1. Answers the index."""
        places = range(0, len(self.nodes), 2)
        at = next((i for i in places if self.nodes[i] is None), None)
        if at is None:
            at = len(self.nodes) + 1
            self.nodes += [None] * at
        self.nodes[at] = leaf
        for node, _ in self.path(at // 2):
            if self.nodes[node]:
                self.nodes[node]['unmerged'] = sorted([*self.nodes[node]['unmerged'], at // 2])
        return at // 2

    def remove(self, leaf):
        """§7.7, §12.1.3."""
        if self.nodes[2 * leaf] is None:
            raise Refused('BAD_FRAME', 'removes nobody')
        for node in [2 * leaf, *(node for node, _ in self.path(leaf))]:
            self.nodes[node] = None
        while len(self.nodes) > 1 and not any(self.nodes[self.root:]):
            self.nodes = self.nodes[:self.root]

    def hash(self, index=None, without=()):
        """§7.8. `without`: leaves that are taken for blank (§7.9)."""
        index = self.root if index is None else index
        node = self.nodes[index]
        if level(index) == 0:
            shown = None if index // 2 in without else node
            encoded = optional(shown and _encode_node(shown))
            return hashlib.sha512(bytes([LEAF]) + u32(index // 2) + encoded).digest()
        if node:
            node = {**node, 'unmerged': [each for each in node['unmerged'] if each not in without]}
        children = [vector(self.hash(child, without)) for child in (left(index), right(index))]
        return hashlib.sha512(bytes([PARENT]) + optional(node and _encode_node(node)) + b''.join(children)).digest()

    def parent_hash(self, index, beside):
        """What a child of this node says of it; `beside` is its other child (§7.9)."""
        node = self.nodes[index]
        sibling = self.hash(beside, node['unmerged'])
        return hashlib.sha512(vector(node['encryption_key']) + vector(node['parent_hash']) + vector(sibling)).digest()

    def set_path(self, leaf, keys):
        """New keys for the filtered path, from the bottom (§7.5). Answers the parent hash that the leaf must have."""
        path = self.filtered_path(leaf)
        if len(keys) != len(path):
            raise Refused('BAD_FRAME', 'another path')
        for node, _ in self.path(leaf):
            self.nodes[node] = None
        said = b''
        for (node, beside), key in reversed(list(zip(path, keys))):
            self.nodes[node] = {'encryption_key': key, 'parent_hash': said, 'unmerged': []}
            said = self.parent_hash(node, beside)
        return said

    def _check_parents(self):
        """Each parent node stands because somebody below it made it (§7.9.2)."""
        for index, node in enumerate(self.nodes):
            if node and index & 1 and not self._has_maker(index, left(index), right(index)):
                if not self._has_maker(index, right(index), left(index)):
                    raise Refused('BAD_PROOF', 'parent hash')

    def _has_maker(self, index, child, beside):
        said, span = self.parent_hash(index, beside), (1 << level(child)) - 1
        unmerged = {2 * each for each in self.nodes[index]['unmerged'] if abs(2 * each - child) <= span}
        below = set(self.resolution(child))
        return any(self.nodes[each].get('parent_hash') == said and below - {each} == unmerged for each in below)
