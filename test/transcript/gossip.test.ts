import t from 'tap';
import { type Hash } from '../../base/bytes.ts';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { writeBytes, writeInteger } from '../../transcript/content-cbor.ts';
import {
  decodeCheckpoints,
  decodeSeen,
  encodeCheckpoints,
  encodeSeen,
  MAX_SEEN,
  noteOf,
  toldOf,
} from '../../transcript/gossip.ts';
import { filled, fingerprint, log, logKey, origin, refuses, session } from './sample.ts';

const root = filled(5) as Uint8Array as Hash;
const note = signCheckpoint({ origin, size: 12, root }, logKey);
const statement = { device: fingerprint, session, convCtr: 7, leaf: filled(3) };

t.test('a checkpoint is told in 108 bytes, and is the same note again', async (t) => {
  const value = encodeCheckpoints([toldOf(note, log)]);
  t.equal(value.length, 2 + 1 + 108);
  const [told] = decodeCheckpoints(value);
  t.match(told, { keyId: log.keyId, size: 12 });
  t.ok(noteOf(told!, log).equals(note));
  t.strictSame(decodeCheckpoints(encodeCheckpoints([])), []);
});

t.test('what was seen is told in 72 bytes each', async (t) => {
  const value = encodeSeen([statement, { ...statement, convCtr: 8 }]);
  t.equal(value.length, 2 + 1 + 2 * 72);
  const [first, second] = decodeSeen(value);
  t.match(first, { convCtr: 7 });
  t.equal(second?.convCtr, 8);
  t.equal(first?.leaf.length, 16);
});

t.test('what is neither', async (t) => {
  for (const [decode, field, entry] of [
    [decodeCheckpoints, 'content.checkpoints', 108],
    [decodeSeen, 'content.seen', 72],
  ] as const) {
    refuses(t, () => decode(writeInteger(1)), 'BAD_FRAME', field, 'a number');
    refuses(t, () => decode(writeBytes(new Uint8Array(0))), 'BAD_FRAME', field, 'nothing');
    refuses(t, () => decode(writeBytes(Buffer.alloc(1 + entry))), 'BAD_FRAME', field, 'one that is not counted');
    refuses(t, () => decode(writeBytes(Buffer.alloc(entry, 1))), 'BAD_FRAME', field, 'one that is cut');
    refuses(t, () => decode(writeBytes(Buffer.alloc(1 + 17 * entry, 17))), 'BAD_FRAME', field, 'too many');
  }
  refuses(t, () => decodeSeen(encodeSeen([{ ...statement, convCtr: 0 }])), 'BAD_FRAME', 'content.seen', 'counter 0');
  t.equal(decodeSeen(encodeSeen(Array.from({ length: MAX_SEEN }, () => statement))).length, MAX_SEEN);
});
