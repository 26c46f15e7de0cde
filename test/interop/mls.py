"""A member of MLS groups (RFC 9420): makes one, comes in, reads, writes, changes it: docs/PROTOCOL.md §5.7, §5.9."""
import hashlib
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import hpke
from commit import (ADD, EXTERNAL_INIT, REMOVE, Commit, add, apply, encode_commit, external_init, key_of, keys_of, open_path,
                    remove, seal_path, secrets_from)
from framing import (APPLICATION, COMMIT, GROUP_INFO, NEW_MEMBER, PRIVATE_MESSAGE, PUBLIC_MESSAGE, SIGNATURE_BYTES, Sealed,
                     check_signature, framed, member, seal, sealed_size, signature_of)
from hpke import HASH_BYTES, XWing
from identity import Refused
from integers import u16, u32, u64
from key_schedule import NO_SECRET, Epoch, epoch_secret, joiner_secret, welcome_key
from labels import Reader, decrypt_with_label, encrypt_with_label, optional, sign_with_label, vector, verify_with_label
from ratchet_tree import CIPHER_SUITE, SETTINGS, VERSION, Tree, check_leaf, from_commit, make_leaf, read_leaf

RATCHET_TREE, EXTERNAL_PUB = 2, 4
EXTERNAL_INIT_LABEL = b'MLS 1.0 external init secret'


