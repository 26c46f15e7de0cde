/** What a vault answers about its messages: what waits, what is under way, what was received, shown and is to be spoken of. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { equal, hex, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../../base/bytes.ts';
import { openings } from '../../client/staged-batch.ts';
import { composeBatch, composeCommit } from '../../client/statements.ts';
import type { Received } from '../../client/incoming.ts';
import { Vault } from '../../client/vault.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { KIND } from '../../transcript/statement.ts';
import { identityOf } from '../../x509/identity.ts';
import { testFolder } from '../support/folder.ts';
import { inTheOpen } from './in-the-open.ts';
import { ScriptedServer } from './scripted-server.ts';
import { textBytes } from './text-bytes.ts';

const server = new ScriptedServer();
const alice = server.identity('alice');
const bob = server.get('bob').fingerprint;
const id = server.conversation;
const other = randomBytes(32) as Uint8Array as ConversationId;
const rosterOf = (peer: string) => ({
  peer,
  epoch: 2,
  members: [
    { username: 'alice', devices: [alice.fingerprint] },
    { username: peer, devices: [bob] },
  ],
});

function open(t: Test): Vault {
  const vault = Vault.open(join(testFolder(t), 'p'));
  t.teardown(() => vault.close());
  vault.putRoster(id, rosterOf('bob'));
  vault.putRoster(other, rosterOf('carol'));
  return vault;
}
const write = (vault: Vault, text: string, to = id): number => vault.outgoing.enqueue(to, 'alice', textBytes(text), 1);

async function stage(vault: Vault) {
  const messages = vault.outgoing.waiting(10, 1e6, [other]);
  const batch = await composeBatch(
    alice,
    vault.sessions.current(alice.fingerprint),
    messages,
    new Map([[hex(id), vault.conversation(id)!]]),
    messages.map(() => randomBytes(32)),
    'localhost/log/n1',
    1000,
    inTheOpen,
  );
  vault.outgoing.stage(batch);
  return batch;
}
function accept(vault: Vault, firstSeq: number): void {
  const batch = vault.outgoing.staged()!;
  const seqs = batch.messages.map((_, i) => firstSeq + i - openings(batch));
  const { algorithm, signature } = batch;
  const items = batch.messages.map(({ statement }) => ({ statement }));
  const evidence = { algorithm, signature, batch: batch.batch, ack: Buffer.alloc(40), note: 'note', items };
  vault.outgoing.accept(batch, 'localhost/log/n1', 5000, seqs, evidence);
}

let hashes = 0;
const received = (seq: number, more: Partial<Received> = {}): Received => ({
  conversation: id,
  seq,
  hash: Buffer.alloc(32, ++hashes) as Uint8Array as Hash,
  direction: 'in',
  sender: 'bob',
  body: textBytes(`message ${seq}`),
  kf: Buffer.alloc(32),
  reason: null,
  clientTime: 1,
  serverTime: 1,
  lineage: { fingerprint: bob, session: Buffer.alloc(16, 1) as Uint8Array as SessionId, convCtr: seq },
  ...more,
});

t.test(
  'what waits is taken in order, as far as a batch goes, and not of conversations that have to wait',
  async (t) => {
    const vault = open(t);
    const rows = [write(vault, 'x'.repeat(1000)), write(vault, 'y'.repeat(1000), other), write(vault, 'z')];
    const taken = (...limits: Parameters<Vault['outgoing']['waiting']>) =>
      vault.outgoing.waiting(...limits).map(({ row }) => row);
    t.strictSame(taken(10, 1e6), rows);
    t.strictSame(taken(2, 1e6), rows.slice(0, 2));
    t.strictSame(taken(10, 1500), rows.slice(0, 1));
    t.strictSame(taken(10, 1), rows.slice(0, 1), 'one, however large it is');
    t.strictSame(taken(10, 1e6, [id]), [rows[1]]);
    t.ok(vault.outgoing.areWaiting(rows));
    t.notOk(vault.outgoing.areWaiting([...rows, 99]));
  },
);

t.test('what is under way is counted until it is delivered, and what is pending until it is accepted', async (t) => {
  const vault = open(t);
  write(vault, 'one');
  write(vault, 'two', other);
  const counts = () => [vault.pending(), vault.undelivered()];
  t.strictSame(counts(), [2, 2]);
  await stage(vault);
  t.strictSame(counts(), [2, 2], 'signed');
  accept(vault, 1);
  t.strictSame(counts(), [1, 2], 'accepted');
});

t.test('a batch: its messages are known by their statements, and are written once', async (t) => {
  const vault = open(t);
  const rows = [write(vault, 'one'), write(vault, 'two')];
  await stage(vault);
  vault.outgoing.unstage(false);
  const batch = await stage(vault);
  t.equal(openings(batch), 1);
  const leaves = batch.messages.slice(1).map(({ statement }) => leafHash(statement));
  t.strictSame(
    leaves.map((leaf) => vault.messageByHash(leaf)?.row),
    rows,
  );
  vault.outgoing.unstage(true);
  await stage(vault);
  vault.outgoing.unstage(false);
  t.ok(
    rows.every((row) => vault.message(row)?.isSolo),
    'once alone, always alone',
  );
  t.equal(vault.messageByHash(leaves[0]!), null);
  await stage(vault);
  vault.outgoing.fail(rows.slice(0, 1), 'QUOTA');
  t.match(vault.message(rows[0]!), { state: 'failed', reason: 'QUOTA', hash: null });
  t.equal(vault.outgoing.staged(), null);
  vault.outgoing.unstage(false);
  const again = await stage(vault);
  accept(vault, 7);
  t.match(vault.message(rows[1]!), { state: 'accepted', seq: 7, isSolo: true });
  t.ok(vault.ledger.evidence(leafHash(again.batch)), 'the proof is kept');
  const leaf = vault.message(rows[1]!)!.hash!;
  t.ok(vault.seen.has(id, alice.fingerprint, leaf), 'others can be told of it');
  t.equal(vault.outgoing.expire(leaf), rows[1]);
  t.equal(vault.outgoing.expire(leaf), null, 'once');
  t.match(vault.message(rows[1]!), { state: 'failed', reason: 'EXPIRED' });
});

t.test('what came is kept once, and is found by its place', async (t) => {
  const vault = open(t);
  const [first, second] = [received(1), received(2)];
  t.ok(vault.incoming.add(first));
  t.equal(vault.incoming.add(first), null);
  t.notOk(vault.incoming.addImported(first, 1));
  t.ok(vault.incoming.add(second));
  const own = received(3, { direction: 'out', sender: 'alice' });
  vault.incoming.add(own);
  t.equal(vault.outgoing.expire(second.hash), null, 'only what this user has sent can wait too long');
  const seqs = (from: number) => vault.receivedAfter(id, from, 10).map(({ seq }) => seq);
  t.strictSame([seqs(0), seqs(1), seqs(2)], [[1, 2], [2], []]);
  t.strictSame(
    vault.unshown(null, 10).map(({ seq }) => seq),
    [1, 2],
  );
  t.ok(vault.incoming.addImported(received(4), 1));
  t.equal(vault.unshown(null, 10).length, 2, 'what was said before this device was there is no news');
  t.strictSame(vault.receipts.owedOf(KIND.delivered).length, 2, 'nor is it said that it came');
  const { session } = first.lineage;
  t.match(vault.incoming.lineage(bob, id, session), { convCtr: 3 });
  const later = Buffer.alloc(16, 2) as Uint8Array as SessionId;
  vault.incoming.add(received(5, { lineage: { fingerprint: bob, session: later, convCtr: 1 } }));
  vault.incoming.add(received(6, { lineage: { fingerprint: bob, session, convCtr: 2 } }));
  t.match(vault.incoming.lineage(bob, id, session), { convCtr: 3 }, 'one that comes late takes nobody back');
  t.match(vault.incoming.lineage(bob, id, later), { convCtr: 1 });
  const unknown = vault.incoming.lineage(bob, id, Buffer.alloc(16, 3) as Uint8Array as SessionId);
  t.ok(unknown && equal(unknown.session, later), 'of a new one: the one that began last');
  t.equal(vault.incoming.lineage(randomBytes(32) as Uint8Array as Fingerprint, id, session), null);
});

t.test('that something was read is said where that is wanted, and of what could be read', async (t) => {
  const vault = open(t);
  const rows = [received(1), received(2, { kf: null, reason: 'UNREADABLE' }), received(3, { conversation: other })].map(
    (each) => vault.incoming.add(each)!.row,
  );
  const owed = () => vault.receipts.owedOf(KIND.read);
  vault.markShown(rows, 1);
  t.strictSame(owed(), [], 'nobody has asked for it');
  t.strictSame(vault.receipts.owedOf(KIND.delivered), [rows[0], rows[2]], 'that it came is said always');
  vault.profile.setSendsRead(true);
  vault.profile.setReadException('carol', false);
  vault.markShown(rows, 1);
  t.strictSame(owed(), rows.slice(0, 1));
  vault.profile.setReadException('carol', true);
  vault.markShown(rows, 1);
  t.strictSame(owed(), [rows[0], rows[2]]);
  vault.profile.setReadException('bob', false);
  vault.keepReadUnsaid();
  t.strictSame(owed(), [rows[2]]);
});

t.test('a batch takes the place of the one before it', async (t) => {
  const vault = open(t);
  write(vault, 'one');
  const first = await stage(vault);
  const second = { ...first, batch: Buffer.from(first.batch).fill(1, 100, 101) };
  vault.outgoing.stage(second);
  t.ok(equal(vault.outgoing.staged()!.batch, second.batch));
});

t.test('a commit is dealt with once, and its sender has got so far', async (t) => {
  const vault = open(t);
  const { lineage } = received(3);
  const commit = { conversation: id, seq: 3, hash: randomBytes(32) as Uint8Array as Hash, lineage };
  vault.incoming.addCommit(commit);
  vault.incoming.addCommit({ ...commit, lineage: { ...lineage, convCtr: 9 } });
  t.ok(vault.groups.hasCommit(commit.hash));
  t.match(vault.incoming.lineage(bob, id, lineage.session), { convCtr: 3, lastLeaf: commit.hash });
});

t.test('with whom: the newest of a name, or the address in the certificate of one of his devices', (t) => {
  const vault = open(t);
  const ids = [1, 2].map((byte) => Buffer.alloc(32, byte) as Uint8Array as ConversationId);
  for (const each of ids) vault.putRoster(each, rosterOf('#ops'));
  const found = (peer: string) => vault.conversationWith(peer)?.id;
  t.same(found('#ops'), ids[1], 'a name may be used again');
  t.same(found('bob'), id);
  t.equal(found('dave'), undefined);
  const { email } = identityOf(server.get('bob').certificate);
  t.ok(email);
  t.equal(found(email!), undefined, 'of a device whose certificate was not seen');
  vault.ledger.addCertificate(bob, [server.get('bob').certificate.der]);
  t.same(found(email!), ids[1], 'it is in all of these, and that one is the newest');
  t.equal(found('somebody@else.example'), undefined);
  vault.putRoster(ids[0]!, { ...rosterOf(email!), peer: email! });
  t.same(found(email!), ids[0], 'a name is what it is called, though there is an @ in it');
  const address = identityOf(server.get('alice').certificate).email!;
  vault.ledger.addCertificate(alice.fingerprint, [server.get('alice').certificate.der]);
  t.equal(found(address), undefined, 'the own address is nobody else');
  t.end();
});

t.test('what was received and not shown yet, of one conversation or of all', (t) => {
  const vault = open(t);
  const rows = [received(1), received(2, { conversation: other }), received(3)].map(
    (each) => vault.incoming.add(each)!.row,
  );
  const shown = (of: ConversationId | null, limit = 10) => vault.unshown(of, limit).map(({ row }) => row);
  t.strictSame([shown(null), shown(id), shown(other)], [rows, [rows[0], rows[2]], [rows[1]]]);
  t.strictSame([shown(null, 2), shown(id, 1)], [rows.slice(0, 2), rows.slice(0, 1)]);
  vault.markShown(rows.slice(0, 1), 1);
  t.strictSame(shown(id), [rows[2]]);
  t.end();
});

t.test('a commit of this device, once it is accepted, is one that was dealt with', async (t) => {
  const vault = open(t);
  const session = vault.sessions.current(alice.fingerprint);
  const sealed = { parts: [Buffer.from('commit')], group: { generation: 1, epoch: 0 } };
  const batch = await composeCommit(alice, session, vault.conversation(id)!, 'localhost/log/n1', 1, async () => sealed);
  vault.outgoing.stage(batch);
  const leaf = leafHash(batch.messages.at(-1)!.statement);
  t.notOk(vault.groups.hasCommit(leaf));
  accept(vault, 4);
  t.ok(vault.groups.hasCommit(leaf));
  t.match(vault.conversation(id), { convCtr: 1 });
  t.equal(vault.sessions.current(alice.fingerprint).lastCtr, 2);
});

t.test('what was said of what was received is owed until it is accepted, or refused for good', async (t) => {
  for (const isRefused of [false, true]) {
    const vault = open(t);
    const { hash } = vault.incoming.add(received(1))!;
    t.equal(vault.receipts.owed(), 1);
    const batch = await composeBatch(
      alice,
      vault.sessions.current(alice.fingerprint),
      [],
      new Map([[hex(id), vault.conversation(id)!]]),
      [],
      'localhost/log/n1',
      1000,
      inTheOpen,
      vault.receipts.due(),
    );
    vault.outgoing.stage(batch);
    t.equal(vault.receipts.owed(), 1, 'also while it is on its way');
    if (isRefused) vault.outgoing.dropReceipts(batch);
    else accept(vault, 0);
    t.equal(vault.receipts.owed(), 0);
    t.equal(vault.receipts.of(hash!).length, isRefused ? 0 : 1, 'what was accepted is kept');
    t.equal(vault.outgoing.staged(), null);
    vault.close();
  }
});
