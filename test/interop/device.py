"""A device: its binding and key packages, whom it believes, what comes for it: docs/PROTOCOL.md §5.6, §5.7, §5.9."""
import hashlib
import os
import time

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from OpenSSL import crypto

import transcript
from identity import Refused, is_for_clients, name_of, spki, to_be_signed, validity, verify
from integers import u16, u32, u64
from gossip import Gossip
from key_package import KeyPackage, open_key_package
from labels import Reader, raw_public
from log import now, take_checkpoints
from merkle import leaf

PACKAGES, PACKAGE_DAYS, LAST_RESORT_DAYS = 3, 30, 119
HOUR_SECONDS = 3_600
DAY_SECONDS = 24 * HOUR_SECONDS
BINDING_CONTEXT = 'chat/v1, device binding'


class Device:
    def __init__(self, channel, log, ca_file, before=None):
        """`before`: this device under the certificate that it had."""
        self.channel, self.log = channel, log
        self.identity = channel.identity
        self.session = transcript.Session(self.identity)
        self.signature_key = before.signature_key if before else ed25519.Ed25519PrivateKey.generate()
        self._id = before._id if before else os.urandom(16)
        with open(ca_file, 'rb') as file:
            self._authority = crypto.load_certificate(crypto.FILETYPE_PEM, file.read())
        self._certificates, self._bindings = {}, {}
        self.gossip = Gossip(log)
        self.records, self.openings = [], {}  # batches as they were proven; openings by leaf(MS)
        self._packages = []
        self._publish()

    def continues(self, channel, log):
        """On another connection, that resumed or logged in again."""
        self.channel = channel
        self.log.go_on(channel, log)

    # what it publishes

    def _publish(self):
        """Binding and key packages, §5.9 `Binding`."""
        self.binding = self._bind()
        self.channel.request({'type': 'binding_put', 'binding': self.binding}, 'ok')
        self.publish_packages(PACKAGES, fresh=True)

    def _bind(self):
        not_before, not_after = validity(self.identity.certificate)
        names = b''.join(bytes([len(name)]) + name.encode() for name in (self.log.organisation, self.identity.name))
        statement = b'chat-db1' + names + self._id + self.identity.fingerprint + b'\7ed25519'
        statement += raw_public(self.signature_key) + u64(not_before) + u64(not_after)
        signature = self.identity.sign(BINDING_CONTEXT, statement)
        certificate = self.identity.der
        binding = u16(len(statement)) + statement + bytes([self.identity.algorithm])
        return binding + u16(len(signature)) + signature + b'\1' + u32(len(certificate)) + certificate

    def continuity(self, certificate_der):
        """What the login with another certificate says, to be this device (§5.3)."""
        hashes = self.identity.fingerprint + hashlib.sha256(certificate_der).digest()
        signature = self.signature_key.sign(to_be_signed('chat/v1, device continuity', hashes))
        return {'binding': self.binding, 'signature': signature}

    def new_package(self, days=PACKAGE_DAYS):
        identity = b'\1' + self.identity.name.encode() + self._id + hashlib.sha256(self.binding).digest()
        seconds = int(time.time())
        return KeyPackage(self.signature_key, identity, seconds - HOUR_SECONDS, seconds + days * DAY_SECONDS)

    def publish_packages(self, count, fresh=False, last_resort=False):
        """Answers how many ordinary ones the server has."""
        made = [self.new_package(LAST_RESORT_DAYS if last_resort else PACKAGE_DAYS) for _ in range(count)]
        self._packages += made
        messages = [package.message for package in made]
        frame = {'type': 'keypackages_put', 'packages': messages, 'last_resort': last_resort, 'fresh': fresh}
        return self.channel.request(frame, 'keypackages')['count']

    def package(self, reference):
        """One of ours that was published."""
        return next(each for each in self._packages if each.reference == reference)

    # whom it believes

    def certificate(self, fingerprint):
        """Somebody's, whom the authority vouches for."""
        if fingerprint not in self._certificates:
            frame = {'type': 'certificate_get', 'fingerprint': fingerprint}
            first = self.channel.request(frame, 'certificate')['chain'][0]
            if hashlib.sha256(first).digest() != fingerprint:
                raise Refused('BAD_CERT', 'another one')
            self.trust(first)
        return self._certificates[fingerprint]

    def trust(self, certificate_der):
        store = crypto.X509Store()
        store.add_cert(self._authority)
        shown = crypto.load_certificate(crypto.FILETYPE_ASN1, certificate_der)
        crypto.X509StoreContext(store, shown).verify_certificate()
        certificate = x509.load_der_x509_certificate(certificate_der)
        if not is_for_clients(certificate):
            raise Refused('BAD_CERT', 'usage')
        self._certificates[hashlib.sha256(certificate_der).digest()] = certificate
        return certificate

    def member(self, node):
        """Whom a leaf stands for, by its binding: username, device id, fingerprint of the certificate."""
        identity = node['identity']
        if identity not in self._bindings:
            self._bindings[identity] = self._read_binding(identity, node['signature_key'])
        return self._bindings[identity]

    def _read_binding(self, identity, key):
        if len(identity) < 50 or identity[:1] != b'\1':
            raise Refused('BAD_FRAME', 'credential')
        name, device_id, digest = identity[1:-48], identity[-48:-32], identity[-32:]
        binding = self.channel.request({'type': 'binding_get', 'hash': digest}, 'binding')['binding']
        reader = Reader(binding)
        statement, algorithm = reader.take(reader.uint(2)), reader.uint(1)
        signature = reader.take(reader.uint(2))
        chain = [reader.take(reader.uint(4)) for _ in range(reader.uint(1))]
        reader.end()
        certificate = self.trust(chain[0])
        verify(certificate, algorithm, signature, BINDING_CONTEXT, statement)
        fingerprint = hashlib.sha256(chain[0]).digest()
        organisation = self.log.organisation.encode()
        head = b'chat-db1' + bytes([len(organisation)]) + organisation + bytes([len(name)]) + name + device_id
        head += fingerprint + b'\7ed25519' + key
        reader = Reader(statement[len(head):])
        not_before, not_after = reader.uint(8), reader.uint(8)
        reader.end()
        earliest, latest = validity(certificate)
        facts = [
            (hashlib.sha256(binding).digest(), digest),
            (statement[:len(head)], head),
            (name_of(certificate).encode(), name),
            (earliest <= not_before <= now() <= not_after <= latest, True),
        ]
        if any(is_so != must for is_so, must in facts):
            raise Refused('BAD_FRAME', 'binding')
        return name.decode(), device_id, fingerprint

    def take_packages(self, conversation, devices):
        """Key packages of these devices, each with user and certificate. `devices`: usernames by fingerprint."""
        frame = {'type': 'keypackages_take', 'conversation': conversation, 'devices': list(devices)}
        found = []
        for each in self.channel.request(frame, 'keypackages_taken')['packages']:
            package = open_key_package(each['package'])
            user, _, fingerprint = self.member(package['leaf'])
            not_before, not_after = package['leaf']['lifetime']
            if (fingerprint, user) != (each['device'], devices[fingerprint]):
                raise Refused('BAD_FRAME', 'key package of somebody else')
            if not not_before <= time.time() <= not_after - 600:
                raise Refused('BAD_FRAME', 'key package is over')
            key = spki(self.certificate(fingerprint))
            found.append({**package, 'invitation': hashlib.sha256(key).digest()})
        return found

    # what comes for it, and what it says

    def delivery(self):
        """The next msg_deliver as it came, and its items, all of which are proven."""
        return self.check(self.channel.notice('msg_deliver'))

    def check(self, frame):
        certificate = self.certificate(frame['batch'][8:40])
        take_checkpoints(self.channel, self.log)
        items = transcript.check_delivery(self.log, certificate, frame)
        self._record(frame)
        return frame, items

    def waiting(self):
        """All that waited for this device (§5.7 `sync`): items in their order, all proven."""
        self.channel.request({'type': 'sync'}, 'synced')
        found = []
        while any(frame['type'] == 'msg_deliver' for frame in self.channel.notices):
            found += self.delivery()[1]
        return found

    def keep(self, *items):
        """They need not come again."""
        self.channel.send({'type': 'msg_received', 'cursors': [item['cursor'] for item in items]})

    def say(self, *items):
        """One batch, with the opening of the session before the first. Answers msg_ack."""
        return self.deliver(self.session.sign(self.log, list(items)))

    def deliver(self, frame):
        """A batch that is signed."""
        answer = self.session.deliver(self.channel, self.log, frame)
        self._record({**frame, 'ack': answer['ack'], 'items': frame['messages']})
        return answer

    def _record(self, frame):
        self.records.append(frame)
        for item in frame['items']:
            if 'statement' in item and item['statement'][8] in (transcript.MESSAGE, transcript.MEMBERSHIP):
                self.gossip.saw(item['statement'], leaf(item['statement']))

    def opened(self, before=bytes(56)):
        """Opens our session, in one batch with what comes next. It must be made before that."""
        return self.session.clear(transcript.OPENED, before)

    def receipt(self, kind, conversation, messages, user):
        """That messages of `user` were delivered, or read. `messages`: leaf(MS) of each."""
        return {**self.session.clear(kind, b''.join(messages), conversation), 'to': user}

    def closed(self):
        return self.session.clear(transcript.CLOSED, b'')

    def sender_of(self, statement):
        return name_of(self.certificate(statement[16:48]))
