/** Real clients of a whole server, all in one process: client/app.ts over TLS, each with a vault in a folder of the test. */
import { createPublicKey } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { Secret } from '../../base/secret.ts';
import type { AppEvent } from '../../client/app-event.ts';
import { App } from '../../client/app.ts';
import { restore } from '../../client/e2ee/delta.ts';
import { usersIn } from '../../client/e2ee/presence.ts';
import type { ClientIdentity } from '../../client/identity.ts';
import { Vault } from '../../client/vault.ts';
import type { Message } from '../../client/message-table.ts';
import type { Delivered, Reply } from '../../protocol/messages.ts';
import type { ClientLink } from '../../runtime/link.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { ca, credentials, dial } from './pair.ts';
import { deliveredOf } from './raw-client.ts';
import type { Authority, CertOptions } from './pki.ts';
import { PASSWORD, type Person, type World } from './world.ts';

/** Above the longest pause of a client: only a test that has failed already meets it. */
export const PATIENCE_MS = 75_000;

/** A person's device: a certificate, a folder, and the client that has it open now. */
export class DeviceApp {
  readonly person: Person;
  readonly folder: string;
  readonly events: AppEvent[] = [];
  /** everything that the server has sent to be read, as it came */
  readonly delivered: Delivered[] = [];
  /** what the server sends, as this device gets it: as it is, or as a lying server would have it */
  hear: (frame: Reply) => readonly Reply[] = (frame) => [frame];
  /** added to the device's clock, ms */
  aheadMs = 0;
  /** how long it lets others take to let it into a room; null: as long as usual */
  joinWaitMs: number | null = null;
  /** after which a message that nobody has signed for is said to be kept back; null: as long as usual */
  withheldAfterMs: number | null = null;
  readonly #world: World;
  readonly #test: Test;
  #app: App | null = null;

  constructor(t: Test, world: World, person: Person, folder: string) {
    this.#test = t;
    this.#world = world;
    this.person = person;
    this.folder = folder;
  }

  get app(): App {
    if (this.#app === null) throw new Error(`${this.person.name} is not logged in`);
    return this.#app;
  }
  get vault(): Vault {
    return this.app.vault;
  }

  /** Logged in, and at the server with all that others need. @param first done before there is a connection */
  async enter(first: (app: App) => void = () => {}): Promise<this> {
    const { own, name } = this.person;
    const [leaf] = own.chain;
    const identity: ClientIdentity = {
      chain: own.chain,
      roots: [parseCertificate(ca.der)],
      intermediates: [],
      privateKey: own.privateKey,
      fingerprint: leaf.fingerprint,
      username: name,
      email: `${name}@example.org`,
      notAfter: leaf.notAfter,
      certPem: own.certPem,
      caPem: ca.pem,
    };
    const vault = Vault.open(this.folder);
    if (this.person.token !== null)
      vault.profile.setResumeToken({
        token: this.person.token,
        expires: Date.now() + 60_000,
        fingerprint: leaf.fingerprint,
      });
    const { port } = this.#world;
    const now = (): number => Date.now() + this.aheadMs;
    const connect = async (): Promise<ClientLink> => this.#recorded(await dial(port, own));
    const { joinWaitMs, withheldAfterMs } = this;
    const app = new App({
      vault,
      identity,
      server: 'world',
      dial: connect,
      now,
      ...(joinWaitMs === null ? {} : { joinWaitMs }),
      ...(withheldAfterMs === null ? {} : { withheldAfterMs }),
    });
    this.#app = app;
    this.#test.teardown(() => app.close());
    app.on((event) => this.events.push(event));
    first(app);
    await app.connect();
    await app.login(this.person.token === null ? new Secret(Buffer.from(PASSWORD)) : null);
    this.person.token = vault.profile.resumeToken()?.token ?? null;
    await app.settled();
    return this;
  }
  #recorded(link: ClientLink): ClientLink {
    const onFrame = link.onFrame.bind(link);
    link.onFrame = (handler) =>
      onFrame((frame) => {
        this.delivered.push(...deliveredOf([frame]));
        for (const each of this.hear(frame)) handler(each);
      });
    return link;
  }
  /** The next frame of this type has come, and was dealt with as far as that goes at once. */
  async heard(type: Reply['type']): Promise<void> {
    const { hear } = this;
    await new Promise<void>((resolve) => {
      this.hear = (frame) => {
        if (frame.type === type) setTimeout(resolve, 500);
        return hear(frame);
      };
    });
    this.hear = hear;
  }
  async leave(): Promise<void> {
    const app = this.#app;
    this.#app = null;
    await app?.close();
  }
  /** As if its disk had been replaced. */
  loseVault(): void {
    rmSync(this.folder, { recursive: true });
  }

