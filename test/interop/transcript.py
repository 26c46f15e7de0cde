"""Statements, batches and leaves, made and checked: docs/TRANSCRIPT.md §a; docs/PROTOCOL.md §5.5, §5.6."""
import hashlib
import hmac
import os

from identity import Refused, verify
from integers import number, u16, u32, u64
from log import now, take_checkpoints
from merkle import leaf, proven_root, tree_root

MESSAGE, DELIVERED, READ, MEMBERSHIP, OPENED, CLOSED = 1, 3, 4, 5, 6, 7
ZEROS = bytes(32)


def batch_leaf(algorithm, signature, batch, server_time):
    """Of the entry SIGB."""
    signed = bytes([algorithm]) + u16(len(signature)) + signature + batch
    return leaf(b'\2\0' + u16(number(batch[64:68])) + server_time + signed)


def message_entry(statement, position, server_time):
    """MSG; positions count from 1."""
    return b'\1\0' + u16(position) + server_time + statement


def leaves_of(frame):
    """Leaves of the statements of a batch, and those of its entries in the log: `items` and `ack` as in msg_deliver."""
    server_time = frame['ack'][18:26]
    entries = [batch_leaf(frame['algorithm'], frame['signature'], frame['batch'], server_time)]
    statements = []
    for i, item in enumerate(frame['items']):
        if 'statement' in item:
            statements.append(leaf(item['statement']))
            entries.append(leaf(message_entry(item['statement'], i + 1, server_time)))
        else:
            statements.append(item['statement_hash'])
            entries.append(item['leaf_hash'])
    return statements, entries


def check_delivery(log, certificate, frame):
    """A msg_deliver, docs/PROTOCOL.md §5.6: signature, batch root, ACK, parts. Answers the items with a statement."""
    shown = check_batch(log, certificate, frame)
    for item in shown:
        _check_parts(item['statement'], item)
    return shown


def check_batch(log, certificate, frame):
    """What is signed and logged, whether or not the parts are there. Answers the items with a statement."""
    batch, ack = frame['batch'], frame['ack']
    verify(certificate, frame['algorithm'], frame['signature'], 'chatlog/v1, sender batch', batch)
    audience = hashlib.sha256(log.origin.encode()).digest()
    if batch[:8] != b'clog-bs1' or len(batch) != 172 or batch[140:] != audience:
        raise Refused('BAD_FRAME', 'batch')
    if number(batch[64:68]) != len(frame['items']):
        raise Refused('BAD_FRAME', 'count')
    for i, item in enumerate(frame['items']):
        lineage = batch[8:56] + u64(number(batch[56:64]) + i)  # fingerprint, session id, session_ctr
        statement = item.get('statement')
        if statement is not None and (statement[:8] != b'clog-ms1' or statement[16:72] != lineage):
            raise Refused('BAD_FRAME', 'statement')
    statement_leaves, entry_leaves = leaves_of(frame)
    if tree_root(statement_leaves) != batch[108:140]:
        raise Refused('BAD_PROOF', 'batch root')
    log.check_ack(ack, entry_leaves)
    return [item for item in frame['items'] if 'statement' in item]


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

    def __init__(self, identity, last=None):
        """`last`: of a session before, by conversation: leaf(MS)."""
        self._identity = identity
        self.id = os.urandom(16)
        self._next = _Lineage(last or {})
        self._logged = self._next.copy()

    def clear(self, kind, part, conversation=ZEROS):
        """A statement in the clear of one part: kinds 3, 4, 6 and 7. Answers an item for `send`."""
        head = self._head(kind, len(part), conversation, 0, ZEROS, ZEROS)
        return {'statement': head + ZEROS + leaf(part), 'parts': [part]}

    def message(self, conversation, roster, opening, seal, size):
        """A statement of kind 1 for one part of `size` bytes, which `seal` makes for the associated data."""
        head = self._linked_head(MESSAGE, size, conversation, roster)
        head += commitment(opening, head)
        part = seal(associated_data(head))
        if len(part) != size:
            raise ValueError('the part has another size than was stated')
        return self._linked(conversation, head, [part])

    def change(self, conversation, roster, make_parts):
        """A statement of kind 5; `make_parts` makes them for the associated data, whatever their sizes."""
        head = self._linked_head(MEMBERSHIP, 0, conversation, roster) + ZEROS
        parts = make_parts(associated_data(head))
        return self._linked(conversation, head[:10] + u16(len(parts)) + u32(sum(map(len, parts))) + head[16:], parts)

    def sign(self, log, items):
        """The frame `msg_send` of one batch."""
        leaves = [leaf(item['statement']) for item in items]
        first = self._next.counter - len(items) + 1
        batch = b'clog-bs1' + self._identity.fingerprint + self.id + u64(first) + u32(len(items)) + u64(now())
        batch += self._next.batch + tree_root(leaves) + hashlib.sha256(log.origin.encode()).digest()
        self._next.batch = leaf(batch)
        signature = self._identity.sign('chatlog/v1, sender batch', batch)
        algorithm = self._identity.algorithm
        return {'type': 'msg_send', 'algorithm': algorithm, 'signature': signature, 'batch': batch, 'messages': items}

    def deliver(self, channel, log, frame):
        """Sends a batch, again if need be, and checks that the ACK proves it into the log. Answers the msg_ack."""
        try:
            answer = channel.request(frame, 'msg_ack')
        except Refused:
            self._next = self._logged.copy()  # its counters are free for another
            raise
        take_checkpoints(channel, log)
        ack = answer['ack']
        _, entries = leaves_of({**frame, 'ack': ack, 'items': frame['messages']})
        log.check_ack(ack, entries)
        self._logged = self._next.copy()
        return answer

    def send(self, channel, log, items):
        return self.deliver(channel, log, self.sign(log, items))

    def end(self):
        """What the opening of the session after it says, docs/TRANSCRIPT.md §a; and its last statements."""
        return self.id + u64(self._logged.counter) + self._logged.batch, self._logged.last

    def _linked_head(self, kind, size, conversation, roster):
        counter = self._next.counters.get(conversation, 0) + 1
        return self._head(kind, size, conversation, counter, self._next.last.get(conversation, ZEROS), roster)

    def _linked(self, conversation, head, parts):
        statement = head + tree_root([leaf(part) for part in parts])
        self._next.counters[conversation] = self._next.counters.get(conversation, 0) + 1
        self._next.last[conversation] = leaf(statement)
        return {'statement': statement, 'parts': parts}

    def _head(self, kind, size, conversation, counter, previous, roster):
        self._next.counter += 1
        head = b'clog-ms1' + bytes([kind, 0]) + u16(1) + u32(size) + self._identity.fingerprint + self.id
        head += u64(self._next.counter) + u64(now()) + conversation
        return head + u64(counter) + previous + roster


class _Lineage:
    """What the next statement and batch go on from."""

    def __init__(self, last, counter=0, batch=ZEROS, counters=()):
        self.counter, self.batch = counter, batch
        self.counters, self.last = dict(counters), dict(last)  # by conversation: conv_ctr, leaf(MS)

    def copy(self):
        return _Lineage(self.last, self.counter, self.batch, self.counters)
