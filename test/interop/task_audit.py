"""What this client proves to others: a bundle of a conversation, and what it reads in the log's directory."""
from audit import Directory
from bundle import write_bundle
from steps import flipped, refusal, say


def export(me, conversation, file, is_complete=True):
    with open(file, 'wb') as out:
        out.write(write_bundle(me.device, conversation.id, is_complete))
    say('exported')


def audit(path, *note_files):
    directory = Directory(path)
    counts = directory.check()
    for each in note_files:
        with open(each, encoding='utf-8') as file:
            directory.check_note(file.read())
    say('audited', size=directory.size, counts=counts)
    at = next(i for i, entry in enumerate(directory.entries) if entry[0] == 1)
    directory.entries[at] = flipped(directory.entries[at])
    say('audited again', code=refusal(directory.check))
