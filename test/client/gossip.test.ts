/** What others tell about the server: forks that two people see only together, and what one of them was not given. */
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import t from 'tap';
import { decode } from '../../base/cbor.ts';
import type { Hash, SessionId } from '../../base/bytes.ts';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import type { Key } from '../../transcript/content-cbor.ts';
import { decodeContent, encodeContent } from '../../transcript/content.ts';
import { textContent } from '../../transcript/content-meaning.ts';
import {
  CHECKPOINTS,
  decodeCheckpoints,
  decodeSeen,
  encodeCheckpoints,
  encodeSeen,
  noteOf,
  SEEN,
  toldOf,
  type SeenStatement,
} from '../../transcript/gossip.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { verifierKey } from '../../transcript/note.ts';
import { decodeMs } from '../../transcript/statement.ts';
import { ORIGIN, ScriptedServer } from './scripted-server.ts';
import { accepted, isAlarm, isLost, isMessage, logIn, quiet, say, type Side } from './side.ts';

/** What bob says, with more than a text in it. */
const saying = (text: string, extensions: readonly (readonly [Key, Uint8Array])[]) => ({
  plaintext: encodeContent(textContent({ salt: randomBytes(16), extensions: new Map(extensions) }, text)),
});
const told = (server: ScriptedServer, note: Uint8Array, key = server.logKey) =>
  [CHECKPOINTS, encodeCheckpoints([toldOf(note, verifierKey(ORIGIN, createPublicKey(key)))])] as const;
const bobSays = (side: Side, text: string, ...extensions: (readonly [Key, Uint8Array])[]) =>
  side.server.say(side.server.latest, 'bob', [saying(text, extensions)]);
const other = (size: number, server: ScriptedServer) =>
  signCheckpoint({ origin: ORIGIN, size, root: randomBytes(32) as unknown as Hash }, server.logKey);
const alarms = (side: Side) => side.events.filter(isAlarm).map(({ error }) => `${error.code}/${error.sub}`);
const warnings = (side: Side) => side.events.flatMap((e) => (e.on === 'warning' ? [e.text] : []));

async function begun(...args: Parameters<typeof logIn>): Promise<Side> {
  const side = await logIn(...args);
  await bobSays(side, 'hello');
  await side.until(isMessage);
  await accepted(side, say(side, 'hi'));
  await quiet(side);
  return side;
}

t.test('a server with two views: the other tree has the same size', async (t) => {
  const side = await begun(t);
  const { size } = side.app.vault.ledger.head(ORIGIN)!;
  const forked = other(size, side.server);
  await bobSays(side, 'what I was shown', told(side.server, forked));
  const lost = await side.until(isLost);
  t.match(lost, { willRetry: false, error: { code: 'FORK', sub: 'same_size' } });
  const [alarm] = side.app.vault.ledger.alarms().filter(({ code }) => code === 'FORK');
  t.ok(alarm, 'with evidence');
  const { ledger } = side.app.vault;
  t.ok(ledger.rivalOf({ origin: ORIGIN, size, root: ledger.head(ORIGIN)!.root }), 'and both notes are kept');
  const { notes } = Object.fromEntries(decode(alarm!.detail) as Map<string, never>) as unknown as { notes: string[] };
  t.ok(notes.includes(forked.toString()) && notes.length >= 2);
  t.strictSame(side.shown(), ['hello', 'what I was shown']);
});

t.test('a server with two views: the other tree has another size', async (t) => {
  for (const [name, refuses, expected] of [
    ['a proof that shows nothing', false, { code: 'FORK', sub: 'consistency' }],
    ['no proof at all', true, { code: 'ROLLBACK', sub: 'consistency' }],
  ] as const)
    await t.test(name, async (t) => {
      const side = await begun(t);
      const { size } = side.app.vault.ledger.head(ORIGIN)!;
      if (refuses)
        side.server.script = (frame, link) => {
          if (frame.type !== 'log_consistency') return false;
          link.send({ type: 'error', id: frame.id, code: 'NOT_FOUND' });
          return true;
        };
      await bobSays(side, 'what I was shown', told(side.server, other(size - 1, side.server)));
      t.match(await side.until(isLost), { willRetry: false, error: expected });
      t.match(alarms(side).at(-1), `${expected.code}/consistency`);
      t.ok(side.app.vault.ledger.unproven(ORIGIN), 'the note is kept');
    });
});

t.test('one history is proven, whichever of the two is ahead', async (t) => {
  const side = await begun(t);
  const { ledger } = side.app.vault;
  const small = side.server.note(2);
  side.server.append(await side.server.compose('bob', ['for others'], {}));
  const large = side.server.note();
  await bobSays(side, 'small', told(side.server, small));
  await bobSays(side, 'large', told(side.server, large));
  await side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === 'large');
  await quiet(side);
  t.strictSame(alarms(side), []);
  t.equal(ledger.unproven(ORIGIN), null);
  t.ok(ledger.head(ORIGIN)!.size >= side.server.entries.length);
});

