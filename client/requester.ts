/** Requests and their replies on one link, and whether the other end is still there. What a reply means is decided by the callers. */
import { ChatError, CODES, type Code } from '../base/errors.ts';
import { REPORTED } from '../protocol/hello.ts';
import { encodeFrame } from '../protocol/frame-codec.ts';
import type { Reply, ReplyType, Request } from '../protocol/messages.ts';
import type { ClientLink, Closed } from '../runtime/link.ts';

type WithoutId<T> = T extends { readonly id: number } ? Omit<T, 'id'> : never;
export type RequestBody = WithoutId<Request>;
export type Notice = Exclude<Reply, { readonly id: number }>;

interface Pending {
  readonly want: ReplyType;
  readonly patience: number;
  /** pings that were sent meanwhile */
  pings: number;
  resolve(reply: Reply): void;
  reject(error: ChatError): void;
}

export const PING_INTERVAL_MS = 20_000;
/**
 * What is large takes long on a slow line, and a ping stands behind it: while something comes, or has to leave first, so many intervals more. A
 * server waits about as long for a whole record.
 */
const MOST_LATE = 4;
/** Requests are carried out in order: one that is not answered while this many pings are will not be. */
const PATIENCE = 3;
/** What others' answers or our acknowledgements are waited for first: as long as nothing comes meanwhile. */
const PATIENT: ReadonlySet<RequestBody['type']> = new Set<RequestBody['type']>(['msg_send', 'sync', 'group_get']);
const LONG_PATIENCE = 15;
/** Of what may come before anybody listens: more than a server sends ahead of what is acknowledged. */
const MAX_EARLY = 8192;
const MAX_EARLY_BYTES = 16 * 1024 * 1024;

export class Requester {
  readonly link: ClientLink;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  #notice: ((frame: Notice) => void) | null = null;
  /** notices that came before there was anybody to tell: the server may deliver in the same breath in which it answers the login */
  readonly #early: Notice[] = [];
  #earlyBytes = 0;
  #note: Uint8Array | undefined;
  readonly #noteBefore = new WeakMap<Reply, Uint8Array>();
  #closed: ChatError | null = null;

