/**
 * The other person of a scripted server: a device with a binding, and an engine of its own, in one group with the device that is tested.
 * The group is there from the beginning, so that a test begins with what it is about.
 */
import { randomBytes } from 'node:crypto';
import type { ConversationId } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import type { Delivered, Request } from '../../protocol/messages.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { Authority, bindingName, createBinding } from '../../client/e2ee/binding.ts';
import { Engine } from '../../client/e2ee/conversation.ts';
import { snapshot } from '../../client/e2ee/delta.ts';
import { directPolicy, directSettings, groupIdOf } from '../../client/e2ee/direct.ts';
import { epoch, type Conversation } from '../../client/e2ee/group.ts';
import type { OwnDevice, OwnKeyPackage } from '../../client/e2ee/key-package.ts';
import { commitParts, doorBytes, readCommitParts } from '../../client/e2ee/layout.ts';
import type { StoredDevice } from '../../client/key-table.ts';
import type { Vault } from '../../client/vault.ts';
import type { Authority as Ca, Issued } from '../support/pki.ts';

const DAY_MS = 86_400_000;
export const ORGANISATION = 'localhost';

export interface PeerDevice {
  readonly own: OwnDevice;
  readonly binding: Buffer;
  readonly stored: StoredDevice;
}

export class ScriptedPeer {
  readonly engine: Engine;
  readonly bindings: Map<string, Uint8Array>;
  readonly bob: PeerDevice;
  readonly alice: PeerDevice;
  conversation!: Conversation;
  generation = 1;
  readonly #id: ConversationId;
  #alices!: Conversation;
  readonly #commits: Uint8Array[][] = [];

  private constructor(
    engine: Engine,
    bindings: Map<string, Uint8Array>,
    alice: PeerDevice,
    bob: PeerDevice,
    id: ConversationId,
  ) {
    this.engine = engine;
    this.bindings = bindings;
    this.alice = alice;
    this.bob = bob;
    this.#id = id;
  }

  static async create(ca: Ca, id: ConversationId, alice: Issued, bob: Issued): Promise<ScriptedPeer> {
    const bindings = new Map<string, Uint8Array>();
    const roots = [parseCertificate(ca.der)];
    const engine = await Engine.open(new Authority({ organisation: ORGANISATION, roots, bindings }));
    const a = await deviceOf(engine, bindings, 'alice', alice);
    const b = await deviceOf(engine, bindings, 'bob', bob);
    const peer = new ScriptedPeer(engine, bindings, a, b, id);
    const now = Date.now();
    const alone = await engine.create(b.own, groupIdOf(id, 1), directSettings(['alice', 'bob']), now);
    const own = await peer.keyPackage(a);
    const { conversation, welcome } = await engine.commit(alone, { add: [own.published] }, now, directPolicy);
    const { shared, each, tree } = welcome!;
    const joined = await engine.join({ shared, secrets: each[0]!.secrets, tree }, a.own, own.secret);
    peer.conversation = engine.adopt(conversation);
    peer.#alices = joined.conversation;
    return peer;
  }

  /** One more device, with a binding that everybody can fetch. */
  device(user: string, issued: Issued): Promise<PeerDevice> {
    return deviceOf(this.engine, this.bindings, user, issued);
  }
  keyPackage({ own }: PeerDevice): Promise<OwnKeyPackage> {
    const now = Date.now();
    return this.engine.keyPackage(own, { notBefore: now - DAY_MS, notAfter: now + 60 * DAY_MS });
  }

  /** What a vault would have after the group was made. */
  equip(vault: Vault, hasGroup = true): void {
    vault.keys.setDevice(this.alice.stored);
    for (const binding of [this.alice.binding, this.bob.binding]) vault.keys.addBinding(binding);
    if (!hasGroup) return;
    vault.groups.setCurrent(this.#id, { generation: 1, since: 1, snapshot: snapshot(this.#alices), sketch: null });
    for (const { own, stored } of [this.alice, this.bob])
      vault.keys.meet(own.user, own.deviceId, stored.certificate, stored.mls_key);
  }

  /** Bob alone, in a group that nobody else is in yet. */
  async begin(): Promise<void> {
    const settings = directSettings(['alice', 'bob']);
    this.conversation = await this.engine.create(this.bob.own, groupIdOf(this.#id, 1), settings, Date.now());
  }

  get epoch(): number {
    return Number(epoch(this.conversation));
  }
  async door(): Promise<Buffer> {
    await this.#follow();
    return doorBytes(await this.engine.door(this.conversation)).bytes;
  }

  /** Takes over what the tested device has logged. */
  heard(messages: Request<'msg_send'>['messages']): void {
    for (const { statement, parts } of messages)
      if (decodeMs(statement).kind === KIND.membership) this.#commits.push([...parts]);
  }

  async seal(opening: Uint8Array, aad: Uint8Array) {
    await this.#follow();
    const at = { generation: this.generation, epoch: this.epoch };
    const { conversation, message } = await this.engine.encrypt(this.conversation, opening, aad);
    this.conversation = conversation;
    return { parts: [message], ...at };
  }
  /** @param add key packages. @param isAdopted false: as if it had never been made */
  async commit(aad: Uint8Array, add: readonly Uint8Array[] = [], isAdopted = true) {
    await this.#follow();
    const at = { generation: this.generation, epoch: this.epoch };
    const wanted = { add, authenticatedData: aad };
    const made = await this.engine.commit(this.conversation, wanted, Date.now(), () => null);
    if (isAdopted) this.conversation = this.engine.adopt(made.conversation);
    return { parts: commitParts(made.commit, made.welcome).bytes, ...at };
  }
  /** What the tested device wrote. @throws as engine.receive() */
  async open({ parts }: Pick<Delivered, 'parts'>): Promise<Uint8Array> {
    await this.#follow();
    const result = await this.engine.receive(this.conversation, parts[0]!, Date.now(), directPolicy);
    if (result.kind !== 'message') throw new Error(result.kind);
    this.conversation = result.conversation;
    return result.plaintext;
  }

  async #follow(): Promise<void> {
    for (const parts of this.#commits.splice(0)) {
      const { commit } = readCommitParts(parts);
      if ('hash' in commit) throw new Error('a commit of two people in a blob');
      const result = await this.engine.receive(this.conversation, commit, Date.now(), directPolicy);
      if (result.kind === 'commit') this.conversation = result.conversation;
    }
  }
}

async function deviceOf(
  engine: Engine,
  bindings: Map<string, Uint8Array>,
  user: string,
  issued: Issued,
): Promise<PeerDevice> {
  const certificate = parseCertificate(issued.der);
  const deviceId = randomBytes(16);
  const { mlsKey, mlsPrivateKey } = await engine.newDeviceKey();
  const { notBefore, notAfter, fingerprint } = certificate;
  const statement = { organisation: ORGANISATION, user, deviceId, mlsKey, notBefore, notAfter };
  const binding = createBinding(statement, [issued.der], issued.key);
  bindings.set(bindingName(binding), binding);
  return {
    own: { user, deviceId, bindingHash: sha256(binding), mlsKey, mlsPrivateKey },
    binding,
    stored: {
      user,
      device_id: deviceId,
      mls_key: mlsKey,
      mls_private_key: mlsPrivateKey,
      binding,
      certificate: fingerprint,
      organisation: ORGANISATION,
    },
  };
}
