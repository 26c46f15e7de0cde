"""The log: its key, its checkpoints, and what an ACK proves: docs/TRANSCRIPT.md §c, docs/PROTOCOL.md §6."""
import base64
import hashlib
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from identity import Refused, der, hosts_of, verify
from integers import number
from merkle import check_consistency, proven_root


def now():
    return int(time.time() * 1000)


class Log:
    """Name and key of the server's log, and the checkpoints that were seen of it: notes by size."""

    def __init__(self, certificate, log):
        statement, self.certificate = log['statement'], certificate
        self.key_statement = log
        verify(certificate, log['algorithm'], log['signature'], 'chatlog/v1, log key', statement.encode())
        title, *lines, end = statement.split('\n')
        fields = dict(line.split(' ', 1) for line in lines)
        self.origin = fields['origin']
        self.organisation = self.origin.split('/')[0]
        name, key_id, key = fields['vkey'].split('+', 2)
        raw = base64.b64decode(key, validate=True)
        digest = hashlib.sha256(self.origin.encode() + b'\n' + raw).digest()
        self._key_id = digest[:4]
        facts = [
            (title, 'chatlog/v1 log key'),
            (end, ''),
            (name, self.origin),
            (raw[:1], b'\1'),
            (key_id, self._key_id.hex()),
            (fields['server-cert-sha256'], hashlib.sha256(der(certificate)).hexdigest()),
        ]
        self.vkey = fields['vkey']
        if any(is_so != must for is_so, must in facts) or self.organisation not in hosts_of(certificate):
            raise Refused('LOG_KEY')
        if not int(fields['not-before']) <= now() <= int(fields['not-after']):
            raise Refused('LOG_KEY', 'validity')
        self._key = ed25519.Ed25519PublicKey.from_public_bytes(raw[1:])
        self.notes = {}

    def newest(self):
        return self.notes[max(self.notes)]

    def prove(self, channel, first, second, hashes=None):
        """docs/PROTOCOL.md §6.4, between two checkpoints that were seen. Answers the hashes that prove it."""
        if hashes is None:
            frame = {'type': 'log_consistency', 'from': first, 'to': second}
            hashes = channel.request(frame, 'log_consistency')['hashes']
        roots = [self.open_note(self.notes[size])[1] for size in (first, second)]
        check_consistency(first, roots[0], second, roots[1], hashes)
        return hashes

    def go_on(self, channel, other):
        """The log that another connection shows is this one: its key, and all that was seen of it is of one history."""
        if other.vkey != self.vkey:
            raise Refused('FORK', 'another key')
        before = max(self.notes, default=0)
        size, _ = self.keep(channel.request({'type': 'log_checkpoint'}, 'log_checkpoint')['note'])
        if 0 < before != size:
            self.prove(channel, min(before, size), max(before, size))

    def open_note(self, note):
        """Size and root of a signed note (C2SP tlog-checkpoint)."""
        text, signatures = note.rsplit('\n\n', 1)
        signed = (text + '\n').encode()
        own = []
        for line in signatures.rstrip('\n').split('\n'):
            _, name, encoded = line.split(' ')
            signature = base64.b64decode(encoded)
            if name == self.origin and signature[:4] == self._key_id:
                own.append(signature[4:])
        if len(own) != 1:
            raise Refused('SIG_FAIL', 'checkpoint')
        try:
            self._key.verify(own[0], signed)
        except InvalidSignature:
            raise Refused('SIG_FAIL', 'checkpoint') from None
        origin, size, root = text.split('\n')
        if origin != self.origin:
            raise Refused('FORK', 'origin')
        return int(size), base64.b64decode(root)

    def note(self, size, root, signature):
        """As it was, out of what a member tells of it; `signature` begins with the key id."""
        said = [base64.b64encode(each).decode() for each in (root, signature)]
        return f'{self.origin}\n{size}\n{said[0]}\n\n\u2014 {self.origin} {said[1]}\n'

    def keep(self, note):
        """One root for each size; answers both."""
        size, root = self.open_note(note)
        if self.notes.setdefault(size, note) != note and self.open_note(self.notes[size]) != (size, root):
            raise Refused('FORK')
        return size, root

    def check_ack(self, ack, leaves):
        """docs/PROTOCOL.md §6.3: the range proof leads from these leaves to a checkpoint that was seen."""
        known, size, hashes = read_ack(ack, leaves)
        root = proven_root(known, size, hashes)
        if size not in self.notes or self.open_note(self.notes[size]) != (size, root):
            raise Refused('BAD_PROOF', 'another root')


def read_ack(ack, leaves):
    """The leaves by their index, the size of the tree, and the hashes of the proof."""
    first, count, size, hashes = number(ack[8:16]), number(ack[16:18]), number(ack[26:34]), ack[35:-2]
    if ack[:8] != b'clogack1' or ack[-2:] != b'\0\0' or len(leaves) != count + 1 or len(hashes) != 32 * ack[34]:
        raise Refused('BAD_FRAME', 'ack')
    known = {first + i: each for i, each in enumerate(leaves)}
    return known, size, [hashes[i:i + 32] for i in range(0, len(hashes), 32)]


def take_checkpoints(channel, log):
    """The checkpoint of an ACK comes before it, docs/PROTOCOL.md §6.1."""
    for frame in [each for each in channel.notices if each['type'] == 'checkpoint']:
        channel.notices.remove(frame)
        log.keep(frame['note'])
