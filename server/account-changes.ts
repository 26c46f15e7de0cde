/**
 * What an operator changes of an account (user-commands.ts): he writes it into the database, beside a running server or without one, and
 * the server, told over its admin socket, ends what was begun under what was so before. What it is told to do it looks up itself.
 */
import { ChatError } from '../base/errors.ts';
import type { LoadedServerConfig } from '../runtime/config.ts';
import { openLog, type Log, type LogEvent } from '../runtime/log.ts';
import type { User } from '../store/contract/accounts.ts';
import type { Store } from '../store/store.ts';
import { askAdmin, isAnswered, type AdminCommands } from './admin.ts';
import { PASSWORD_CHANGED, type Ending } from './endings.ts';
import type { Hub } from './hub.ts';

export type AccountChange = 'user_suspended' | 'user_resumed' | 'user_password';

const EVENTS: { readonly [C in AccountChange]: LogEvent } = {
  user_suspended: 'account.suspended',
  user_resumed: 'account.resumed',
  user_password: 'password.set',
};
const ENDINGS: { readonly [C in AccountChange]: (user: User) => Ending | null } = {
  user_suspended: ({ status }) => (status === 'suspended' ? { code: 'SUSPENDED' } : null), // or somebody was faster
  user_resumed: () => null,
  user_password: () => PASSWORD_CHANGED,
};

/** Commands of the admin socket: `user`, a username, and `because`, the operator's words; answered with how many `connections` were ended. */
export function accountChanges(store: Pick<Store, 'findUser'>, hub: Pick<Hub, 'endAll'>, log: Log): AdminCommands {
  const take =
    (change: AccountChange): AdminCommands[string] =>
    async ({ user: name, because }) => {
      if (typeof name !== 'string' || !(because === undefined || typeof because === 'string'))
        throw new ChatError('BAD_FRAME', 'want the name of a user', { field: 'user' });
      const user = await store.findUser(name);
      if (user === null) throw new ChatError('NO_SUCH_PEER', 'nobody has this name', { field: 'user' });
      const ending = ENDINGS[change](user);
      const count = ending === null ? 0 : hub.endAll(user.id, ending);
      log.info(EVENTS[change], { user: user.username, count, because });
      return { connections: count };
    };
  return {
    user_suspended: take('user_suspended'),
    user_resumed: take('user_resumed'),
    user_password: take('user_password'),
  };
}

/**
 * Tells the server, if there is one on this machine; else, or if it cannot be told, the line of the log is written here, to standard error.
 * @returns how many connections it has ended; null: no server runs on this machine
 * @throws UNREACHABLE when one is there and cannot be told: what the database has does not concern yet who is connected
 */
export async function tellServer(
  { values }: LoadedServerConfig,
  change: AccountChange,
  user: string,
  because?: string,
): Promise<number | null> {
  const { socket } = values.admin;
  const write = (): void => openLog({ ...values.log, to: 2 }).info(EVENTS[change], { user, because });
  if (!(await isAnswered(socket))) {
    write();
    return null;
  }
  try {
    const reply = await askAdmin(socket, change, { user, ...(because === undefined ? {} : { because }) });
    return Number((reply as { connections?: unknown } | null)?.connections ?? 0);
  } catch (cause) {
    write();
    // Not the code of who may not ask: as a fault of the command line it would say that nothing was done.
    const whose = ChatError.from(cause).code === 'UNSAFE_FILE' ? ' as its user or as root' : '';
    throw new ChatError(
      'UNREACHABLE',
      `the database has it, and the chat-server at ${socket} was not told: repeat this${whose}, or whoever is connected stays`,
      { cause },
    );
  }
}
