"""Messages of a group, sealed and in the open: RFC 9420 §6."""
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from identity import Refused
from integers import u16, u32, u64
from labels import Reader, sign_with_label, vector, verify_with_label
from ratchet_tree import VERSION

PUBLIC_MESSAGE, PRIVATE_MESSAGE, WELCOME, GROUP_INFO, KEY_PACKAGE = 1, 2, 3, 4, 5
APPLICATION, COMMIT = 1, 3
MEMBER, NEW_MEMBER_COMMIT = 1, 4
RATCHETS = {APPLICATION: b'application', COMMIT: b'handshake'}
REUSE_GUARD_BYTES = 4
SIGNATURE_BYTES = 64
TAG_BYTES = 16


def member(index):
    """Sender."""
    return bytes([MEMBER]) + u32(index)


NEW_MEMBER = bytes([NEW_MEMBER_COMMIT])


def framed(group_id, epoch, sender, authenticated, kind, content):
    """FramedContent. `content` is a Commit as it is, or application data as a vector."""
    return vector(group_id) + u64(epoch) + sender + vector(authenticated) + bytes([kind]) + content


def signature_of(key, wire_format, framed_content, context):
    """FramedContentTBS, §6.1."""
    to_be_signed = u16(VERSION) + u16(wire_format) + framed_content + context
    return sign_with_label(key, b'FramedContentTBS', to_be_signed)


def check_signature(public, wire_format, framed_content, context, signature):
    to_be_signed = u16(VERSION) + u16(wire_format) + framed_content + context
    verify_with_label(public, b'FramedContentTBS', to_be_signed, signature)


def seal(epoch, head, index, generation, authenticated, body):
    """A PrivateMessage (§6.3); `head` is group id and epoch, `body` begins with the kind, which is not sealed."""
    kind, content = body[0], body[1:]
    guard = os.urandom(REUSE_GUARD_BYTES)
    head += bytes([kind])
    key, nonce = epoch.message_key(RATCHETS[kind], index, generation, guard)
    ciphertext = AESGCM(key).encrypt(nonce, content, head + vector(authenticated))
    key, nonce = epoch.sender_data_key(ciphertext)
    sender = AESGCM(key).encrypt(nonce, u32(index) + u32(generation) + guard, head)
    body = vector(authenticated) + vector(sender) + vector(ciphertext)
    return u16(VERSION) + u16(PRIVATE_MESSAGE) + head + body


def sealed_size(group_id, authenticated_size, content_size):
    """Of what `seal` makes."""
    sender = bytes(4 + 4 + REUSE_GUARD_BYTES + TAG_BYTES)
    head = 2 + 2 + len(vector(group_id)) + 8 + 1
    body = vector(bytes(authenticated_size)) + vector(sender) + vector(bytes(content_size + TAG_BYTES))
    return head + len(body)


class Sealed:
    """A PrivateMessage as it came: what can be read without a key."""

    def __init__(self, message):
        reader = Reader(message)
        reader.expect((2, VERSION), (2, PRIVATE_MESSAGE))
        start = reader.at
        self.group_id, self.epoch, self.kind = reader.vector(), reader.uint(8), reader.uint(1)
        self._head = reader.since(start)
        self.authenticated, self._sender, self._ciphertext = reader.vector(), reader.vector(), reader.vector()
        reader.end()
        if self.kind not in RATCHETS:
            raise Refused('BAD_FRAME', 'proposals do not travel alone')

    def open(self, epoch):
        """Answers the sender's index, his generation, and a reader of content, signature and what follows."""
        key, nonce = epoch.sender_data_key(self._ciphertext)
        sender = Reader(AESGCM(key).decrypt(nonce, self._sender, self._head))
        index, generation, guard = sender.uint(4), sender.uint(4), sender.take(4)
        key, nonce = epoch.message_key(RATCHETS[self.kind], index, generation, guard)
        additional = self._head + vector(self.authenticated)
        return index, generation, Reader(AESGCM(key).decrypt(nonce, self._ciphertext, additional))
