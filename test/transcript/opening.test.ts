import t from 'tap';
import { leafHash } from '../../transcript/merkle.ts';
import { decodeOpening, encodeOpening, openingHash, type SessionEnd } from '../../transcript/opening.ts';
import { OPEN_BYTES } from '../../transcript/statement.ts';
import { filled, session } from './sample.ts';

const end: SessionEnd = { session, lastCtr: 258, lastBatch: filled(0xd1) as never };

t.test('how the session before ends has one form', (t) => {
  const part = encodeOpening(end);
  t.equal(part.toString('hex'), `${'b1'.repeat(16)}0000000000000102${'d1'.repeat(32)}`);
  t.same(decodeOpening(part), end);
  t.same(openingHash(end), leafHash(part));
  t.same(encodeOpening(null), Buffer.alloc(OPEN_BYTES));
  t.equal(decodeOpening(Buffer.alloc(OPEN_BYTES)), null);
  t.end();
});

t.test('what is none', (t) => {
  const part = encodeOpening(end);
  for (const [name, bytes] of [
    ['empty', Buffer.alloc(0)],
    ['a byte less', part.subarray(1)],
    ['a byte more', Buffer.concat([part, Buffer.alloc(1)])],
    ['a session that has said nothing', Buffer.from(part).fill(0, 16, 24)],
    ['a counter that no number holds', Buffer.from(part).fill(0xff, 16, 24)],
  ] as const)
    t.throws(() => decodeOpening(bytes), { code: 'BAD_FRAME' }, name);
  t.end();
});
