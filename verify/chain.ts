/** `chat-verify chain`: says whether, and why not, a certificate chain is accepted. The same rules as for a connection to the server. */
import { parseArgs } from 'node:util';
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { parseCertificate, parsePem, type Certificate } from '../x509/certificate.ts';
import { parseCrls } from '../x509/crl.ts';
import { identityOf } from '../x509/identity.ts';
import { MAX_PATH_LENGTH, validatePath, type PathQuery, type Purpose } from '../x509/path.ts';
import { readInput } from './capped-file.ts';
import { shown } from './finding.ts';
import { asciiJson } from './json.ts';
import { parseTime } from './time.ts';
import { faultOf } from './usage.ts';

export const CHAIN_USAGE = `chat-verify chain: why a certificate chain is accepted or refused

  chat-verify chain --ca FILE... --chain FILE [--crl FILE...] [--at TIME] [--purpose clientAuth|serverAuth] [--json]

options
  --ca FILE               trusted CA certificates (PEM or DER); may be repeated
  --chain FILE            the certificate in question, then its intermediates in any order (PEM, or one in DER)
  --crl FILE              revocation lists (PEM or DER); may be repeated; if any is given, every CA of the chain needs a current one
  --at TIME               judge as of this time, such as 2026-03-01T12:00:00Z; the present time if left out
  --purpose PURPOSE       clientAuth (default) or serverAuth
  --max-intermediates N   accept at most N intermediates, not counting those that a CA issued to itself
  --allow-no-eku          accept a leaf without extended key usage, as RFC 5280 would and chat-server would not
  --json                  one JSON object instead of text

exit  0 VALID  12 UNTRUSTED  13 unreadable input  2 usage`;

const OPTIONS = {
  ca: { type: 'string', multiple: true },
  chain: { type: 'string' },
  crl: { type: 'string', multiple: true },
  at: { type: 'string' },
  purpose: { type: 'string' },
  'max-intermediates': { type: 'string' },
  'allow-no-eku': { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

const EXIT = { valid: 0, usage: 2, untrusted: 12, unreadable: 13 } as const;

export interface ChainOutcome {
  readonly exit: (typeof EXIT)[keyof typeof EXIT];
  /** For standard output; for standard error if `exit` is 2. */
  readonly lines: readonly string[];
}

/** What the command reads from the machine. */
export interface ChainInput {
  /** @throws USAGE */
  readonly read: (path: string) => Uint8Array;
  /** Unix ms. */
  readonly now: () => number;
}

/** @param argv what follows `chat-verify chain`; never throws but for a defect of this software */
export function chainCommand(argv: readonly string[], input: ChainInput = machine): ChainOutcome {
  let request;
  try {
    request = parseRequest(argv, input.now);
    if (request === null) return { exit: EXIT.valid, lines: [CHAIN_USAGE] };
  } catch (error) {
    return { exit: EXIT.usage, lines: [shown(`chat-verify: ${faultOf(error as Error)}`), CHAIN_USAGE] };
  }
  const { files, rules, json } = request;
  let query: PathQuery;
  try {
    const certificatesIn = (path: string): Certificate[] => within(path, () => certificates(input.read(path)));
    const roots = files.ca.flatMap(certificatesIn);
    const [leaf, ...intermediates] = certificatesIn(files.chain);
    const crls = files.crl.flatMap((path) => within(path, () => parseCrls(input.read(path))));
    query = { leaf: leaf!, intermediates, roots, crls, revocation: 'live', ...rules };
  } catch (error) {
    const failure = ChatError.from(error);
    const isUnread = failure.sub === 'malformed' || failure.code === 'USAGE';
    return refused(failure, isUnread ? EXIT.unreadable : EXIT.untrusted, rules, json);
  }
  try {
    return accepted(validatePath(query), rules, json);
  } catch (error) {
    return refused(ChatError.from(error), EXIT.untrusted, rules, json);
  }
}

type Rules = Pick<PathQuery, 'at' | 'purpose' | 'maxIntermediates' | 'allowNoEku'>;

/** Null: only the help is wanted. */
function parseRequest(argv: readonly string[], now: () => number) {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS });
  if (values.help) return null;
  const { ca = [], crl = [], chain, purpose = 'clientAuth', at, 'max-intermediates': max } = values;
  if (ca.length === 0) throw new Error('want --ca: without it nothing can be trusted');
  if (chain === undefined) throw new Error('want --chain');
  const rules: Rules = {
    at: at === undefined ? now() : timeOf(at),
    purpose: parsePurpose(purpose),
    allowNoEku: values['allow-no-eku'] ?? false,
    ...(max !== undefined && { maxIntermediates: parseCount(max) }),
  };
  return { files: { ca, crl, chain }, rules, json: values.json ?? false };
}

