"""Accounts and login proofs, SCRAM with another message: docs/PROTOCOL.md §4, §5.3; RFC 5802, RFC 7677."""
import hashlib
import hmac
import os
import unicodedata

from argon2.low_level import Type, hash_secret_raw

import cbor
from identity import Refused

KDF = 'argon2id$m=65536,t=3,p=1'
ARGON2_VERSION = 0x13


def register(channel, username, email, password):
    channel.request({'type': 'register', 'username': username, 'email': email, **_verifier(password, KDF)}, 'ok')


def demanded_kdf(channel):
    """Of new passwords; to be asked before the login."""
    nobody = {'type': 'login', 'account': '-', 'nonce': os.urandom(24)}
    return channel.request(nobody, 'login_challenge')['kdf']


def set_password(channel, password, kdf):
    """Answers password_ok."""
    return channel.request({'type': 'password_set', **_verifier(password, kdf)}, 'password_ok')


def log_in(channel, account, password, continues=None):
    """Answers login_ok. `continues`: that another certificate was this device's."""
    nonce = os.urandom(24)
    challenge = channel.request({'type': 'login', 'account': account, 'nonce': nonce}, 'login_challenge')
    salt, kdf = challenge['salt'], challenge['kdf']
    salted = _salted_password(password, salt, kdf)
    message = ['chat/v1 scram', account, nonce, challenge['nonce'], salt, kdf, channel.login_binding]
    auth_message = cbor.encode(message)
    client_key = _mac(salted, b'Client Key')
    client_signature = _mac(hashlib.sha256(client_key).digest(), auth_message)
    proof = bytes(a ^ b for a, b in zip(client_key, client_signature))
    frame = {'type': 'login_proof', 'proof': proof}
    answer = channel.request(frame if continues is None else {**frame, 'continues': continues}, 'login_ok')
    server_signature = _mac(_mac(salted, b'Server Key'), auth_message)
    if not hmac.compare_digest(answer['server_signature'], server_signature):
        raise Refused('AUTH_FAIL', 'server signature')
    return answer


def resume(channel, token, checkpoint=None):
    """Answers login_ok. `checkpoint`: the newest that we have verified."""
    frame = {'type': 'resume', 'token': token}
    return channel.request(frame if checkpoint is None else {**frame, 'checkpoint': checkpoint}, 'login_ok')


def _verifier(password, kdf):
    salt = os.urandom(16)
    salted = _salted_password(password, salt, kdf)
    stored_key = hashlib.sha256(_mac(salted, b'Client Key')).digest()
    return {'salt': salt, 'kdf': kdf, 'stored_key': stored_key, 'server_key': _mac(salted, b'Server Key')}


def _salted_password(password, salt, kdf):
    if kdf != KDF:
        raise Refused('WEAK_KDF', 'unknown')
    # OpaqueString (RFC 8265 §4.2) of what is no forbidden character
    spaced = ''.join(' ' if unicodedata.category(c) == 'Zs' else c for c in password)
    prepared = unicodedata.normalize('NFC', spaced).encode()
    return hash_secret_raw(prepared, salt, 3, 65536, 1, 32, Type.ID, ARGON2_VERSION)


def _mac(key, data):
    return hmac.digest(key, data, 'sha256')
