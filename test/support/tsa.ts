/** A time-stamping authority with its own CA, made of `openssl ts`: over requests as bytes, and as a small HTTP server that can misbehave. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Test } from 'tap';

export interface Tsa {
  /** PEM file of its root, and of a list of it that is empty. */
  readonly ca: string;
  readonly crl: string;
  /** DER of the request to DER of the answer. */
  readonly answer: (request: Uint8Array) => Buffer;
}

const run = (dir: string, ...args: readonly string[]): void =>
  void execFileSync('openssl', args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });

/** @param dir an empty folder @param kind of the key of its certificate */
export function localTsa(dir: string, kind: 'rsa:2048' | 'P-256' | 'P-384' = 'P-256'): Tsa {
  const ec = (curve: string) => ['-newkey', 'ec', '-pkeyopt', `ec_paramgen_curve:${curve}`];
  const newKey = kind === 'rsa:2048' ? ['-newkey', kind] : ec(kind);
  const file = (name: string) => join(dir, name);
  writeFileSync(
    file('ext'),
    'extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\nbasicConstraints=CA:FALSE\n',
  );
  run(
    dir,
    'req',
    '-x509',
    ...ec('P-256'),
    '-nodes',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-subj',
    '/CN=Time root',
    '-days',
    '30',
  );
  run(dir, 'req', ...newKey, '-nodes', '-keyout', 'tsa.key', '-out', 'tsa.csr', '-subj', '/CN=Time');
  run(
    dir,
    ...'x509 -req -in tsa.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile ext -out tsa.crt -days 20'.split(' '),
  );
  writeFileSync(file('serial'), '01\n');
  writeFileSync(file('index'), '');
  writeFileSync(file('crlnumber'), '01\n');
  const list = `database=${file('index')}\ncrlnumber=${file('crlnumber')}\ndefault_md=sha256\ndefault_crl_days=30\n`;
  writeFileSync(file('crl.cnf'), `[ca]\ndefault_ca=here\n[here]\n${list}`);
  run(dir, ...'ca -gencrl -config crl.cnf -keyfile ca.key -cert ca.crt -out ca.crl'.split(' '));
  writeFileSync(
    file('tsa.cnf'),
    [
      '[tsa]\ndefault_tsa=here\n[here]',
      `serial=${file('serial')}\nsigner_cert=${file('tsa.crt')}\nsigner_key=${file('tsa.key')}`,
      'signer_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256',
      'accuracy=secs:1,millisecs:500\ness_cert_id_alg=sha256\n',
    ].join('\n'),
  );
  let count = 0;
  const answer = (request: Uint8Array): Buffer => {
    const name = `${++count}`;
    writeFileSync(file(`${name}.tsq`), request);
    run(dir, 'ts', '-reply', '-config', file('tsa.cnf'), '-queryfile', `${name}.tsq`, '-out', `${name}.tsr`);
    return readFileSync(file(`${name}.tsr`));
  };
  return { ca: file('ca.crt'), crl: file('ca.crl'), answer };
}

/** What is done in place of an honest answer. */
export type Misdeed = (response: ServerResponse, honest: Buffer) => void;

/** On the loopback. `behave` is asked for each request. */
export async function serveTsa(t: Test, tsa: Tsa, behave: () => Misdeed | null = () => null) {
  const requests: Buffer[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const query = Buffer.concat(chunks);
      requests.push(query);
      const isQuery = request.method === 'POST' && request.headers['content-type'] === 'application/timestamp-query';
      if (!isQuery) return void response.writeHead(400).end();
      const honest = tsa.answer(query);
      const misdeed = behave();
      if (misdeed) return misdeed(response, honest);
      response.writeHead(200, { 'content-type': 'application/timestamp-reply' }).end(honest);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as { port: number };
  return { url: `http://127.0.0.1:${port}/tsa`, requests };
}
