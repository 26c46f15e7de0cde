/**
 * Resume tokens: JWTs (RFC 7519) signed with Ed25519 by a key of this server alone, good for minutes, on links of one certificate
 * (RFC 8705 §3.1), until the password changes. The only door to jose.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { jwtVerify, SignJWT } from 'jose';
import { base64url, equal, utf8, type Fingerprint } from '../base/bytes.ts';
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

const ALGORITHM = 'Ed25519';
/** Says what the JWT is for: a token for anything else, signed with the same key, would not pass (RFC 8725 §3.11). */
const TYPE = 'chat-resume+jwt';
/** RFC 7515 §7.1 */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export class Tokens {
  readonly #key: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #o: TokenOptions;

  /** @throws UNSAFE_FILE, CONFIG_INVALID for the key file */
  constructor(options: TokenOptions) {
    this.#o = options;
    const file = ensureSecretFile(join(options.stateDir, 'token.key'), 'state_dir', newKey);
    this.#key = file.use(readKey);
    file.wipe();
    this.#publicKey = createPublicKey(this.#key);
  }

  /** @param fingerprint of the certificate whose links may use it */
  async issue(holder: TokenHolder, fingerprint: Fingerprint): Promise<ResumeToken> {
    const { issuer, lifetimeMs, now } = this.#o;
    const issuedAt = Math.floor(now() / 1000);
    const exp = Math.floor((now() + lifetimeMs) / 1000); // a JWT counts seconds
    const token = await new SignJWT({ cnf: { 'x5t#S256': base64url(fingerprint) }, pwd: generationOf(holder.pwdHash) })
      .setProtectedHeader({ alg: ALGORITHM, typ: TYPE })
      .setSubject(String(holder.id))
      .setIssuer(issuer)
      .setAudience(issuer)
      .setIssuedAt(issuedAt)
      .setExpirationTime(exp)
      .sign(this.#key);
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
      if (typeof bound !== 'string' || !equal(utf8(bound), utf8(base64url(fingerprint)))) throw refused();
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
