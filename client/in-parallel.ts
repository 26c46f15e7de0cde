/** Many things at a time, and not too many. */

/** Requests of one kind: a round trip for so many costs what one for each would. */
export const ASKED_AT_ONCE = 32;

/**
 * Does it for each, at most so many at once, and answers what came of it in the order of the items.
 * @throws the first failure, once what is under way has ended; nothing more is begun after it
 */
export async function inParallel<T, R>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  let failure: { readonly error: unknown } | null = null;
  const run = async (): Promise<void> => {
    while (next < items.length && failure === null) {
      const at = next++;
      try {
        results[at] = await work(items[at]!);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, run));
  if (failure !== null) throw (failure as { readonly error: unknown }).error;
  return results;
}
