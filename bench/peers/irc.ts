/** InspIRCd, by the IRC client protocol (RFC 2812): nothing is acknowledged, and nothing kept. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, ServerProcess } from '../server-process.ts';
import { BODY, PeerClient, program, type Peer } from './peer.ts';

export const inspircd: Peer = {
  name: 'InspIRCd',
  can: { rooms: true, keeps: false },
  find: () => program('inspircd'),
  start: async (file, folder) => {
    const port = await freePort();
    const config = join(folder, 'inspircd.conf');
    const [ca, cert, key] = ['ca.crt', 'server.crt', 'server.key'].map((name) => join(folder, name));
    const limits =
      'softsendq="8388608" hardsendq="16777216" recvq="1048576" threshold="1000000" commandrate="100000000" fakelag="no" ' +
      'localmax="20000" globalmax="20000" limit="20000" maxchans="100" timeout="60" pingfreq="600" resolvehostnames="no" useident="no"';
    const lines = [
      '<server name="irc.localhost" description="bench" network="bench" id="1AA">',
      '<admin name="bench" nick="bench" email="bench@localhost">',
      `<bind address="127.0.0.1" port="${port}" type="clients" sslprofile="mutual">`,
      '<module name="ssl_gnutls"><module name="sslinfo">',
      `<sslprofile name="mutual" provider="gnutls" cafile="${ca}" certfile="${cert}" keyfile="${key}" requestclientcert="yes" ` +
        'hash="sha256" priority="NORMAL:-VERS-ALL:+VERS-TLS1.3">',
      `<connect allow="*" name="main" requiressl="trusted" ${limits}>`,
      // Somebody is in a class before his handshake has ended; nobody gets any further in this one.
      `<connect allow="*" name="handshake" password="${randomBytes(16).toString('hex')}" ${limits}>`,
      '<cidr ipv4clone="32" ipv6clone="128">',
      '<performance softlimit="20000" somaxconn="1024" quietbursts="yes" timeskipwarn="0" netbuffersize="65536" nouserdns="yes">',
      '<options prefixquit="" nosnoticestack="yes">',
      `<pid file="${join(folder, 'inspircd.pid')}">`,
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    const args = ['--nofork', ...(process.getuid?.() === 0 ? ['--runasroot'] : []), '--config', config];
    return ServerProcess.serving(port, [file, ...args], join(folder, 'inspircd.log'));
  },
  client: (name) => new IrcClient(name),
};

class IrcClient extends PeerClient {
  #rest = '';

  async login(): Promise<void> {
    await this.ask(`NICK ${this.name}\r\nUSER ${this.name} 0 * :bench\r\n`, / 001 /);
  }
  send(to: string, count: number): void {
    this.write(`PRIVMSG ${to} :${BODY}\r\n`.repeat(count));
  }
  async join(room: string): Promise<void> {
    await this.ask(`JOIN #${room}\r\n`, / 366 /);
  }
  sendRoom(room: string, count: number): void {
    this.send(`#${room}`, count);
  }

  protected take(chunk: Buffer): void {
    const lines = (this.#rest + chunk.toString('latin1')).split('\r\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines)
      if (line.includes(' PRIVMSG ')) this.received++;
      else if (line.startsWith('PING')) this.write(`PONG${line.slice(4)}\r\n`);
      else this.heard(line);
    this.onProgress();
  }
}
