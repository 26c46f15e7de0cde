/**
 * What others say about our messages, and our other devices about those of others. A receipt is believed like a message: certificate,
 * signature and place in the log were checked with its batch; here, that it speaks of what it may speak of. One that names a message of
 * somebody else, or of another conversation, is false. A message that this device does not know may have been written by another
 * device of this user, or before it came: nothing is shown of it.
 */
import { equal, type Fingerprint, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Delivered } from '../protocol/messages.ts';
import { leafHash } from '../transcript/merkle.ts';
import { decodeReceipt } from '../transcript/receipt.ts';
import { isCiphertextOf, type MessageStatement } from '../transcript/statement.ts';
import type { ReceiptKind, SignedReceipt } from './receipt-table.ts';
import type { Session } from './session.ts';
import type { Conversation } from './roster.ts';
import type { Vault } from './vault.ts';

/** A receipt that held. */
export interface HeldReceipt {
  readonly kind: 'receipt';
  readonly receipt: SignedReceipt;
  readonly isMine: boolean;
}

/**
 * @param by username of who signed the batch, as the certificate says
 * @param own username of this profile
 * @param inside whose devices are in the group of a room; null: this device does not know now
 * @returns null for one that is here already, or of somebody who cannot read in the room (any more) and never wrote there
 * @throws SIG_FAIL/ct_hash, /receipt; BAD_CERT/untrusted; BAD_FRAME; NOT_FOUND
 */
export async function readReceipt(
  vault: Vault,
  session: Session,
  own: string,
  { by, at, batch }: { readonly by: string; readonly at: number; readonly batch: Hash },
  { statement, parts }: Pick<Delivered, 'statement' | 'parts'>,
  ms: MessageStatement,
  inside: readonly string[] | null,
): Promise<HeldReceipt | null> {
  const isMine = by === own;
  if (!isCiphertextOf(ms, parts))
    throw new ChatError('SIG_FAIL', 'a receipt that is not the one that was signed', { sub: 'ct_hash' });
  const hash = leafHash(statement);
  if (vault.receipts.has(hash)) return null;
  const part = parts[0]!;
  if (!isMine && !(await mayReceipt(vault, session, by, ms, inside))) return null;
  for (const message of decodeReceipt(part)) {
    const known = vault.receipts.named(message);
    if (known === null) continue;
    if (!equal(known.conversation, ms.conversation))
      throw new ChatError('SIG_FAIL', `a receipt of ${by} for a message of another conversation`, { sub: 'receipt' });
    if (known.direction !== (isMine ? 'in' : 'out'))
      throw new ChatError('SIG_FAIL', `a receipt of ${by} for a message of somebody else`, { sub: 'receipt' });
  }
  const kind = ms.kind as ReceiptKind;
  const device = Buffer.from(ms.sender) as Uint8Array as Fingerprint;
  return {
    kind: 'receipt',
    receipt: { hash, batch, conversation: ms.conversation, kind, by, device, at, part },
    isMine,
  };
}

/**
 * Whether the signer is, or was, in the conversation. Of a room the server's list is not asked where this device knows who can read: the server
 * can list anybody. @throws BAD_CERT/untrusted in a conversation of two
 */
async function mayReceipt(
  vault: Vault,
  session: Session,
  by: string,
  ms: MessageStatement,
  inside: readonly string[] | null,
): Promise<boolean> {
  const isIn = ({ members }: Conversation): boolean => members.some(({ username }) => username === by);
  const roster = await session.rosters.trusted(ms.conversation);
  if (vault.incoming.lineage(ms.sender, ms.conversation, ms.session) !== null) return true;
  if (roster.room !== undefined && inside !== null) return inside.includes(by);
  if (isIn(roster)) return true;
  if (roster.room === undefined)
    throw new ChatError('BAD_CERT', `${by} receipted in a conversation without being in it`, { sub: 'untrusted' });
  return roster.room.closed ? false : isIn(await session.rosters.refresh(ms.conversation));
}
