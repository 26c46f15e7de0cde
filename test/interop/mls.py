"""A member of an MLS group (RFC 9420) that is let in by a Welcome, reads and writes: docs/PROTOCOL.md §5.7, §5.9."""
import hashlib
import hmac
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hpke import HASH, HASH_BYTES, XWing, extract, open_sealed
from identity import Refused
from integers import u16, u32, u64
from labels import Reader, derive_secret, expand_with_label, key_and_nonce, sign_with_label, vector, verify_with_label
from ratchet_tree import BASIC, FROM_KEY_PACKAGE, left, read_tree, right, tree_hash

VERSION = 1  # mls10
CIPHER_SUITE = 0x0053
SETTINGS = 0xF0C1  # the extension with the rules of a conversation
RATCHET_TREE = 2
PRIVATE_MESSAGE, KEY_PACKAGE = 2, 5
APPLICATION = 1
REUSE_GUARD_BYTES = 4
SIGNATURE_BYTES = 64
TAG_BYTES = 16


def raw_public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


class KeyPackage:
    """One of our own, §10, with the private keys to it; times in Unix seconds."""

    def __init__(self, signature_key, identity, not_before, not_after):
        self.signature_key = signature_key
        self.init_key = XWing()
        self._encryption_key = XWing()
        capabilities = vector(u16(VERSION)) + vector(u16(CIPHER_SUITE)) + vector(u16(SETTINGS))
        capabilities += vector(b'') + vector(u16(BASIC))
        leaf = vector(self._encryption_key.public) + vector(raw_public(signature_key)) + u16(BASIC) + vector(identity)
        leaf += capabilities + bytes([FROM_KEY_PACKAGE]) + u64(not_before) + u64(not_after) + vector(b'')
        self.leaf = leaf + vector(sign_with_label(signature_key, b'LeafNodeTBS', leaf))
        package = u16(VERSION) + u16(CIPHER_SUITE) + vector(self.init_key.public) + self.leaf + vector(b'')
        package += vector(sign_with_label(signature_key, b'KeyPackageTBS', package))
        self.message = u16(VERSION) + u16(KEY_PACKAGE) + package
        # §5.2
        label = vector(b'MLS 1.0 KeyPackage Reference')
        self.reference = hashlib.sha512(label + vector(package)).digest()


