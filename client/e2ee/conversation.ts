/**
 * A conversation is an MLS group of devices. It is a value: every call that changes it gives back the next one and what is to be stored
 * or sent, and the given one stays as it is. The caller keeps the order (`ConversationQueue`), stores before sending, and brings time.
 *
 * The life of a commit: `commit()` leaves the state as it was and puts the next one beside it as pending; the server accepts one commit
 * per epoch; `adopt()` when ours was accepted (acknowledged, or met in the log: `receive()` knows it by its hash), and when another's won,
 * receiving that drops ours, to be made again. An own commit is never processed.
 */
import { equal, hex } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { sha256 } from '../../base/hash.ts';
import type { Crl } from '../../x509/crl.ts';
import { checkStanding, parseCredential, type Authority, type Device } from './binding.ts';
import { parseMessage, receive } from './guard.ts';
import { checkRoster, occupants, type Change } from './occupants.ts';
import { refuse } from './refusal.ts';
import {
  settings,
  type Commit,
  type Conversation,
  type DeviceName,
  type Policy,
  type Received,
  type RosterChange,
} from './group.ts';
import {
  assembleWelcome,
  externalPub,
  inlineTree,
  MAX_INLINE_MEMBERS,
  parseTree,
  welcomeParts,
  type GroupDoor,
} from './invitation.ts';
import { checkAdmission, configOf, judging, nameOf, toRosterChange } from './judge.ts';
import { joinExternal, joinGroup, type ExternalJoin, type Joining } from './join.ts';
import {
  checkPackage,
  generate,
  leafKeys,
  openSecret,
  parseKeyPackage,
  SETTINGS_EXTENSION,
  toOwn,
  type OwnDevice,
  type OwnKeyPackage,
  type PrivatePackage,
  type Validity,
} from './key-package.ts';
import {
  consumeRatchet,
  createApplicationMessage,
  createCommit,
  createGroup,
  createGroupInfo,
  emptyPskIndex,
  encodeMlsMessage,
  encodeRatchetTree,
  leafToNodeIndex,
  makeKeyPackageRef,
  toLeafIndex,
  type CiphersuiteImpl,
  type ClientConfig,
  type ClientState,
  type GroupState,
  type LeafNode,
  type Proposal,
} from './mls.ts';
import { leafIndexOf, ownChange } from './own-change.ts';
import { pad, unpad } from './padding.ts';
import { openSuite } from './provider.ts';
import { checkNodes, checkWidth } from './tree.ts';
export const GROUP_ID_BYTES = 32;
export const MAX_ADDS = 100;
/** How long the commit that adds a device may be on its way: what has run out when it is logged, all others refuse, and name its author. */
const MARGIN_MS = 600_000;

/** Every method that judges others throws MissingBindings, and BAD_CERT or SIG_FAIL for a binding that is not good. */
export class Engine {
  readonly #suite: CiphersuiteImpl;
  readonly #authority: Authority;

  private constructor(suite: CiphersuiteImpl, authority: Authority) {
    this.#suite = suite;
    this.#authority = authority;
  }
  static async open(authority: Authority): Promise<Engine> {
    return new Engine(await openSuite(), authority);
  }

  /** A new Ed25519 key for a device, to be bound. Raw, 32 bytes each. */
  async newDeviceKey(): Promise<Pick<OwnDevice, 'mlsKey' | 'mlsPrivateKey'>> {
    const { publicKey: mlsKey, signKey: mlsPrivateKey } = await this.#suite.signature.keygen();
    return { mlsKey, mlsPrivateKey };
  }

