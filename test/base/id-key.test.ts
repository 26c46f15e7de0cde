/** Keys of maps: the same for the same bytes, another for others, whatever was spelled in between. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { idKey } from '../../base/id-key.ts';

t.test('is the hexadecimal form, of 16 bytes as of 32, also beside others of the same slot', async (t) => {
  const ids = Array.from({ length: 200 }, (_, i) => {
    const id = randomBytes(i % 2 === 0 ? 32 : 16);
    id.fill(7, 0, 2);
    return id;
  });
  // One that is the beginning of another.
  ids.push(ids[0]!.subarray(0, 16));
  for (let times = 0; times < 2; times++) for (const id of ids) if (idKey(id) !== hex(id)) t.fail(hex(id));
  t.equal(idKey(ids[0]!), hex(ids[0]!));
  t.equal(idKey(ids.at(-1)!), hex(ids[0]!).slice(0, 32));
});

t.test('bytes that are written over afterwards have another key', async (t) => {
  const id = randomBytes(32);
  const before = hex(id);
  t.equal(idKey(id), before);
  id[31]! ^= 1;
  t.not(idKey(id), before);
  t.equal(idKey(Buffer.from(before, 'hex')), before);
});
