/** Cosignatures of witnesses, against lines that are made by the words of C2SP tlog-cosignature, and what must not count. */
import { generateKeyPairSync } from 'node:crypto';
import t from 'tap';
import {
  formatWitness,
  isSameWitness,
  openCosignatures,
  parseWitness,
  parseWitnesses,
  withCosignatures,
} from '../../transcript/cosignature.ts';
import { openCheckpoint, signCheckpoint } from '../../transcript/checkpoint.ts';
import { formatVkey, parseNote, parseVkey } from '../../transcript/note.ts';
import { cosignatureLine, witnessVkey, withLines, type Cosigner } from '../support/token-writer.ts';
import { filled, log, logKey, origin } from './sample.ts';

const cosigner = (name: string): Cosigner => {
  const { publicKey, privateKey: key } = generateKeyPairSync('ed25519');
  return { name, key, publicKey };
};
const [one, two] = [cosigner('witness.example/w1'), cosigner('witness.example/w2')];
const [w1, w2] = [one, two].map((who) => parseWitness(witnessVkey(who))) as [never, never];
const note = signCheckpoint({ origin, size: 7, root: filled(3, 32) as never }, logKey);
const AT = 1_750_000_000;
const times = (bytes: Uint8Array, ...of: readonly never[]) =>
  openCosignatures(bytes, of).map(({ by, time }) => [formatWitness(by), time]);

t.test('vkeys', async (t) => {
  t.equal(formatWitness(w1), witnessVkey(one));
  t.throws(
    () => parseWitness(formatVkey(log)),
    { code: 'BAD_FRAME', field: 'vkey.key' },
    'a key of a log is none of a witness',
  );
  t.throws(() => parseVkey(witnessVkey(one)), { code: 'BAD_FRAME', field: 'vkey.key' }, 'and the other way round');
  const wrongId = witnessVkey(one).replace(/\+[0-9a-f]{8}\+/, '+00000000+');
  t.throws(() => parseWitness(wrongId), { code: 'BAD_FRAME', field: 'vkey.id' });
  const renamed = parseWitness(witnessVkey({ ...one, name: 'other' }));
  t.ok(isSameWitness(w1, renamed), 'one key under two names is one witness');
  t.notOk(isSameWitness(w1, w2));
  const text = `# ours\n${witnessVkey(one)}\n\n${witnessVkey(two)}\n`;
  t.same(parseWitnesses(text).map(formatWitness), [witnessVkey(one), witnessVkey(two)]);
  t.throws(() => parseWitnesses('# nobody\n'), { code: 'BAD_FRAME' });
  t.throws(() => parseWitnesses(`${witnessVkey(one)}\nwitness two\n`), { code: 'BAD_FRAME' });
});

t.test('what counts', async (t) => {
  const both = withLines(note, cosignatureLine(note, one, AT), cosignatureLine(note, two, AT + 5));
  t.same(times(both, w1, w2), [
    [witnessVkey(one), AT * 1000],
    [witnessVkey(two), (AT + 5) * 1000],
  ]);
  t.same(times(both, w2), [[witnessVkey(two), (AT + 5) * 1000]], 'others are ignored');
  t.same(times(note, w1, w2), [], 'the line of the log is none');
  t.equal(openCheckpoint(both, log).size, 7, 'and they are nothing to the log');
  const twice = withLines(both, cosignatureLine(note, one, AT - 9));
  t.same(times(twice, w1, w2)[0], [witnessVkey(one), (AT - 9) * 1000], 'each once, at its earliest');
  t.equal(times(twice, w1, w2).length, 2);
});

t.test('a known name over something else refuses the note', async (t) => {
  const refused = (line: string, why: string) =>
    t.throws(() => times(withLines(note, line), w1), { code: 'SIG_FAIL', sub: 'cosignature' }, why);
  refused(cosignatureLine(note, one, AT, AT + 1), 'another time');
  refused(cosignatureLine(note, one, 0), 'no time');
  refused(cosignatureLine(note, one, 2 ** 52), 'a time beyond what a number holds in milliseconds');
  refused(cosignatureLine(note, { ...one, key: two.key }, AT), 'signed with the key of another');
  const larger = signCheckpoint({ origin, size: 8, root: filled(3, 32) as never }, logKey);
  refused(cosignatureLine(larger, one, AT), 'of another checkpoint');
  const line = cosignatureLine(note, one, AT);
  const [, head, base] = /^(— \S+ )(\S+)\n$/.exec(line)!;
  const bytes = Buffer.from(base!, 'base64');
  refused(`${head}${bytes.subarray(0, -1).toString('base64')}\n`, 'too short');
  refused(`${head}${bytes.subarray(0, 9).toString('base64')}\n`, 'shorter than a time');
  refused(`${head}${Buffer.concat([bytes, Buffer.of(0)]).toString('base64')}\n`, 'too long');
  t.same(times(withLines(note, cosignatureLine(note, one, AT, AT + 1)), w2), [], 'of a stranger it is nothing');
});

t.test('put into a note', async (t) => {
  const cosignatures = openCosignatures(withLines(note, cosignatureLine(note, one, AT)), [w1]);
  const first = withCosignatures(note, cosignatures);
  t.same(first, withLines(note, cosignatureLine(note, one, AT)), 'behind the line of the log');
  const later = openCosignatures(withLines(note, cosignatureLine(note, one, AT + 60)), [w1]);
  t.same(
    times(withCosignatures(first, later), w1),
    [[witnessVkey(one), (AT + 60) * 1000]],
    'in place of its own before',
  );
  t.equal(parseNote(withCosignatures(first, later)).signatures.length, 2);
});
