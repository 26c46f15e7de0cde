/**
 * This device as others find it: its MLS key, bound by the certificate, and a stock of key packages at the server, by which it can be let
 * into conversations while it is away. Private parts are on disk before the public ones leave; what a kill leaves behind runs out.
 */
import { randomBytes } from 'node:crypto';
import { equal } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';
import type { GroupEngine } from './group-engine.ts';
import { Groups } from './groups.ts';
import type { ClientIdentity } from './identity.ts';
import type { Session } from './session.ts';
import type { Vault } from './vault.ts';
import { DEVICE_ID_BYTES } from '../protocol/device-binding.ts';
import { createBinding, readBinding } from './e2ee/binding.ts';
import { ConversationQueue } from './e2ee/queue.ts';
import type { OwnDevice, OwnKeyPackage, Validity } from './e2ee/key-package.ts';

/** The one thing that is queued for here. */
const DEVICE = 'device';
const DAY_MS = 86_400_000;
/** Clocks of servers and clients differ; by more than this, and nobody lets the device in. */
const TOLERANCE_MS = DAY_MS;
/** The stock at the server: filled up to the one when it is below the other. */
const FULL = 50;
const LOW = 20;
const PACKAGE_LIFETIME_MS = 30 * DAY_MS;
/** Nobody takes one that is over, and the oldest is given out first: so all are replaced before. */
const PACKAGE_RENEWAL_MS = 7 * DAY_MS;
const LAST_RESORT_LIFETIME_MS = 119 * DAY_MS;
const LAST_RESORT_RENEWAL_MS = 30 * DAY_MS;
/** An invitation may wait this long after the key package has run out. */
const GRACE_MS = 30 * DAY_MS;

export class DeviceKeys {
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #own: ClientIdentity;
  readonly #queue = new ConversationQueue();

  constructor(vault: Vault, groups: Groups, own: ClientIdentity) {
    this.#vault = vault;
    this.#groups = groups;
    this.#own = own;
  }

  /**
   * The device with a binding by the certificate of this session; made, or bound anew, where there is none like that. Its id and key stay
   * for as long as the profile, so it is made once, however many ask.
   */
  ready(session: Session, engine: GroupEngine): Promise<OwnDevice> {
    return this.#queue.run([DEVICE], () => this.#ready(session, engine));
  }

  async #ready(session: Session, engine: GroupEngine): Promise<OwnDevice> {
    const organisation = Groups.organisationOf(session);
    const known = this.#vault.keys.device();
    const { chain, username: user, fingerprint: certificate, privateKey, notAfter } = this.#own;
    // By the server's clock, and from a day ago on: the others ask it of the time in the log.
    const now = session.serverNow();
    const notBefore = Math.min(Math.max(chain[0].notBefore, now - TOLERANCE_MS), notAfter);
    const isBound = known !== null && equal(known.certificate, certificate) && known.organisation === organisation;
    const begins = isBound ? readBinding(known.binding).notBefore : Infinity;
    // One that begins later was made when the clock of the server was ahead, or it said so: nobody lets the device in before.
    if (isBound && (begins <= now || begins <= notBefore))
      return {
        user: known.user,
        deviceId: known.device_id,
        bindingHash: sha256(known.binding),
        mlsKey: known.mls_key,
        mlsPrivateKey: known.mls_private_key,
      };
    const deviceId = known?.device_id ?? randomBytes(DEVICE_ID_BYTES);
    const { mlsKey, mlsPrivateKey } =
      known === null ? await engine.newDeviceKey() : { mlsKey: known.mls_key, mlsPrivateKey: known.mls_private_key };
    const statement = { organisation, user, deviceId, mlsKey, notBefore, notAfter };
    const binding = createBinding(
      statement,
      chain.filter((each) => !each.isSelfIssued).map(({ der }) => der),
      privateKey,
    );
    this.#vault.transaction(() => {
      this.#vault.keys.setDevice({
        user,
        device_id: deviceId,
        mls_key: mlsKey,
        mls_private_key: mlsPrivateKey,
        binding,
        certificate,
        organisation,
      });
      this.#groups.bindings.add(binding);
    });
    return { user, deviceId, bindingHash: sha256(binding), mlsKey, mlsPrivateKey };
  }

  /** Puts at the server what others need. Answers when all is there. @throws what the requests throw */
  async publish(session: Session): Promise<void> {
    const { requester } = session;
    const { keys } = this.#vault;
    const engine = await this.#groups.engine(session);
    const device = await this.ready(session, engine);
    const now = session.serverNow();
    const { binding } = keys.device()!;
    await requester.request({ type: 'binding_put', binding }, 'ok');
    keys.deletePackagesBefore(now - GRACE_MS);

    // Without a single published package here, what the server has is of another device, one that had this certificate and is lost, or of
    // this one under the certificate before.
    const longest = [PACKAGE_LIFETIME_MS, LAST_RESORT_LIFETIME_MS].map((ms) => now + ms + TOLERANCE_MS);
    const isUntimely = keys.hasUntimely(now + PACKAGE_RENEWAL_MS, longest[0]!, longest[1]!);
    const isFresh = isUntimely || !keys.hasPackages();
    const { count } = await requester.request(
      { type: 'keypackages_put', packages: [], last_resort: false, ...(isFresh ? { fresh: true } : {}) },
      'keypackages',
    );
    if (isFresh) keys.withdrawPackages();
    const make = (validity: Validity): Promise<OwnKeyPackage> => engine.keyPackage(device, validity);
    if (!keys.hasLastResort(now + LAST_RESORT_RENEWAL_MS)) {
      const notAfter = now + LAST_RESORT_LIFETIME_MS;
      await this.#put(session, [await make({ notBefore: now - TOLERANCE_MS, notAfter })], notAfter, true);
    }
    if (count >= LOW) return;
    const notAfter = now + PACKAGE_LIFETIME_MS;
    const packages: OwnKeyPackage[] = [];
    for (let i = count; i < FULL; i++) packages.push(await make({ notBefore: now - TOLERANCE_MS, notAfter }));
    await this.#put(session, packages, notAfter, false);
  }

  async #put(
    { requester }: Session,
    packages: readonly OwnKeyPackage[],
    notAfter: number,
    isLastResort: boolean,
  ): Promise<void> {
    const { keys } = this.#vault;
    keys.addPackages(packages.map(({ reference, secret }) => ({ reference, secret, notAfter, isLastResort })));
    const published = packages.map((each) => each.published);
    await requester.request({ type: 'keypackages_put', packages: published, last_resort: isLastResort }, 'keypackages');
    keys.markPublished(packages.map(({ reference }) => reference));
  }
}
