"""A certificate and its key, and what such keys sign: docs/PROTOCOL.md §2, docs/TRANSCRIPT.md §a."""
import datetime
import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

ED25519, ECDSA_P256, RSA_PSS = 1, 2, 3
PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
ECDSA = ec.ECDSA(hashes.SHA256())


class Refused(Exception):
    """What came is not what the documents allow, or not what was signed; or an `error` of the server. Args: code, more."""


class Identity:
    """A person's certificate with its private key."""

    def __init__(self, name, certificate_file, key_file):
        self.name = name
        self.certificate_file = certificate_file
        self.key_file = key_file
        with open(certificate_file, 'rb') as file:
            self.certificate = x509.load_pem_x509_certificate(file.read())
        with open(key_file, 'rb') as file:
            self.key = serialization.load_pem_private_key(file.read(), None)
        self.der = der(self.certificate)
        self.fingerprint = hashlib.sha256(self.der).digest()
        self.algorithm = algorithm_of(self.certificate.public_key())

    def sign(self, context, body):
        data = to_be_signed(context, body)
        if self.algorithm == ED25519:
            return self.key.sign(data)
        if self.algorithm == ECDSA_P256:
            return self.key.sign(data, ECDSA)
        return self.key.sign(data, PSS, hashes.SHA256())


def verify(certificate, algorithm, signature, context, body):
    """Of a certificate's key; nothing but the algorithm of that key."""
    key, data = certificate.public_key(), to_be_signed(context, body)
    if algorithm != algorithm_of(key):
        raise Refused('SIG_FAIL', 'another algorithm than that of the key')
    try:
        if algorithm == ED25519:
            key.verify(signature, data)
        elif algorithm == ECDSA_P256:
            key.verify(signature, data, ECDSA)
        else:
            key.verify(signature, data, PSS, hashes.SHA256())
    except InvalidSignature:
        raise Refused('SIG_FAIL', context) from None


def to_be_signed(context, body):
    return b' ' * 64 + context.encode() + b'\0' + body


def algorithm_of(public_key):
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return ED25519
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return ECDSA_P256
    if isinstance(public_key, rsa.RSAPublicKey):
        return RSA_PSS
    raise Refused('BAD_CERT', 'key')


def der(certificate):
    return certificate.public_bytes(serialization.Encoding.DER)


def spki(certificate):
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(encoding, form)


def hosts_of(certificate):
    """DNS names of the subjectAltName."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


def name_of(certificate):
    """Whom it is of, docs/PROTOCOL.md §5: the URI of the subjectAltName, its address, or the commonName."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = [uri[5:] for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith('chat:')]
    found = uris or names.get_values_for_type(x509.RFC822Name)
    found = found or [each.value for each in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if len(found) != 1:
        raise Refused('BAD_CERT', 'bad_name')
    return found[0].lower()


def is_for_clients(certificate):
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return x509.ExtendedKeyUsageOID.CLIENT_AUTH in usage


def validity(certificate):
    """Unix milliseconds."""
    return [milliseconds(end) for end in (certificate.not_valid_before, certificate.not_valid_after)]


def milliseconds(time):
    return int(time.replace(tzinfo=datetime.timezone.utc).timestamp()) * 1000
