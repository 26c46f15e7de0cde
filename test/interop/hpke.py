"""X-Wing of draft-connolly-cfrg-xwing-kem-06, and HPKE in base mode (RFC 9180) with HKDF-SHA512 and AES-256-GCM."""
import hashlib
import hmac
import os

from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import mlkem

HASH = 'sha512'
HASH_BYTES = 64
KEY_BYTES = 32
NONCE_BYTES = 12
SUITE_ID = b'HPKE' + bytes.fromhex('647a 0003 0002')
MLKEM_PUBLIC_BYTES = 1184
MLKEM_CIPHERTEXT_BYTES = 1088
XWING_LABEL = b'\\.//^\\'


class XWing:
    """A key pair. The private key is a seed of 32 bytes."""

    def __init__(self, seed=None):
        expanded = hashlib.shake_256(seed or os.urandom(32)).digest(96)
        mlkem_public, self._mlkem = mlkem.keygen(expanded[:32], expanded[32:64])
        self._x25519 = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
        self._x25519_public = _raw_public(self._x25519)
        self.public = mlkem_public + self._x25519_public

    @classmethod
    def derived(cls, secret):
        """DeriveKeyPair, docs/PROTOCOL.md §5.9."""
        return cls(hashlib.shake_256(secret).digest(32))

    def decapsulate(self, encapsulated):
        ciphertext, share = encapsulated[:MLKEM_CIPHERTEXT_BYTES], encapsulated[MLKEM_CIPHERTEXT_BYTES:]
        secret = mlkem.decapsulate(self._mlkem, ciphertext)
        secret += self._x25519.exchange(x25519.X25519PublicKey.from_public_bytes(share))
        return hashlib.sha3_256(secret + share + self._x25519_public + XWING_LABEL).digest()


def encapsulate(public):
    """Shared secret, and what the holder of the key finds it with."""
    secret, ciphertext = mlkem.encapsulate(public[:MLKEM_PUBLIC_BYTES])
    theirs, ours = public[MLKEM_PUBLIC_BYTES:], x25519.X25519PrivateKey.generate()
    share = _raw_public(ours)
    secret += ours.exchange(x25519.X25519PublicKey.from_public_bytes(theirs))
    return hashlib.sha3_256(secret + share + theirs + XWING_LABEL).digest(), ciphertext + share


class Context:
    """Of one shared secret, RFC 9180 §5.1; it opens or seals once, without associated data."""

    def __init__(self, shared_secret, info):
        self._context = b'\0' + _labeled_extract(b'', b'psk_id_hash', b'') + _labeled_extract(b'', b'info_hash', info)
        self._secret = _labeled_extract(shared_secret, b'secret', b'')

    def open(self, ciphertext):
        return AESGCM(self._expand(b'key', KEY_BYTES)).decrypt(self._nonce(), ciphertext, b'')

    def seal(self, plaintext):
        return AESGCM(self._expand(b'key', KEY_BYTES)).encrypt(self._nonce(), plaintext, b'')

    def export(self, label, size):
        return _labeled_expand(self._expand(b'exp', HASH_BYTES), b'sec', label, size)

    def _nonce(self):
        return self._expand(b'base_nonce', NONCE_BYTES)

    def _expand(self, label, size):
        return _labeled_expand(self._secret, label, self._context, size)


def extract(salt, secret):
    """HKDF-Extract, RFC 5869."""
    return hmac.digest(salt or bytes(HASH_BYTES), secret, HASH)


def expand(secret, info, size):
    """HKDF-Expand, RFC 5869."""
    output = block = b''
    counter = 1
    while len(output) < size:
        block = hmac.digest(secret, block + info + bytes([counter]), HASH)
        output += block
        counter += 1
    return output[:size]


def _raw_public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _labeled_extract(salt, label, secret):
    return extract(salt, b'HPKE-v1' + SUITE_ID + label + secret)


def _labeled_expand(secret, label, info, size):
    return expand(secret, size.to_bytes(2, 'big') + b'HPKE-v1' + SUITE_ID + label + info, size)
