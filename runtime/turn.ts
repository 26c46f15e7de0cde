/**
 * What all links to clients read in one turn of the event loop, of which a process has one, is bounded, so that hundreds that bring much at
 * the same moment keep nobody from being heard: what is small is read at once, and what is large waits its turn, first come, first served. So
 * does what one link brings in very many small pieces: each costs more than its bytes.
 */

/** Some 10 ms of decrypting and decoding. */
const TURN_BYTES = 1024 * 1024;
/** A record of so much is read in any case. */
const SMALL_BYTES = 4096;
/** Of one link, in records and in frames. */
const MAX_STEPS = 32;
/** What a step costs, beside the bytes of a record. */
const STEP_BYTES = 1024;

let spent = 0;
let turns = 0;
let isDue = false;
const waiting: (() => void)[] = [];

/** Whether a record of this size may be read now; if so, it counts. */
export function mayRead(bytes: number): boolean {
  if (bytes > SMALL_BYTES && spent >= TURN_BYTES) return false;
  spent += bytes;
  endTurn();
  return true;
}

/** What one link has read in this turn. */
export class Share {
  #turn = -1;
  #steps = 0;

  /** Whether it may go one step further now; if so, that counts. */
  take(): boolean {
    if (this.#turn !== turns) [this.#turn, this.#steps] = [turns, 0];
    if (this.#steps >= MAX_STEPS) return false;
    this.#steps++;
    spent += STEP_BYTES;
    endTurn();
    return true;
  }
}

/** In a turn in which there is room for what is large. */
export function inLaterTurn(work: () => void): void {
  waiting.push(work);
  endTurn();
}

function endTurn(): void {
  if (isDue) return;
  isDue = true;
  setImmediate(() => {
    isDue = false;
    turns++;
    spent = 0;
    for (let left = waiting.length; left > 0 && spent < TURN_BYTES; left--) waiting.shift()!();
    if (waiting.length > 0) endTurn();
  });
}