  /**
   * @param pingIntervalMs a ping that is not answered before the next one is due ends the link, unless it may be on its way; and so does a
   *   request after some of them
   */
  constructor(link: ClientLink, pingIntervalMs = PING_INTERVAL_MS) {
    this.link = link;
    link.onFrame((frame) => this.#take(frame));
    let isWaiting = false;
    let late = 0;
    let received = 0;
    const timer = setInterval(() => {
      const isMoving = link.receivedBytes > received || link.queuedBytes > 0;
      received = link.receivedBytes;
      if (isWaiting && isMoving && late++ < MOST_LATE) return;
      if (isWaiting || this.#isForgotten()) return link.close('CONNECTION_LOST');
      late = 0;
      isWaiting = true;
      this.request({ type: 'ping' }, 'pong').then(
        () => (isWaiting = false),
        () => {},
      );
    }, pingIntervalMs);
    timer.unref();
    void link.closed.then((closed) => {
      clearInterval(timer);
      this.#closed = closedError(closed);
      for (const { reject } of this.#pending.values()) reject(unanswered(this.#closed));
      this.#pending.clear();
    });
  }

  /** Frames that answer nothing, in order; those that came before there was a handler wait for it. */
  onNotice(handler: (frame: Notice) => void): void {
    this.#notice = handler;
    for (const frame of this.#early.splice(0)) handler(frame);
  }

  /** The checkpoint that came last before this frame: an acknowledgement without one of its own means it. */
  noteBefore(frame: Reply): Uint8Array | undefined {
    return this.#noteBefore.get(frame);
  }

  /** @throws what the server refused it with; as unanswered() when the link ends first */
  request<T extends ReplyType>(body: RequestBody, want: T): Promise<Reply<T>> {
    if (this.#closed !== null) return Promise.reject(unanswered(this.#closed));
    const id = (this.#lastId = (this.#lastId % (2 ** 32 - 1)) + 1);
    return new Promise<Reply>((resolve, reject) => {
      const patience = PATIENT.has(body.type) ? LONG_PATIENCE : PATIENCE;
      this.#pending.set(id, { want, patience, pings: 0, resolve, reject });
      this.link.send({ ...body, id } as Request);
    }) as Promise<Reply<T>>;
  }

  /** Before the next ping: whether the server answers these, and something else not. */
  #isForgotten(): boolean {
    const all = [...this.#pending.values()];
    for (const each of all) each.pings++;
    return all.some(({ pings, patience }) => pings > patience);
  }

  #take(frame: Reply): void {
    if (isProgress(frame)) for (const each of this.#pending.values()) if (each.patience > PATIENCE) each.pings = 0;
    if (frame.type === 'checkpoint') this.#note = Buffer.from(frame.note, 'utf8');
    else if (this.#note !== undefined) this.#noteBefore.set(frame, this.#note);
    const id = 'id' in frame ? frame.id : undefined;
    if (id === undefined) {
      // An error that belongs to no request is about the connection.
      if (frame.type === 'error') return this.link.close();
      if (this.#notice !== null) return this.#notice(frame as Notice);
      this.#earlyBytes += encodeFrame(frame).length;
      if (this.#early.push(frame as Notice) > MAX_EARLY || this.#earlyBytes > MAX_EARLY_BYTES)
        this.link.close('BAD_FRAME');
      return;
    }
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (pending === undefined) return this.link.close('BAD_FRAME');
    if (frame.type === 'error') return pending.reject(errorOf(frame));
    if (frame.type === pending.want) return pending.resolve(frame);
    pending.reject(
      new ChatError('BAD_FRAME', 'the server answered with another frame than asked for', { field: 'type' }),
    );
    this.link.close('BAD_FRAME');
  }
}

/** Whether it may be what has to come before the answer to something else. */
const isProgress = (frame: Reply): boolean =>
  frame.type === 'msg_deliver' || ('id' in frame && frame.type !== 'pong' && frame.type !== 'presence');

/** A day: no server has reason to ask for more, and a timer of Node that is too long runs out at once. */
export const LONGEST_WAIT_MS = 86_400_000;

/** What people read when the server refuses. Codes that are not here get a sentence that names no cause. */
const SENTENCES: { readonly [C in Code]?: string } = {
  AUTH_FAIL: 'name or password is wrong',
  NOT_LOGGED_IN: 'log in first',
  BAD_CERT: 'the server refused your certificate',
  CERT_ACCOUNT_MISMATCH: 'this account belongs to another certificate',
  BAD_NAME: 'the server does not allow this name',
  USER_EXISTS: 'the name or e-mail address is taken',
  REGISTRATION_CLOSED: 'this server registers nobody by itself: ask its operator',
  DEVICE_LIMIT: 'the account has as many devices as the server allows',
  SUSPENDED: 'the account is suspended',
  LOCKED: 'too many wrong passwords',
  RATE_LIMIT: 'too much in too short a time',
  QUOTA: 'a limit of the server is reached: too much waits already, for the recipient or from you',
  NO_SUCH_PEER: 'nobody has this name',
  NO_SUCH_ROOM: 'no room has this name',
  ROOM_EXISTS: 'a room has this name already',
  NOT_ALLOWED: 'the server does not allow it',
  NOT_CONTACT: 'the two of you are not in contact',
  BLOCKED: 'one of you has blocked the other',
  NOT_FOUND: 'the server does not have it',
  TOO_LARGE: 'too large for the server',
  UNKNOWN_TYPE: 'the server does not know this request: it is older than this program',
  SHUTTING_DOWN: 'the server is stopping',
  UNAVAILABLE: 'the server cannot take it now',
  ROLLBACK: 'the record of the server is shorter than what it signed before: keep your evidence',
  FORK: 'the server has two different records of the same history: keep your evidence',
};

/** Where the finer reason says what to do. */
const FINER: Readonly<Record<string, string>> = {
  'BAD_CERT/revoked': 'this device was revoked, and does not come in any more',
  'NOT_LOGGED_IN/proof': 'log in with the password first, and change it then and there',
  'NOT_ALLOWED/role': 'that takes a higher role in the room: ask an admin or the owner',
  'NOT_ALLOWED/banned': 'who is banned from the room does not come in: an admin can end the ban',
  'NOT_ALLOWED/last_owner': 'a room keeps an owner while it has members: make somebody else owner first',
  'NOT_ALLOWED/this_device': 'a device does not revoke itself: do it from another one of yours',
  'NOT_FOUND/contact': 'there is nothing of the kind between the two of you',
  'NOT_CONTACT/closed': 'the operator of this server decides who is in contact',
  'BLOCKED/by_you': 'you have blocked this person: unblock first',
  // With a field in place of a sub: where somebody is no member, and of what there are too many.
  'NO_SUCH_PEER/username': 'no member of the room has this name',
  'QUOTA/room': 'a limit of the server is reached: of your rooms, or of devices, members or bans of this one',
  'QUOTA/account': 'a limit of the server is reached: too many of your questions wait for an answer',
  'QUOTA/presence_watch.username': 'a limit of the server is reached: too many people are watched',
};

function errorOf({ code, sub, field, retry_after_ms: retryAfterMs }: Reply<'error'>): ChatError {
  const wait = retryAfterMs === undefined ? '' : `; try again in ${Math.ceil(retryAfterMs / 1000)} s`;
  const finer = FINER[`${code}/${sub ?? field}`];
  const why = sub === undefined || finer !== undefined ? '' : ` (${sub.replace(/[^a-z_]/g, '?')})`;
  const message = `${finer ?? SENTENCES[code] ?? 'the server refused the request'}${why}${wait}`;
  return new ChatError(code, message, {
    cause: REPORTED,
    ...(sub === undefined ? {} : { sub }),
    ...(field === undefined ? {} : { field }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** What a link has ended for is no answer to a request: then it is the cause. CONNECTION_LOST, or another code of its exit status. */
const unanswered = (closed: ChatError): ChatError =>
  CODES[closed.code].exit === CODES.CONNECTION_LOST.exit
    ? closed
    : new ChatError('CONNECTION_LOST', 'the connection to the server ended', { cause: closed });

/** What the end of a link means. */
export function closedError({ code, sub }: Closed): ChatError {
  if (code === null || CODES[code].exit === CODES.CONNECTION_LOST.exit)
    return new ChatError(code ?? 'CONNECTION_LOST', 'the connection to the server ended');
  if (code === 'NOT_LOGGED_IN' && sub === 'password')
    return new ChatError(code, 'the login is over: the password of the account was changed', { sub });
  const why = sub === undefined ? '' : ` (${sub.replace(/[^a-z_]/g, '?')})`;
  const sentence = SENTENCES[code] ?? 'the connection to the server ended';
  return new ChatError(code, `${sentence}${why}`, sub === undefined ? {} : { sub });
}
