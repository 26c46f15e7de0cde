/** Rows of senders that sign what they should not. */
import { constants, sign as nodeSign } from 'node:crypto';
import { CONTEXT, sign, tbs } from '../../base/signature.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { KIND } from '../../transcript/statement.ts';
import { alice, bob, carol, filled, ofBatch, otherLogKey, place } from './log-edits.ts';
import { batch, flipped, resigned, type Row } from './tamper.ts';

/** What makes a close of any statement. */
const CLOSE = {
  kind: KIND.close,
  parts: 1,
  ciphertextBytes: 0,
  conversation: NO_HASH as never,
  convCtr: 0,
  prevConv: NO_HASH,
  rosterHash: NO_HASH,
  commitment: NO_HASH,
};

export const SENDERS: readonly Row[] = [
  {
    name: 'messages behind the close of their session, signed',
    files: () => resigned({ ms: ofBatch(2, (ms) => ({ ...ms, ...CLOSE })) }),
    exit: 10,
    code: 'E_CLOSED',
    where: `entry ${batch(2) + 2}`,
  },
  {
    name: 'another batch signature',
    files: () => resigned({ signature: ofBatch(2, (s) => ({ ...s, signature: flipped(s.signature, 9) })) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(2),
    isAlone: true,
  },
  {
    name: "signed with another person's key",
    files: () => resigned({ signer: ofBatch(2, () => bob) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(2),
    isAlone: true,
  },
  {
    name: "signed with another person's key of the same kind",
    files: () => resigned({ signer: ofBatch(3, (own) => ({ ...own, key: otherLogKey })) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(3),
    isAlone: true,
  },
  {
    name: 'signed without the context',
    files: () =>
      resigned({ signature: ofBatch(3, (s) => ({ ...s, signature: nodeSign(null, Buffer.from(s.bs), carol.key) })) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(3),
    isAlone: true,
  },
  {
    name: 'signed under the context of a handshake',
    files: () =>
      resigned({ signature: ofBatch(3, (s) => ({ ...s, ...sign(carol.key, CONTEXT.clientHandshake, s.bs) })) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(3),
    isAlone: true,
  },
  {
    name: 'RSA signature in PKCS #1 v1.5',
    files: () =>
      resigned({
        signature: ofBatch(2, (s) => ({
          ...s,
          signature: nodeSign('sha256', tbs(CONTEXT.senderBatch, s.bs), alice.key),
        })),
      }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(2),
    isAlone: true,
  },
  {
    name: 'RSA-PSS signature with another length of salt',
    files: () =>
      resigned({
        signature: ofBatch(2, (s) => ({
          ...s,
          signature: nodeSign('sha256', tbs(CONTEXT.senderBatch, s.bs), {
            key: alice.key,
            padding: constants.RSA_PKCS1_PSS_PADDING,
            saltLength: 20,
          }),
        })),
      }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(2),
    isAlone: true,
  },
  {
    name: "an algorithm that is not the key's",
    files: () => resigned({ signature: ofBatch(2, (s) => ({ ...s, algorithm: 1 })) }),
    exit: 10,
    code: 'E_BATCH_SIG',
    where: place(2),
    isAlone: true,
  },
  {
    name: 'batch for another log',
    files: () => resigned({ bs: ofBatch(2, (bs) => ({ ...bs, audience: filled(1) })) }),
    exit: 10,
    code: 'E_AUDIENCE',
    where: place(2),
    isAlone: true,
  },
  {
    name: 'batch root of other messages, signed',
    files: () => resigned({ bs: ofBatch(2, (bs) => ({ ...bs, batchRoot: filled(1) })) }),
    exit: 10,
    code: 'E_BATCH_ROOT',
    where: place(2),
    isAlone: true,
  },
  {
    name: 'no link to the batch before',
    files: () => resigned({ bs: ofBatch(2, (bs) => ({ ...bs, prevBatch: NO_HASH })) }),
    exit: 10,
    code: 'E_BATCH_CHAIN',
    where: place(2),
    isAlone: true,
  },
  {
    name: 'session counter jumps, in statement and messages',
    files: () =>
      resigned({
        bs: ofBatch(11, (bs) => ({ ...bs, firstCtr: bs.firstCtr + 1 })),
        ms: ofBatch(11, (ms) => ({ ...ms, sessionCtr: ms.sessionCtr + 1 })),
      }),
    exit: 10,
    code: 'E_CTR_GAP',
    where: place(11),
    isAlone: true,
  },
  {
    name: 'session counter jumps within a batch',
    files: () =>
      resigned({
        ms: ofBatch(11, (ms, position) => ({ ...ms, sessionCtr: ms.sessionCtr + (position === 9 ? 1 : 0) })),
      }),
    exit: 10,
    code: 'E_CTR_GAP',
    where: `entry ${batch(11) + 9}`,
    isAlone: true,
  },
  {
    name: 'session counter stands still within a batch',
    files: () =>
      resigned({
        ms: ofBatch(11, (ms, position) => ({ ...ms, sessionCtr: ms.sessionCtr - (position === 9 ? 1 : 0) })),
      }),
    exit: 10,
    code: 'E_CTR_REGRESS',
    where: `entry ${batch(11) + 9}`,
    isAlone: true,
  },
  {
    name: 'conversation counter jumps',
    files: () =>
      resigned({ ms: ofBatch(11, (ms, position) => ({ ...ms, convCtr: ms.convCtr + (position === 9 ? 1 : 0) })) }),
    exit: 10,
    code: 'E_CONV_GAP',
    where: `entry ${batch(11) + 9}`,
    isAlone: true,
  },
  {
    name: 'conversation counter begins with 2',
    files: () => resigned({ ms: ofBatch(3, (ms) => ({ ...ms, convCtr: 2 })) }),
    exit: 10,
    code: 'E_CONV_GAP',
    where: `entry ${batch(3) + 1}`,
  },
  {
    name: 'broken link',
    files: () =>
      resigned({ ms: ofBatch(11, (ms, position) => (position === 9 ? { ...ms, prevConv: filled(1) } : ms)) }),
    exit: 10,
    code: 'E_CONV_LINK',
    where: `entry ${batch(11) + 9}`,
    isAlone: true,
  },
  {
    name: 'no link within a session',
    files: () => resigned({ ms: ofBatch(11, (ms, position) => (position === 9 ? { ...ms, prevConv: NO_HASH } : ms)) }),
    exit: 10,
    code: 'E_CONV_LINK',
    where: `entry ${batch(11) + 9}`,
    isAlone: true,
  },
  {
    name: 'link across sessions to another message',
    files: () => resigned({ ms: ofBatch(5, (ms, position) => (position === 1 ? { ...ms, prevConv: filled(1) } : ms)) }),
    exit: 10,
    code: 'E_CONV_LINK',
    where: `entry ${batch(5) + 1}`,
    isAlone: true,
  },
  {
    name: 'a device that lost its state: a warning',
    files: () => resigned({ ms: ofBatch(5, (ms, position) => (position === 1 ? { ...ms, prevConv: NO_HASH } : ms)) }),
    exit: 0,
    code: 'W_CONV_RESTART',
    where: `entry ${batch(5) + 1}`,
    isAlone: true,
  },
  {
    name: 'a link to a message elsewhere: a warning',
    files: () => resigned({ ms: ofBatch(5, (ms, position) => (position === 2 ? { ...ms, prevConv: filled(1) } : ms)) }),
    exit: 0,
    code: 'W_CONV_ELSEWHERE',
    where: `entry ${batch(5) + 2}`,
    isAlone: true,
  },
];
