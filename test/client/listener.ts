/** The scripted server behind real sockets: TLS, certificates and inner handshake of runtime/, and accounts with real password proofs. */
import { randomBytes } from 'node:crypto';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import type { Test } from 'tap';
import { equal } from '../../base/bytes.ts';
import { loginBinding } from '../../protocol/key-schedule.ts';
import type { Request } from '../../protocol/messages.ts';
import { authMessage, checkProof, serverSignature } from '../../protocol/scram.ts';
import { openServerLink, type ServerLink } from '../../runtime/link.ts';
import { authoritiesOf, serverContext, serverTlsOptions } from '../../runtime/tls.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { validatePath } from '../../x509/path.ts';
import { ScriptedServer } from './scripted-server.ts';

export class Listener extends ScriptedServer {
  readonly #accounts = new Map<string, Request<'register'>>();
  readonly #logins = new Map<ServerLink, { frame: Request<'login'>; nonce: Buffer }>();
  readonly #online = new Map<string, ServerLink>();
  #server: Server | null = null;
  /** for each link, whose certificate it has */
  readonly names = new Map<ServerLink, string>();

  async listen(t: Test): Promise<string> {
    const certificate = parseCertificate(this.server.der);
    const own = { chain: [certificate] as const, certPem: this.server.pem, privateKey: this.server.key };
    const authorities = authoritiesOf([parseCertificate(this.ca.der)]);
    const context = serverContext(own, authorities);
    const server = createServer((socket) => {
      const tls = new TLSSocket(socket, serverTlsOptions(context));
      openServerLink(tls, {
        own,
        admit: ([leaf, ...intermediates]) =>
          validatePath({
            leaf,
            intermediates,
            roots: authorities.roots,
            crls: [],
            at: Date.now(),
            purpose: 'clientAuth',
            revocation: 'live',
          }),
      }).then(
        (link) => this.#serve(link),
        () => {}, // a client that was refused, or that refused
      );
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => this.stop());
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const link of this.links) link.close('SHUTTING_DOWN');
    await Promise.all(this.links.map((link) => link.closed));
    this.#server?.close();
  }

  /** A folder with the files of one person. */
  files(t: Test, name: string): Record<string, string> {
    const folder = join(t.testdirName, `files-${name}`);
    mkdirSync(folder, { recursive: true });
    const put = (file: string, text: string): string => {
      const path = join(folder, file);
      writeFileSync(path, text, { mode: 0o600 });
      return path;
    };
    const { issued } = this.get(name);
    return {
      CHAT_CA_FILE: put('ca.crt', this.ca.pem),
      CHAT_CERT_FILE: put('cert.crt', issued.pem),
      CHAT_KEY_FILE: put('key.pem', issued.keyPem),
    };
  }

  #serve(link: ServerLink): void {
    const name = [...this.people.values()].find((p) => equal(p.fingerprint, link.peerChain[0].fingerprint))!.name;
    this.links.push(link);
    this.names.set(link, name);
    link.onFrame((frame) => {
      this.received.push(frame);
      if (!this.script(frame, link)) this.answer(frame, link, name);
    });
    void link.closed.then(() => {
      this.#logins.delete(link);
      if (this.#online.get(name) === link) this.#online.delete(name);
    });
  }

  override answer(frame: Request, link: ServerLink, name: string): void {
    switch (frame.type) {
      case 'register':
        if (this.#accounts.has(frame.username))
          return link.send({
            type: 'error',
            id: frame.id,
            code: 'USER_EXISTS',
            sub: 'this_device',
            field: 'register.username',
          });
        this.#accounts.set(frame.username, frame);
        return link.send({ type: 'ok', id: frame.id });
      case 'login': {
        const account = this.#accounts.get(name);
        const nonce = randomBytes(24);
        this.#logins.set(link, { frame, nonce });
        const { salt, kdf } = account ?? { salt: Buffer.alloc(16, 7), kdf: 'argon2id$m=19456,t=2,p=1' };
        return link.send({ type: 'login_challenge', id: frame.id, nonce, salt, kdf });
      }
      case 'login_proof': {
        const account = this.#accounts.get(name);
        const login = this.#logins.get(link)!;
        const message = authMessage({
          username: name,
          clientNonce: login.frame.nonce,
          serverNonce: login.nonce,
          salt: account?.salt ?? Buffer.alloc(16),
          kdf: account?.kdf ?? '',
          channelBinding: loginBinding(link.exporter),
        });
        if (account === undefined || !checkProof(account.stored_key, message, frame.proof))
          return link.send({ type: 'error', id: frame.id, code: 'AUTH_FAIL' });
        const server_signature = serverSignature(account.server_key, message);
        this.#online.set(name, link);
        return link.send({ ...this.loginOk(frame.id, name), server_signature });
      }
      case 'resume':
        this.#online.set(name, link);
        return super.answer(frame, link, name);
      case 'conversation_open':
        if (!this.people.has(frame.peer) || frame.peer === name)
          return link.send({ type: 'error', id: frame.id, code: 'NO_SUCH_PEER', field: 'conversation_open.peer' });
        return super.answer(frame, link, name);
      case 'presence_watch': {
        const { username } = frame;
        return link.send({ type: 'presence', id: frame.id, username, online: this.#online.has(username) });
      }
      default:
        return super.answer(frame, link, name);
    }
  }
}
