"""An evidence bundle, as a party to a conversation makes it: docs/TRANSCRIPT.md §e."""
import base64
import hashlib

import transcript
from identity import der
from labels import Reader
from log import now, read_ack
from merkle import inclusion

BLOCK = 512


def write_bundle(device, conversation_id, is_complete):
    """The archive: all that the device has of the conversation, with its openings; the server is asked to tie the checkpoints."""
    log, messages = device.log, _messages(device, conversation_id)
    newest = max(log.notes)
    files = {
        'log/01/checkpoint': log.notes[newest].encode(),
        'log/01/key-01.stmt': log.key_statement['statement'].encode(),
        'log/01/key-01.sig': bytes([log.key_statement['algorithm']]) + log.key_statement['signature'],
    }
    people = {device.identity.fingerprint: device.identity.der}
    people[hashlib.sha256(der(log.certificate)).digest()] = der(log.certificate)
    for i, message in enumerate(messages):
        people[message['sender']] = der(device.certificate(message['sender']))
        files.update({f'msg/{i + 1:06}/{name}': data for name, data in message['files'].items()})
    for fingerprint, certificate in people.items():
        files[f'cert/{fingerprint.hex()}.pem'] = _pem(certificate)
    for size in {message['size'] for message in messages} - {newest}:
        hashes = log.prove(device.channel, size, newest)
        lines = f'old {size}\n' + _lines(hashes) + '\n' + log.notes[newest]
        files[f'log/01/consistency/{size}'] = lines.encode()
    files['BUNDLE'] = '\n'.join([
        'chatlog/v1 bundle',
        f'profile {"complete" if is_complete else "selective"}',
        f'created {now()}',
        f'conversation {conversation_id.hex()}',
        f'messages {len(messages)}',
        f'exporter {device.identity.fingerprint.hex()}',
        '',
    ]).encode()
    sums = ''.join(f'{hashlib.sha256(files[name]).hexdigest()}  {name}\n' for name in sorted(files)).encode()
    files['SHA256SUMS'] = sums
    files['SHA256SUMS.sig'] = device.identity.sign('chatlog/v1, bundle', sums)
    return b''.join(_member(name, files[name]) for name in sorted(files)) + bytes(2 * BLOCK)


def _messages(device, conversation_id):
    """In the order of the log, each once; receipts only of what is there."""
    found, named = {}, set()
    for frame in device.records:
        statements, entries = transcript.leaves_of(frame)
        known, size, hashes = read_ack(frame['ack'], entries)
        first = min(known)
        for i, item in enumerate(frame['items']):
            if 'statement' not in item or item['statement'][80:112] != conversation_id:
                continue
            statement, index = item['statement'], first + 1 + i
            path = inclusion(known, size, hashes, index)
            proof = f'c2sp.org/tlog-proof@v1\nindex {index}\n' + _lines(path) + '\n' + device.log.notes[size]
            place = inclusion(dict(enumerate(statements)), len(statements), [], i)
            files = {
                'entry': transcript.message_entry(statement, i + 1, frame['ack'][18:26]),
                'batch.tbs': b' ' * 64 + b'chatlog/v1, sender batch\0' + frame['batch'],
                'batch.sig': frame['signature'],
                'batch.path': f'index {i}\nsize {len(statements)}\n'.encode() + _lines(place).encode(),
                'log.tlog-proof': proof.encode(),
            }
            kind = statement[8]
            if kind in (transcript.DELIVERED, transcript.READ):
                files['ciphertext'] = item['parts'][0]
            else:
                named.add(statements[i])
            if statements[i] in device.openings:
                files['opening'] = device.openings[statements[i]]
            found[index] = {'files': files, 'size': size, 'sender': statement[16:48], 'part': files.get('ciphertext')}
    ordered = [found[index] for index in sorted(found)]
    return [each for each in ordered if each['part'] is None or named & set(_hashes(each['part']))]


def _hashes(part):
    reader = Reader(part)
    return [reader.take(32) for _ in range(len(part) // 32)]


def _lines(hashes):
    return ''.join(base64.b64encode(each).decode() + '\n' for each in hashes)


def _pem(certificate):
    text = base64.b64encode(certificate).decode()
    lines = [text[i:i + 64] for i in range(0, len(text), 64)]
    return '\n'.join(['-----BEGIN CERTIFICATE-----', *lines, '-----END CERTIFICATE-----', '']).encode()


def _member(name, data):
    """A regular file of a POSIX ustar archive."""
    def field(text, size):
        return text.encode().ljust(size, b'\0')
    before = field(name, 100) + field('0000644', 8) + 2 * field('0000000', 8) + field(f'{len(data):011o}', 12)
    before += field('0' * 11, 12)
    behind = b'0' + bytes(100) + b'ustar\x0000' + bytes(64) + 2 * field('0000000', 8)
    behind += bytes(BLOCK - len(before) - 8 - len(behind))
    checksum = sum(before) + sum(b' ' * 8) + sum(behind)
    head = before + f'{checksum:06o}'.encode() + b'\0 ' + behind
    return head + data + bytes(-len(data) % BLOCK)