class Group:
    """One epoch. A commit makes another one; this one stays as it is, but for what was sent in it."""

    def __init__(self, member_keys, group_id, epoch, tree, extensions, confirmed_hash):
        """`member_keys`: our signature key and identity."""
        self._keys = member_keys
        self.id, self.epoch, self.tree = group_id, epoch, tree
        self._extensions, self._confirmed_hash = extensions, confirmed_hash
        self._tree_hash = tree.hash()
        self.settings = _extensions(extensions)[SETTINGS]
        self._private = {}  # our keys by node
        self._sent = {APPLICATION: 0, COMMIT: 0}

    # three ways in

    @classmethod
    def create(cls, key_package, group_id, settings):
        """§11. Alone."""
        tree = Tree([read_leaf(Reader(key_package.leaf))])
        keys = key_package.signature_key, key_package.identity
        group = cls(keys, group_id, 0, tree, u16(SETTINGS) + vector(settings), b'')
        group._begin(os.urandom(HASH_BYTES), 0, {0: key_package.encryption_key})
        return group

    @classmethod
    def welcomed(cls, key_package, encrypted_group_info, encrypted_group_secrets):
        """By the Welcome (§12.4.3.1): the two parts that docs/PROTOCOL.md §5.7 makes of it."""
        reader = Reader(decrypt_with_label(key_package.init_key, b'Welcome', encrypted_group_info, encrypted_group_secrets))
        joiner, path_secret = reader.vector(), reader.optional(Reader.vector)
        reader.expect((1, 0))  # no pre-shared keys
        reader.end()
        key, nonce = welcome_key(joiner)
        info = GroupInfo(AESGCM(key).decrypt(nonce, encrypted_group_info, b''))
        group = info.group((key_package.signature_key, key_package.identity))
        own = [i for i, leaf in group.tree.leaves().items() if leaf['encoded'] == key_package.leaf]
        private = {2 * own[0]: key_package.encryption_key}
        if path_secret is not None:
            above = [node for node, _ in group.tree.filtered_path(info.signer)]
            shared = [node for node, _ in group.tree.path(own[0])]
            place = next(i for i, node in enumerate(above) if node in shared)
            secrets, _ = secrets_from(path_secret, len(above) - place)
            private.update(keys_of(group.tree, above[place:], secrets))
        group._begin(epoch_secret(joiner, group.context), own[0], private)
        group._secrets.check_confirmation(group._confirmed_hash, info.tag)
        group.signer = group.tree.leaves()[info.signer]
        return group

    @classmethod
    def entered(cls, key_package, info, authenticated, former=()):
        """From outside (§12.4.3.2). `former`: indices of our own leaf of before. Answers the commit and the group."""
        before = info.group((key_package.signature_key, key_package.identity))
        before._interim_hash = _interim_hash(before._confirmed_hash, info.tag)
        shared_secret, encapsulated = hpke.encapsulate(info.extensions[EXTERNAL_PUB])
        init_secret = hpke.Context(shared_secret, b'').export(EXTERNAL_INIT_LABEL, HASH_BYTES)
        tree = before.tree.copy()
        apply(tree, former, [])
        own = tree.add(read_leaf(Reader(key_package.leaf)))  # its path replaces it
        path, _, private, commit_secret = before._make_path(tree, own, set())
        content = encode_commit([external_init(encapsulated), *map(remove, former)], path)
        commit = framed(before.id, before.epoch, NEW_MEMBER, authenticated, COMMIT, content)
        signature = signature_of(key_package.signature_key, PUBLIC_MESSAGE, commit, before.context)
        group, joiner = before._next(tree, PUBLIC_MESSAGE, commit, signature, init_secret, commit_secret)
        group._begin(epoch_secret(joiner, group.context), own, private)
        message = u16(VERSION) + u16(PUBLIC_MESSAGE) + commit + vector(signature) + vector(group.tag)
        return message, group

    # messages

    def open(self, message):
        """A PrivateMessage with application data. Answers the sender's leaf, the authenticated data, and the plaintext."""
        index, authenticated, reader = self._open(message, APPLICATION)
        plaintext, signature = reader.vector(), reader.vector()
        if any(reader.rest()):
            raise Refused('BAD_FRAME', 'padding')
        content = framed(self.id, self.epoch, member(index), authenticated, APPLICATION, vector(plaintext))
        leaf = self.tree.leaves()[index]
        check_signature(leaf['signature_key'], PRIVATE_MESSAGE, content, self.context, signature)
        return leaf, authenticated, plaintext

    def seal(self, authenticated, plaintext):
        """A PrivateMessage of our own."""
        content = framed(self.id, self.epoch, member(self.own), authenticated, APPLICATION, vector(plaintext))
        signature = signature_of(self._keys[0], PRIVATE_MESSAGE, content, self.context)
        return self._seal(authenticated, APPLICATION, vector(plaintext) + vector(signature))

    def sealed_size(self, authenticated_size, plaintext_size):
        """Of what `seal` makes."""
        content = vector(bytes(plaintext_size)) + vector(bytes(SIGNATURE_BYTES))
        return sealed_size(self.id, authenticated_size, len(content))

    # commits

    def commit(self, authenticated, removed=(), packages=()):
        """Answers a Made. Without anything: fresh keys of our own."""
        tree = self.tree.copy()
        newcomers = apply(tree, removed, [package['leaf'] for package in packages])
        path, secrets, private, commit_secret = None, {}, dict(self._private), NO_SECRET
        if removed or not packages:
            path, secrets, private, commit_secret = self._make_path(tree, self.own, {2 * each for each in newcomers})
        content = encode_commit([*map(remove, removed), *(add(package['encoded']) for package in packages)], path)
        commit = framed(self.id, self.epoch, member(self.own), authenticated, COMMIT, content)
        signature = signature_of(self._keys[0], PRIVATE_MESSAGE, commit, self.context)
        group, joiner = self._next(tree, PRIVATE_MESSAGE, commit, signature, self._secrets.init_secret, commit_secret)
        group._begin(epoch_secret(joiner, group.context), self.own, private)
        message = self._seal(authenticated, COMMIT, content + vector(signature) + vector(group.tag))
        return Made(message, group, joiner, list(zip(newcomers, packages)), secrets)

    def take(self, message):
        """Somebody's commit. Answers a Taken."""
        is_sealed = Reader(message).peek(4) == u16(VERSION) + u16(PRIVATE_MESSAGE)
        if is_sealed:
            index, authenticated, reader = self._open(message, COMMIT)
            sender, key = member(index), self.tree.leaves()[index]['signature_key']
        else:
            reader = Reader(message)
            reader.expect((2, VERSION), (2, PUBLIC_MESSAGE))
            if reader.vector() != self.id:
                raise Refused('BAD_FRAME', 'another group')
            reader.expect((8, self.epoch), (1, NEW_MEMBER[0]))
            sender, authenticated = NEW_MEMBER, reader.vector()
            reader.expect((1, COMMIT))
        commit = Commit(reader)
        signature, tag = reader.vector(), reader.vector()
        if any(reader.rest()):
            raise Refused('BAD_FRAME', 'padding')
        tree, removed = self.tree.copy(), commit.of(REMOVE)
        gone = [self.tree.leaves()[each] for each in removed]
        newcomers = apply(tree, removed, [package['leaf'] for package in commit.of(ADD)])
        init_secret, added = self._secrets.init_secret, [tree.leaves()[each] for each in newcomers]
        if not is_sealed:
            [encapsulated] = commit.of(EXTERNAL_INIT)
            index, key = tree.add(commit.path[0]), commit.path[0]['signature_key']
            shared_secret = self._secrets.external_key.decapsulate(encapsulated)
            init_secret = hpke.Context(shared_secret, b'').export(EXTERNAL_INIT_LABEL, HASH_BYTES)
        elif commit.of(EXTERNAL_INIT) or index in removed or self.own in removed:
            raise Refused('BAD_FRAME', 'commit')
        content = framed(self.id, self.epoch, sender, authenticated, COMMIT, commit.encoded)
        wire_format = PRIVATE_MESSAGE if is_sealed else PUBLIC_MESSAGE
        check_signature(key, wire_format, content, self.context, signature)
        private, commit_secret = dict(self._private), NO_SECRET
        if commit.path is not None:
            private, commit_secret = self._take_path(tree, index, commit.path, {2 * each for each in newcomers})
        elif removed or not added:
            raise Refused('BAD_FRAME', 'no path')
        group, joiner = self._next(tree, wire_format, content, signature, init_secret, commit_secret)
        group._begin(epoch_secret(joiner, group.context), self.own, private)
        group._secrets.check_confirmation(group._confirmed_hash, tag)
        author = (tree if commit.path is not None else self.tree).leaves()[index]
        return Taken(group, author, authenticated, added, gone, is_from_outside=not is_sealed)

    def group_info(self):
        """What lets others in (§12.4.3), with the tree inside."""
        extensions = u16(RATCHET_TREE) + vector(self.tree.encode())
        extensions += u16(EXTERNAL_PUB) + vector(vector(self._secrets.external_key.public))
        signed = self.context + vector(extensions) + vector(self.tag) + u32(self.own)
        return signed + vector(sign_with_label(self._keys[0], b'GroupInfoTBS', signed))

    @property
    def context(self):
        return self._context_of(self.epoch, self._tree_hash)

    def _context_of(self, epoch, tree_hash):
        head = u16(VERSION) + u16(CIPHER_SUITE) + vector(self.id) + u64(epoch)
        return head + vector(tree_hash) + vector(self._confirmed_hash) + vector(self._extensions)

    def _begin(self, secret, own, private):
        self._secrets = Epoch(secret, len(self.tree.nodes))
        self.own, self._private = own, private
        self.tag = self._secrets.confirmation_tag(self._confirmed_hash)
        self._interim_hash = _interim_hash(self._confirmed_hash, self.tag)

    def _next(self, tree, wire_format, content, signature, init_secret, commit_secret):
        """The group behind a commit, without its secrets, and the joiner secret."""
        confirmed = hashlib.sha512(self._interim_hash + u16(wire_format) + content + vector(signature)).digest()
        group = Group(self._keys, self.id, self.epoch + 1, tree, self._extensions, confirmed)
        return group, joiner_secret(init_secret, commit_secret, group.context)

    def _make_path(self, tree, own, newcomers):
        """§7.5. Answers the UpdatePath, path secrets by node, our keys by node, and the commit secret."""
        nodes = [node for node, _ in tree.filtered_path(own)]
        secrets, commit_secret = secrets_from(os.urandom(HASH_BYTES), len(nodes))
        keys, leaf_key = [key_of(secret) for secret in secrets], XWing()
        said = from_commit(tree.set_path(own, [key.public for key in keys]))
        leaf = make_leaf(self._keys[0], leaf_key.public, self._keys[1], said, vector(self.id) + u32(own))
        tree.nodes[2 * own] = read_leaf(Reader(leaf))
        context = self._context_of(self.epoch + 1, tree.hash())
        path = leaf + seal_path(tree, own, secrets, keys, context, newcomers)
        return path, dict(zip(nodes, secrets)), {2 * own: leaf_key, **dict(zip(nodes, keys))}, commit_secret

    def _take_path(self, tree, sender, path, newcomers):
        leaf, sealed = path
        check_leaf(leaf, vector(self.id) + u32(sender))
        nodes = [node for node, _ in tree.filtered_path(sender)]
        if tree.set_path(sender, [key for key, _ in sealed]) != leaf.get('parent_hash'):
            raise Refused('BAD_PROOF', 'parent hash')
        tree.nodes[2 * sender] = leaf
        context = self._context_of(self.epoch + 1, tree.hash())
        place, secret = open_path(tree, sealed, sender, self._private, context, newcomers)
        secrets, commit_secret = secrets_from(secret, len(nodes) - place)
        return {**self._private, **keys_of(tree, nodes[place:], secrets)}, commit_secret

    def _open(self, message, kind):
        sealed = Sealed(message)
        if (sealed.group_id, sealed.epoch, sealed.kind) != (self.id, self.epoch, kind):
            raise Refused('BAD_FRAME', 'another group, epoch or kind')
        index, _generation, reader = sealed.open(self._secrets)
        return index, sealed.authenticated, reader

    def _seal(self, authenticated, kind, content):
        self._sent[kind] += 1
        head = vector(self.id) + u64(self.epoch)
        return seal(self._secrets, head, self.own, self._sent[kind] - 1, authenticated, bytes([kind]) + content)


