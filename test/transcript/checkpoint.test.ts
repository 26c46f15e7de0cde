import t from 'tap';
import { createPublicKey } from 'node:crypto';
import { EMPTY_ROOT } from '../../transcript/merkle.ts';
import { formatNote, signNote, verifierKey } from '../../transcript/note.ts';
import {
  checkpointText,
  decimal,
  openCheckpoint,
  parseCheckpoint,
  peekCheckpoint,
  signCheckpoint,
} from '../../transcript/checkpoint.ts';
import {
  damaged,
  decodesStrictly,
  hash,
  impostor,
  log,
  logKey,
  origin,
  refuses,
  strangerKey,
  vectors,
} from './sample.ts';

// C2SP tlog-checkpoint, the example of the introduction.
const C2SP = `example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
`;
const TEXT = C2SP.slice(0, C2SP.indexOf('\n\n') + 1);

t.test('the example of C2SP tlog-checkpoint', async (t) => {
  const checkpoint = peekCheckpoint(Buffer.from(C2SP));
  t.match(checkpoint, { origin: 'example.com/behind-the-sofa', size: 20852163 });
  t.equal(Buffer.from(checkpoint.root).toString('hex').slice(0, 8), '0ac5186a');
  t.equal(checkpointText(checkpoint), TEXT);
});

t.test('our vectors', async (t) => {
  for (const { size, root, note } of vectors.checkpoints) {
    t.equal(signCheckpoint({ origin, size, root: hash(root) }, logKey).toString(), note);
    t.match(openCheckpoint(Buffer.from(note), log), { origin, size, root: hash(root) });
  }
});

t.test('spellings that are refused', async (t) => {
  const rows: [name: string, text: string, field: string][] = [
    ['two lines', 'a\n1\n', 'checkpoint.lines'],
    ['extension line', `${TEXT}extension\n`, 'checkpoint.lines'],
    ['empty line', `${TEXT}\n`, 'checkpoint.lines'],
    ['no final newline', TEXT.slice(0, -1), 'checkpoint.lines'],
    ['no origin', TEXT.slice(TEXT.indexOf('\n')), 'checkpoint.origin'],
    ['leading zero', TEXT.replace('2085', '02085'), 'checkpoint.size'],
    ['00', TEXT.replace('20852163', '00'), 'checkpoint.size'],
    ['plus', TEXT.replace('20852163', '+1'), 'checkpoint.size'],
    ['minus', TEXT.replace('20852163', '-1'), 'checkpoint.size'],
    ['hexadecimal', TEXT.replace('20852163', '0x10'), 'checkpoint.size'],
    ['no size', TEXT.replace('20852163', ''), 'checkpoint.size'],
    ['space after the size', TEXT.replace('20852163', '20852163 '), 'checkpoint.size'],
    ['2^53', TEXT.replace('20852163', '9007199254740992'), 'checkpoint.size'],
    ['31 bytes', TEXT.replace('CsUY', 'CsU='), 'checkpoint.root'],
    ['24 bytes', TEXT.replace('CsUYapGGPo4', ''), 'checkpoint.root'],
    ['trailing bits', TEXT.replace('q2I=', 'q2J='), 'checkpoint.root'],
    ['URL alphabet', TEXT.replace('/X', '_X'), 'checkpoint.root'],
    ['empty tree with another root', TEXT.replace('20852163', '0'), 'checkpoint.root'],
  ];
  for (const [name, text, field] of rows) refuses(t, () => parseCheckpoint(text), 'BAD_FRAME', field, name);
  t.match(parseCheckpoint(checkpointText({ origin: 'a', size: 0, root: EMPTY_ROOT })), { size: 0 });
  t.equal(decimal('9007199254740991'), Number.MAX_SAFE_INTEGER);
});

t.test('whose checkpoint it is', async (t) => {
  const note = Buffer.from(vectors.checkpoints[0].note);
  refuses(t, () => openCheckpoint(note, impostor), 'SIG_FAIL', 'note', "another key under the log's name");
  refuses(t, () => openCheckpoint(Buffer.from(C2SP), log), 'SIG_FAIL', 'note', "another log's");
  const foreign = checkpointText({ origin: 'other.example/log/n1', size: 1, root: EMPTY_ROOT });
  const mixed = formatNote(foreign, [signNote(foreign, origin, logKey)]);
  refuses(t, () => openCheckpoint(mixed, log), 'BAD_FRAME', 'checkpoint.origin', "our key under another log's name");
  const { size, root } = vectors.checkpoints[0];
  const text = checkpointText({ origin, size, root: hash(root) });
  const witness = verifierKey('witness.example', createPublicKey(strangerKey));
  const cosigned = formatNote(text, [signNote(text, origin, logKey), signNote(text, witness.name, strangerKey)]);
  t.match(openCheckpoint(cosigned, log), { size }, 'a cosignature is ignored');
  refuses(
    t,
    () => signCheckpoint({ origin: 'two\nlines', size: 1, root: EMPTY_ROOT }, logKey),
    'BAD_FRAME',
    'checkpoint.lines',
    'origin of two lines',
  );
  refuses(
    t,
    () => signCheckpoint({ origin: 'a b', size: 1, root: EMPTY_ROOT }, logKey),
    'BAD_FRAME',
    'note.name',
    'origin with a space',
  );
});

t.test('property: every bit of a checkpoint counts', async (t) => {
  const note = Buffer.from(vectors.checkpoints[1].note);
  decodesStrictly(
    damaged(note.subarray(0, note.indexOf('\n\n') + 1)),
    (b) => parseCheckpoint(Buffer.from(b).toString('latin1')),
    (c) => Buffer.from(checkpointText(c), 'latin1'),
  );
  let accepted = 0;
  for (let bit = 0; bit < note.length * 8; bit++) {
    const flipped = Buffer.from(note);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    try {
      openCheckpoint(flipped, log);
      accepted++;
    } catch {}
  }
  t.equal(accepted, 0);
});
