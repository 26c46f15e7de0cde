/**
 * From the agreed secret to every key (docs/PROTOCOL.md §2 "Key schedule"), in the shape of RFC 8446 §7.1: extract, expand to secrets
 * per direction, expand those to keys. Every label is used for one purpose and one length. Nothing here prints.
 */
import { createSecretKey, type KeyObject } from 'node:crypto';
import { utf8 } from '../base/bytes.ts';
import { hkdfExpand, hkdfExtract, hmacSha256, sha256 } from '../base/hash.ts';
import { Secret } from '../base/secret.ts';

/** The names of the schedule, as HKDF info or as the head of a hash. */
export const LABEL = {
  transcript: 'chat/v1 transcript',
  clientHandshake: 'chat/v1 client handshake traffic',
  serverHandshake: 'chat/v1 server handshake traffic',
  clientApplication: 'chat/v1 client application traffic',
  serverApplication: 'chat/v1 server application traffic',
  key: 'chat/v1 key',
  iv: 'chat/v1 iv',
  finished: 'chat/v1 finished',
  derived: 'chat/v1 derived',
  rekey: 'chat/v1 rekey',
  exporter: 'chat/v1 exporter',
  confirmation: 'chat/v1 confirmation',
  loginBinding: 'chat/v1 login binding',
} as const;
type Label = (typeof LABEL)[keyof typeof LABEL];
const BYTES = Object.fromEntries(Object.values(LABEL).map((label) => [label, utf8(label)])) as Record<Label, Buffer>;

/** AES-256-GCM key and 12-byte IV of one direction. */
export interface RecordKeys {
  readonly key: KeyObject;
  readonly iv: Buffer;
}
export interface HandshakeSecrets {
  readonly prk: Secret;
  readonly client: Secret;
  readonly server: Secret;
}
export interface ApplicationSecrets {
  readonly client: Secret;
  readonly server: Secret;
  /** 32 bytes from which everything that is bound to this session derives. */
  readonly exporter: Secret;
  /** 8 bytes, equal on both sides, for people to compare. */
  readonly confirmation: Buffer;
}

/** TH1. Both arguments are whole records, length field included. */
export const helloHash = (clientHelloRecord: Uint8Array, serverHelloRecord: Uint8Array): Buffer =>
  sha256(BYTES[LABEL.transcript], clientHelloRecord, serverHelloRecord);

/** TH2 and TH3: the hash so far and the plaintext of the next authentication. */
export const nextHash = (hash: Uint8Array, plaintext: Uint8Array): Buffer => sha256(hash, plaintext);

/** @param ikm the agreed secret: 64, 32 or 384 bytes */
export function handshakeSecrets(th1: Uint8Array, ikm: Secret): HandshakeSecrets {
  const prk = ikm.use((bytes) => new Secret(hkdfExtract(th1, bytes)));
  return { prk, client: derive(prk, LABEL.clientHandshake), server: derive(prk, LABEL.serverHandshake) };
}

/** @param prk of the handshake */
export function applicationSecrets(th3: Uint8Array, prk: Secret): ApplicationSecrets {
  const derived = derive(prk, LABEL.derived);
  const master = derived.use((bytes) => new Secret(hkdfExtract(th3, bytes)));
  const confirmation = master.use((bytes) => hkdfExpand(bytes, BYTES[LABEL.confirmation], 8));
  const secrets = {
    client: derive(master, LABEL.clientApplication),
    server: derive(master, LABEL.serverApplication),
    exporter: derive(master, LABEL.exporter),
    confirmation,
  };
  derived.wipe();
  master.wipe();
  return secrets;
}

/** @param secret of one direction and phase */
export function recordKeys(secret: Secret): RecordKeys {
  return secret.use((bytes) => {
    const key = hkdfExpand(bytes, BYTES[LABEL.key], 32);
    const keys = { key: createSecretKey(key), iv: hkdfExpand(bytes, BYTES[LABEL.iv], 12) };
    key.fill(0);
    return keys;
  });
}

/** The secret that follows after a rekey; the old one must be wiped. */
export const rekeyed = (secret: Secret): Secret => derive(secret, LABEL.rekey);

/**
 * The Finished MAC (SIGMA: a MAC over the sender's identity, which is in `binding`). 32 bytes.
 * @param handshakeSecret of the sender's direction
 * @param hash TH1 for the server, TH2 for the client
 */
export function finished(
  handshakeSecret: Secret,
  hash: Uint8Array,
  binding: Uint8Array,
  algorithm: number,
  signature: Uint8Array,
): Buffer {
  const key = derive(handshakeSecret, LABEL.finished);
  const mac = key.use((bytes) => hmacSha256(bytes, hash, binding, Buffer.from([algorithm]), signature));
  key.wipe();
  return mac;
}

/** 32 bytes that only the two ends of this session know, for the login proof's channel binding (docs/PROTOCOL.md §4). */
export const loginBinding = (exporter: Secret): Buffer =>
  exporter.use((bytes) => hkdfExpand(bytes, BYTES[LABEL.loginBinding], 32));

const derive = (from: Secret, label: Label): Secret =>
  from.use((bytes) => new Secret(hkdfExpand(bytes, BYTES[label], 32)));
