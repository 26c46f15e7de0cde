/** What a crash has interrupted is waited for: in its conversations, until it has come, and not for ever. */
import t from 'tap';
import type { ConversationId } from '../../base/bytes.ts';
import { AWAITED_MS, Incomplete } from '../../server/incomplete.ts';
import { NOW, random32 } from '../support/store-world.ts';

const [one, two, other] = [1, 2, 3].map(() => random32<ConversationId>()) as [
  ConversationId,
  ConversationId,
  ConversationId,
];
const begun = (): Incomplete => {
  const incomplete = new Incomplete();
  const messages = [
    { conversation: one, index: 4 },
    { conversation: one, index: 9 },
    { conversation: two, index: 5 },
  ];
  incomplete.begin(messages, NOW + AWAITED_MS);
  return incomplete;
};

t.test('until all of a conversation has come, and of no other', (t) => {
  const incomplete = begun();
  const concerns = () => [one, two, other].map((id) => incomplete.concerns(id, NOW));
  t.strictSame(concerns(), [true, true, false]);
  incomplete.completed(one, 9);
  incomplete.completed(one, 5);
  incomplete.completed(other, 4);
  t.strictSame(concerns(), [true, true, false]);
  incomplete.completed(one, 4);
  t.strictSame(concerns(), [false, true, false]);
  incomplete.completed(two, 5);
  t.strictSame(concerns(), [false, false, false]);
  t.end();
});

t.test('not for longer than was said, also when the clock is set back', (t) => {
  const incomplete = begun();
  t.ok(incomplete.concerns(one, NOW + AWAITED_MS - 1));
  t.notOk(incomplete.concerns(one, NOW + AWAITED_MS));
  t.notOk(incomplete.concerns(one, NOW), 'nor again');

  const earlier = NOW - 86_400_000;
  const setBack = begun();
  t.ok(setBack.concerns(two, earlier));
  t.notOk(setBack.concerns(two, earlier + AWAITED_MS));
  t.end();
});