t.test('false words of a member are no fork, and are kept', async (t) => {
  const side = await begun(t);
  const stranger = generateKeyPairSync('ed25519').privateKey;
  const note = signCheckpoint({ origin: ORIGIN, size: 3, root: randomBytes(32) as unknown as Hash }, stranger);
  await bobSays(side, 'another key', told(side.server, note, stranger));
  const forged = toldOf(other(3, side.server), verifierKey(ORIGIN, createPublicKey(side.server.logKey)));
  const bad = { ...forged, root: randomBytes(32) as unknown as Hash };
  await bobSays(side, 'another root', [CHECKPOINTS, encodeCheckpoints([bad])]);
  await bobSays(side, 'nonsense', [SEEN, Buffer.of(0x01)]);
  await side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === 'nonsense');
  await quiet(side);
  t.strictSame(alarms(side), ['SIG_FAIL/gossip', 'SIG_FAIL/note', 'BAD_FRAME/undefined']);
  t.strictSame(side.events.filter(isLost), []);
  t.equal(side.shown().length, 4);
});

t.test(
  'what this device tells: the newest checkpoint that is proven, and what it has seen; only what is new',
  async (t) => {
    const side = await logIn(t);
    const peer = await side.server.peer;
    const extensionsOf = async (n: number) => {
      const message = side.server
        .frames('msg_send')
        .flatMap(({ messages }) => messages.filter(({ statement }) => decodeMs(statement).kind === 1))[n]!;
      return decodeContent((await peer.open(message)).subarray(32)).extensions;
    };
    await bobSays(side, 'one');
    await bobSays(side, 'two');
    await side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === 'two');
    await quiet(side);
    const head = side.app.vault.ledger.head(ORIGIN)!;
    await accepted(side, say(side, 'first'));
    await accepted(side, say(side, 'second'));
    const first = await extensionsOf(0);
    const [checkpoint] = decodeCheckpoints(first.get(CHECKPOINTS)!);
    t.equal(noteOf(checkpoint!, verifierKey(ORIGIN, createPublicKey(side.server.logKey))).toString(), head.note);
    const [seen, ...more] = decodeSeen(first.get(SEEN)!);
    t.match([seen, more], [{ convCtr: 2 }, []], 'of each device the last one');
    t.strictSame(Buffer.from(seen!.device), Buffer.from(side.server.get('bob').fingerprint));
    t.strictSame([...(await extensionsOf(1)).keys()], [], 'not twice, and checkpoints not more often than in 30 s');
    await bobSays(side, 'three');
    await side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === 'three');
    await accepted(side, say(side, 'third'));
    t.match(decodeSeen((await extensionsOf(2)).get(SEEN)!), [{ convCtr: 3 }]);

    const { seen: table } = side.app.vault;
    const root = randomBytes(32) as unknown as Hash;
    t.notOk(table.tells(side.id, root, Date.now(), 30_000));
    t.ok(table.tells(side.id, root, Date.now() - 86_400_000, 30_000), 'at once when the clock was set back');
  },
);

t.test('a checkpoint that the pinned key did not sign is not told, and keeps nobody from writing', async (t) => {
  const side = await logIn(t);
  const { ledger } = side.app.vault;
  ledger.addCheckpoint({ origin: ORIGIN, size: 0, root: randomBytes(32) as unknown as Hash, note: 'no note at all' });
  const peer = await side.server.peer;
  await accepted(side, say(side, 'as always'));
  const message = side.server.written.flatMap(({ messages }) => messages).at(-1);
  t.strictSame([...decodeContent((await peer.open(message!)).subarray(32)).extensions.keys()], []);
});

t.test('what others have seen', async (t) => {
  const side = await begun(t);
  const carol = {
    device: randomBytes(32) as unknown as SeenStatement['device'],
    session: randomBytes(16) as unknown as SessionId,
    convCtr: 1,
    leaf: randomBytes(16),
  };
  const [own] = side.server
    .frames('msg_send')
    .flatMap(({ messages }) => messages)
    .filter(({ statement }) => decodeMs(statement).kind === 1);
  const ms = decodeMs(own!.statement);
  const mine = { device: ms.sender, session: ms.session, convCtr: ms.convCtr, leaf: leafHash(own!.statement) };
  let n = 0;
  const hears = async (...seen: SeenStatement[]) => {
    const text = `vector ${++n}`;
    await bobSays(side, text, [SEEN, encodeSeen(seen)]);
    await side.until((e) => e.on === 'message' && Buffer.from(e.message.body).toString() === text);
    await quiet(side);
  };
  await hears(mine);
  t.strictSame([alarms(side), warnings(side)], [[], []], 'what is true is no news');
  await hears({ ...mine, leaf: randomBytes(16) });
  t.strictSame(alarms(side), ['SIG_FAIL/seen'], 'another message in the place of ours');
  await hears({ ...mine, convCtr: mine.convCtr + 1 });
  t.match(side.app.vault.ledger.alarms().at(-1), { message: /has seen a message of this device that it did not send/ });
  t.strictSame(warnings(side), []);
  await hears(carol);
  t.match(warnings(side), [/^bob has seen a message that this device was not given.* \[WITHHELD\]$/]);
  await hears(carol);
  t.equal(warnings(side).length, 1, 'once');
  t.match(side.app.vault.ledger.alarms().at(-1), { code: 'WITHHELD' });
});

t.test('who has just come in is not told of what was before', async (t) => {
  const side = await logIn(t);
  const carol = {
    device: randomBytes(32) as unknown as SeenStatement['device'],
    session: randomBytes(16) as unknown as SessionId,
    convCtr: 9,
    leaf: randomBytes(16),
  };
  await bobSays(side, 'welcome', [SEEN, encodeSeen([carol])]);
  await side.until(isMessage);
  await quiet(side);
  t.strictSame(warnings(side), []);
});
