"""Conversations and rooms that this client makes, changes, leaves and enters again: docs/PROTOCOL.md §5.4, §5.7 to §5.9."""
import transcript
from conversation import REACTION, Conversation, conversation_of, id_of, kind_of
from identity import Refused
from steps import refusal, say, told


def begin_direct(me, peer):
    """A conversation with somebody who has key packages, and its group."""
    device = me.device
    answer = me.channel.request({'type': 'conversation_open', 'peer': peer}, 'conversation')
    if sorted(member['username'] for member in answer['members']) != sorted([me.name, peer]):
        raise Refused('BAD_FRAME', 'members')
    conversation = Conversation(device, answer['conversation'])
    conversation.make({'v': 1, 'kind': 'direct', 'users': sorted([me.name, peer])})
    let_in(device, conversation)
    return conversation


def let_in(device, conversation):
    """Everybody who is in the roster and not in the group; and out, who is not in the roster."""
    roster, members = set(conversation.roster()[0]), set(conversation.members())
    if roster == members:
        return
    try:
        device.say(conversation.commit(new=roster - members, gone=members - roster))
        conversation.done()
    except Refused as refused:
        if refused.args != ('STALE', 'epoch'):
            raise
        for item in device.delivery()[1]:  # what has overtaken us
            conversation.take(item)
            device.keep(item)
        let_in(device, conversation)


def direct(me, peer):
    device = me.device
    conversation = begin_direct(me, peer)
    first, second = conversation.text('first'), conversation.text('second')
    more = [
        conversation.text('first, edited', replaces=id_of(first)),
        conversation.delete(id_of(second)),
        conversation.text('+1', in_reply_to=id_of(first), disposition=REACTION),
        conversation.text('third', in_reply_to=id_of(first)),
    ]
    device.say(first, second, *more)
    told('direct', ids=[id_of(item).hex() for item in [first, second, *more]])
    found = read(device, conversation, 1)
    say('answered', said=found, members=sorted(conversation.members().values()))
    return conversation


def read(device, conversation, count):
    """Until so many messages have come; commits are taken in. Of what somebody else wrote there is a receipt."""
    found = []
    while len(found) < count:
        for item in device.delivery()[1]:
            device.keep(item)
            if conversation_of(item) != conversation.id:
                continue
            if kind_of(item) == transcript.MEMBERSHIP:
                change = conversation.take(item)
                say('change', **change)
            elif kind_of(item) == transcript.MESSAGE:
                sender, said = device.sender_of(item['statement']), conversation.read(item)
                found.append({'from': sender, **said})
                if sender != device.identity.name:
                    device.say(device.receipt(transcript.DELIVERED, conversation.id, [id_of(item)], sender))
    return found


def changed(me, what):
    """Waits for that notice about a room."""
    while True:
        notice = me.channel.notice('room_changed')
        if notice['change'] == what:
            return notice


def room(me, name, first, second):
    """A private room that this client makes, lets two people into, and changes with one of them."""
    device, channel = me.device, me.channel
    made = channel.request({'type': 'room_create', 'room': name, 'visibility': 'private', 'topic': 'plans'}, 'room')
    conversation = Conversation(device, made['conversation'])
    conversation.make({'v': 1, 'kind': 'room', 'room': name, 'public': False, 'owner': me.name})
    for user in (first, second):
        channel.request({'type': 'room_invite', 'room': name, 'username': user}, 'room')
    channel.request({'type': 'room_role', 'room': name, 'username': first, 'role': 'admin'}, 'room')
    let_in(device, conversation)
    device.say(conversation.text('at noon'))
    # the first puts the second out, and says so
    told('room')
    device.say(conversation.text('in the epoch before'))
    found = read(device, conversation, 1)
    say('without', said=found, members=sorted(conversation.members().values()))
    # both again, new keys, and out once more, by this client
    channel.request({'type': 'room_invite', 'room': name, 'username': second}, 'room')
    let_in(device, conversation)
    device.say(conversation.commit())
    conversation.done()
    device.say(conversation.text('all here'))
    told('all here')
    channel.request({'type': 'room_kick', 'room': name, 'username': second}, 'room')
    let_in(device, conversation)
    device.say(conversation.text('two of us'))
    # all is forgotten, and this device comes back by itself
    again = Conversation(device, conversation.id)
    device.say(again.enter())
    again.done()
    device.say(again.text('back again'))
    told('entered', members=sorted(again.members().values()))
    found = read(device, again, 1)
    say('heard', said=found)
    return again


def hall(me, name):
    """A public room: who joins first is let in, who comes then has to come by himself."""
    device, channel = me.device, me.channel
    made = channel.request({'type': 'room_create', 'room': name, 'visibility': 'public'}, 'room')
    conversation = Conversation(device, made['conversation'])
    conversation.make({'v': 1, 'kind': 'room', 'room': name, 'public': True, 'owner': me.name})
    device.say(conversation.commit())
    conversation.done()
    say('hall')
    joined = changed(me, 'joined')
    let_in(device, conversation)
    say('let in', by=joined['by'], turn=joined.get('turn'), members=sorted(conversation.members().values()))
    found = read(device, conversation, 1)
    say('hall heard', said=found, members=sorted(conversation.members().values()))
    joined = changed(me, 'joined')
    told('joined', by=joined['by'], turn=joined.get('turn'))
    stale = refusal(device.say, conversation.commit())  # his own commit was faster
    found = read(device, conversation, 1)
    device.say(conversation.commit())
    conversation.done()
    say('hall heard again', stale=stale, said=found, members=sorted(conversation.members().values()))
    return conversation


def again(me, conversation):
    """The next generation of a group: another one in its place, made by this device alone."""
    conversation.make(conversation.rules)
    let_in(me.device, conversation)
    me.device.say(conversation.text('in another group'))
    told('another group', generation=conversation.generation)
    found = read(me.device, conversation, 1)
    say('answered there', said=found, generation=conversation.generation)


def last_resort(me):
    """Somebody lets us in when no ordinary key package of ours is left; then the first thing are fresh keys."""
    device = me.device
    count = device.publish_packages(0, fresh=True)
    device.publish_packages(1, last_resort=True)
    told('last resort', count=count)
    conversation = None
    while conversation is None:
        for item in device.delivery()[1]:
            device.keep(item)
            if kind_of(item) == transcript.MEMBERSHIP:
                conversation = Conversation(device, conversation_of(item))
                conversation.invited(item)
    device.say(conversation.commit())
    conversation.done()
    device.say(conversation.text('by the last resort'))
    device.publish_packages(3)
    told('let in by it', members=sorted(conversation.members().values()), rules=conversation.rules)
