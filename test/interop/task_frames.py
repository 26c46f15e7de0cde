"""Requests that have nothing to do with messages: docs/PROTOCOL.md §5.4, §5.7, §5.8, §6.4."""
import hashlib
import os

from cryptography import x509

from identity import Refused, milliseconds
from integers import u16, u64
from merkle import leaf, verify_inclusion
from steps import refusal, say

PIECE_BYTES = 262_144


def people(me, peer):
    """Presence, contacts and the directory."""
    ask = me.channel.request
    chosen = [
        ask({'type': 'presence_set', 'state': 'dnd', 'last_seen': False}, 'presence_choice'),
        ask({'type': 'presence_set', 'state': 'online', 'last_seen': True}, 'presence_choice'),
        ask({'type': 'presence_set'}, 'presence_choice'),
    ]
    watched = ask({'type': 'presence_watch', 'username': peer}, 'presence')
    states = []
    for kind in ('add', 'remove', 'block', 'unblock'):
        states.append(ask({'type': f'contact_{kind}', 'account': peer}, 'contact')['state'])
    nothing = refusal(ask, {'type': 'contact_accept', 'account': peer}, 'contact')
    listed = ask({'type': 'directory', 'after': ''}, 'directory')
    say(
        'people',
        presence=[[each['state'], each['last_seen']] for each in chosen],
        watched=watched['online'],
        states=states,
        nothing=nothing,
        contacts=ask({'type': 'contact_list', 'after': ''}, 'contacts')['people'],
        directory=[each['username'] for each in listed['people']],
    )


def rooms(me, private, public, peer):
    """What an owner may do, and what nobody may."""
    def ask(kind, room, **more):
        return me.channel.request({'type': f'room_{kind}', 'room': room, **more}, 'room')

    banned = ask('ban', public, username=peer)['banned']
    unbanned = ask('unban', public, username=peer)['banned']
    topic = ask('topic', public, topic='a topic').get('topic')
    listed = me.channel.request({'type': 'room_list', 'after': ''}, 'rooms')['rooms']
    say(
        'rooms',
        banned=[banned, unbanned],
        topics=[topic, ask('topic', public).get('topic')],
        listed=[[each['room'], each['visibility'], each.get('role')] for each in listed],
        nobody=refusal(lambda: ask('invite', private, username='nobody-at-all')),
        unknown=refusal(lambda: ask('get', '#nowhere')),
        taken=refusal(lambda: ask('create', private, visibility='private')),
        no_name=refusal(lambda: ask('create', 'nowhere', visibility='private')),
        last_owner=refusal(me.channel.request, {'type': 'room_leave', 'room': private}, 'ok'),
    )


def blobs(me):
    """In pieces; one whose hash is another one is not kept; and nobody gets what no commit refers to."""
    data = os.urandom(PIECE_BYTES + 10)
    digest = hashlib.sha256(data).digest()

    def put(offset, piece, name=digest):
        frame = {'type': 'blob_put', 'hash': name, 'size': len(data), 'offset': offset, 'piece': piece}
        return me.channel.request(frame, 'blob_have')['bytes']

    head, rest = data[:PIECE_BYTES], data[PIECE_BYTES:]
    had = [put(0, head), put(0, head), put(PIECE_BYTES, rest), put(PIECE_BYTES, rest)]
    wrong = os.urandom(32)
    put(0, head, wrong)
    say(
        'blobs',
        had=[each - PIECE_BYTES for each in had],
        place=refusal(put, 7, head),
        hash=refusal(put, PIECE_BYTES, rest, wrong),
        get=refusal(me.channel.request, {'type': 'blob_get', 'hash': digest, 'offset': 0}, 'blob'),
    )


def revocation_list(me, ca_file):
    """That the authority's newest list is the one that the log names."""
    with open(ca_file, 'rb') as file:
        authority = x509.load_pem_x509_certificate(file.read())
    issuer = hashlib.sha256(authority.subject.public_bytes()).digest()
    log = me.device.log
    tree, root = log.open_note(log.newest())
    frame = {'type': 'crl_get', 'issuer': issuer, 'number': 0, 'offset': 0, 'tree': tree}
    answer = me.channel.request(frame, 'crl')
    found = x509.load_der_x509_crl(answer['piece'])
    entry = b'\5\0' + u16(0) + u64(answer['server_time']) + hashlib.sha256(answer['piece']).digest()
    entry += u64(milliseconds(found.last_update)) + u64(milliseconds(found.next_update))
    verify_inclusion(leaf(entry), answer['index'], tree, answer['path'], root)
    if answer['size'] != len(answer['piece']) or not found.is_signature_valid(authority.public_key()):
        raise Refused('BAD_PROOF', 'revocation list')
    older = refusal(me.channel.request, {**frame, 'number': answer['count']}, 'crl')
    attested = me.channel.request({'type': 'log_attested', 'size': 1}, 'log_attested')
    say('revocation list', count=answer['count'], older=older, attested=sorted(attested))
