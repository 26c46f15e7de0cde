/**
 * Batches that this device signs: messages with receipts behind them, a commit, the end of its session. Each is staged in the transaction that
 * also stores the groups as they are after the sealing, so no key is used twice however the process ends. What is to be said is decided by the
 * composer, and it is written here.
 */
import { randomBytes } from 'node:crypto';
import { hex, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { COMMITMENT_KEY_BYTES } from '../transcript/statement.ts';
import type { DeviceKeys } from './device.ts';
import type { GroupEngine } from './group-engine.ts';
import type { Plan } from './group-plan.ts';
import { isSelf } from './group-rules.ts';
import { makeCommit, sealMessage } from './group-writer.ts';
import type { Groups } from './groups.ts';
import type { Message } from './message-table.ts';
import type { DueReceipt } from './receipt-table.ts';
import type { Session } from './session.ts';
import type { StagedBatch } from './staged-batch.ts';
import { composeBatch, composeClose, composeCommit, type Signer } from './statements.ts';
import type { Vault } from './vault.ts';

export class BatchWriter {
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #devices: DeviceKeys;
  readonly #signer: Signer;
  readonly #now: () => number;

  constructor(vault: Vault, groups: Groups, devices: DeviceKeys, signer: Signer, now: () => number) {
    this.#vault = vault;
    this.#groups = groups;
    this.#devices = devices;
    this.#signer = signer;
    this.#now = now;
  }

  /** @throws STALE/epoch when something of it has changed since it was planned; TOO_LARGE, BAD_CERT/weak_key */
  messages(session: Session, messages: readonly Message[], receipts: readonly DueReceipt[]): Promise<StagedBatch> {
    const ids = messages.map(({ conversation }) => conversation);
    return this.#groups.exclusively(session, ids, async (engine) => {
      const batch = await composeBatch(
        this.#signer,
        this.#vault.sessions.current(this.#signer.fingerprint),
        messages,
        new Map(messages.map(({ conversation: id }) => [hex(id), this.#vault.conversation(id)!])),
        messages.map(() => randomBytes(COMMITMENT_KEY_BYTES)),
        session.log.origin,
        this.#now(),
        async ({ conversation }, opening, aad) => {
          if (isSelf(this.#vault.conversation(conversation)!))
            await this.#assertApproved(session, engine, conversation);
          return sealMessage(this.#groups, engine, conversation, opening, aad);
        },
        receipts,
      );
      if (!this.#vault.outgoing.areWaiting(batch.rows))
        throw new ChatError('STALE', 'a message has expired while it was sealed', { sub: 'epoch' });
      return this.#stage(batch, ids);
    });
  }

  /** @throws STALE/epoch when the group has changed since it was planned; what is wrong with a group that it should enter */
  commit(
    session: Session,
    id: ConversationId,
    plan: Exclude<Plan, { readonly kind: 'ready' | 'wait' }>,
  ): Promise<StagedBatch> {
    return this.#groups.exclusively(session, [id], async (engine) => {
      const roster = this.#vault.conversation(id)!;
      const device = await this.#devices.ready(session, engine);
      const batch = await composeCommit(
        this.#signer,
        this.#vault.sessions.current(this.#signer.fingerprint),
        roster,
        session.log.origin,
        this.#now(),
        (aad) => makeCommit(this.#groups, session, engine, roster, plan, device, aad),
      );
      return this.#stage(batch, [id]);
    });
  }

  /** The end of the session of this device; null: it has said nothing, and there is nothing to close. */
  close(session: Session): StagedBatch | null {
    if (!this.#vault.sessions.isOpen(this.#signer.fingerprint)) return null;
    const own = this.#vault.sessions.current(this.#signer.fingerprint);
    return this.#stage(composeClose(this.#signer, own, session.log.origin, this.#now()), []);
  }

  /** The group may have become another since it was planned: what is for the own devices is sealed for those it is meant for alone. */
  async #assertApproved(session: Session, engine: GroupEngine, id: ConversationId): Promise<void> {
    const { conversation } = this.#groups.of(id);
    const members =
      conversation === null ? [] : await this.#groups.bindings.resolving(session, () => engine.members(conversation));
    const wanted = [hex(this.#signer.fingerprint), ...this.#vault.handovers.targets()];
    if (!members.every(({ certificate }) => wanted.includes(hex(certificate))))
      throw new ChatError('STALE', 'another device is among the own ones', { sub: 'epoch' });
  }

  #stage(batch: StagedBatch, ids: readonly ConversationId[]): StagedBatch {
    this.#vault.transaction(() => {
      this.#vault.outgoing.stage(batch);
      this.#groups.save(ids);
      if (batch.rows.length > 0) for (const id of ids) this.#vault.seen.pass(id);
    });
    return batch;
  }
}
