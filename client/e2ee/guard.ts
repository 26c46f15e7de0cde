/**
 * What stands between an incoming message and the group's state. The library verifies signatures and secrets; it does not say who wrote
 * an application message, and it lets members do what no member may. So the sender is read from the sender data (sender-data.ts), and the
 * roster is compared before and after each commit (occupants.ts).
 *
 * Everything refused here is refused by every member alike: the verdict depends on the message, the group and the rules alone.
 */
import { equal } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import {
  decodeMlsMessage,
  encodeMlsMessage,
  processPrivateMessage,
  processPublicMessage,
  type CiphersuiteImpl,
  type ClientState,
  type IncomingMessageCallback,
  type LeafNode,
  type MLSMessage,
  type PrivateMessage,
  type ProcessMessageResult,
  type Proposal,
  type ProposalWithSender,
  type PskIndex,
  type PublicMessage,
} from './mls.ts';
import {
  checkChange,
  checkCount,
  checkOwnRemoval,
  occupantAt,
  removedBy,
  type Change,
  type DeviceOf,
  type Occupant,
} from './occupants.ts';
import { refuse } from './refusal.ts';
import { rememberingSender, senderOf } from './sender-data.ts';
import { checkNodes, checkOwnPath } from './tree.ts';

/** A commit that adds 100 devices to a room of 1,000 has less than 2 MB; application messages are capped far lower on their way here. */
export const MAX_MESSAGE_BYTES = 8 * 1024 * 1024;
export interface Rules {
  /** What a commit by a member may propose. */
  readonly proposals: ReadonlySet<Proposal['proposalType']>;
  /** Whether proposals may come as messages of their own. */
  readonly standAlone: boolean;
  readonly psks: PskIndex;
  readonly device: DeviceOf;
  /** Called once everything else is found good. @throws ChatError for a change that the group does not allow */
  judge(change: Change): void;
}

export type Guarded =
  | {
      readonly kind: 'message';
      readonly state: ClientState;
      readonly sender: Occupant;
      readonly authenticatedData: Uint8Array;
      readonly plaintext: Uint8Array;
      readonly spent: readonly Uint8Array[];
    }
  | {
      readonly kind: 'commit';
      readonly state: ClientState;
      readonly change: Change;
      readonly authenticatedData: Uint8Array;
      readonly spent: readonly Uint8Array[];
    }
  | { readonly kind: 'proposal'; readonly state: ClientState }
  /** This device is no longer in the group. There is no new state: it cannot compute one. */
  | { readonly kind: 'removed'; readonly change: Change; readonly authenticatedData: Uint8Array };

/** Exactly one MLSMessage in its one encoding. @throws BAD_FRAME, TOO_LARGE */
export function parseMessage(bytes: Uint8Array): MLSMessage {
  if (bytes.length > MAX_MESSAGE_BYTES)
    throw new ChatError('TOO_LARGE', `an MLS message of ${bytes.length} bytes`, { field: 'mls' });
  let message: MLSMessage | undefined;
  try {
    message = decodeMlsMessage(bytes, 0)?.[0];
    if (message && equal(encodeMlsMessage(message), bytes)) return message;
  } catch (cause) {
    throw new ChatError('BAD_FRAME', 'not an MLS message', { field: 'mls', cause });
  }
  throw new ChatError('BAD_FRAME', 'not an MLS message', { field: 'mls' });
}

/**
 * Takes one message of the group's log. The given state stays as it is, whatever comes out.
 * @throws DECRYPT_FAIL with a sub: `group` another group's; `epoch` too old or too new; `own` this device's; `sender` nobody's;
 *   `gap` too many messages lost; `crypto` not sealed or signed by the member it says; `stand_alone`; `proposal` a kind that is not allowed;
 *   `external_removal`; `double_key`; `double_device`; `identity_change`; `roster`. REPLAY for one that was opened before. BAD_FRAME.
 */
export async function receive(
  state: ClientState,
  message: MLSMessage,
  suite: CiphersuiteImpl,
  rules: Rules,
): Promise<Guarded> {
  if (state.groupActiveState.kind !== 'active') refuse('group', 'this device is no longer in the group');
  if (message.wireformat === 'mls_private_message') return receivePrivate(state, message.privateMessage, suite, rules);
  if (message.wireformat === 'mls_public_message') return receivePublic(state, message.publicMessage, suite, rules);
  return refuse('group', `a ${message.wireformat} where a message of the group belongs`);
}

async function receivePrivate(
  state: ClientState,
  message: PrivateMessage,
  suite: CiphersuiteImpl,
  rules: Rules,
): Promise<Guarded> {
  const { groupContext } = state;
  checkGroup(message.groupId, state);
  const isCurrent = message.epoch === groupContext.epoch;
  const past = state.historicalReceiverData.get(message.epoch);
  if (message.epoch > groupContext.epoch)
    refuse('epoch', 'of an epoch that this device has not reached', { field: 'future' });
  if (!isCurrent && (!past || message.contentType !== 'application'))
    refuse('epoch', 'of an epoch that is over', { field: 'past' });
  if (message.contentType === 'proposal' && !rules.standAlone) refuse('stand_alone', 'a proposal outside of a commit');
  const { ratchetTree, secretTree, senderDataSecret } = isCurrent
    ? {
        ratchetTree: state.ratchetTree,
        secretTree: state.secretTree,
        senderDataSecret: state.keySchedule.senderDataSecret,
      }
    : past!;
  const known = rememberingSender(message, senderDataSecret, suite);
  const sender = await senderOf(message, senderDataSecret, ratchetTree, secretTree, state.privatePath.leafIndex, known);
  const work = (look: IncomingMessageCallback) => processPrivateMessage(state, message, rules.psks, known, look);
  const result = await process(
    state,
    suite,
    { sender, newcomer: undefined, authenticatedData: message.authenticatedData },
    rules,
    work,
  );
  return 'plaintext' in result ? { ...result, sender, authenticatedData: message.authenticatedData } : result;
}

