/** The statement with which a session begins. */
import type { ConversationId, Fingerprint, SessionId } from '../../base/bytes.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { encodeOpening, type SessionEnd } from '../../transcript/opening.ts';
import { ciphertextHash, encodeMs, KIND } from '../../transcript/statement.ts';

/** @param before null: the device has had no session before @param now Unix ms */
export function sessionOpening(
  sender: Fingerprint,
  session: SessionId,
  before: SessionEnd | null,
  now: number,
): { statement: Buffer; parts: Buffer[] } {
  const parts = [encodeOpening(before)];
  const statement = encodeMs({
    kind: KIND.open,
    parts: 1,
    ciphertextBytes: parts[0]!.length,
    sender,
    session,
    sessionCtr: 1,
    clientTime: now,
    conversation: NO_HASH as Uint8Array as ConversationId,
    convCtr: 0,
    prevConv: NO_HASH,
    rosterHash: NO_HASH,
    commitment: NO_HASH,
    ciphertextHash: ciphertextHash(parts),
  });
  return { statement, parts };
}
