/** Rows of bundles: the same of the checkpoint that a bundle carries, and of its time-stamp. */
import type { BundleLog } from '../../transcript/bundle-writer.ts';
import { bundleOf, type BundleAlterations } from '../support/bundle-writer.ts';
import { tokenOver, type TokenShape } from '../support/token-writer.ts';
import { int, list, seq } from '../x509/maker.ts';
import type { BundleRow } from './bundle-edits.ts';
import {
  cosigned,
  flip,
  found,
  FROM,
  lastTime,
  MINUTE,
  newest,
  older,
  root,
  SEEN,
  shape,
  signer,
  stamped,
  stranger,
  two,
  UNTIL,
  w1,
  w2,
} from './outside-edits.ts';
import { leaves, world } from './tamper.ts';

const sealed =
  (log: (log: BundleLog) => BundleLog, alter: BundleAlterations = {}) =>
  () =>
    bundleOf(world, leaves, 'ab', {
      ...alter,
      content: (content) => ({ ...content, logs: content.logs.map(log) }),
    });
const checkpoint = (note: Buffer) => sealed((log) => ({ ...log, checkpoint: note }));
const token = (time: number, more: Partial<TokenShape> = {}, over: Uint8Array = newest) =>
  sealed((log) => ({ ...log, token: tokenOver(over, shape(time, more)) }));
const NOTE = 'log/01/checkpoint';
const TSR = 'log/01/checkpoint.tsr';

export const BUNDLE_OUTSIDE: readonly BundleRow[] = [
  { name: 'cosigned by two of three', archive: checkpoint(cosigned(newest, [w1], [w2])), outside: two, exit: 0 },
  {
    name: 'cosigned by one of three',
    archive: checkpoint(cosigned(newest, [w1])),
    outside: two,
    ...found('W_NO_QUORUM', NOTE, 11),
  },
  {
    name: 'an altered cosignature',
    archive: checkpoint(cosigned(newest, [w1], [w2, SEEN, 7])),
    outside: { ...two, quorum: 1 },
    exit: 10,
    code: 'E_COSIG',
    where: NOTE,
  },
  {
    name: 'cosigned before its messages',
    archive: checkpoint(cosigned(newest, [w1, SEEN - 360], [w2, SEEN - 360])),
    outside: two,
    exit: 10,
    code: 'E_TIME_BOUND',
    where: 'msg/000006',
  },
  {
    name: 'nothing ties a message to what witnesses saw',
    archive: sealed((log) => ({
      ...log,
      checkpoint: cosigned(newest, [w1], [w2]),
      consistency: new Map([...log.consistency].slice(1)),
    })),
    outside: two,
    exit: 11,
    code: 'W_NO_QUORUM',
    where: 'msg/000001/log.tlog-proof',
  },
  { name: 'a time-stamp', archive: token(lastTime + 1000), outside: stamped, exit: 0 },
  { name: 'a time-stamp that nobody asked for', archive: token(lastTime + 1000), exit: 0 },
  {
    name: 'a time-stamp of what was cosigned',
    archive: sealed((log) => {
      const note = cosigned(newest, [w1], [w2]);
      return { ...log, checkpoint: note, token: tokenOver(note, shape(lastTime + 5000)) };
    }),
    outside: { ...two, ...stamped },
    exit: 0,
  },
  { name: 'no time-stamp', archive: sealed((log) => log), outside: stamped, ...found('W_NO_STAMP', TSR, 11) },
  {
    name: 'nothing ties a message to what was stamped',
    archive: sealed((log) => ({
      ...log,
      token: tokenOver(newest, shape(lastTime + 1000)),
      consistency: new Map([...log.consistency].slice(1)),
    })),
    outside: stamped,
    exit: 11,
    code: 'W_NO_STAMP',
    where: 'msg/000001/log.tlog-proof',
  },
  {
    name: 'a time-stamp of an authority that was not given',
    archive: token(lastTime, { signer: stranger.signer, issuer: stranger.root }),
    outside: { stampRoots: [root.der] },
    ...found('W_STAMP', TSR, 0),
  },
  {
    name: 'a time-stamp of an authority whose key was in other hands later, as a list in the bundle says',
    archive: () => {
      const der = list(root, { from: FROM, until: UNTIL, revoked: [[signer.serial, lastTime + 1000, 1]] });
      return bundleOf(world, leaves, 'ab', {
        content: (content) => ({
          ...content,
          crls: [{ der, logged: null }],
          logs: content.logs.map((log) => ({ ...log, token: tokenOver(newest, shape(lastTime)) })),
        }),
      });
    },
    outside: { stampRoots: [root.der] },
    ...found('W_STAMP', TSR, 0),
  },
  {
    name: 'a time-stamp of another checkpoint',
    archive: token(lastTime, {}, older),
    ...found('E_STAMP', TSR),
  },
  {
    name: 'a time-stamp that nobody signed so',
    archive: token(lastTime, { signature: (made) => flip(made, made.length - 1) }),
    ...found('E_STAMP', TSR),
  },
  {
    name: 'a time-stamp before its messages',
    archive: token(lastTime - 6 * MINUTE),
    outside: stamped,
    exit: 10,
    code: 'E_TIME_BOUND',
    where: 'msg/000006',
  },
  {
    name: 'an answer with more in it than a time-stamp',
    archive: () =>
      bundleOf(world, leaves, 'ab', {
        files: (files) => {
          const made = tokenOver(newest, shape(lastTime));
          files.set(TSR, seq(seq(int(1)), made)); // granted with changes
        },
      }),
    ...found('E_STAMP', TSR),
  },
];
