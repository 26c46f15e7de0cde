"""A conversation and the group that can read it: docs/PROTOCOL.md §5.4 to §5.9, docs/TRANSCRIPT.md §a."""
import hashlib
import hmac
import os

import cbor
import transcript
from identity import Refused, spki
from integers import number, u32
from key_package import reference_of
from labels import Reader, raw_public, vector
from merkle import leaf
from mls import Group, GroupInfo, group_info_message

TEXT = 'text/plain;charset=utf-8'
RENDER, REACTION = 1, 2


class Conversation:
    def __init__(self, device, conversation_id):
        self.id = conversation_id
        self._device = device
        self.group, self.generation = None, 0
        self._pending = None  # what a commit of ours makes
        self._before = None  # the group of the epoch before: messages may still come in it

    # who is in it

    def roster(self):
        """Username by fingerprint of a device, and the roster hash: by the word of the server."""
        frame = {'type': 'conversation_get', 'conversation': self.id}
        answer = self._device.channel.request(frame, 'conversation')
        devices = {each: member['username'] for member in answer['members'] for each in member['devices']}
        return devices, transcript.roster_hash(answer)

    def members(self):
        """Of the group: username by fingerprint."""
        found = [self._device.member(each) for each in self.group.tree.leaves().values()]
        return {fingerprint: user for user, _, fingerprint in found}

    @property
    def rules(self):
        return cbor.decode(self.group.settings)

    # how it begins

    def make(self, rules):
        """A group of this device alone; it begins with the first commit."""
        self.generation += 1
        self.group = Group.create(self._device.new_package(), self._group_id(), cbor.encode(rules))

    def invited(self, item):
        """By an item of kind 5 that has an invitation for us."""
        _commit, group_info, tree, invitation = item['parts']
        key = hashlib.sha256(spki(self._device.identity.certificate)).digest()
        if tree != b'' or invitation[:32] != key:
            raise Refused('BAD_FRAME', 'invitation')
        reader = Reader(invitation[32:])
        reference = reader.take(reader.uint(1))
        if reader.vector() != reference:
            raise Refused('BAD_FRAME', 'reference')
        package = self._device.package(reference)
        group = Group.welcomed(package, group_info, reader.rest())
        self.generation = item['generation']
        if group.id != self._group_id() or group.epoch != item['epoch'] + 1:
            raise Refused('BAD_FRAME', 'group')
        self._check_author(group.signer, item)
        self.group, self._before = group, None
        self.members()  # each has a good binding

    def enter(self):
        """
        From outside, by what the server has of the group; a leaf that was ours before goes.
        Answers an item for `say`; `done` when that is acknowledged.
        """
        frame = {'type': 'group_get', 'conversation': self.id}
        state = self._device.channel.request(frame, 'group')
        self.generation = state['generation']
        reader = Reader(state['group_info'])
        info = GroupInfo.of_message(reader.take(reader.uint(4)))
        if reader.rest() or (info.id, info.epoch) != (self._group_id(), state['epoch']):
            raise Refused('BAD_FRAME', 'group_info')
        former = [i for i, each in info.leaves().items() if each['signature_key'] == raw_public(self._device.signature_key)]

        def make_parts(data):
            message, self._pending = Group.entered(self._device.new_package(), info, data, former)
            return [message]
        return self._with_info(self._change(make_parts, state['epoch']))

    # how it is changed

    def commit(self, new=(), gone=()):
        """Lets devices in, by fingerprint, and others out; with neither, fresh keys. As `enter`."""
        devices, _ = self.roster()
        packages = self._device.take_packages(self.id, {each: devices[each] for each in new}) if new else []
        leaves = self.group.tree.leaves().items()
        removed = [index for index, each in leaves if self._device.member(each)[2] in gone]

        def make_parts(data):
            made = self.group.commit(data, removed, packages)
            self._pending = made.group
            if not packages:
                return [made.message]
            info, secrets = made.welcome()
            invitations = []
            for package, sealed in secrets:
                reference = reference_of(package['encoded'])
                head = package['invitation'] + bytes([len(reference)]) + reference
                invitations.append(head + vector(reference) + sealed)
            return [made.message, info, b'', *invitations]
        return self._with_info(self._change(make_parts, self.group.epoch))

    def done(self):
        """The commit was acknowledged."""
        self._before, self.group, self._pending = self.group, self._pending, None

    def _change(self, make_parts, epoch):
        item = self._device.session.change(self.id, self.roster()[1], make_parts)
        return {**item, 'group': {'generation': self.generation, 'epoch': epoch}}

    def _with_info(self, item):
        info = group_info_message(self._pending)
        return {**item, 'group_info': u32(len(info)) + info}

    def take(self, item):
        """Somebody's commit: judged by the rules of the conversation alone. Answers who came and went."""
        if (item['generation'], item['epoch']) != (self.generation, self.group.epoch):
            raise Refused('BAD_FRAME', 'epoch')
        taken = self.group.take(item['parts'][0])
        self._check_author(taken.author, item)
        if taken.authenticated != transcript.associated_data(item['statement']):
            raise Refused('BAD_FRAME', 'associated data')
        here = set(self.members().values())
        came = [self._device.member(each)[0] for each in taken.added]
        went = [self._device.member(each)[0] for each in taken.removed]
        author = self._device.member(taken.author)
        rules = self.rules
        if rules['kind'] == 'direct' and not {author[0], *came} <= set(rules['users']):
            raise Refused('BAD_FRAME', 'somebody else in a direct conversation')
        if taken.is_from_outside:
            if rules['kind'] == 'room' and not rules['public'] and author[0] not in here:
                raise Refused('BAD_FRAME', 'from outside into a private room')
            if any(self._device.member(each)[:2] != author[:2] for each in taken.removed):
                raise Refused('BAD_FRAME', 'removes somebody else')
            came = [*came, author[0]]
        self._before, self.group = self.group, taken.group
        return {'by': author[0], 'came': came, 'went': went}

    # what is written

    def text(self, body, **more):
        """A message of ours."""
        return self.content(content(body, **more))

    def delete(self, message):
        """One of ours, by its id: what it said is forgotten here as well."""
        del self._device.openings[message]
        return self.content(content(None, replaces=message))

    def content(self, encoded, expires_at=None):
        opening = os.urandom(32) + encoded
        padded = _padded(opening)
        size = self.group.sealed_size(len(transcript.associated_data(bytes(248))), len(padded))
        roster = self.roster()[1]
        item = self._device.session.message(self.id, roster, opening, lambda data: self.group.seal(data, padded), size)
        self._device.openings[leaf(item['statement'])] = opening
        item['group'] = {'generation': self.generation, 'epoch': self.group.epoch}
        return item if expires_at is None else {**item, 'expires_at': expires_at}

    def opening(self, item):
        """Of an item of kind 1: kf and plaintext, which are what its sender has committed to."""
        statement, group = item['statement'], self.group
        if self._before is not None and item['epoch'] == self._before.epoch:
            group = self._before
        if (item['generation'], item['epoch']) != (self.generation, group.epoch):
            state = f"epoch {item['generation']}/{item['epoch']}, here {self.generation}/{self.group.epoch}"
            raise Refused('BAD_FRAME', state)
        sender, authenticated, padded = group.open(item['parts'][0])
        self._check_author(sender, item)
        if authenticated != transcript.associated_data(statement):
            raise Refused('BAD_FRAME', 'associated data')
        opening = padded.rstrip(b'\0')[:-1]
        if padded != _padded(opening):
            raise Refused('BAD_FRAME', 'padding')
        if not hmac.compare_digest(transcript.commitment(opening, statement), statement[184:216]):
            raise Refused('BAD_PROOF', 'commitment')
        self._device.openings[leaf(statement)] = opening
        return opening

    def read(self, item):
        """What an item of kind 1 says, by the table of docs/TRANSCRIPT.md §a."""
        content_bytes = self.opening(item)[32:]
        heard = self._device.gossip.heard(self._device.channel, self.id, cbor.decode(content_bytes)[5])
        return {**read_content(content_bytes), 'told': heard}

    def _group_id(self):
        return hashlib.sha256(b'chat/1 group\0' + self.id + u32(self.generation)).digest()

    def _check_author(self, member, item):
        """That a leaf is bound to the certificate that has signed the statement."""
        if self._device.member(member)[2] != item['statement'][16:48]:
            raise Refused('BAD_FRAME', 'another author')


