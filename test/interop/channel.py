"""The handshake inside TLS, sealed records, and requests: docs/PROTOCOL.md §2, §3, §5."""
import decimal
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import cbor
import mlkem
from identity import Refused, algorithm_of, der, verify
from tls import Tls

X25519MLKEM768, X25519, FFDHE3072 = 1, 2, 3
REKEY = {'type': 'rekey'}
FFDHE_BYTES = 384
FFDHE_EXPONENT_BYTES = 40


def _ffdhe3072():
    """p = 2^3072 - 2^3008 + (floor(2^2942 * e) + 2625351) * 2^64 - 1, RFC 7919 §A.2."""
    with decimal.localcontext() as context:
        context.prec = 1000
        e = decimal.Decimal(1).exp()
        return 2**3072 - 2**3008 + (int(decimal.Decimal(2)**2942 * e) + 2625351) * 2**64 - 1


FFDHE_PRIME = _ffdhe3072()


def expand(secret, label, size=32):
    """HKDF-Expand (RFC 5869) of at most one block."""
    return hmac.digest(secret, label.encode() + b'\x01', 'sha256')[:size]


def extract(salt, secret):
    return hmac.digest(salt, secret, 'sha256')


class Shares:
    """Ephemeral keys for the suites that are offered, §2 `Messages`."""

    def __init__(self, suites):
        self.public = {}
        if X25519MLKEM768 in suites or X25519 in suites:
            self._x25519 = x25519.X25519PrivateKey.generate()
            self.public['x25519'] = self._x25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        if X25519MLKEM768 in suites:
            self.public['mlkem768'], self._mlkem768 = mlkem.keygen()
        if FFDHE3072 in suites:
            self._exponent = int.from_bytes(os.urandom(FFDHE_EXPONENT_BYTES), 'big')
            self.public['ffdhe3072'] = pow(2, self._exponent, FFDHE_PRIME).to_bytes(FFDHE_BYTES, 'big')

    def agree(self, hello):
        """The agreed secret (`ikm`) with the shares of a server_hello."""
        if hello['suite'] == FFDHE3072:
            share = int.from_bytes(hello['ffdhe3072'], 'big')
            if not 2 <= share <= FFDHE_PRIME - 2:
                raise Refused('DH_FAIL', 'share')
            return pow(share, self._exponent, FFDHE_PRIME).to_bytes(FFDHE_BYTES, 'big')
        secret = self._x25519.exchange(x25519.X25519PublicKey.from_public_bytes(hello['x25519']))
        if hello['suite'] == X25519:
            return secret
        return mlkem.decapsulate(self._mlkem768, hello['mlkem768']) + secret


class Direction:
    """Keys and counter of one direction in one phase, §3 `Sealed payloads`."""

    def __init__(self, secret):
        self.counter = 0
        self._use(secret)

    def seal(self, plaintext, counter=None):
        """A record. With a counter: that one, and the next record is as if there had been none."""
        if counter is None:
            counter = self.counter
            self.counter += 1
        head = (8 + len(plaintext) + 16).to_bytes(4, 'big') + counter.to_bytes(8, 'big')
        return head + AESGCM(self._key).encrypt(self._nonce(counter), plaintext, head)

    def open(self, record):
        counter = int.from_bytes(record[4:12], 'big')
        if counter != self.counter:
            raise Refused('REPLAY' if counter < self.counter else 'BAD_FRAME', 'record.counter')
        self.counter += 1
        try:
            return AESGCM(self._key).decrypt(self._nonce(counter), record[12:], record[:12])
        except InvalidTag:
            raise Refused('DECRYPT_FAIL') from None

    def rekey(self):
        self._use(expand(self._secret, 'chat/v1 rekey'))

    def _use(self, secret):
        self._secret = secret
        self._key = expand(secret, 'chat/v1 key')
        self._iv = expand(secret, 'chat/v1 iv', 12)

    def _nonce(self, counter):
        return self._iv[:4] + (int.from_bytes(self._iv[4:], 'big') ^ counter).to_bytes(8, 'big')


