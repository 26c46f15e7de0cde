/**
 * Who an MLS leaf is. The key of a person's certificate signs, once for each device, that this Ed25519 key is theirs (a device binding);
 * the leaf's credential names the binding by its hash. So people with RSA, P-256 and Ed25519 certificates share one group, and whoever
 * stores the bindings can withhold one, but not make one up.
 *
 * Whether a binding is good does not depend on the clock or on revocation lists: members who process the same commit at different times
 * must come to the same verdict, or their groups part for ever. Freshness is asked for where somebody is let in (`isCurrent`, `checkStanding`).
 */
import type { KeyObject } from 'node:crypto';
import { concat, equal, fromUtf8, hex, utf8, view, type Fingerprint } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { sha256 } from '../../base/hash.ts';
import { CONTEXT, sign, verify } from '../../base/signature.ts';
import {
  decodeBinding,
  DEVICE_ID_BYTES,
  encodeBinding,
  encodeStatement,
  MAX_CERTIFICATES,
  MAX_NAME_BYTES,
  type BindingStatement,
} from '../../protocol/device-binding.ts';
import { parseCertificate, type Certificate } from '../../x509/certificate.ts';
import type { Crl } from '../../x509/crl.ts';
import { identityOf } from '../../x509/identity.ts';
import { validatePath } from '../../x509/path.ts';
import type { Credential } from './mls.ts';

const HASH_BYTES = 32;

/** A statement whose signature, chain and name were checked. */
export interface Device extends BindingStatement {
  /** SHA-256 of the binding: its name in a credential and wherever it is stored. */
  readonly bindingHash: Uint8Array;
  readonly certificate: Fingerprint;
  /** SHA-256 of the certificate's SubjectPublicKeyInfo: what safety numbers are made of. */
  readonly certificateKeyHash: Uint8Array;
  readonly chain: readonly Certificate[];
}

/**
 * A binding: u16 length ‖ statement ‖ algorithm u8 ‖ u16 length ‖ signature ‖ u8 count ‖ count × (u32 length ‖ certificate), with the
 * statement `"chat-db1" ‖ u8 length ‖ organisation ‖ u8 length ‖ user ‖ device id[16] ‖ SHA-256(certificate)[32] ‖ u8 7 ‖ "ed25519" ‖
 * MLS key[32] ‖ not before u64 ‖ not after u64`. One encoding for one value.
 * @param chain DER, the certificate of `privateKey` first; the root may be left out
 * @throws BAD_CERT/weak_key
 */
export function createBinding(
  statement: BindingStatement,
  chain: readonly Uint8Array[],
  privateKey: KeyObject,
): Buffer {
  const [certificate] = chain;
  if (!certificate || chain.length > MAX_CERTIFICATES) throw new RangeError(`a chain of ${chain.length} certificates`);
  const body = encodeStatement(statement, sha256(certificate));
  const { algorithm, signature } = sign(privateKey, CONTEXT.deviceBinding, body);
  return encodeBinding(body, algorithm, signature, chain);
}

/** Its hash, in hexadecimal: the key under which `Authority` looks for it. */
export const bindingName = (binding: Uint8Array): string => hex(sha256(binding));

/** What it says; true of one that was resolved. @throws BAD_FRAME */
export function readBinding(
  binding: Uint8Array,
): Pick<BindingStatement, 'mlsKey' | 'notBefore'> & { readonly certificate: Uint8Array } {
  const { statement, chain } = decodeBinding(binding);
  return { mlsKey: statement.mlsKey, notBefore: statement.notBefore, certificate: chain[0]! };
}

/** The MLS credential of a device: `0x01 ‖ user ‖ device id[16] ‖ SHA-256(binding)[32]`. */
export function credentialOf(device: Pick<Device, 'user' | 'deviceId' | 'bindingHash'>): Credential {
  const identity = concat(Buffer.of(1), utf8(device.user), device.deviceId, device.bindingHash);
  return { credentialType: 'basic', identity };
}

/** What a credential claims; nothing is proven by it. @throws BAD_CERT/malformed */
export function parseCredential(credential: Credential): Pick<Device, 'user' | 'deviceId' | 'bindingHash'> {
  const identity = credential.credentialType === 'basic' ? view(credential.identity) : Buffer.alloc(0);
  const end = identity.length - DEVICE_ID_BYTES - HASH_BYTES;
  const user = end > 1 && end <= MAX_NAME_BYTES + 1 && identity[0] === 1 ? fromUtf8(identity.subarray(1, end)) : null;
  if (user === null) return bad('malformed', 'credential that is not one of this product');
  return { user, deviceId: identity.subarray(end, end + DEVICE_ID_BYTES), bindingHash: identity.subarray(-HASH_BYTES) };
}

