/**
 * What stands between an incoming message and the group's state. The library verifies signatures and secrets; it does not say who wrote
 * an application message, and it lets members do what no member may: throw others out by an external commit, appear twice, put another
 * identity into their own leaf. So the sender is read from the sender data, and the roster is compared before and after each commit.
 *
 * Everything refused here is refused by every member alike: the verdict depends on the message, the group and the rules alone.
 */
import { base64, equal } from '../../base/bytes.ts';
import { ChatError, type ErrorDetail } from '../../base/errors.ts';
import {
  decodeMlsMessage,
  decryptSenderData,
  encodeLeafNode,
  encodeMlsMessage,
  leafToNodeIndex,
  processPrivateMessage,
  processPublicMessage,
  toLeafIndex,
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
  type RatchetTree,
  type SecretTree,
} from './mls.ts';
import { checkNodes, checkOwnPath, checkWidth } from './tree.ts';

/** A commit that adds 100 devices to a room of 1,000 has less than 2 MB; application messages are capped far lower on their way here. */
export const MAX_MESSAGE_BYTES = 8 * 1024 * 1024;
/** As in the retention that every state of this room is given. */
export const RETENTION = { retainKeysForGenerations: 10, retainKeysForEpochs: 2, maximumForwardRatchetSteps: 1000 };

export interface Occupant {
  readonly leafIndex: number;
  readonly leaf: LeafNode;
}

/** What a commit does to the roster. */
export interface Change {
  /** Before an external commit nobody, so here it is the newcomer. */
  readonly committer: Occupant;
  readonly isExternal: boolean;
  readonly added: readonly LeafNode[];
  /** For an external commit: the newcomer's own former appearance, if any. */
  readonly removed: readonly Occupant[];
}

