/**
 * Commits of one conversation through a sequencer over each database: one that was made in a state that has passed is refused, whether
 * the sequencer or the database alone knows of the newer one. (What a sequencer judges by in detail: test/server/groups.test.ts.)
 */
import type { Test } from 'tap';
import type { Submission } from '../../server/submission.ts';
import { identity, transcriptWorld, type Database, type Sender } from '../support/transcript-world.ts';

const stale = { code: 'STALE', sub: 'epoch', field: 'msg_send.messages[0].group' };

/** @param database null: SQLite in the test's folder. No other test may use its log or its people. */
export function epochConformance(t: Test, name: string, database: Database | null): Promise<unknown> {
  return t.test(`${name}: a stale commit is refused`, async (t) => {
    const w = await transcriptWorld(t.testdir(), {}, {}, identity(), database ?? undefined);
    const { alice, bob } = w;
    const commit = (sender: Sender, generation: number, epoch: number, peek = false): Submission =>
      sender.batch(w.conversation, ['commit'], [(sender === alice ? bob : alice).device.id], {
        group: { generation, epoch },
        groupInfo: Buffer.from(`info after ${generation}.${epoch}`),
        peek,
      });
    const is = async (generation: number, epoch: number): Promise<void> => {
      t.match(await w.store.group(w.conversation), { generation, epoch }, `${generation}.${epoch}`);
    };
    await w.sequencer.submit(commit(alice, 1, 0));
    await t.rejects(w.sequencer.submit(commit(bob, 1, 0, true)), stale);
    await is(1, 1);

    const attempts = [alice, bob].map((sender) => ({ sender, batch: commit(sender, 1, 1, true) }));
    const results = await Promise.allSettled(attempts.map(({ batch }) => w.sequencer.submit(batch)));
    const winner = attempts[results.findIndex(({ status }) => status === 'fulfilled')]!.sender;
    t.match(
      results.find(({ status }) => status === 'rejected'),
      { reason: stale },
      'of two at once one',
    );
    commit(winner, 1, 1); // his lineage has gone on
    await is(1, 2);

    await w.close();
    await w.reopen();
    for (const epoch of [0, 1])
      await t.rejects(w.sequencer.submit(commit(bob, 1, epoch, true)), stale, 'after a restart');
    await is(1, 2);
    await w.sequencer.submit(commit(bob, 1, 2));
    await w.sequencer.submit(commit(alice, 2, 0));
    await t.rejects(w.sequencer.submit(commit(bob, 1, 3, true)), stale, 'a group that was made anew');
    await is(2, 1);
    await w.close();
  });
}
