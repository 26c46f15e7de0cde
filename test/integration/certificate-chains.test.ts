/** The client chains of CHAT_VECTORS, presented with their keys over real TLS to a listener with the gate of the daemon. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import { ChatError } from '../../base/errors.ts';
import { clientTlsOptions } from '../../runtime/tls.ts';
import { Revocation } from '../../server/revocation.ts';
import { ca, credentials, memoryLog, serverCertificate, startServer, trusting } from '../support/pair.ts';
import type { Issued } from '../support/pki.ts';
import { root } from '../support/system.ts';

t.setTimeout(240_000); // a busy machine is no failure

interface LiveCase {
  readonly id: string;
  readonly cls: string;
  readonly at: string | null;
  readonly ca: readonly string[];
  readonly chain: readonly string[];
  readonly crls: readonly string[];
  readonly key?: string | null;
}
/** Cases without a time are valid then. */
const AT = '2026-12-01T00:00:00Z';
/** About settings of a verifier that a server does not have. */
const NOT_HERE = /^(rfc5280::eku::ee-without-eku|pathlen::max-chain-depth-.*)$/;
const file = resolve(root, process.env['CHAT_VECTORS'] ?? '../shared/vectors', 'x509/chain-cases.json');
const isRequired = (process.env['CHAT_REQUIRE'] ?? '').split(',').includes('vectors');

t.test(
  'the chains of x509-limbo and BetterTLS, presented to a listener with the gate of the daemon',
  {
    skip: !existsSync(file) && !isRequired && 'no x509/chain-cases.json in CHAT_VECTORS',
  },
  async (t) => {
    const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { cases: readonly LiveCase[] };
    const dir = mkdtempSync(join(tmpdir(), 'chat-chains-'));
    t.teardown(() => rmSync(dir, { recursive: true, force: true }));
    let verdict: { readonly sub: string | null } | null = null;
    let gate: Revocation | null = null;
    let judged = (): void => {};
    const server = await startServer(t, {
      admit: (presented) => {
        try {
          const chain = gate!.admit(presented);
          verdict = { sub: null };
          return chain;
        } catch (error) {
          verdict = { sub: ChatError.from(error).sub ?? 'none' };
          throw error;
        } finally {
          judged();
        }
      },
    });
    const { log } = memoryLog();
    const own = credentials(serverCertificate);
    const counts = { refused: 0, accepted: 0, lost: 0, unpresentable: 0 };
    for (const c of cases.filter(
      ({ cls, key, id }) => /^must-(reject|accept)$/.test(cls) && key && !NOT_HERE.test(id),
    )) {
      verdict = null;
      let authorities;
      try {
        authorities = trusting(...c.ca.map((pem) => ({ pem }) as Issued));
        server.listener.renew(own, authorities);
      } catch (error) {
        // A root that cannot be read is none: the daemon does not start with it.
        t.equal(c.cls, 'must-reject', `${c.id}: ${ChatError.from(error).message}`);
        counts.unpresentable++;
        continue;
      }
      const crlFiles = c.crls.map((crl, i) => {
        const path = join(dir, `${i}.crl`);
        writeFileSync(path, crl);
        return path;
      });
      const now = Date.parse(c.at ?? AT);
      gate = new Revocation({ authorities, crlFiles, crlGraceMs: 0, now: () => now, log });
      try {
        const tls = clientTlsOptions(own, trusting(ca), '127.0.0.1', server.port);
        const socket = connect({ ...tls, cert: c.chain.join(''), key: c.key! });
        socket.on('error', () => {});
        await new Promise<void>((resolve) => {
          judged = resolve;
          socket.resume().once('close', () => resolve());
        });
        socket.destroy();
      } catch {
        // OpenSSL does not even load it
      }
      gate.close();
      const { sub } = (verdict as { sub: string | null } | null) ?? { sub: 'not presented' };
      if (sub === 'not presented') counts.unpresentable++;
      // The path is judged before the name, and hardly any of these has a name of ours.
      const isPathGood = sub === null || sub === 'no_san' || sub === 'bad_name';
      if (c.cls === 'must-accept') counts[isPathGood ? 'accepted' : 'lost']++;
      else if (isPathGood) t.fail(`${c.id} must be rejected: ${sub}`);
      else counts.refused++;
    }
    t.equal(server.links.length, 0);
    t.match(counts, { refused: 100, accepted: 52, lost: 0 }); // 11 roots cannot be read
  },
);
