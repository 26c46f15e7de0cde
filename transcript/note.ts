/**
 * Signed notes and verifier keys (C2SP signed-note), with the signature type of logs: 0x01, Ed25519 (cosignature.ts has 0x04). Notes that have two
 * spellings are refused: other base64 forms, control characters, bytes that are not UTF-8.
 */
import { createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { base64, base64url, concat, fromBase64, fromUtf8, hex, u32, utf8, view } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';

/** C2SP asks for at least 16; a note with more than this is refused. */
export const MAX_NOTE_SIGNATURES = 100;
/** Enough for all of them at post-quantum sizes. */
export const MAX_NOTE_BYTES = 1_000_000;
const TYPE_ED25519 = 0x01;
const KEY_BYTES = 32;

export interface NoteSignature {
  readonly name: string;
  readonly keyId: number;
  readonly signature: Uint8Array;
}
/** Nothing in a note may be used before openNote() has verified it. */
export interface Note {
  /** With its final newline. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}
/** A vkey: name, key id (u32) and Ed25519 public key. */
export interface VerifierKey {
  readonly name: string;
  readonly keyId: number;
  readonly publicKey: KeyObject;
}

/**
 * @param type of signature: 0x01 over the text; 0x04 a cosignature, which only cosignature.ts may check
 * @throws BAD_FRAME/note.name unless not empty and without Unicode spaces, control characters and `+`
 */
export function verifierKey(name: string, publicKey: KeyObject, type = TYPE_ED25519): VerifierKey {
  if (!isKeyName(name)) bad('note.name', 'a key name without spaces and +');
  return { name, keyId: keyIdOf(name, rawPublicKey(publicKey), type), publicKey };
}

/** `name+hex8(key id)+base64(type ‖ public key)`. */
export const formatVkey = (key: VerifierKey, type = TYPE_ED25519): string =>
  `${key.name}+${hex(u32(key.keyId))}+${base64(concat(Buffer.of(type), rawPublicKey(key.publicKey)))}`;

/** @throws BAD_FRAME naming vkey.name, vkey.id or vkey.key; the id must be the one that name, type and key make */
export function parseVkey(text: string, type = TYPE_ED25519): VerifierKey {
  const [, name, id, encoded] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/s.exec(text) ?? bad('vkey', 'name+id+key'); // the key may hold a +
  if (!isKeyName(name!)) bad('vkey.name', 'a key name without spaces');
  const key = fromBase64(encoded!);
  if (key === null || key.length !== 1 + KEY_BYTES || key[0] !== type)
    bad('vkey.key', `an Ed25519 key for signatures of type ${type}`);
  const raw = key.subarray(1);
  const keyId = keyIdOf(name!, raw, type);
  if (hex(u32(keyId)) !== id) bad('vkey.id', 'the hash of name and key');
  return { name: name!, keyId, publicKey: publicKeyOf(raw) };
}

/** @throws BAD_FRAME/note unless the text is one that parseNote() would give back */
export function formatNote(text: string, signatures: readonly NoteSignature[]): Buffer {
  const lines = signatures.map(({ name, keyId, signature }) => `— ${name} ${base64(concat(u32(keyId), signature))}\n`);
  const bytes = utf8(`${text}\n${lines.join('')}`);
  if (parseNote(bytes).text !== text) bad('note.text', 'text that ends in a newline');
  return bytes;
}

/** Splits at the last empty line. @throws BAD_FRAME naming note, note.text, note.signature or note.signatures */
export function parseNote(bytes: Uint8Array): Note {
  const whole = (bytes.length <= MAX_NOTE_BYTES ? fromUtf8(bytes) : null) ?? bad('note', 'UTF-8 of at most 1 MB');
  if (/[\0-\x09\x0b-\x1f]/.test(whole)) bad('note', 'no control character');
  const end = whole.lastIndexOf('\n\n');
  if (end < 0 || !whole.endsWith('\n')) bad('note', 'text, an empty line, and signature lines');
  const lines = whole.slice(end + 2, -1).split('\n');
  if (lines.length > MAX_NOTE_SIGNATURES) bad('note.signatures', `at most ${MAX_NOTE_SIGNATURES}`);
  return { text: whole.slice(0, end + 1), signatures: lines.map(parseSignature) };
}

/** Ed25519 over the text (UTF-8). @param privateKey the Ed25519 key that belongs to `name`; it must sign nothing but notes */
export function signNote(text: string, name: string, privateKey: KeyObject): NoteSignature {
  let raw = publicParts.get(privateKey);
  if (raw === undefined) publicParts.set(privateKey, (raw = rawPublicKey(createPublicKey(privateKey))));
  if (!isKeyName(name)) bad('note.name', 'a key name without spaces and +');
  return { name, keyId: keyIdOf(name, raw, TYPE_ED25519), signature: sign(null, utf8(text), privateKey) };
}
/** A log signs with one key for years, and taking it apart costs twice as much as the signature. */
const publicParts = new WeakMap<KeyObject, Buffer>();

/** Whether the key signed this text. */
export type NoteCheck = (key: VerifierKey, text: string, signature: Uint8Array) => boolean;
const isSignedWith: NoteCheck = ({ publicKey }, text, signature) => verify(null, utf8(text), publicKey, signature);

/**
 * The note's text, and those of `keys` that signed it, each once. Signatures by other keys are ignored.
 * @param note bytes, or what parseNote() has made of them
 * @param isSigned for whoever has a signature checked elsewhere
 * @throws BAD_FRAME as parseNote()
 * @throws SIG_FAIL/note if none of the keys signed, or if a signature that bears a key's name and id is wrong
 */
export function openNote(
  note: Uint8Array | Note,
  keys: readonly VerifierKey[],
  isSigned: NoteCheck = isSignedWith,
): { text: string; signers: VerifierKey[] } {
  const { text, signatures } = note instanceof Uint8Array ? parseNote(note) : note;
  const signers = new Set<VerifierKey>();
  for (const { name, keyId, signature } of signatures) {
    const key = keys.find((k) => k.name === name && k.keyId === keyId);
    if (key === undefined) continue;
    if (!isSigned(key, text, signature))
      throw new ChatError('SIG_FAIL', 'a known key did not make the signature under its name', { sub: 'note' });
    signers.add(key);
  }
  if (signers.size === 0) throw new ChatError('SIG_FAIL', 'the note is not signed by a known key', { sub: 'note' });
  return { text, signers: [...signers] };
}

// U+2014, three bytes; what follows the key id is at least one byte.
const SIGNATURE_LINE = /^— (\S+) (\S+)$/u;

function parseSignature(line: string): NoteSignature {
  const [, name, encoded] = SIGNATURE_LINE.exec(line) ?? bad('note.signature', 'a signature line');
  const bytes = fromBase64(encoded!);
  if (!isKeyName(name!) || bytes === null || bytes.length < 5) bad('note.signature', 'name and base64');
  return { name: name!, keyId: bytes.readUInt32BE(0), signature: bytes.subarray(4) };
}

const isKeyName = (name: string): boolean => name.isWellFormed() && /^[^+\p{White_Space}\0-\x1f]+$/u.test(name);

const keyIdOf = (name: string, raw: Uint8Array, type: number): number =>
  sha256(utf8(name), Buffer.of(0x0a, type), raw).readUInt32BE(0);

function rawPublicKey(key: KeyObject): Buffer {
  const known = rawKeys.get(key);
  if (known !== undefined) return known;
  if (key.asymmetricKeyType !== 'ed25519') bad('note.key', 'an Ed25519 key');
  const raw = view(key.export({ type: 'spki', format: 'der' })).subarray(-KEY_BYTES); // RFC 8410 §4: the key ends the structure
  rawKeys.set(key, raw);
  return raw;
}
/** One key is behind thousands of notes. */
const rawKeys = new WeakMap<KeyObject, Buffer>();

const publicKeyOf = (raw: Uint8Array): KeyObject =>
  createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: base64url(raw) }, format: 'jwk' });
