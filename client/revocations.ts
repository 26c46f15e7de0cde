/** Revocation lists for a bundle, as the server's log has them: those that were in force when the messages were accepted, and the newest. */
import { equal, hex, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import type { Reply } from '../protocol/messages.ts';
import { MAX_BUNDLE_CRLS } from '../transcript/bundle.ts';
import type { BundleCrl } from '../transcript/bundle-writer.ts';
import { peekCheckpoint } from '../transcript/checkpoint.ts';
import { encodeLeaf } from '../transcript/leaf.ts';
import { leafHash } from '../transcript/merkle.ts';
import { rootFromInclusion } from '../transcript/proof.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { MAX_CRL_BYTES, parseCrl, type Crl } from '../x509/crl.ts';

/** Asks the server; what it answers is checked here. @param number 0: the newest of this issuer in the tree */
export type AskCrl = (issuer: Uint8Array, number: number, offset: number, tree: number) => Promise<Reply<'crl'>>;

/** When the messages were accepted, Unix ms. */
export interface Span {
  readonly first: number;
  readonly last: number;
}

interface Found {
  readonly crl: Crl;
  readonly serverTime: number;
  readonly bundled: BundleCrl;
}

/**
 * @param ders certificates of the bundle, with their intermediates
 * @param note the checkpoint that the lists are to be proven into
 * @throws SIG_FAIL/crl for a list that is not in the log; BAD_CERT for one that is none; whatever `ask` throws
 */
export async function loggedCrls(
  ders: readonly Uint8Array[],
  span: Span,
  note: Uint8Array,
  ask: AskCrl,
): Promise<BundleCrl[]> {
  const names = new Map(ders.map((der) => parseCertificate(der).issuer.der).map((der) => [hex(der), der]));
  const found: BundleCrl[] = [];
  for (const name of names.values()) {
    const room = Math.floor((MAX_BUNDLE_CRLS - found.length) / (names.size - [...names.values()].indexOf(name)));
    found.push(...(await listsOf(sha256(name), span, note, ask, room)));
  }
  return found;
}

/** The newest list first, then, from the last one that was logged before the end of the span, as far back as the span goes. */
async function listsOf(
  issuer: Uint8Array,
  { first, last }: Span,
  note: Uint8Array,
  ask: AskCrl,
  room: number,
): Promise<BundleCrl[]> {
  const { size: tree } = peekCheckpoint(note);
  const newest = await ask(issuer, 0, 0, tree).catch((error: unknown) => {
    if (ChatError.from(error).code === 'NOT_FOUND') return null;
    throw error;
  });
  if (newest === null) return [];
  const found = [(await fetched(issuer, 0, newest, note, ask)).bundled];
  let [from, to] = [0, newest.count];
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    if ((await ask(issuer, middle, 0, tree)).server_time <= last) to = middle;
    else from = middle + 1;
  }
  for (let number = from; number < newest.count && found.length < room; number++) {
    const list = await fetched(issuer, number, await ask(issuer, number, 0, tree), note, ask);
    if (number > 0) found.push(list.bundled);
    if (list.crl.nextUpdate < first || list.serverTime <= first) break;
  }
  return found;
}

async function fetched(
  issuer: Uint8Array,
  number: number,
  head: Reply<'crl'>,
  note: Uint8Array,
  ask: AskCrl,
): Promise<Found> {
  const { size: tree, root } = peekCheckpoint(note);
  const { size, index, server_time: serverTime } = head;
  if (size > MAX_CRL_BYTES) throw new ChatError('TOO_LARGE', 'a revocation list of the server is too large');
  const pieces = [head.piece];
  for (let length = head.piece.length; length < size;) {
    const { piece } = await ask(issuer, number, length, tree);
    if (piece.length === 0) throw unproven();
    pieces.push(piece);
    length += piece.length;
  }
  const der = Buffer.concat(pieces);
  const crl = parseCrl(der);
  const digest = sha256(der) as Uint8Array as Hash;
  const { thisUpdate, nextUpdate } = crl;
  const entry = encodeLeaf({ type: 'crl', serverTime, digest, thisUpdate, nextUpdate });
  const path = head.path as Uint8Array[] as Hash[];
  const proven = rootFromInclusion(index, tree, leafHash(entry), path);
  if (!equal(sha256(crl.issuer.der), issuer) || proven === null || !equal(proven, root)) throw unproven();
  return { crl, serverTime, bundled: { der, logged: { entry, proof: { index, path, checkpoint: note } } } };
}

const unproven = (): ChatError =>
  new ChatError('SIG_FAIL', 'the server gave a revocation list that is not in its log', { sub: 'crl' });
