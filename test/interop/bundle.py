"""An evidence bundle, as a party to a conversation makes it, and as anybody reads it: docs/TRANSCRIPT.md §e, §f."""
import base64
import hashlib

import transcript
from conversation import read_content
from identity import Refused, algorithm_of, der, name_of, to_be_signed, verify
from integers import number, u64
from labels import Reader
from log import Log, now, read_ack
from merkle import check_consistency, inclusion, leaf, verify_inclusion

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


def read_bundle(data, authority):
    """
    Of a bundle without faults: what each disclosed message says. `authority` answers a certificate for its DER if it is to be believed.
    Files, seal, log key, signatures, paths, openings and receipts are checked; lineage and time are not.
    """
    files = dict(_members(data))
    sums = files.pop('SHA256SUMS')
    seal = files.pop('SHA256SUMS.sig')
    if sums.decode() != ''.join(f'{hashlib.sha256(files[name]).hexdigest()}  {name}\n' for name in sorted(files)):
        raise Refused('E_SUMS')
    people = {name[5:-4]: _certificate(files[name], authority) for name in files if name.startswith('cert/')}
    facts = dict(line.split(' ', 1) for line in files['BUNDLE'].decode().split('\n')[1:-1])
    exporter = people[facts['exporter']]
    verify(exporter, algorithm_of(exporter.public_key()), seal, 'chatlog/v1, bundle', sums)
    key = files['log/01/key-01.sig']
    statement = files['log/01/key-01.stmt'].decode()
    server = people[statement.split('server-cert-sha256 ')[1].split('\n')[0]]
    log = Log(server, {'statement': statement, 'algorithm': key[0], 'signature': key[1:]})
    newest, root = log.keep(files['log/01/checkpoint'].decode())
    found, linked = [], {newest}
    for i in range(int(facts['messages'])):
        folder = f'msg/{i + 1:06}/'
        message = {name[len(folder):]: files[name] for name in files if name.startswith(folder)}
        size, said = _read_message(message, log, people, facts['conversation'])
        if size not in linked:
            _old, *lines = files[f'log/01/consistency/{size}'].decode().split('\n\n')[0].split('\n')
            hashes = [base64.b64decode(line) for line in lines]
            check_consistency(size, log.open_note(log.notes[size])[1], newest, root, hashes)
            linked.add(size)
        found.append(said)
    return found


def _read_message(message, log, people, conversation):
    """Answers the size of the tree that it is proven into, and what it says."""
    entry, tbs = message['entry'], message['batch.tbs']
    statement, batch = entry[12:], tbs[-172:]
    proof, note = message['log.tlog-proof'].decode().split('\n\n', 1)
    _title, index, *path = proof.split('\n')
    size, root = log.keep(note)
    verify_inclusion(leaf(entry), int(index.split(' ')[1]), size, [base64.b64decode(each) for each in path], root)
    sender = people[statement[16:48].hex()]
    verify(sender, algorithm_of(sender.public_key()), message['batch.sig'], 'chatlog/v1, sender batch', batch)
    place, count, *path = message['batch.path'].decode().rstrip('\n').split('\n')
    at, of = int(place.split(' ')[1]), int(count.split(' ')[1])
    verify_inclusion(leaf(statement), at, of, [base64.b64decode(each) for each in path], batch[108:140])
    counter = number(batch[56:64]) + number(entry[2:4]) - 1
    facts = [
        (tbs, to_be_signed('chatlog/v1, sender batch', batch)),
        (statement[:8] + entry[:2] + batch[:8], b'clog-ms1\1\0clog-bs1'),
        (statement[16:72], batch[8:56] + u64(counter)),
        (statement[80:112].hex(), conversation),
        (batch[140:], hashlib.sha256(log.origin.encode()).digest()),
        ([at, of], [number(entry[2:4]) - 1, number(batch[64:68])]),
    ]
    if any(is_so != must for is_so, must in facts):
        raise Refused('E_LEAF')
    said = [name_of(sender), statement[8], None]
    if 'ciphertext' in message and leaf(message['ciphertext']) != statement[216:]:
        raise Refused('E_COMMIT')
    if 'opening' in message:
        opening = message['opening']
        if transcript.commitment(opening, statement) != statement[184:216]:
            raise Refused('E_COMMIT')
        said[2] = read_content(opening[32:])['text']
    return size, said


def _certificate(pem, authority):
    lines = pem.decode().split('\n')
    if lines[0] != '-----BEGIN CERTIFICATE-----' or lines[-2:] != ['-----END CERTIFICATE-----', '']:
        raise Refused('E_FORMAT')
    return authority(base64.b64decode(''.join(lines[1:-2])))


def _members(data):
    at = 0
    while any(data[at:at + BLOCK]):
        name, size = data[at:at + 100].rstrip(b'\0').decode(), int(data[at + 124:at + 135], 8)
        content = data[at + BLOCK:at + BLOCK + size]
        member = _member(name, content)
        if data[at:at + len(member)] != member:
            raise Refused('E_FORMAT', name)
        yield name, content
        at += len(member)
    if data[at:] != bytes(2 * BLOCK):
        raise Refused('E_FORMAT', 'end')
