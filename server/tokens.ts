/**
 * Resume tokens: JWTs (RFC 7519) signed with Ed25519 by a key of this server alone, good for minutes, on links of one certificate
 * (RFC 8705 §3.1), until the password changes. The only door to jose, which judges every token that this process has not made itself.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { jwtVerify } from 'jose/jwt/verify';
import { base64url, equal, hex, utf8, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { ensureSecretFile } from '../runtime/files.ts';

export interface TokenOptions {
  /** the key is `token.key` in here, made at the first start with mode 0600 */
  readonly stateDir: string;
  /** name of this server, in `iss` and `aud` */
  readonly issuer: string;
  readonly lifetimeMs: number;
  /** Unix ms */
  readonly now: () => number;
}

export interface TokenHolder {
  readonly id: number;
  /** hex of the StoredKey */
  readonly pwdHash: string;
}

export interface ResumeToken {
  readonly token: string;
  /** Unix ms */
  readonly expires: number;
}

interface Issued {
  readonly userId: number;
  readonly generation: string;
  /** `x5t#S256` */
  readonly bound: string;
  /** s */
  readonly exp: number;
}

/** Tokens that this process knows to be its own, the newest; about 300 bytes each. */
const MAX_ISSUED = 16_384;
const ALGORITHM = 'Ed25519';
/** Says what the JWT is for: a token for anything else, signed with the same key, would not pass (RFC 8725 §3.11). */
const TYPE = 'chat-resume+jwt';
/** RFC 7515 §7.1 */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export class Tokens {
  readonly #key: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #o: TokenOptions;
  /** SHA-256 of the token → what it says. Nobody needs to be asked for a signature of what this process has signed itself. */
  readonly #issued = new Map<string, Issued>();

  /** @throws UNSAFE_FILE, CONFIG_INVALID for the key file */
  constructor(options: TokenOptions) {
    this.#o = options;
    const file = ensureSecretFile(join(options.stateDir, 'token.key'), 'state_dir', newKey);
    this.#key = file.use(readKey);
    file.wipe();
    this.#publicKey = createPublicKey(this.#key);
  }

  /** @param fingerprint of the certificate whose links may use it */
  issue(holder: TokenHolder, fingerprint: Fingerprint): ResumeToken {
    const { issuer, lifetimeMs, now } = this.#o;
    const issuedAt = Math.floor(now() / 1000);
    const exp = Math.floor((now() + lifetimeMs) / 1000); // a JWT counts seconds
    const [bound, generation] = [base64url(fingerprint), generationOf(holder.pwdHash)];
    const claims = { cnf: { 'x5t#S256': bound }, pwd: generation, sub: String(holder.id), iss: issuer, aud: issuer };
    const input = `${part({ alg: ALGORITHM, typ: TYPE })}.${part({ ...claims, iat: issuedAt, exp })}`;
    // jose would sign in the thread pool of WebCrypto, at twice to four times the price.
    const token = `${input}.${base64url(sign(null, utf8(input), this.#key))}`;
    this.#issued.set(hex(sha256(utf8(token))), { userId: holder.id, generation, bound, exp });
    if (this.#issued.size > MAX_ISSUED)
      for (const oldest of this.#issued.keys()) {
        this.#issued.delete(oldest);
        break;
      }
    return { token, expires: exp * 1000 };
  }

  /**
   * Whose token this is. The caller looks the user up and asks isCurrent().
   * @throws AUTH_FAIL, with the same message whatever is wrong
   */
  async verify(
    token: string,
    fingerprint: Fingerprint,
  ): Promise<{ readonly userId: number; readonly generation: string }> {
    const { issuer, now } = this.#o;
    if (!COMPACT.test(token)) throw refused(); // jose overlooks spaces
    const issued = this.#issued.get(hex(sha256(utf8(token))));
    if (issued !== undefined) {
      if (issued.exp <= Math.floor(now() / 1000) || !isBound(issued.bound, fingerprint)) throw refused();
      return issued;
    }
    try {
      const { payload } = await jwtVerify(token, this.#publicKey, {
        algorithms: [ALGORITHM],
        typ: TYPE,
        issuer,
        audience: issuer,
        requiredClaims: ['exp', 'iat', 'sub', 'cnf', 'pwd'],
        currentDate: new Date(now()),
        clockTolerance: 0,
      });
      const { sub, cnf, pwd } = payload as { sub?: unknown; cnf?: { 'x5t#S256'?: unknown }; pwd?: unknown };
      const bound = cnf?.['x5t#S256'];
      if (typeof bound !== 'string' || !isBound(bound, fingerprint)) throw refused();
      if (typeof sub !== 'string' || !/^[1-9]\d{0,15}$/.test(sub) || typeof pwd !== 'string') throw refused();
      return { userId: Number(sub), generation: pwd };
    } catch (cause) {
      throw cause instanceof ChatError ? cause : refused();
    }
  }

  /** False once the password was changed after the token was made. */
  isCurrent(generation: string, pwdHash: string): boolean {
    return equal(utf8(generation), utf8(generationOf(pwdHash)));
  }
}

/** Changes with the password and tells nothing of it. */
const generationOf = (pwdHash: string): string =>
  base64url(sha256(utf8('chat/v1 token'), utf8(pwdHash)).subarray(0, 16));

/** RFC 7515 §3.1 */
const part = (value: object): string => base64url(utf8(JSON.stringify(value)));

const isBound = (bound: string, fingerprint: Fingerprint): boolean => equal(utf8(bound), utf8(base64url(fingerprint)));

const refused = (): ChatError => new ChatError('AUTH_FAIL', 'the token is not good here');

const newKey = (): Buffer => {
  const { privateKey } = generateKeyPairSync('ed25519');
  return Buffer.from(privateKey.export({ format: 'pem', type: 'pkcs8' }) as string);
};

function readKey(pem: Buffer): KeyObject {
  let key: KeyObject | null = null;
  try {
    key = createPrivateKey(pem);
  } catch {
    // the cause would quote the file
  }
  if (key?.asymmetricKeyType !== 'ed25519')
    throw new ChatError('CONFIG_INVALID', 'token.key holds no Ed25519 key; remove it and a new one is made', {
      field: 'state_dir',
    });
  return key;
}
