"""Key packages, own ones and those of others: RFC 9420 §10, docs/PROTOCOL.md §5.7, §5.9."""
import hashlib

from framing import KEY_PACKAGE
from hpke import XWing
from integers import u16
from labels import Reader, sign_with_label, vector, verify_with_label
from ratchet_tree import CIPHER_SUITE, VERSION, check_leaf, from_key_package, make_leaf, read_leaf


class KeyPackage:
    """One of our own, with the private keys to it; times in Unix seconds."""

    def __init__(self, signature_key, identity, not_before, not_after):
        self.signature_key, self.identity = signature_key, identity
        self.init_key = XWing()
        self.encryption_key = XWing()
        source = from_key_package(not_before, not_after)
        self.leaf = make_leaf(signature_key, self.encryption_key.public, identity, source)
        package = u16(VERSION) + u16(CIPHER_SUITE) + vector(self.init_key.public) + self.leaf + vector(b'')
        package += vector(sign_with_label(signature_key, b'KeyPackageTBS', package))
        self.message = u16(VERSION) + u16(KEY_PACKAGE) + package
        self.reference = reference_of(package)


def reference_of(package):
    """§5.2."""
    return hashlib.sha512(vector(b'MLS 1.0 KeyPackage Reference') + vector(package)).digest()


def read_key_package(reader):
    """Signed as it must be; whose it is, is another question."""
    start = reader.at
    reader.expect((2, VERSION), (2, CIPHER_SUITE))
    package = {'init_key': reader.vector(), 'leaf': read_leaf(reader)}
    reader.vector()  # extensions
    signed, signature = reader.since(start), reader.vector()
    package['encoded'] = reader.since(start)
    check_leaf(package['leaf'])
    verify_with_label(package['leaf']['signature_key'], b'KeyPackageTBS', signed, signature)
    return package


def open_key_package(message):
    """An MLSMessage."""
    reader = Reader(message)
    reader.expect((2, VERSION), (2, KEY_PACKAGE))
    package = read_key_package(reader)
    reader.end()
    return package
