/**
 * Which state the MLS group of each conversation is in, ahead of the store by the commits on their way: what is in the log cannot be
 * undone, so a commit is judged before, in the same moment in which it is admitted. Of two for one state the first wins.
 */
import type { ConversationId } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { idKey } from '../base/id-key.ts';
import type { Request } from '../protocol/messages.ts';
import type { GroupState } from '../store/contract/conversations.ts';
import type { Store } from '../store/store.ts';
import { decodeOpening } from '../transcript/opening.ts';
import { isOfSession, isReceipt, KIND, type MessageStatement } from '../transcript/statement.ts';
import type { Submission } from './submission.ts';

/** Conversations that are remembered, about 200 bytes each. */
const MAX_GROUPS = 100_000;
/** Generations that a new one may leave out: numbers end at 2³² − 1, and nobody is to use them up. */
const MAX_SKIPPED = 64;

type Message = Request<'msg_send'>['messages'][number];

/**
 * A message, a commit, a receipt, or where a session begins or ends, with the fields that belong to it; a commit alone in its batch.
 * @param batchSize without the opening of the session, which may stand before a commit
 * @param at the message's field
 * @throws BAD_FRAME naming the field
 */
export function checkKind(ms: MessageStatement, message: Message, batchSize: number, at: string): void {
  if (ms.kind !== KIND.message && message.expires_at !== undefined) bad(`${at}.expires_at`, 'only beside a message');
  if (ms.kind !== KIND.membership)
    for (const field of ['parts_blob', 'info_blob'] as const)
      if (message[field] !== undefined) bad(`${at}.${field}`, 'only beside a commit');
  if (isReceipt(ms.kind)) {
    if (message.to === undefined) bad(`${at}.to`, 'the author of the messages');
    if (message.group !== undefined) bad(`${at}.group`, 'no group beside a receipt');
    if (message.group_info !== undefined) bad(`${at}.group_info`, 'no GroupInfo beside a receipt');
    return;
  }
  if (message.to !== undefined) bad(`${at}.to`, 'only beside a receipt');
  if (isOfSession(ms.kind)) {
    if (message.group !== undefined) bad(`${at}.group`, 'no group beside what opens or closes a session');
    if (message.group_info !== undefined) bad(`${at}.group_info`, 'no GroupInfo beside what opens or closes a session');
    if (ms.kind === KIND.open && message.parts.length === 1) checkOpening(message.parts[0]!, `${at}.parts`);
    return;
  }
  if (ms.kind === KIND.message) {
    if (message.group === undefined) bad(`${at}.group`, 'the state that the message is encrypted in');
    if (message.group_info !== undefined) bad(`${at}.group_info`, 'no GroupInfo beside a message');
    return;
  }
  if (ms.kind !== KIND.membership)
    bad(`${at}.statement`, 'a message, a commit or a receipt, or where a session begins or ends');
  if (batchSize > 1) bad(`${at}.statement`, 'a commit alone in its batch');
  if (ms.commitment.some((byte) => byte !== 0)) bad(`${at}.statement`, 'a commitment of zeros');
  if (message.group === undefined) bad(`${at}.group`, 'the state that the commit ends');
  if (message.group_info === undefined) bad(`${at}.group_info`, 'the GroupInfo of the state that the commit makes');
}

/** Messages that count when a commit has to be alone. */
export const companions = (messages: readonly Message[]): number =>
  messages.length - (messages.length > 1 && messages[0]!.statement[8] === KIND.open ? 1 : 0);

function checkOpening(part: Uint8Array, at: string): void {
  try {
    decodeOpening(part);
  } catch {
    bad(at, 'how the session before ends, or zeros');
  }
}

/** The state of one group. `generation` 0: there is none yet. */
class Known {
  generation: number;
  epoch: number;
  /** Commits that were admitted and are not answered yet. */
  readonly onTheirWay = new Set<Promise<unknown>>();

  constructor(state: GroupState | null) {
    this.generation = state?.generation ?? 0;
    this.epoch = state?.epoch ?? 0;
  }

  /** Made in the current epoch, or in the one before, by somebody who did not know better. */
  takes({ generation, epoch }: GroupState): boolean {
    return generation === this.generation && (epoch === this.epoch || epoch === this.epoch - 1);
  }

