/**
 * Those who mean harm, in a process of their own: it is the server that is to be fair to others, not the program that plays all clients.
 * Started by hostile.ts, which tells it whom to play, and asks in the end what they were answered.
 */
import { fork } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Secret } from '../base/secret.ts';
import { parseCertificate, toPem } from '../x509/certificate.ts';
import { Author, type SignedBatch } from './author.ts';
import { bodiesOf, SEALED_BYTES } from './bodies.ts';
import { Client, fail, type Account } from './client.ts';

/** Requests of each attacker that are not answered yet: as many as the server ever takes, and more bytes than it does. */
const OUTSTANDING = 64;
const BATCH = 16;
/**
 * SCHED_IDLE (sched(7)), by the chrt of util-linux: they would have machines of their own, and not take from the server's, as they do when
 * they are merely of low priority.
 */
const LAST = { execPath: 'chrt', execArgv: ['-i', '0', process.execPath] };

interface Passport {
  readonly name: string;
  readonly der: Uint8Array;
  readonly key: Uint8Array;
  readonly salted: Uint8Array;
  readonly salt: Uint8Array;
  readonly token: string | null;
}
interface Order {
  readonly port: number;
  readonly root: Uint8Array;
  /** each floods this conversation, whose group is there */
  readonly writers: readonly Passport[];
  readonly conversation: Uint8Array;
  /** connected, and takes nothing */
  readonly deaf: Passport | null;
}
export interface Answers {
  readonly answers: number;
  readonly refusals: number;
  /** that did not say how long to wait */
  readonly silent: number;
}
export interface Attack {
  /** What they were answered; they are gone then. */
  stop(): Promise<Answers>;
}

/** Resolves when they have begun. */
export async function attack(
  order: Pick<Order, 'port' | 'root' | 'conversation'> & {
    readonly writers: readonly Account[];
    readonly deaf?: Account;
  },
): Promise<Attack> {
  const child = fork(fileURLToPath(import.meta.url), { serialization: 'advanced', ...LAST });
  process.once('exit', () => child.kill());
  const said = <T>(): Promise<T> =>
    new Promise((resolve, reject) => {
      child.once('message', (message) => resolve(message as T));
      child.once('exit', () => reject(new Error('the attackers have ended')));
    });
  const { deaf, writers, ...rest } = order;
  child.send({ ...rest, writers: writers.map(passportOf), deaf: deaf ? passportOf(deaf) : null } satisfies Order);
  await said<'begun'>();
  return {
    stop: async () => {
      child.send('stop');
      return said<Answers>();
    },
  };
}

function passportOf({ name, own, salted, salt, token }: Account): Passport {
  return {
    name,
    der: own.chain[0].der,
    key: own.privateKey.export({ format: 'der', type: 'pkcs8' }),
    salted: salted.use((bytes) => Buffer.from(bytes)),
    salt,
    token,
  };
}

function accountOf({ name, der, key, salted, salt, token }: Passport): Account {
  const certificate = parseCertificate(der);
  const privateKey = createPrivateKey({ key: Buffer.from(key), format: 'der', type: 'pkcs8' });
  const own = { chain: [certificate] as const, certPem: toPem(certificate), privateKey };
  return { name, own, salted: new Secret(salted), salt, token };
}

/** Sends the next batch when the last one is accepted, and the same bytes again whenever anything else is answered, without a pause. */
class Flood {
  answers = 0;
  refusals = 0;
  silent = 0;
  readonly #client: Client;
  readonly #author: Author;
  readonly #bodies = bodiesOf(SEALED_BYTES);
  readonly #outstanding = new Map<number, SignedBatch>();
  #current: SignedBatch;
  #lastId = 1_000_000; // of those of login

  constructor(client: Client, author: Author) {
    this.#client = client;
    this.#author = author;
    this.#current = author.batch(this.#bodies(BATCH));
    client.link.onFrame((frame) => {
      if (frame.type === 'error' && frame.code !== 'RATE_LIMIT')
        fail(`an attacker was answered ${JSON.stringify(frame)}`);
      if (frame.type === 'error') this.#refused(frame.retry_after_ms);
      if (!('id' in frame) || frame.id === undefined) return;
      const batch = this.#outstanding.get(frame.id);
      if (!this.#outstanding.delete(frame.id)) return;
      this.answers++;
      if (frame.type === 'msg_ack' && batch === this.#current) this.#current = this.#author.batch(this.#bodies(BATCH));
      this.#send();
    });
    for (let i = 0; i < OUTSTANDING; i++) this.#send();
  }

  #refused(retryAfterMs: number | undefined): void {
    this.refusals++;
    if (retryAfterMs === undefined) this.silent++;
  }
  #send(): void {
    const id = ++this.#lastId;
    this.#outstanding.set(id, this.#current);
    this.#client.link.send({ ...this.#current, id });
  }
}

async function play({ port, root, writers, conversation, deaf }: Order): Promise<Flood[]> {
  const authority = parseCertificate(root);
  const enter = async (passport: Passport): Promise<Client> => {
    const client = await Client.dial(port, authority, accountOf(passport));
    await client.login();
    return client;
  };
  if (deaf !== null) (await enter(deaf)).link.pause();
  const clients = await Promise.all(writers.map(enter));
  const authors = await Promise.all(
    clients.map(async (client) => {
      const reply = await client.request({ type: 'conversation_get', conversation }, 'conversation');
      return new Author(client.account.own, client.origin, reply);
    }),
  );
  return clients.map((client, i) => new Flood(client, authors[i]!));
}

if (process.argv[1] === fileURLToPath(import.meta.url) && process.send) {
  process.once('disconnect', () => process.exit(1));
  process.once('message', (order) => {
    const playing = play(order as Order);
    void playing.then(() => process.send?.('begun'));
    process.once('message', () => {
      void playing.then((floods) => {
        const total = (of: (flood: Flood) => number): number => floods.reduce((sum, flood) => sum + of(flood), 0);
        const answers: Answers = {
          answers: total((flood) => flood.answers),
          refusals: total(({ refusals }) => refusals),
          silent: total(({ silent }) => silent),
        };
        process.send?.(answers, () => process.exit(0));
      });
    });
  });
}
