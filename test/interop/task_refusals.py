"""What the server says to each of these, and whether the connection is over: docs/PROTOCOL.md §2, §3, §5."""
import os

import cbor
import login
from steps import flipped, refusal, say


def refusals(me):
    channel = me.connect()
    for title, account in (('wrong password', me.name), ('no such account', 'nobody-at-all')):
        say('refused', title=title, code=refusal(login.log_in, channel, account, 'wrong'), is_over=False)
    channel.request({'type': 'ping'}, 'pong')  # it is open
    channel.bye()
    accounts(me)

    ping = cbor.encode({'type': 'ping', 'id': 7})
    cases = {
        'a counter that comes again': (ping, 0),
        'a counter that was skipped': (ping, 2),
        'an unknown type': (cbor.encode({'type': 'greeting', 'id': 7}), None),
        'no frame': (b'', None),
        'not canonical': (ping.replace(b'bid\x07', b'bid\x18\x07'), None),
        'cut off': (ping[:-1], None),
        'a duplicate key': (bytes.fromhex('a3 626964 07 626964 07') + ping[5:], None),
        'an unknown field': (cbor.encode({'type': 'ping', 'id': 7, 'x': 1}), None),
    }
    for title, (plaintext, counter) in cases.items():
        channel = me.connect()
        channel.request({'type': 'ping'}, 'pong')  # counter 0
        channel.send_plaintext(plaintext, counter)
        _report(title, channel)

    channel = me.connect()
    channel.tls.send((40).to_bytes(4, 'big') + bytes(7) + b'\0' + os.urandom(32))
    _report('another key', channel)

    # who has a certificate and not its key
    me.identity.sign = lambda context, body, sign=me.identity.sign: sign(context, flipped(body))
    say('refused', title='another signature', code=refusal(me.connect().next), is_over=True)


def accounts(me):
    """Names and costs that are not allowed, and who tries too often."""
    channel = me.connect()
    account = {'type': 'register', 'salt': os.urandom(16), 'kdf': login.KDF, 'stored_key': bytes(32), 'server_key': bytes(32)}
    cases = {
        'an account that is there': {'username': me.name, 'email': f'{me.name}@example.org'},
        "somebody else's name": {'username': 'mallory', 'email': f'{me.name}@example.org'},
        "somebody else's address": {'username': me.name, 'email': 'mallory@example.org'},
        'no name': {'username': 'no name', 'email': f'{me.name}@example.org'},
        'a cheap hash': {'username': me.name, 'email': f'{me.name}@example.org', 'kdf': 'argon2id$m=19456,t=2,p=1'},
        'an unknown hash': {'username': me.name, 'email': f'{me.name}@example.org', 'kdf': 'scrypt$n=1'},
    }
    for title, names in cases.items():
        code = refusal(channel.request, {**account, **names}, 'ok')
        say('refused', title=title, code=code, is_over=False)

    answers = []
    for _ in range(40):
        login_frame = {'type': 'login', 'account': 'mallory', 'nonce': os.urandom(24)}
        answers.append(refusal(channel.request, login_frame, 'login_challenge'))
        if answers[-1] is None:
            answers[-1] = refusal(channel.request, {'type': 'login_proof', 'proof': os.urandom(32)}, 'login_ok')
    say('tried', codes={code: answers.count(code) for code in answers})
    channel.bye()


def _report(title, channel):
    error = channel.next()
    try:
        channel.next()
        is_over = False
    except EOFError:
        is_over = True
    say('refused', title=title, code=error.get('code'), is_over=is_over)
