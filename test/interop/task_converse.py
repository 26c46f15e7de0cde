"""An account, a conversation that somebody else begins, and what becomes of anything that was altered."""
import login
import transcript
from channel import FFDHE3072, X25519, X25519MLKEM768, Direction
from conversation import Conversation, conversation_of, id_of, kind_of
from log import Log
from person import PASSWORD
from steps import flipped, refusal, say


def converse(me, answer):
    for suite in (X25519MLKEM768, X25519, FFDHE3072):
        channel = me.connect([suite])
        say('handshake', suite=channel.suite, bye=channel.bye())

    me.register()
    first = login.log_in(me.channel, me.name, PASSWORD)
    origin = Log(me.channel.server_certificate, first['log']).origin
    me.channel.bye()
    me.token = first['token']
    again = me.resume()
    say('resumed', users=[first['username'], again['username']], origins=[origin, me.device.log.origin])

    device, said = me.device, None
    say('waiting')
    while said is None:
        delivery, items = device.delivery()
        for item in items:
            if kind_of(item) == transcript.MEMBERSHIP:
                conversation = Conversation(device, conversation_of(item))
                conversation.invited(item)
            else:
                message, sender, said = item, device.sender_of(item['statement']), conversation.read(item)
            device.keep(item)
    say('read', rules=conversation.rules, sender=sender, said=said, altered=altered(device, delivery))

    me.channel.rekey()
    items = [device.opened(), device.receipt(transcript.DELIVERED, conversation.id, [id_of(message)], sender)]
    statement = message['statement']
    items.append(conversation.text(answer, extensions=device.gossip.extensions(statement, id_of(message))))
    device.say(*items)
    say('written')
    _, [item] = device.delivery()
    facts = kind_of(item), conversation_of(item), item['parts'][0]
    device.keep(item)
    say('receipt', is_delivered=facts == (transcript.DELIVERED, conversation.id, id_of(items[-1])))

    log = device.log
    sizes = sorted(log.notes)
    hashes = log.prove(me.channel, sizes[0], sizes[-1])
    wrong = [*hashes[:-1], flipped(hashes[-1])], [flipped(hashes[0]), *hashes[1:]], hashes[:-1], [*hashes, hashes[-1]]
    say('proven', altered=[refusal(log.prove, me.channel, sizes[0], sizes[-1], each) for each in wrong])
    return conversation


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
