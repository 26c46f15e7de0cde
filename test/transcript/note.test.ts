import t from 'tap';
import fc from 'fast-check';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import {
  formatNote,
  formatVkey,
  MAX_NOTE_SIGNATURES,
  openNote,
  parseNote,
  parseVkey,
  signNote,
  verifierKey,
} from '../../transcript/note.ts';
import {
  damaged,
  decodesStrictly,
  ed25519,
  filled,
  impostor,
  log,
  logKey,
  origin,
  property,
  refuses,
  strangerKey,
  vectors,
} from './sample.ts';

// C2SP signed-note, "Verifier keys", example.
const C2SP_VKEY = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k';
const C2SP_NOTE = `This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
`;
// C2SP signed-note, "Note": the text holds an empty line.
const C2SP_POEM = `Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
`;
const bytes = (text: string) => Buffer.from(text);

t.test('the examples of C2SP signed-note', async (t) => {
  const key = parseVkey(C2SP_VKEY);
  t.equal(key.name, 'example.com/foo');
  t.equal(key.keyId, 0x530d903a);
  t.equal(formatVkey(key), C2SP_VKEY);
  t.match(openNote(bytes(C2SP_NOTE), [key]), { text: 'This is an example message.\n', signers: [key] });
  const poem = parseNote(bytes(C2SP_POEM));
  t.equal(poem.text, C2SP_POEM.slice(0, C2SP_POEM.indexOf('\n\n—') + 1), 'split at the last empty line');
  t.match(poem.signatures, [{ name: 'quasimodo.example/salvatore', keyId: 0x367ba04b }]);
  t.equal(formatNote(poem.text, poem.signatures).toString(), C2SP_POEM);
});

t.test('our vectors: key id, vkey and deterministic signature', async (t) => {
  t.equal(formatVkey(verifierKey(origin, createPublicKey(logKey))), vectors.log.vkey);
  const [v] = vectors.checkpoints;
  const { text } = parseNote(bytes(v.note));
  t.equal(formatNote(text, [signNote(text, origin, logKey)]).toString(), v.note);
});

t.test('who signed', async (t) => {
  const text = 'a text\n\nof three lines\n';
  const good = signNote(text, origin, logKey);
  const other = signNote(text, 'witness.example', strangerKey);
  const witness = verifierKey('witness.example', createPublicKey(strangerKey));
  const open = (signatures: (typeof good)[], keys = [log]) => openNote(formatNote(text, signatures), keys);

  t.equal(open([other, good]).text, text, 'unknown keys are ignored');
  t.strictSame(open([other, good, good], [log, witness]).signers, [witness, log], 'each signer once');
  t.equal(open([signNote(text, origin, strangerKey), good]).text, text, 'another id under a known name is another key');
  t.equal(open([{ ...other, keyId: log.keyId }, good]).text, text, 'a known id under another name is another key');
  refuses(t, () => open([other]), 'SIG_FAIL', 'note', 'no known key');
  refuses(t, () => open([]), 'BAD_FRAME', 'note.signature', 'no signature');
  refuses(t, () => open([good], [impostor]), 'SIG_FAIL', 'note', "another key under the log's name");
  const bad = { ...good, signature: good.signature.map((b, i) => (i === 40 ? b ^ 1 : b)) };
  refuses(t, () => open([good, bad]), 'SIG_FAIL', 'note', 'one bad signature of a known key spoils the note');
  refuses(t, () => open([{ ...other, name: origin, keyId: log.keyId }]), 'SIG_FAIL', 'note', 'forged key id');
  refuses(t, () => open([{ ...good, signature: filled(1, 63) }]), 'SIG_FAIL', 'note', '63 bytes');
  refuses(t, () => openNote(formatNote('a text\n', [good]), [log]), 'SIG_FAIL', 'note', 'signature of another text');
});

