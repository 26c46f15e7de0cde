/** A member who has turned: the keys of a real device and its place in a conversation, in the hands of somebody who follows no rule. */
import { leafHash } from '../../transcript/merkle.ts';
import { decodeMs } from '../../transcript/statement.ts';
import { sha256 } from '../../base/hash.ts';
import { Authority, bindingName } from '../../client/e2ee/binding.ts';
import { Engine } from '../../client/e2ee/conversation.ts';
import { restore } from '../../client/e2ee/delta.ts';
import { doorBytes } from '../../client/e2ee/layout.ts';
import type { Conversation as Group } from '../../client/e2ee/group.ts';
import type { OwnDevice } from '../../client/e2ee/key-package.ts';
import { epochOf } from '../../client/e2ee/held.ts';
import type { ClientIdentity } from '../../client/identity.ts';
import { named } from '../../client/staged-batch.ts';
import { composeCommit } from '../../client/statements.ts';
import { BLOB_PIECE_BYTES } from '../../protocol/messages.ts';
import type { Conversation } from '../../client/roster.ts';
import type { Session } from '../../client/session-table.ts';
import type { DeviceApp } from './apps.ts';
import type { Issued } from './pki.ts';
import type { RawClient } from './raw-client.ts';
import type { World } from './world.ts';

/** What goes into the log as a commit, and what the server is to give to those who want to come in. */
export interface Forgery {
  readonly parts: Uint8Array[];
  readonly groupInfo: Uint8Array;
  /** what that refers to */
  readonly infoBlob?: Uint8Array;
}

export class Rogue {
  readonly engine: Engine;
  readonly device: OwnDevice;
  readonly identity: ClientIdentity;
  readonly client: RawClient;
  readonly issued: Issued;
  readonly generation: number;
  readonly #origin: string;
  readonly #bindings: Map<string, Uint8Array>;
  group: Group;
  roster: Conversation;
  #session: Session;

  private constructor(
    fixed: Pick<Rogue, 'engine' | 'device' | 'identity' | 'client' | 'issued' | 'generation' | 'group' | 'roster'>,
    session: Session,
    origin: string,
    bindings: Map<string, Uint8Array>,
  ) {
    ({ engine: this.engine, device: this.device, identity: this.identity } = fixed);
    ({
      issued: this.issued,
      client: this.client,
      generation: this.generation,
      group: this.group,
      roster: this.roster,
    } = fixed);
    this.#session = session;
    this.#origin = origin;
    this.#bindings = bindings;
  }

  /** Takes over a device that is logged in. @param peer conversation, in whose group it is */
  static async of(world: World, app: DeviceApp, peer: string): Promise<Rogue> {
    const { vault, person } = app;
    const { identity } = app.app;
    const roster = await app.app.open(peer);
    const stored = vault.groups.current(roster.id)!;
    const known = vault.keys.device()!;
    const device = {
      user: known.user,
      deviceId: known.device_id,
      bindingHash: sha256(known.binding),
      mlsKey: known.mls_key,
      mlsPrivateKey: known.mls_private_key,
    };
    const bindings = vault.keys.bindings();
    const engine = await Engine.open(new Authority({ organisation: 'localhost', roots: identity.roots, bindings }));
    const session = vault.sessions.current(identity.fingerprint);
    await app.leave();
    const client = await world.login(person);
    const group = restore(stored.snapshot, stored.deltas);
    const { generation } = stored;
    const { origin } = world.server.transcript;
    return new Rogue(
      { engine, device, identity, client, issued: person.issued, generation, group, roster },
      session,
      origin,
      bindings,
    );
  }

  get epoch(): number {
    return epochOf(this.group);
  }
  know(binding: Uint8Array): void {
    this.#bindings.set(bindingName(binding), binding);
  }
  /** What an honest device would give to those who want to come in. */
  async door(group = this.group): Promise<Buffer> {
    return doorBytes(await this.engine.door(group)).bytes;
  }

  /** Signs for it, and has it logged. @param aad what an honest commit authenticates */
  async commit(make: (aad: Uint8Array) => Promise<Forgery>, at = { generation: this.generation, epoch: this.epoch }) {
    const seal = async (aad: Uint8Array) => {
      const { parts, groupInfo, infoBlob } = await make(aad);
      if (infoBlob !== undefined) await this.#put(infoBlob);
      return { parts, group: at, group_info: groupInfo, ...(infoBlob && { info_blob: infoBlob }) };
    };
    const batch = await composeCommit(this.identity, this.#session, this.roster, this.#origin, Date.now(), seal);
    const { algorithm, signature, messages } = batch;
    const sent = messages.map(named);
    await this.client.request(
      { type: 'msg_send', algorithm, signature, batch: batch.batch, messages: sent },
      'msg_ack',
    );
    const { statement } = messages.at(-1)!;
    const { id, lastCtr, before } = this.#session;
    this.#session = { id, lastCtr: lastCtr + messages.length, lastBatch: leafHash(batch.batch), before };
    const { convCtr } = decodeMs(statement);
    this.roster = { ...this.roster, session: id, convCtr, lastLeaf: leafHash(statement) };
  }

  async #put(blob: Uint8Array): Promise<void> {
    const hash = sha256(blob);
    for (let offset = 0; offset < blob.length; offset += BLOB_PIECE_BYTES) {
      const piece = blob.subarray(offset, offset + BLOB_PIECE_BYTES);
      await this.client.request({ type: 'blob_put', hash, size: blob.length, offset, piece }, 'blob_have');
    }
  }
}
