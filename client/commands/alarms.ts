/** `transcript alarms`: what this profile has found to be false, and the signed notes and entries of the log that are kept as proof of it. */
import type { CommandModule } from 'yargs';
import { join } from 'node:path';
import { hex, utf8 } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { sha256 } from '../../base/hash.ts';
import { printable } from '../../runtime/printable.ts';
import { peekCheckpoint } from '../../transcript/checkpoint.ts';
import type { GlobalArgs } from '../context.ts';
import { entriesOf, type KeptEntry } from '../alarm-proof.ts';
import { writePieces } from '../../runtime/whole-file.ts';
import { makePrivateFolder } from '../private-file.ts';
import { notesOf } from '../trust.ts';
import type { Run } from './account.ts';

interface AlarmArgs extends GlobalArgs {
  readonly out?: string | undefined;
}

export const alarmsCommand = (run: Run): CommandModule<GlobalArgs, AlarmArgs> => ({
  command: 'alarms',
  describe: 'List what was found to be false, and the notes signed by the server that contradict each other',
  builder: (y) =>
    y
      .option('out', {
        type: 'string',
        requiresArg: true,
        describe: 'write these notes, and entries with their proofs, to files in this folder',
      })
      .example(
        '$0 transcript alarms --out proof',
        'then: chat-verify BUNDLE --ca ca.crt --known, with each file of proof/ in turn',
      )
      .example('$0 transcript alarms --json', 'one object for each, with its notes'),
  handler: (args) =>
    run(args, (context) =>
      context.withRecords(({ ledger }) => {
        const alarms = ledger.alarms().map((alarm) => ({ ...alarm, notes: notesOf(alarm) }));
        for (const { at, code, message, notes } of alarms) {
          const time = new Date(at).toISOString();
          if (args.json) context.json('alarm', { at: time, code, message, notes });
          else
            context.out(
              `${time}  ${code}  ${printable(message)}${notes.length > 0 ? `  (${notes.length} notes)` : ''}`,
            );
        }
        if (args.out === undefined) return;
        const notes = new Set(alarms.flatMap((alarm) => alarm.notes));
        if (notes.size === 0)
          throw new ChatError('NOT_FOUND', 'no note is kept: the server contradicted itself nowhere');
        makePrivateFolder(args.out);
        for (const note of notes) writePieces(join(args.out, fileOf(note)), [utf8(note)], true);
        const entries = new Map(alarms.flatMap(entriesOf).map((kept) => [nameOf(kept), kept]));
        for (const [name, { entry, proof }] of entries) {
          writePieces(join(args.out, `${name}.entry`), [entry], true);
          writePieces(join(args.out, `${name}.tlog-proof`), [proof], true);
        }
        const more = entries.size > 0 ? ` and ${entries.size} entries with their proofs` : '';
        context.note(`${notes.size} notes${more}, in ${args.out}`);
      }),
    ),
});

/** One entry at two places is two files. */
const nameOf = ({ index, entry }: KeptEntry): string => `${index}-${hex(sha256(entry)).slice(0, 8)}`;

/** The same note is the same file. */
function fileOf(note: string): string {
  const bytes = utf8(note);
  return `${peekCheckpoint(bytes).size}-${hex(sha256(bytes)).slice(0, 8)}.checkpoint`;
}
