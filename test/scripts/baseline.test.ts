/** What counts as slower than the baseline. */
import t from 'tap';
import { excesses, ratiosOf, type Baseline } from '../../bench/baseline.ts';
import { linesOf, type Line } from '../../bench/report.ts';

/** Three runs; the last of ours is an outlier, which a median does not mind. */
const measured = (name: string, quantity: string, ours: number, relay: number | null): Line[] =>
  linesOf({
    name,
    scenario: name,
    samples: {
      'chat-server': [{ [quantity]: ours }, { [quantity]: ours }, { [quantity]: 10 * ours }],
      ...(relay === null ? {} : { relay: [{ [quantity]: relay }, { [quantity]: relay }, { [quantity]: relay }] }),
    },
  });
const run = (factor: number): Line[] => [
  ...measured('relay1', 'server CPU s per 10,000', 4 * factor, 0.2),
  ...measured('offline', 'drain: server CPU s per 10,000', 0.4, null),
];
const baseline: Baseline = {
  commit: 'before',
  ratios: { 'relay1, server CPU s per 10,000': 20, 'offline, drain: server CPU s per 10,000': 2 },
};

t.test('ratios to the relay, of the same scenario or of the one that stands in for it', async (t) => {
  t.strictSame(ratiosOf(run(1)), baseline.ratios);
});

t.test('twice the baseline is not yet too slow, more is', async (t) => {
  t.strictSame(excesses(run(2), baseline), []);
  t.strictSame(excesses(run(2.1), baseline), [{ what: 'relay1, server CPU s per 10,000', ratio: 42, baseline: 20 }]);
});

t.test('what was not measured is not fast', async (t) => {
  const [relay1] = run(1);
  t.match(excesses([relay1!], baseline), [{ what: 'offline, drain: server CPU s per 10,000', ratio: Infinity }]);
});
