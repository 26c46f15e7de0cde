/** How many connections may be open, in all and from one address, and how fast an address may begin others. Pure but for its clock. */
import { isIPv6 } from 'node:net';
import { ChatError } from '../base/errors.ts';

export interface AddressLimits {
  readonly connections: number;
  /** An IPv6 address counts as its /64, which is what one customer or machine is given. */
  readonly connectionsPerAddress: number;
  readonly handshakesPerAddressPerSecond: number;
}

/** Forgotten is who made no connection for so long that his bucket is full again. */
const MAX_BUCKETS = 10_000;
/** The most that an address can owe, in seconds of its share. */
const MAX_DEBT_S = 300;

interface Bucket {
  tokens: number;
  /** when that was so, ms */
  at: number;
}

export class ConnectionLimits {
  readonly #limits: AddressLimits;
  readonly #monotonicMs: () => number;
  readonly #open = new Map<string, number>();
  readonly #buckets = new Map<string, Bucket>();
  connections = 0;

  constructor(limits: AddressLimits, monotonicMs: () => number) {
    this.#limits = limits;
    this.#monotonicMs = monotonicMs;
  }

  /** Null: come in, and leave() when it is over. Else why not; then nothing is counted but the attempt. */
  enter(address: string): ChatError | null {
    const key = networkOf(address);
    const { connections, connectionsPerAddress } = this.#limits;
    if (!this.#takeToken(key)) return refused('handshakes_per_address');
    if (this.connections >= connections) return refused('connections');
    const own = this.#open.get(key) ?? 0;
    if (own >= connectionsPerAddress) return refused('connections_per_address');
    this.#open.set(key, own + 1);
    this.connections++;
    return null;
  }

  leave(address: string): void {
    const key = networkOf(address);
    const own = this.#open.get(key) ?? 0;
    if (own === 0) return;
    if (own === 1) this.#open.delete(key);
    else this.#open.set(key, own - 1);
    this.connections--;
  }

  /** As much as so many connections more; also beyond what is left: then nobody comes in before that has flowed in. */
  charge(address: string, handshakes: number): void {
    const bucket = this.#bucket(networkOf(address));
    bucket.tokens = Math.max(-MAX_DEBT_S * this.#limits.handshakesPerAddressPerSecond, bucket.tokens - handshakes);
  }

  #takeToken(key: string): boolean {
    const bucket = this.#bucket(key);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  #bucket(key: string): Bucket {
    const perSecond = this.#limits.handshakesPerAddressPerSecond;
    const now = this.#monotonicMs();
    const flown = ({ tokens, at }: Bucket): number => Math.min(perSecond, tokens + ((now - at) * perSecond) / 1000);
    const bucket = this.#buckets.get(key) ?? { tokens: perSecond, at: now };
    bucket.tokens = flown(bucket);
    bucket.at = now;
    // Seen last comes last, so that the oldest are found first.
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    for (const [old, other] of this.#buckets) {
      if ((other === bucket || flown(other) < perSecond) && this.#buckets.size <= MAX_BUCKETS) break;
      this.#buckets.delete(old);
    }
    return bucket;
  }
}

/** What the limits count as one: an IPv4 address, also one that is written in IPv6, or the /64 of an IPv6 address. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const bare = address.split('%')[0]!; // a zone is ours, not the peer's
  const [head = '', tail] = bare.split('::');
  const groups = head === '' ? [] : head.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length);
  const all = [...groups, ...Array<string>(Math.max(0, missing)).fill('0'), ...(tail ? tail.split(':') : [])];
  return `${all
    .slice(0, 4)
    .map((group) => parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

const refused = (sub: string): ChatError => new ChatError('RATE_LIMIT', 'too many connections', { sub });