export interface Rules {
  /** What a commit by a member may propose. */
  readonly proposals: ReadonlySet<Proposal['proposalType']>;
  /** Whether proposals may come as messages of their own. */
  readonly standAlone: boolean;
  readonly psks: PskIndex;
  /** The same text for two leaves exactly if they are the same device. @throws ChatError for a leaf that is none */
  device(leaf: LeafNode): string;
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

/** @throws DECRYPT_FAIL/`sub`: everything that is wrong with a message which is a message */
export function refuse(sub: string, why: string, detail: ErrorDetail & ErrorOptions = {}): never {
  throw new ChatError('DECRYPT_FAIL', why, { ...detail, sub });
}

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

/** What the roster of a group must be at any time. @throws DECRYPT_FAIL with sub `double_key` or `double_device` */
export function checkRoster(tree: RatchetTree, device: Rules['device']): void {
  const keys = new Set<string>();
  const devices = new Set<string>();
  for (const { leaf } of occupants(tree)) {
    if (keys.size === keys.add(base64(leaf.signaturePublicKey)).size)
      refuse('double_key', 'two members with the same signature key');
    if (devices.size === devices.add(device(leaf)).size) refuse('double_device', 'the same device twice in the group');
  }
}

export function* occupants(tree: RatchetTree): Generator<Occupant> {
  for (let i = 0; i < tree.length; i += 2) {
    const node = tree[i];
    if (node?.nodeType === 'leaf') yield { leafIndex: i / 2, leaf: node.leaf };
  }
}

export function occupantAt(tree: RatchetTree, leafIndex: number): Occupant | undefined {
  const node = tree[leafToNodeIndex(toLeafIndex(leafIndex))];
  return node?.nodeType === 'leaf' ? { leafIndex, leaf: node.leaf } : undefined;
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

/** The suite, for one message: its sender data are opened here and by the library, and the second time what came of the first is there. */
function rememberingSender(
  { encryptedSenderData }: PrivateMessage,
  senderDataSecret: Uint8Array,
  suite: CiphersuiteImpl,
): CiphersuiteImpl {
  const { kdf, hpke } = suite;
  const expanded: { readonly info: Uint8Array; readonly length: number; readonly out: Uint8Array }[] = [];
  let opened: { readonly key: Uint8Array; readonly nonce: Uint8Array; readonly out: Uint8Array } | undefined;
  return {
    ...suite,
    kdf: {
      ...kdf,
      async expand(prk, info, length) {
        if (prk !== senderDataSecret) return kdf.expand(prk, info, length);
        const before = expanded.find((each) => each.length === length && equal(each.info, info));
        if (before !== undefined) return before.out;
        const out = await kdf.expand(prk, info, length);
        expanded.push({ info, length, out });
        return out;
      },
    },
    hpke: {
      ...hpke,
      async decryptAead(key, nonce, aad, ciphertext) {
        if (ciphertext !== encryptedSenderData) return hpke.decryptAead(key, nonce, aad, ciphertext);
        // These keys come from the two above alone, and the rest is of this one message.
        if (opened?.key === key && opened.nonce === nonce) return opened.out;
        const out = await hpke.decryptAead(key, nonce, aad, ciphertext);
        opened = { key, nonce, out };
        return out;
      },
    },
  };
}

/** Unproven until the library has checked the signature against this very leaf. */
async function senderOf(
  message: PrivateMessage,
  senderDataSecret: Uint8Array,
  tree: RatchetTree,
  secrets: SecretTree,
  ownLeaf: number,
  suite: CiphersuiteImpl,
): Promise<Occupant> {
  let data: Awaited<ReturnType<typeof decryptSenderData>>;
  try {
    data = await decryptSenderData(message, senderDataSecret, suite);
  } catch (cause) {
    return refuse('crypto', 'its sender data cannot be opened', { cause });
  }
  const sender = data && occupantAt(tree, data.leafIndex);
  const ratchets = data && secrets[leafToNodeIndex(toLeafIndex(data.leafIndex))];
  if (!data || !sender || !ratchets) return refuse('sender', 'from a place in the group where nobody is');
  if (sender.leafIndex === ownLeaf) refuse('own', 'this device wrote it, and has no use for it');
  const ratchet = message.contentType === 'application' ? ratchets.application : ratchets.handshake;
  if (data.generation < ratchet.generation && !(data.generation in ratchet.unusedGenerations))
    throw new ChatError('REPLAY', 'a message that was opened before', { field: 'generation' });
  if (data.generation - ratchet.generation > RETENTION.maximumForwardRatchetSteps)
    refuse('gap', 'too many messages of this sender were lost');
  return sender;
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
      ? checkOwnRemoval(state, proposals, sender, newcomer, rules)
      : checkChange(state, result.newState, proposals, sender, rules);
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

/**
 * The next epoch's secrets are not for this device, so it cannot check that the commit is complete: only that its author signed it, that
 * its proposals are possible, and that the rules let them make it.
 */
function checkOwnRemoval(
  state: ClientState,
  proposals: readonly ProposalWithSender[],
  sender: Occupant | undefined,
  newcomer: LeafNode | undefined,
  rules: Rules,
): Change {
  const { added, removed } = rosterChange(state.ratchetTree, proposals);
  if (sender) return { committer: sender, isExternal: false, added, removed };
  const [gone] = removed;
  if (!newcomer || !gone || removed.length > 1) return refuse('proposal', 'an external commit without a leaf');
  if (!isSameDevice(gone.leaf, newcomer, rules.device))
    refuse('external_removal', 'an external commit that removes somebody else');
  return { committer: { leafIndex: gone.leafIndex, leaf: newcomer }, isExternal: true, added: [newcomer], removed };
}

/** RFC 9420 §12.2, and narrower: what the rules do not name is refused. */
function checkProposals(proposals: readonly ProposalWithSender[], sender: Occupant | undefined, rules: Rules): void {
  const allowed = sender ? rules.proposals : EXTERNAL;
  for (const { proposal } of proposals)
    if (!allowed.has(proposal.proposalType)) refuse('proposal', `a proposal of type ${proposal.proposalType}`);
}
/** Before a tree of them is made. */
function checkCount(before: RatchetTree, proposals: readonly ProposalWithSender[], newcomer?: LeafNode): void {
  const { added, removed } = rosterChange(before, proposals);
  checkWidth([...occupants(before)].length - removed.length + added.length + (newcomer ? 1 : 0));
}
const EXTERNAL: ReadonlySet<Proposal['proposalType']> = new Set(['external_init', 'remove'] as const);

function removedBy(proposals: readonly ProposalWithSender[]): Set<number> {
  return new Set(
    proposals.flatMap(({ proposal: p }) => (p.proposalType === 'remove' && 'remove' in p ? [p.remove.removed] : [])),
  );
}

function rosterChange(
  before: RatchetTree,
  proposals: readonly ProposalWithSender[],
): Pick<Change, 'added' | 'removed'> {
  const added = proposals.flatMap(({ proposal: p }) =>
    p.proposalType === 'add' && 'add' in p ? [p.add.keyPackage.leafNode] : [],
  );
  const gone = removedBy(proposals);
  return { added, removed: [...occupants(before)].filter(({ leafIndex }) => gone.has(leafIndex)) };
}

/** That the group after the commit is the one before it, with what was proposed and nothing else. */
function checkChange(
  before: ClientState,
  after: ClientState,
  proposals: readonly ProposalWithSender[],
  sender: Occupant | undefined,
  rules: Rules,
): Change {
  checkRoster(after.ratchetTree, rules.device);
  const { added, removed } = rosterChange(before.ratchetTree, proposals);
  const updates = new Map(
    proposals.flatMap(({ proposal: p, senderLeafIndex: i }) =>
      p.proposalType === 'update' && 'update' in p && i !== undefined ? [[i, p.update.leafNode] as const] : [],
    ),
  );
  const old = new Map([...occupants(before.ratchetTree)].map((o) => [o.leafIndex, o.leaf]));
  for (const { leafIndex } of removed) old.delete(leafIndex);
  const fresh: Occupant[] = [];
  for (const occupant of occupants(after.ratchetTree)) {
    const { leafIndex, leaf } = occupant;
    const was = old.get(leafIndex);
    old.delete(leafIndex);
    if (!was) fresh.push(occupant);
    else if (leafIndex === sender?.leafIndex || updates.has(leafIndex)) checkSameIdentity(was, leaf, rules.device);
    else if (was !== leaf && !equal(encodeLeafNode(was), encodeLeafNode(leaf)))
      refuse('roster', `the leaf of member ${leafIndex} changed without his doing`);
  }
  if (old.size > 0) refuse('roster', 'members disappeared without a proposal to remove them');

  if (sender) {
    const committer = occupantAt(after.ratchetTree, sender.leafIndex);
    if (!committer || fresh.length !== added.length) return refuse('roster', 'others came than were proposed');
    return { committer, isExternal: false, added, removed };
  }
  const [newcomer, second] = fresh;
  if (!newcomer || second || added.length > 0) return refuse('roster', 'an external commit adds exactly its author');
  const isOthers = ({ leaf }: Occupant) => !isSameDevice(leaf, newcomer.leaf, rules.device);
  if (removed.length > 1 || removed.some(isOthers))
    refuse('external_removal', 'an external commit that removes somebody else');
  return { committer: newcomer, isExternal: true, added: [newcomer.leaf], removed };
}

/** Its id anybody can copy; its key signs the leaf. */
const isSameDevice = (was: LeafNode, is: LeafNode, device: Rules['device']): boolean =>
  device(was) === device(is) && equal(was.signaturePublicKey, is.signaturePublicKey);

function checkSameIdentity(was: LeafNode, is: LeafNode, device: Rules['device']): void {
  if (!equal(was.signaturePublicKey, is.signaturePublicKey) || device(was) !== device(is) || !sameCredential(was, is))
    refuse('identity_change', 'a member put another identity into his leaf');
}

function sameCredential({ credential: a }: LeafNode, { credential: b }: LeafNode): boolean {
  if (a.credentialType === 'basic' && b.credentialType === 'basic') return equal(a.identity, b.identity);
  if (a.credentialType !== 'x509' || b.credentialType !== 'x509') return false;
  return (
    a.certificates.length === b.certificates.length && a.certificates.every((c, i) => equal(c, b.certificates[i]!))
  );
}