class Made:
    """A commit of ours: the message, the group that it makes, and what lets newcomers in."""

    def __init__(self, message, group, joiner, newcomers, path_secrets):
        self.message, self.group = message, group
        self._joiner, self._newcomers, self._path_secrets = joiner, newcomers, path_secrets

    def welcome(self):
        """encrypted_group_info, and for each newcomer his key package and EncryptedGroupSecrets (§12.4.3.1)."""
        key, nonce = welcome_key(self._joiner)
        info = AESGCM(key).encrypt(nonce, self.group.group_info(), b'')
        secrets = []
        for index, package in self._newcomers:
            shared = [self._path_secrets[node] for node, _ in self.group.tree.path(index) if node in self._path_secrets]
            path_secret = vector(shared[0]) if shared else None
            plaintext = vector(self._joiner) + optional(path_secret) + vector(b'')
            secrets.append((package, encrypt_with_label(package['init_key'], b'Welcome', info, plaintext)))
        return info, secrets


class Taken:
    """Somebody's commit, before anybody has judged who came and went by it."""

    def __init__(self, group, author, authenticated, added, removed, is_from_outside):
        self.group, self.author, self.authenticated = group, author, authenticated
        self.added, self.removed, self.is_from_outside = added, removed, is_from_outside


class GroupInfo:
    """§12.4.3, signed by a member."""

    def __init__(self, data):
        reader = Reader(data)
        reader.expect((2, VERSION), (2, CIPHER_SUITE))
        self.id, self.epoch = reader.vector(), reader.uint(8)
        tree_hash, self._confirmed_hash, self._extensions = reader.vector(), reader.vector(), reader.vector()
        self.extensions = _extensions(reader.vector())
        self._tree = Tree.read(self.extensions[RATCHET_TREE])
        self.tag, self.signer = reader.vector(), reader.uint(4)
        signed, signature = reader.since(0), reader.vector()
        reader.end()
        if self._tree.hash() != tree_hash:
            raise Refused('BAD_PROOF', 'tree hash')
        leaf = self._tree.leaves()[self.signer]
        verify_with_label(leaf['signature_key'], b'GroupInfoTBS', signed, signature)
        if EXTERNAL_PUB in self.extensions:
            reader = Reader(self.extensions[EXTERNAL_PUB])
            self.extensions[EXTERNAL_PUB] = reader.vector()
            reader.end()

    @classmethod
    def of_message(cls, message):
        reader = Reader(message)
        reader.expect((2, VERSION), (2, GROUP_INFO))
        return cls(reader.rest())

    def leaves(self):
        return self._tree.leaves()

    def group(self, member_keys):
        """Without secrets."""
        return Group(member_keys, self.id, self.epoch, self._tree, self._extensions, self._confirmed_hash)


def group_info_message(group):
    return u16(VERSION) + u16(GROUP_INFO) + group.group_info()


def _interim_hash(confirmed_hash, tag):
    """§8.2."""
    return hashlib.sha512(confirmed_hash + vector(tag)).digest()


def _extensions(data):
    reader, found = Reader(data), {}
    while not reader.is_at_end():
        kind = reader.uint(2)
        found[kind] = reader.vector()
    return found