  /** Ends the current state, or begins the group anew: also where members have done so before, and the database was put back since. */
  endsWith({ generation, epoch }: GroupState): boolean {
    if (generation === this.generation) return epoch === this.epoch;
    const most = this.generation === 0 ? 1 : this.generation + MAX_SKIPPED;
    return epoch === 0 && generation > this.generation && generation <= most;
  }
}

/** The groups that one batch is about. */
export type BatchGroups = ReadonlyMap<string, Known>;

export class GroupCache {
  readonly #store: Pick<Store, 'group'>;
  /** The one used last stands last. */
  readonly #groups = new Map<string, Known>();
  /** What the store is being asked, for all who need it: an answer that was asked for before a group was dropped must not be remembered after. */
  readonly #asked = new Map<string, Promise<GroupState | null>>();
  readonly #maxGroups: number;

  constructor(store: Pick<Store, 'group'>, maxGroups = MAX_GROUPS) {
    this.#store = store;
    this.#maxGroups = maxGroups;
  }

  async load({ messages }: Submission, conversations: readonly ConversationId[]): Promise<BatchGroups> {
    const groups = new Map<string, Known>();
    for (const [i, { group }] of messages.entries()) {
      const key = idKey(conversations[i]!);
      if (group !== null && !groups.has(key)) groups.set(key, await this.#load(key, conversations[i]!));
    }
    return groups;
  }

  /** False: something was dropped since it was loaded, and must not be judged by. */
  holds(groups: BatchGroups): boolean {
    return groups.entries().every(([key, known]) => this.#groups.get(key) === known);
  }

  /** Null, or STALE/epoch: the batch was made in another state than the newest one. */
  judge({ messages }: Submission, conversations: readonly ConversationId[], groups: BatchGroups): ChatError | null {
    for (const [i, { group, groupInfo }] of messages.entries()) {
      const known = groups.get(idKey(conversations[i]!));
      if (group === null || known === undefined) continue;
      if (groupInfo === null ? !known.takes(group) : !known.endsWith(group))
        return new ChatError('STALE', 'the group has gone on', {
          sub: 'epoch',
          field: `msg_send.messages[${i}].group`,
        });
    }
    return null;
  }

  /** Resolves when the commits that have led to these states are stored, or refused; null: there are none. */
  settled(groups: BatchGroups): Promise<unknown> | null {
    const all = [...groups.values()].flatMap(({ onTheirWay }) => [...onTheirWay]);
    return all.length === 0 ? null : Promise.allSettled(all);
  }

  /** To be called in the same moment as the batch is judged and admitted. @param accepted settles when it is stored, or refused */
  apply({ messages }: Submission, groups: BatchGroups, accepted: Promise<unknown>): void {
    const commit = messages.find(({ groupInfo }) => groupInfo !== null);
    const known = commit && groups.values().next().value;
    if (!commit?.group || !known) return;
    known.generation = commit.group.generation;
    known.epoch = commit.group.epoch + 1;
    known.onTheirWay.add(accepted);
    const settled = (): void => void known.onTheirWay.delete(accepted);
    accepted.then(settled, settled);
  }

  /** The store knows better: a commit that only the log had has got its contents. */
  forget(conversation: ConversationId): void {
    const key = idKey(conversation);
    if ((this.#groups.get(key)?.onTheirWay.size ?? 0) === 0) this.#drop(key);
  }

  /** Forgets everything: what was on its way has been refused, or is in the store. */
  clear(): void {
    this.#asked.clear();
    this.#groups.clear();
  }

  async #load(key: string, conversation: ConversationId): Promise<Known> {
    for (;;) {
      const known = this.#groups.get(key);
      if (known) {
        this.#groups.delete(key);
        this.#groups.set(key, known);
        return known;
      }
      const asked = this.#asked.get(key) ?? this.#store.group(conversation);
      this.#asked.set(key, asked);
      try {
        const stored = await asked;
        if (this.#asked.get(key) !== asked) continue; // somebody else has remembered it, or it was dropped
        this.#groups.set(key, new Known(stored));
      } finally {
        if (this.#asked.get(key) === asked) this.#asked.delete(key);
      }
      this.#evict();
    }
  }

  #evict(): void {
    for (const [key, { onTheirWay }] of this.#groups) {
      if (this.#groups.size <= this.#maxGroups) return;
      if (onTheirWay.size === 0) this.#drop(key);
    }
  }

  #drop(key: string): void {
    this.#asked.delete(key);
    this.#groups.delete(key);
  }
}
