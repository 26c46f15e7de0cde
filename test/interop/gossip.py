"""What members tell each other of the server, inside their messages: docs/TRANSCRIPT.md §d."""
import base64

from identity import Refused
from integers import number, u64
from labels import Reader

CHECKPOINTS, SEEN = 'chatlog/checkpoints', 'chatlog/seen'
LEAF_BYTES = 16


class Gossip:
    """Of one device: what it took in, by conversation, sender, session and place."""

    def __init__(self, log):
        self._log = log
        self._seen = {}

    def saw(self, statement, leaf):
        """A statement of kind 1 or 5, also one of our own."""
        self._seen[statement[80:112], statement[16:64], number(statement[112:120])] = leaf[:LEAF_BYTES]

    def extensions(self, last_statement, last_leaf):
        """The newest checkpoint, and the last statement of somebody else."""
        note = self._log.newest()
        size, root = self._log.open_note(note)
        signature = base64.b64decode(note.rstrip('\n').rsplit(' ', 1)[1])
        checkpoint = signature[:4] + u64(size) + root + signature[4:]
        seen = last_statement[16:64] + last_statement[112:120] + last_leaf[:LEAF_BYTES]
        return {CHECKPOINTS: b'\1' + checkpoint, SEEN: b'\1' + seen}

    def heard(self, channel, conversation, extensions):
        """Answers how many checkpoints were proven, and how many statements both have seen."""
        return {
            'checkpoints': self._checkpoints(channel, Reader(extensions.get(CHECKPOINTS, b'\0'))),
            'seen': self._statements(conversation, Reader(extensions.get(SEEN, b'\0'))),
        }

    def _checkpoints(self, channel, reader):
        count = reader.uint(1)
        for _ in range(count):
            key_id, size, root, signature = reader.take(4), reader.uint(8), reader.take(32), reader.take(64)
            before = max(self._log.notes)
            self._log.keep(self._log.note(size, root, key_id + signature))
            if size != before:
                self._log.prove(channel, min(size, before), max(size, before))
        reader.end()
        return count

    def _statements(self, conversation, reader):
        known = 0
        for _ in range(reader.uint(1)):
            sender, counter, leaf = reader.take(48), reader.uint(8), reader.take(LEAF_BYTES)
            mine = self._seen.get((conversation, sender, counter))
            if mine not in (None, leaf):
                raise Refused('SIG_FAIL', 'seen')
            known += mine is not None
        reader.end()
        return known