/** Only somebody who is not in the group yet has a reason to write in the open. */
async function receivePublic(
  state: ClientState,
  message: PublicMessage,
  suite: CiphersuiteImpl,
  rules: Rules,
): Promise<Guarded> {
  const { content } = message;
  checkGroup(content.groupId, state);
  if (content.epoch !== state.groupContext.epoch)
    refuse('epoch', 'of another epoch', { field: content.epoch > state.groupContext.epoch ? 'future' : 'past' });
  if (content.contentType === 'proposal' && !rules.standAlone) refuse('stand_alone', 'a proposal outside of a commit');
  const { sender: claimed } = content;
  if (claimed.senderType === 'new_member_commit') {
    if (content.contentType !== 'commit' || !content.commit.path)
      return refuse('proposal', 'an external commit without a path');
    if (
      !content.commit.proposals.some(
        (p) => p.proposalOrRefType === 'proposal' && p.proposal.proposalType === 'external_init',
      )
    )
      refuse('proposal', 'an external commit without external_init');
  } else if (!rules.standAlone) refuse('sender', 'a member, or somebody outside, who writes in the open');
  const sender = claimed.senderType === 'member' ? occupantAt(state.ratchetTree, claimed.leafIndex) : undefined;
  if (sender?.leafIndex === state.privatePath.leafIndex) refuse('own', 'this device wrote it, and has no use for it');
  const newcomer = sender || content.contentType !== 'commit' ? undefined : content.commit.path?.leafNode;
  const work = async (look: IncomingMessageCallback) => ({
    ...(await processPublicMessage(state, message, rules.psks, suite, look)),
    kind: 'newState' as const,
  });
  const result = await process(
    state,
    suite,
    { sender, newcomer, authenticatedData: content.authenticatedData },
    rules,
    work,
  );
  return 'plaintext' in result ? refuse('sender', 'a message in the open') : result;
}

function checkGroup(groupId: Uint8Array, { groupContext }: ClientState): void {
  if (!equal(groupId, groupContext.groupId)) refuse('group', 'a message of another group');
}

type Processed =
  Exclude<Guarded, { kind: 'message' }> | Pick<Guarded & { kind: 'message' }, 'kind' | 'state' | 'plaintext' | 'spent'>;

interface Origin {
  /** Undefined for an external commit. */
  readonly sender: Occupant | undefined;
  /** The leaf of an external commit's author. */
  readonly newcomer: LeafNode | undefined;
  readonly authenticatedData: Uint8Array;
}

async function process(
  state: ClientState,
  { hpke }: CiphersuiteImpl,
  { sender, newcomer, authenticatedData }: Origin,
  rules: Rules,
  work: (look: IncomingMessageCallback) => Promise<ProcessMessageResult>,
): Promise<Processed> {
  let proposals: readonly ProposalWithSender[] | undefined;
  let refusal: unknown;
  const ownLeaf = state.privatePath.leafIndex;
  let isRemoved = false;
  try {
    const result = await work((incoming) => {
      if (incoming.kind === 'proposal') return 'accept';
      try {
        proposals = incoming.proposals;
        checkProposals(proposals, sender, rules);
        checkCount(state.ratchetTree, proposals, newcomer);
        isRemoved = removedBy(proposals).has(ownLeaf);
      } catch (error) {
        refusal = error;
      }
      // The library fails on some removals of this device; it is not asked to go on with any.
      return refusal || isRemoved ? 'reject' : 'accept';
    });
    if (refusal) throw refusal;
    if (result.kind === 'applicationMessage')
      return { kind: 'message', state: result.newState, plaintext: result.message, spent: result.consumed };
    if (!proposals) return { kind: 'proposal', state: result.newState };
    const change = isRemoved
      ? checkOwnRemoval(state, proposals, sender, newcomer, rules.device)
      : checkChange(state, result.newState, proposals, sender, rules.device);
    const { ratchetTree, privatePath } = result.newState;
    await checkNodes(ratchetTree, hpke, state.ratchetTree);
    await checkOwnPath(ratchetTree, privatePath, hpke, state.ratchetTree);
    rules.judge(change);
    if (isRemoved) return { kind: 'removed', change, authenticatedData };
    return { kind: 'commit', state: result.newState, change, authenticatedData, spent: result.consumed };
  } catch (cause) {
    if (cause instanceof ChatError) throw cause;
    return refuse('crypto', 'it was not made by the member it says, or not for this group', { cause });
  }
}

/** RFC 9420 §12.2, and narrower: what the rules do not name is refused. */
function checkProposals(proposals: readonly ProposalWithSender[], sender: Occupant | undefined, rules: Rules): void {
  const allowed = sender ? rules.proposals : EXTERNAL;
  for (const { proposal } of proposals)
    if (!allowed.has(proposal.proposalType)) refuse('proposal', `a proposal of type ${proposal.proposalType}`);
}
const EXTERNAL: ReadonlySet<Proposal['proposalType']> = new Set(['external_init', 'remove'] as const);