t.test('spellings that are refused', async (t) => {
  const line = C2SP_NOTE.split('\n')[2]!;
  const rows: [name: string, note: string, field: string][] = [
    ['empty', '', 'note'],
    ['no empty line', `text\n${line}\n`, 'note'],
    ['no final newline', C2SP_NOTE.slice(0, -1), 'note'],
    ['a newline more', `${C2SP_NOTE}\n`, 'note.signature'],
    ['CRLF', C2SP_NOTE.replaceAll('\n', '\r\n'), 'note'],
    ['tab', C2SP_NOTE.replace('This', 'Th\tis'), 'note'],
    ['NUL', C2SP_NOTE.replace('This', 'Th\0is'), 'note'],
    ['hyphen for a dash', C2SP_NOTE.replace('—', '-'), 'note.signature'],
    ['en dash', C2SP_NOTE.replace('—', '–'), 'note.signature'],
    ['two spaces', C2SP_NOTE.replace('— ', '—  '), 'note.signature'],
    ['space at the end', C2SP_NOTE.replace(/\n$/, ' \n'), 'note.signature'],
    ['name with a plus', C2SP_NOTE.replace('com/foo', 'com+foo'), 'note.signature'],
    ['name with a no-break space', C2SP_NOTE.replace('com/foo', 'com\u00a0foo'), 'note.signature'],
    ['name with an ideographic space', C2SP_NOTE.replace('com/foo', 'com\u3000foo'), 'note.signature'],
    ['URL alphabet', C2SP_POEM.replace('IS+Z', 'IS-Z'), 'note.signature'],
    ['no padding', C2SP_NOTE.replace('=\n', '\n'), 'note.signature'],
    ['trailing bits', C2SP_NOTE.replace('QM=', 'QN='), 'note.signature'],
    ['key id alone', 'text\n\n— a AAAAAA==\n', 'note.signature'],
    ['not a signature line between', `text\n\n${line}\nhello\n${line}\n`, 'note.signature'],
  ];
  for (const [name, note, field] of rows) refuses(t, () => parseNote(bytes(note)), 'BAD_FRAME', field, name);
  const latin = Buffer.concat([Buffer.of(0xe8), bytes(C2SP_NOTE)]);
  refuses(t, () => parseNote(latin), 'BAD_FRAME', 'note', 'not UTF-8');
  refuses(t, () => parseNote(filled(0x61, 1_000_001)), 'BAD_FRAME', 'note', 'longer than 1 MB');
  const many = (n: number) => bytes(`text\n\n${`${line}\n`.repeat(n)}`);
  t.equal(parseNote(many(MAX_NOTE_SIGNATURES)).signatures.length, 100);
  refuses(t, () => parseNote(many(MAX_NOTE_SIGNATURES + 1)), 'BAD_FRAME', 'note.signatures', '101 signatures');
  refuses(t, () => formatNote('no newline', []), 'BAD_FRAME', 'note', 'text without its newline');
});

t.test('what is not signed, and not written', async (t) => {
  refuses(t, () => signNote('text\n', 'a name', logKey), 'BAD_FRAME', 'note.name', 'a name with a space');
  const signature = signNote('text\n', origin, logKey);
  const asSignature = `text\n\n— ${origin} ${filled(1, 8).toString('base64')}`;
  refuses(t, () => formatNote(asSignature, [signature]), 'BAD_FRAME', 'note.text', 'text that would be a signature');
});

t.test('vkeys that are refused', async (t) => {
  const rows: [name: string, vkey: string, field: string][] = [
    ['empty', '', 'vkey'],
    ['two parts', 'example.com/foo+530d903a', 'vkey'],
    ['upper-case id', C2SP_VKEY.replace('530d903a', '530D903A'), 'vkey'],
    ['another id', C2SP_VKEY.replace('530d903a', '530d903b'), 'vkey.id'],
    ['another name', C2SP_VKEY.replace('foo', 'fop'), 'vkey.id'],
    ['name with a space', C2SP_VKEY.replace('/', ' '), 'vkey.name'],
    ['type 4', `a+00000000+${Buffer.concat([Buffer.of(4), filled(1)]).toString('base64')}`, 'vkey.key'],
    ['31 bytes', `a+00000000+${Buffer.concat([Buffer.of(1), filled(1, 31)]).toString('base64')}`, 'vkey.key'],
    ['no base64', `${C2SP_VKEY}!`, 'vkey.key'],
    ['a newline', `${C2SP_VKEY}\n`, 'vkey.key'],
  ];
  for (const [name, vkey, field] of rows) refuses(t, () => parseVkey(vkey), 'BAD_FRAME', field, name);
  const p256 = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).publicKey;
  refuses(t, () => verifierKey('a', p256), 'BAD_FRAME', 'note.key', 'not Ed25519');
  refuses(t, () => verifierKey('a+b', createPublicKey(logKey)), 'BAD_FRAME', 'note.name', 'plus in a name');
});

t.test('a key whose base64 holds a plus', async (t) => {
  for (let i = 0, found = 0; found < 3; i++) {
    const key = verifierKey('a.example', createPublicKey(ed25519(filled(i))));
    if (!formatVkey(key).split('+').slice(2).join('+').includes('+')) continue;
    found++;
    t.equal(formatVkey(parseVkey(formatVkey(key))), formatVkey(key));
  }
});

t.test('properties', async () => {
  const good = [C2SP_NOTE, C2SP_POEM, vectors.checkpoints[1].note].map(bytes);
  decodesStrictly(damaged(...good), parseNote, (note) => formatNote(note.text, note.signatures));
  decodesStrictly(
    fc.oneof(fc.string(), fc.mixedCase(fc.constant(C2SP_VKEY))).map(bytes),
    (b) => parseVkey(b.toString()),
    (key) => bytes(formatVkey(key)),
  );
  property(fc.array(fc.stringMatching(/^[ -~]{0,20}$/), { maxLength: 5 }), (lines) => {
    const text = `${lines.join('\n')}\n`;
    if (openNote(formatNote(text, [signNote(text, origin, logKey)]), [log]).text !== text) throw new Error(text);
  });
});
