/** New accounts (docs/PROTOCOL.md §5.3): of whom the certificate names, and under names that nobody else has. */
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Request } from '../protocol/messages.ts';
import { checkNotBelow, parseKdf } from '../protocol/scram.ts';
import type { Log } from '../runtime/log.ts';
import type { Chain } from '../runtime/tls.ts';
import type { NewUser, User } from '../store/contract/accounts.ts';
import type { NewDevice } from '../store/contract/devices.ts';
import type { Store } from '../store/store.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { canonicalEmail, canonicalUsername, certIdentity, identityOf } from '../x509/identity.ts';
import { splitChain } from './chain-bytes.ts';

export interface RegistrationRules {
  readonly store: Pick<Store, 'deviceByFingerprint' | 'findUser' | 'devicesOf' | 'setEmail' | 'createUser'>;
  readonly registration: 'open' | 'closed';
  /** the least that a new password may have, as it travels */
  readonly kdf: string;
  readonly log: Log;
  /** Unix ms */
  readonly now: () => number;
}

/** Behind the username, the address of somebody whose certificate does not name the one that he gave, and another's does (RFC 2606). */
const UNPROVEN = '@unproven.invalid';
/** The newest, which are asked whether they name an address. */
const MAX_DEVICES_ASKED = 200;

/**
 * With the certificate as its first device.
 * @throws REGISTRATION_CLOSED, BAD_NAME, WEAK_KDF, CERT_ACCOUNT_MISMATCH with field `register.username` or `register.email` (not that
 *   of the certificate) or `certificate` (the certificate is another account's device), USER_EXISTS; with sub `this_device` when the certificate is the account's already
 */
export async function createAccount(
  rules: RegistrationRules,
  chain: Chain,
  device: Omit<NewDevice, 'userId'>,
  frame: Request<'register'>,
): Promise<User> {
  const { store, registration, kdf, now } = rules;
  if (registration === 'closed') throw new ChatError('REGISTRATION_CLOSED', 'this server makes no new accounts');
  const username = named('register.username', () => canonicalUsername(frame.username));
  const email = named('register.email', () => canonicalEmail(frame.email));
  checkNotBelow(parseKdf(frame.kdf), parseKdf(kdf));
  const certified = identityOf(chain[0]);
  if (username !== certified.username) throw mismatch('register.username', 'the name is not that of the certificate');
  if (certified.email !== undefined && email !== certified.email)
    throw mismatch('register.email', 'the e-mail address is not that of the certificate');
  const known = await store.deviceByFingerprint(chain[0].fingerprint);
  if (known !== null && known.username !== username)
    throw mismatch('certificate', 'the certificate is a device of another account');
  // To nobody else is it said. Whether the password is the account's is not said either: that is for a login to show, which counts guesses.
  if (known !== null) throw taken('register.username', 'this_device');
  if (email !== certified.email && email.endsWith(UNPROVEN)) throw taken('register.email');
  // A name may look like an e-mail address: neither may be somebody else's in either column.
  await take(rules, username, certified.email, 'register.username');
  await take(rules, email, certified.email, 'register.email');
  const user = {
    email,
    username,
    displayName: frame.display_name ?? null,
    salt: frame.salt,
    pwdHash: hex(frame.stored_key),
    serverKey: frame.server_key,
    pwdKdf: frame.kdf,
    certIdentity: certIdentity(chain),
    createdAt: now(),
  };
  return insert(store, user, device);
}

/**
 * Whose certificate names no address has given any: it is his until somebody comes whose certificate names it.
 * @param certified by the certificate @throws USER_EXISTS
 */
async function take(
  { store, log }: RegistrationRules,
  name: string,
  certified: string | undefined,
  field: string,
): Promise<void> {
  const holder = await store.findUser(name);
  if (holder === null) return;
  if (name !== certified || holder.username === name || (await isProven(store, holder))) throw taken(field);
  await store.setEmail(holder.id, `${holder.username}${UNPROVEN}`);
  log.warn('register.unproven', { user: holder.username });
}

/** Whether a certificate of his names his e-mail address. */
async function isProven(store: RegistrationRules['store'], { id, email }: User): Promise<boolean> {
  const devices = await store.devicesOf(id, MAX_DEVICES_ASKED);
  return devices.some(({ chain }) => identityOf(parseCertificate(splitChain(chain)[0]!)).email === email);
}

async function insert(
  store: RegistrationRules['store'],
  user: NewUser,
  device: Omit<NewDevice, 'userId'>,
): Promise<User> {
  try {
    return await store.createUser(user, device);
  } catch (error) {
    // Somebody was faster than our own look.
    const { code, field } = ChatError.from(error);
    throw code === 'USER_EXISTS' ? taken(`register.${field}`) : error;
  }
}

function named(field: string, canonical: () => string): string {
  try {
    return canonical();
  } catch (error) {
    const { code, message } = ChatError.from(error);
    throw new ChatError(code, message, { field });
  }
}

const mismatch = (field: string, why: string): ChatError => new ChatError('CERT_ACCOUNT_MISMATCH', why, { field });
const taken = (field: string, sub?: 'this_device'): ChatError =>
  new ChatError('USER_EXISTS', 'the name is taken', { field, ...(sub && { sub }) });
