/**
 * What came from other devices, on the disk, once it has held: messages, also those of this user's own devices and from before this device was
 * there, and of commits that they were dealt with; and how far each sender has got. Every method is one transaction.
 */
import type { ConversationId, Fingerprint, Hash, SessionId } from '../base/bytes.ts';
import { KIND } from '../transcript/statement.ts';
import type { Annotations } from './annotations.ts';
import type { Database } from './database.ts';
import type { GroupTable } from './group-table.ts';
import { UNREADABLE, type Message, type MessageTable } from './message-table.ts';
import type { ReceiptTable } from './receipt-table.ts';
import type { Place, SeenTable } from './seen-table.ts';

export interface Received {
  readonly conversation: ConversationId;
  readonly seq: number;
  readonly hash: Hash;
  readonly direction: 'in' | 'out';
  readonly sender: string;
  readonly body: Uint8Array;
  /** null for one that cannot be read */
  readonly kf: Uint8Array | null;
  /** why it cannot be read; null for one that was */
  readonly reason: string | null;
  readonly clientTime: number;
  readonly serverTime: number;
  readonly lineage: Lineage;
}
/** Of the sender, after one of his statements. */
export interface Lineage {
  readonly fingerprint: Fingerprint;
  readonly session: SessionId;
  readonly convCtr: number;
  readonly place?: Place;
}
/** What of a commit is kept: that it was dealt with, and where its sender has got to. */
export type ReceivedCommit = Pick<Received, 'conversation' | 'seq' | 'hash' | 'lineage'>;
export interface SenderLineage {
  readonly session: SessionId;
  readonly convCtr: number;
  readonly lastLeaf: Hash;
}

/** Where it is told what has come. */
export interface IncomingTables {
  readonly messages: MessageTable;
  readonly annotations: Annotations;
  readonly receipts: ReceiptTable;
  readonly groups: GroupTable;
  readonly seen: SeenTable;
}

export class IncomingMessages {
  readonly #db: Database;
  readonly #messages: MessageTable;
  readonly #annotations: Annotations;
  readonly #receipts: ReceiptTable;
  readonly #groups: GroupTable;
  readonly #seen: SeenTable;

  constructor(db: Database, { messages, annotations, receipts, groups, seen }: IncomingTables) {
    this.#db = db;
    this.#messages = messages;
    this.#annotations = annotations;
    this.#receipts = receipts;
    this.#groups = groups;
    this.#seen = seen;
  }

  /** How far a device has got in this session; of which there is nothing yet: in the one that began last. */
  lineage(fingerprint: Fingerprint, id: ConversationId, session: SessionId): SenderLineage | null {
    const sql =
      'SELECT * FROM sender WHERE fingerprint = ? AND conversation = ? ORDER BY session = ? DESC, row DESC LIMIT 1';
    const row = this.#db.one(sql, fingerprint, id, session);
    if (row === undefined) return null;
    return {
      session: row['session'] as Uint8Array as SessionId,
      convCtr: row['conv_ctr'] as number,
      lastLeaf: row['last_leaf'] as Uint8Array as Hash,
    };
  }
  /** Null for a message that is here already (the server repeats what it does not know to be received). */
  add(received: Received): Message | null {
    return this.#db.transaction(() => {
      if (this.#isHere(received.hash)) return null;
      const row = this.#addMessage(received);
      this.#advance(received);
      this.#receipts.catchUp(row, received.hash);
      if (received.direction === 'in' && received.kf !== null) this.#receipts.owe(row, KIND.delivered);
      return this.#messages.one(row);
    });
  }
  /** A message that was said before this device was there, and is none to be told of. False for one that is here already. */
  addImported(received: Received, now: number): boolean {
    return this.#db.transaction(() => {
      if (this.#isHere(received.hash)) return false;
      const row = this.#addMessage(received);
      this.#db.run('UPDATE message SET is_shown = 1 WHERE row = ?', row);
      this.#annotations.read([row], now);
      this.#annotations.apply(row);
      this.#receipts.catchUp(row, received.hash);
      return true;
    });
  }
  addCommit(commit: ReceivedCommit): void {
    this.#db.transaction(() => {
      if (this.#groups.hasCommit(commit.hash)) return;
      this.#groups.addCommit(commit.hash, commit.conversation, commit.seq);
      this.#advance(commit);
    });
  }

  #isHere(leaf: Hash): boolean {
    return this.#messages.select('WHERE hash = ?', leaf).length > 0;
  }

  #addMessage(received: Received): number {
    const { conversation: id, direction, seq, hash: leaf, sender, body, kf, reason } = received;
    const times = { client_time: received.clientTime, server_time: received.serverTime };
    const value = { sender, body, ...(reason === UNREADABLE ? {} : { form: 1 as const }), ...times };
    const state = direction === 'in' ? 'received' : 'accepted';
    const more = { ...(kf === null ? {} : { kf }), ...(reason === null ? {} : { reason }) };
    return this.#messages.add(id, direction, state, seq, leaf, { ...value, ...more });
  }

  /** The sender has got this far, or further if this one is late; sessions keep the order in which they began. */
  #advance({ conversation: id, hash: leaf, lineage }: ReceivedCommit): void {
    const row = 1 + Number(this.#db.one('SELECT max(row) AS last FROM sender')?.['last'] ?? 0);
    this.#db.run(
      `INSERT INTO sender (fingerprint, session, conversation, conv_ctr, last_leaf, row) VALUES (?,?,?,?,?,?)
       ON CONFLICT DO UPDATE SET conv_ctr = excluded.conv_ctr, last_leaf = excluded.last_leaf WHERE excluded.conv_ctr > conv_ctr`,
      ...[lineage.fingerprint, lineage.session, id, lineage.convCtr, leaf, row],
    );
    const { fingerprint: device, session, convCtr, place = null } = lineage;
    this.#seen.add(id, { device, session, convCtr, leaf, place }, false);
  }
}
