/** A test of its own: SQLite asks for its temporary folder once in each process. */
import { statSync } from 'node:fs';
import t from 'tap';
import { migrateStore, openStore } from '../../store/open.ts';
import { NOW, World } from '../support/store-world.ts';

t.test('nothing of a message is written anywhere but beside the database', async (t) => {
  const folders = t.testdir({ db: {}, temporary: {} });
  const temporary = `${folders}/temporary`;
  process.env['SQLITE_TMPDIR'] = temporary;
  const url = `sqlite:${folders}/db/chat.db`;
  await migrateStore(url, null, NOW);
  const store = await openStore(url, null);
  const w = await World.open(store);
  // Files there are removed as soon as they are open: the folder's own time tells.
  const changedAt = () => statSync(temporary, { bigint: true }).mtimeNs;
  const before = changedAt();
  // Two that share a transaction, each of which can be undone alone, and changes more than what SQLite keeps of that in memory.
  for (const { id } of [w.devices.b1, w.devices.b2, w.devices.b1]) {
    const window = w.window(Array.from({ length: 256 }, () => w.batch({ recipients: [id] })));
    const [answers] = await Promise.all([store.commitWindow(window), store.acknowledge(id, [1], w.bob.id)]);
    t.equal(answers.length, 256);
  }
  await store.close();
  t.equal(changedAt(), before);
});
