"""The secrets of one epoch, and the keys of messages in it: RFC 9420 §8, §9, docs/PROTOCOL.md §5.9."""
import hmac

from hpke import HASH, HASH_BYTES, XWing, extract
from identity import Refused
from integers import u32
from labels import derive_secret, expand_with_label, key_and_nonce
from ratchet_tree import left, right

NO_SECRET = bytes(HASH_BYTES)


def joiner_secret(init_secret, commit_secret, context):
    return expand_with_label(extract(init_secret, commit_secret), b'joiner', context, HASH_BYTES)


def _member_secret(joiner):
    return extract(joiner, NO_SECRET)  # no pre-shared keys


def welcome_key(joiner):
    return key_and_nonce(derive_secret(_member_secret(joiner), b'welcome'))


def epoch_secret(joiner, context):
    return expand_with_label(_member_secret(joiner), b'epoch', context, HASH_BYTES)


class Epoch:
    """`width` is the number of nodes in the tree."""

    def __init__(self, secret, width):
        self._width = width
        self.sender_data_secret = derive_secret(secret, b'sender data')
        self._encryption_secret = derive_secret(secret, b'encryption')
        self.init_secret = derive_secret(secret, b'init')
        self._external_secret = derive_secret(secret, b'external')
        self._confirmation_key = derive_secret(secret, b'confirm')

    @property
    def external_key(self):
        return XWing.derived(self._external_secret)

    def confirmation_tag(self, confirmed_hash):
        return hmac.digest(self._confirmation_key, confirmed_hash, HASH)

    def check_confirmation(self, confirmed_hash, tag):
        if not hmac.compare_digest(self.confirmation_tag(confirmed_hash), tag):
            raise Refused('BAD_PROOF', 'confirmation tag')

    def sender_data_key(self, ciphertext):
        """§6.3.2."""
        return key_and_nonce(self.sender_data_secret, ciphertext[:HASH_BYTES])

    def message_key(self, ratchet, index, generation, guard):
        """The secret tree down to a leaf, and its ratchet `application` or `handshake` (§9): clear rather than fast."""
        at, secret = self._width // 2, self._encryption_secret
        while at != 2 * index:
            is_left = 2 * index < at
            secret = expand_with_label(secret, b'tree', b'left' if is_left else b'right', HASH_BYTES)
            at = left(at) if is_left else right(at)
        secret = expand_with_label(secret, ratchet, b'', HASH_BYTES)
        for step in range(generation):
            secret = expand_with_label(secret, b'secret', u32(step), HASH_BYTES)
        key, nonce = key_and_nonce(secret, u32(generation))
        guarded = bytes(a ^ b for a, b in zip(nonce, guard))
        return key, guarded + nonce[len(guard):]
