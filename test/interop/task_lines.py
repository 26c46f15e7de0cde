"""Connections that are lost, batches that are refused or repeated, sessions that end: docs/PROTOCOL.md §5, §5.5, §5.6."""
import hashlib
import os
import time

import transcript
from conversation import conversation_of, id_of, kind_of
from integers import u64
from merkle import leaf, tree_root
from steps import flipped, refusal, say, told


def away(me, conversation):
    """What comes for a device that is away waits until the device says that it has it."""
    me.lose()
    told('away')
    drained, behind = [], None
    for keeps in (False, True, False):
        me.resume()
        items = [item for item in me.device.waiting() if conversation_of(item) == conversation.id]
        drained.append([(kind_of(item), item['seq'], item['cursor']) for item in items])
        if behind is None:
            me.channel.send({'type': 'msg_skipped', 'cursors': [item['cursor'] for item in items]})
            behind = me.device.waiting()
        if keeps:
            said = [conversation.read(item) for item in items if kind_of(item) == transcript.MESSAGE]
            messages = [id_of(item) for item in items if kind_of(item) == transcript.MESSAGE]
            me.device.keep(*items)
            me.device.say(*[
                me.device.receipt(kind, conversation.id, messages, me.device.sender_of(items[-1]['statement']))
                for kind in (transcript.DELIVERED, transcript.READ)
            ])
        me.lose()
    me.resume()
    say('drained', said=said, behind=behind, is_same=drained[0] == drained[1], rest=drained[2])


def repeats(me, conversation):
    """A batch whose answer was lost is sent again, and stands where it stood."""
    device = me.device
    frame = device.session.sign(device.log, [conversation.text('said once')])
    me.channel.send({'id': 1_000, **frame})
    me.lose()
    me.resume()
    first = device.deliver(frame)['ack'][:26]
    second = device.deliver(frame)['ack'][:26]
    other = {**frame, 'batch': frame['batch'][:68] + u64(1) + frame['batch'][76:]}  # another time of signing
    other['signature'] = me.identity.sign('chatlog/v1, sender batch', other['batch'])
    used = refusal(me.channel.request, other, 'msg_ack')
    say('repeated', is_same=first == second, other_bytes=used)  # of `first`, count and server time


def refused_batches(me, conversation):
    """Each is wrong in one thing, and leaves no trace: what is right is taken after all of them."""
    device, session = me.device, me.device.session
    other = transcript.Session(device.identity)
    zeros, end = bytes(32), os.urandom(16) + u64(5) + os.urandom(32)

    def of(make, change=lambda frame: frame):
        def send():
            frame = change(session.sign(device.log, [make()]))
            session.deliver(me.channel, device.log, frame)
        return refusal(send)

    def text():
        return conversation.text('not this')

    def resigned(change):
        def altered(frame):
            batch = change(frame['batch'])
            return {**frame, 'batch': batch, 'signature': sign(batch)}
        return altered

    def sign(batch):
        return device.identity.sign('chatlog/v1, sender batch', batch)

    def restated(change):
        """Another statement, under a batch that is right for it."""
        def altered(frame):
            item = frame['messages'][0]
            statement = change(item['statement'])
            batch = frame['batch'][:108] + tree_root([leaf(statement)]) + frame['batch'][140:]
            return {**frame, 'messages': [{**item, 'statement': statement}], 'batch': batch, 'signature': sign(batch)}
        return altered

    def with_item(**change):
        return lambda frame: {**frame, 'messages': [{**frame['messages'][0], **change}]}

    def without_group(frame):
        item = {key: value for key, value in frame['messages'][0].items() if key != 'group'}
        return {**frame, 'messages': [item]}

    def later(statement):
        return statement[:64] + u64(int.from_bytes(statement[64:72], 'big') + 1) + statement[72:]

    state = {'generation': conversation.generation, 'epoch': conversation.group.epoch}
    cases = {
        'another signature': of(text, lambda frame: {**frame, 'signature': flipped(frame['signature'])}),
        'another part': of(text, lambda frame: with_item(parts=[flipped(frame['messages'][0]['parts'][0])])(frame)),
        'for another log': of(text, resigned(lambda batch: batch[:140] + hashlib.sha256(b'elsewhere').digest())),
        'another batch before': of(text, resigned(lambda batch: batch[:76] + os.urandom(32) + batch[108:])),
        'another root': of(text, resigned(lambda batch: batch[:108] + os.urandom(32) + batch[140:])),
        'a counter too far': of(text, resigned(lambda batch: batch[:56] + u64(1_000) + batch[64:])),
        'a statement too far': of(text, restated(later)),
        'a place too far': of(text, restated(lambda s: s[:112] + u64(900) + s[120:])),
        'another link': of(text, restated(lambda s: s[:120] + os.urandom(32) + s[152:])),
        'another roster': of(text, restated(lambda s: s[:152] + os.urandom(32) + s[184:])),
        'no link': of(text, restated(lambda s: s[:120] + zeros + s[152:])),
        'not encrypted': of(text, without_group),
        'another epoch': of(text, with_item(group={**state, 'epoch': state['epoch'] + 1})),
        'another generation': of(text, with_item(group={**state, 'generation': state['generation'] + 1})),
        'somebody else\'s': of(text, restated(lambda s: s[:80] + os.urandom(32) + s[112:])),
        'the end of a session that never was': refusal(
            other.send, me.channel, device.log, [other.clear(transcript.OPENED, end)],
        ),
    }
    device.say(conversation.text('but this'))
    say('refused batches', **cases)


def closes(me, conversation):
    """A session is closed, nothing follows it, and the next one says how it ended."""
    device = me.device
    device.say(device.closed())
    behind = refusal(device.say, conversation.text('behind the end'))
    end, last = device.session.end()
    device.session = transcript.Session(device.identity, last)
    device.say(device.opened(end), conversation.text('another session'))
    say('session closed', behind=behind)


def too_fast(me):
    """More requests than are allowed in a minute: one is refused with a time, and after that all goes on."""
    channel, asked, refused = me.channel, 0, []
    while not refused and asked < 20_000:
        pings = [{'type': 'ping', 'id': 1_000_000 + asked + i} for i in range(500)]
        channel.send(*pings)
        asked += len(pings)
        answers = []
        while len(answers) < len(pings):
            answers += [frame for frame in [channel.next()] if frame['type'] in ('pong', 'error')]
        refused = [frame for frame in answers if frame['type'] == 'error']
    time.sleep(max(frame['retry_after_ms'] for frame in refused) / 1_000)
    channel.request({'type': 'ping'}, 'pong')
    say('too fast', codes=sorted({frame['code'] for frame in refused}))
