/** What messages do to others in the vault: who may, what becomes of what is gone, and that nothing of it is left in the files. */
import { randomBytes } from 'node:crypto';
import { chmodSync, cpSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t, { type Test } from 'tap';
import { hex, utf8, type Hash, type SessionId } from '../../base/bytes.ts';
import { messageFields, shownMessage, shownSaying } from '../../client/presentation.ts';
import { Vault } from '../../client/vault.ts';
import { MessageTable, UNREADABLE, type Message } from '../../client/message-table.ts';
import { deletion, edit, reaction } from '../../client/writing.ts';
import { encodeContent, type Content } from '../../transcript/content.ts';
import {
  deleteContent,
  editContent,
  reactionContent,
  textContent,
  type Frame,
} from '../../transcript/content-meaning.ts';
import { ScriptedServer } from './scripted-server.ts';

const server = new ScriptedServer();
const id = server.conversation;
const roster = {
  peer: '#ops',
  epoch: 1,
  members: ['alice', 'bob'].map((username) => ({ username, devices: [server.get(username).fingerprint] })),
};
const frame = (more: Partial<Frame> = {}): Frame => ({ salt: randomBytes(16), ...more });
const NOW = 1_800_000_000_000;

class Talk {
  readonly folder: string;
  vault: Vault;
  readonly warnings: string[] = [];
  #seq = 0;

  constructor(test: Test) {
    this.folder = join(test.testdir({}), 'p');
    this.vault = Vault.open(this.folder, null, NOW);
    this.vault.putRoster(id, roster);
    test.teardown(() => this.vault.close());
  }

  /** A message has come in, and has done what it does. */
  hears(sender: string, content: Content | Uint8Array, hash = randomBytes(32) as unknown as Hash): Message {
    const body = content instanceof Uint8Array ? content : encodeContent(content);
    const seq = ++this.#seq;
    const message = this.vault.incoming.add({
      conversation: id,
      seq,
      hash,
      direction: sender === 'alice' ? 'out' : 'in',
      sender,
      body,
      kf: Buffer.alloc(32, 0xee),
      reason: null,
      clientTime: NOW,
      serverTime: NOW,
      lineage: {
        fingerprint: server.get('bob').fingerprint,
        session: Buffer.alloc(16) as unknown as SessionId,
        convCtr: seq,
      },
    })!;
    const warning = this.vault.annotations.apply(message.row);
    if (warning !== null) this.warnings.push(warning);
    return this.vault.message(message.row)!;
  }
  says(sender: string, text: string, more: Partial<Frame> = {}): Message {
    return this.hears(sender, textContent(frame(more), text));
  }
  shown(): string[] {
    return this.vault.history(id, 100).map((m) => shownMessage(this.vault.annotations.reading(m), 'bob').slice(9));
  }
  fields(message: Message): Record<string, unknown> {
    return messageFields(this.vault.annotations.reading(this.vault.message(message.row)!), '#ops');
  }
  reopen(now: number): void {
    this.vault.close();
    this.vault = Vault.open(this.folder, null, now);
  }
  /** All bytes of the profile's files but the key's. */
  get files(): Buffer {
    const names = readdirSync(this.folder).filter((name) => name !== 'vault.key');
    return Buffer.concat(names.map((name) => readFileSync(join(this.folder, name))));
  }
  /** What is sealed in a row, as it lies in the file. */
  sealed(message: Message): Buffer {
    this.vault.close();
    const db = new DatabaseSync(join(this.folder, 'vault.db'));
    const row = db.prepare('SELECT sealed FROM message WHERE row = ?').get(message.row);
    db.close();
    this.vault = Vault.open(this.folder, null, NOW);
    return Buffer.from(row!['sealed'] as Uint8Array);
  }
}

t.test('answers, reactions and edits are shown with what they are about', async (t) => {
  const talk = new Talk(t);
  const first = talk.says('bob', 'stand by');
  const mine = talk.says('alice', 'here');
  talk.hears('carol', textContent(frame(), 'me too', first.hash!));
  const thumb = talk.hears('carol', reactionContent(frame(), '👍', first.hash!));
  talk.hears('dave', reactionContent(frame(), '👍', first.hash!));
  talk.hears('bob', editContent(frame(), 'stand down', first.hash!, null));
  const second = talk.hears('bob', editContent(frame(), 'stand easy', first.hash!, null));
  talk.hears('dave', reactionContent(frame(), '❤', second.hash!)); // of a version: counts for the message
  t.strictSame(talk.shown(), [
    'bob: stand easy (edited) [👍 carol, dave] [❤ dave]',
    'You: here ✓',
    'carol: [to #1 “stand by”] me too',
  ]);
  t.match(talk.fields(first), {
    body: 'stand easy',
    edited: true,
    versions: [{ body: 'stand by' }, { body: 'stand down' }, { body: 'stand easy' }],
    reactions: [{ from: 'carol', reaction: '👍' }, { from: 'dave' }, { from: 'dave', reaction: '❤' }],
  });
  t.match(talk.fields(talk.vault.history(id, 1)[0]!), { reply_to: hex(first.hash!), reply_to_seq: 1 });
  t.match(talk.fields(thumb), { kind: 'reaction', target: hex(first.hash!), target_seq: 1, body: '👍' });
  talk.hears('carol', deleteContent(frame(), thumb.hash!, first.hash, true));
  t.equal(talk.shown()[0], 'bob: stand easy (edited) [👍 dave] [❤ dave]');
  t.strictSame(talk.warnings, []);
  t.equal(talk.fields(mine)['kind'], 'message');
});

t.test('a reaction speaks for nobody but its author', async (t) => {
  const talk = new Talk(t);
  const first = talk.says('bob', 'ship it?');
  const forged = talk.hears('mallory', reactionContent(frame(), '👍 alice', first.hash!));
  talk.hears('mallory', reactionContent(frame(), '👍] [🎉', first.hash!));
  talk.hears('mallory', reactionContent(frame(), '👍,\u2800', first.hash!));
  t.strictSame(talk.shown(), [
    'bob: ship it? [👍\\u{20}alice mallory] [👍\\u{5d}\\u{20}\\u{5b}🎉 mallory] [👍\\u{2c}\\u{2800} mallory]',
  ]);
  const reading = talk.vault.annotations.reading(talk.vault.message(forged.row)!);
  t.equal(shownSaying(reading, 'mallory'), 'mallory reacted 👍\\u{20}alice to #1 “ship it?”');
});

t.test('a text speaks for nobody but its author', async (t) => {
  const talk = new Talk(t);
  talk.says('bob', 'ship it? (edited) [👍 alice, carol]');
  talk.says('bob', '[to #1 “I will pay”] settled');
  const first = talk.says('bob', 'hm”] yes, I agree');
  talk.hears('carol', textContent(frame(), 'see [1] and [2]', first.hash!));
  const long = talk.says('bob', '👍'.repeat(40));
  talk.hears('carol', textContent(frame(), 'ok', long.hash!));
  t.strictSame(talk.shown(), [
    'bob: ship it? \\u{28}edited) \\u{5b}👍 alice, carol]',
    'bob: \\u{5b}to #1 “I will pay”] settled',
    'bob: hm”] yes, I agree',
    'carol: [to #3 “hm"] yes, I agree”] see [1] and [2]',
    `bob: ${'👍'.repeat(40)}`,
    `carol: [to #5 “${'👍'.repeat(14)}…”] ok`,
  ]);
});

t.test(
  'who edits a message for ever does not decide how much of the memory it takes: the newest versions are shown',
  async (t) => {
    const talk = new Talk(t);
    const first = talk.says('bob', 'stand by');
    const large = 'x'.repeat(500_000);
    for (let n = 1; n <= 20; n++) talk.hears('bob', editContent(frame(), `${n} ${large}`, first.hash!, null));
    for (let n = 1; n <= 20; n++) talk.hears('bob', reactionContent(frame(), `${n} ${large}`, first.hash!));
    const { versions, reactions, current } = talk.vault.annotations.reading(first);
    t.strictSame([versions.length, reactions.length], [16, 16], 'of each some 8 MiB');
    t.match(Buffer.from(current.body).toString('utf8', 0, 3), '20 ');
    t.match(Buffer.from(versions[0]!.body).toString('utf8', 0, 2), '5 ');
  },
);

t.test('nor does who deletes it then, or lets it disappear: versions are erased one after the other', async (t) => {
  const talk = new Talk(t);
  const deleted = talk.says('bob', 'stand by');
  const expired = talk.says('bob', 'until then', { expires: { isRelative: false, seconds: NOW / 1000 + 60 } });
  const edited = [deleted, expired].map(({ hash }) => {
    return [1, 2, 3].map((n) => talk.hears('bob', editContent(frame(), `version ${n}`, hash!, null)));
  });
  const several = talk.says('bob', 'as well', { expires: { isRelative: false, seconds: NOW / 1000 + 60 } });
  let most = 0;
  const { select } = MessageTable.prototype;
  t.teardown(() => void (MessageTable.prototype.select = select));
  MessageTable.prototype.select = function (...args) {
    const found = select.apply(this, args);
    most = Math.max(most, found.length);
    return found;
  };
  talk.hears('bob', deleteContent(frame(), deleted.hash!, null, false));
  t.strictSame(talk.vault.annotations.purge(NOW + 61_000), []);
  const gone = [deleted, expired, several, ...edited.flat()].map(({ row }) => talk.vault.message(row)!.gone);
  t.strictSame(gone, [
    'deleted',
    'expired',
    'expired',
    'deleted',
    'deleted',
    'deleted',
    'expired',
    'expired',
    'expired',
  ]);
  t.equal(most, 1, 'in the memory at once');
});

t.test('what is to change a message and comes before it changes it when it comes', async (t) => {
  const talk = new Talk(t);
  const [edited, deleted, foreign] = [0, 1, 2].map(() => randomBytes(32) as unknown as Hash) as [Hash, Hash, Hash];
  talk.hears('bob', editContent(frame(), 'stand down', edited, null));
  talk.hears('carol', reactionContent(frame(), '👍', edited));
  talk.hears('bob', deleteContent(frame(), deleted, null, false));
  talk.hears('carol', deleteContent(frame(), foreign, null, false));
  t.equal(talk.warnings.length, 4);
  talk.hears('bob', textContent(frame(), 'stand by'), edited);
  const gone = talk.hears('bob', textContent(frame(), 'not so secret'), deleted);
  talk.hears('bob', textContent(frame(), 'stays'), foreign);
  t.strictSame(talk.shown(), ['bob: stand down (edited) [👍 carol]', 'bob: [message deleted by bob]', 'bob: stays']);
  t.match(talk.vault.message(gone.row), { gone: 'deleted', plaintext: Buffer.alloc(0) });
  t.equal(talk.warnings.length, 4, 'and each was told of once');
});

t.test('what comes one by one says what it did', async (t) => {
  const talk = new Talk(t);
  const first = talk.says('bob', 'stand by');
  talk.vault.markShown([first.row]);
  talk.hears('carol', reactionContent(frame(), '👍', first.hash!));
  talk.hears('bob', editContent(frame(), 'stand down', first.hash!, null));
  talk.hears('bob', deleteContent(frame(), first.hash!, null, false));
  const unseen = talk.says('bob', 'never mind');
  talk.hears('bob', editContent(frame(), 'mind', unseen.hash!, null));
  const lines = talk.vault.unshown(id, 10).map((m) => shownMessage(talk.vault.annotations.reading(m), 'bob').slice(9));
  t.strictSame(lines, [
    'carol reacted 👍 to #1 [message deleted]',
    'bob: [message deleted by bob]',
    'bob deleted #1 [message deleted]',
    'bob: mind (edited)',
  ]);
});

t.test('a reaction that is taken back is no message that was deleted', async (t) => {
  const talk = new Talk(t);
  const first = talk.says('bob', 'stand by');
  talk.vault.markShown([first.row]);
  const news = () =>
    talk.vault.unshown(id, 10).map((m) => shownMessage(talk.vault.annotations.reading(m), 'bob').slice(9));
  const thumb = talk.hears('carol', reactionContent(frame(), '👍', first.hash!));
  const heart = talk.hears('carol', reactionContent(frame(), '❤', first.hash!));
  talk.vault.markShown([heart.row]);
  for (const { hash } of [thumb, heart]) talk.hears('carol', deleteContent(frame(), hash!, first.hash, true));
  t.strictSame(news(), ['carol: [reaction taken back]', 'carol took back the reaction #3']);
});

t.test('what was deleted is said to be deleted, also by a device that could never read it', async (t) => {
  const talk = new Talk(t);
  const first = talk.says('bob', 'secret');
  talk.hears('bob', deleteContent(frame(), first.hash!, null, false));
  const reading = talk.vault.annotations.reading(talk.vault.message(first.row)!);
  const handedOver = { ...reading, message: { ...reading.message, reason: UNREADABLE } };
  t.equal(shownSaying(handedOver, 'bob'), 'bob: [message deleted by bob]');
});

t.test('false ones change nothing and are named', async (t) => {
  const talk = new Talk(t);
  const first = talk.says('bob', 'stand by');
  const nowhere = randomBytes(32) as unknown as Hash;
  talk.hears('mallory', editContent(frame(), 'run', first.hash!, null));
  talk.hears('mallory', deleteContent(frame(), first.hash!, null, false));
  talk.hears('mallory', editContent(frame(), 'run', nowhere, null));
  talk.hears('mallory', deleteContent(frame(), nowhere, null, false));
  talk.hears('mallory', reactionContent(frame(), '👎', nowhere));
  talk.hears('mallory', textContent(frame(), 'what?', nowhere));
  t.strictSame(talk.warnings, [
    'mallory edited a message of bob, as only its author can: nothing was changed',
    'mallory deleted a message of bob, as only its author can: nothing was changed',
    'mallory edited a message that is not here: nothing was changed',
    'mallory deleted a message that is not here: nothing was changed',
    'mallory reacted to a message that is not here: nothing was changed',
  ]);
  t.strictSame(talk.shown(), ['bob: stand by', 'mallory: [to a message that is not here] what?']);
  t.strictSame(
    talk.vault.unshown(id, 10).map(({ role }) => role),
    ['message', 'message'],
  );
});

t.test('content that is none, and content of other kinds, is kept and shown safely', async (t) => {
  const talk = new Talk(t);
  const broken = talk.hears('bob', Buffer.from('no content at all'));
  const picture = {
    ...textContent(frame({ extensions: new Map([['x\u001b[2J', Buffer.of(0xf6)]]) }), ''),
    part: {
      ...{ disposition: 1, language: '', cardinality: 'single' as const },
      ...{ contentType: 'image/\u001b[2Jpng', content: Buffer.alloc(3) },
    },
  };
  talk.hears('bob', picture);
  talk.says('bob', 'red \u001b[31m\nline');
  t.strictSame(talk.warnings, ['a message of bob is proven, and its content is not one [BAD_FRAME: content]']);
  const shown = talk.shown().join('|');
  t.notMatch(shown, /\u001b/);
  t.match(shown, /^bob: \[content that this program cannot read: content\]\|bob: \[image\/.*png, 3 bytes\]\|bob: red /);
  t.match(talk.fields(broken), { fault: 'content', body: undefined });
  t.equal(
    Buffer.from(talk.vault.ledger.opening(broken.hash!)!.body).toString(),
    'no content at all',
    'and stays evidence',
  );
});

t.test('a deleted message is erased from the files, with its versions and keys', async (t) => {
  const talk = new Talk(t);
  const first = talk.says('bob', 'the password is swordfish');
  const again = talk.hears('bob', editContent(frame(), 'the password is herring', first.hash!, null));
  const stays = talk.says('bob', 'this one stays');
  const blobs = [talk.sealed(first), talk.sealed(again)];
  for (const blob of blobs) t.ok(talk.files.includes(blob), 'it is there');
  talk.hears('bob', deleteContent(frame(), first.hash!, null, false));
  for (const blob of blobs) {
    t.notOk(talk.files.includes(blob), 'overwritten, in the database and in its journal');
    for (let at = 0; at + 32 <= blob.length; at += 16)
      if (talk.files.includes(blob.subarray(at, at + 32))) t.fail(`32 bytes of it are left at ${at}`);
  }
  t.equal(talk.vault.ledger.opening(first.hash!), null);
  t.equal(talk.vault.ledger.opening(again.hash!), null);
  t.ok(talk.vault.ledger.opening(stays.hash!));
  t.strictSame(talk.shown(), ['bob: [message deleted by bob]', 'bob: this one stays']);
  t.match(talk.fields(first), { deleted: true, id: hex(first.hash!), body: undefined, versions: undefined });
  talk.hears('bob', editContent(frame(), 'and again', first.hash!, null));
  t.equal(talk.shown()[0], 'bob: [message deleted by bob]', 'nothing brings it back');
  talk.reopen(NOW);
  t.equal(talk.shown()[0], 'bob: [message deleted by bob]');
});

t.test('a process that was killed leaves its journal, and the next one empties it first', async (t) => {
  const talk = new Talk(t);
  const image = join(t.testdirName, 'image');
  talk.says('bob', 'the password is swordfish');
  cpSync(talk.folder, image, { recursive: true });
  chmodSync(image, 0o700);
  const journal = join(image, 'vault.db-wal');
  t.ok(statSync(journal).size > 0);
  const vault = Vault.open(image, null, NOW);
  t.equal(statSync(journal).size, 0);
  t.equal(vault.history(id, 10).length, 1);
  vault.close();
});

t.test('what was to disappear is erased on time, and before anybody sees it after an absence', async (t) => {
  const talk = new Talk(t);
  const until = (at: number) => ({ expires: { isRelative: false, seconds: at / 1000 } });
  const short = talk.says('bob', 'for a minute', until(NOW + 60_000));
  talk.hears('bob', editContent(frame(), 'for one minute', short.hash!, null));
  const long = talk.says('bob', 'for an hour', until(NOW + 3_600_000));
  const read = talk.says('bob', 'after reading', { expires: { isRelative: true, seconds: 10 } });
  talk.says('bob', 'for ever');
  const { annotations } = talk.vault;
  t.equal(annotations.nextExpiry(), NOW + 60_000);
  annotations.purge(NOW + 59_999);
  t.equal(talk.vault.message(short.row)!.gone, null);
  const versions = annotations.reading(talk.vault.message(short.row)!).versions;
  const blobs = [talk.sealed(short), talk.sealed(long)];
  t.strictSame(talk.vault.annotations.purge(NOW + 60_000), [], 'nothing of it was still to be sent');
  t.notOk(talk.files.includes(blobs[0]!));
  for (const { row } of [short, ...versions]) t.equal(talk.vault.message(row)!.gone, 'expired', 'with its versions');
  talk.vault.markShown([read.row], NOW + 70_000);
  t.equal(talk.vault.annotations.nextExpiry(), NOW + 80_000, 'from when it was read');
  talk.reopen(NOW + 3_600_000);
  t.notOk(talk.files.includes(blobs[1]!), 'at the next start');
  t.strictSame(talk.shown(), [
    'bob: [message expired]',
    'bob: [message expired]',
    'bob: [message expired]',
    'bob: for ever',
  ]);
  const row = talk.vault.outgoing.enqueue(
    id,
    'alice',
    encodeContent(textContent(frame(until(NOW + 1000)), 'too late')),
    NOW,
  );
  t.strictSame(talk.vault.annotations.purge(NOW + 4_000_000), [row]);
  t.match(talk.vault.message(row), { state: 'failed', reason: 'EXPIRED', gone: 'expired' }, 'one that was never sent');
});

t.test('a message is found by its place or its id, and only by one that fits', async (t) => {
  const talk = new Talk(t);
  const first = talk.says('bob', 'one');
  const second = talk.says('alice', 'two');
  const { annotations } = talk.vault;
  const changed = talk.hears('bob', editContent(frame(), 'uno', first.hash!, null));
  for (const name of ['1', '#1', hex(first.hash!), hex(first.hash!).slice(0, 8).toUpperCase(), hex(changed.hash!)])
    t.equal(annotations.find(id, name).row, first.row, name);
  t.equal(annotations.newest(id, 'in')?.row, first.row);
  t.equal(annotations.newest(id, 'out')?.row, second.row);
  for (const name of [
    '',
    '0',
    '#',
    'abc',
    hex(first.hash!).slice(0, 7).replace(/^\d/, 'a'),
    `${hex(first.hash!)}00`,
    "' OR 1",
  ])
    t.throws(() => annotations.find(id, name), { code: 'USAGE' }, name);
  for (const name of ['99', 'abcdef0123']) t.throws(() => annotations.find(id, name), { code: 'NOT_FOUND' }, name);
});

t.test('what one may write about a message', async (t) => {
  const talk = new Talk(t);
  const his = talk.says('bob', 'his');
  const mine = talk.says('alice', 'mine', { expires: { isRelative: false, seconds: NOW / 1000 + 60 } });
  t.throws(() => edit(frame(), utf8('x'), his), { code: 'NOT_ALLOWED', sub: 'author' });
  t.throws(() => deletion(frame(), his), { code: 'NOT_ALLOWED', sub: 'author' });
  t.throws(() => edit(frame(), Buffer.of(0xff), mine), { code: 'USAGE' });
  for (const sign of ['', 'two words', '\u0007', 'x'.repeat(65)])
    t.throws(() => reaction(frame(), sign, his), { code: 'USAGE' }, JSON.stringify(sign));
  t.strictSame(edit(frame(), utf8('x'), mine).expires, { isRelative: false, seconds: NOW / 1000 + 60 }, 'goes with it');
  t.strictSame(reaction(frame(), '👍', mine).expires, { isRelative: false, seconds: NOW / 1000 + 60 });
  talk.hears('alice', deletion(frame(), mine));
  const gone = talk.vault.message(mine.row)!;
  t.equal(gone.gone, 'deleted');
  for (const write of [
    () => edit(frame(), utf8('x'), gone),
    () => deletion(frame(), gone),
    () => reaction(frame(), 'x', gone),
  ])
    t.throws(write, { code: 'NOT_FOUND' });
  const waiting = talk.vault.message(
    talk.vault.outgoing.enqueue(id, 'alice', encodeContent(textContent(frame(), 'x')), NOW),
  )!;
  t.throws(() => deletion(frame(), waiting), { code: 'NOT_FOUND' });
});

t.test('how long what one writes stays is kept for each conversation', async (t) => {
  const talk = new Talk(t);
  t.equal(talk.vault.profile.expiry(id), null);
  talk.vault.profile.setExpiry(id, 3_600_000);
  talk.reopen(NOW);
  t.equal(talk.vault.profile.expiry(id), 3_600_000);
  t.equal(talk.vault.profile.expiry(randomBytes(32) as unknown as typeof id), null);
  talk.vault.profile.setExpiry(id, null);
  t.equal(talk.vault.profile.expiry(id), null);
});
