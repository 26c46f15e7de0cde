"""What this client proves to others: a bundle of a conversation, and what it reads in the log's directory."""
from OpenSSL import crypto

from audit import Directory
from bundle import read_bundle, write_bundle
from steps import flipped, refusal, say


def export(me, conversation, file, is_complete=True):
    with open(file, 'wb') as out:
        out.write(write_bundle(me.device, conversation.id, is_complete))
    say('exported')


def read_export(file, ca_file):
    """A bundle of a real client."""
    authority = crypto.X509Store()
    with open(ca_file, 'rb') as each:
        authority.add_cert(crypto.load_certificate(crypto.FILETYPE_PEM, each.read()))

    def believed(certificate_der):
        shown = crypto.load_certificate(crypto.FILETYPE_ASN1, certificate_der)
        crypto.X509StoreContext(authority, shown).verify_certificate()
        return shown.to_cryptography()
    with open(file, 'rb') as each:
        data = each.read()
    say('read', said=read_bundle(data, believed))
    at = data.index(b'clog-ms1') + 20
    say('read again', code=refusal(read_bundle, data[:at] + flipped(data[at:at + 1]) + data[at + 1:], believed))


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
