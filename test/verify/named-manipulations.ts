/**
 * The manipulations that a tamper matrix of this record must have, each under its name, and the rows or tests that stand for it. A row is
 * named as in matrix.ts (`log` of directories, `bundle`), anything else is a file and the name of a test or row in it.
 */

export interface Manipulation {
  readonly named: string;
  /** `log: NAME`, `bundle: NAME`, `FILE: NAME` */
  readonly rows: readonly string[];
  /** Why there is no row. */
  readonly none?: string;
}

const log = (named: string, ...rows: readonly string[]): Manipulation => ({
  named,
  rows: rows.map((row) => `log: ${row}`),
});
const bundle = (named: string, ...rows: readonly string[]): Manipulation => ({
  named,
  rows: rows.map((row) => `bundle: ${row}`),
});
const test =
  (file: string) =>
  (named: string, ...rows: readonly string[]): Manipulation => ({ named, rows: rows.map((row) => `${file}: ${row}`) });
const ack = test('test/transcript/ack.test.ts');
const tree = test('test/transcript/merkle.test.ts');

export const MANIPULATIONS: Readonly<Record<string, readonly Manipulation[]>> = {
  'somebody without a key': [
    log(
      'bit flip in an entry',
      'a bit of an entry in a full bundle',
      'a bit of an entry, and all hash tiles made anew',
    ),
    log('bit flip in a leaf tile', 'a bit of a hash'),
    log('bit flip in an upper tile', 'a bit of a hash of an upper level'),
    log('entry dropped', 'an entry is dropped', 'an entry is dropped and the last one repeated'),
    log('entries reordered', 'two entries are swapped'),
    log('entry duplicated', 'an entry in two places'),
    log('tail bundle removed', 'the last bundle is missing', 'the last entry is cut off'),
    log('tail tile shortened', 'the last hash tile is shorter'),
    log('checkpoint root edited', 'root of the checkpoint'),
    log('checkpoint size edited', 'size of the checkpoint'),
    log('checkpoint signature edited', 'signature of the checkpoint'),
    log('checkpoint signed by another key', 'checkpoint signed by another key'),
    log('the same with a forged key id', 'checkpoint signed by another key under the id of the right one'),
    log('checkpoint of another origin', 'checkpoint of another log'),
    log('rollback to an older genuine state', 'an older genuine state, and somebody kept a checkpoint'),
    log('leading zero', 'leading zero'),
    log('extension line', 'extension line, signed', 'extension line, not signed'),
    log('CRLF', 'CRLF'),
  ],
  'a server with the log key': [
    log('ciphertext hash altered', 'ciphertext hash'),
    log('commitment altered', 'commitment'),
    log('client time altered', 'client time'),
    log('message dropped in a batch', 'message dropped'),
    log('the same with positions rewritten', 'message dropped and positions rewritten'),
    log('messages reordered in a batch', 'messages reordered'),
    log('the same with positions rewritten, reordered', 'messages reordered and positions rewritten'),
    log('batch dropped', 'batch dropped', 'batch dropped, seen by the chain of batches'),
    log('batch replayed', 'batch replayed'),
    log('batches swapped', 'two batches of a session swapped'),
    log('time backdated', 'a batch set back', 'time set back'),
    log('clock jump: a warning', 'clock jump: a warning, for who is wrong can not be told'),
    log('tail truncated', 'last message of the log dropped', 'an older genuine state, and somebody kept a checkpoint'),
    log('fork at the same size', 'fork of the same size'),
    log('history rewritten', 'history rewritten: a fork at a smaller size'),
    log("re-signed with another user's key", "signed with another person's key"),
    log('signature without context prefix', 'signed without the context'),
    log('expired', 'expired before'),
    log('revoked', 'revoked before'),
    log('another CA with the same names', 'another authority of the same name'),
    log('server certificate as sender', 'certificate of a server'),
    log('batch for another log', 'batch for another log'),
    log('session counter jump', 'session counter jumps, in statement and messages'),
    log('conversation counter jump', 'conversation counter jumps'),
    log('broken link', 'broken link'),
    log(
      'removed earlier session',
      'an earlier session removed: the later one links to what is not there',
      'an earlier session removed as a whole, with nothing that links to it',
    ),
    log('truncated tail of an earlier session', 'the last batch of an earlier session removed'),
    { named: 'linked node rolled back', rows: [], none: 'a node links no other: this version writes no LINK entries' },
    log('link altered', 'LINK: no signed note', 'LINK: the log itself'),
  ],
  'acknowledgements and proofs': [
    ack('wrong index', 'another index'),
    ack('wrong time', 'another time'),
    ack('wrong hash', 'another hash'),
    ack('surplus hash', 'a hash more'),
    ack('missing hash', 'a hash less'),
    ack('another batch', 'messages reordered', 'not the BS'),
    bundle('swapped inclusion proofs', 'proofs swapped'),
    bundle('index ±1', 'the place before'),
    bundle('index beyond the tree', 'a place beyond the tree'),
    tree('interior node passed as a leaf', 'an inner node as a leaf'),
    tree('consistency: altered or of the wrong size', 'consistency: all 820 of trees up to 40, and no forgery'),
    tree('consistency: empty', 'no proof', 'empty with a proof'),
    bundle('consistency file altered', 'an altered consistency proof', 'a consistency proof from another size'),
  ],
  bundles: [
    bundle('altered file', 'a bit of an entry', 'the sums altered with the file'),
    bundle('altered entry resealed by the exporter', 'a bit of an entry, sealed'),
    bundle('swapped openings', 'openings swapped'),
    bundle('swapped paths', 'paths swapped'),
    bundle('altered plaintext', 'another text'),
    test('test/verify/bundle-receipts.test.ts')('altered ciphertext, of a receipt', 'of another part than was signed'),
    bundle('altered signature', 'the signature of another batch', 'an empty signature'),
    bundle('altered context', 'a signature under another context'),
    bundle('left out', 'a message left out', 'a message left out, as the bundle says'),
    bundle('reordered', 'two messages exchanged'),
    bundle('duplicated', 'a message twice'),
    bundle('truncated', 'more messages announced', 'LIMIT: the last messages left out'),
    bundle('log key replaced', 'a log key that nobody signed for'),
    bundle('log key replaced with a forged statement', 'a log key of the exporter, by his certificate'),
    log('log key certified by a user certificate', 'vouched for by the certificate of a person'),
    bundle('missing intermediate', 'by an intermediate that is not there'),
    bundle('wrong CA', 'of another authority'),
    log('missing CRL', 'a list that is not in the archive'),
    bundle('stale consistency proof', 'a consistency proof to another checkpoint'),
    bundle('sealed from outside the CA', 'sealed by another key'),
    bundle('unlisted file', 'a file put in'),
    bundle('cut tar', 'the archive is cut off', 'without its end'),
    bundle('extended tar', 'longer than it is'),
    bundle('known checkpoint of another branch', 'one of another history'),
    log('known checkpoint that is newer', 'an older genuine state, and somebody kept a checkpoint'),
    test('test/verify/bundle.test.ts')('600 single-bit flips', 'one bit anywhere'),
  ],
  witnesses: [
    log('missing', 'no witness', 'one of three witnesses, and two are wanted'),
    log('altered timestamp', 'an altered time of a cosignature'),
    log('cosignature of another checkpoint', 'a cosignature of another checkpoint'),
  ],
  'controls that stay VALID': [
    log('nothing altered', 'nothing is altered'),
    bundle('nothing altered in a bundle', 'nothing is altered'),
    log('certificate later expired', 'expired later'),
    log('certificate later revoked', 'revoked later'),
    log(
      'LIMIT: tail truncated, nobody kept a checkpoint',
      'LIMIT: an older genuine state, and nobody kept a checkpoint',
    ),
    log(
      'LIMIT: one sender removed, nobody kept a checkpoint',
      'LIMIT: every trace of one sender is removed, and nobody kept a checkpoint',
    ),
    log('LIMIT: order between senders', 'LIMIT: two batches of different senders swapped'),
    log('LIMIT: times within bounds', 'LIMIT: times off by five minutes'),
    tree('2485 inclusion proofs', 'inclusion: all 2485 of trees up to 70, and no forgery'),
    tree('820 consistency proofs', 'consistency: all 820 of trees up to 40, and no forgery'),
  ],
};
