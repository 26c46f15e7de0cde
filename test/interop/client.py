"""What interop.test.ts has this client do (docs/PROTOCOL.md §1 to §6): each step is a line of JSON on standard output."""
import json
import os
import sys

import cbor
import login
import transcript
from channel import FFDHE3072, X25519, X25519MLKEM768, Channel, Direction
from device import Device
from identity import Identity, Refused
from log import Log
from merkle import check_consistency, leaf

PASSWORD = 'staple battery horse'


def say(step, **what):
    print(json.dumps({'step': step, **what}), flush=True)


def converse(connect, ca_file, peer, answer):
    """An account, a conversation that `peer` begins, and the end of the session."""
    for suite in (X25519MLKEM768, X25519, FFDHE3072):
        channel = connect([suite])
        say('handshake', suite=channel.suite, bye=channel.bye())

    channel = connect()
    name = channel.identity.name
    login.register(channel, name, f'{name}@example.org', PASSWORD)
    first = login.log_in(channel, name, PASSWORD)
    origin = Log(channel.server_certificate, first['log']).origin
    channel.bye()
    channel = connect()
    again = login.resume(channel, first['token'])
    log = Log(channel.server_certificate, again['log'])
    say('resumed', users=[first['username'], again['username']], origins=[origin, log.origin])

    device = Device(channel, log, ca_file)
    say('waiting')
    rules, text = None, None
    while text is None:
        delivery, items = device.delivery()
        for item in items:
            if item['statement'][8] == transcript.MEMBERSHIP:
                rules = device.enter(item, peer)
            else:
                message, text = item['statement'], device.read(item, peer)
            channel.send({'type': 'msg_received', 'cursors': [item['cursor']]})
    say('read', rules=rules, text=text, altered=altered(device, delivery))

    channel.rekey()
    conversation = message[80:112]
    items = [device.opened(), device.receipt(message, peer), device.text(conversation, answer)]
    device.session.send(channel, items)
    written = leaf(items[-1]['statement'])
    say('written')
    _, items = device.delivery()
    receipt = items[0]['statement']
    kind, about, part = receipt[8], receipt[80:112], items[0]['parts'][0]
    channel.send({'type': 'msg_received', 'cursors': [items[0]['cursor']]})
    say('receipt', is_delivered=(kind, about, part) == (transcript.DELIVERED, conversation, written))

    device.session.send(channel, [device.closed()])
    sizes = sorted(log.notes)
    say('closed', altered=consistency(channel, log, sizes[0], sizes[-1]), notes=[log.notes[size] for size in sizes])
    say('ended', bye=channel.bye())


def consistency(channel, log, first, second):
    """docs/PROTOCOL.md §6.4, between two checkpoints; answers what becomes of a proof that was altered."""
    frame = {'type': 'log_consistency', 'from': first, 'to': second}
    hashes = channel.request(frame, 'log_consistency')['hashes']
    roots = [log.open_note(log.notes[size])[1] for size in (first, second)]
    check_consistency(first, roots[0], second, roots[1], hashes)
    return [refusal(check_consistency, first, roots[0], second, roots[1], wrong) for wrong in (
        [*hashes[:-1], flipped(hashes[-1])],
        [flipped(hashes[0]), *hashes[1:]],
        hashes[:-1],
        [*hashes, hashes[-1]],
    )]


def altered(device, delivery):
    """What becomes of a delivery, a checkpoint and a record in which one bit or number is another one: these checks bite."""
    def check(frame):
        transcript.check_delivery(device.log, device.certificate(delivery['batch'][8:40]), frame)

    def with_item(**change):
        return {**delivery, 'items': [{**delivery['items'][0], **change}, *delivery['items'][1:]]}

    check(delivery)
    ack, part = delivery['ack'], delivery['items'][0]['parts'][0]
    statement = delivery['items'][0]['statement']
    note = next(iter(device.log.notes.values()))
    sender, receiver = Direction(bytes(32)), Direction(bytes(32))
    record = sender.seal(b'once')
    receiver.open(record)
    return {
        'signature': refusal(check, {**delivery, 'signature': flipped(delivery['signature'])}),
        'batch': refusal(check, {**delivery, 'batch': flipped(delivery['batch'])}),
        'statement': refusal(check, with_item(statement=flipped(statement[:80]) + statement[80:])),
        'part': refusal(check, with_item(parts=[flipped(part)])),
        'server time': refusal(check, {**delivery, 'ack': ack[:25] + flipped(ack[25:26]) + ack[26:]}),
        'proof': refusal(check, {**delivery, 'ack': ack[:35] + flipped(ack[35:67]) + ack[67:]}),
        'checkpoint': refusal(device.log.open_note, note.replace('\n', '\n1', 1)),
        'counter': refusal(receiver.open, record),
    }


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def refusal(check, *args):
    """The code, and what it is about; None when nothing was wrong."""
    try:
        check(*args)
    except Refused as refused:
        return ' '.join(filter(None, refused.args))
    return None


def refusals(connect):
    """What the server says to each of these, and whether the connection is over."""
    channel = connect()
    name = channel.identity.name
    for title, account in (('wrong password', name), ('no such account', 'nobody-at-all')):
        say('refused', title=title, code=refusal(login.log_in, channel, account, 'wrong'), is_over=False)
    channel.request({'type': 'ping'}, 'pong')  # it is open
    channel.bye()

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
        channel = connect()
        channel.request({'type': 'ping'}, 'pong')  # counter 0
        channel.send_plaintext(plaintext, counter)
        report(title, channel)

    channel = connect()
    channel.tls.send((40).to_bytes(4, 'big') + bytes(7) + b'\0' + os.urandom(32))
    report('another key', channel)


def report(title, channel):
    error = channel.next()
    try:
        channel.next()
        is_over = False
    except EOFError:
        is_over = True
    say('refused', title=title, code=error.get('code'), is_over=is_over)


def main(task, port, ca_file, name, certificate_file, key_file, *words):
    identity = Identity(name, certificate_file, key_file)

    def connect(suites=(X25519MLKEM768, X25519)):
        return Channel(identity, int(port), ca_file, suites)

    if task == 'converse':
        converse(connect, ca_file, *words)
    else:
        refusals(connect)
        # who has a certificate and not its key
        identity.sign = lambda context, body, sign=identity.sign: sign(context, flipped(body))
        say('refused', title='another signature', code=refusal(connect().next), is_over=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
