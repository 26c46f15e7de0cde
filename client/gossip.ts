/**
 * What this device tells the members of a conversation about the server, and what it makes of what they tell (docs/TRANSCRIPT.md §d). A
 * checkpoint of somebody else has to be of one history with all that this device was shown; a statement that somebody else has seen has to
 * be here as well, and be the same.
 */
import { equal, hex, utf8, type ConversationId, type Hash } from '../base/bytes.ts';
import { encode } from '../base/cbor.ts';
import { ChatError } from '../base/errors.ts';
import type { Key } from '../transcript/content-cbor.ts';
import type { Content } from '../transcript/content.ts';
import {
  CHECKPOINTS,
  decodeCheckpoints,
  decodeSeen,
  encodeCheckpoints,
  encodeSeen,
  LEAF_PREFIX_BYTES,
  noteOf,
  SEEN,
  toldOf,
  type SeenStatement,
  type ToldCheckpoint,
} from '../transcript/gossip.ts';
import { leafHash } from '../transcript/merkle.ts';
import { parseNote } from '../transcript/note.ts';
import { decodeMs } from '../transcript/statement.ts';
import type { SeenCheckpoint } from './ledger.ts';
import type { Session } from './session.ts';
import { LogView } from './trust.ts';
import type { Vault } from './vault.ts';

/** Checkpoints are told this often in one conversation, at most. */
const EVERY_MS = 30_000;

/** A message that was proven and stored. */
export interface Heard {
  readonly conversation: ConversationId;
  readonly by: string;
  /** leaf(MS) */
  readonly hash: Hash;
  readonly content: Content;
  /** The sender's message before it in this session is here as well: so this device was a member then. */
  readonly isContinued: boolean;
}

export class Gossip {
  readonly #vault: Vault;
  readonly #now: () => number;

  constructor(vault: Vault, now: () => number) {
    this.#vault = vault;
    this.#now = now;
  }

  /** What the next message there carries; it counts as told, so it belongs into the transaction that stores the message. */
  take(id: ConversationId): Map<Key, Uint8Array> {
    const { ledger, seen } = this.#vault;
    const extensions = new Map<Key, Uint8Array>();
    const statements = seen.take(id);
    if (statements.length > 0) extensions.set(SEEN, encodeSeen(statements));
    const origin = ledger.lastOrigin();
    const head = origin === null ? null : ledger.head(origin);
    const told = head === null ? null : this.#told(head);
    if (told !== null && seen.tells(id, told.root, this.#now(), EVERY_MS))
      extensions.set(CHECKPOINTS, encodeCheckpoints([told]));
    return extensions;
  }
  /** Null for a note that no key of the log has signed: there is nothing to tell, and no reason not to write. */
  #told({ origin, note }: SeenCheckpoint): ToldCheckpoint | null {
    try {
      const keys = this.#vault.ledger.logKeys(origin);
      const signers = new Set(parseNote(utf8(note)).signatures.map(({ keyId }) => keyId));
      return toldOf(utf8(note), keys.find(({ keyId }) => signers.has(keyId)) ?? keys[0]);
    } catch (cause) {
      const error = ChatError.from(cause);
      if (error.code !== 'SIG_FAIL' && error.code !== 'BAD_FRAME') throw error;
      return null;
    }
  }

  /**
   * @param warn what a person must see
   * @throws FORK when the log signed two trees of one size. What only a proof can show is asked for with session.prove().
   */
  hear(session: Session, heard: Heard, warn: (sentence: string) => void): void {
    const { extensions } = heard.content;
    try {
      const [seen, told] = [extensions.get(SEEN), extensions.get(CHECKPOINTS)];
      if (seen !== undefined) for (const statement of decodeSeen(seen)) this.#compare(session, heard, statement, warn);
      if (told !== undefined) for (const checkpoint of decodeCheckpoints(told)) this.#keep(session, heard, checkpoint);
    } catch (cause) {
      const error = ChatError.from(cause);
      if (error.code !== 'SIG_FAIL' && error.code !== 'BAD_FRAME') throw error;
      session.alarm(error, `gossip in ${hex(heard.hash)}`, evidenceOf(heard));
    }
  }

  #keep(session: Session, { by }: Heard, told: ToldCheckpoint): void {
    const { ledger } = this.#vault;
    const known = ledger.origins().flatMap((origin) => ledger.logKeys(origin));
    const log = [session.log.key, ...known].find(({ keyId }) => keyId === told.keyId);
    if (log === undefined)
      throw new ChatError('SIG_FAIL', `${by} was shown a log with a key that this device does not know`, {
        sub: 'gossip',
      });
    const note = noteOf(told, log);
    const view = log === session.log.key ? session.log : new LogView(ledger, log);
    view.keep(view.open(note), note);
    session.prove();
  }

  #compare(session: Session, heard: Heard, statement: SeenStatement, warn: (sentence: string) => void): void {
    const { conversation: id, by } = heard;
    const { seen, ledger } = this.#vault;
    const leaf = seen.leaf(id, statement);
    if (leaf !== null) {
      if (equal(leaf.subarray(0, LEAF_PREFIX_BYTES), statement.leaf)) return;
      throw new ChatError('SIG_FAIL', `${by} has seen another message in the place of one that is here`, {
        sub: 'seen',
      });
    }
    const last = seen.last(id, statement);
    const isOwn = equal(statement.device, session.requester.link.ownFingerprint);
    if (last === null ? isOwn || !heard.isContinued : statement.convCtr <= last) return;
    if (this.#isOnItsWay(id, statement)) return;
    if (isOwn)
      throw new ChatError('SIG_FAIL', `${by} has seen a message of this device that it did not send`, { sub: 'seen' });
    const sentence = `${by} has seen a message that this device was not given: it was withheld, has expired, or came while this device was out`;
    const subject = `${hex(id)} ${hex(statement.device)} ${hex(statement.session)} ${statement.convCtr}`;
    if (ledger.addAlarm(this.#now(), 'WITHHELD', subject, sentence, evidenceOf(heard))) warn(`${sentence} [WITHHELD]`);
  }

  /** One of ours, whose acknowledgement has not come yet. */
  #isOnItsWay(id: ConversationId, { session, convCtr, leaf }: SeenStatement): boolean {
    return (this.#vault.outgoing.staged()?.messages ?? []).some(({ statement }) => {
      const ms = decodeMs(statement);
      const isIt = equal(ms.conversation, id) && equal(ms.session, session) && ms.convCtr === convCtr;
      return isIt && equal(leafHash(statement).subarray(0, LEAF_PREFIX_BYTES), leaf);
    });
  }
}

/** What is kept with an alarm: who said it, and where; the message is in the evidence. */
const evidenceOf = ({ by, hash, conversation, content }: Heard): Buffer =>
  encode({
    by,
    message: hash,
    conversation,
    seen: content.extensions.get(SEEN),
    checkpoints: content.extensions.get(CHECKPOINTS),
  });
