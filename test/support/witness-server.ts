/**
 * A witness by the words of C2SP tlog-witness: an HTTP server on the loopback that checks consistency itself and can misbehave. Nothing of
 * transcript/ is used.
 */
import { createHash, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { Test } from 'tap';
import { cosignatureLine, witnessVkey, type Cosigner } from './token-writer.ts';

/** What a witness keeps of a log. */
interface Seen {
  readonly size: number;
  readonly root: string;
}
/** In place of an honest answer; what it has checked is kept all the same. */
export type Lie = (response: ServerResponse, line: string) => void;

const node = (left: Buffer, right: Buffer): Buffer =>
  createHash('sha256')
    .update(Buffer.concat([Buffer.of(1), left, right]))
    .digest();

/** RFC 9162 §2.1.4.2, step by step. */
function continues(
  first: number,
  second: number,
  firstRoot: Buffer,
  secondRoot: Buffer,
  given: readonly Buffer[],
): boolean {
  if (first === second) return given.length === 0 && firstRoot.equals(secondRoot);
  if (first === 0) return given.length === 0;
  const path = (first & (first - 1)) === 0 ? [firstRoot, ...given] : [...given];
  const [seed, ...rest] = path;
  if (seed === undefined || given.length === 0) return false;
  let [fn, sn] = [first - 1, second - 1];
  while (fn & 1) [fn, sn] = [fn >> 1, sn >> 1];
  let [fr, sr] = [seed, seed];
  for (const c of rest) {
    if (sn === 0) return false;
    if (fn & 1 || fn === sn) {
      [fr, sr] = [node(c, fr), node(c, sr)];
      while (!(fn & 1) && fn !== 0) [fn, sn] = [fn >> 1, sn >> 1];
    } else sr = node(sr, c);
    [fn, sn] = [fn >> 1, sn >> 1];
  }
  return sn === 0 && fr.equals(firstRoot) && sr.equals(secondRoot);
}

export class WitnessServer {
  readonly self: Cosigner;
  /** Of each request: the size that the log believed this witness to have, and the status that it got. */
  readonly asked: { readonly old: number; readonly size: number; readonly status: number }[] = [];
  seen: Seen = { size: 0, root: '' };
  lie: Lie | null = null;
  /** Of a checkpoint of the size that it has, and of another root, it says no more than that. */
  isBrief = false;
  /** Vkeys of the logs that it knows; null: whichever comes. */
  logs: readonly string[] | null = null;
  url = '';

  constructor(name = 'witness.example/w1') {
    const { publicKey, privateKey: key } = generateKeyPairSync('ed25519');
    this.self = { name, key, publicKey };
  }

  get vkey(): string {
    return witnessVkey(this.self);
  }
  /** As it stands in the settings. */
  get setting(): string {
    return `${this.vkey} ${this.url}`;
  }

  async serve(t: Test): Promise<this> {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        if (request.method !== 'POST' || request.url !== '/prefix/add-checkpoint')
          return void response.writeHead(404).end();
        this.#answer(Buffer.concat(chunks).toString('utf8'), response);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      server.closeAllConnections();
      server.close();
    });
    this.url = `http://127.0.0.1:${(server.address() as { port: number }).port}/prefix`;
    return this;
  }

  #answer(body: string, response: ServerResponse): void {
    const at = body.indexOf('\n\n');
    const [oldLine = '', ...proofLines] = body.slice(0, at).split('\n');
    const note = body.slice(at + 2);
    const old = Number(/^old (0|[1-9]\d*)$/.exec(oldLine)?.[1] ?? NaN);
    const [origin = '', sizeText = '', rootText = ''] = note.split('\n');
    const size = Number(sizeText);
    const end = (status: number, text = '', type = 'text/plain'): void => {
      this.asked.push({ old, size, status });
      response.writeHead(status, { 'content-type': type }).end(text);
    };
    if (at < 0 || Number.isNaN(old) || old > size || proofLines.length > 63) return end(400);
    if (this.logs !== null && !this.logs.some((vkey) => vkey.startsWith(`${origin}+`))) return end(404);
    if (this.logs !== null && !this.logs.some((vkey) => isSigned(note, vkey))) return end(403);
    if (old !== this.seen.size) return end(409, `${this.seen.size}\n`, 'text/x.tlog.size');
    const proof = proofLines.map((line) => Buffer.from(line, 'base64'));
    const [before, root] = [Buffer.from(this.seen.root, 'base64'), Buffer.from(rootText, 'base64')];
    const isOther = old === size && proof.length === 0 && size > 0 && !before.equals(root);
    if (isOther) return end(409, ...(this.isBrief ? [] : ([`${size}\n`, 'text/x.tlog.size'] as const)));
    if (!continues(old, size, before, root, proof)) return end(422);
    this.seen = { size, root: rootText };
    const line = cosignatureLine(Buffer.from(note), this.self, Math.floor(Date.now() / 1000));
    if (this.lie === null) return end(200, line);
    this.asked.push({ old, size, status: 200 });
    this.lie(response, line);
  }
}

/** The line of the log's own key, for it must sign what it shows. */
function isSigned(note: string, vkey: string): boolean {
  const [name = '', id = ''] = vkey.split('+', 2);
  const key = Buffer.from(vkey.slice(name.length + id.length + 2), 'base64').subarray(1);
  const text = note.slice(0, note.lastIndexOf('\n\n') + 1);
  const line = note.split('\n').find((each) => each.startsWith(`— ${name} `)) ?? '';
  const bytes = Buffer.from(line.slice(`— ${name} `.length), 'base64');
  const publicKey = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: key.toString('base64url') },
    format: 'jwk',
  });
  return bytes.subarray(0, 4).toString('hex') === id && verify(null, Buffer.from(text), publicKey, bytes.subarray(4));
}
