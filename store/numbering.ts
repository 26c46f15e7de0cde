/** Gives out the places of messages, seq in their conversations and cursors of devices, each the next of the last. */
import type { ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { idKey } from '../base/id-key.ts';
import type { MessageRecord, StoredMessage, WindowRecord } from './contract/log.ts';
import type { Store } from './store.ts';

/** Conversations and devices whose last places are remembered, about 100 bytes each. */
const MAX_PLACES = 100_000;

export class Numbering {
  readonly #ask: Store['places'];
  /** by hex of the conversation's id */
  readonly #seqs = new Map<string, number>();
  readonly #cursors = new Map<number, number>();

  /** @param ask which places were the last ones, as far as none were given out here */
  constructor(ask: Store['places']) {
    this.#ask = ask;
  }

  /** Of one window, batch by batch; one call at a time. @throws NOT_FOUND/conversation, NOT_FOUND/device: then none are */
  async giveOut(batches: WindowRecord['batches']): Promise<StoredMessage[][]> {
    await this.#learn(batches.flatMap(({ messages }) => messages));
    return batches.map(({ messages }) =>
      messages.map(({ conversation, isThreaded, content }) => ({
        seq: conversation !== null && isThreaded ? next(this.#seqs, idKey(conversation)) : 0,
        cursors: (content?.recipients ?? []).map((id) => next(this.#cursors, id)),
      })),
    );
  }

  /** Nobody was told these, and they were the last. */
  takeBack({ batches }: WindowRecord, answers: readonly (readonly StoredMessage[])[]): void {
    for (const [i, { messages }] of batches.entries())
      for (const [j, { conversation, content }] of messages.entries()) {
        const { seq, cursors } = answers[i]![j]!;
        if (seq > 0) previous(this.#seqs, idKey(conversation!));
        for (const at of cursors.keys()) previous(this.#cursors, content!.recipients[at]!);
      }
  }

  /** Somebody else has given out these. */
  follow({ batches }: WindowRecord, answers: readonly (readonly StoredMessage[])[]): void {
    for (const [i, { messages }] of batches.entries())
      for (const [j, { conversation, content }] of messages.entries()) {
        const { seq, cursors } = answers[i]![j]!;
        if (seq > 0) this.#seqs.set(idKey(conversation!), seq);
        for (const [at, cursor] of cursors.entries()) this.#cursors.set(content!.recipients[at]!, cursor);
      }
  }

  get isLarge(): boolean {
    return this.#seqs.size + this.#cursors.size > MAX_PLACES;
  }

  /** Forgets all but those that nobody else knows yet. */
  trim(isConversationNeeded: (key: string) => boolean, isDeviceNeeded: (id: number) => boolean): void {
    for (const key of this.#seqs.keys()) if (!isConversationNeeded(key)) this.#seqs.delete(key);
    for (const id of this.#cursors.keys()) if (!isDeviceNeeded(id)) this.#cursors.delete(id);
  }

  clear(): void {
    this.#seqs.clear();
    this.#cursors.clear();
  }

  async #learn(messages: readonly MessageRecord[]): Promise<void> {
    const conversations = new Map<string, ConversationId>();
    const devices = new Set<number>();
    for (const { conversation, content } of messages) {
      if (conversation !== null) {
        const key = idKey(conversation);
        if (!this.#seqs.has(key)) conversations.set(key, conversation);
      }
      for (const id of content?.recipients ?? []) if (!this.#cursors.has(id)) devices.add(id);
    }
    if (conversations.size === 0 && devices.size === 0) return;
    const [ids, deviceIds] = [[...conversations], [...devices]];
    const { seqs, cursors } = await this.#ask([...conversations.values()], deviceIds);
    if (seqs.includes(null)) throw new ChatError('NOT_FOUND', 'no conversation has this id', { field: 'conversation' });
    if (cursors.includes(null)) throw new ChatError('NOT_FOUND', 'no device has this id', { field: 'device' });
    for (const [i, [key]] of ids.entries()) this.#seqs.set(key, seqs[i]!);
    for (const [i, id] of deviceIds.entries()) this.#cursors.set(id, cursors[i]!);
  }
}

function next<K>(places: Map<K, number>, key: K): number {
  const place = places.get(key)! + 1;
  places.set(key, place);
  return place;
}
const previous = <K>(places: Map<K, number>, key: K): unknown => places.set(key, places.get(key)! - 1);
