/**
 * ejabberd and Prosody, by XMPP (RFC 6120, 6121) over direct TLS, with SASL PLAIN inside it, which costs them least. What they have accepted
 * they acknowledge by stream management (XEP-0198), asked for once behind the messages of one write. Rooms are XEP-0045, accounts XEP-0077.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { freePort, ServerProcess } from '../server-process.ts';
import { BODY, PeerClient, program, type Peer } from './peer.ts';

/** Of every account on servers that live for minutes. */
const PASSWORD = 'bench';
const LIBRARIES = '/usr/lib';

export const ejabberd: Peer = {
  name: 'ejabberd',
  can: { rooms: true, keeps: true },
  find: () => (program('ejabberdctl') ? program('erl') : null),
  start: async (file, folder) => {
    const [port, distribution] = [await freePort(), await freePort()];
    const pem = join(folder, 'ejabberd.pem');
    writeFileSync(pem, ['server.crt', 'server.key'].map((name) => readFileSync(join(folder, name), 'utf8')).join(''));
    const config = join(folder, 'ejabberd.yml');
    const ca = join(folder, 'ca.crt');
    const lines = [
      'loglevel: warning',
      'hosts: [localhost]',
      `certfiles: ["${pem}"]`,
      `ca_file: "${ca}"`,
      `c2s_cafile: "${ca}"`,
      'auth_method: mnesia',
      'auth_password_format: plain',
      'registration_timeout: infinity',
      'listen:',
      `  - {port: ${port}, ip: "127.0.0.1", module: ejabberd_c2s, tls: true, tls_verify: true, max_stanza_size: 262144, backlog: 2048,`,
      '     protocol_options: [no_sslv3, no_tlsv1, no_tlsv1_1, no_tlsv1_2]}',
      'acl: {local: {user_regexp: ""}}',
      'access_rules: {everybody: {allow: all}}',
      'shaper_rules: {max_user_sessions: 10, max_user_offline_messages: 100000}',
      'modules:',
      '  mod_disco: {}',
      '  mod_muc: {access: everybody, access_create: everybody, default_room_options: {max_users: 1000}, max_users: 1000}',
      '  mod_offline: {access_max_user_messages: max_user_offline_messages}',
      '  mod_register: {access: everybody, ip_access: all}',
      '  mod_roster: {}',
      '  mod_stream_mgmt: {max_ack_queue: 100000}',
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    const args = ['+K', 'true', '+P', '250000', '+Q', '32000', '-name', 'bench@127.0.0.1', '-setcookie', 'bench'];
    args.push('-kernel', 'inet_dist_use_interface', '{127,0,0,1}', '-start_epmd', 'false');
    args.push('-mnesia', 'dir', `"${join(folder, 'mnesia')}"`, '-s', 'ejabberd', '-noinput');
    return ServerProcess.serving(port, [file, ...args], join(folder, 'ejabberd.out'), {
      EJABBERD_CONFIG_PATH: config,
      EJABBERD_LOG_PATH: join(folder, 'ejabberd.log'),
      ERL_LIBS: librariesWith('ejabberd-'),
      ERL_DIST_PORT: String(distribution),
      HOME: folder,
    });
  },
  client: (name) => new XmppClient(name),
};

export const prosody: Peer = {
  name: 'Prosody',
  can: { rooms: true, keeps: true },
  find: () => program('prosody'),
  start: async (file, folder) => {
    const port = await freePort();
    const config = join(folder, 'prosody.cfg.lua');
    const [ca, cert, key] = ['ca.crt', 'server.crt', 'server.key'].map((name) => join(folder, name));
    const tls = `{ protocol = "tlsv1_3"; key = "${key}"; certificate = "${cert}"; cafile = "${ca}"; verify = { "peer", "fail_if_no_peer_cert" } }`;
    const lines = [
      ...(process.getuid?.() === 0 ? ['run_as_root = true'] : []),
      `pidfile = "${join(folder, 'prosody.pid')}"`,
      `data_path = "${folder}"`,
      'interfaces = { "127.0.0.1" }',
      'c2s_ports = { }',
      's2s_ports = { }',
      'http_ports = { }',
      'https_ports = { }',
      `c2s_direct_tls_ports = { ${port} }`,
      'modules_enabled = { "disco", "register_ibr", "roster", "saslauth", "smacks", "tls" }',
      'modules_disabled = { "s2s" }',
      'allow_registration = true',
      'authentication = "internal_plain"',
      'storage = "internal"',
      'network_settings = { tcp_backlog = 2048 }',
      `ssl = ${tls}`,
      `c2s_direct_tls_ssl = ${tls}`,
      `log = { warn = "${join(folder, 'prosody.log')}" }`,
      'VirtualHost "localhost"',
      `  ssl = ${tls}`,
      'Component "conference.localhost" "muc"',
      '  muc_room_locking = false',
      '  max_history_messages = 0',
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    return ServerProcess.serving(port, [file, '-F', '--config', config], join(folder, 'prosody.out'));
  },
  client: (name) => new XmppClient(name),
};

/** What is of interest in what a server says: whole elements without content, ends of stanzas, and words that are waited for. */
const WORDS =
  /<\/message>|<\/presence>|<\/iq>|<(?:iq|presence)[^>]*\/>|<a [^>]*h=['"](\d+)['"][^>]*>|<r [^>]*>|<\/stream:features>|<(?:success|failure|enabled)[^>]*>|<status code=['"]110['"]\/?>/g;

class XmppClient extends PeerClient {
  #rest = '';
  /** stanzas that were taken, and that were sent, since stream management is on */
  #taken = 0;
  #other = 0;
  #isManaged = false;

  override async register(): Promise<void> {
    await this.#stream();
    const query = `<query xmlns='jabber:iq:register'><username>${this.name}</username><password>${PASSWORD}</password></query>`;
    await this.ask(`<iq type='set' id='register'>${query}</iq>`, /iq/);
  }
  async login(): Promise<void> {
    await this.#stream();
    const plain = Buffer.from(`\0${this.name}\0${PASSWORD}`).toString('base64');
    const answer = await this.ask(
      `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${plain}</auth>`,
      /success|failure/,
    );
    if (!answer.startsWith('<success')) throw new Error(`${this.name}: ${answer}`);
    await this.#stream();
    const bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind>";
    await this.ask(`<iq type='set' id='bind'>${bind}</iq>`, /iq/);
    await this.ask("<enable xmlns='urn:xmpp:sm:3'/>", /enabled/);
    this.#isManaged = true;
    this.#other++;
    this.write('<presence/>');
  }
  send(to: string, count: number): void {
    this.#send(`to='${to}@localhost' type='chat'`, count);
  }
  async join(room: string): Promise<void> {
    this.#other++;
    const muc = "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x>";
    await this.ask(`<presence to='${room}@conference.localhost/${this.name}'>${muc}</presence>`, /110/);
  }
  sendRoom(room: string, count: number): void {
    this.#send(`to='${room}@conference.localhost' type='groupchat'`, count);
  }

  protected override secure(port: number, options: ConnectionOptions): Promise<TLSSocket> {
    return super.secure(port, { ...options, ALPNProtocols: ['xmpp-client'] });
  }
  async #stream(): Promise<void> {
    const names = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
    await this.ask(`<?xml version='1.0'?><stream:stream to='localhost' ${names} version='1.0'>`, /features/);
  }
  #send(attributes: string, count: number): void {
    const messages = `<message ${attributes}><body>${BODY}</body></message>`.repeat(count);
    this.write(`${messages}<r xmlns='urn:xmpp:sm:3'/>`);
  }

  protected take(chunk: Buffer): void {
    const text = this.#rest + chunk.toString('latin1');
    const end = text.lastIndexOf('>') + 1;
    this.#rest = text.slice(end);
    for (const [word, acknowledged] of text.slice(0, end).matchAll(WORDS)) {
      if (this.#isManaged && /^<\/?(?:message|presence|iq)/.test(word)) this.#taken++;
      if (word === '</message>') this.received++;
      else if (acknowledged !== undefined) this.accepted = Math.max(0, Number(acknowledged) - this.#other);
      else if (word.startsWith('<r ')) this.write(`<a xmlns='urn:xmpp:sm:3' h='${this.#taken}'/>`);
      else this.heard(word);
    }
    this.onProgress();
  }
}

/** Folders of Erlang libraries, of which one has the name. */
function librariesWith(prefix: string): string {
  const folders = readdirSync(LIBRARIES, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const found = folders.map(({ name }) => join(LIBRARIES, name));
  return found.filter((folder) => readdirSync(folder).some((name) => name.startsWith(prefix))).join(':');
}
