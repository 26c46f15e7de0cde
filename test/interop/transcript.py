"""Statements, batches and leaves, made and checked: docs/TRANSCRIPT.md §a; docs/PROTOCOL.md §5.5, §5.6."""
import hashlib
import hmac
import os

from identity import Refused, verify
from integers import number, u16, u32, u64
from log import now, take_checkpoints
from merkle import leaf, proven_root, tree_root

MESSAGE, DELIVERED, MEMBERSHIP, OPENED, CLOSED = 1, 3, 5, 6, 7
ZEROS = bytes(32)


def batch_leaf(algorithm, signature, batch, server_time):
    """The entry SIGB."""
    signed = bytes([algorithm]) + u16(len(signature)) + signature + batch
    return leaf(b'\2\0' + u16(number(batch[64:68])) + server_time + signed)


def message_leaf(statement, position, server_time):
    """The entry MSG; positions count from 1."""
    return leaf(b'\1\0' + u16(position) + server_time + statement)


def check_delivery(log, certificate, frame):
    """A msg_deliver, docs/PROTOCOL.md §5.6: signature, batch root, parts, ACK. Answers the items with a statement."""
    batch, ack = frame['batch'], frame['ack']
    verify(certificate, frame['algorithm'], frame['signature'], 'chatlog/v1, sender batch', batch)
    audience = hashlib.sha256(log.origin.encode()).digest()
    if batch[:8] != b'clog-bs1' or len(batch) != 172 or batch[140:] != audience:
        raise Refused('BAD_FRAME', 'batch')
    if number(batch[64:68]) != len(frame['items']):
        raise Refused('BAD_FRAME', 'count')
    server_time, shown = ack[18:26], []
    statement_leaves, entry_leaves = [], [batch_leaf(frame['algorithm'], frame['signature'], batch, server_time)]
    for i, item in enumerate(frame['items']):
        if 'statement' not in item:
            statement_leaves.append(item['statement_hash'])
            entry_leaves.append(item['leaf_hash'])
            continue
        statement = item['statement']
        lineage = batch[8:56] + u64(number(batch[56:64]) + i)  # fingerprint, session id, session_ctr
        if statement[:8] != b'clog-ms1' or statement[16:72] != lineage:
            raise Refused('BAD_FRAME', 'statement')
        _check_parts(statement, item)
        statement_leaves.append(leaf(statement))
        entry_leaves.append(message_leaf(statement, i + 1, server_time))
        shown.append(item)
    if tree_root(statement_leaves) != batch[108:140]:
        raise Refused('BAD_PROOF', 'batch root')
    log.check_ack(ack, entry_leaves)
    return shown


def _check_parts(statement, item):
    count, leaves = number(statement[10:12]), [leaf(part) for part in item['parts']]
    if 'cut' in item:  # a commit of which only some parts come, §5.7
        at, hashes = item['cut']['at'], item['cut']['hashes']
    else:
        at, hashes = range(count), []
        if sum(map(len, item['parts'])) != number(statement[12:16]):
            raise Refused('BAD_FRAME', 'bytes')
    if len(at) != len(leaves) or proven_root(dict(zip(at, leaves)), count, hashes) != statement[216:]:
        raise Refused('BAD_PROOF', 'ciphertext')


def roster_hash(conversation):
    """Of a frame `conversation`."""
    devices = sorted(device for member in conversation['members'] for device in member['devices'])
    head = b'chatlog/v1, roster\0' + conversation['conversation'] + u64(conversation['epoch'])
    return hashlib.sha256(head + b''.join(devices)).digest()


def commitment(opening, statement):
    """`opening` is kf (32 bytes) and plaintext."""
    return hmac.digest(opening[:32], b'chatlog/v1, plaintext commitment\0' + statement[:184] + opening[32:], 'sha256')


def associated_data(statement):
    return b'chatlog/v1, message aad\0' + statement[:10] + bytes(6) + statement[16:216]


class Session:
    """What a device says: statements with their counters and links, signed in batches."""

    def __init__(self, identity, log):
        self._identity = identity
        self._log = log
        self.id = os.urandom(16)
        self._counter = 0
        self._last_batch = ZEROS
        self._last = {}  # conversation: conv_ctr and leaf(MS)

    def clear(self, kind, part, conversation=ZEROS):
        """A statement in the clear of one part: kinds 3, 6 and 7. Answers an item for `send`."""
        head = self._head(kind, len(part), conversation, 0, ZEROS, ZEROS)
        return {'statement': head + ZEROS + leaf(part), 'parts': [part]}

    def message(self, conversation, roster, opening, seal, size):
        """A statement of kind 1 for one part of `size` bytes, which `seal` makes for the associated data."""
        counter, previous = self._last.get(conversation, (0, ZEROS))
        head = self._head(MESSAGE, size, conversation, counter + 1, previous, roster)
        head += commitment(opening, head)
        part = seal(associated_data(head))
        if len(part) != size:
            raise ValueError('the part has another size than was stated')
        statement = head + leaf(part)
        self._last[conversation] = counter + 1, leaf(statement)
        return {'statement': statement, 'parts': [part]}

    def send(self, channel, items):
        """Signs the items as one batch, sends them, and checks that the ACK proves them into the log."""
        leaves = [leaf(item['statement']) for item in items]
        first = self._counter - len(items) + 1
        batch = b'clog-bs1' + self._identity.fingerprint + self.id + u64(first) + u32(len(items)) + u64(now())
        batch += self._last_batch + tree_root(leaves) + hashlib.sha256(self._log.origin.encode()).digest()
        self._last_batch = leaf(batch)
        signature = self._identity.sign('chatlog/v1, sender batch', batch)
        algorithm = self._identity.algorithm
        frame = {'type': 'msg_send', 'algorithm': algorithm, 'signature': signature, 'batch': batch, 'messages': items}
        ack = channel.request(frame, 'msg_ack')['ack']
        take_checkpoints(channel, self._log)
        entries = [batch_leaf(algorithm, signature, batch, ack[18:26])]
        entries += [message_leaf(item['statement'], i + 1, ack[18:26]) for i, item in enumerate(items)]
        self._log.check_ack(ack, entries)

    def _head(self, kind, size, conversation, counter, previous, roster):
        self._counter += 1
        head = b'clog-ms1' + bytes([kind, 0]) + u16(1) + u32(size) + self._identity.fingerprint + self.id
        head += u64(self._counter) + u64(now()) + conversation
        return head + u64(counter) + previous + roster
