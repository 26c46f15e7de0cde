"""X-Wing of draft-connolly-cfrg-xwing-kem-06, and HPKE in base mode (RFC 9180) with HKDF-SHA512 and AES-256-GCM, to open."""
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
MLKEM_CIPHERTEXT_BYTES = 1088
XWING_LABEL = b'\\.//^\\'


class XWing:
    """A key pair. The private key is a seed of 32 bytes."""

    def __init__(self):
        expanded = hashlib.shake_256(os.urandom(32)).digest(96)
        mlkem_public, self._mlkem = mlkem.keygen(expanded[:32], expanded[32:64])
        self._x25519 = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
        self._x25519_public = self._x25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = mlkem_public + self._x25519_public

    def decapsulate(self, encapsulated):
        ciphertext, share = encapsulated[:MLKEM_CIPHERTEXT_BYTES], encapsulated[MLKEM_CIPHERTEXT_BYTES:]
        secret = mlkem.decapsulate(self._mlkem, ciphertext)
        secret += self._x25519.exchange(x25519.X25519PublicKey.from_public_bytes(share))
        return hashlib.sha3_256(secret + share + self._x25519_public + XWING_LABEL).digest()


def open_sealed(key, encapsulated, info, ciphertext):
    """OpenBase, RFC 9180 §6.1, without associated data."""
    context = b'\0' + _labeled_extract(b'', b'psk_id_hash', b'') + _labeled_extract(b'', b'info_hash', info)
    secret = _labeled_extract(key.decapsulate(encapsulated), b'secret', b'')
    aead = AESGCM(_labeled_expand(secret, b'key', context, KEY_BYTES))
    return aead.decrypt(_labeled_expand(secret, b'base_nonce', context, NONCE_BYTES), ciphertext, b'')


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


def _labeled_extract(salt, label, secret):
    return extract(salt, b'HPKE-v1' + SUITE_ID + label + secret)


def _labeled_expand(secret, label, info, size):
    return expand(secret, size.to_bytes(2, 'big') + b'HPKE-v1' + SUITE_ID + label + info, size)
