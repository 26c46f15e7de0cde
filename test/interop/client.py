"""What interop.test.ts has this client do (docs/PROTOCOL.md §1 to §6): each step is a line of JSON on standard output."""
import sys

from person import Person
from steps import say
from task_converse import converse
from task_groups import direct, hall, room
from task_lines import away, closes, refused_batches, repeats, too_fast
from task_refusals import refusals


def talk(me, answer):
    conversation = converse(me, answer)
    direct(me, 'carol')
    room(me, '#plan', 'alice', 'carol')
    hall(me, '#hall')
    away(me, conversation)
    repeats(me, conversation)
    refused_batches(me, conversation)
    closes(me, conversation)
    too_fast(me)
    me.device.say(me.device.closed())
    log = me.device.log
    say('closed', notes=[log.notes[size] for size in sorted(log.notes)])
    say('ended', bye=me.channel.bye())


TASKS = {'talk': talk, 'refusals': refusals}


def main(task, port, ca_file, name, certificate_file, key_file, *words):
    TASKS[task](Person(int(port), ca_file, name, certificate_file, key_file), *words)


if __name__ == '__main__':
    main(*sys.argv[1:])
