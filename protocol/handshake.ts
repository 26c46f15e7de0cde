/**
 * The handshake inside TLS, both roles (docs/PROTOCOL.md §2): SIGMA-I with the certificate keys, from hello to an open channel.
 * Pure: state, event and effect are data, and `step` never throws. Ephemeral keys come from key-exchange.ts, time comes with `tick`.
 * Whatever is not named here ends the handshake once, with a code.
 */
import type { KeyObject } from 'node:crypto';
import { equal } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';
import { ChatError, type Code } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { CONTEXT, sign, verify, type Context } from '../base/signature.ts';
import { Opener, openRecord, Sealer, sealRecord } from './channel.ts';
import { decodeHello, encodeError, encodeHello, REPORTED, VERSION, type Hello } from './hello.ts';
import { agree, type Offer, type Respond, type Suite } from './key-exchange.ts';
import {
  applicationSecrets,
  finished,
  handshakeSecrets,
  helloHash,
  nextHash,
  recordKeys,
  type HandshakeSecrets,
  type RecordKeys,
} from './key-schedule.ts';
import { encodeRecord } from './record.ts';

/** What one side knows before the first record. */
export interface Endpoint {
  /** Of our certificate. */
  readonly privateKey: KeyObject;
  /** Of the certificate that the peer showed in TLS. */
  readonly peerPublicKey: KeyObject;
  /** 96 bytes: tls-exporter value (RFC 9266 §2) || SHA-256(server certificate) || SHA-256(client certificate). */
  readonly binding: Uint8Array;
  /** On the clock of `tick`. */
  readonly deadlineMs: number;
}

/** What an open handshake leaves. `sealer` and `opener` take over the stream from the next record on. */
export interface Session {
  readonly role: 'client' | 'server';
  readonly suite: Suite;
  readonly sealer: Sealer;
  readonly opener: Opener;
  /** For loginBinding() and whatever else is bound to this session. */
  readonly exporter: Secret;
  /** 8 bytes, the same on both sides, for people to compare. */
  readonly confirmation: Buffer;
}

interface Keyed {
  readonly endpoint: Endpoint;
  readonly suite: Suite;
  readonly th1: Buffer;
  readonly secrets: HandshakeSecrets;
  readonly client: RecordKeys;
  readonly server: RecordKeys;
}
export type State =
  | { readonly at: 'awaitServerHello'; readonly endpoint: Endpoint; readonly offer: Offer; readonly hello: Buffer }
  | ({ readonly at: 'awaitServerAuth' } & Keyed)
  | {
      readonly at: 'awaitClientHello';
      readonly endpoint: Endpoint;
      readonly suites: readonly Suite[];
      readonly respond: Respond;
    }
  | ({ readonly at: 'awaitClientAuth'; readonly th2: Buffer } & Keyed)
  | { readonly at: 'open' }
  | { readonly at: 'closed' };

export type Event =
  | { readonly on: 'record'; readonly payload: Uint8Array }
  /** Bytes that are no record. */
  | { readonly on: 'fault'; readonly error: ChatError }
  | { readonly on: 'tick'; readonly nowMs: number }
  | { readonly on: 'eof' };
export type Effect =
  | { readonly do: 'send'; readonly record: Buffer }
  | { readonly do: 'open'; readonly session: Session }
  | {
      readonly do: 'close';
      readonly code: Code;
      readonly sub?: string | undefined;
      readonly field?: string | undefined;
      readonly retryAfterMs?: number | undefined;
      /** Who found the fault: we, or the peer, which then reported it. */
      readonly by: 'us' | 'peer';
    };
export type Step = readonly [State, readonly Effect[]];

/** A client's first state and its client_hello. @param offer from ephemeral(), for this handshake alone */
export function startClient(endpoint: Endpoint, offer: Offer): Step {
  const { suites, random, shares } = offer;
  const hello = encodeRecord(
    encodeHello({ type: 'client_hello', version: VERSION, suites: [...suites], random, ...shares }),
  );
  return [{ at: 'awaitServerHello', endpoint, offer, hello }, [{ do: 'send', record: hello }]];
}

