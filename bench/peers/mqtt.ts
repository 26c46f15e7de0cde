/** Mosquitto, by MQTT 3.1.1 (OASIS) with QoS 1: acknowledged by the broker, and by the recipient. The certificate says who somebody is. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, ServerProcess } from '../server-process.ts';
import { BODY, PeerClient, program, type Login, type Peer } from './peer.ts';

const [CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK] = [1, 2, 3, 4, 8, 9] as const;
const MAX_ID = 65_535;

export const mosquitto: Peer = {
  name: 'Mosquitto QoS 1',
  can: { rooms: true, keeps: true },
  find: () => program('mosquitto'),
  start: async (file, folder) => {
    const port = await freePort();
    const config = join(folder, 'mosquitto.conf');
    writeFileSync(
      join(folder, 'mosquitto.acl'),
      'pattern write user/+\npattern read user/%u\npattern readwrite room/#\n',
    );
    const lines = [
      'user root',
      `listener ${port} 127.0.0.1`,
      `cafile ${join(folder, 'ca.crt')}`,
      `certfile ${join(folder, 'server.crt')}`,
      `keyfile ${join(folder, 'server.key')}`,
      `acl_file ${join(folder, 'mosquitto.acl')}`,
      'require_certificate true',
      'use_identity_as_username true',
      'tls_version tlsv1.3',
      'allow_anonymous false',
      'set_tcp_nodelay true',
      'max_inflight_messages 100',
      'max_queued_messages 0',
      'persistence true',
      `persistence_location ${folder}/`,
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    return ServerProcess.serving(port, [file, '-c', config], join(folder, 'mosquitto.log'));
  },
  client: (name) => new MqttClient(name),
};

class MqttClient extends PeerClient {
  #rest: Buffer = Buffer.alloc(0);
  #id = 0;

  async login({ isKept }: Login): Promise<void> {
    const flags = Buffer.of(4, isKept ? 0 : 2, 0, 0); // version, clean session, keep alive
    await this.ask(packet(CONNECT, 0, text('MQTT'), flags, text(this.name)), /^connected/);
    await this.#subscribe(`user/${this.name}`);
  }
  send(to: string, count: number): void {
    this.#publish(`user/${to}`, count);
  }
  join(room: string): Promise<void> {
    return this.#subscribe(`room/${room}`);
  }
  sendRoom(room: string, count: number): void {
    this.#publish(`room/${room}`, count);
  }

  async #subscribe(topic: string): Promise<void> {
    await this.ask(packet(SUBSCRIBE, 2, this.#nextId(), text(topic), Buffer.of(1)), /^subscribed/);
  }
  #publish(topic: string, count: number): void {
    const [to, body] = [text(topic), Buffer.from(BODY)];
    this.write(Buffer.concat(Array.from({ length: count }, () => packet(PUBLISH, 2, to, this.#nextId(), body))));
  }
  #nextId(): Buffer {
    this.#id = (this.#id % MAX_ID) + 1;
    return Buffer.of(this.#id >> 8, this.#id & 255);
  }

  protected take(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const answers: Buffer[] = [];
    let at = 0;
    for (let end = endOf(bytes, at); end !== null; end = endOf(bytes, at)) {
      const type = bytes[at]! >> 4;
      if (type === PUBLISH) {
        this.received++;
        const topic = end.body + 2 + bytes.readUInt16BE(end.body);
        answers.push(Buffer.of(PUBACK << 4, 2, bytes[topic]!, bytes[topic + 1]!));
      } else if (type === PUBACK) this.accepted++;
      else if (type === CONNACK) this.heard(bytes[end.body + 1] === 0 ? 'connected' : 'refused');
      else if (type === SUBACK) this.heard('subscribed');
      at = end.end;
    }
    this.#rest = bytes.subarray(at);
    if (answers.length > 0) this.write(Buffer.concat(answers));
    this.onProgress();
  }
}

/** Of the packet that begins there: where its body begins and ends; null while it is not all there. §2.2.3 */
function endOf(bytes: Buffer, at: number): { body: number; end: number } | null {
  let length = 0;
  for (let i = 0; i < 4; i++) {
    const byte = bytes[at + 1 + i];
    if (byte === undefined) return null;
    length += (byte & 127) << (7 * i);
    if (byte < 128) {
      const body = at + 2 + i;
      return body + length <= bytes.length ? { body, end: body + length } : null;
    }
  }
  return null;
}

function packet(type: number, flags: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const head = [(type << 4) | flags];
  let left = body.length;
  do {
    head.push((left & 127) | (left > 127 ? 128 : 0));
    left >>= 7;
  } while (left > 0);
  return Buffer.concat([Buffer.from(head), body]);
}
function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 255), bytes]);
}
