/**
 * A light client over runtime/link: no vault, no terminal, no retries. It acknowledges everything that it gets as chat-client does, gathered,
 * receipts messages, and counts; what it is not told to check it believes, so that the generator costs less than the server. Whatever the
 * server refuses ends the run.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { Secret } from '../base/secret.ts';
import { Acknowledgements } from '../client/acknowledgements.ts';
import { loginBinding } from '../protocol/key-schedule.ts';
import type { Reply, ReplyType, Request } from '../protocol/messages.ts';
import {
  authMessage,
  clientProof,
  DEFAULT_KDF,
  formatKdf,
  NONCE_BYTES,
  SALT_BYTES,
  verifierOf,
} from '../protocol/scram.ts';
import { openClientLink, type ClientLink } from '../runtime/link.ts';
import { authoritiesOf, clientTlsOptions, type Chain, type Credentials } from '../runtime/tls.ts';
import { checkAck, decodeAck } from '../transcript/ack.ts';
import { openKeyStatement } from '../transcript/key-statement.ts';
import type { VerifierKey } from '../transcript/note.ts';
import { KIND } from '../transcript/statement.ts';
import type { Authority, KeyType } from '../test/support/pki.ts';
import { parseCertificate, toPem, type Certificate } from '../x509/certificate.ts';
import { validatePath } from '../x509/path.ts';
import type { SignedBatch } from './author.ts';
import type { Witness } from './witness.ts';

type WithoutId<T> = T extends { readonly id: number } ? Omit<T, 'id'> : never;

/** Certificate, password key and, after a login, resume token. */
export interface Account {
  readonly name: string;
  readonly own: Credentials;
  /** What Argon2id would have made of a password: its cost is the client's, and not measured here. */
  readonly salted: Secret;
  readonly salt: Uint8Array;
  token: string | null;
}

export function newAccount(authority: Authority, name: string, key: KeyType): Account {
  const issued = authority.client(name, { key });
  const certificate = parseCertificate(issued.der);
  const own: Credentials = { chain: [certificate], certPem: toPem(certificate), privateKey: issued.key };
  return { name, own, salted: new Secret(randomBytes(32)), salt: randomBytes(SALT_BYTES), token: null };
}

export class Client {
  readonly link: ClientLink;
  readonly account: Account;
  /** messages that came; messages that the server has made durable */
  delivered = 0;
  accepted = 0;
  /** after each of them */
  onProgress: () => void = () => {};
  /** Whether a refusal was expected; any other ends the run. */
  onRefusal: (refusal: Reply<'error'>) => boolean = () => false;
  /** set by a login */
  origin = '';
  readonly #isChecking: boolean;
  #log: VerifierKey | null = null;
  #note: Uint8Array | undefined;
  #lastId = 0;
  readonly #replies = new Map<number, (reply: Reply) => void>();
  readonly #sent = new Map<number, SignedBatch>();
  readonly #acknowledgements: Acknowledgements;
  #witness: Witness | null = null;
  #isClosing = false;

  /** TLS and the handshake inside. @param isChecking every acknowledgement is verified, as an honest client does */
  static async dial(port: number, authority: Certificate, account: Account, isChecking = false): Promise<Client> {
    const authorities = authoritiesOf([authority]);
    const socket = connect(clientTlsOptions(account.own, authorities, '127.0.0.1', port));
    const admit = ([leaf, ...intermediates]: readonly [Certificate, ...Certificate[]]): Chain =>
      validatePath({
        leaf,
        intermediates,
        roots: authorities.roots,
        crls: [],
        at: Date.now(),
        purpose: 'serverAuth',
        revocation: 'live',
      });
    return new Client(await openClientLink(socket, { own: account.own, admit }), account, isChecking);
  }