function timeOf(text: string): number {
  const at = parseTime(text);
  if (at === null) throw new Error('--at: want a time such as 2026-03-01T12:00:00Z');
  return at;
}

function parsePurpose(text: string): Purpose {
  if (text !== 'clientAuth' && text !== 'serverAuth') throw new Error('--purpose: want clientAuth or serverAuth');
  return text;
}

function parseCount(text: string): number {
  const max = MAX_PATH_LENGTH - 2;
  if (!/^\d$/.test(text) || Number(text) > max) throw new Error(`--max-intermediates: want an integer of 0..${max}`);
  return Number(text);
}

/** A file that begins like a SEQUENCE is DER, any other is PEM. */
const certificates = (bytes: Uint8Array): Certificate[] =>
  bytes[0] === 0x30 ? [parseCertificate(bytes)] : parsePem(Buffer.from(bytes).toString('latin1'));

/** A failure that says which file it is in. */
function within<T>(path: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const { code, sub, message } = ChatError.from(error);
    throw new ChatError(code, `${JSON.stringify(path)}: ${message}`, sub === undefined ? {} : { sub });
  }
}

function accepted(path: readonly Certificate[], { at, purpose }: Rules, json: boolean): ChainOutcome {
  const chain = path.map(({ subject, issuer, serial, notBefore, notAfter, fingerprint }) => ({
    subject: subject.text,
    issuer: issuer.text,
    serial,
    notBefore: iso(notBefore),
    notAfter: iso(notAfter),
    sha256: hex(fingerprint),
  }));
  const name = purpose === 'clientAuth' ? usernameOf(path[0]!) : {};
  if (json) return { exit: EXIT.valid, lines: [asciiJson({ verdict: 'VALID', purpose, at: iso(at), ...name, chain })] };
  const elements = chain.map(
    (c, i) => `  ${i} ${c.subject}, serial ${c.serial}, until ${c.notAfter}, SHA-256 ${c.sha256}`,
  );
  const named = name.username ? [`  username ${name.username}`] : name.noUsername ? [`  ${name.noUsername}`] : [];
  return {
    exit: EXIT.valid,
    lines: [...elements, ...named, `VALID ${purpose}, ${path.length} certificates, at ${iso(at)}`],
  };
}

/** A chain can be good and yet name nobody: the server would refuse such a client, and this says why. */
function usernameOf(leaf: Certificate): { username?: string; noUsername?: string } {
  try {
    return { username: identityOf(leaf).username };
  } catch (error) {
    const { sub, message } = ChatError.from(error);
    return { noUsername: `no username (${sub}): ${message}` };
  }
}

function refused(error: ChatError, exit: 12 | 13, { at, purpose }: Rules, json: boolean): ChainOutcome {
  if (error.code === 'INTERNAL') throw error.cause;
  const { sub, message } = error;
  const verdict = exit === EXIT.unreadable ? 'UNREADABLE' : 'UNTRUSTED';
  if (json) return { exit, lines: [asciiJson({ verdict, sub, message, purpose, at: iso(at) })] };
  return { exit, lines: [shown(`${verdict} ${sub === undefined ? '' : `${sub}: `}${message}`)] };
}

const iso = (at: number): string => new Date(at).toISOString();

const machine: ChainInput = { read: readInput, now: Date.now };
