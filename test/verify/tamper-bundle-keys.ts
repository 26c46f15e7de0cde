/** Rows of an exporter who alters certificates, the key of the log, and checkpoints. */
import { concat } from '../../base/bytes.ts';
import { sha256Hex } from '../../base/hash.ts';
import { checkpointText, signCheckpoint } from '../../transcript/checkpoint.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { formatNote, signNote } from '../../transcript/note.ts';
import { certificateFile, credentialOf } from '../support/bundle-writer.ts';
import { headOf, noteAt, pemOf } from '../support/log-writer.ts';
import {
  file,
  first,
  found,
  msg,
  swapped,
  text,
  withContent,
  withFiles,
  without,
  type BundleRow,
} from './bundle-edits.ts';
import { rogue, rogueKey } from './rogue-log.ts';
import { flipped, leaves, world } from './tamper.ts';

const alice = credentialOf(world, 'alice');
const bob = credentialOf(world, 'bob');

/** As many certificates as are kept, beside those that are needed: each differs in its signature, which nobody looks at. */
const crowd = new Map(
  Array.from({ length: 4096 }, (_, i) => {
    const der = Buffer.from(alice.chain[0]!);
    der.writeUInt32BE(i, der.length - 4);
    return [`cert/${sha256Hex(der)}.pem`, der];
  }),
);

const consistency = 'log/01/consistency/10';

export const BUNDLE_KEYS: readonly BundleRow[] = [
  {
    name: 'no certificate of a sender',
    archive: without(certificateFile(bob)),
    ...found('E_CERT_UNKNOWN', msg(2, 'batch.sig'), true, 12),
  },
  {
    name: 'no certificate of the exporter',
    archive: without(certificateFile(alice)),
    ...found('E_CERT_UNKNOWN', 'BUNDLE', false, 12),
  },
  {
    name: 'certificates under names of others',
    archive: swapped(certificateFile(alice), certificateFile(bob)),
    ...found('E_FORMAT', certificateFile(alice), false),
  },
  {
    name: 'a malformed certificate',
    archive: file(certificateFile(bob), (b) => b.subarray(1)),
    ...found('E_FORMAT', certificateFile(bob), false),
  },
  {
    name: 'more certificates than are kept',
    archive: withFiles((files) => {
      for (const [name, der] of crowd) files.set(name, Buffer.from(pemOf(der)));
    }),
    exit: 10,
    code: 'E_FORMAT',
    where: [...crowd.keys()].sort().at(-1)!,
  },
  {
    name: 'two certificates in one file',
    archive: file(certificateFile(bob), (b) => concat(b, b)),
    ...found('E_FORMAT', certificateFile(bob), false),
  },
  {
    name: 'no certificate of the server',
    archive: without(certificateFile(world.server)),
    ...found('E_KEYBIND', 'log/01/key-01.stmt', true, 12),
  },
  {
    name: 'a log key that nobody signed for',
    archive: file('log/01/key-01.sig', (b) => flipped(b, 20)),
    ...found('E_KEYBIND', 'log/01/key-01.sig', true, 12),
  },
  {
    name: 'a log key of the exporter, by his certificate',
    archive: rogue(alice),
    ...found('E_KEYBIND', 'log/01/key-01.stmt', false, 10),
  },
  {
    name: 'a malformed key statement',
    archive: file('log/01/key-01.stmt', (b) => b.subarray(1)),
    ...found('E_FORMAT', 'log/01/key-01.stmt', false),
  },
  ...['checkpoint', 'key-01.sig', 'key-01.stmt'].map((name) => ({
    name: `no ${name}`,
    archive: without(`log/01/${name}`),
    ...found('E_FORMAT', `log/01/${name}`, false),
  })),
  {
    name: 'nothing that names the key of the log',
    archive: without('log/01/key-01.sig', 'log/01/key-01.stmt'),
    ...found('E_FORMAT', 'log/01', false),
  },
  {
    name: 'a last checkpoint that is no note',
    archive: file(
      'log/01/checkpoint',
      text((t) => t.replace('\n\n', '\n')),
    ),
    ...found('E_FORMAT', 'log/01/checkpoint', false),
  },
  {
    name: 'a last checkpoint with a line more, signed',
    archive: file('log/01/checkpoint', () => {
      const more = `${checkpointText(headOf(world, leaves.map(encodeLeaf)))}more\n`;
      return formatNote(more, [signNote(more, world.origin, world.logKey)]);
    }),
    ...found('E_FORMAT', 'log/01/checkpoint', false),
  },
  {
    name: 'a last checkpoint with two lines of the log, of which one is wrong',
    archive: file('log/01/checkpoint', () => {
      const whole = checkpointText(headOf(world, leaves.map(encodeLeaf)));
      const line = signNote(whole, world.origin, world.logKey);
      return formatNote(whole, [line, { ...line, signature: flipped(Buffer.from(line.signature), 5) }]);
    }),
    ...found('E_CKPT_SIG', 'log/01/checkpoint', false),
  },
  { name: 'no log', archive: withContent((c) => ({ ...c, logs: [] })), ...found('E_KEYBIND', first.proof, false, 12) },
  {
    name: 'a log twice',
    archive: withContent((c) => ({ ...c, logs: [c.logs[0]!, { ...c.logs[0]!, consistency: new Map() }] })),
    ...found('E_FORMAT', 'log/02'),
  },
  {
    name: 'a last checkpoint that the log did not sign',
    archive: file('log/01/checkpoint', () => signCheckpoint(headOf(world, leaves.map(encodeLeaf)), rogueKey)),
    ...found('E_CKPT_SIG', 'log/01/checkpoint', false),
  },
  {
    name: 'an older checkpoint as the last',
    archive: file('log/01/checkpoint', () => noteAt(world, leaves, 10)),
    ...found('E_CONSISTENCY', msg(4, 'log.tlog-proof'), false),
  },
  {
    name: 'no consistency proof',
    archive: without(consistency),
    exit: 0,
    code: 'W_UNLINKED',
    where: msg(2, 'log.tlog-proof'),
  },
  {
    name: 'an altered consistency proof',
    archive: file(
      consistency,
      text((t) => t.replace(/\n[^\n]{10}/, `\nAAAAAAAAAA`)),
    ),
    ...found('E_CONSISTENCY', consistency),
  },
  {
    name: 'a consistency proof to another checkpoint',
    archive: file(
      consistency,
      text((t) => t.replace('\n584\n', '\n585\n')),
    ),
    ...found('E_CONSISTENCY', consistency),
  },
  {
    name: 'a consistency proof from another size',
    archive: swapped(consistency, 'log/01/consistency/14'),
    ...found('E_FORMAT', consistency, false),
  },
  {
    name: 'a malformed consistency proof',
    archive: file(
      consistency,
      text((t) => t.replace('old', 'new')),
    ),
    ...found('E_FORMAT', consistency, false),
  },
];
