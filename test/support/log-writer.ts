/**
 * Writes log directories, right and wrong ones, with the pure parts of transcript/ and nothing of the server. `compose` makes the leaves
 * that senders and server agree on, `seal` makes files of them; each stage can be altered. Certificates are those of scripts/gen-certs.sh.
 */
import { execFileSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { concat, hex, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../../base/bytes.ts';
import { hmacSha256, sha256 } from '../../base/hash.ts';
import { CONTEXT, sign } from '../../base/signature.ts';
import { signCheckpoint, type Checkpoint } from '../../transcript/checkpoint.ts';
import { formatKeyStatement, signKeyStatement, type KeyStatement } from '../../transcript/key-statement.ts';
import { encodeLeaf, type Leaf, type SigbLeaf } from '../../transcript/leaf.ts';
import { leafHash, NO_HASH, nodesOver, rootOf } from '../../transcript/merkle.ts';
import { verifierKey, type VerifierKey } from '../../transcript/note.ts';
import { encodeOpening } from '../../transcript/opening.ts';
import {
  audienceOf,
  ciphertextHash,
  commitment,
  encodeBs,
  encodeMs,
  rosterHash,
  type BatchStatement,
  type MessageStatement,
} from '../../transcript/statement.ts';
import { encodeBundle, encodeTile, tilePath, tilesOf, TILE_WIDTH } from '../../transcript/tile.ts';
import { parsePem, type Certificate } from '../../x509/certificate.ts';

/** A certificate with its chain and key. */
export interface Credential {
  /** DER, its own certificate first. */
  readonly chain: readonly Buffer[];
  readonly key: KeyObject;
}
export const fingerprintOf = ({ chain }: Credential): Fingerprint => sha256(chain[0]!) as Uint8Array as Fingerprint;

export interface World {
  readonly origin: string;
  readonly logKey: KeyObject;
  readonly log: VerifierKey;
  readonly server: Credential;
  readonly people: Readonly<Record<string, Credential>>;
  /** Unix ms of the first entry. */
  readonly begin: number;
}

/** One made by gen-certs.sh: `ca` may sign more of whatever kind a test wants. */
export interface Authority {
  readonly ca: Certificate;
  readonly key: KeyObject;
  readonly world: World;
}

let made: Authority | null = null;
/**
 * An authority, a server and one person for each kind of key; made once in a process. With the environment variable CHAT_TEST_CERTS they are
 * kept in that folder, and are the same in each process and thread.
 */
export function genCerts(): Authority {
  if (made) return made;
  const kept = process.env['CHAT_TEST_CERTS'];
  const dir = kept ?? mkdtempSync(join(tmpdir(), 'log-writer-'));
  const isThere = existsSync(join(dir, 'carol.crt'));
  try {
    const run = (...args: string[]) =>
      isThere ||
      execFileSync(
        'sh',
        [fileURLToPath(new URL('../../scripts/gen-certs.sh', import.meta.url)), '--out', dir, ...args],
        {
          stdio: ['ignore', 'ignore', 'inherit'],
        },
      );
    const host = 'chat.example.org';
    run('--server', host, '--client', 'alice', '--key', 'rsa2048');
    run('--client', 'bob', '--key', 'ec256');
    run('--client', 'carol', '--key', 'ed25519');
    const text = (name: string) => readFileSync(join(dir, name), 'latin1');
    const credential = (name: string): Credential => ({
      chain: parsePem(text(`${name}.crt`)).map(({ der }) => Buffer.from(der)),
      key: createPrivateKey(text(`${name}.key`)),
    });
    const [ca] = parsePem(text('ca.crt'));
    const { privateKey: logKey, publicKey } = generateKeyPairSync('ed25519');
    const origin = `${host}/log/n1`;
    const server = credential('server');
    const people = { alice: credential('alice'), bob: credential('bob'), carol: credential('carol') };
    // Certificates begin at the time of their making, in whole seconds.
    const begin = Math.ceil(Date.now() / 1000) * 1000 + 3_600_000;
    const world = { origin, logKey, log: verifierKey(origin, publicKey), server, people, begin };
    return (made = { ca: ca!, key: createPrivateKey(text('ca.key')), world });
  } finally {
    if (kept === undefined) rmSync(dir, { recursive: true, force: true });
  }
}

/** What happens in a log, in order. Times are ms after `world.begin`; certificates are logged when they are first needed. */
export type Step =
  | {
      readonly sender: string;
      /** Which of the sender's sessions. */
      readonly session?: number;
      /** The conversation of each message. */
      readonly conversations: readonly string[];
      /** Before the messages: the session opens, and names this one of the sender's as the one before; null: none. */
      readonly opens?: number | null;
      /** Behind the messages the session closes. */
      readonly closes?: boolean;
      readonly at: number;
    }
  | { readonly leaf: (serverTime: number) => Leaf; readonly at: number };

/** Each is called for every batch, with its number from 0, and gives back what is to be used instead. */
export interface Alterations {
  readonly ms?: (ms: MessageStatement, batch: number, position: number) => MessageStatement;
  readonly bs?: (bs: BatchStatement, batch: number) => BatchStatement;
  /** What is signed and by whom. */
  readonly signer?: (sender: Credential, batch: number) => Credential;
  readonly signature?: (
    signed: Omit<SigbLeaf, 'type' | 'serverTime'>,
    batch: number,
  ) => Omit<SigbLeaf, 'type' | 'serverTime'>;
  /** Of the server's key, before it is signed. */
  readonly keyStatement?: (statement: KeyStatement) => KeyStatement;
}

const repeat = (conversation: string, count: number) => Array.from({ length: count }, () => conversation);

/** Three senders, four sessions, four conversations; 589 entries, so full and partial tiles on two levels. */
export const STORY: readonly Step[] = [
  { sender: 'alice', conversations: ['ab'], at: 0 },
  { sender: 'bob', conversations: ['ab', 'ab', 'bc'], at: 1000 },
  { sender: 'alice', conversations: ['ab', 'abc', 'ab'], at: 1000 },
  { sender: 'carol', conversations: ['bc'], at: 2500 },
  { sender: 'carol', conversations: repeat('abc', 256), at: 3000 },
  { leaf: (serverTime) => ({ type: 'time', serverTime, stamp: Buffer.alloc(0) }), at: 60_000 },
  { sender: 'alice', session: 1, conversations: ['ab', 'notes'], at: 61_000 },
  { sender: 'bob', conversations: repeat('abc', 32), at: 62_000 },
  { sender: 'alice', session: 1, conversations: repeat('abc', 255), at: 62_000 },
  { sender: 'bob', conversations: ['ab'], at: 63_000 },
  { sender: 'carol', conversations: ['bc', 'abc'], at: 63_000 },
  { sender: 'alice', conversations: ['ab'], at: 90_000 },
  { sender: 'alice', session: 1, conversations: repeat('ab', 9), at: 91_000 },
];

/** CERT and KEY of the server. */
export function keyLeaves(
  world: World,
  serverTime: number,
  { keyStatement = (s) => s }: Alterations = {},
  by: Credential = world.server,
): Leaf[] {
  const [own] = parsePem(pemOf(by.chain[0]!));
  const { notBefore, notAfter, fingerprint } = own!;
  const statement = formatKeyStatement(
    keyStatement({
      log: world.log,
      notBefore,
      notAfter,
      serverCertificate: fingerprint,
      previous: null,
      recovery: null,
    }),
  );
  const signed = signKeyStatement(statement, by.key);
  return [
    { type: 'cert', serverTime, chain: by.chain },
    {
      type: 'key',
      serverTime,
      statement,
      algorithm: signed[0]!,
      signature: signed.subarray(1),
      previousSignature: Buffer.alloc(0),
    },
  ];
}

/** The leaves of a log in which everything is right but for what is altered. */
export function compose(world: World, story: readonly Step[] = STORY, alter: Alterations = {}): Leaf[] {
  const leaves: Leaf[] = keyLeaves(world, world.begin, alter);
  const logged = new Set<string>();
  const sessions = new Map<string, { ctr: number; lastBatch: Hash }>();
  const counters = new Map<string, number>();
  const lastLeaves = new Map<string, Hash>();
  let batch = 0;
  for (const step of story) {
    const serverTime = world.begin + step.at;
    if ('leaf' in step) {
      leaves.push(step.leaf(serverTime));
      continue;
    }
    const credential = world.people[step.sender];
    if (credential === undefined) throw new RangeError(step.sender);
    const sender = fingerprintOf(credential);
    if (!logged.has(step.sender)) leaves.push({ type: 'cert', serverTime, chain: credential.chain });
    logged.add(step.sender);

    const session = sessionOf(step.sender, step.session ?? 0);
    const { ctr, lastBatch } = sessions.get(hex(session)) ?? { ctr: 0, lastBatch: NO_HASH };
    const plainly = (kind: 6 | 7, part: Uint8Array, position: number): Buffer => {
      const ms: MessageStatement = {
        kind,
        parts: 1,
        ciphertextBytes: part.length,
        sender,
        session,
        sessionCtr: ctr + position,
        clientTime: serverTime - 20,
        conversation: NO_HASH as Uint8Array as ConversationId,
        convCtr: 0,
        prevConv: NO_HASH,
        rosterHash: NO_HASH,
        commitment: NO_HASH,
        ciphertextHash: ciphertextHash([part]),
      };
      return encodeMs(alter.ms?.(ms, batch, position) ?? ms);
    };
    const opening: Buffer[] = [];
    if (step.opens !== undefined) {
      const before = step.opens === null ? null : sessionOf(step.sender, step.opens);
      const end = before && sessions.get(hex(before));
      const part = end
        ? encodeOpening({ session: before, lastCtr: end.ctr, lastBatch: end.lastBatch })
        : encodeOpening(null);
      opening.push(plainly(6, part, 1));
    }
    const said = step.conversations.map((name, at) => {
      const i = at + opening.length;
      const conversation = sha256(Buffer.from(name)) as Uint8Array as ConversationId;
      const inSession = `${hex(session)} ${name}`;
      const convCtr = (counters.get(inSession) ?? 0) + 1;
      const plain: MessageStatement = {
        kind: 1,
        parts: 1,
        ciphertextBytes: 48,
        sender,
        session,
        sessionCtr: ctr + 1 + i,
        clientTime: serverTime - 20,
        conversation,
        convCtr,
        prevConv: lastLeaves.get(`${step.sender} ${name}`) ?? NO_HASH,
        rosterHash: rosterHash(conversation, 1, [sender]),
        commitment: NO_HASH,
        ciphertextHash: NO_HASH,
      };
      const text = Buffer.from(`message ${ctr + 1 + i} of ${step.sender}`);
      const sealed: MessageStatement = {
        ...plain,
        commitment: commitment(hmacSha256(session, text), encodeMs(plain), text),
        ciphertextHash: ciphertextHash([concat(sha256(text), text).subarray(0, 48)]),
      };
      const ms = encodeMs(alter.ms?.(sealed, batch, i + 1) ?? sealed);
      counters.set(inSession, convCtr);
      lastLeaves.set(`${step.sender} ${name}`, leafHash(ms));
      return ms;
    });
    const messages = [...opening, ...said];
    if (step.closes) messages.push(plainly(7, new Uint8Array(0), messages.length + 1));
    const statement: BatchStatement = {
      sender,
      session,
      firstCtr: ctr + 1,
      count: messages.length,
      signTime: serverTime - 10,
      prevBatch: lastBatch,
      batchRoot: rootOf(messages.map(leafHash)),
      audience: audienceOf(world.origin),
    };
    const bs = encodeBs(alter.bs?.(statement, batch) ?? statement);
    const by = alter.signer?.(credential, batch) ?? credential;
    const signed = { ...sign(by.key, CONTEXT.senderBatch, bs), bs };
    leaves.push({ type: 'sigb', serverTime, ...(alter.signature?.(signed, batch) ?? signed) });
    messages.forEach((ms, i) => leaves.push({ type: 'msg', serverTime, position: i + 1, ms }));
    sessions.set(hex(session), { ctr: ctr + messages.length, lastBatch: leafHash(bs) });
    batch++;
  }
  return leaves;
}

/** The sender's nth session. */
export const sessionOf = (sender: string, number: number): SessionId =>
  sha256(Buffer.from(`${sender}/${number}`)).subarray(0, 16) as Uint8Array as SessionId;

export interface SealAlterations {
  readonly entries?: (entries: Buffer[]) => Buffer[];
  readonly checkpoint?: (checkpoint: Checkpoint) => Checkpoint;
  /** In place of the log's signature. */
  readonly note?: (checkpoint: Checkpoint) => Uint8Array;
  readonly files?: (files: Map<string, Buffer>) => void;
}

/** Paths and contents of a log directory with these leaves. */
export function seal(world: World, leaves: readonly Leaf[], alter: SealAlterations = {}): Map<string, Buffer> {
  const plain = leaves.map(encodeLeaf);
  const entries = alter.entries?.(plain) ?? plain;
  const files = new Map<string, Buffer>();
  const key = leaves.findLast((leaf) => leaf.type === 'key');
  if (key) {
    files.set('key.stmt', Buffer.from(key.statement));
    files.set('key.sig', concat(Buffer.of(key.algorithm), key.signature));
  }
  const honest = headOf(world, entries);
  const checkpoint = alter.checkpoint?.(honest) ?? honest;
  files.set('checkpoint', Buffer.from(alter.note?.(checkpoint) ?? signCheckpoint(checkpoint, world.logKey)));
  for (const [path, bytes] of tilesAsFiles(entries)) files.set(path, bytes);
  alter.files?.(files);
  return files;
}

export const headOf = (world: World, entries: readonly Uint8Array[]): Checkpoint => ({
  origin: world.origin,
  size: entries.length,
  root: rootOf(entries.map(leafHash)),
});

/** The signed note that the server gave out when the log had `size` entries. */
export const noteAt = (world: World, leaves: readonly Leaf[], size = leaves.length): Buffer =>
  signCheckpoint(headOf(world, leaves.slice(0, size).map(encodeLeaf)), world.logKey);

function* tilesAsFiles(entries: readonly Uint8Array[]): Generator<readonly [string, Buffer]> {
  const node = nodesOver(entries.map(leafHash));
  for (const tile of tilesOf(entries.length)) {
    const first = tile.index * TILE_WIDTH;
    const { level } = tile;
    const bytes =
      level === 'entries'
        ? encodeBundle(entries.slice(first, first + tile.width))
        : encodeTile(Array.from({ length: tile.width }, (_, i) => node(8 * level, first + i)));
    yield [tilePath(tile), bytes];
  }
}

export function writeFiles(dir: string, files: ReadonlyMap<string, Uint8Array>): void {
  for (const [path, bytes] of files) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), bytes);
  }
}

export const pemOf = (der: Uint8Array, label = 'CERTIFICATE'): string =>
  `-----BEGIN ${label}-----\n${(
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  ).join('\n')}\n-----END ${label}-----\n`;

/** Public key of a private one. */
export const publicOf = (key: KeyObject): KeyObject => createPublicKey(key);
