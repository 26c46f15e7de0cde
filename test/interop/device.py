"""A device in conversations, its binding, what comes for it and what it says: docs/PROTOCOL.md §5.6, §5.7, §5.9."""
import hashlib
import hmac
import os
import time

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from OpenSSL import crypto

import cbor
import mls
import transcript
from identity import Refused, spki, validity, verify
from integers import u16, u32, u64
from labels import Reader
from log import take_checkpoints
from merkle import leaf

PACKAGES = 3
DAY_SECONDS = 86_400
BINDING_CONTEXT = 'chat/v1, device binding'
TEXT = 'text/plain;charset=utf-8'


class Device:
    def __init__(self, channel, log, ca_file):
        self.channel = channel
        self.log = log
        self._identity = channel.identity
        with open(ca_file, 'rb') as file:
            self._authority = crypto.load_certificate(crypto.FILETYPE_PEM, file.read())
        self.session = transcript.Session(self._identity, log)
        self._groups = {}  # by conversation: the group and its generation
        self._certificates = {}
        self._publish()

    def _publish(self):
        """Binding and key packages, §5.9 `Binding`."""
        key, device_id = ed25519.Ed25519PrivateKey.generate(), os.urandom(16)
        not_before, not_after = validity(self._identity.certificate)
        statement = self._binding_head(self._identity.name, device_id, self._identity.fingerprint, mls.raw_public(key))
        statement += u64(not_before) + u64(not_after)
        signature = self._identity.sign(BINDING_CONTEXT, statement)
        certificate = self._identity.der
        binding = u16(len(statement)) + statement + bytes([self._identity.algorithm])
        binding += u16(len(signature)) + signature + b'\1' + u32(len(certificate)) + certificate
        self.channel.request({'type': 'binding_put', 'binding': binding}, 'ok')
        identity = b'\1' + self._identity.name.encode() + device_id + hashlib.sha256(binding).digest()
        now = int(time.time())
        life = now - DAY_SECONDS // 24, now + 30 * DAY_SECONDS
        self._packages = [mls.KeyPackage(key, identity, *life) for _ in range(PACKAGES)]
        messages = [package.message for package in self._packages]
        frame = {'type': 'keypackages_put', 'packages': messages, 'last_resort': False, 'fresh': True}
        if self.channel.request(frame, 'keypackages')['count'] != PACKAGES:
            raise Refused('BAD_FRAME', 'count of key packages')

    def delivery(self):
        """The next msg_deliver as it came, and its items, all of which are proven."""
        frame = self.channel.notice('msg_deliver')
        certificate = self.certificate(frame['batch'][8:40])
        take_checkpoints(self.channel, self.log)
        return frame, transcript.check_delivery(self.log, certificate, frame)

    def certificate(self, fingerprint):
        """Somebody's, whom the authority vouches for."""
        if fingerprint not in self._certificates:
            frame = {'type': 'certificate_get', 'fingerprint': fingerprint}
            first = self.channel.request(frame, 'certificate')['chain'][0]
            if hashlib.sha256(first).digest() != fingerprint:
                raise Refused('BAD_CERT', 'another one')
            store = crypto.X509Store()
            store.add_cert(self._authority)
            crypto.X509StoreContext(store, crypto.load_certificate(crypto.FILETYPE_ASN1, first)).verify_certificate()
            self._certificates[fingerprint] = x509.load_der_x509_certificate(first)
        return self._certificates[fingerprint]

    def enter(self, item, user):
        """By an item of kind 5 that has an invitation of `user` for us. Answers the rules of the conversation."""
        statement = item['statement']
        conversation = statement[80:112]
        _commit, group_info, tree, invitation = item['parts']
        if tree != b'' or invitation[:32] != hashlib.sha256(spki(self._identity.certificate)).digest():
            raise Refused('BAD_FRAME', 'invitation')
        reader = Reader(invitation[32:])
        reference = reader.take(reader.uint(1))
        if reader.vector() != reference:
            raise Refused('BAD_FRAME', 'reference')
        package = next(each for each in self._packages if each.reference == reference)
        group = mls.Group(package, group_info, reader.rest())
        generation = item['generation']
        group_id = hashlib.sha256(b'chat/1 group\0' + conversation + u32(generation)).digest()
        if group.id != group_id or group.epoch != item['epoch'] + 1:
            raise Refused('BAD_FRAME', 'group')
        self._check_member(group.signer, user, statement)
        self._groups[conversation] = group, generation
        return cbor.decode(group.settings)

    def read(self, item, user):
        """The text of an item of kind 1 by `user`."""
        statement = item['statement']
        group, generation = self._groups[statement[80:112]]
        if (item['generation'], item['epoch']) != (generation, group.epoch):
            raise Refused('BAD_FRAME', 'epoch')
        sender, authenticated, padded = group.open(item['parts'][0])
        self._check_member(sender, user, statement)
        if authenticated != transcript.associated_data(statement):
            raise Refused('BAD_FRAME', 'associated data')
        opening = padded.rstrip(b'\0')
        if padded != _padded(opening[:-1]):
            raise Refused('BAD_FRAME', 'padding')
        if not hmac.compare_digest(transcript.commitment(opening[:-1], statement), statement[184:216]):
            raise Refused('BAD_PROOF', 'commitment')
        _disposition, _language, _cardinality, kind, body = cbor.decode(opening[32:-1])[6]
        if kind != TEXT:
            raise Refused('BAD_FRAME', 'content')
        return body.decode()

    def opened(self):
        """Opens our session, in one batch with what comes next."""
        return self.session.clear(transcript.OPENED, bytes(56))

    def receipt(self, statement, user):
        """That a message of `user` was delivered."""
        return {**self.session.clear(transcript.DELIVERED, leaf(statement), statement[80:112]), 'to': user}

    def closed(self):
        return self.session.clear(transcript.CLOSED, b'')

    def text(self, conversation, body):
        """A message of ours, into the group that we were let into."""
        group, generation = self._groups[conversation]
        frame = {'type': 'conversation_get', 'conversation': conversation}
        roster = transcript.roster_hash(self.channel.request(frame, 'conversation'))
        content = [os.urandom(16), None, b'', None, None, {}, [1, '', 1, TEXT, body.encode()]]
        opening = os.urandom(32) + cbor.encode(content)
        padded = _padded(opening)
        size = group.sealed_size(len(transcript.associated_data(bytes(248))), len(padded))
        item = self.session.message(conversation, roster, opening, lambda data: group.seal(data, padded), size)
        return {**item, 'group': {'generation': generation, 'epoch': group.epoch}}

    def _check_member(self, member, user, statement):
        """That a leaf is bound to the certificate that has signed the statement, and that this is the user's."""
        identity, fingerprint = member['identity'], statement[16:48]
        frame = {'type': 'binding_get', 'hash': identity[-32:]}
        binding = self.channel.request(frame, 'binding')['binding']
        reader = Reader(binding)
        bound = reader.take(reader.uint(2))
        algorithm, signature = reader.uint(1), reader.take(reader.uint(2))
        certificate = self.certificate(fingerprint)
        verify(certificate, algorithm, signature, BINDING_CONTEXT, bound)
        expected = self._binding_head(user, identity[-48:-32], fingerprint, member['signature_key'])
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        facts = [
            (hashlib.sha256(binding).digest(), identity[-32:]),
            (identity[:-48], b'\1' + user.encode()),
            (bound[:-16], expected),
            (names.get_values_for_type(x509.UniformResourceIdentifier), [f'chat:{user}']),
        ]
        if any(is_so != must for is_so, must in facts):
            raise Refused('BAD_FRAME', 'binding')

    def _binding_head(self, user, device_id, fingerprint, key):
        names = b''.join(bytes([len(name)]) + name.encode() for name in (self.log.organisation, user))
        return b'chat-db1' + names + device_id + fingerprint + b'\7ed25519' + key


def _padded(opening):
    """To a size class, §5.9 `Sealing`."""
    size = 256
    while size < len(opening) + 1:
        size *= 2
    return opening + b'\x80' + bytes(size - len(opening) - 1)
