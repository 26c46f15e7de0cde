/**
 * What the sequencer knows of each sender's counters and links: a cache in front of the store that is ahead of it by the batches on
 * their way. What such batches have changed is never dropped from it, nor a sender while one of his batches is judged.
 */
import { equal, ownCopy, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../base/bytes.ts';
import { idKey } from '../base/id-key.ts';
import type { SessionEnd as StoredEnd } from '../store/contract/log.ts';
import type { Store } from '../store/store.ts';
import type { Batch, LineageChange, LineageState, SessionLineage } from '../transcript/lineage.ts';
import { decodeOpening, openingHash, type SessionEnd } from '../transcript/opening.ts';
import { isThreaded, KIND } from '../transcript/statement.ts';
import type { Submission } from './submission.ts';

/** Sessions and conversations over all senders, about 300 bytes each. */
const MAX_ITEMS = 100_000;
/** Those of one sender when a batch of his comes, which brings some 2,000 at most: he could begin a session with each, and never wait. */
const MAX_ITEMS_OF_ONE = 10_000;

type LineageStore = Pick<Store, 'sessionLineage' | 'sessionEnds' | 'conversationLineage'>;

export class LineageCache {
  readonly #store: LineageStore;
  /** The one used last stands last. */
  readonly #senders = new Map<string, SenderLineage>();
  /** Those of whom a batch is loaded or judged. */
  readonly #atHand = new Set<string>();
  readonly #maxItems: number;
  readonly #maxItemsOfOne: number;
  #items = 0;

  constructor(store: LineageStore, maxItems = MAX_ITEMS, maxItemsOfOne = MAX_ITEMS_OF_ONE) {
    this.#store = store;
    this.#maxItems = maxItems;
    this.#maxItemsOfOne = maxItemsOfOne;
  }

  /**
   * Everything that judging this batch needs, kept until leave(). Batches of one sender must come one after another.
   * @throws STORE_FAILED
   */
  async load({ bs, messages }: Batch, submission: Pick<Submission, 'messages'>): Promise<SenderLineage> {
    const key = idKey(bs.sender);
    const sender = this.#senders.get(key) ?? new SenderLineage((session) => this.#endsOf(session));
    this.#atHand.add(key);
    this.#senders.delete(key);
    this.#senders.set(key, sender);
    if (sender.items > this.#maxItemsOfOne) sender.forgetStored();
    await sender.load(this.#store, bs.sender, bs.session, messages);
    if (messages[0]?.ms.kind === KIND.open) await sender.loadEnds(this.#store, submission.messages[0]!.parts[0]!);
    this.#recount(key, sender);
    this.#evict();
    return sender;
  }

  /** The batch was judged, or could not be. */
  leave({ bs }: Batch): void {
    const key = idKey(bs.sender);
    this.#atHand.delete(key);
    const sender = this.#senders.get(key);
    if (sender === undefined) return;
    sender.forgetUnbegun(bs.session);
    this.#recount(key, sender);
  }

  /** False: everything was forgotten since it was loaded, and it must not be judged by. */
  holds(fingerprint: Fingerprint, sender: SenderLineage): boolean {
    return this.#senders.get(idKey(fingerprint)) === sender;
  }

  /** Of sessions of this id, by their senders, as they end now: ahead of the store by what is on its way. */
  #endsOf(session: SessionId): Map<string, SessionEnd> {
    const ends = new Map<string, SessionEnd>();
    for (const [sender, lineage] of this.#senders) {
      const known = lineage.sessionOf(session);
      if (known !== undefined) ends.set(sender, { session, lastCtr: known.lastCtr, lastBatch: known.lastBatch });
    }
    return ends;
  }

  /** Forgets everything: what was on its way has been refused, or is in the store. */
  clear(): void {
    this.#senders.clear();
    this.#items = 0;
  }

  /** Who is at hand is spared: he would have to ask the store again, and again whenever others bring much meanwhile. */
  #evict(): void {
    for (const [key, sender] of this.#senders) {
      if (this.#items <= this.#maxItems) return;
      if (this.#atHand.has(key)) continue;
      sender.forgetStored();
      this.#recount(key, sender);
      if (sender.onTheirWay === 0) this.#senders.delete(key);
    }
  }

  #recount(key: string, sender: SenderLineage): void {
    if (this.#senders.get(key) !== sender) return;
    this.#items += sender.items - sender.counted;
    sender.counted = sender.items;
  }
}

/** One sender. `null`: the store was asked and knows nothing. */
export class SenderLineage implements LineageState {
  /** Its items, as the cache has counted them. */
  counted = 0;
  /** What batches that were admitted and are not committed yet have changed. */
  readonly #onTheirWay = new Set<LineageChange>();
  readonly #sessions = new Map<string, SessionLineage | null>();
  /** session → conversation → conv_ctr */
  readonly #counters = new Map<string, Map<string, number>>();
  #counterCount = 0;
  readonly #leaves = new Map<string, Hash | null>();
  readonly #endsOf: (session: SessionId) => ReadonlyMap<string, SessionEnd>;
  /** The session that the batch at hand names as the one before, and how those of this id ended when the store was asked. */
  #named: { readonly session: SessionId; readonly stored: readonly StoredEnd[] } | null = null;

  /** @param endsOf what is known of a session's end without the store, also of other senders */
  constructor(endsOf: (session: SessionId) => ReadonlyMap<string, SessionEnd>) {
    this.#endsOf = endsOf;
  }

  get onTheirWay(): number {
    return this.#onTheirWay.size;
  }
  get items(): number {
    return this.#sessions.size + this.#counterCount + this.#leaves.size;
  }

  session(_sender: Fingerprint, session: SessionId): SessionLineage | undefined {
    return this.sessionOf(session);
  }
  sessionOf(session: SessionId): SessionLineage | undefined {
    return this.#sessions.get(idKey(session)) ?? undefined;
  }
  convCtr(_sender: Fingerprint, session: SessionId, conversation: ConversationId): number | undefined {
    return this.#counters.get(idKey(session))?.get(idKey(conversation)) || undefined;
  }
  lastLeaf(_sender: Fingerprint, conversation: ConversationId): Hash | undefined {
    return this.#leaves.get(idKey(conversation)) ?? undefined;
  }
  hasEnd(part: Hash): boolean {
    if (this.#named === null) return false;
    // Asked in the moment of judging: what was admitted since the store answered stands before this batch in the log.
    const ends = this.#endsOf(this.#named.session);
    const stored = this.#named.stored.filter(({ fingerprint }) => !ends.has(idKey(fingerprint)));
    return [...ends.values(), ...stored].some((end) => equal(openingHash(end), part));
  }
  /** Only a warning asks for it. */
  hasSession(): boolean {
    return false;
  }

  async load(store: LineageStore, sender: Fingerprint, session: SessionId, messages: Batch['messages']): Promise<void> {
    const sessionKey = idKey(session);
    if (!this.#sessions.has(sessionKey)) {
      const { lastCtr, lastBatchHash, isClosed } = await store.sessionLineage(sender, session);
      this.#sessions.set(sessionKey, lastCtr === 0 ? null : { lastCtr, lastBatch: kept(lastBatchHash), isClosed });
    }
    for (const { ms } of messages) {
      if (!isThreaded(ms.kind)) continue;
      const key = idKey(ms.conversation);
      if (this.#counters.get(sessionKey)?.has(key)) continue; // and so is the link
      const { convCtr, lastStatementHash } = await store.conversationLineage(sender, session, ms.conversation);
      this.#count(sessionKey, key, convCtr);
      // The link goes over all sessions: it may be known from another one, and be ahead of the store.
      if (!this.#leaves.has(key))
        this.#leaves.set(key, lastStatementHash.some((byte) => byte !== 0) ? kept(lastStatementHash) : null);
    }
  }

  /** @param opening part of a statement of kind 6 */
  async loadEnds(store: LineageStore, opening: Uint8Array): Promise<void> {
    const named = decodeOpening(opening);
    const isOwn = named !== null && this.sessionOf(named.session) !== undefined;
    this.#named = named && {
      session: named.session,
      stored: isOwn ? [] : await store.sessionEnds(named.session), // it may be of an earlier certificate
    };
  }

  /** Takes over an admitted batch: the store lacks it until settle(). */
  apply(change: LineageChange): void {
    const { session, lastCtr, lastBatch, isClosed, conversations } = change;
    this.#onTheirWay.add(change);
    const sessionKey = idKey(session);
    const before = this.#sessions.get(sessionKey)?.lastBatch;
    this.#sessions.set(sessionKey, { lastCtr, lastBatch: kept(lastBatch, before), isClosed });
    for (const { conversation, convCtr, lastLeaf } of conversations) {
      const key = idKey(conversation);
      this.#count(sessionKey, key, convCtr);
      this.#leaves.set(key, kept(lastLeaf, this.#leaves.get(key)));
    }
  }

  /** The batch is in the store; or it was refused, and nothing of this sender is believed any more. */
  settle(change: LineageChange): void {
    this.#onTheirWay.delete(change);
  }

  /** All but what is ahead of the store. Not while a batch is judged. */
  forgetStored(): void {
    const sessions = new Set<string>();
    const conversations = new Set<string>();
    for (const change of this.#onTheirWay) {
      sessions.add(idKey(change.session));
      for (const { conversation } of change.conversations) conversations.add(idKey(conversation));
    }
    for (const key of this.#leaves.keys()) if (!conversations.has(key)) this.#leaves.delete(key);
    for (const key of this.#sessions.keys()) if (!sessions.has(key)) this.#sessions.delete(key);
    for (const session of this.#counters.keys())
      this.#forgetCounters(session, sessions.has(session) ? conversations : NONE);
  }

  /** A session with which no batch was admitted: whoever names one after the other leaves nothing behind. */
  forgetUnbegun(session: SessionId): void {
    const key = idKey(session);
    if (this.#sessions.get(key) !== null) return;
    this.#sessions.delete(key);
    this.#forgetCounters(key);
  }

  #forgetCounters(session: string, stays: ReadonlySet<string> = NONE): void {
    const counters = this.#counters.get(session);
    if (counters === undefined) return;
    for (const key of counters.keys()) if (!stays.has(key) && counters.delete(key)) this.#counterCount--;
    if (counters.size === 0) this.#counters.delete(session);
  }

  #count(session: string, conversation: string, convCtr: number): void {
    let counters = this.#counters.get(session);
    if (counters === undefined) this.#counters.set(session, (counters = new Map()));
    if (!counters.has(conversation)) this.#counterCount++;
    counters.set(conversation, convCtr);
  }
}

const NONE: ReadonlySet<string> = new Set();

/** In the place of the one before, which nobody else keeps; else a copy, for a hash that lives long must not hold what it was cut from. */
function kept(hash: Hash, before?: Hash | null): Hash {
  if (before == null) return ownCopy(hash) as Uint8Array as Hash;
  before.set(hash);
  return before;
}
