"""A log directory, read without a server: docs/TRANSCRIPT.md §a, §c, §e, and of §f what a log without faults needs."""
import hashlib
import os

from cryptography import x509

import transcript
from identity import Refused, name_of, verify
from integers import number
from labels import Reader
from log import Log
from merkle import leaf, tree_root

MSG, SIGB, KEY, CERT = 1, 2, 6, 8
TILE = 256


class Directory:
    def __init__(self, path):
        self._path = path
        statement, signature = self._read('key.stmt').decode(), self._read('key.sig')
        first = self._entries(0, 1)[0]
        certificate = x509.load_der_x509_certificate(_certificates(first)[0])
        key = {'statement': statement, 'algorithm': signature[0], 'signature': signature[1:]}
        self.log = Log(certificate, key)
        self.size, self.root = self.log.keep(self._read('checkpoint').decode())
        self.entries = [each for i in range(0, self.size, TILE) for each in self._entries(i // TILE, self.size)]

    def check(self):
        """The tree, its tiles, and what was signed. Answers how many statements of each kind there are by each name."""
        leaves = [leaf(entry) for entry in self.entries]
        if len(leaves) != self.size or tree_root(leaves) != self.root:
            raise Refused('E_ROOT')
        level, hashes = 0, leaves
        while hashes:
            for index in range(0, len(hashes), TILE):
                self._check_tile(level, index // TILE, hashes[index:index + TILE])
            whole = len(hashes) // TILE * TILE
            level, hashes = level + 1, [tree_root(hashes[i:i + TILE]) for i in range(0, whole, TILE)]
        return self._check_entries()

    def check_note(self, note):
        """That a checkpoint which somebody keeps is of this history."""
        size, root = self.log.open_note(note)
        if size > self.size or tree_root([leaf(entry) for entry in self.entries[:size]]) != root:
            raise Refused('E_FORK')

    def _check_entries(self):
        certificates, counts, time, at = {}, {}, 0, 0
        last = {}  # by session: what the next batch goes on from
        if [entry[0] for entry in self.entries[:2]] != [CERT, KEY]:
            raise Refused('E_KEYBIND')
        while at < self.size:
            entry = self.entries[at]
            if number(entry[4:12]) < time:
                raise Refused('E_TIME_ORDER')
            time = number(entry[4:12])
            if entry[0] == CERT:
                first = _certificates(entry)[0]
                certificates[hashlib.sha256(first).digest()] = x509.load_der_x509_certificate(first)
            if entry[0] == MSG:
                raise Refused('E_ORDER')
            if entry[0] == SIGB:
                statements = [each[12:] for each in self.entries[at + 1:at + 1 + number(entry[2:4])]]
                reader = Reader(entry[12:])
                algorithm, signature, batch = reader.uint(1), reader.take(reader.uint(2)), reader.rest()
                sender, session = certificates[batch[8:40]], batch[8:56]
                verify(sender, algorithm, signature, 'chatlog/v1, sender batch', batch)
                counter, before = last.get(session, (0, bytes(32)))
                if (number(batch[56:64]), batch[76:108]) != (counter + 1, before):
                    raise Refused('E_BATCH_CHAIN')
                if tree_root([leaf(each) for each in statements]) != batch[108:140]:
                    raise Refused('E_BATCH_ROOT')
                last[session] = counter + len(statements), leaf(batch)
                for i, each in enumerate(self.entries[at + 1:at + 1 + len(statements)]):
                    if each != transcript.message_entry(each[12:], i + 1, entry[4:12]):
                        raise Refused('E_ORDER')
                    name, kind = name_of(sender), each[12 + 8]
                    counts.setdefault(name, {}).setdefault(kind, 0)
                    counts[name][kind] += 1
                at += len(statements)
            at += 1
        return counts

    def _check_tile(self, level, index, hashes):
        name = f'tile/{level}/{_numbered(index)}'
        if self._any(name, len(hashes))[:32 * len(hashes)] != b''.join(hashes):
            raise Refused('E_TILE')

    def _entries(self, index, size):
        width = min(TILE, size - TILE * index)
        reader, found = Reader(self._any(f'tile/entries/{_numbered(index)}', width)), []
        for _ in range(width):
            found.append(reader.take(reader.uint(2)))
        return found

    def _any(self, name, width):
        """The full tile, or a partial one that is wide enough."""
        if width < TILE and not os.path.exists(os.path.join(self._path, name)):
            widths = sorted(int(each) for each in os.listdir(os.path.join(self._path, f'{name}.p')))
            name = f'{name}.p/{next(each for each in widths if each >= width)}'
        return self._read(name)

    def _read(self, name):
        with open(os.path.join(self._path, name), 'rb') as file:
            return file.read()


def _certificates(entry):
    reader = Reader(entry[12:])
    return [reader.take(reader.uint(4)) for _ in range(reader.uint(2))]


def _numbered(index):
    """5, 1234067 -> 005, x001/x234/067."""
    groups = [f'{index % 1000:03}']
    while index >= 1000:
        index //= 1000
        groups.insert(0, f'x{index % 1000:03}')
    return '/'.join(groups)