class Channel:
    """An open connection. Of what the server says by itself, `notices` holds what nobody has taken yet."""

    def __init__(self, identity, port, ca_file, suites=(X25519MLKEM768, X25519)):
        self.identity = identity
        self.tls = Tls(identity, port, ca_file)
        self.server_certificate = self.tls.server_certificate
        self.notices = []
        self._frames = []
        self._is_first = True
        self._last_id = 0
        self._handshake(suites)

    def send(self, *frames):
        self.send_plaintext(b''.join(cbor.encode(frame) for frame in frames))

    def send_plaintext(self, plaintext, counter=None):
        self.tls.send(self._out.seal(plaintext, counter))

    def rekey(self):
        """The last record under this key, §3 `Rekeying`."""
        self.send(REKEY)
        self._out.rekey()

    def request(self, frame, reply):
        """Answers the reply, which must be of that type; an error is Refused with its code."""
        self._last_id += 1
        self.send({'id': self._last_id, **frame})
        while True:
            answer = self.next()
            if answer.get('id') == self._last_id or answer['type'] in ('error', 'bye'):
                break
            self.notices.append(answer)
        if answer['type'] == 'error':
            raise Refused(answer['code'], answer.get('sub'))
        if answer['type'] != reply:
            raise Refused('BAD_FRAME', answer['type'])
        return answer

    def notice(self, kind):
        """The first of that type that was not taken yet."""
        while True:
            for at, frame in enumerate(self.notices):
                if frame['type'] == kind:
                    return self.notices.pop(at)
            self.notices.append(self.next())

    def next(self):
        while not self._frames:
            record = self.tls.record()
            if self._is_first and int.from_bytes(record[4:12], 'big') == 1:
                # a refusal of client_auth, §2 `Errors in the handshake`
                error = cbor.decode(self._handshake_in.open(record))
                _expect('error', error)
            self._is_first = False
            plaintext = self._in.open(record)
            self._frames = cbor.decode_sequence(plaintext)
            if self._frames == [REKEY]:
                self._in.rekey()
                self._frames = []
        return self._frames.pop(0)

    def bye(self):
        """Ends when the server has said it, too."""
        self.send({'type': 'bye'})
        said = self.notice('bye')
        self.tls.close()
        return said

    def _handshake(self, suites):
        shares = Shares(suites)
        hello = {'type': 'client_hello', 'version': 1, 'suites': list(suites), 'random': os.urandom(32)}
        plaintext = cbor.encode({**hello, **shares.public})
        client_hello = len(plaintext).to_bytes(4, 'big') + plaintext
        self.tls.send(client_hello)
        server_hello = self.tls.record()
        hello = cbor.decode(server_hello[4:])
        _expect('server_hello', hello)
        self.suite = hello['suite']
        if hello['version'] != 1 or self.suite not in suites:
            raise Refused('BAD_FRAME', 'server_hello.suite')

        # §2 `Key schedule`
        th1 = hashlib.sha256(b'chat/v1 transcript' + client_hello + server_hello).digest()
        prk = extract(th1, shares.agree(hello))
        client_secret = expand(prk, 'chat/v1 client handshake traffic')
        server_secret = expand(prk, 'chat/v1 server handshake traffic')
        certificates = [hashlib.sha256(each).digest() for each in (der(self.server_certificate), self.identity.der)]
        binding = self.tls.exporter + b''.join(certificates)

        self._handshake_in = Direction(server_secret)
        plaintext = self._handshake_in.open(self.tls.record())
        auth = cbor.decode(plaintext)
        _expect('server_auth', auth)
        if auth['binding'] != hashlib.sha256(binding).digest():
            raise Refused('CHANNEL_MISMATCH')
        signature = auth['signature']
        verify(self.server_certificate, auth['algorithm'], signature, 'chat/v1, server handshake', th1 + binding)
        finished = _finished(server_secret, th1 + binding, auth['algorithm'], signature)
        if not hmac.compare_digest(auth['finished'], finished):
            raise Refused('DH_FAIL', 'finished')

        th2 = hashlib.sha256(th1 + plaintext).digest()
        algorithm = algorithm_of(self.identity.certificate.public_key())
        signature = self.identity.sign('chat/v1, client handshake', th2 + binding)
        plaintext = cbor.encode({
            'type': 'client_auth',
            'binding': hashlib.sha256(binding).digest(),
            'algorithm': algorithm,
            'signature': signature,
            'finished': _finished(client_secret, th2 + binding, algorithm, signature),
        })
        self.tls.send(Direction(client_secret).seal(plaintext))

        th3 = hashlib.sha256(th2 + plaintext).digest()
        master = extract(th3, expand(prk, 'chat/v1 derived'))
        self._out = Direction(expand(master, 'chat/v1 client application traffic'))
        self._in = Direction(expand(master, 'chat/v1 server application traffic'))
        self.login_binding = expand(expand(master, 'chat/v1 exporter'), 'chat/v1 login binding')


def _finished(secret, signed, algorithm, signature):
    return hmac.digest(expand(secret, 'chat/v1 finished'), signed + bytes([algorithm]) + signature, 'sha256')


def _expect(kind, frame):
    if frame['type'] == 'error':
        raise Refused(frame['code'], frame.get('sub'))
    if frame['type'] != kind:
        raise Refused('BAD_FRAME', 'frame.type')
