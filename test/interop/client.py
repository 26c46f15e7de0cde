"""What interop.test.ts has this client do (docs/PROTOCOL.md §1 to §6): each step is a line of JSON on standard output."""
import sys

from person import Person
from steps import say
from task_audit import audit, export, read_export
from task_converse import converse
from task_devices import devices
from task_frames import blobs, people, revocation_list, rooms
from task_groups import again, direct, hall, last_resort, room
from task_history import history
from task_lines import away, closes, refused_batches, repeats, too_fast
from task_refusals import refusals


def talk(me, answer, bundle_file, *other_files):
    """`other_files`: certificate and key of another device, and of the same one when it is renewed."""
    first = converse(me, answer)
    second = direct(me, 'carol')
    room(me, '#plan', 'alice', 'carol')
    hall(me, '#hall')
    away(me, first)
    repeats(me, first)
    refused_batches(me, first)
    devices(me, first, other_files[:2], other_files[2:])
    again(me, first)
    last_resort(me)
    closes(me, first)
    export(me, second, bundle_file)
    people(me, 'carol')
    rooms(me, '#plan', '#hall', 'carol')
    blobs(me)
    revocation_list(me, me.ca_file)
    too_fast(me)
    me.device.say(me.device.closed())
    log = me.device.log
    say('closed', notes=[log.notes[size] for size in sorted(log.notes)])
    say('ended', bye=me.channel.bye())


def as_somebody(task):
    def run(port, ca_file, name, certificate_file, key_file, *words):
        task(Person(int(port), ca_file, name, certificate_file, key_file), *words)
    return run


TASKS = {
    'talk': as_somebody(talk),
    'refusals': as_somebody(refusals),
    'history': as_somebody(history),
    'audit': audit,
    'read': read_export,
}

if __name__ == '__main__':
    TASKS[sys.argv[1]](*sys.argv[2:])
