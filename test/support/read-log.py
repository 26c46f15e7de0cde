"""Reads a log directory by the C2SP specifications (tlog-tiles, tlog-checkpoint, signed-note) and nothing else: the root is computed
anew from the entries, the hash tiles are compared, and the signature is checked by the openssl program. Prints what it found as JSON.

    read-log.py DIRECTORY VKEY
"""
import base64, hashlib, json, os, subprocess, sys, tempfile

directory, vkey = sys.argv[1], sys.argv[2]
sha = lambda data: hashlib.sha256(data).digest()


def read(path):
    with open(os.path.join(directory, path), 'rb') as file:
        return file.read()


def tile_path(level, index, width):
    groups = ['%03d' % (index % 1000)]
    while index >= 1000:
        index //= 1000
        groups.insert(0, 'x%03d' % (index % 1000))
    return 'tile/%s/%s%s' % (level, '/'.join(groups), '' if width == 256 else '.p/%d' % width)


def root(hashes):
    if not hashes:
        return sha(b'')
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha(b'\x01' + root(hashes[:k]) + root(hashes[k:]))


def check_signature(name, key_id, key):
    note = read('checkpoint')
    text, _, signatures = note.rpartition(b'\n\n')
    text += b'\n'
    for line in signatures.decode().splitlines():
        dash, signer, encoded = line.split(' ')
        signature = base64.b64decode(encoded, validate=True)
        if dash == '\u2014' and signer == name and signature[:4].hex() == key_id:
            break
    else:
        sys.exit('not signed under this name')
    with tempfile.TemporaryDirectory() as scratch:
        path = lambda file: os.path.join(scratch, file)
        # SubjectPublicKeyInfo of an Ed25519 key, RFC 8410
        for file, data in (('key', bytes.fromhex('302a300506032b6570032100') + key), ('text', text), ('signature', signature[4:])):
            with open(path(file), 'wb') as out:
                out.write(data)
        command = ['openssl', 'pkeyutl', '-verify', '-rawin', '-pubin', '-keyform', 'DER', '-inkey', path('key')]
        subprocess.run(command + ['-in', path('text'), '-sigfile', path('signature')], check=True, capture_output=True)
    return text.decode().split('\n')


name, key_id, encoded = vkey.split('+', 2)
raw = base64.b64decode(encoded, validate=True)
assert raw[0] == 1 and sha(name.encode() + b'\n' + raw)[:4].hex() == key_id, 'vkey'
origin, size, expected = check_signature(name, key_id, raw[1:])[:3]
assert origin == name, 'origin'
size = int(size)

entries = []
for index in range((size + 255) // 256):
    width = min(256, size - index * 256)
    bundle, at = read(tile_path('entries', index, width)), 0
    for _ in range(width):
        end = at + 2 + int.from_bytes(bundle[at:at + 2], 'big')
        assert end <= len(bundle), 'bundle'
        entries.append(bundle[at + 2:end])
        at = end
    assert at == len(bundle), 'bundle'

hashes = [sha(b'\x00' + entry) for entry in entries]
assert root(hashes) == base64.b64decode(expected, validate=True), 'root'

level, tiles, row = 0, 0, hashes
while row:
    for index in range((len(row) + 255) // 256):
        part = row[index * 256:(index + 1) * 256]
        assert read(tile_path(level, index, len(part))) == b''.join(part), 'tile'
        tiles += 1
    row = [root(row[i * 256:(i + 1) * 256]) for i in range(len(row) // 256)]
    level += 1

print(json.dumps({'size': size, 'root': expected, 'tiles': tiles, 'levels': level}))
