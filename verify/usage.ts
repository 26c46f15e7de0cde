/** What `chat-verify --help` says. */
export const USAGE = `chat-verify: checks what chat-server's transcript proves, offline, trusting only the CA certificates you give

  chat-verify BUNDLE.tar --ca FILE...        one conversation: signatures, log, certificates, order, disclosed texts
  chat-verify LOGDIR --ca FILE...            every entry, signature, certificate, counter and hash of a log directory
  chat-verify chain --ca FILE... --chain FILE   why a certificate chain is accepted or refused (chat-verify chain --help)

options
  --ca FILE       trusted CA certificates (PEM or DER); may be repeated; those inside a transcript are never trusted
  --crl FILE      revocation lists (PEM or DER); may be repeated; a revocation counts from its date on
  --known FILE    a checkpoint that you hold from elsewhere (yours, or another person's): reveals truncation and forks; may be repeated
  --at TIME       judge certificates as of this time, such as 2026-03-01T12:00:00Z, instead of the time of each signature
  --compare FILE  another party's bundle of the same conversation: checks whether both can be true
  --report KIND   html or md: print a report on a bundle as a page, instead of the lines
  --witness VKEY  a witness whose cosignature of the checkpoint counts, or a file with one on each line; may be repeated
  --quorum K      this many of these witnesses must have cosigned (all of them if left out; otherwise exit 11)
  --tsa FILE      trusted CA certificates of time-stamping authorities (PEM or DER); may be repeated
  --require WHAT  recipient-receipt: every message of a bundle needs a receipt signed by somebody other than its author (otherwise
                  exit 11); that this person was a recipient is the word of the server, which logs receipts of members only;
                  timestamp: there must be an RFC 3161 time-stamp that --tsa vouches for (otherwise exit 11); or both,
                  separated by a comma
  --strict        warnings count: exit 11
  --json          one JSON object instead of text
  -q, --quiet     the verdict line only
  --version, -h, --help
BUNDLE.tar comes from chat-client transcript export. LOGDIR is the folder that contains checkpoint, key.stmt and tile; a server may be
writing it. BUNDLE.tar or one FILE may be - for standard input.

exit  0 VALID  10 TAMPERED  11 INCOMPLETE  12 UNTRUSTED  13 unreadable input  14 EQUIVOCATION (fork or rollback)  2 usage

examples
  chat-verify alice-bob.tar --ca ca.crt
  chat-verify alice-bob.tar --ca ca.crt --compare from-bob.tar --report html > report.html
  chat-verify ./transcript --ca ca.crt --crl ca.crl --known alice.checkpoint --strict
  chat-verify alice-bob.tar --ca ca.crt --witness witnesses.txt --quorum 2 --tsa tsa-ca.crt --require timestamp

It does not prove who sat at the keyboard, that nothing was said elsewhere, that what was said is true, or that there are no
entries newer than the checkpoint it was given.`;

/**
 * Of what parseArgs() throws, the sentence that says what is wrong; what follows in it is advice for other programs. That no value follows an
 * option it says in two ways, one of them that the next option might have been the value.
 */
export const faultOf = ({ message }: Error): string =>
  (/^[^]*?(?=\.\s|$)/.exec(message)?.[0] ?? message)
    .replace(/^[A-Z]/, (letter) => letter.toLowerCase())
    .replace(/^(option '[^' ]+)(?: <value>)?' argument (?:missing|is ambiguous)$/, "$1' wants a value");
