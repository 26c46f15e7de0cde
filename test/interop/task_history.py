"""A device that is given the history of another one of its user, and gives it to a third: docs/PROTOCOL.md §5.10."""
import hashlib
import os

from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import cbor
import transcript
from conversation import RENDER, Conversation, conversation_of, encode_content, kind_of
from identity import Refused, name_of
from integers import u16, u32
from labels import Reader
from log import Log
from steps import say, told

ARCHIVE = 'application/x.securechat.archive+cbor'
PIECE = 'application/x.securechat.archive-piece+cbor'
PIECE_BYTES = 522_240


def history(me, password):
    me.connect()
    me.log_in(password)
    device = me.device
    organisation = device.log.organisation.encode()
    named = b'chat/1 self conversation\0' + u16(len(organisation)) + organisation + me.name.encode()
    own = me.channel.request({'type': 'conversation_open', 'peer': me.name}, 'conversation')
    if own['conversation'] != hashlib.sha256(named).digest():
        raise Refused('BAD_FRAME', 'another conversation of the own devices')
    conversation = Conversation(device, own['conversation'])
    say('waiting', fingerprint=me.identity.fingerprint.hex())

    head, pieces = None, {}
    while head is None or len(pieces) < head['pieces']:
        for item in device.delivery()[1]:
            if conversation_of(item) == conversation.id and kind_of(item) == transcript.MEMBERSHIP:
                conversation.invited(item)
            elif conversation_of(item) == conversation.id and kind_of(item) == transcript.MESSAGE:
                kind, body = cbor.decode(conversation.opening(item)[32:])[6][3:]
                said = cbor.decode(body)
                if kind == ARCHIVE:
                    head = said
                elif kind == PIECE:
                    pieces[said['n']] = said['sealed']
            device.keep(item)
    sealed = b''.join(pieces[n] for n in sorted(pieces))
    facts = [
        (head['to'], me.identity.fingerprint),
        (len(sealed), head['size']),
        (hashlib.sha256(sealed).digest(), head['sha256']),
        (conversation.rules, {'v': 1, 'kind': 'self', 'user': me.name}),
    ]
    if any(is_so != must for is_so, must in facts):
        raise Refused('BAD_FRAME', 'archive')
    archive = b''.join(_open(head, n, pieces[n]) for n in sorted(pieces))
    records = _records(archive)
    [third] = told('history', records=_counted(records), said=_said(device, records))
    hand_over(device, conversation, archive, bytes.fromhex(third))
    say('handed over')
    me.channel.bye()


def hand_over(device, conversation, archive, third):
    """In a group of the two devices alone."""
    conversation.make(conversation.rules)
    device.say(device.opened(), conversation.commit(new=[third]))
    conversation.done()
    name, key = os.urandom(16), AESGCM.generate_key(256)
    cut = [archive[at:at + PIECE_BYTES] for at in range(0, len(archive), PIECE_BYTES)]
    pieces = [AESGCM(key).encrypt(_nonce(n, len(cut)), piece, name) for n, piece in enumerate(cut)]
    sealed = b''.join(pieces)
    head = {'v': 1, 'archive': name, 'to': third, 'key': key, 'pieces': len(pieces)}
    head.update({'sha256': hashlib.sha256(sealed).digest(), 'size': len(sealed)})
    device.say(_item(conversation, ARCHIVE, head))
    for n, piece in enumerate(pieces):
        device.say(_item(conversation, PIECE, {'v': 1, 'archive': name, 'n': n, 'sealed': piece}))


def _item(conversation, kind, value):
    return conversation.content(encode_content([RENDER, '', 1, kind, cbor.encode(value)]))


def _open(head, n, sealed):
    plaintext = AESGCM(head['key']).decrypt(_nonce(n, head['pieces']), sealed, head['archive'])
    if n < head['pieces'] - 1 and len(plaintext) != PIECE_BYTES:
        raise Refused('BAD_FRAME', 'piece')
    return plaintext


def _nonce(n, pieces):
    return bytes(7) + u32(n) + bytes([n == pieces - 1])


def _records(archive):
    reader, found = Reader(archive), []
    while not reader.is_at_end():
        found.append(cbor.decode(reader.take(reader.uint(4))))
    return found


def _counted(records):
    return {kind: sum(each['t'] == kind for each in records) for kind in {each['t'] for each in records}}


def _said(device, records):
    """What each message says, of batches that are proven into the log; by conversations."""
    certificates, found = {}, {}
    for record in records:
        if record['t'] == 'certificate':
            first = record['chain'][0]
            certificates[hashlib.sha256(first).digest()] = device.trust(first)
        elif record['t'] == 'log_key':
            log = Log(x509.load_der_x509_certificate(record['chain'][0]), record)
            if (log.origin, log.vkey) != (device.log.origin, device.log.vkey):
                raise Refused('FORK', 'another key')
        elif record['t'] == 'batch':
            certificate = certificates[record['batch'][8:40]]
            device.log.keep(record['note'])
            transcript.check_batch(device.log, certificate, record)
            for message in record['messages']:
                statement, opening = record['items'][message['i']]['statement'], message.get('opening')
                if opening is not None:
                    if transcript.commitment(opening, statement) != statement[184:216]:
                        raise Refused('BAD_PROOF', 'commitment')
                    texts = found.setdefault(statement[80:112].hex(), [])
                    texts.append([name_of(certificate), cbor.decode(opening[32:])[6][-1].decode()])
    return found
