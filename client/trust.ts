/**
 * What the client believes about a server's log, and when it stops believing. A log has one key for ever; every checkpoint it signs is
 * kept; each must be shown to be one history with the others. Whatever contradicts that ends the session, and both notes are kept.
 */
import { concat, equal, fromUtf8, utf8, type Hash } from '../base/bytes.ts';
import { decode, encode } from '../base/cbor.ts';
import { ChatError, CODES } from '../base/errors.ts';
import type { Reply } from '../protocol/messages.ts';
import { openCheckpoint, type Checkpoint } from '../transcript/checkpoint.ts';
import { openKeyStatement, parseOrigin, type KeyStatement } from '../transcript/key-statement.ts';
import { formatVkey, parseNote, parseVkey, type VerifierKey } from '../transcript/note.ts';
import { isConsistent } from '../transcript/proof.ts';
import { followersOf } from '../transcript/takeovers.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import { checkServerName } from '../x509/server-name.ts';
import type { LogKeyRecord } from './archive.ts';
import { PROVABLE, type Alarm, type Ledger, type SeenCheckpoint } from './ledger.ts';
import type { Requester } from './requester.ts';

/**
 * The key of the log that this server writes, pinned at first sight.
 * @param server certificate of the link
 * @param warn told when the server writes a new log after an older one
 * @throws FORK when the log has another key than before; ROLLBACK when the server went back to an older log
 * @throws SIG_FAIL/log_key, BAD_CERT/wrong_host, BAD_FRAME when the statement does not hold
 */
export function admitLog(
  ledger: Ledger,
  identity: Reply<'login_ok'>['log'],
  server: Certificate,
  now: number,
  warn: (sentence: string) => void,
): VerifierKey {
  const text = utf8(identity.statement);
  const signature = concat(Buffer.of(identity.algorithm), identity.signature);
  const statement = openKeyStatement(text, signature, server.publicKey);
  if (!equal(statement.serverCertificate, server.fingerprint))
    throw new ChatError('SIG_FAIL', 'the log key was certified for another server certificate', { sub: 'log_key' });
  if (now < statement.notBefore || now > statement.notAfter)
    throw new ChatError('SIG_FAIL', 'the log key is not valid now: check the clock of this machine', {
      sub: 'log_key',
    });
  const { log } = statement;
  const { host, node, epoch } = parseOrigin(log.name);
  checkServerName(server, host);
  const vkey = formatVkey(log);
  const { statement: words, algorithm, signature: signed } = identity;
  const pin = { origin: log.name, vkey, certificate: server.der, statement: words, algorithm, signature: signed };
  const known = ledger.pinnedLog(log.name);
  const takeovers = (identity.takeovers ?? []).map((each) => ({
    statement: utf8(each.statement),
    endorsement: each.signature,
  }));
  if (known !== null) {
    if (known.vkey === vkey) {
      ledger.addKeyStatement(pin); // the server may have another certificate than when the key was pinned
      return log;
    }
    if (!followersOf([parseVkey(known.vkey)], takeovers).some((key) => formatVkey(key) === vkey))
      throw new ChatError('FORK', `the log ${log.name} has another key than when this client first saw it`, {
        sub: 'vkey',
      });
    ledger.replaceKey(pin, takeovers);
    warn(`the log ${log.name} has a new key, and the one before agreed to it`);
    return log;
  }
  const before = newestOf(ledger, host, node);
  if (before !== null && before.epoch > epoch)
    throw new ChatError('ROLLBACK', `the server went back to its older log ${log.name}`, { sub: 'epoch' });
  if (before !== null) warn(successionOf(ledger, before.name, statement));
  ledger.pinLog(pin);
  if (takeovers.length > 0) ledger.setTakeovers(log.name, takeovers);
  return log;
}

/**
 * Another device of this user has seen this statement of a log that is pinned here. What that vouches for, this one can then prove to others, who
 * judge the certificate themselves. Nothing is kept of other logs.
 * @throws SIG_FAIL/log_key also if the log is not known to have had this key; BAD_CERT, BAD_FRAME
 */
export function admitStatement(ledger: Ledger, origin: string, shown: Omit<LogKeyRecord, 't'>): void {
  const { chain, statement: words, algorithm, signature } = shown;
  const [server] = chain.map((der) => parseCertificate(der)) as [Certificate, ...Certificate[]];
  const signed = concat(Buffer.of(algorithm), signature);
  const { log, serverCertificate } = openKeyStatement(utf8(words), signed, server.publicKey);
  if (log.name !== origin) return;
  checkServerName(server, parseOrigin(origin).host);
  const vkey = formatVkey(log);
  const isKnown = ledger.logKeys(origin).some((key) => formatVkey(key) === vkey);
  if (!isKnown || !equal(serverCertificate, server.fingerprint))
    throw new ChatError('SIG_FAIL', 'a key that the log never had, or another certificate', { sub: 'log_key' });
  if (ledger.certificate(server.fingerprint) === null) ledger.addCertificate(server.fingerprint, chain);
  ledger.addKeyStatement({ origin, vkey, certificate: server.der, statement: words, algorithm, signature });
}

/** Of the logs of this node that are pinned. */
function newestOf(
  ledger: Ledger,
  host: string,
  node: string,
): { readonly name: string; readonly epoch: number } | null {
  const [newest = null] = ledger
    .origins()
    .map((name) => ({ name, ...parseOrigin(name) }))
    .filter((other) => other.host === host && other.node === node)
    .sort((a, b) => b.epoch - a.epoch);
  return newest;
}

