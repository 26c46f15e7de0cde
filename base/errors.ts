/**
 * Every failure that has a name. A code is for programs and never changes its meaning; the message is for people and may change.
 * The peer of a connection is told the code (and sub, field, retryAfterMs), never the message or the cause.
 *
 * `blame`: who has to act — `peer` (the other end broke a rule), `user` (input, configuration, credentials), `world` (network,
 * disk, database), `us` (a defect of this software: the only blame that is logged at level error).
 * `exit`: exit status of a command that ends with it; the table of all commands is in docs/ERRORS.md.
 */
export const CODES = {
  // identity and channel
  BAD_CERT: { blame: 'user', exit: 6 },
  CERT_ACCOUNT_MISMATCH: { blame: 'user', exit: 6 },
  CHANNEL_MISMATCH: { blame: 'peer', exit: 6 },
  DH_FAIL: { blame: 'peer', exit: 6 },
  SIG_FAIL: { blame: 'peer', exit: 6 },
  REPLAY: { blame: 'peer', exit: 1 },
  DECRYPT_FAIL: { blame: 'peer', exit: 1 },
  BAD_FRAME: { blame: 'peer', exit: 1 },
  TOO_LARGE: { blame: 'peer', exit: 2 },
  UNKNOWN_TYPE: { blame: 'peer', exit: 1 },
  HANDSHAKE_TIMEOUT: { blame: 'peer', exit: 3 },
  UNSUPPORTED_VERSION: { blame: 'peer', exit: 1 },
  // accounts
  AUTH_FAIL: { blame: 'user', exit: 4 },
  NOT_LOGGED_IN: { blame: 'user', exit: 4 },
  BAD_NAME: { blame: 'user', exit: 2 },
  WEAK_KDF: { blame: 'peer', exit: 4 },
  USER_EXISTS: { blame: 'user', exit: 4 },
  REGISTRATION_CLOSED: { blame: 'user', exit: 4 },
  DEVICE_LIMIT: { blame: 'user', exit: 4 },
  SUSPENDED: { blame: 'user', exit: 4 },
  LOCKED: { blame: 'user', exit: 5 },
  RATE_LIMIT: { blame: 'user', exit: 5 },
  QUOTA: { blame: 'user', exit: 5 },
  // messages
  NO_SUCH_PEER: { blame: 'user', exit: 8 },
  NOT_CONTACT: { blame: 'user', exit: 4 },
  BLOCKED: { blame: 'user', exit: 4 },
  NOT_FOUND: { blame: 'user', exit: 8 },
  NO_SUCH_ROOM: { blame: 'user', exit: 8 },
  ROOM_EXISTS: { blame: 'user', exit: 8 },
  NOT_ALLOWED: { blame: 'user', exit: 4 },
  STALE: { blame: 'peer', exit: 1 },
  COUNTER_GAP: { blame: 'peer', exit: 1 },
  COUNTER_REUSED: { blame: 'peer', exit: 1 },
  LINEAGE: { blame: 'peer', exit: 1 },
  WITHHELD: { blame: 'peer', exit: 1 },
  NOT_REACHED: { blame: 'world', exit: 7 },
  // transport and machine
  SHUTTING_DOWN: { blame: 'world', exit: 3 },
  UNREACHABLE: { blame: 'world', exit: 3 },
  CONNECTION_LOST: { blame: 'world', exit: 3 },
  UNAVAILABLE: { blame: 'world', exit: 3 },
  DISK_FULL: { blame: 'world', exit: 3 },
  // this machine
  USAGE: { blame: 'user', exit: 2 },
  CONFIG_INVALID: { blame: 'user', exit: 2 },
  UNSAFE_FILE: { blame: 'user', exit: 2 },
  UNSAFE_PROCESS: { blame: 'user', exit: 2 },
  IN_USE: { blame: 'user', exit: 2 },
  VAULT_LOCKED: { blame: 'user', exit: 4 },
  WRONG_PASSPHRASE: { blame: 'user', exit: 4 },
  STORE_SCHEMA: { blame: 'user', exit: 2 },
  STORE_FAILED: { blame: 'world', exit: 3 },
  LOG_CORRUPT: { blame: 'world', exit: 1 },
  LOG_FAILED: { blame: 'world', exit: 3 },
  ROLLBACK: { blame: 'peer', exit: 14 },
  FORK: { blame: 'peer', exit: 14 },
  INTERRUPTED: { blame: 'user', exit: 130 },
  INTERNAL: { blame: 'us', exit: 1 },
} as const satisfies Record<string, { blame: 'peer' | 'user' | 'world' | 'us'; exit: number }>;

export type Code = keyof typeof CODES;

/** What may travel beside a code: the field that was wrong, a finer reason, how long to wait. All are safe to show to the peer. */
export interface ErrorDetail {
  readonly field?: string;
  readonly sub?: string;
  readonly retryAfterMs?: number;
}

export class ChatError extends Error {
  override readonly name = 'ChatError';
  readonly code: Code;
  readonly field: string | undefined;
  readonly sub: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: Code, message: string, detail: ErrorDetail & ErrorOptions = {}) {
    super(message, 'cause' in detail ? { cause: detail.cause } : undefined);
    this.code = code;
    this.field = detail.field;
    this.sub = detail.sub;
    this.retryAfterMs = detail.retryAfterMs;
  }

  /** The error itself if it has a name already, else INTERNAL with the original as its cause. */
  static from(error: unknown): ChatError {
    return error instanceof ChatError ? error : new ChatError('INTERNAL', 'unexpected failure', { cause: error });
  }
}

/** For calls that make errors whose stacks nobody sees, which can be half of their work. What they throw has none either. */
export function withoutTraces<T>(call: () => T): T {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return call();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}
