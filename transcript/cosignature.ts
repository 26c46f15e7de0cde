/**
 * Cosignatures of witnesses (C2SP tlog-cosignature, Ed25519, note signature type 0x04): somebody outside the server says that at a time,
 * this was the largest tree of the log that he had seen, and that it continues all he saw before. docs/TRANSCRIPT.md §c.
 */
import { verify } from 'node:crypto';
import { concat, utf8, view } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { formatNote, formatVkey, parseNote, parseVkey, type NoteSignature, type VerifierKey } from './note.ts';

const TYPE_COSIGNATURE = 0x04;
const TIME_BYTES = 8;
const SIGNATURE_BYTES = 64;
/** Milliseconds of it still fit a number. */
const MAX_TIME_S = Math.floor(Number.MAX_SAFE_INTEGER / 1000);

/** A witness that the caller knows. Its key signs cosignatures, and nothing else: it is no key of a log. */
export interface WitnessKey {
  readonly witness: VerifierKey;
}

export interface Cosignature {
  readonly by: WitnessKey;
  /** When it was made, Unix ms; whole seconds. */
  readonly time: number;
  /** The line of the note. */
  readonly signature: NoteSignature;
}

/** @throws BAD_FRAME naming vkey.name, vkey.id or vkey.key: another type of key than 0x04 is none of a witness */
export const parseWitness = (vkey: string): WitnessKey => ({ witness: parseVkey(vkey, TYPE_COSIGNATURE) });

export const formatWitness = ({ witness }: WitnessKey): string => formatVkey(witness, TYPE_COSIGNATURE);

/** The message of a cosignature does not name its signer, so one key under two names would count twice. */
export const isSameWitness = (a: WitnessKey, b: WitnessKey): boolean => a.witness.publicKey.equals(b.witness.publicKey);

/**
 * The cosignatures of these witnesses in a signed note, each witness once, with its earliest time. Lines of others are ignored. The
 * signature of the log is not looked at.
 * @throws BAD_FRAME as parseNote()
 * @throws SIG_FAIL/cosignature if a line that bears a witness's name and key id is not its cosignature of this text
 */
export function openCosignatures(note: Uint8Array, witnesses: readonly WitnessKey[]): Cosignature[] {
  const { text, signatures } = parseNote(note);
  const found = new Map<WitnessKey, Cosignature>();
  for (const signature of signatures) {
    const by = witnesses.find(({ witness }) => witness.name === signature.name && witness.keyId === signature.keyId);
    if (by === undefined) continue;
    const time = timeOf(text, signature, by);
    const earlier = found.get(by);
    if (earlier === undefined || time < earlier.time) found.set(by, { by, time, signature });
  }
  return [...found.values()];
}

/** The note with these cosignatures as its last lines; those of the same witnesses that it had before go. @throws BAD_FRAME */
export function withCosignatures(note: Uint8Array, cosignatures: readonly Cosignature[]): Buffer {
  const { text, signatures } = parseNote(note);
  const isReplaced = ({ name, keyId }: NoteSignature): boolean =>
    cosignatures.some(({ signature }) => signature.name === name && signature.keyId === keyId);
  return formatNote(text, [
    ...signatures.filter((signature) => !isReplaced(signature)),
    ...cosignatures.map(({ signature }) => signature),
  ]);
}

/** Unix ms. */
function timeOf(text: string, { signature }: NoteSignature, { witness }: WitnessKey): number {
  if (signature.length !== TIME_BYTES + SIGNATURE_BYTES) throw wrong(witness);
  const seconds = view(signature).readBigUInt64BE(0);
  if (seconds === 0n || seconds > BigInt(MAX_TIME_S)) throw wrong(witness);
  const message = concat(utf8(`cosignature/v1\ntime ${seconds}\n`), utf8(text));
  if (!verify(null, message, witness.publicKey, signature.subarray(TIME_BYTES))) throw wrong(witness);
  return Number(seconds) * 1000;
}

const wrong = ({ name }: VerifierKey): ChatError =>
  new ChatError(
    'SIG_FAIL',
    `the line under the name of the witness ${name} is not its cosignature of this checkpoint`,
    {
      sub: 'cosignature',
    },
  );

/** Witnesses, a vkey on each line; empty lines and those that begin with # say nothing. @throws BAD_FRAME/vkey for any other, or none */
export function parseWitnesses(text: string): WitnessKey[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !line.startsWith('#'));
  return lines.length > 0 ? lines.map(parseWitness) : bad('vkey', 'at least one vkey');
}
