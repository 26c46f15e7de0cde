/** Two ends of a handshake in memory, each behind its own RecordReader, with a hand on every record in flight. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { ChatError, type Code } from '../../base/errors.ts';
import {
  startClient,
  startServer,
  step,
  type Effect,
  type Endpoint,
  type Event,
  type Session,
  type State,
  type Step,
} from '../../protocol/handshake.ts';
import { ephemeral, respond, type Offer, type Respond, type Suite } from '../../protocol/key-exchange.ts';
import { MAX_RECORD_BYTES } from '../../protocol/limits.ts';
import { RecordReader } from '../../protocol/record.ts';

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}
export const ed25519 = (): KeyPair => generateKeyPairSync('ed25519');
export const p256 = (): KeyPair => generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
export const alice = ed25519();
export const mallory = ed25519();
export const server = p256();
/** Stands for exporter value and certificate hashes: data to the machine. */
export const BINDING = Buffer.from(Array.from({ length: 96 }, (_, i) => i));
export const DEADLINE_MS = 10_000;

export const clientEnd: Endpoint = {
  privateKey: alice.privateKey,
  peerPublicKey: server.publicKey,
  binding: BINDING,
  deadlineMs: DEADLINE_MS,
};
export const serverEnd: Endpoint = {
  privateKey: server.privateKey,
  peerPublicKey: alice.publicKey,
  binding: BINDING,
  deadlineMs: DEADLINE_MS,
};

export type Close = Extract<Effect, { do: 'close' }>;

/** One end: bytes in, bytes out, and how it ended. */
export class Peer {
  state: State;
  session: Session | null = null;
  close: Close | null = null;
  /** An error of the stream itself or of the open channel. */
  error: ChatError | null = null;
  readonly sent: Buffer[] = [];
  readonly plaintexts: Buffer[] = [];
  readonly #reader = new RecordReader();

  constructor(state: State) {
    this.state = state;
  }

  /** Performs the effects of a step. */
  take([state, effects]: Step): void {
    this.state = state;
    for (const effect of effects)
      switch (effect.do) {
        case 'send':
          this.sent.push(effect.record);
          break;
        case 'open':
          this.session = effect.session;
          this.#reader.maxRecordBytes = MAX_RECORD_BYTES;
          break;
        case 'close':
          if (this.close) throw new Error('closed twice');
          this.close = effect;
      }
  }

  on(event: Event): void {
    this.take(step(this.state, event));
  }

  feed(bytes: Buffer): void {
    if (this.close !== null || this.error !== null) return;
    try {
      for (const payload of this.#reader.push(bytes)) {
        if (this.session) this.plaintexts.push(this.session.opener.open(payload));
        else this.on({ on: 'record', payload });
        if (this.close !== null) return;
      }
    } catch (error) {
      if (!(error instanceof ChatError)) throw error;
      this.error = error;
    }
  }

  /** How it ended, by whatever way; null while it goes on. */
  get end(): { code: Code; sub?: string | undefined; field?: string | undefined } | null {
    return this.close ?? this.error;
  }
}

export interface Setup {
  readonly suites?: readonly Suite[];
  readonly serverSuites?: readonly Suite[];
  readonly client?: Partial<Endpoint>;
  readonly server?: Partial<Endpoint>;
  readonly offer?: Offer;
  readonly respond?: Respond;
  /** Called with each record in order (0 client_hello, 1 server_hello, 2 server_auth, 3 client_auth); gives what arrives instead. */
  readonly tamper?: (record: Buffer, index: number, from: 'client' | 'server') => readonly Buffer[];
}

export function peers(setup: Setup = {}): { client: Peer; server: Peer; opening: Step } {
  const offer = setup.offer ?? ephemeral(setup.suites ?? [2]);
  const opening = startClient({ ...clientEnd, ...setup.client }, offer);
  const client = new Peer(opening[0]);
  const listening = startServer(
    { ...serverEnd, ...setup.server },
    setup.serverSuites ?? [1, 2, 3],
    setup.respond ?? respond,
  );
  return { client, server: new Peer(listening), opening };
}

/** Carries records back and forth until both are silent, then ends the stream for whoever still waits. */
export function converse(setup: Setup = {}): { client: Peer; server: Peer; records: Buffer[] } {
  const { client, server, opening } = peers(setup);
  const records: Buffer[] = [];
  client.take(opening);
  let isMoving = true;
  while (isMoving) {
    isMoving = false;
    for (const [from, to, name] of [
      [client, server, 'client'],
      [server, client, 'server'],
    ] as const)
      for (const record of from.sent.splice(0)) {
        isMoving = true;
        records.push(record);
        for (const bytes of setup.tamper?.(record, records.length - 1, name) ?? [record]) to.feed(bytes);
      }
  }
  for (const peer of [client, server]) if (!peer.session && !peer.end) peer.on({ on: 'eof' });
  return { client, server, records };
}

/** `CODE/sub@field by us`, for tables. */
export function said(effects: readonly Effect[]): string {
  const words = effects.map((effect) =>
    effect.do === 'close'
      ? `close ${effect.code}${effect.sub ? `/${effect.sub}` : ''}${effect.field ? ` ${effect.field}` : ''} by ${effect.by}`
      : effect.do,
  );
  return words.join(', ') || '-';
}

/** fast-check's settings: a fixed seed, or with FUZZ=1 a random one and a hundred times as many runs. */
export const runs = (numRuns: number) =>
  process.env['FUZZ'] ? { numRuns: numRuns * 100 } : { numRuns, seed: 20_260_101 };
