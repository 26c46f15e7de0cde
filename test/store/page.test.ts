import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { ConversationId, Hash } from '../../base/bytes.ts';
import { decodePage, encodePage } from '../../store/page.ts';
import type { QueueItem } from '../../store/contract/queue.ts';

const id = (): ConversationId => randomBytes(32) as Uint8Array as ConversationId;
const [one, other] = [id(), id()];
const message = (cursor: number, more: Partial<Extract<QueueItem, { kind: 'message' }>> = {}): QueueItem => ({
  kind: 'message',
  cursor,
  origin: 'chat.example.org/log/n1',
  batchFirstIndex: 2 ** 40 - 3,
  index: 2 ** 40 - 1,
  conversation: one,
  seq: 2 ** 53 - 1,
  statement: randomBytes(248),
  parts: [randomBytes(300)],
  group: null,
  ...more,
});
const expired = (cursor: number, by: string): QueueItem => ({
  kind: 'expired',
  cursor,
  conversation: other,
  message: randomBytes(32) as Uint8Array as Hash,
  by,
  at: 1_795_000_000_000,
});
t.test('a page is the same behind the thread', (t) => {
  const items = [
    message(1),
    message(2, { conversation: other, origin: '', parts: [], group: { generation: 1, epoch: 0 } }),
    expired(3, 'bob'),
    message(5, {
      parts: [Buffer.alloc(0), randomBytes(1), randomBytes(70_000)],
      group: { generation: 7, epoch: 2 ** 40 },
    }),
    expired(2 ** 48 - 1, 'alice@example.org'),
    expired(2 ** 48, 'bob'),
  ];
  for (const isWhole of [true, false]) {
    const page = encodePage({ items, isWhole });
    const moved = structuredClone(page, { transfer: [page.numbers.buffer, page.block.buffer] });
    const read = decodePage(moved);
    t.strictSame(plain(read), plain({ items, isWhole }));
  }
  t.strictSame(decodePage(encodePage({ items: [], isWhole: true })), { items: [], isWhole: true });
  t.end();
});

t.test('what its rows share is there once', (t) => {
  const items = Array.from({ length: 100 }, (_, i) => message(i + 1, { parts: [] }));
  const { block, texts } = encodePage({ items, isWhole: true });
  t.equal(block.length, 32 + 100 * 248);
  t.strictSame(texts, ['chat.example.org/log/n1']);
  t.end();
});

/** Bytes of whatever class, as text. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
}
