import t from 'tap';
import { checkTlogProof, decodeTlogProof, encodeTlogProof } from '../../transcript/tlog-proof.ts';
import { damaged, decodesStrictly, hash, impostor, log, refuses, vectors } from './sample.ts';

const TEXT: string = vectors.tlogProof.text;
const leaf = hash(vectors.leaves[7].hash);

t.test('our vector, made by another program', async (t) => {
  const proof = decodeTlogProof(Buffer.from(TEXT));
  t.equal(proof.index, 7);
  t.equal(encodeTlogProof(proof).toString(), TEXT);
  t.match(checkTlogProof(proof, leaf, log), { size: 10 });
  refuses(t, () => checkTlogProof(proof, hash(vectors.leaves[6].hash), log), 'SIG_FAIL', 'inclusion', 'another entry');
  refuses(t, () => checkTlogProof({ ...proof, index: 6 }, leaf, log), 'SIG_FAIL', 'inclusion', 'another index');
  refuses(t, () => checkTlogProof({ ...proof, index: 10 }, leaf, log), 'SIG_FAIL', 'inclusion', 'beyond the tree');
  refuses(
    t,
    () => checkTlogProof({ ...proof, path: [...proof.path, leaf] }, leaf, log),
    'SIG_FAIL',
    'inclusion',
    'surplus',
  );
  refuses(
    t,
    () => checkTlogProof({ ...proof, path: proof.path.slice(1) }, leaf, log),
    'SIG_FAIL',
    'inclusion',
    'missing',
  );
  refuses(t, () => checkTlogProof(proof, leaf, impostor), 'SIG_FAIL', 'note', 'another key');
});

t.test('extra data', async (t) => {
  const proof = { ...decodeTlogProof(Buffer.from(TEXT)), extra: Buffer.from('out of band') };
  const text = encodeTlogProof(proof).toString();
  t.match(text, /^c2sp.org\/tlog-proof@v1\nextra b3V0IG9mIGJhbmQ=\nindex 7\n/);
  t.match(decodeTlogProof(Buffer.from(text)), proof);
});

t.test('spellings that are refused', async (t) => {
  const rows: [name: string, text: string, field: string][] = [
    ['empty', '', 'proof.checkpoint'],
    ['another version', TEXT.replace('@v1', '@v2'), 'proof.header'],
    ['no index', TEXT.replace('index 7\n', ''), 'proof.index'],
    ['leading zero', TEXT.replace('index 7', 'index 07'), 'proof.index'],
    ['two spaces', TEXT.replace('index 7', 'index  7'), 'proof.index'],
    ['empty extra', TEXT.replace('index', 'extra \nindex'), 'proof.extra'],
    ['extra that is not base64', TEXT.replace('index', 'extra ???\nindex'), 'proof.extra'],
    ['extra after the index', TEXT.replace('index 7\n', 'index 7\nextra AA==\n'), 'proof.path'],
    ['cut hash', TEXT.replace(/(index 7\n).{4}/, '$1'), 'proof.path'],
    ['CRLF', TEXT.replaceAll('\n', '\r\n'), 'proof.checkpoint'],
    ['53 hashes', TEXT.replace('index 7\n', `index 7\n${`${'A'.repeat(43)}=\n`.repeat(50)}`), 'proof.path'],
    ['empty line before the checkpoint', TEXT.replace('\n\n', '\n\n\n'), 'checkpoint.lines'],
    ['more than 2 MB', TEXT.replace('index', `extra ${'A'.repeat(2_000_000)}\nindex`), 'proof'],
    ['no checkpoint', TEXT.slice(0, TEXT.indexOf('\n\n') + 2), 'note'],
  ];
  for (const [name, text, field] of rows)
    refuses(t, () => decodeTlogProof(Buffer.from(text)), 'BAD_FRAME', field, name);
});

t.test('property: one spelling, and nothing but BAD_FRAME', async () => {
  decodesStrictly(damaged(Buffer.from(TEXT)), decodeTlogProof, encodeTlogProof);
});
