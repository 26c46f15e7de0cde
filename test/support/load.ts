/** People who talk: clients of client/app.ts in this process, that keep so many messages on their way, and the audit of what came of it. */
import type { Test } from 'tap';
import { fromUtf8, hex, utf8 } from '../../base/bytes.ts';
import { Secret } from '../../base/secret.ts';
import type { AppEvent } from '../../client/app-event.ts';
import { App } from '../../client/app.ts';
import { dialer } from '../../client/dial.ts';
import { loadIdentity } from '../../client/identity.ts';
import { Vault } from '../../client/vault.ts';
import type { Conversation } from '../../client/roster.ts';
import type { Message } from '../../client/message-table.ts';
import { preparePassword } from '../../protocol/scram.ts';
import { formatAddress, resolveSettings } from '../../client/settings.ts';
import { PATIENCE_MS, type Name, type System } from './system.ts';

export const password = (name: Name): string => `the secret of ${name}, and of nobody else`;

/** One person's client. */
export class Person {
  readonly name: Name;
  readonly app: App;
  readonly vault: Vault;
  readonly alarms: string[] = [];
  readonly warnings: string[] = [];
  /** why the connection ended, each time */
  readonly losses: string[] = [];
  /** why it ended for good */
  end: string | null = null;

  private constructor(name: Name, app: App, vault: Vault) {
    this.name = name;
    this.app = app;
    this.vault = vault;
    app.on((event) => {
      if (event.on === 'alarm') this.alarms.push(`${event.error.code}: ${event.error.message}`);
      if (event.on === 'warning') this.warnings.push(event.text);
      if (event.on === 'lost') this.losses.push(event.error.code);
      if (event.on === 'lost' && !event.willRetry) this.end = `${event.error.code}: ${event.error.message}`;
    });
  }

  /** The profile and server that the environment names, as for the real program; registered where that is new, and logged in. */
  static async enter(env: NodeJS.ProcessEnv): Promise<Person> {
    const settings = resolveSettings({}, env);
    const identity = await loadIdentity(settings, Date.now(), async () => null);
    const name = identity.username as Name;
    const vault = Vault.open(settings.folder);
    const server = formatAddress(settings.host, settings.port);
    // That a slow machine keeps something back for a minute is no lie of the server.
    const app = new App({ vault, identity, server, dial: dialer(settings, identity), withheldAfterMs: 600_000 });
    const person = new Person(name, app, vault);
    const secret = (): Secret => new Secret(preparePassword(password(name)));
    const isNew = vault.profile.account() === null;
    await app.connect();
    if (isNew) await app.register({ username: name, email: identity.email ?? '' }, secret());
    await app.login(app.canResume ? null : secret());
    if (isNew) await app.settled(); // the others can write to him
    return person;
  }
  static async open(t: Test, system: System, name: Name, port = system.port): Promise<Person> {
    const person = await Person.enter({ ...system.clientEnv(name, port), HOME: system.dir });
    t.teardown(() => person.app.close());
    return person;
  }

  /** Resolves at the first moment at which this is so, and at once if it is. */
  async until(what: string, isSo: () => boolean): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => {
      if (isSo()) resolve();
      else if (this.end !== null) reject(new Error(`${this.name} was cut off for good before ${what}: ${this.end}`));
    };
    const late = (): void => reject(new Error(`${this.name} never came to ${what}; ${this.state}`));
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

  get state(): string {
    const { isConnected, pending, undelivered } = this.app.status();
    return JSON.stringify({ isConnected, pending, undelivered, losses: this.losses.slice(-5) });
  }
  get isConnected(): boolean {
    return this.app.status().isConnected;
  }
  /** The newest checkpoint that the server signed for this person. */
  get note(): string {
    const { ledger } = this.vault;
    return ledger.newest(ledger.lastOrigin() ?? '')?.note ?? '';
  }
}