/** A server's first state. @param suites in order of preference @param respond of key-exchange.ts */
export const startServer = (endpoint: Endpoint, suites: readonly Suite[], respond: Respond): State => ({
  at: 'awaitClientHello',
  endpoint,
  suites,
  respond,
});

/** What happens next. Never throws; `state` is left as it was. */
export function step(state: State, event: Event): Step {
  if (state.at === 'closed') return [state, []];
  try {
    if (event.on === 'eof') return fail(state, new ChatError('CONNECTION_LOST', 'the peer closed'), 'silently');
    if (event.on === 'tick') {
      if (state.at === 'open' || event.nowMs < state.endpoint.deadlineMs) return [state, []];
      throw new ChatError('HANDSHAKE_TIMEOUT', 'the peer did not finish the handshake in time');
    }
    if (event.on === 'fault') throw event.error;
    switch (state.at) {
      case 'awaitClientHello':
        return answerClientHello(state, event.payload);
      case 'awaitServerHello':
        return acceptServerHello(state, event.payload);
      case 'awaitServerAuth':
        return acceptServerAuth(state, event.payload);
      case 'awaitClientAuth':
        return acceptClientAuth(state, event.payload);
      case 'open':
        throw new ChatError('BAD_FRAME', 'the handshake is over', { field: 'record' });
    }
  } catch (error) {
    return fail(state, ChatError.from(error), 'tell');
  }
}

function answerClientHello(state: State & { at: 'awaitClientHello' }, payload: Uint8Array): Step {
  const { endpoint, suites, respond } = state;
  const hello = decodeHello('client_hello', payload);
  const suite = suites.find((ours) => hello.suites.includes(ours));
  if (suite === undefined)
    throw new ChatError('DH_FAIL', 'no suite in common', { sub: 'no_common_suite', field: 'client_hello.suites' });
  const { random, shares, ikm } = respond(suite, hello);
  const record = encodeRecord(encodeHello({ type: 'server_hello', version: VERSION, suite, random, ...shares }));
  const keyed = keyedBy(endpoint, suite, helloHash(encodeRecord(payload), record), ikm);
  const auth = authenticate(keyed, 'server', keyed.th1);
  const next = { at: 'awaitClientAuth', ...keyed, th2: nextHash(keyed.th1, auth) } as const;
  const sealed = sealRecord(keyed.server, 0, auth);
  return [
    next,
    [
      { do: 'send', record },
      { do: 'send', record: sealed },
    ],
  ];
}

function acceptServerHello(state: State & { at: 'awaitServerHello' }, payload: Uint8Array): Step {
  const { endpoint, offer, hello: clientHello } = state;
  const hello = decodeHello('server_hello', payload);
  if (!offer.suites.includes(hello.suite))
    throw new ChatError('BAD_FRAME', 'the server chose a suite that was not offered', { field: 'server_hello.suite' });
  const suite = hello.suite as Suite; // decodeHello knows no other
  const ikm = agree(suite, offer.privateKeys, hello);
  return [
    { at: 'awaitServerAuth', ...keyedBy(endpoint, suite, helloHash(clientHello, encodeRecord(payload)), ikm) },
    [],
  ];
}

function acceptServerAuth(state: State & { at: 'awaitServerAuth' }, payload: Uint8Array): Step {
  const serverAuth = openRecord(state.server, 0, payload);
  checkAuth(state, 'server', state.th1, decodeHello('server_auth', serverAuth));
  const th2 = nextHash(state.th1, serverAuth);
  const clientAuth = authenticate(state, 'client', th2);
  const record = sealRecord(state.client, 0, clientAuth);
  return [{ at: 'open' }, [{ do: 'send', record }, open(state, 'client', nextHash(th2, clientAuth))]];
}

function acceptClientAuth(state: State & { at: 'awaitClientAuth' }, payload: Uint8Array): Step {
  const clientAuth = openRecord(state.client, 0, payload);
  checkAuth(state, 'client', state.th2, decodeHello('client_auth', clientAuth));
  return [{ at: 'open' }, [open(state, 'server', nextHash(state.th2, clientAuth))]];
}

