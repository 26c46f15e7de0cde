/**
 * NATS: its core, which forgets, and JetStream, which keeps. The certificate says who somebody is (docs.nats.io, client protocol and
 * JetStream API).
 */
import { writeFileSync } from 'node:fs';
import { connect as connectPlain } from 'node:net';
import { join } from 'node:path';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { freePort, ServerProcess } from '../server-process.ts';
import { BODY, PeerClient, program, secured, type Peer } from './peer.ts';

const peer = (name: string, keeps: boolean): Peer => ({
  name,
  can: { rooms: true, keeps },
  find: () => program('nats-server'),
  start: async (file, folder, users) => {
    const port = await freePort();
    const config = join(folder, `${keeps ? 'jetstream' : 'nats'}.conf`);
    const names = Array.from({ length: users }, (_, i) => `{ user: "user${i}@example.org" }`);
    const lines = [
      `listen: "127.0.0.1:${port}"`,
      'max_connections: 20000',
      `tls { cert_file: "${join(folder, 'server.crt')}", key_file: "${join(folder, 'server.key')}",`,
      `  ca_file: "${join(folder, 'ca.crt')}", verify_and_map: true, timeout: 30 }`,
      `authorization { timeout: 30, users: [ ${names.join(', ')} ] }`,
      ...(keeps ? [`jetstream { store_dir: "${join(folder, 'jetstream')}", max_file_store: 4GB }`] : []),
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    return ServerProcess.serving(port, [file, '-c', config], join(folder, 'nats.log'));
  },
  client: (user) => (keeps ? new JetStreamClient(user) : new NatsClient(user)),
});

export const nats = peer('NATS core', false);
export const jetStream = peer('NATS JetStream', true);

/** Subscriptions by their number. */
const [INBOX, OWN, ROOM] = ['1', '2', '3'] as const;

class NatsClient extends PeerClient {
  #rest: Buffer = Buffer.alloc(0);

  async login(): Promise<void> {
    const options = { verbose: false, pedantic: false, tls_required: true, lang: 'bench', version: '1', protocol: 1 };
    await this.ask(`CONNECT ${JSON.stringify(options)}\r\nSUB user.${this.name} ${OWN}\r\nPING\r\n`, /^PONG/);
  }
  send(to: string, count: number): void {
    this.write(`PUB user.${to} ${BODY.length}\r\n${BODY}\r\n`.repeat(count));
  }
  async join(room: string): Promise<void> {
    await this.ask(`SUB room.${room} ${ROOM}\r\nPING\r\n`, /^PONG/);
  }
  sendRoom(room: string, count: number): void {
    this.write(`PUB room.${room} ${BODY.length}\r\n${BODY}\r\n`.repeat(count));
  }

  /** The server says INFO in the clear; TLS begins behind it. */
  protected override async secure(port: number, options: ConnectionOptions): Promise<TLSSocket> {
    const plain = connectPlain({ host: '127.0.0.1', port });
    await new Promise((resolve) => plain.once('data', resolve));
    return secured(connect({ ...options, socket: plain }), this.name);
  }

  protected take(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (let end = bytes.indexOf('\r\n', at); end >= 0; end = bytes.indexOf('\r\n', at)) {
      const line = bytes.toString('latin1', at, end);
      const next = end + 2;
      if (line.startsWith('MSG ')) {
        const [, , subscription = '', ...others] = line.split(' ');
        const length = Number(others.at(-1));
        if (next + length + 2 > bytes.length) break;
        this.message(subscription, others.length > 1 ? others[0]! : null, () =>
          bytes.toString('latin1', next, next + length),
        );
        at = next + length + 2;
      } else {
        if (line === 'PING') this.write('PONG\r\n');
        else this.heard(line);
        at = next;
      }
    }
    this.#rest = bytes.subarray(at);
    this.onProgress();
  }
  /** @param reply where an answer goes */
  protected message(_subscription: string, _reply: string | null, _body: () => string): void {
    this.received++;
  }
}

/** Messages of users and of rooms are in two streams; who reads has a consumer, which outlives the connection if it is told to. */
class JetStreamClient extends NatsClient {
  override async register(): Promise<void> {
    await this.#open();
    for (const [stream, subjects] of [
      ['USERS', 'user.*'],
      ['ROOMS', 'room.*'],
    ] as const)
      await this.#request(`STREAM.CREATE.${stream}`, {
        name: stream,
        subjects: [subjects],
        storage: 'file',
        retention: 'limits',
      });
    await this.#consume('USERS', `user.${this.name}`, this.name);
  }
  override async login(): Promise<void> {
    await this.#open();
    await this.ask(`SUB to.USERS.${this.name} ${OWN}\r\nPING\r\n`, /^PONG/);
  }
  override send(to: string, count: number): void {
    this.write(`PUB user.${to} _INBOX.${this.name}.sent ${BODY.length}\r\n${BODY}\r\n`.repeat(count));
  }
  override async join(room: string): Promise<void> {
    await this.#consume('ROOMS', `room.${room}`, `${this.name}-${room}`);
    await this.ask(`SUB to.ROOMS.${this.name}-${room} ${ROOM}\r\nPING\r\n`, /^PONG/);
  }
  override sendRoom(room: string, count: number): void {
    this.write(`PUB room.${room} _INBOX.${this.name}.sent ${BODY.length}\r\n${BODY}\r\n`.repeat(count));
  }

  protected override message(subscription: string, reply: string | null, body: () => string): void {
    if (subscription !== INBOX) {
      this.received++;
      if (reply !== null) this.write(`PUB ${reply} 0\r\n\r\n`);
    } else if (body().startsWith('{"stream"')) this.accepted++;
    else this.heard(body());
  }

  async #open(): Promise<void> {
    const options = { verbose: false, pedantic: false, tls_required: true, lang: 'bench', version: '1', protocol: 1 };
    await this.ask(`CONNECT ${JSON.stringify(options)}\r\nSUB _INBOX.${this.name}.> ${INBOX}\r\nPING\r\n`, /^PONG/);
  }
  async #consume(stream: string, filter: string, durable: string): Promise<void> {
    const config = {
      durable_name: durable,
      deliver_subject: `to.${stream}.${durable}`,
      deliver_policy: 'new',
      ack_policy: 'explicit',
      filter_subject: filter,
      replay_policy: 'instant',
      max_ack_pending: 10_000,
    };
    await this.#request(`CONSUMER.DURABLE.CREATE.${stream}.${durable}`, { stream_name: stream, config });
  }
  async #request(subject: string, body: object): Promise<void> {
    const text = JSON.stringify(body);
    const answer = await this.ask(
      `PUB $JS.API.${subject} _INBOX.${this.name}.api ${text.length}\r\n${text}\r\n`,
      /^\{"type"/,
    );
    const { error } = JSON.parse(answer) as { error?: { description: string } };
    if (error && !error.description.includes('already in use')) throw new Error(`${subject}: ${error.description}`);
  }
}
