/** The conversation of a user's own devices: one for each user, with an id that everybody who knows the name can compute. docs/PROTOCOL.md §5.10 */
import { u16, utf8, concat, type ConversationId } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';

const LABEL = utf8('chat/1 self conversation\0');

/** SHA-256(label ‖ u16 length ‖ organisation ‖ username). @param organisation host of the log's origin @param username canonical */
export function selfConversation(organisation: string, username: string): ConversationId {
  const host = utf8(organisation);
  return sha256(LABEL, concat(u16(host.length), host), utf8(username)) as Uint8Array as ConversationId;
}