class Group:
    """The state of one epoch."""

    def __init__(self, key_package, encrypted_group_info, encrypted_group_secrets):
        """By the Welcome (§12.4.3.1): the two parts that docs/PROTOCOL.md §5.7 makes of it."""
        self._signature_key = key_package.signature_key
        reader = Reader(encrypted_group_secrets)
        encapsulated, ciphertext = reader.vector(), reader.vector()
        reader.end()
        # DecryptWithLabel, §5.1.3
        info = vector(b'MLS 1.0 Welcome') + vector(encrypted_group_info)
        reader = Reader(open_sealed(key_package.init_key, encapsulated, info, ciphertext))
        joiner_secret = reader.vector()
        if reader.uint(1) == 1:
            reader.vector()  # path secret: of no use to who makes no commits and reads none
        reader.expect((1, 0))  # no pre-shared keys
        reader.end()

        # §8
        member_secret = extract(joiner_secret, bytes(HASH_BYTES))
        key, nonce = key_and_nonce(derive_secret(member_secret, b'welcome'))
        confirmed, tag = self._read_group_info(AESGCM(key).decrypt(nonce, encrypted_group_info, b''))
        epoch_secret = expand_with_label(member_secret, b'epoch', self._context, HASH_BYTES)
        confirmation_key = derive_secret(epoch_secret, b'confirm')
        if not hmac.compare_digest(hmac.digest(confirmation_key, confirmed, HASH), tag):
            raise Refused('BAD_PROOF', 'confirmation tag')
        self._sender_data_secret = derive_secret(epoch_secret, b'sender data')
        self._encryption_secret = derive_secret(epoch_secret, b'encryption')
        own = [i for i, leaf in enumerate(self._leaves) if leaf and leaf['encoded'] == key_package.leaf]
        self._own = own[0]
        self._generation = 0

    def _read_group_info(self, data):
        """§12.4.3. Answers the confirmed transcript hash and the confirmation tag."""
        reader = Reader(data)
        reader.expect((2, VERSION), (2, CIPHER_SUITE))
        self.id, self.epoch = reader.vector(), reader.uint(8)
        hashed, confirmed, extensions = reader.vector(), reader.vector(), reader.vector()
        self._context = reader.since(0)
        nodes = read_tree(_extensions(reader.vector())[RATCHET_TREE])
        tag, signer = reader.vector(), reader.uint(4)
        signed, signature = reader.since(0), reader.vector()
        reader.end()
        if tree_hash(nodes, len(nodes) // 2) != hashed:
            raise Refused('BAD_PROOF', 'tree hash')
        self._leaves = nodes[::2]
        verify_with_label(self._leaves[signer]['signature_key'], b'GroupInfoTBS', signed, signature)
        self.signer = self._leaves[signer]
        self.settings = _extensions(extensions)[SETTINGS]
        return confirmed, tag

    def open(self, message):
        """A PrivateMessage (§6.3). Answers the sender's leaf, the authenticated data, and the plaintext."""
        reader = Reader(message)
        reader.expect((2, VERSION), (2, PRIVATE_MESSAGE))
        start = reader.at
        if reader.vector() != self.id:
            raise Refused('BAD_FRAME', 'another group')
        reader.expect((8, self.epoch), (1, APPLICATION))
        head = reader.since(start)
        authenticated, sealed_sender, ciphertext = reader.vector(), reader.vector(), reader.vector()
        reader.end()
        key, nonce = self._sender_data_key(ciphertext)
        sender = Reader(AESGCM(key).decrypt(nonce, sealed_sender, head))
        index, generation, guard = sender.uint(4), sender.uint(4), sender.take(4)
        key, nonce = self._message_key(index, generation, guard)
        content = Reader(AESGCM(key).decrypt(nonce, ciphertext, head + vector(authenticated)))
        plaintext, signature = content.vector(), content.vector()
        if any(content.rest()):
            raise Refused('BAD_FRAME', 'padding')
        leaf = self._leaves[index]
        signed = self._to_be_signed(index, authenticated, plaintext)
        verify_with_label(leaf['signature_key'], b'FramedContentTBS', signed, signature)
        return leaf, authenticated, plaintext

    def seal(self, authenticated, plaintext):
        """A PrivateMessage of our own."""
        signed = self._to_be_signed(self._own, authenticated, plaintext)
        signature = sign_with_label(self._signature_key, b'FramedContentTBS', signed)
        guard, generation = os.urandom(REUSE_GUARD_BYTES), self._generation
        self._generation += 1
        head = vector(self.id) + u64(self.epoch) + bytes([APPLICATION])
        key, nonce = self._message_key(self._own, generation, guard)
        content = vector(plaintext) + vector(signature)
        ciphertext = AESGCM(key).encrypt(nonce, content, head + vector(authenticated))
        key, nonce = self._sender_data_key(ciphertext)
        sender = AESGCM(key).encrypt(nonce, u32(self._own) + u32(generation) + guard, head)
        body = vector(authenticated) + vector(sender) + vector(ciphertext)
        return u16(VERSION) + u16(PRIVATE_MESSAGE) + head + body

    def sealed_size(self, authenticated_size, plaintext_size):
        """Of what `seal` makes."""
        ciphertext = vector(bytes(plaintext_size)) + vector(bytes(SIGNATURE_BYTES)) + bytes(TAG_BYTES)
        sender = bytes(4 + 4 + REUSE_GUARD_BYTES + TAG_BYTES)
        head = 2 + 2 + len(vector(self.id)) + 8 + 1
        return head + len(vector(bytes(authenticated_size)) + vector(sender) + vector(ciphertext))

    def _to_be_signed(self, index, authenticated, plaintext):
        """FramedContentTBS, §6.1."""
        content = vector(self.id) + u64(self.epoch) + b'\1' + u32(index)  # sender: member
        content += vector(authenticated) + bytes([APPLICATION]) + vector(plaintext)
        return u16(VERSION) + u16(PRIVATE_MESSAGE) + content + self._context

    def _sender_data_key(self, ciphertext):
        """§6.3.2."""
        return key_and_nonce(self._sender_data_secret, ciphertext[:HASH_BYTES])

    def _message_key(self, index, generation, guard):
        """The secret tree down to a leaf, and its ratchet (§9): clear rather than fast."""
        at, secret = len(self._leaves) - 1, self._encryption_secret
        while at != 2 * index:
            is_left = 2 * index < at
            secret = expand_with_label(secret, b'tree', b'left' if is_left else b'right', HASH_BYTES)
            at = left(at) if is_left else right(at)
        secret = expand_with_label(secret, b'application', b'', HASH_BYTES)
        for step in range(generation):
            secret = expand_with_label(secret, b'secret', u32(step), HASH_BYTES)
        key, nonce = key_and_nonce(secret, u32(generation))
        guarded = bytes(a ^ b for a, b in zip(nonce, guard))
        return key, guarded + nonce[len(guard):]


def _extensions(data):
    reader, found = Reader(data), {}
    while not reader.is_at_end():
        kind = reader.uint(2)
        found[kind] = reader.vector()
    return found
