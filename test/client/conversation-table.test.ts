/** What of a conversation is read once, and what a message costs in a room of a thousand. */
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ConversationId, Hash, SessionId } from '../../base/bytes.ts';
import { ConversationTable } from '../../client/conversation-table.ts';
import { Database } from '../../client/database.ts';
import { Seal } from '../../client/seal.ts';
import { clearKey } from '../../client/vault-key.ts';

const id = randomBytes(32) as Uint8Array as ConversationId;
const members = Array.from({ length: 1000 }, (_, i) => ({ username: `user${i}`, devices: [randomBytes(32)] }));
const room = { peer: '#all', epoch: 1, members, room: { public: true, founder: false, closed: false } };
const session = randomBytes(16) as Uint8Array as SessionId;
const leaf = (): Hash => randomBytes(32) as Uint8Array as Hash;

function table(t: Test) {
  const folder = join(t.testdir({}), 'p');
  const db = Database.open(folder);
  t.teardown(() => db.close());
  const it = new ConversationTable(db, new Seal(clearKey(join(folder, 'vault.key'), true)));
  return { folder, db, it };
}

// Fails when the roster stands in the row that each message changes.
t.test('one message of a thousand members writes little', async (t) => {
  const { folder, it } = table(t);
  it.put(id, room);
  const journal = (): number => statSync(join(folder, 'vault.db-wal')).size;
  const before = journal();
  it.advance(id, session, 1, leaf());
  t.ok(journal() - before < 10_000, `${journal() - before} bytes`);
  t.equal(it.one(id)?.convCtr, 1);
});

// Fails when what is remembered is not what is on disk.
t.test('a roster is read once, and again when another one is there', async (t) => {
  const { db, it } = table(t);
  t.equal(it.one(id), null);
  it.put(id, room);
  t.equal(it.one(id)!.members, it.one(id)!.members, 'the same object');
  it.put(id, { ...room, epoch: 2 });
  t.equal(it.one(id)?.epoch, 2);
  t.throws(() =>
    db.transaction(() => {
      it.put(id, { ...room, epoch: 3 });
      t.equal(it.one(id)?.epoch, 3);
      throw new Error('no');
    }),
  );
  t.equal(it.one(id)?.epoch, 2, 'as it is after what was taken back');
  it.advance(id, session, 7, leaf());
  it.put(id, { ...room, epoch: 4 });
  t.match(it.one(id), { epoch: 4, convCtr: 7 }, 'where this device is does not depend on who else is there');
});

t.test('more conversations than are remembered', async (t) => {
  const { it } = table(t);
  const ids = Array.from({ length: 300 }, () => randomBytes(32) as Uint8Array as ConversationId);
  for (const [i, each] of ids.entries()) it.put(each, { peer: `p${i}`, epoch: i, members: members.slice(0, 2) });
  for (let round = 0; round < 2; round++)
    t.strictSame(
      it.all().map(({ peer }) => peer),
      ids.map((_, i) => `p${i}`),
    );
});
