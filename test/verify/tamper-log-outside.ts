/** Rows of log directories: what witnesses and time-stamping authorities said altered, missing, of something else, or against the server's times. */
import { createHash, generateKeyPairSync } from 'node:crypto';
import { rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { encodeStamp } from '../../transcript/stamp.ts';
import { compose, headOf, noteAt, seal, type SealAlterations } from '../support/log-writer.ts';
import {
  cosignatureLine,
  generalized,
  stamping,
  tokenOver,
  withLines,
  type TokenShape,
} from '../support/token-writer.ts';
import { ec, int, keyUsage, list, make, named, seq, type Made } from '../x509/maker.ts';
import {
  cosigned,
  flip,
  found,
  FROM,
  lastTime,
  MINUTE,
  newest,
  older,
  olderSeen,
  root,
  SEEN,
  shape,
  size,
  stamped,
  stranger,
  two,
  UNTIL,
  vkeys,
  w1,
  w2,
  w3,
} from './outside-edits.ts';
import { rogueKey, rogueLog } from './rogue-log.ts';
import { batch, leaves, world, type Row } from './tamper.ts';

const withNote = (note: Buffer, files: SealAlterations['files'] = () => {}) =>
  seal(world, leaves, { note: () => note, files });
const withCosigned = (note: Buffer, now = newest) => withNote(now, (files) => void files.set('cosigned', note));

/** A log with one more TIME entry. @param index where @param stamp of what is before it */
const withStamp = (index: number, stamp: Uint8Array) => {
  const { serverTime } = leaves[index - 1]!;
  return seal(world, [...leaves.slice(0, index), { type: 'time', serverTime, stamp }, ...leaves.slice(index)]);
};
const stampOf = (note: Uint8Array, time: number, more?: Partial<TokenShape>, over: Uint8Array = note) =>
  encodeStamp({ checkpoint: note, token: tokenOver(over, shape(time, more)) });
/** By a signer of another shape. */
const signedBy = (extensions: readonly Buffer[], from = FROM, until = UNTIL): Made =>
  make(root, { pair: ec(), subject: named('Time 2'), from, until, extensions });
const revoked = signedBy([keyUsage(0), stamping()]);
const lists = new Map<number | undefined, Buffer>();
/** The same each time. @param reason why it was revoked, after it stamped */
function revocation(reason?: number): Buffer {
  const shape = { from: FROM, until: UNTIL, revoked: [[revoked.serial, lastTime + 1000, reason] as const] };
  const made = lists.get(reason) ?? list(root, shape);
  lists.set(reason, made);
  return made;
}
const generalizedAt = (at: number) => generalized(`${new Date(at).toISOString().replace(/[-:T]|\.\d+Z/g, '')}Z`);
const END = `entry ${size}`;
export const LOG_OUTSIDE: readonly Row[] = [
  {
    name: 'a time-stamp, and a hash tile is missing',
    files: () => withStamp(size, stampOf(newest, lastTime + 1000)),
    prepare: (dir) => rmSync(join(dir, 'tile/0/002.p'), { recursive: true }),
    outside: stamped,
    exit: 10,
    code: 'E_TILE',
    where: 'tile/0/002.p/73',
  },
  {
    name: 'cosigned, and the last entries are missing',
    files: () => withNote(cosigned(newest, [w1], [w2])),
    prepare: (dir) => rmSync(join(dir, 'tile/entries/002.p'), { recursive: true }),
    outside: two,
    exit: 10,
    code: 'E_TRUNCATED',
    where: 'tile/entries/002.p/72',
  },
  { name: 'two of three witnesses', files: () => withNote(cosigned(newest, [w1], [w3])), outside: two, exit: 0 },
  {
    name: 'all are asked for, and are there',
    files: () => withNote(cosigned(newest, [w1], [w2], [w3])),
    outside: { witnesses: vkeys },
    exit: 0,
  },
  {
    name: 'one of three witnesses, and two are wanted',
    files: () => withNote(cosigned(newest, [w2])),
    outside: two,
    ...found('W_NO_QUORUM', 'checkpoint', 11),
  },
  {
    name: 'one witness twice',
    files: () => withNote(cosigned(newest, [w2], [w2, SEEN + 1])),
    outside: two,
    ...found('W_NO_QUORUM', 'checkpoint', 11),
  },
  { name: 'no witness', files: () => withNote(newest), outside: two, ...found('W_NO_QUORUM', 'checkpoint', 11) },
  {
    name: 'an altered time of a cosignature',
    files: () => withNote(cosigned(newest, [w1], [w2, SEEN, SEEN - 60])),
    outside: { ...two, quorum: 1 },
    exit: 10,
    code: 'E_COSIG',
    where: 'checkpoint',
  },
  {
    name: 'a cosignature of another checkpoint',
    files: () => withNote(withLines(newest, cosignatureLine(older, w1, SEEN))),
    outside: { ...two, quorum: 1 },
    exit: 10,
    code: 'E_COSIG',
    where: 'checkpoint',
  },
  {
    name: 'a cosignature without a time',
    files: () => withNote(cosigned(newest, [w1, 0])),
    outside: { ...two, quorum: 1 },
    exit: 10,
    code: 'E_COSIG',
    where: 'checkpoint',
  },
  {
    name: 'a wrong line of a witness that nobody named',
    files: () => withNote(cosigned(newest, [w1], [w2], [w3, SEEN, 1])),
    outside: { witnesses: vkeys.slice(0, 2) },
    exit: 0,
  },
  { name: 'a wrong line, and no witness was named', files: () => withNote(cosigned(newest, [w1, SEEN, 1])), exit: 0 },
  {
    name: 'cosigned an hour after the newest entry',
    files: () => withNote(cosigned(newest, [w1, SEEN + 3600], [w2, SEEN + 3600])),
    outside: two,
    exit: 0,
  },
  {
    name: 'cosigned a little before the server says that the newest entry came',
    files: () => withNote(cosigned(newest, [w1, SEEN - 290], [w2, SEEN - 290])),
    outside: two,
    exit: 0,
  },
  {
    name: 'cosigned six minutes before the server says that the newest entry came',
    files: () => withNote(cosigned(newest, [w1, SEEN - 360], [w2, SEEN - 360])),
    outside: two,
    ...found('E_TIME_BOUND', `entry ${size - 1}`),
  },
  {
    name: 'one witness alone does not make the server a liar',
    files: () => withNote(cosigned(newest, [w1, SEEN - 36_000], [w2], [w3])),
    outside: two,
    exit: 0,
  },
  {
    name: 'the newest cosigned checkpoint is an older one',
    files: () => withCosigned(cosigned(older, [w1, olderSeen], [w2, olderSeen])),
    outside: two,
    ...found('W_UNWITNESSED', `entry ${batch(6)}`, 0),
  },
  {
    name: 'an older one, and the times of what it covers',
    files: () => withCosigned(cosigned(older, [w1, olderSeen - 360], [w2, olderSeen - 360])),
    outside: two,
    exit: 10,
    code: 'E_TIME_BOUND',
    where: `entry ${batch(6) - 1}`,
  },
  {
    name: 'the cosigned checkpoint is of another history',
    files: () =>
      withCosigned(
        cosigned(signCheckpoint({ origin: world.origin, size: 9, root: NO_HASH }, world.logKey), [w1], [w2]),
      ),
    outside: two,
    exit: 14,
    code: 'E_FORK',
    where: 'cosigned',
  },
  {
    name: 'the cosigned checkpoint is newer than the checkpoint',
    files: () => {
      const short = leaves.slice(0, batch(11));
      return seal(world, short, { files: (files) => void files.set('cosigned', cosigned(newest, [w1], [w2])) });
    },
    outside: two,
    exit: 11,
    code: 'W_COSIGNED_AHEAD',
    where: 'cosigned',
  },
  {
    name: 'and the checkpoint is cosigned as well: a copy that was made while the server wrote',
    files: () => {
      const short = leaves.slice(0, batch(11));
      const at = Math.floor(short.at(-1)!.serverTime / 1000) + 1;
      return seal(world, short, {
        note: () => cosigned(noteAt(world, short), [w1, at], [w2, at]),
        files: (files) => void files.set('cosigned', cosigned(newest, [w1], [w2])),
      });
    },
    outside: two,
    ...found('W_COSIGNED_AHEAD', 'cosigned', 0),
  },
  {
    name: 'a newer one that the log did not sign',
    files: () => {
      const { privateKey } = generateKeyPairSync('ed25519');
      const strange = signCheckpoint(headOf(world, leaves.map(encodeLeaf)), privateKey);
      return seal(world, leaves.slice(0, batch(11)), {
        files: (files) => void files.set('cosigned', cosigned(strange, [w1], [w2])),
      });
    },
    outside: two,
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'cosigned',
  },
  {
    name: 'a cosigned checkpoint that the log did not sign',
    files: () => {
      const { privateKey } = generateKeyPairSync('ed25519');
      return withCosigned(cosigned(signCheckpoint(headOf(world, leaves.map(encodeLeaf)), privateKey), [w1], [w2]));
    },
    outside: two,
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'cosigned',
  },
  {
    name: 'a cosigned checkpoint that is a link',
    files: () => withNote(newest),
    prepare: (dir) => symlinkSync('checkpoint', join(dir, 'cosigned')),
    outside: two,
    exit: 13,
    code: 'E_INPUT',
    where: 'cosigned',
  },

  {
    name: 'stamped at the end',
    files: () => withStamp(size, stampOf(newest, lastTime + 1000)),
    outside: stamped,
    exit: 0,
  },
  {
    name: 'stamped, with cosignatures in what is stamped',
    files: () => withStamp(size, stampOf(cosigned(newest, [w1], [w2]), lastTime + 3000)),
    outside: { ...stamped, ...two },
    exit: 0,
  },
  {
    name: 'stamped, and nobody asked for it',
    files: () => withStamp(size, stampOf(newest, lastTime + 1000)),
    exit: 0,
  },
  {
    name: 'messages behind the newest stamp',
    files: () => withStamp(batch(6), stampOf(older, olderSeen * 1000)),
    outside: stamped,
    ...found('W_UNSTAMPED', `entry ${batch(6)}`, 0),
  },
  { name: 'no stamp', files: () => withNote(newest), outside: stamped, ...found('W_NO_STAMP', 'log', 11) },
  {
    name: 'a stamp of an authority that was not given',
    files: () => withStamp(size, stampOf(newest, lastTime, { signer: stranger.signer, issuer: stranger.root })),
    outside: { stampRoots: [root.der] },
    ...found('W_STAMP', END, 0),
  },
  {
    name: 'and it does not count',
    files: () => withStamp(size, stampOf(newest, lastTime, { signer: stranger.signer, issuer: stranger.root })),
    outside: stamped,
    exit: 11,
    code: 'W_NO_STAMP',
    where: 'log',
  },
  {
    name: 'a stamp by a certificate that is not for stamps alone',
    files: () => withStamp(size, stampOf(newest, lastTime, { signer: signedBy([keyUsage(0), stamping('1.2.3')]) })),
    outside: { stampRoots: [root.der] },
    ...found('W_STAMP', END, 0),
  },
  {
    name: 'a stamp by a certificate that has ended',
    files: () =>
      withStamp(
        size,
        stampOf(newest, lastTime, { signer: signedBy([keyUsage(0), stamping()], FROM, lastTime - 1000) }),
      ),
    outside: { stampRoots: [root.der] },
    ...found('W_STAMP', END, 0),
  },
  {
    name: 'a stamp by a certificate that was revoked',
    files: () => withStamp(size, stampOf(newest, lastTime, { signer: revoked })),
    crls: [list(root, { from: FROM, until: UNTIL, revoked: [[revoked.serial, lastTime - 1000]] })],
    outside: { stampRoots: [root.der] },
    ...found('W_STAMP', END, 0),
  },
  {
    name: 'a stamp by a certificate that was revoked later',
    files: () => withStamp(size, stampOf(newest, lastTime, { signer: revoked })),
    crls: [revocation(4)],
    outside: stamped,
    exit: 0,
  },
  {
    name: 'later, and the list says that it does not say why',
    files: () => withStamp(size, stampOf(newest, lastTime, { signer: revoked })),
    crls: [revocation(0)],
    outside: stamped,
    exit: 0,
  },
  {
    name: 'later, and the list gives no reason',
    files: () => withStamp(size, stampOf(newest, lastTime, { signer: revoked })),
    crls: [revocation()],
    outside: { stampRoots: [root.der] },
    ...found('W_STAMP', END, 0),
  },
  {
    name: 'later, and its key was in other hands: it can have been dated back',
    files: () => withStamp(size, stampOf(newest, lastTime, { signer: revoked })),
    crls: [revocation(1)],
    outside: { stampRoots: [root.der] },
    ...found('W_STAMP', END, 0),
  },
  {
    name: 'and it is the list in the log directory that says so',
    files: () => {
      const name = `crl/${createHash('sha256').update(revocation(1)).digest('hex')}.crl`;
      return new Map(withStamp(size, stampOf(newest, lastTime, { signer: revoked }))).set(name, revocation(1));
    },
    outside: { stampRoots: [root.der] },
    ...found('W_STAMP', END, 0),
  },
  {
    name: 'a stamp of another checkpoint',
    files: () => withStamp(size, stampOf(newest, lastTime, {}, older)),
    ...found('E_STAMP', END),
  },
  {
    name: 'a stamp that nobody signed so',
    files: () => withStamp(size, stampOf(newest, lastTime, { signature: (made) => flip(made, made.length - 1) })),
    ...found('E_STAMP', END),
  },
  {
    name: 'a stamp that is no token',
    files: () => withStamp(size, encodeStamp({ checkpoint: newest, token: Buffer.from('token') })),
    ...found('E_STAMP', END),
  },
  {
    name: 'a stamped note that is none',
    files: () => withStamp(size, stampOf(Buffer.from('note'), lastTime)),
    ...found('E_STAMP', END),
  },
  {
    name: 'a stamped checkpoint that the log did not sign',
    files: () => {
      const { privateKey } = generateKeyPairSync('ed25519');
      return withStamp(size, stampOf(signCheckpoint(headOf(world, leaves.map(encodeLeaf)), privateKey), lastTime));
    },
    ...found('E_CKPT_SIG', END),
  },
  {
    name: 'a stamped checkpoint of another log',
    files: () => withStamp(size, stampOf(noteAt({ ...world, origin: 'chat.example.org/log/n2' }, leaves), lastTime)),
    ...found('E_CKPT_SIG', END),
  },
  {
    name: 'a stamped checkpoint of another history',
    files: () =>
      withStamp(
        size,
        stampOf(signCheckpoint({ origin: world.origin, size: 9, root: NO_HASH }, world.logKey), lastTime),
      ),
    ...found('E_FORK', END, 14),
  },
  {
    name: 'a stamped checkpoint of another history, in a log that somebody has altered',
    files: () => {
      const forged = signCheckpoint({ origin: world.origin, size: 9, root: NO_HASH }, world.logKey);
      const all = withStamp(size, stampOf(forged, lastTime));
      return all.set('tile/entries/001', flip(all.get('tile/entries/001')!, 700));
    },
    exit: 10,
    code: 'E_CONSISTENCY',
    where: END,
  },
  {
    name: 'a stamped checkpoint of another history, in a log that somebody has made himself',
    files: () => {
      const forged = signCheckpoint({ origin: world.origin, size: 9, root: NO_HASH }, rogueKey);
      const mine = { ...world, logKey: rogueKey, log: rogueLog, server: world.people['alice']! };
      return seal(mine, [...compose(mine), { type: 'time', serverTime: lastTime, stamp: stampOf(forged, lastTime) }]);
    },
    exit: 10,
    code: 'E_CONSISTENCY',
    where: END,
  },
  {
    name: 'a stamped checkpoint, in a log of which somebody has altered a hash tile',
    files: () => {
      const all = withStamp(size, stampOf(newest, lastTime));
      const edge = `tile/0/002.p/${(size + 1) % 256}`;
      return all.set(edge, flip(all.get(edge)!, 700));
    },
    ...found('E_TILE', `tile/0/002.p/${(size + 1) % 256}`),
  },
  {
    name: 'a stamped checkpoint that was not there yet',
    files: () => withStamp(batch(6), stampOf(newest, lastTime)),
    ...found('E_STAMP', `entry ${batch(6)}`),
  },
  {
    name: 'a stamped checkpoint of nothing',
    files: () => withStamp(size, stampOf(noteAt(world, [], 0), lastTime)),
    ...found('E_STAMP', END),
  },
  {
    name: 'stamped six minutes before the server says that the newest entry came',
    files: () => withStamp(size, stampOf(newest, lastTime - 6 * MINUTE)),
    outside: stamped,
    ...found('E_TIME_BOUND', `entry ${size - 1}`),
  },
  {
    name: 'the authority may be off by so much',
    files: () =>
      withStamp(
        size,
        stampOf(newest, lastTime - 6 * MINUTE, {
          tail: [generalizedAt(lastTime - 6 * MINUTE), seq(int(120))],
        }),
      ),
    outside: stamped,
    exit: 0,
  },
  {
    name: 'the server dates the stamp six minutes before it was made',
    files: () => withStamp(size, stampOf(newest, lastTime + 6 * MINUTE)),
    outside: stamped,
    ...found('E_TIME_BOUND', END),
  },
  {
    name: 'who is not trusted contradicts nobody',
    files: () => withStamp(size, stampOf(newest, lastTime - 6 * MINUTE)),
    exit: 0,
  },
];