/** Registers people, whose programs then have what `chat-client register` leaves: sooner than a start of it for each. */
export async function register(t: Test, system: System, ...names: readonly Name[]): Promise<void> {
  for (const name of names) await (await Person.open(t, system, name)).app.close();
}

/** One direction of a conversation under load: `window` messages on their way, each unlike every other. */
export class Talk {
  readonly from: Person;
  /** changed when the process of the recipient is another one */
  to: Person;
  readonly conversation: Conversation;
  /** everything that was handed to the client, in order */
  readonly bodies: string[] = [];
  /** rows that the client saw accepted, in that order */
  readonly accepted: number[] = [];
  readonly #window: number;
  readonly #stop: () => void;
  #onTheirWay = 0;
  #isOn = false;
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  private constructor(from: Person, to: Person, conversation: Conversation, window: number) {
    this.from = from;
    this.to = to;
    this.conversation = conversation;
    this.#window = window;
    const seen = new Set<number>();
    this.#stop = from.app.on((event: AppEvent) => {
      if (event.on !== 'state' || event.message.direction !== 'out') return;
      const { row, state, conversation: id } = event.message;
      if (state === 'failed' || Buffer.compare(id, conversation.id) !== 0 || seen.has(row)) return;
      seen.add(row);
      this.accepted.push(row);
      this.#onTheirWay--;
      this.#fill();
      for (const waiter of this.#waiting) if (this.accepted.length >= waiter.count) waiter.resolve();
    });
  }

  /** @param room where they are both in, in place of the conversation of the two */
  static async between(from: Person, to: Person, window: number, room?: string): Promise<Talk> {
    return new Talk(from, to, await from.app.open(room ?? to.name), window);
  }
  /** Takes over for a process that has ended: `bodies` are what that one wrote. */
  adopt(bodies: readonly string[]): void {
    this.bodies.push(...bodies);
  }

  begin(): void {
    this.#isOn = true;
    this.#fill();
  }
  /** Nothing more is written; what is on its way goes on. */
  end(): void {
    this.#isOn = false;
  }
  close(): void {
    this.end();
    this.#stop();
  }
  /** Resolves when so many more are accepted. */
  more(count: number): Promise<void> {
    const want = this.accepted.length + count;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const late = (): void =>
      reject(new Error(`${this.from.name} got no ${count} messages accepted: ${this.from.end ?? this.from.state}`));
    const timer = setTimeout(late, PATIENCE_MS);
    const waiter = { count: want, resolve };
    this.#waiting.push(waiter);
    return promise.finally(() => {
      clearTimeout(timer);
      this.#waiting = this.#waiting.filter((each) => each !== waiter);
    });
  }

  #fill(): void {
    while (this.#isOn && this.#onTheirWay < this.#window) {
      const body = bodyOf(this.from.name, this.to.name, this.bodies.length + 1);
      this.bodies.push(body);
      this.#onTheirWay++;
      this.from.app.send(this.conversation.id, utf8(body));
    }
  }
}

/** Unlike every other, and of many lengths. */
export const bodyOf = (from: string, to: string, number: number): string =>
  `${from} to ${to}, message ${number}${'.'.repeat((number * 37) % 300)}`;

/** Ends the writing, and resolves when everything is with its recipient and every sender knows. */
export async function drain(talks: readonly Talk[]): Promise<void> {
  for (const talk of talks) talk.end();
  for (const person of peopleOf(talks))
    await person.until('all delivered', () => person.isConnected && person.vault.undelivered() === 0);
}

export const peopleOf = (talks: readonly Talk[]): Person[] => [...new Set(talks.flatMap(({ from, to }) => [from, to]))];

/**
 * What must hold once all is drained: each message that was written is in both vaults exactly once, with the same bytes, in the order
 * in which its sender wrote it; places are 1, 2, 3…, those of the commits between them included; nothing else is there; nobody was alarmed.
 */
