/** The number that two people read to each other: equal on both sides exactly if both see the same certificate keys. */
import { createHash } from 'node:crypto';
import { concat, u16, utf8 } from '../../base/bytes.ts';

export interface KeyHolder {
  readonly user: string;
  /** SHA-256 of the SubjectPublicKeyInfo of each of the person's certificates in use; order and doubles do not matter. */
  readonly certificateKeyHashes: readonly Uint8Array[];
}

/** Makes looking for a key with a similar number 5,200 times as expensive (the work factor of Signal's numeric fingerprints). */
const ROUNDS = 5200;
const LABEL = utf8('chat/v1, safety number\0');

/** 60 decimal digits, the same whoever of the two asks. */
export function safetyNumber(a: KeyHolder, b: KeyHolder): string {
  return [half(a), half(b)].toSorted().join('');
}

/** 30 digits, some 100 bits: six numbers of five digits, each from 40 bits of the hash. */
function half({ user, certificateKeyHashes }: KeyHolder): string {
  const keys = certificateKeyHashes
    .toSorted((x, y) => Buffer.compare(x, y))
    .filter((key, i, all) => i === 0 || Buffer.compare(key, all[i - 1]!) !== 0);
  const name = utf8(user);
  const input = concat(LABEL, u16(name.length), name, u16(keys.length), ...keys);
  let digest = createHash('sha512').update(input).digest();
  for (let round = 1; round < ROUNDS; round++) digest = createHash('sha512').update(digest).update(input).digest();
  return Array.from({ length: 6 }, (_, i) => String(digest.readUIntBE(i * 5, 5) % 100_000).padStart(5, '0')).join('');
}
