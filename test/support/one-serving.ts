/**
 * Of a database that is told later one process serves: all that a suite opens is one store, which is closed and opened anew each time.
 */
import type { Store } from '../../store/store.ts';

/**
 * @param openServing as the process does that serves
 * @param openPlain as any other
 */
export function oneServing(openServing: () => Promise<Store>, openPlain: () => Promise<Store>) {
  let store: Store | null = null;
  let users = 0;
  const closedOne = async (): Promise<Store> => {
    const closed = await openPlain();
    await closed.close();
    return closed;
  };
  return {
    /** the one that serves now */
    served: (): Store => store!,
    open: async (): Promise<Store> => {
      await store?.close();
      store = await openServing();
      users++;
      let own: Store | null = null;
      return new Proxy(store, {
        get: (_, name: keyof Store) => {
          const of = own ?? store!;
          if (name !== 'close') return of[name];
          return async () => {
            own ??= store!;
            if (--users === 0) await store!.close();
            else own = await closedOne();
          };
        },
      });
    },
  };
}
