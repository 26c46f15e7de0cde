/** Answers that hold for a stretch of time, none beside another: whoever goes back and forth in time asks for each of them once. */

export interface Stretch {
  /** In [from, until). */
  readonly from: number;
  readonly until: number;
}

export class Stretches<T extends Stretch> {
  /** In order. */
  readonly #all: T[] = [];

  at(time: number): T | undefined {
    const found = this.#all[this.#firstBehind(time) - 1];
    return found !== undefined && time < found.until ? found : undefined;
  }

  /** Of a time that none had; its stretch ends where those beside it begin. */
  add(time: number, answer: T): T {
    const next = this.#firstBehind(time);
    const from = Math.max(answer.from, this.#all[next - 1]?.until ?? -Infinity);
    const until = Math.min(answer.until, this.#all[next]?.from ?? Infinity);
    const fitted = { ...answer, from, until };
    this.#all.splice(next, 0, fitted);
    return fitted;
  }

  /** How many begin at this time or before it. */
  #firstBehind(time: number): number {
    let [low, high] = [0, this.#all.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#all[middle]!.from <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
