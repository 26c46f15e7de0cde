/** Register or log in, asked line by line. */
import { ChatError } from '../base/errors.ts';
import { printable } from '../runtime/printable.ts';
import type { App } from './app.ts';
import type { Context } from './context.ts';
import { askPassword } from './passwords.ts';
import { statusReply } from './presentation.ts';
import { needed, type Terminal } from './terminal.ts';

const TRIES = 3;

/** Resolves when the session has begun. @throws what the server refuses, and USAGE for what was typed wrong too often */
export async function enter(context: Context, app: App, terminal: Terminal): Promise<void> {
  if (app.vault.profile.account() === null && (await wantsRegistration(terminal)))
    return registerAndLogin(context, app, terminal);
  if (app.canResume) {
    try {
      await app.login(null);
      terminal.print(`Login response: ${statusReply(null)}`);
      return context.remember();
    } catch (error) {
      if (!(error instanceof ChatError) || error.code !== 'NOT_LOGGED_IN') throw error;
    }
  }
  for (let attempt = 1; ; attempt++) {
    // A profile that has an account has it for good: there is nothing to ask.
    const name =
      app.vault.profile.account()?.username ?? (await withDefault(terminal, 'Username', app.identity.username));
    const password = await passwordOf(context, terminal, false);
    try {
      await app.login(password, name);
      terminal.print(`Login response: ${statusReply(null)}`);
      return context.remember();
    } catch (cause) {
      const error = ChatError.from(cause);
      terminal.print(`Login response: ${statusReply(error.code)}`);
      if (error.code !== 'AUTH_FAIL' || attempt === TRIES || !terminal.isInteractive) throw error;
    }
  }
}

async function wantsRegistration(terminal: Terminal): Promise<boolean> {
  const answer = (await terminal.line('Register or login? [register]: ')) ?? '';
  if (/^\s*(r|register)?\s*$/i.test(answer)) return true;
  if (/^\s*(l|login)\s*$/i.test(answer)) return false;
  terminal.print('Invalid Choice');
  throw new ChatError('USAGE', 'want register or login');
}

async function registerAndLogin(context: Context, app: App, terminal: Terminal): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const { identity } = app;
    const email = await withDefault(terminal, 'E-mail', identity.email);
    const username = await withDefault(terminal, 'Username', identity.username);
    const password = await passwordOf(context, terminal, true);
    try {
      const isNew = await app.register({ username, email }, password);
      terminal.print('✔ Registration request sent (encrypted)');
      terminal.print(`Server response: ${statusReply(isNew ? null : 'USER_EXISTS')}`);
      if (!isNew) terminal.print('This certificate has an account already: logging in to it.');
      await app.login(password, username);
      terminal.print(`Login response: ${statusReply(null)}`);
      return context.remember();
    } catch (cause) {
      const error = ChatError.from(cause);
      terminal.print(`Server response: ${statusReply(error.code)}`);
      const isInput = error.code === 'USER_EXISTS' || error.code === 'BAD_NAME';
      if (!isInput || attempt === TRIES || !terminal.isInteractive) throw error;
      terminal.print(`${printable(error.message)}: once more.`);
    }
  }
}

/** A password file serves here as well; standard input does not, for the answers come from there. */
const passwordOf = (context: Context, terminal: Terminal, isNew: boolean) =>
  context.settings.passwordFile === undefined ? askPassword(terminal, isNew) : context.passwords.password(isNew);

async function withDefault(terminal: Terminal, what: string, fallback: string | undefined): Promise<string> {
  for (;;) {
    const hint = fallback === undefined ? '' : ` [${printable(fallback)}]`;
    const answer = needed(await terminal.line(`${what}${hint}: `)).trim();
    if (answer !== '') return answer;
    if (fallback !== undefined) return fallback;
  }
}
