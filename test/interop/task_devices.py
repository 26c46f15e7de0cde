"""Another device of the same user: let in, renewed under another key, and revoked: docs/PROTOCOL.md §5.3, §5.9."""
from cryptography.hazmat.primitives.asymmetric import ed25519

import login
import transcript
from conversation import Conversation, conversation_of, kind_of
from person import PASSWORD
from steps import refusal, say, told
from task_groups import let_in, read


def devices(me, conversation, laptop_files, renewed_files):
    laptop = me.other(*laptop_files)
    laptop.connect()
    laptop.log_in()
    let_in(me.device, conversation)
    there = _let_in(laptop, conversation)
    laptop.device.say(laptop.device.opened(), there.text('from my laptop'))
    told('another device', said=read(me.device, conversation, 1), devices=_list(me))
    another_password(me, laptop)

    renewed = laptop.other(*renewed_files, device_before=laptop.device)
    laptop.channel.bye()
    renewed.connect()
    key, laptop.device.signature_key = laptop.device.signature_key, ed25519.Ed25519PrivateKey.generate()
    false = refusal(renewed.log_in)  # another device's word
    laptop.device.signature_key = key
    renewed.log_in()
    let_in(me.device, conversation)
    there = _let_in(renewed, conversation)
    end, last = laptop.device.session.end()
    renewed.device.session = transcript.Session(renewed.identity, last)
    renewed.device.say(renewed.device.opened(end), there.text('from my renewed laptop'))
    laptop.connect()
    retired = refusal(laptop.log_in)
    told('renewed', said=read(me.device, conversation, 1), devices=_list(me), retired=retired, false=false)

    revoke = {'type': 'device_revoke', 'fingerprint': renewed.identity.fingerprint}
    me.channel.request(revoke, 'ok')
    ended = refusal(renewed.channel.request, {'type': 'sync'}, 'synced')
    renewed.lose()
    let_in(me.device, conversation)
    me.device.say(conversation.text('it is lost'))
    own = refusal(me.channel.request, {**revoke, 'fingerprint': me.identity.fingerprint}, 'ok')
    theirs = next(each for each, user in conversation.roster()[0].items() if user != me.name)
    foreign = refusal(me.channel.request, {**revoke, 'fingerprint': theirs}, 'ok')
    members = sorted(conversation.members().values())
    say('revoked', devices=_list(me), ended=ended, own=own, foreign=foreign, members=members)


def another_password(me, laptop):
    """For a while. Ends the connection of the other device."""
    before = me.resume()['token']
    by_token = refusal(login.set_password, me.channel, 'another one', login.KDF)
    kdf = login.demanded_kdf(me.connect())
    me.log_in()
    me.token = login.set_password(me.channel, 'another one', kdf)['token']
    ended = refusal(laptop.channel.request, {'type': 'sync'}, 'synced')
    void = refusal(login.resume, laptop.connect(), before)
    wrong = refusal(login.log_in, laptop.channel, me.name, PASSWORD)
    laptop.log_in('another one')
    me.resume()
    me.connect()
    me.log_in('another one')
    me.token = login.set_password(me.channel, PASSWORD, kdf)['token']
    laptop.connect()
    laptop.log_in()
    me.resume()
    say('another password', kdf=kdf, by_token=by_token, ended=ended, void=void, wrong=wrong)


def _let_in(person, conversation):
    """By the commit that comes with an invitation for this device."""
    there = Conversation(person.device, conversation.id)
    while there.group is None:
        for item in person.device.delivery()[1]:
            if conversation_of(item) == conversation.id and kind_of(item) == transcript.MEMBERSHIP:
                there.invited(item)
            person.device.keep(item)
    return there


def _list(me):
    """How many there are, and how many of them are revoked and connected."""
    found = me.channel.request({'type': 'device_list'}, 'devices')['devices']
    return [len(found), sum('revoked_at' in each for each in found), sum(each['online'] for each in found)]