  private constructor(link: ClientLink, account: Account, isChecking: boolean) {
    this.link = link;
    this.account = account;
    this.#isChecking = isChecking;
    this.#acknowledgements = new Acknowledgements((cursors) => link.send({ type: 'msg_received', cursors }));
    link.onFrame((frame) => this.#take(frame));
    void link.closed.then(({ code }) => {
      if (!this.#isClosing) fail(`the server closed the connection of ${account.name}: ${code ?? 'no reason'}`);
    });
  }

  /** By token when there is one, else by registering first. */
  async login(): Promise<void> {
    const { account } = this;
    const reply = account.token === null ? await this.#enrol() : await this.#resume(account.token);
    account.token = reply.token;
    if (this.#isChecking || this.origin === '') {
      const { statement, algorithm, signature } = reply.log;
      const signed = Buffer.concat([Buffer.of(algorithm), signature]);
      this.#log = openKeyStatement(Buffer.from(statement), signed, this.link.peerChain[0].publicKey).log;
      this.origin = this.#log.name;
    }
  }

  async openConversation(peer: string): Promise<Reply<'conversation'>> {
    return this.request({ type: 'conversation_open', peer }, 'conversation');
  }

  request<T extends ReplyType>(body: WithoutId<Request>, want: T): Promise<Reply<T>> {
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      this.#replies.set(id, (reply) => {
        if (reply.type !== want) fail(`asked for ${want}, got ${JSON.stringify(reply)}`);
        resolve(reply as Reply<T>);
      });
      this.link.send({ ...body, id } as Request);
    });
  }

  send(batch: SignedBatch): void {
    const id = ++this.#lastId;
    this.#sent.set(id, batch);
    this.link.send({ ...batch, id });
  }

  /** Says of every message from now on that it came. @param witness as the same device over all connections */
  receiptBy(witness: Witness): void {
    this.#witness = witness;
    witness.send = (batch) => this.send(batch);
  }
  /** messages whose receipt the server does not have */
  get owed(): number {
    return this.#witness?.owed ?? 0;
  }

  /** Everything that came is acknowledged, and the server has read that. */
  async settled(): Promise<void> {
    this.#acknowledgements.flush();
    await this.request({ type: 'ping' }, 'pong');
  }

  /** When it has said of everything that it came: the next connection of the device goes on from there. */
  async close(): Promise<void> {
    while (this.owed > 0) await sleep(5);
    this.#isClosing = true;
    this.#acknowledgements.flush();
    this.link.close();
    await this.link.closed;
  }

  #resume(token: string): Promise<Reply<'login_ok'>> {
    return this.request({ type: 'resume', token }, 'login_ok');
  }

  async #enrol(): Promise<Reply<'login_ok'>> {
    const { name, salted, salt } = this.account;
    const kdf = formatKdf(DEFAULT_KDF);
    const { storedKey, serverKey } = verifierOf(salted);
    const keys = { stored_key: storedKey, server_key: serverKey };
    await this.request({ type: 'register', username: name, email: `${name}@example.org`, salt, kdf, ...keys }, 'ok');
    const clientNonce = randomBytes(NONCE_BYTES);
    const { nonce } = await this.request({ type: 'login', account: name, nonce: clientNonce }, 'login_challenge');
    const channelBinding = loginBinding(this.link.exporter);
    const message = authMessage({ username: name, clientNonce, serverNonce: nonce, salt, kdf, channelBinding });
    return this.request({ type: 'login_proof', proof: clientProof(salted, message) }, 'login_ok');
  }

  #take(frame: Reply): void {
    switch (frame.type) {
      case 'checkpoint':
        if (this.#isChecking) this.#note = Buffer.from(frame.note);
        return;
      case 'msg_ack':
        if (this.#isChecking) this.#check(frame);
        this.#sent.delete(frame.id);
        this.accepted += frame.messages.length;
        this.#witness?.acknowledged();
        return this.onProgress();
      case 'msg_deliver':
        for (const item of frame.items) {
          if (!('cursor' in item)) continue;
          this.#acknowledgements.add(item.cursor, item.parts);
          if (item.statement[8] !== KIND.message) continue;
          this.delivered++;
          this.#witness?.keep(item.statement);
        }
        return this.onProgress();
      case 'msg_expired':
        return this.#acknowledgements.add(frame.cursor);
      case 'presence':
      case 'typing':
      case 'contact_changed':
      case 'room_changed':
      case 'bye':
        return;
      case 'error':
        return this.onRefusal(frame) ? undefined : fail(`the server refused: ${JSON.stringify(frame)}`);
      default:
        this.#replies.get(frame.id)?.(frame);
        this.#replies.delete(frame.id);
    }
  }

  #check(frame: Reply<'msg_ack'>): void {
    const { algorithm, signature, batch: bs, messages } = this.#sent.get(frame.id)!;
    const statements = messages.map(({ statement }) => statement);
    checkAck(decodeAck(frame.ack), { algorithm, signature, bs, messages: statements }, this.#log!, this.#note);
  }
}

/** Ends the run: what was measured until now means nothing. */
export function fail(why: string): never {
  console.error(`bench: ${why}`);
  process.exit(1);
}
