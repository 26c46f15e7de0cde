/**
 * One connection from its first frame to its end: in what order its requests are carried out, and when nothing more is read of it. They
 * are carried out one after another; only the wait for a commit is shared, so that a sender may have several batches on their way. Who
 * sends faster than he is served, asks for more than he may, or asks and does not read, is not read from any more until that is over.
 */
import type { Request } from '../protocol/messages.ts';
import { Requests, type RequestOptions } from './requests.ts';
import { Rest } from './rest.ts';

/** Requests of one connection that are not answered yet, in number and bytes, before it is paused. */
const MAX_WAITING = 64;
const MAX_WAITING_BYTES = 256 * 1024;
/** The same, while there is more to do than is done. */
const MAX_BUSY_BYTES = 32 * 1024;
/** What the peer has not taken yet, before it is paused; more than deliveries alone ever come to (outlet.ts). */
const MAX_UNREAD_BYTES = 8 * 1024 * 1024;
/** Whoever takes nothing for so long is cut. */
const STALL_MS = 60_000;

export interface SessionOptions extends RequestOptions {
  readonly stallMs?: number;
  readonly monotonicMs?: () => number;
}

/** Serves a link until it closes. Resolves then; never rejects. */
export async function serve(options: SessionOptions): Promise<void> {
  const { link, hub, intake, log, stallMs = STALL_MS, monotonicMs = () => performance.now() } = options;
  const rest = new Rest(monotonicMs, () => regulate());
  const requests = new Requests(options, {
    onAdmitted: () => rest.admitted(),
    onExcess: (retryAfterMs, isShared) => {
      rest.refused(retryAfterMs, isShared);
      regulate();
    },
  });
  let [waiting, waitingBytes, isPaused] = [0, 0, false];
  /** of those that wait: not admitted or refused yet */
  let undecided = 0;
  let stall: NodeJS.Timeout | undefined;
  let turn: Promise<unknown> = Promise.resolve();

  const regulate = (): void => {
    const isUnread = link.queuedBytes > MAX_UNREAD_BYTES;
    const mostBytes = intake.isBusy ? MAX_BUSY_BYTES : MAX_WAITING_BYTES;
    const isLimited = rest.isNow || (undecided > 0 && rest.isWatched);
    const isFull = isLimited || isUnread || waiting >= MAX_WAITING || waitingBytes >= mostBytes;
    if (isUnread) stall ??= setTimeout(() => link.close('QUOTA'), stallMs).unref();
    else stall = void clearTimeout(stall);
    if (isFull === isPaused) return;
    isPaused = isFull;
    if (isFull) link.pause();
    else link.resume();
  };
  link.onDrain(() => {
    regulate();
    if (requests.member) hub.drained(requests.member);
  });
  link.onFrame((frame) => {
    const bytes = byteCount(frame);
    waiting++;
    waitingBytes += bytes;
    const taken = turn.then(() => requests.take(frame));
    turn = taken;
    undecided++;
    void taken
      .then(({ answered }) => {
        undecided--;
        if (isPaused) regulate();
        return answered; // which may wait for acknowledgements that are to be read
      })
      .then(() => {
        waiting--;
        waitingBytes -= bytes;
        regulate();
      });
    regulate();
  });
  const { code } = await link.closed;
  requests.isOver = true;
  await turn;
  clearTimeout(stall);
  rest.end();
  if (requests.member) hub.leave(requests.member);
  log.info('session.closed', code === null ? {} : { code });
}

/** Only what can be large counts. */
function byteCount(frame: Request): number {
  if (frame.type === 'keypackages_put') return total(frame.packages);
  if (frame.type === 'blob_put') return frame.piece.length;
  if (frame.type !== 'msg_send') return 0;
  return frame.messages.reduce((sum, { parts, group_info: info }) => sum + 248 + (info?.length ?? 0) + total(parts), 0);
}

const total = (all: readonly Uint8Array[]): number => all.reduce((sum, { length }) => sum + length, 0);
