/**
 * One handshake with fixed keys, and every value in it, computed from the rules of docs/PROTOCOL.md §2 with node:crypto alone: nothing
 * of protocol/ but the records themselves goes in. Written out once (`node test/protocol/handshake-vector.ts > …/handshake.json`).
 *
 * Client and server certificate keys are Ed25519 (its signatures are deterministic). ML-KEM's encapsulation draws randomness that
 * Node does not let us choose, so ciphertext and shared secret are inputs.
 */
import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  encapsulate,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import { concat, hex } from '../../base/bytes.ts';
import { Secret } from '../../base/secret.ts';
import { startClient, startServer, step, type Endpoint, type Event } from '../../protocol/handshake.ts';
import {
  ffdhe3072,
  ffdhe3072PrivateKey,
  offerOf,
  publicShare,
  SUITE_SHARES,
  x25519,
  type Answer,
  type Offer,
  type PrivateKeys,
  type Share,
  type Shares,
  type Suite,
} from '../../protocol/key-exchange.ts';
import { openRecord } from '../../protocol/channel.ts';

export interface Inputs {
  readonly suite: Suite;
  /** Ed25519 seeds of the certificate keys */
  readonly clientKey: string;
  readonly serverKey: string;
  /** tls-exporter value and certificate hashes */
  readonly binding: string;
  readonly clientRandom: string;
  readonly serverRandom: string;
  /** X25519 private key, ML-KEM-768 seed d || z, ffdhe3072 exponent */
  readonly client: { readonly [S in Share]?: string };
  /** the same; ML-KEM: ciphertext and the secret it carries */
  readonly server: {
    readonly x25519?: string;
    readonly ffdhe3072?: string;
    readonly mlkem768?: readonly [string, string];
  };
  /** plaintexts of the first application records */
  readonly upPlaintext: string;
  readonly downPlaintext: string;
}
export type Outputs = { readonly [name: string]: string };

const bytes = (text: string | undefined): Buffer => Buffer.from(text ?? '', 'hex');

export const privateKey = (type: 'ed25519' | 'x25519' | 'ml-kem-768', secret: string): KeyObject =>
  createPrivateKey({
    key: bytes(secret),
    format: type === 'ml-kem-768' ? 'raw-seed' : 'raw-private',
    asymmetricKeyType: type,
  });

export function offerFrom({ suite, client, clientRandom }: Inputs): Offer {
  const keys: { [S in Share]?: KeyObject } = {};
  if (client.x25519) keys.x25519 = privateKey('x25519', client.x25519);
  if (client.mlkem768) keys.mlkem768 = privateKey('ml-kem-768', client.mlkem768);
  if (client.ffdhe3072) keys.ffdhe3072 = ffdhe3072PrivateKey(bytes(client.ffdhe3072));
  return offerOf([suite], bytes(clientRandom), keys satisfies PrivateKeys);
}

export function answerFrom({ suite, server, serverRandom }: Inputs, client: Shares): Answer {
  const random = bytes(serverRandom);
  if (suite === 3) {
    const own = ffdhe3072PrivateKey(bytes(server.ffdhe3072));
    return { random, shares: { ffdhe3072: publicShare('ffdhe3072', own) }, ikm: ffdhe3072(own, client.ffdhe3072) };
  }
  const own = privateKey('x25519', server.x25519 ?? '');
  const x25519Share = publicShare('x25519', own);
  const classical = x25519(own, client.x25519);
  if (suite === 2) return { random, shares: { x25519: x25519Share }, ikm: classical };
  const [ciphertext, shared] = server.mlkem768 ?? ['', ''];
  const ikm = new Secret(classical.use((secret) => concat(bytes(shared), secret)));
  return { random, shares: { x25519: x25519Share, mlkem768: bytes(ciphertext) }, ikm };
}

export function ends(inputs: Inputs): { client: Endpoint; server: Endpoint } {
  const [client, server] = [privateKey('ed25519', inputs.clientKey), privateKey('ed25519', inputs.serverKey)];
  const common = { binding: bytes(inputs.binding), deadlineMs: 1 };
  return {
    client: { ...common, privateKey: client, peerPublicKey: createPublicKey(server) },
    server: { ...common, privateKey: server, peerPublicKey: createPublicKey(client) },
  };
}

/** What the machines put on the wire and keep. */
export function played(inputs: Inputs): Outputs {
  const { client, server } = ends(inputs);
  const sent: Buffer[] = [];
  let ikm = '';
  const opening = startClient(client, offerFrom(inputs));
  let [clientState, effects] = opening;
  let serverState: ReturnType<typeof startServer> = startServer(server, [inputs.suite], (_suite, shares) => {
    const answer = answerFrom(inputs, shares);
    ikm = answer.ikm.use(hex);
    return answer;
  });
  const take = (record: Buffer): Event => {
    sent.push(record);
    return { on: 'record', payload: record.subarray(4) };
  };
  const record = (index: number) => {
    const effect = effects[index];
    if (effect?.do !== 'send') throw new Error(`no record ${index}: ${JSON.stringify(effects)}`);
    return effect.record;
  };
  const session = (index: number) => {
    const effect = effects[index];
    if (effect?.do !== 'open') throw new Error(`not open: ${JSON.stringify(effects)}`);
    return effect.session;
  };
  [serverState, effects] = step(serverState, take(record(0)));
  const [helloRecord, authRecord] = [record(0), record(1)];
  [clientState] = step(clientState, take(helloRecord));
  if (clientState.at !== 'awaitServerAuth' || serverState.at !== 'awaitClientAuth') throw new Error('no keys');
  const { server: serverKeys, client: clientKeys } = clientState;
  const serverAuth = openRecord(serverKeys, 0, authRecord.subarray(4));
  [clientState, effects] = step(clientState, take(authRecord));
  const clientSession = session(1);
  const clientAuthRecord = record(0);
  const clientAuth = openRecord(clientKeys, 0, clientAuthRecord.subarray(4));
  [serverState, effects] = step(serverState, take(clientAuthRecord));
  const serverSession = session(0);
  return {
    clientHelloRecord: hex(sent[0]!),
    serverHelloRecord: hex(helloRecord),
    ikm,
    serverAuth: hex(serverAuth),
    serverAuthRecord: hex(authRecord),
    clientAuth: hex(clientAuth),
    clientAuthRecord: hex(clientAuthRecord),
    exporter: clientSession.exporter.use(hex),
    confirmation: hex(serverSession.confirmation),
    upRecord: hex(clientSession.sealer.seal([bytes(inputs.upPlaintext)], 0)),
    downRecord: hex(serverSession.sealer.seal([bytes(inputs.downPlaintext)], 0)),
  };
}

