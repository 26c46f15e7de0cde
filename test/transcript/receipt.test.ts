import t from 'tap';
import type { Hash } from '../../base/bytes.ts';
import { decodeReceipt, encodeReceipt, MAX_ACKNOWLEDGED } from '../../transcript/receipt.ts';
import { KIND, decodeMs, encodeMs, isReceipt, isThreaded, OPEN_BYTES, type Kind } from '../../transcript/statement.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { filled, ms, refuses } from './sample.ts';

const plain = { convCtr: 0, prevConv: NO_HASH, rosterHash: NO_HASH, commitment: NO_HASH, parts: 1 };

t.test('a receipt is the hashes, one after the other', async (t) => {
  const hashes = [filled(1), filled(2)] as Uint8Array[] as Hash[];
  const part = encodeReceipt(hashes);
  t.equal(part.toString('hex'), '01'.repeat(32) + '02'.repeat(32));
  t.strictSame(
    decodeReceipt(part).map((hash) => Buffer.from(hash)),
    hashes.map((hash) => Buffer.from(hash)),
  );
  t.equal(decodeReceipt(Buffer.alloc(32 * MAX_ACKNOWLEDGED)).length, 1024);
  for (const bytes of [0, 31, 33, 32 * MAX_ACKNOWLEDGED + 32])
    refuses(t, () => decodeReceipt(Buffer.alloc(bytes)), 'BAD_FRAME', 'receipt', `${bytes} bytes`);
});

t.test('statements outside the chain of a conversation: exactly one form for each', async (t) => {
  const forms = [
    [KIND.delivered, { ...plain, ciphertextBytes: 32 }],
    [KIND.read, { ...plain, ciphertextBytes: 32 * MAX_ACKNOWLEDGED }],
    [KIND.open, { ...plain, ciphertextBytes: OPEN_BYTES, conversation: NO_HASH, sessionCtr: 1 }],
    [KIND.close, { ...plain, ciphertextBytes: 0, conversation: NO_HASH, sessionCtr: 9 }],
  ] as [Kind, object][];
  for (const [kind, form] of forms) {
    const bytes = encodeMs(ms({ ...form, kind }));
    t.match(decodeMs(bytes), { kind, convCtr: 0 }, `kind ${kind}`);
    const altered: readonly (readonly [field: string, at: number])[] = [
      ['ms.conv_ctr', 119],
      ['ms.prev_conv', 151],
      ['ms.roster_hash', 183],
      ['ms.commitment', 215],
      ['ms.parts', 11],
      ['ms.ciphertext_bytes', 15],
      ...(isReceipt(kind) ? [] : [['ms.conversation', 111] as const]),
      ...(kind === KIND.open ? [['ms.session_ctr', 71] as const] : []),
    ];
    for (const [field, at] of altered) {
      const other = Buffer.from(bytes);
      other[at]! ^= 2;
      refuses(t, () => decodeMs(other), 'BAD_FRAME', field, `kind ${kind}: ${field}`);
    }
  }
  refuses(
    t,
    () => encodeMs(ms({ ...plain, kind: KIND.read, ciphertextBytes: 32 * (MAX_ACKNOWLEDGED + 1) })),
    'BAD_FRAME',
    'ms.ciphertext_bytes',
    'too many',
  );
  refuses(
    t,
    () => encodeMs(ms({ ...plain, kind: KIND.read, ciphertextBytes: 0 })),
    'BAD_FRAME',
    'ms.ciphertext_bytes',
    'none',
  );
  refuses(t, () => encodeMs(ms({ convCtr: 0 })), 'BAD_FRAME', 'ms.conv_ctr', 'a message is counted');
  t.strictSame(
    Object.values(KIND).filter(isThreaded),
    [KIND.message, KIND.attachment, KIND.membership],
    'what is counted in its conversation',
  );
});