export interface AuthorityOptions {
  readonly organisation: string;
  readonly roots: readonly Certificate[];
  readonly intermediates?: readonly Certificate[];
  /** By `bindingName`. The caller adds to it what it fetches; nothing in it needs to have been checked. */
  readonly bindings: ReadonlyMap<string, Uint8Array>;
}

/** Resolves credentials. Each binding is checked once: 0.25 ms, and a room may have a thousand devices. */
export class Authority {
  readonly options: AuthorityOptions;
  readonly #known = new Map<string, Device>();

  constructor(options: AuthorityOptions) {
    this.options = options;
  }

  /** Null if the binding is not there: fetch it, and ask again. @throws BAD_CERT, SIG_FAIL as openBinding(); SIG_FAIL/credential */
  resolve(credential: Credential, signatureKey: Uint8Array): Device | null {
    const claim = parseCredential(credential);
    const name = hex(claim.bindingHash);
    let device = this.#known.get(name);
    if (!device) {
      const binding = this.options.bindings.get(name);
      if (!binding) return null;
      if (bindingName(binding) !== name) throw mismatch('the binding is another one than the credential names');
      device = openBinding(binding, this.options);
      this.#known.set(name, device);
    }
    if (device.user !== claim.user || !equal(device.deviceId, claim.deviceId))
      throw mismatch('the credential says another name or device than its binding');
    if (!equal(device.mlsKey, signatureKey)) throw mismatch('the binding is for another key: a copied credential');
    return device;
  }
}

/**
 * Checks everything that is true for ever: signature, chain and name, as of the time for which the binding was made.
 * @throws BAD_CERT with the reason of the chain; SIG_FAIL/binding; BAD_FRAME naming the field
 */
export function openBinding(
  binding: Uint8Array,
  { organisation, roots, intermediates = [] }: Omit<AuthorityOptions, 'bindings'>,
): Device {
  const { body, statement, certificateHash, algorithm, signature, chain: ders } = decodeBinding(binding);
  const [leaf, ...others] = ders.map(parseCertificate) as [Certificate, ...Certificate[]];
  if (!equal(leaf.fingerprint, certificateHash)) throw unsigned('it names another certificate than it carries');
  const { notBefore, notAfter } = statement;
  if (notBefore > notAfter || notBefore < leaf.notBefore || notAfter > leaf.notAfter)
    throw unsigned('its validity is not inside that of the certificate');
  if (statement.organisation !== organisation) throw unsigned('it is for another organisation');
  const path = { leaf, intermediates: [...others, ...intermediates], roots, crls: [] };
  validatePath({ ...path, at: notBefore, purpose: 'clientAuth', revocation: 'at-signing' });
  if (!verify(leaf.publicKey, algorithm, CONTEXT.deviceBinding, body, signature))
    throw unsigned('it is not signed by the key of its certificate');
  if (identityOf(leaf).username !== statement.user)
    return bad('bad_name', `the certificate of ${leaf.subject.text} binds a device of another person`);
  return {
    ...statement,
    bindingHash: sha256(binding),
    certificate: leaf.fingerprint,
    certificateKeyHash: leaf.spkiHash,
    chain: [leaf, ...others],
  };
}

/** @param at Unix ms */
export const isCurrent = ({ notBefore, notAfter }: BindingStatement, at: number): boolean =>
  at >= notBefore && at <= notAfter;

/**
 * Whether a device may be let in, or should be shown the door, now: what members may see differently, because their clocks and lists differ.
 * @throws BAD_CERT with sub `expired`, `not_yet_valid`, `revoked`, `revocation_unknown`, …
 */
export function checkStanding(
  device: Device,
  { roots, intermediates = [] }: Omit<AuthorityOptions, 'bindings'>,
  crls: readonly Crl[],
  at: number,
): void {
  if (at < device.notBefore) bad('not_yet_valid', `a device of ${device.user} is not bound yet`);
  if (at > device.notAfter) bad('expired', `the binding of a device of ${device.user} has expired`);
  const [leaf, ...others] = device.chain as readonly [Certificate, ...Certificate[]];
  const path = { leaf, intermediates: [...others, ...intermediates], roots, crls };
  validatePath({ ...path, at, purpose: 'clientAuth', revocation: 'live' });
}

function bad(sub: string, message: string): never {
  throw new ChatError('BAD_CERT', message, { sub });
}
const unsigned = (why: string) => new ChatError('SIG_FAIL', `device binding: ${why}`, { sub: 'binding' });
const mismatch = (why: string) => new ChatError('SIG_FAIL', why, { sub: 'credential' });
