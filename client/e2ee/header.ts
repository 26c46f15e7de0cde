/** What an MLS message says of itself, before any key is touched: whose group, which epoch. The sender's statement has signed for it. */
import { parseMessage } from './guard.ts';
import { refuse } from './refusal.ts';

export interface Header {
  readonly groupId: Uint8Array;
  /** the one that it was made in; for the state that lets others in, the one that it describes */
  readonly epoch: number;
  /** it changes the group */
  readonly isCommit: boolean;
}

/** @throws BAD_FRAME, TOO_LARGE; DECRYPT_FAIL/group for what is no message of a group */
export function headerOf(bytes: Uint8Array): Header {
  const message = parseMessage(bytes);
  switch (message.wireformat) {
    case 'mls_private_message':
      return header(message.privateMessage, message.privateMessage.contentType === 'commit');
    case 'mls_public_message':
      return header(message.publicMessage.content, message.publicMessage.content.contentType === 'commit');
    case 'mls_group_info':
      return header(message.groupInfo.groupContext, false);
    case 'mls_welcome':
    case 'mls_key_package':
      return refuse('group', `a ${message.wireformat} where a message of the group belongs`);
  }
}

function header(
  { groupId, epoch }: { readonly groupId: Uint8Array; readonly epoch: bigint },
  isCommit: boolean,
): Header {
  if (epoch > BigInt(Number.MAX_SAFE_INTEGER)) refuse('epoch', 'an epoch that nobody can have reached');
  return { groupId, epoch: Number(epoch), isCommit };
}