def content(body, replaces=None, in_reply_to=None, disposition=RENDER, expires=None, extensions=None):
    """Without a body: a deletion."""
    part = [disposition, '', 0] if body is None else [disposition, '', 1, TEXT, body.encode()]
    return encode_content(part, replaces, in_reply_to, expires, extensions)


def encode_content(part, replaces=None, in_reply_to=None, expires=None, extensions=None):
    return cbor.encode([os.urandom(16), replaces, b'', expires, in_reply_to, extensions or {}, part])


def read_content(data):
    _salt, replaces, _topic, _expires, in_reply_to, _extensions, part = cbor.decode(data)
    disposition, _language, cardinality, *rest = part
    found = {'text': rest[1].decode() if cardinality == 1 and rest[0] == TEXT else None}
    if replaces is not None:
        return {**found, 'is': 'deletion' if cardinality == 0 else 'edit', 'of': replaces.hex()}
    if in_reply_to is not None:
        return {**found, 'is': 'reaction' if disposition == REACTION else 'answer', 'of': in_reply_to.hex()}
    return {**found, 'is': 'message'}


def kind_of(item):
    return item['statement'][8]


def id_of(item):
    return leaf(item['statement'])


def conversation_of(item):
    return item['statement'][80:112]


def counter_of(item):
    return number(item['statement'][112:120])


def _padded(opening):
    """To a size class, §5.9 `Sealing`."""
    size = 256
    while size < len(opening) + 1:
        size *= 2
    return opening + b'\x80' + bytes(size - len(opening) - 1)
