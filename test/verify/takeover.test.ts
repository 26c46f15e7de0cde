/** A log whose key was replaced: each key counts for the checkpoints that are its own. */
import { generateKeyPairSync } from 'node:crypto';
import t from 'tap';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { endorseKeyStatement } from '../../transcript/key-statement.ts';
import { encodeLeaf, type Leaf } from '../../transcript/leaf.ts';
import { verifierKey } from '../../transcript/note.ts';
import { auditEpochs } from '../../verify/epochs.ts';
import { EXIT, Findings } from '../../verify/finding.ts';
import {
  compose,
  genCerts,
  headOf,
  keyLeaves,
  noteAt,
  seal,
  writeFiles,
  type Step,
  type World,
} from '../support/log-writer.ts';

const { ca, world } = genCerts();
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const stranger = generateKeyPairSync('ed25519').privateKey;
const renewed: World = { ...world, logKey: privateKey, log: verifierKey(world.origin, publicKey) };

const STORY: readonly Step[] = [
  { sender: 'alice', conversations: ['ab', 'ab'], at: 0 },
  { sender: 'bob', conversations: ['ab'], at: 5000 },
];
const before = compose(world, STORY.slice(0, 1)).length;
/** The log with the new key's entry in the middle; its index is `before + 1`. */
function log(by: typeof stranger | null, previous = world.log): Leaf[] {
  const all = compose(world, STORY);
  const [cert, key] = keyLeaves(renewed, world.begin + 2000, {
    keyStatement: (s) => ({ ...s, previous: by ? previous : null }),
  });
  if (key?.type !== 'key') throw new Error('no key');
  const signed = { ...key, previousSignature: by ? endorseKeyStatement(key.statement, by) : Buffer.alloc(0) };
  return [...all.slice(0, before), cert!, signed, ...all.slice(before)];
}
const honest = log(world.logKey);
const at = before + 1;
const olderNote = (size: number): Buffer =>
  signCheckpoint(headOf(world, honest.slice(0, size).map(encodeLeaf)), world.logKey);

const rows: [name: string, leaves: Leaf[], signer: World, known: readonly Buffer[], exit: number, found?: string][] = [
  ['as it was', honest, renewed, [], 0],
  ['checkpoints of both', honest, renewed, [olderNote(at), noteAt(renewed, honest, at + 1)], 0],
  ['the key before beyond its end', honest, renewed, [olderNote(at + 1)], 10, 'E_CKPT_SIG known 1'],
  ['the new key before its beginning', honest, renewed, [noteAt(renewed, honest, at)], 10, 'E_CKPT_SIG known 1'],
  ['the key before signs on', honest, world, [], 10, 'E_CKPT_SIG checkpoint'],
  ['nobody agreed', log(null), renewed, [], 10, `E_KEYBIND entry ${at}`],
  ['somebody else agreed', log(stranger), renewed, [], 10, `E_KEYBIND entry ${at}`],
  [
    'it names another key before it',
    log(stranger, verifierKey(world.origin, generateKeyPairSync('ed25519').publicKey)),
    renewed,
    [],
    10,
    `E_KEYBIND entry ${at}`,
  ],
];
for (const [name, leaves, signer, known, exit, found] of rows)
  t.test(name, (t) => {
    const dir = t.testdir();
    writeFiles(dir, seal(signer, leaves));
    const findings = new Findings();
    const notes = known.map((note, i) => ({ name: `known ${i + 1}`, note }));
    auditEpochs(dir, { roots: [ca], crls: [] }, notes, findings);
    const all = findings.kept.map(({ code, where }) => `${code} ${where}`);
    t.equal(EXIT[findings.verdict(false)], exit, JSON.stringify(findings.kept));
    if (found) t.ok(all.includes(found), JSON.stringify(findings.kept));
    t.end();
  });
