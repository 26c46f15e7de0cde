/** What the rows of witnesses and time-stamping authorities are made of: three witnesses, two authorities, and what they say of the log. */
import { generateKeyPairSync } from 'node:crypto';
import { noteAt } from '../support/log-writer.ts';
import {
  cosignatureLine,
  stampAuthority,
  witnessVkey,
  withLines,
  type Cosigner,
  type TokenShape,
} from '../support/token-writer.ts';
import { DAY } from '../x509/maker.ts';
import { batch, leaves, world, type Row } from './tamper.ts';

const cosigner = (name: string): Cosigner => {
  const { publicKey, privateKey: key } = generateKeyPairSync('ed25519');
  return { name: `witness.example/${name}`, key, publicKey };
};
export const [w1, w2, w3] = ['w1', 'w2', 'w3'].map(cosigner) as [Cosigner, Cosigner, Cosigner];
export const vkeys = [w1, w2, w3].map(witnessVkey);
export const two = { witnesses: vkeys, quorum: 2 };
export const size = leaves.length;
export const lastTime = leaves.at(-1)!.serverTime;
export const MINUTE = 60_000;
const seconds = (at: number): number => Math.floor(at / 1000);
export const SEEN = seconds(lastTime) + 2;

type By = readonly [who: Cosigner, at?: number, claimed?: number];
export const cosigned = (note: Uint8Array, ...by: readonly By[]): Buffer =>
  withLines(note, ...by.map(([who, at = SEEN, claimed]) => cosignatureLine(note, who, at, claimed)));
export const newest = noteAt(world, leaves);
export const older = noteAt(world, leaves, batch(6));
/** Time of what `older` covers. */
export const olderSeen = seconds(leaves[batch(6) - 1]!.serverTime) + 1;

/** Both time authorities are good for as long as the log of this world. */
export const FROM = world.begin - DAY;
export const UNTIL = world.begin + DAY;
export const { root, signer } = stampAuthority(FROM, UNTIL);
export const stranger = stampAuthority(FROM, UNTIL);
export const stamped = { stampRoots: [root.der], requiresStamp: true };
export const shape = (time: number, more: Partial<TokenShape> = {}): TokenShape => ({
  time,
  signer,
  issuer: root,
  ...more,
});

export const flip = (bytes: Buffer, at: number) => Buffer.from(bytes.with(at, bytes[at]! ^ 1));
export const found = (code: Row['code'], where: string, exit = 10) => ({ exit, code: code!, where, isAlone: true });