/** What a person is told of a new log, once. @throws FORK when it follows a log that this client never saw under that name */
function successionOf(ledger: Ledger, before: string, { log, previous, recovery }: KeyStatement): string {
  const pinned = ledger.pinnedLog(before);
  if (previous?.name === before && pinned !== null && formatVkey(previous) !== pinned.vkey)
    throw new ChatError('FORK', `${log.name} follows a log ${before} of another key than this client saw`, {
      sub: 'vkey',
    });
  const held = ledger.newest(before)?.size ?? 0;
  const { kept, known } = recovery ?? { kept: 0, known: { size: 0 } };
  const lost = known.size > kept ? `entries ${kept} to ${known.size - 1} are lost` : `${kept} entries are left of it`;
  const more =
    previous?.name === before && held > known.size
      ? `; it says nothing of those up to ${held - 1}, which it has signed as well: keep this profile`
      : '';
  return (
    `the server lost a part of its record ${before} and says so over its certificate's signature: ${lost}${more}. ` +
    `It goes on with a new one, ${log.name}; what you hold of the old one stays here`
  );
}

/** The checkpoints of one log, as one connection shows them. */
export class LogView {
  readonly key: VerifierKey;
  readonly #ledger: Ledger;

  constructor(ledger: Ledger, key: VerifierKey) {
    this.#ledger = ledger;
    this.key = key;
  }

  get origin(): string {
    return this.key.name;
  }
  /** Size of the largest tree that the log ever signed for this client. */
  get newestSize(): number {
    return this.#ledger.newest(this.origin)?.size ?? 0;
  }

  /** @throws SIG_FAIL/note, BAD_FRAME */
  open(note: Uint8Array): Checkpoint {
    return openCheckpoint(note, this.key);
  }

  /**
   * One of earlier, which any key may have signed that the log has had. What a key signed after it was replaced does not stand: it has to be
   * shown to be of one history with the rest, as all that is kept. @throws SIG_FAIL/note, BAD_FRAME
   */
  openKept(note: Uint8Array): Checkpoint {
    const signers = new Set(parseNote(note).signatures.map(({ keyId }) => keyId));
    const key = this.#ledger.logKeys(this.origin).find(({ keyId }) => signers.has(keyId));
    return openCheckpoint(note, key ?? this.key);
  }

  /** Keeps a checkpoint whose signature was verified. @throws FORK when the log signed two trees of one size */
  keep({ origin, size, root }: Checkpoint, note: Uint8Array): void {
    const rival = this.#ledger.rivalOf({ origin, size, root });
    this.#ledger.addCheckpoint({ origin, size, root, note: fromUtf8(note) ?? '' });
    if (rival !== null)
      throw new ChatError('FORK', `the server signed two different records of ${size} entries`, { sub: 'same_size' });
  }

  /** Asks for proofs until every checkpoint is shown to be of one history. @throws FORK, ROLLBACK; CONNECTION_LOST and the like */
  async prove(requester: Requester): Promise<void> {
    for (;;) {
      const next = this.#ledger.unproven(this.origin);
      const head = this.#ledger.head(this.origin);
      if (next === null || head === null) return;
      const [older, newer] = next.size < head.size ? [next, head] : [head, next];
      if (!(await this.#isPrefix(requester, older, newer)))
        throw new ChatError('FORK', `the record of ${newer.size} entries does not continue that of ${older.size}`, {
          sub: 'consistency',
        });
      this.#ledger.markProven(next);
    }
  }

  async #isPrefix(requester: Requester, older: SeenCheckpoint, newer: SeenCheckpoint): Promise<boolean> {
    if (older.size === newer.size || older.size === 0)
      return isConsistent(older.size, older.root, newer.size, newer.root, []);
    try {
      const { size: from } = older;
      const { size: to } = newer;
      const { hashes } = await requester.request({ type: 'log_consistency', from, to }, 'log_consistency');
      return isConsistent(from, older.root, to, newer.root, hashes as Uint8Array[] as Hash[]);
    } catch (error) {
      // It signed both sizes: that it does not know one of them any more is no excuse.
      if (error instanceof ChatError && (error.code === 'BAD_FRAME' || error.code === 'NOT_FOUND'))
        throw new ChatError('ROLLBACK', `the server cannot show that its record still holds ${older.size} entries`, {
          sub: 'consistency',
          cause: error,
        });
      throw error;
    }
  }

  /** What is kept with an alarm, in CBOR: what was refused, and the notes that contradict each other, or the newest ones. */
  evidence(refused: Uint8Array): Buffer {
    const seen = [this.#ledger.head(this.origin), this.#ledger.unproven(this.origin), this.#ledger.newest(this.origin)];
    const notes = [...this.#ledger.forkedNotes(this.origin), ...seen.flatMap((checkpoint) => checkpoint?.note ?? [])];
    return encode({ refused, notes: [...new Set(notes)] });
  }
}

/** Whether an error says that the server's history is not one: then nothing it says is worth anything. */
export const isBetrayal = ({ code }: Pick<ChatError, 'code'>): boolean => CODES[code].exit === CODES.FORK.exit;

/** The notes that are kept with an alarm; what is false for another reason has none. */
export function notesOf({ code, detail }: Pick<Alarm, 'code' | 'detail'>): string[] {
  // A code that the server itself has answered with has nothing to show.
  if (!PROVABLE.has(code) || detail.length === 0) return [];
  const kept = decode(detail);
  const notes = kept instanceof Map ? kept.get('notes') : null;
  return Array.isArray(notes) ? notes.filter((note) => typeof note === 'string') : [];
}
