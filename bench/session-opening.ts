/** The statement that a device of the generator begins its session with: it has had none before. */
import type { ConversationId, SessionId } from '../base/bytes.ts';
import type { Credentials } from '../runtime/tls.ts';
import { NO_HASH } from '../transcript/merkle.ts';
import { encodeOpening } from '../transcript/opening.ts';
import { ciphertextHash, encodeMs, KIND } from '../transcript/statement.ts';
import type { SignedBatch } from './author.ts';

/** @param now Unix ms */
export function sessionOpening(own: Credentials, session: SessionId, now: number): SignedBatch['messages'][number] {
  const parts = [encodeOpening(null)];
  const statement = encodeMs({
    kind: KIND.open,
    parts: 1,
    ciphertextBytes: parts[0]!.length,
    sender: own.chain[0].fingerprint,
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