/** Every secret between them, by the text of the document: from the records and the agreed secret. */
export function scheduled(inputs: Inputs, wire: Outputs): Outputs {
  const sha256 = (...parts: readonly Uint8Array[]) =>
    createHash('sha256')
      .update(concat(...parts))
      .digest();
  const hmac = (key: Uint8Array, ...parts: readonly Uint8Array[]) =>
    createHmac('sha256', key)
      .update(concat(...parts))
      .digest();
  // HKDF-Expand of RFC 5869 §2.3 for at most 32 bytes: one block.
  const expand = (prk: Uint8Array, label: string, length = 32) =>
    hmac(prk, Buffer.from(label), Buffer.from([1])).subarray(0, length);
  const out: { [name: string]: string } = {};
  const keep = (name: string, value: Buffer) => ((out[name] = hex(value)), value);
  const of = (name: string) => bytes(wire[name]);

  const th1 = keep('th1', sha256(Buffer.from('chat/v1 transcript'), of('clientHelloRecord'), of('serverHelloRecord')));
  const prk = keep('handshakePrk', hmac(th1, of('ikm')));
  const direction = (name: string, label: string, from: Buffer) => {
    const secret = keep(`${name}Secret`, expand(from, label));
    keep(`${name}Key`, expand(secret, 'chat/v1 key'));
    keep(`${name}Iv`, expand(secret, 'chat/v1 iv', 12));
    return secret;
  };
  const clientHandshake = direction('clientHandshake', 'chat/v1 client handshake traffic', prk);
  const serverHandshake = direction('serverHandshake', 'chat/v1 server handshake traffic', prk);
  keep('serverFinishedKey', expand(serverHandshake, 'chat/v1 finished'));
  keep('clientFinishedKey', expand(clientHandshake, 'chat/v1 finished'));
  const th2 = keep('th2', sha256(th1, of('serverAuth')));
  const th3 = keep('th3', sha256(th2, of('clientAuth')));
  const master = keep('applicationPrk', hmac(th3, keep('derived', expand(prk, 'chat/v1 derived'))));
  const clientApplication = direction('clientApplication', 'chat/v1 client application traffic', master);
  direction('serverApplication', 'chat/v1 server application traffic', master);
  keep('exporter', expand(master, 'chat/v1 exporter'));
  keep('confirmation', expand(master, 'chat/v1 confirmation', 8));
  keep('loginBinding', expand(bytes(out['exporter']), 'chat/v1 login binding'));
  keep('clientApplicationSecretAfterRekey', expand(clientApplication, 'chat/v1 rekey'));
  if (hex(Buffer.from(hkdfSync('sha256', of('ikm'), th1, 'chat/v1 derived', 32))) !== out['derived'])
    throw new Error('two ways to HKDF disagree');
  keep('bindingHash', sha256(bytes(inputs.binding)));
  return out;
}

/** Fixed bytes that look like none of the others. */
const pattern = (first: number, count: number): string =>
  hex(Buffer.from(Array.from({ length: count }, (_, i) => (first + i * 7) & 0xff)));

function inputsOf(suite: Suite): Inputs {
  const needs = new Set(SUITE_SHARES[suite]);
  const client: { [S in Share]?: string } = {};
  const server: { x25519?: string; ffdhe3072?: string; mlkem768?: readonly [string, string] } = {};
  if (needs.has('x25519')) [client.x25519, server.x25519] = [pattern(0x11, 32), pattern(0x22, 32)];
  if (needs.has('ffdhe3072')) [client.ffdhe3072, server.ffdhe3072] = [pattern(0x33, 34), pattern(0x44, 34)];
  if (needs.has('mlkem768')) {
    client.mlkem768 = pattern(0x55, 64);
    const { ciphertext, sharedKey } = encapsulate(createPublicKey(privateKey('ml-kem-768', client.mlkem768)));
    server.mlkem768 = [hex(ciphertext), hex(sharedKey)];
  }
  return {
    suite,
    clientKey: pattern(0x66, 32),
    serverKey: pattern(0x77, 32),
    binding: pattern(0x88, 96),
    clientRandom: pattern(0x99, 32),
    serverRandom: pattern(0xaa, 32),
    client,
    server,
    upPlaintext: 'a262696401647479706564' + hex(Buffer.from('ping')),
    downPlaintext: 'a362696401647479706564' + hex(Buffer.from('pong')) + '6b7365727665725f74696d651b0000019b76da5c00',
  };
}

if (import.meta.main) {
  const handshakes = ([1, 2, 3] as const).map((suite) => {
    const inputs = inputsOf(suite);
    const wire = played(inputs);
    return { inputs, wire, schedule: scheduled(inputs, wire) };
  });
  console.log(JSON.stringify({ handshakes }, null, 2));
}