  /** Resolves as soon as this is so. */
  async until(what: string, isSo: () => boolean): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => void (isSo() && resolve());
    const late = (): void =>
      reject(
        new Error(
          `${this.person.name} never came to ${what}; ${this.told('alarm').concat(this.told('warning')).join('; ')}`,
        ),
      );
    const timer = setTimeout(late, PATIENCE_MS);
    const stop = this.app.on(look);
    try {
      look();
      await promise;
    } finally {
      clearTimeout(timer);
      stop();
    }
  }

  /** Resolves with the row when it is accepted. */
  async say(peer: string, text: string): Promise<number> {
    const { id } = await this.app.open(peer);
    const row = this.app.send(id, utf8(text));
    await this.app.waitFor(row, 'accepted', PATIENCE_MS);
    return row;
  }
  /** Not waited for. */
  async write(peer: string, text: string): Promise<number> {
    const { id } = await this.app.open(peer);
    return this.app.send(id, utf8(text));
  }
  async hears(...texts: readonly string[]): Promise<void> {
    for (const text of texts) await this.until(`“${text}”`, () => this.texts().includes(text));
  }
  /** All messages with somebody, or with all, in their order. */
  texts(peer?: string): string[] {
    const conversations = this.vault.conversations().filter((c) => peer === undefined || c.peer === peer);
    return conversations.flatMap(({ id }) => this.vault.history(id, 10_000).map(textOf));
  }
  /** Whose devices are in the group of a room, as this device has it. */
  usersIn(room: string): string[] {
    const stored = this.vault.groups.current(this.vault.conversationWith(room)!.id);
    return stored === null ? [] : usersIn(restore(stored.snapshot, stored.deltas));
  }
  told(what: 'alarm' | 'warning'): string[] {
    return this.events.flatMap((e) =>
      e.on === 'warning' && what === 'warning'
        ? [e.text]
        : e.on === 'alarm' && what === 'alarm'
          ? [`${e.error.code}/${e.error.sub}: ${e.error.message}`]
          : [],
    );
  }
}

export const textOf = ({ body, reason }: Message): string => reason ?? fromUtf8(body) ?? '?';

/** Without what an earlier run of the test has left there. */
function emptied(folder: string): string {
  rmSync(folder, { recursive: true, force: true });
  return folder;
}
/** Somebody with an account, and his first device. */
export async function deviceOf(t: Test, world: World, name: string): Promise<DeviceApp> {
  return new DeviceApp(t, world, await world.person(name), emptied(join(t.testdirName, name)));
}
/** The same for several people, one after the other; all have entered. */
export async function devicesOf<const Names extends readonly string[]>(
  t: Test,
  world: World,
  ...names: Names
): Promise<{ [At in keyof Names]: DeviceApp }> {
  const devices: DeviceApp[] = [];
  for (const name of names) devices.push(await (await deviceOf(t, world, name)).enter());
  return devices as { [At in keyof Names]: DeviceApp };
}
/** One more device of the same person: another certificate, another folder. */
export function anotherOf(
  t: Test,
  world: World,
  { person }: DeviceApp,
  folder: string,
  options: CertOptions = {},
): DeviceApp {
  return new DeviceApp(t, world, world.certificate(person.name, options), join(t.testdirName, folder));
}
/** The same, issued by another authority, one below that of everybody else. */
export function issuedBy(
  t: Test,
  world: World,
  { person }: DeviceApp,
  folder: string,
  authority: Authority,
): DeviceApp {
  const issued = authority.client(person.name, { key: 'ed25519' });
  const own = credentials(issued, authority);
  return new DeviceApp(t, world, { ...world.certificate(person.name), issued, own }, join(t.testdirName, folder));
}
/** The same device with the certificate that comes next: for the same key or, with `isNewKey`, for another. The one before has left. */
export function renewed(t: Test, world: World, { person, folder }: DeviceApp, isNewKey = false): DeviceApp {
  const { key } = person.issued;
  const keyPair = { publicKey: createPublicKey(key), privateKey: key };
  return new DeviceApp(t, world, world.certificate(person.name, isNewKey ? {} : { keyPair }), folder);
}
