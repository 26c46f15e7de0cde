/** Messages of every type that RFC 9420 has come back byte by byte, and nothing else passes for one. */
import fc from 'fast-check';
import t from 'tap';
import { encodeMlsMessage } from 'ts-mls';
import { parseMessage } from '../../client/e2ee/guard.ts';
import { pad, unpad } from '../../client/e2ee/padding.ts';
import { bytes, hexOf, withVectors } from './vectors.ts';

const MESSAGES = [
  'mls_welcome',
  'mls_group_info',
  'mls_key_package',
  'public_message_application',
  'public_message_proposal',
  'public_message_commit',
  'private_message',
] as const;

await withVectors<Record<(typeof MESSAGES)[number], string>>(t, 'messages.json', async (t, vectors) => {
  let same = 0;
  for (const vector of vectors)
    for (const type of MESSAGES)
      if (hexOf(encodeMlsMessage(parseMessage(bytes(vector[type])))) === vector[type]) same++;
  t.equal(same, vectors.length * MESSAGES.length);
  const sample = bytes(vectors[0]!.private_message);
  for (let end = 0; end < sample.length; end++)
    t.throws(() => parseMessage(sample.subarray(0, end)), { code: 'BAD_FRAME', field: 'mls' }, `cut at ${end}`);
});

t.test('padding', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), (content) => {
      const padded = pad(content);
      return (
        padded.length >= 256 &&
        Number.isInteger(Math.log2(padded.length)) &&
        Buffer.compare(unpad(padded), content) === 0
      );
    }),
    process.env['FUZZ'] ? { numRuns: 10_000 } : { seed: 1, numRuns: 100 },
  );
  t.strictSame(
    [0, 255, 256, 511, 512, 4095].map((n) => pad(Buffer.alloc(n)).length),
    [256, 256, 512, 512, 1024, 4096],
  );
  const rows: [string, Uint8Array][] = [
    ['empty', Buffer.alloc(0)],
    ['zeros', Buffer.alloc(256)],
    ['no mark', Buffer.alloc(256, 1)],
    ['not a class', Buffer.concat([pad(Buffer.from('x')), Buffer.alloc(1)])],
    ['more than is needed', Buffer.concat([pad(Buffer.from('x')), Buffer.alloc(256)])],
    ['too short a class', Buffer.from([0x80])],
  ];
  for (const [name, padded] of rows) t.throws(() => unpad(padded), { code: 'BAD_FRAME', field: 'padding' }, name);
});
