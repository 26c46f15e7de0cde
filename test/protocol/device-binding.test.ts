/** What binds the MLS key of a device to a certificate, as bytes: the form alone, which anybody may send. */
import t from 'tap';
import { concat } from '../../base/bytes.ts';
import { decodeBinding, encodeBinding, encodeStatement, MAX_BINDING_BYTES } from '../../protocol/device-binding.ts';

const said = {
  organisation: 'localhost',
  user: 'alice',
  deviceId: Buffer.alloc(16, 1),
  mlsKey: Buffer.alloc(32, 2),
  notBefore: 1_700_000_000_000,
  notAfter: 1_800_000_000_000,
};
const HASH = Buffer.alloc(32, 3);
const BODY = encodeStatement(said, HASH);
const SIGNATURE = Buffer.alloc(64, 4);
const CHAIN = [Buffer.alloc(300, 5), Buffer.alloc(400, 6)];
const binding = (body: Uint8Array = BODY, chain: readonly Uint8Array[] = CHAIN) =>
  encodeBinding(body, 1, SIGNATURE, chain);
/** The body with one stretch of it replaced. */
const changed = (from: Buffer | string, to: Buffer | string): Buffer => {
  const at = BODY.indexOf(from);
  return concat(BODY.subarray(0, at), Buffer.from(to), BODY.subarray(at + from.length));
};

t.test('what is encoded is decoded', async (t) => {
  const { statement, ...rest } = decodeBinding(binding());
  t.same(statement, said);
  t.same(rest, { body: BODY, certificateHash: HASH, algorithm: 1, signature: SIGNATURE, chain: CHAIN });
});

t.test('everything else is refused', async (t) => {
  const nine = Array.from({ length: 9 }, () => Buffer.alloc(1));
  t.equal(decodeBinding(binding(BODY, nine)).chain.length, 9);
  const rows: readonly (readonly [name: string, bytes: Uint8Array, code: string])[] = [
    ['no certificate', binding(BODY, []), 'BAD_FRAME'],
    ['ten certificates', binding(BODY, [...nine, Buffer.alloc(1)]), 'BAD_FRAME'],
    ['a byte behind', concat(binding(), Buffer.alloc(1)), 'BAD_FRAME'],
    ['a byte missing', binding().subarray(0, -1), 'BAD_FRAME'],
    ['another version', binding(changed('chat-db1', 'chat-db2')), 'BAD_FRAME'],
    ['a key of another type', binding(changed('ed25519', 'ed44819')), 'BAD_FRAME'],
    ['a shorter type of key', binding(changed('\x07ed25519', '\x02ed')), 'BAD_FRAME'],
    ['a byte behind the statement', binding(concat(BODY, Buffer.alloc(1))), 'BAD_FRAME'],
    ['a byte of the statement missing', binding(BODY.subarray(0, -1)), 'BAD_FRAME'],
    ['a name that is no text', binding(changed('alice', Buffer.alloc(5, 0xff))), 'BAD_FRAME'],
    ['longer than any', binding(BODY, [Buffer.alloc(MAX_BINDING_BYTES)]), 'TOO_LARGE'],
    ['nothing', Buffer.alloc(0), 'BAD_FRAME'],
  ];
  for (const [name, bytes, code] of rows) t.throws(() => decodeBinding(bytes), { code }, name);
});

t.test('a statement that could not be read again is not made', async (t) => {
  for (const wrong of [
    { deviceId: Buffer.alloc(15) },
    { mlsKey: Buffer.alloc(33) },
    { user: '' },
    { organisation: 'x'.repeat(256) },
  ])
    t.throws(() => encodeStatement({ ...said, ...wrong }, HASH), RangeError);
  const long = { ...said, organisation: 'x'.repeat(255) };
  t.equal(decodeBinding(binding(encodeStatement(long, HASH))).statement.organisation.length, 255);
});