export function audit(t: Test, talks: readonly Talk[]): void {
  for (const person of peopleOf(talks)) {
    t.strictSame(person.alarms, [], `${person.name} met nothing false`);
    t.strictSame(person.warnings, [], `${person.name} was warned of nothing`);
    t.equal(person.vault.ledger.alarms().length, 0, `${person.name} keeps no evidence against anybody`);
  }
  for (const { from, to, conversation, bodies } of talks) {
    const key = [from.name, to.name].sort().join();
    for (const person of [from, to])
      t.strictSame(
        faults(
          person.vault.history(conversation.id, 1_000_000),
          person.vault.groups.commits(conversation.id),
          talks,
          key,
        ),
        [],
        `${key} as ${person.name} has it after ${from.name} wrote ${bodies.length}`,
      );
  }
}

/** In words, so that a failure is read and not compared. */
function faults(
  messages: readonly Message[],
  commits: readonly number[],
  talks: readonly Talk[],
  key: string,
): string[] {
  const found: string[] = [];
  const own = talks.filter(({ from, to }) => [from.name, to.name].sort().join() === key);
  const next = new Map<string, number>();
  let place = 0;
  for (const message of messages) {
    const { seq, sender } = message;
    do place++;
    while (commits.includes(place));
    if (seq !== place) found.push(`place ${seq} where ${place} is due`);
    const talk = own.find(({ from }) => from.name === sender);
    const at = next.get(sender) ?? 0;
    next.set(sender, at + 1);
    const body = fromUtf8(message.body);
    if (talk?.bodies[at] !== body)
      found.push(`${sender}'s ${at + 1}: ${body?.slice(0, 60)} instead of ${talk?.bodies[at]?.slice(0, 60)}`);
    if (message.direction === 'out' && message.state !== 'delivered') found.push(`${body}: ${message.state}`);
    if (found.length > 5) break;
  }
  for (const { from, bodies } of own)
    if ((next.get(from.name) ?? 0) !== bodies.length)
      found.push(`${next.get(from.name) ?? 0} of ${bodies.length} messages of ${from.name}`);
  return found;
}

/** Codes that an honest client must never meet, whatever was killed. */
const IMPOSSIBLE = [
  'COUNTER_REUSED',
  'COUNTER_GAP',
  'LINEAGE',
  'SIG_FAIL',
  'INTERNAL',
  'FORK',
  'ROLLBACK',
  'LOG_CORRUPT',
];

/** The other witnesses: the server's own log lines, and chat-verify over the stopped server's transcript. */
export async function auditTranscript(t: Test, system: System, talks: readonly Talk[]): Promise<void> {
  const bad = system.lines.filter(
    // A start that is refused for want of room is a line of text, and no fault.
    ({ level, code, text }) =>
      (level === 'error' && !String(text).endsWith('[DISK_FULL]')) || IMPOSSIBLE.includes(String(code)),
  );
  t.strictSame(bad, [], 'the server met nothing that cannot be');
  const { exit, verdict, checked, text } = await system.verify(peopleOf(talks).map(({ note }) => note));
  t.equal(exit, 0, `${verdict}: ${text.slice(-400)}`);
  t.equal(verdict, 'VALID');
  const written = talks.reduce((sum, { bodies }) => sum + bodies.length, 0);
  const commits = new Map(
    talks.map(({ from, conversation: { id } }) => [hex(id), from.vault.groups.commits(id).length]),
  );
  const changes = [...commits.values()].reduce((sum, count) => sum + count, 0);
  const receipts = new Set(
    talks.flatMap(({ conversation: { id } }) =>
      peopleOf(talks).flatMap(({ vault }) => vault.receipts.in(id).map(({ hash }) => hex(hash))),
    ),
  );
  const begun = peopleOf(talks).flatMap(({ vault }) => vault.sessions.all().filter(({ lastCtr }) => lastCtr > 0));
  const all = written + changes + receipts.size + begun.length;
  t.equal(checked?.messages, all, 'the log has each statement once, and an opening of each session');
}
