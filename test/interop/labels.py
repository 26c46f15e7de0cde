"""The presentation language of MLS and its labelled functions: RFC 9420 §2.1, §5.1, §8."""
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import hpke
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

    def peek(self, size):
        return self._data[self.at:self.at + size]

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

    def list_of(self, read):
        """A vector of what `read` reads."""
        inner, found = Reader(self.vector()), []
        while not inner.is_at_end():
            found.append(read(inner))
        return found

    def optional(self, read):
        return read(self) if self.uint(1) == 1 else None

    def end(self):
        if not self.is_at_end():
            raise Refused('BAD_FRAME', 'bytes behind the end')


def optional(data):
    return b'\0' if data is None else b'\1' + data


# labels, §5.1.2, §5.1.3, §5.2, §8

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


def encrypt_with_label(public, label, context, plaintext):
    """HPKECiphertext."""
    shared_secret, encapsulated = hpke.encapsulate(public)
    sealed = hpke.Context(shared_secret, vector(b'MLS 1.0 ' + label) + vector(context)).seal(plaintext)
    return vector(encapsulated) + vector(sealed)


def decrypt_with_label(key, label, context, encrypted):
    reader = Reader(encrypted)
    encapsulated, sealed = reader.vector(), reader.vector()
    reader.end()
    return hpke.Context(key.decapsulate(encapsulated), vector(b'MLS 1.0 ' + label) + vector(context)).open(sealed)


def raw_public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
