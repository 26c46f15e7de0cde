/** The body of a TIME entry: a note and the token over it, both there, in one form. */
import t from 'tap';
import { sha256 } from '../../base/hash.ts';
import { decodeStamp, encodeStamp, imprintOf } from '../../transcript/stamp.ts';

const [checkpoint, token] = [Buffer.from('note'), Buffer.from('token')];
t.same(encodeStamp({ checkpoint, token }), Buffer.from('\0\x04notetoken'));
t.same(decodeStamp(encodeStamp({ checkpoint, token })), { checkpoint, token });
t.same(imprintOf(checkpoint), sha256(checkpoint));
t.throws(() => encodeStamp({ checkpoint, token: Buffer.alloc(0) }), { code: 'BAD_FRAME', field: 'stamp.token' });
t.throws(() => encodeStamp({ checkpoint: Buffer.alloc(0), token }), { code: 'BAD_FRAME', field: 'stamp.checkpoint' });
t.throws(
  () => encodeStamp({ checkpoint: Buffer.alloc(0x10000), token }),
  { code: 'BAD_FRAME' },
  'a note that has no room',
);
for (const bytes of ['', '\0', '\0\x05note', '\0\x04note'])
  t.throws(() => decodeStamp(Buffer.from(bytes)), { code: 'BAD_FRAME' }, JSON.stringify(bytes));
