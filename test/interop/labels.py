"""The presentation language of MLS and its labelled functions: RFC 9420 §2.1, §5.1, §8."""
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from hpke import HASH_BYTES, KEY_BYTES, NONCE_BYTES, expand
from identity import Refused
from integers import number, u16, u32


def vector(data):
    """With its length in front, as a variable-size integer (§2.1.2)."""
    size = len(data)
    if size < 1 << 6:
        return bytes([size]) + data
    if size < 1 << 14:
        return u16(size | 1 << 14) + data
    return u32(size | 1 << 31) + data


class Reader:
    def __init__(self, data):
        self._data = data
        self.at = 0

    def take(self, size):
        if self.at + size > len(self._data):
            raise Refused('BAD_FRAME', 'cut off')
        self.at += size
        return self._data[self.at - size:self.at]

    def uint(self, size):
        return number(self.take(size))

    def vector(self):
        size = 1 << (number(self._data[self.at:self.at + 1]) >> 6)
        return self.take(self.uint(size) & ((1 << (8 * size - 2)) - 1))

    def since(self, start):
        return self._data[start:self.at]

    def rest(self):
        return self._data[self.at:]

    def is_at_end(self):
        return self.at == len(self._data)

    def expect(self, *pairs):
        """Each of them: bytes, number."""
        for size, value in pairs:
            if self.uint(size) != value:
                raise Refused('BAD_FRAME', 'another value than must be there')

    def end(self):
        if not self.is_at_end():
            raise Refused('BAD_FRAME', 'bytes behind the end')


# labels, §5.1.2, §5.2, §8

def expand_with_label(secret, label, context, size):
    return expand(secret, u16(size) + vector(b'MLS 1.0 ' + label) + vector(context), size)


def derive_secret(secret, label):
    return expand_with_label(secret, label, b'', HASH_BYTES)


def key_and_nonce(secret, context=b''):
    key = expand_with_label(secret, b'key', context, KEY_BYTES)
    return key, expand_with_label(secret, b'nonce', context, NONCE_BYTES)


def sign_with_label(key, label, content):
    return key.sign(vector(b'MLS 1.0 ' + label) + vector(content))


def verify_with_label(public, label, content, signature):
    key = ed25519.Ed25519PublicKey.from_public_bytes(public)
    try:
        key.verify(signature, vector(b'MLS 1.0 ' + label) + vector(content))
    except InvalidSignature:
        raise Refused('SIG_FAIL', label.decode()) from None
