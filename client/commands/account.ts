/** `register`, `login`, `logout`, `passwd`, `whoami`: who this profile is. */
import type { CommandModule } from 'yargs';
import { ChatError } from '../../base/errors.ts';
import { hex } from '../../base/bytes.ts';
import { printable } from '../../runtime/printable.ts';
import type { App } from '../app.ts';
import type { Context, GlobalArgs } from '../context.ts';
import { daysLeft } from '../identity.ts';
import type { Vault } from '../vault.ts';

export type Run = (args: GlobalArgs, work: (context: Context) => Promise<void>) => Promise<void>;

interface RegisterArgs extends GlobalArgs {
  readonly username?: string | undefined;
  readonly email?: string | undefined;
}

export const registerCommand = (run: Run): CommandModule<GlobalArgs, RegisterArgs> => ({
  command: 'register',
  describe: 'Create an account for this certificate, and log in',
  builder: (y) =>
    y
      .option('username', {
        type: 'string',
        describe: "name of the account (default: the certificate's)",
        requiresArg: true,
      })
      .option('email', { type: 'string', describe: "e-mail address (default: the certificate's)", requiresArg: true })
      .example('$0 register -P alice --ca ca.crt --cert alice.crt --key alice.key', 'asks for a password twice')
      .example('$0 register --password-file pw.txt', 'asks nothing'),
  handler: (args) =>
    run(args, async (context) => {
      await context.withApp(async (app) => {
        const username = args.username ?? app.identity.username;
        const email = args.email ?? app.identity.email;
        if (email === undefined) throw new ChatError('USAGE', 'the certificate names no e-mail address: give --email');
        await app.connect();
        const password = await context.passwords.password(true);
        if (!(await app.register({ username, email }, password)))
          context.note('this certificate has an account already: logging in to it');
        await app.login(password, username);
        await app.settled(); // from now on others can write to this device
        context.remember();
        const account = app.vault.profile.account()!;
        if (args.json) context.json('registered', { username: account.username, email: account.email });
        else context.out(`registered ${printable(account.username)} <${printable(account.email)}>`);
      });
    }),
});

interface LoginArgs extends GlobalArgs {
  readonly account?: string | undefined;
}

export const loginCommand = (run: Run): CommandModule<GlobalArgs, LoginArgs> => ({
  command: 'login [account]',
  describe: 'Log in; later commands need no password for a while',
  builder: (y) =>
    y
      .positional('account', { type: 'string', describe: "username or e-mail address (default: the certificate's)" })
      .example('$0 login -P alice', 'asks for the password')
      .example('$0 login --password-stdin <pw.txt', 'takes it from standard input'),
  handler: (args) =>
    run(args, async (context) => {
      await context.withApp(async (app) => {
        await app.connect();
        await app.login(await context.passwords.password(false), args.account);
        await app.settled();
        context.remember();
        const account = app.vault.profile.account()!;
        if (args.json) context.json('logged_in', { username: account.username, email: account.email });
        else context.out(`logged in as ${printable(account.username)}`);
      });
    }),
});

interface PasswdArgs extends GlobalArgs {
  readonly 'new-password-file'?: string | undefined;
}

export const passwdCommand = (run: Run): CommandModule<GlobalArgs, PasswdArgs> => ({
  command: 'passwd',
  describe: 'Change the password of the account, which ends all other logins',
  builder: (y) =>
    y
      .option('new-password-file', {
        type: 'string',
        describe: 'file with the new one (default: ask on the terminal)',
        requiresArg: true,
      })
      .example('$0 passwd', 'asks for the password, and twice for the new one')
      .example('$0 passwd --password-stdin <both.txt', 'two lines: the password, and the new one'),
  handler: (args) =>
    run(args, async (context) => {
      await context.withApp(async (app) => {
        await app.connect();
        const { before, after } = await context.passwords.change(args['new-password-file']);
        await app.changePassword(before, after);
        await app.settled();
        context.remember();
        const { username } = app.vault.profile.account()!;
        if (args.json) context.json('password_changed', { username });
        else context.out(`${printable(username)} has another password: what else was logged in has to log in again`);
      });
    }),
});

export const logoutCommand = (run: Run): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'logout',
  describe: 'Forget the login, and close the signed session if the server can be reached',
  handler: (args) =>
    run(args, async (context) => {
      let isOpen = false;
      try {
        await context.withApp(async (app) => {
          isOpen = true;
          const isEnded = await endSession(context, app);
          forget(context, app.vault, isEnded);
        });
      } catch (error) {
        if (isOpen) throw error;
        // Without a certificate nothing can be signed; the login is forgotten all the same.
        await context.withVault((vault) => forget(context, vault, false));
      }
    }),
});

/** Whether the session is closed at the server; never a reason not to log out. */
async function endSession(context: Context, app: App): Promise<boolean> {
  const { vault, identity } = app;
  if (!app.canResume || !vault.sessions.isOpen(identity.fingerprint)) return false;
  try {
    await app.connect();
    await app.login(null);
    await app.endSession();
    return true;
  } catch (error) {
    const { code, message } = ChatError.from(error);
    context.note(`the session stays open: ${message} [${code}]`);
    return false;
  }
}

function forget(context: Context, vault: Vault, isEnded: boolean): void {
  const hadToken = vault.profile.resumeToken() !== null;
  vault.profile.setResumeToken(null);
  if (context.args.json) context.json('logged_out', { was_logged_in: hadToken, session_closed: isEnded });
  else context.out(hadToken ? 'logged out' : 'was not logged in');
}

export const whoamiCommand = (run: Run): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'whoami',
  describe: 'Show account and certificate of this profile; contacts no server',
  handler: (args) =>
    run(args, (context) =>
      context.withApp(async (app) => {
        const { chain, username, email, fingerprint, notAfter } = app.identity;
        const account = app.vault.profile.account();
        const days = daysLeft(notAfter, Date.now());
        if (args.json)
          return context.json('whoami', {
            profile: context.settings.profile,
            account:
              account === null ? null : { username: account.username, email: account.email, server: account.server },
            certificate: {
              username,
              ...(email === undefined ? {} : { email }),
              subject: chain[0].subject.text,
              issuer: chain[0].issuer.text,
              sha256: hex(fingerprint),
              not_after: new Date(notAfter).toISOString(),
              days_left: days,
            },
          });
        context.out(
          `account      ${account === null ? 'none yet (register or log in)' : `${printable(account.username)} <${printable(account.email)}> on ${printable(account.server)}`}`,
        );
        context.out(`certificate  ${printable(chain[0].subject.text)}`);
        context.out(`issued by    ${printable(chain[0].issuer.text)}`);
        context.out(`valid until  ${new Date(notAfter).toISOString()} (${days} days)`);
        context.out(`sha256       ${hex(fingerprint)}`);
      }),
    ),
});