  /** @throws RangeError for a validity longer than MAX_LIFETIME_MS */
  async keyPackage(device: OwnDevice, validity: Validity): Promise<OwnKeyPackage> {
    return toOwn(await generate(device, validity, this.#suite), this.#suite);
  }

  /**
   * Whose key package this is, of those that may be used at that time; and the keys that nobody else may have where it comes in (`keysIn`).
   * @throws BAD_FRAME, TOO_LARGE; DECRYPT_FAIL/freshness and BAD_CERT for one whose time is over, or almost; as checkPackage()
   */
  async holder(
    published: Uint8Array,
    at: number,
    crls: readonly Crl[] = [],
  ): Promise<Device & { readonly keys: readonly string[] }> {
    const keyPackage = parseKeyPackage(published);
    const { leafNode } = keyPackage;
    return judging(this.#authority, async (_, resolve) => {
      const device = resolve(leafNode);
      for (const when of [at, at + MARGIN_MS]) checkAdmission(device, leafNode, when);
      checkStanding(device, this.#authority.options, crls, at);
      await checkPackage(keyPackage, this.#suite);
      return { ...device, keys: leafKeys(leafNode) };
    });
  }

  /**
   * A group with this device alone in it.
   * @param groupId 32 random bytes
   * @param settings kept in the group context, so every member signs for them and nobody changes them
   */
  async create(device: OwnDevice, groupId: Uint8Array, settings: Uint8Array, at: number): Promise<Conversation> {
    if (groupId.length !== GROUP_ID_BYTES) throw new RangeError('a group id has 32 bytes');
    const { keyPackage, privateKeys } = await this.#transient(device, at);
    const extensions = settings.length === 0 ? [] : [{ extensionType: SETTINGS_EXTENSION, extensionData: settings }];
    const state = await createGroup(groupId, keyPackage, privateKeys, extensions, this.#suite, configOf());
    return { state, pending: null };
  }

  /**
   * Adds, removes, both, or neither (fresh keys for everybody). The commit hides its content from the server.
   * @param at Unix ms; key packages must be valid then, and by this machine's clock as well
   * @param policy the others' as well: what it refuses is not made
   * @param crls for whom to let in; what a member may do does not depend on them
   * @throws STALE/pending while a commit is pending; BAD_CERT for a device that may not be let in now; NOT_FOUND/member;
   *   DECRYPT_FAIL as the guard of the others would
   */
  async commit(
    conversation: Conversation,
    wanted: {
      readonly add?: readonly Uint8Array[];
      readonly remove?: readonly DeviceName[];
      readonly authenticatedData?: Uint8Array;
    },
    at: number,
    policy: Policy,
    crls: readonly Crl[] = [],
  ): Promise<Commit> {
    const { add = [], remove = [], authenticatedData = new Uint8Array() } = wanted;
    if (conversation.pending) throw new ChatError('STALE', 'a commit is pending', { sub: 'pending' });
    if (add.length > MAX_ADDS) throw new RangeError(`more than ${MAX_ADDS} devices in one commit`);
    return judging(this.#authority, async (config, device) => {
      const state: ClientState = { ...conversation.state, clientConfig: config };
      const keyPackages = add.map(parseKeyPackage);
      for (const { leafNode } of keyPackages) {
        checkAdmission(device(leafNode), leafNode, at);
        checkStanding(device(leafNode), this.#authority.options, crls, at);
      }
      const proposals: Proposal[] = [
        ...remove.map((name) => ({
          proposalType: 'remove' as const,
          remove: { removed: leafIndexOf(state.ratchetTree, name) },
        })),
        ...keyPackages.map((keyPackage) => ({ proposalType: 'add' as const, add: { keyPackage } })),
      ];
      const memberCount = [...occupants(state.ratchetTree)].length + add.length - remove.length;
      const isInline = memberCount <= MAX_INLINE_MEMBERS;
      checkWidth(memberCount);
      const { newState, welcome, commit, consumed } = await orRefuse(
        createCommit(
          { state, cipherSuite: this.#suite, pskIndex: emptyPskIndex },
          { extraProposals: proposals, ratchetTreeExtension: isInline, authenticatedData },
        ),
      );
      checkRoster(newState.ratchetTree, (leaf) => nameOf(device(leaf)));
      await checkNodes(newState.ratchetTree, this.#suite.hpke, state.ratchetTree);
      const change = ownChange(state, keyPackages, remove, device);
      const why = policy(change);
      if (why !== null) refuse('policy', why);
      const bytes = encodeMlsMessage(commit);
      const holders = new Map<string, Uint8Array>();
      for (const each of keyPackages)
        holders.set(hex(await makeKeyPackageRef(each, this.#suite.hash)), device(each.leafNode).certificateKeyHash);
      return {
        conversation: { state: await this.#pastCommit(state), pending: { state: newState, commit: bytes } },
        commit: bytes,
        welcome: welcome
          ? welcomeParts(welcome, isInline ? null : newState.ratchetTree, (r) => holders.get(hex(r))!)
          : null,
        spent: consumed,
      };
    });
  }

  /** The server took our commit. What came in meanwhile, in the old epoch, stays known: a replay of it will be noticed. */
  adopt({ state: old, pending }: Conversation): Conversation {
    if (!pending) throw new ChatError('STALE', 'no commit is pending', { sub: 'pending' });
    const { state } = pending;
    const history = new Map(state.historicalReceiverData);
    for (const [epoch, data] of history) {
      const secretTree =
        epoch === old.groupContext.epoch ? old.secretTree : old.historicalReceiverData.get(epoch)?.secretTree;
      if (secretTree) history.set(epoch, { ...data, secretTree });
    }
    return { state: { ...state, historicalReceiverData: history }, pending: null };
  }

  /** The server refused our commit, and the epoch did not change. */
  drop({ state }: Conversation): Conversation {
    return { state, pending: null };
  }

  /** An application message, in the epoch of the state (a pending commit does not count yet). */
  async encrypt(
    { state, pending }: Conversation,
    plaintext: Uint8Array,
    authenticatedData: Uint8Array,
  ): Promise<{
    readonly conversation: Conversation;
    readonly message: Uint8Array;
    readonly spent: readonly Uint8Array[];
  }> {
    const full: ClientState = { ...state, clientConfig: configOf() };
    const { newState, privateMessage, consumed } = await createApplicationMessage(
      full,
      pad(plaintext),
      this.#suite,
      authenticatedData,
    );
    const message = encodeMlsMessage({ version: 'mls10', wireformat: 'mls_private_message', privateMessage });
    return { conversation: { state: newState, pending }, message, spent: consumed };
  }

  /**
   * One entry of the conversation's log, in its order.
   * @param at Unix ms as the log says, the same for every member
   * @throws as guard.receive(); DECRYPT_FAIL/policy, DECRYPT_FAIL/freshness. After any error the conversation is as it was
   */
  async receive(conversation: Conversation, bytes: Uint8Array, at: number, policy: Policy): Promise<Received> {
    const { state, pending } = conversation;
    if (pending && equal(sha256(bytes), sha256(pending.commit)))
      return { kind: 'adopted', conversation: this.adopt(conversation) };
    const message = parseMessage(bytes);
    return judging(this.#authority, async (config, device) => {
      let seen: RosterChange | undefined;
      const judge = (change: Change): void => {
        const members = [...occupants(state.ratchetTree)].map(({ leaf }) => device(leaf));
        seen = toRosterChange(change, members, settings({ state }), device);
        for (const [i, leaf] of change.added.entries()) checkAdmission(seen.added[i]!, leaf, at);
        const why = policy(seen);
        if (why !== null) refuse('policy', why);
      };
      const rules = { ...MEMBERS_MAY, device: (leaf: LeafNode) => nameOf(device(leaf)), judge };
      const result = await receive({ ...state, clientConfig: config }, message, this.#suite, rules);
      switch (result.kind) {
        case 'message':
          return {
            kind: 'message',
            conversation: { state: result.state, pending },
            sender: device(result.sender.leaf),
            authenticatedData: result.authenticatedData,
            plaintext: unpad(result.plaintext),
            spent: result.spent,
          };
        case 'commit':
          return {
            kind: 'commit',
            conversation: { state: result.state, pending: null },
            change: seen!,
            authenticatedData: result.authenticatedData,
            lost: pending?.commit ?? null,
            spent: result.spent,
          };
        case 'removed':
          return { kind: 'removed', change: seen!, authenticatedData: result.authenticatedData };
        case 'proposal':
          return refuse('stand_alone', 'a proposal outside of a commit');
      }
    });
  }

  /**
   * Comes in by a Welcome. Everybody in the group must have a good binding; who of them may no longer be there, `standing()` says.
   * @param secret of the key package that `each.reference` names
   * @returns `by`: who let us in
   * @throws DECRYPT_FAIL with sub `welcome` or `tree`
   */
  async join(
    welcome: { readonly shared: Uint8Array; readonly secrets: Uint8Array; readonly tree?: Uint8Array | null },
    device: OwnDevice,
    secret: Uint8Array,
  ): Promise<{ readonly conversation: Conversation; readonly by: Device }> {
    const own = openSecret(secret, device);
    return judging(this.#authority, async (config, resolve) => {
      const joining = this.#joining(own, config, welcome.tree);
      const { state, signer } = await joinGroup(assembleWelcome(welcome, own), joining);
      checkRoster(state.ratchetTree, (leaf) => nameOf(resolve(leaf)));
      const by = [...occupants(state.ratchetTree)].find((o) => o.leafIndex === signer)!;
      return { conversation: { state, pending: null }, by: resolve(by.leaf) };
    });
  }

  /** What lets others in from outside, into the epoch that the pending commit makes if there is one, else into this one. */
  async door({ state, pending }: Conversation): Promise<GroupDoor> {
    const full: ClientState = { ...(pending?.state ?? state), clientConfig: configOf() };
    const { groupContext, confirmationTag, keySchedule, ratchetTree } = full;
    const { publicKey } = await this.#suite.hpke.deriveKeyPair(keySchedule.externalSecret);
    const tree = encodeRatchetTree(ratchetTree);
    const isInline = [...occupants(ratchetTree)].length <= MAX_INLINE_MEMBERS;
    const extensions = [
      externalPub(await this.#suite.hpke.exportPublicKey(publicKey)),
      ...(isInline ? [{ extensionType: 'ratchet_tree' as const, extensionData: tree }] : []),
    ];
    const groupInfo = await createGroupInfo(groupContext, confirmationTag, full, extensions, this.#suite);
    return {
      groupInfo: encodeMlsMessage({ version: 'mls10', wireformat: 'mls_group_info', groupInfo }),
      tree: isInline ? null : tree,
    };
  }

  /**
   * Comes in by one's own commit; if this device is in the group already, it takes its own place anew (lost state, renewed key).
   * The conversation counts only once the server has accepted the commit. @throws DECRYPT_FAIL with sub `welcome` or `tree`
   */
  async joinExternal(
    door: GroupDoor,
    device: OwnDevice,
    at: number,
    authenticatedData: Uint8Array = new Uint8Array(),
  ): Promise<{ readonly conversation: Conversation; readonly commit: Uint8Array }> {
    const message = parseMessage(door.groupInfo);
    if (message.wireformat !== 'mls_group_info') return refuse('welcome', 'no group info');
    const own = await this.#transient(device, at);
    return judging(this.#authority, async (config, resolve) => {
      const joining = this.#joining(own, config, door.tree);
      const tree = joining.tree ?? inlineTree(message.groupInfo);
      const former =
        tree && [...occupants(tree)].find(({ leaf }) => nameOf(parseCredential(leaf.credential)) === nameOf(device));
      const { state, commit }: ExternalJoin = await joinExternal(
        message.groupInfo,
        joining,
        former?.leafIndex,
        authenticatedData,
      );
      checkRoster(state.ratchetTree, (leaf) => nameOf(resolve(leaf)));
      return { conversation: { state, pending: null }, commit };
    });
  }

  /** Every device in the group, this one included. */
  members({ state }: Conversation): Promise<Device[]> {
    return judging(this.#authority, async (_, device) =>
      [...occupants(state.ratchetTree)].map(({ leaf }) => device(leaf)),
    );
  }

  /** Members who ought to be removed, and why: their binding ran out, or their certificate did or was revoked. */
  async standing(
    conversation: Conversation,
    crls: readonly Crl[],
    at: number,
  ): Promise<{ readonly device: Device; readonly why: ChatError }[]> {
    return (await this.members(conversation)).flatMap((device) => {
      try {
        checkStanding(device, this.#authority.options, crls, at);
        return [];
      } catch (error) {
        return [{ device, why: ChatError.from(error) }];
      }
    });
  }

  #joining(
    { keyPackage, privateKeys }: PrivatePackage,
    config: ClientConfig,
    tree: Uint8Array | null | undefined,
  ): Joining {
    return { suite: this.#suite, config, keyPackage, privateKeys, ...(tree ? { tree: parseTree(tree) } : {}) };
  }

  /** A key package that nobody else will ever see: its leaf is the first of a group, or the template of an external commit. */
  #transient(device: OwnDevice, at: number): Promise<PrivatePackage> {
    return generate(device, { notBefore: at, notAfter: at + 86_400_000 }, this.#suite);
  }

  /** The state with the key of this commit used up: if it is refused, the next one in this epoch must not take the same key again. */
  async #pastCommit(state: ClientState): Promise<GroupState> {
    const own = leafToNodeIndex(toLeafIndex(state.privatePath.leafIndex));
    const { newTree } = await consumeRatchet(state.secretTree, own, 'commit', this.#suite);
    return { ...state, secretTree: newTree };
  }
}
const MEMBERS_MAY = { proposals: new Set(['add', 'remove'] as const), standAlone: false, psks: emptyPskIndex };

async function orRefuse<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (cause instanceof ChatError) throw cause;
    return refuse('proposal', 'the group cannot be changed like this', { cause });
  }
}
