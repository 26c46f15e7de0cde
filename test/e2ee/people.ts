/** People with certificates and devices for the tests of this room, in memory. */
import { randomBytes } from 'node:crypto';
import { encodeMlsMessage, type KeyPackage } from 'ts-mls';
import { signKeyPackage } from 'ts-mls/keyPackage.js';
import { signLeafNodeKeyPackage } from 'ts-mls/leafNode.js';
import { Authority, bindingName, createBinding } from '../../client/e2ee/binding.ts';
import { Engine } from '../../client/e2ee/conversation.ts';
import { openToAll, type Conversation } from '../../client/e2ee/group.ts';
import type { WelcomeParts } from '../../client/e2ee/invitation.ts';
import { generate, type OwnDevice, type OwnKeyPackage } from '../../client/e2ee/key-package.ts';
import { openSuite } from '../../client/e2ee/provider.ts';
import { sha256 } from '../../base/hash.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { authority as newCa, DAY_MS, type Authority as Ca, type Issued, type KeyType } from '../support/pki.ts';

export interface Person {
  readonly device: OwnDevice;
  readonly certificate: Issued;
  readonly binding: Buffer;
}

export class World {
  readonly ca: Ca;
  readonly bindings = new Map<string, Uint8Array>();
  readonly now = Date.now();
  readonly authority: Authority;
  engine!: Engine;

  private constructor() {
    this.ca = newCa('Test CA', { key: 'ed25519' });
    this.authority = new Authority({
      organisation: 'corp',
      roots: [parseCertificate(this.ca.der)],
      bindings: this.bindings,
    });
  }
  static async open(): Promise<World> {
    const world = new World();
    world.engine = await Engine.open(world.authority);
    return world;
  }

  /** With a bound device; another device of the same person if a certificate is given; the same one under another certificate: `again`. */
  async person(
    user: string,
    options: { key?: KeyType; certificate?: Issued; deviceId?: Buffer; again?: OwnDevice; ca?: Ca } = {},
  ): Promise<Person> {
    const certificate = options.certificate ?? (options.ca ?? this.ca).client(user, { key: options.key ?? 'ed25519' });
    const { mlsKey, mlsPrivateKey } = options.again ?? (await this.engine.newDeviceKey());
    const keys = { mlsKey, mlsPrivateKey };
    const deviceId = options.again?.deviceId ?? options.deviceId ?? randomBytes(16);
    const validity = { notBefore: this.now - 60_000, notAfter: this.now + 60 * DAY_MS };
    const statement = { organisation: 'corp', user, deviceId, mlsKey: keys.mlsKey, ...validity };
    const binding = createBinding(statement, [certificate.der], certificate.key);
    this.bindings.set(bindingName(binding), binding);
    return { device: { user, deviceId, bindingHash: sha256(binding), ...keys }, certificate, binding };
  }

  keyPackage({ device }: Person): Promise<OwnKeyPackage> {
    return this.engine.keyPackage(device, { notBefore: this.now - 60_000, notAfter: this.now + 30 * DAY_MS });
  }
  create({ device }: Person, settings: Uint8Array = new Uint8Array()): Promise<Conversation> {
    return this.engine.create(device, randomBytes(32), settings, this.now);
  }
  async join({ device }: Person, own: OwnKeyPackage, welcome: WelcomeParts): Promise<Conversation> {
    const entry = welcome.each.find(({ reference }) => Buffer.compare(reference, own.reference) === 0);
    if (!entry) throw new Error('not invited');
    const parts = { shared: welcome.shared, secrets: entry.secrets, tree: welcome.tree };
    return (await this.engine.join(parts, device, own.secret)).conversation;
  }

  /** A group of these people, the first of them its maker, all in the same epoch. */
  async group(people: readonly Person[], settings?: Uint8Array): Promise<Conversation[]> {
    const [maker, ...others] = people as [Person, ...Person[]];
    const made = await this.create(maker, settings);
    if (others.length === 0) return [made];
    const packages = await Promise.all(others.map((p) => this.keyPackage(p)));
    const { conversation, welcome } = await this.engine.commit(
      made,
      { add: packages.map((p) => p.published) },
      this.now,
      openToAll,
    );
    const joined = await Promise.all(others.map((p, i) => this.join(p, packages[i]!, welcome!)));
    return [this.engine.adopt(conversation), ...joined];
  }
}

const suite = await openSuite();

/** A key package as a modified client of that device makes it, good for a day: all is signed as it should be. */
export async function forged(
  device: OwnDevice,
  change: { readonly leaf?: Partial<KeyPackage['leafNode']>; readonly initKey?: Uint8Array },
  at = Date.now(),
): Promise<KeyPackage> {
  const { keyPackage } = await generate(device, { notBefore: at - 60_000, notAfter: at + DAY_MS }, suite);
  const { leaf = {}, ...rest } = change;
  const leafNode = await signLeafNodeKeyPackage(
    { ...keyPackage.leafNode, ...leaf },
    device.mlsPrivateKey,
    suite.signature,
  );
  return signKeyPackage({ ...keyPackage, ...rest, leafNode }, device.mlsPrivateKey, suite.signature);
}
export const encoded = (keyPackage: KeyPackage): Uint8Array =>
  encodeMlsMessage({ version: 'mls10', wireformat: 'mls_key_package', keyPackage });

/** X-Wing keys that others cannot encrypt to: of another length, a point of low order, coefficients that are not reduced. */
export const UNUSABLE_KEYS: Readonly<Record<string, () => Promise<Uint8Array>>> = {
  'another length': async () => Buffer.alloc(3),
  'a point of low order': async () => Buffer.from(await anyKey()).fill(0, 1184),
  'coefficients that are too large': async () => Buffer.from(await anyKey()).fill(0xff, 0, 1184),
};
const anyKey = async (): Promise<Uint8Array> =>
  suite.hpke.exportPublicKey((await suite.hpke.generateKeyPair()).publicKey);
