/**
 * What is kept of a delivered batch whose statements held: messages and commits with the evidence, receipts, and the groups as they are after it,
 * all in one transaction; and what a person is to be told of it, which is answered.
 */
import type { ConversationId } from '../base/bytes.ts';
import { leafHash } from '../transcript/merkle.ts';
import type { MessageStatement } from '../transcript/statement.ts';
import { readOpening } from './body.ts';
import type { CheckedBatch } from './delivery-check.ts';
import type { Member } from './e2ee/sketch.ts';
import type { Opened } from './group-reader.ts';
import type { Groups } from './groups.ts';
import type { Handover } from './handover.ts';
import { UNREADABLE, type Message } from './message-table.ts';
import { checkOrder, findReplay, type Finding } from './order-check.ts';
import type { Session } from './session.ts';
import type { Good } from './statement-reader.ts';
import type { ReceivedCommit } from './incoming.ts';
import type { Vault } from './vault.ts';

/** A message, or a commit (null), that was not here before. */
export interface Fresh {
  readonly message: Message | null;
  /** what a person is to see before it */
  readonly remark: string | null;
  /** It follows the last statement of its session that was here. */
  readonly isContinued: boolean;
}
export interface Taken {
  readonly fresh: readonly Fresh[];
  /** rows of messages whose state is another now */
  readonly changed: readonly number[];
  readonly warnings: readonly string[];
  readonly alarms: readonly Finding[];
  /** Something was handed over by another device of this user. */
  readonly hasHistory: boolean;
}

export class Intake {
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #handover: Handover;
  readonly #username: string;
  readonly #now: () => number;

  /** @param username of this profile */
  constructor(vault: Vault, groups: Groups, handover: Handover, username: string, now: () => number) {
    this.#vault = vault;
    this.#groups = groups;
    this.#handover = handover;
    this.#username = username;
    this.#now = now;
  }

  /** Everything that came of a batch, in one transaction. */
  keep(session: Session, batch: CheckedBatch, good: readonly Good[], ids: readonly ConversationId[]): Taken {
    const fresh: Fresh[] = [];
    const alarms: Finding[] = [];
    /** Keeps the evidence; what is an alarm is one, and of the rest comes the warning. Each is said once. */
    const kept = (finding: Finding): string | null => {
      const { code, sub, subject, sentence, detail } = finding;
      if (!this.#vault.ledger.addAlarm(this.#now(), code, `${subject}/${sub}`, sentence, detail)) return null;
      if (code === 'WITHHELD') return `${sentence} [${code}]`;
      alarms.push(finding);
      return null;
    };
    const warnings: string[] = [];
    const changed: number[] = [];
    const came: Member[] = [];
    const parted: Pick<Extract<Opened, { kind: 'commit' }>, 'gone' | 'inside'>[] = [];
    let hasHistory = false;
    this.#vault.transaction(() => {
      if (good.length > 0) {
        const replay = findReplay(this.#vault.ledger, batch);
        if (replay !== null) kept(replay);
        this.#vault.ledger.addEvidence(batch.leaf, session.log.origin, batch.evidence);
      }
      for (const { delivered, ms, opened, index } of good) {
        if (opened === null) continue;
        if (opened.kind === 'receipt') {
          changed.push(...this.#vault.receipts.add(opened.receipt, opened.isMine));
          continue;
        }
        const hash = leafHash(delivered.statement);
        const { sender: fingerprint, session: of, convCtr } = ms;
        const place: ReceivedCommit = {
          conversation: ms.conversation,
          seq: delivered.seq,
          hash,
          lineage: { fingerprint, session: of, convCtr, place: { batch: batch.leaf, index } },
        };
        const order = checkOrder(this.#vault, batch, ms, hash, index);
        const heard = (message: Message | null): void => {
          const remark = order.finding === null ? order.remark : kept(order.finding);
          fresh.push({ message, remark, isContinued: order.isContinued });
        };
        if (opened.kind === 'commit') {
          this.#vault.incoming.addCommit(place);
          if (opened.usedPackage !== null) this.#vault.keys.deletePackage(opened.usedPackage);
          came.push(...opened.came);
          parted.push(opened);
          const { peer, room } = this.#vault.conversation(ms.conversation)!;
          if (room !== undefined) this.#vault.rooms.forget(ms.conversation, usersOf(opened.came));
          if (room !== undefined) warnings.push(...movements(peer, opened, this.#username));
          if (opened.isOut)
            warnings.push(`${batch.username} took this device out of ${room === undefined ? 'a conversation' : peer}`);
          heard(null);
        } else if (session.rosters.isSelf(ms.conversation)) {
          this.#vault.incoming.addCommit(place);
          if (opened.kind === 'message')
            this.#handover.take(readOpening(opened.opening).body, place.lineage.fingerprint);
          hasHistory = true;
        } else {
          const message = this.#vault.incoming.add({ ...place, ...this.#contentOf(batch, ms, opened) });
          if (message !== null) heard(message);
        }
      }
      for (const { message } of fresh) {
        const warning = message === null ? null : this.#vault.annotations.apply(message.row);
        if (warning !== null) warnings.push(warning);
      }
      changed.push(...this.#vault.annotations.purge(this.#now())); // what came too late is not shown
      this.#groups.acquaintances.meet(came);
      for (const { gone, inside } of parted) this.#groups.acquaintances.parted(gone, inside);
      this.#groups.save(ids);
    });
    return { fresh, changed, warnings, alarms, hasHistory };
  }

  #contentOf({ username, serverTime }: CheckedBatch, { clientTime }: MessageStatement, opened: Opened) {
    const { kf, body } = opened.kind === 'message' ? readOpening(opened.opening) : { kf: null, body: Buffer.alloc(0) };
    const direction = username === this.#username ? ('out' as const) : ('in' as const);
    return { direction, sender: username, body, kf, reason: kf === null ? UNREADABLE : null, clientTime, serverTime };
  }
}

const usersOf = (devices: readonly Member[]): string[] => [...new Set(devices.map(({ user }) => user))];

/** Who can read in a room from now on, and who cannot any more, in words. */
function movements(room: string, { newcomers, leavers }: Extract<Opened, { kind: 'commit' }>, own: string): string[] {
  return [
    ...newcomers.filter((user) => user !== own).map((user) => `${user} can read ${room} from now on`),
    ...leavers.filter((user) => user !== own).map((user) => `${user} can read ${room} no more`),
  ];
}