/** The plaintext of server_auth or client_auth. @param hash TH1 or TH2 */
function authenticate({ endpoint, secrets }: Keyed, role: 'client' | 'server', hash: Buffer): Buffer {
  const { privateKey, binding } = endpoint;
  const { algorithm, signature } = sign(privateKey, CONTEXTS[role], Buffer.concat([hash, binding]));
  const mac = finished(secrets[role], hash, binding, algorithm, signature);
  return encodeHello({ type: `${role}_auth`, binding: sha256(binding), algorithm, signature, finished: mac });
}

/** The order tells the causes apart: another channel, then another key, then other hellos. */
function checkAuth(
  { endpoint, secrets }: Keyed,
  role: 'client' | 'server',
  hash: Buffer,
  auth: Hello<'server_auth' | 'client_auth'>,
): void {
  const { peerPublicKey, binding } = endpoint;
  const { algorithm, signature } = auth;
  if (!equal(auth.binding, sha256(binding)))
    throw new ChatError('CHANNEL_MISMATCH', 'the peer is at the end of another TLS channel than ours');
  if (!verify(peerPublicKey, algorithm, CONTEXTS[role], Buffer.concat([hash, binding]), signature))
    throw new ChatError('SIG_FAIL', 'the peer does not hold the key of its certificate', { sub: 'handshake' });
  if (!equal(auth.finished, finished(secrets[role], hash, binding, algorithm, signature)))
    throw new ChatError('DH_FAIL', 'the peer did not see the same handshake', { sub: 'finished' });
}

const CONTEXTS: { readonly [R in 'client' | 'server']: Context } = {
  client: CONTEXT.clientHandshake,
  server: CONTEXT.serverHandshake,
};

function keyedBy(endpoint: Endpoint, suite: Suite, th1: Buffer, ikm: Secret): Keyed {
  const secrets = handshakeSecrets(th1, ikm);
  ikm.wipe();
  return { endpoint, suite, th1, secrets, client: recordKeys(secrets.client), server: recordKeys(secrets.server) };
}

function open(keyed: Keyed, role: 'client' | 'server', th3: Buffer): Effect {
  const { client, server, exporter, confirmation } = applicationSecrets(th3, keyed.secrets.prk);
  const { suite, server: serverKeys } = keyed;
  const session: Session =
    role === 'server'
      ? { role, suite, sealer: new Sealer(server), opener: new Opener(client), exporter, confirmation }
      : {
          role,
          suite,
          sealer: new Sealer(client),
          opener: new Opener(server, {}, (payload) => refusalOf(serverKeys, payload)),
          exporter,
          confirmation,
        };
  return { do: 'open', session };
}

/** Why a server refused our client_auth: an error map under its handshake key, counter 1. Null: this record is no such thing. */
function refusalOf(serverKeys: RecordKeys, payload: Uint8Array): ChatError | null {
  try {
    decodeHello('client_auth', openRecord(serverKeys, 1, payload)); // nothing but an error map comes out of this
    return null;
  } catch (error) {
    return error instanceof ChatError && error.cause === REPORTED ? error : null;
  }
}

/** The end. The peer is told in plaintext before keys exist (by a server only) and under the handshake key after. */
function fail(state: State, error: ChatError, how: 'tell' | 'silently'): Step {
  const by = error.cause === REPORTED ? 'peer' : 'us';
  const { code, sub, field, retryAfterMs } = error;
  const close: Effect = { do: 'close', code, sub, field, retryAfterMs, by };
  const record = by === 'us' && how === 'tell' ? farewell(state, error) : null;
  return [{ at: 'closed' }, record === null ? [close] : [{ do: 'send', record }, close]];
}

function farewell(state: State, error: ChatError): Buffer | null {
  switch (state.at) {
    case 'awaitClientHello':
      return encodeRecord(encodeError(error));
    case 'awaitClientAuth':
      return sealRecord(state.server, 1, encodeError(error)); // 0 was server_auth
    case 'awaitServerAuth':
      return sealRecord(state.client, 0, encodeError(error));
    case 'awaitServerHello': // the server would take it for a sealed record
    case 'open':
    case 'closed':
      return null;
  }
}
