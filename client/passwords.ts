/**
 * Passwords and passphrases that a person gives: from files, standard input, or the terminal, whichever was named; the terminal only if somebody can be
 * asked there.
 */
import { ChatError } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { preparePassword } from '../protocol/scram.ts';
import { printable } from '../runtime/printable.ts';
import { readPasswordFile, readPasswords } from '../runtime/secret-file.ts';
import type { Settings } from './settings.ts';
import { needed, type Terminal } from './terminal.ts';

export interface PasswordSources {
  readonly files: Pick<Settings, 'passwordFile' | 'vaultPassphraseFile'>;
  readonly stdin: NodeJS.ReadableStream;
  /** --password-stdin */
  readonly isInput: boolean;
  /** null: nobody can be asked */
  terminal(): Terminal | null;
}

export class Passwords {
  readonly #files: PasswordSources['files'];
  readonly #stdin: NodeJS.ReadableStream;
  readonly #isInput: boolean;
  readonly #terminal: () => Terminal | null;

  constructor({ files, stdin, isInput, terminal }: PasswordSources) {
    this.#files = files;
    this.#stdin = stdin;
    this.#isInput = isInput;
    this.#terminal = terminal;
  }

  /**
   * From --password-stdin, the password file, or the terminal.
   * @param isNew asked for twice
   * @throws NOT_LOGGED_IN when nobody can be asked; USAGE/password when it cannot be one
   */
  async password(isNew: boolean): Promise<Secret> {
    if (this.#isInput) return (await readPasswords(this.#stdin, 1))[0]!;
    const { passwordFile } = this.#files;
    if (passwordFile !== undefined) return passwordIn(passwordFile, 'password_file');
    const terminal = this.#terminal();
    if (terminal === null)
      throw new ChatError(
        'NOT_LOGGED_IN',
        'a password is needed: give --password-file or --password-stdin, or run in a terminal',
      );
    return askPassword(terminal, isNew);
  }

  /**
   * The password of the account, and the one that is to take its place: two lines of --password-stdin, files, or the terminal.
   * @param file that holds the new one, if given @throws as password(); USAGE/password when they are the same
   */
  async change(file: string | undefined): Promise<{ readonly before: Secret; readonly after: Secret }> {
    const isInput = this.#isInput && file === undefined;
    const [before, after] = isInput
      ? await readPasswords(this.#stdin, 2)
      : [await this.password(false), await this.#newPassword(file)];
    if (before!.use((one) => after!.use((other) => one.equals(other))))
      throw new ChatError('USAGE', 'the new password is the one before', { sub: 'password' });
    return { before: before!, after: after! };
  }

  async #newPassword(file: string | undefined): Promise<Secret> {
    if (file !== undefined) return passwordIn(file, 'new_password_file');
    const terminal = this.#terminal();
    if (terminal === null)
      throw new ChatError('USAGE', 'a new password is needed: give --new-password-file, or run in a terminal', {
        sub: 'password',
      });
    return askPassword(terminal, true, NEW_PASSWORD);
  }

  /** Of the vault: from its file, or the terminal. @throws VAULT_LOCKED when nobody can be asked; USAGE/password when it cannot be one */
  async passphrase(): Promise<Secret> {
    const { vaultPassphraseFile } = this.#files;
    if (vaultPassphraseFile !== undefined) return passwordIn(vaultPassphraseFile, 'vault_passphrase_file');
    const terminal = this.#terminal();
    if (terminal === null)
      throw new ChatError(
        'VAULT_LOCKED',
        'the store of this profile takes a passphrase: give --passphrase-file, set CHAT_VAULT_PASSPHRASE_FILE, or run in a terminal',
      );
    return askPassword(terminal, false, VAULT_PASSPHRASE);
  }

  /**
   * @param file the way that was given for it, or undefined @param flag that names a file @throws USAGE when nobody can be asked, or it is
   * too short
   */
  async newPassphrase(file: string | undefined, flag: string): Promise<Secret> {
    const terminal = file === undefined ? this.#terminal() : null;
    if (file === undefined && terminal === null)
      throw new ChatError('USAGE', `a new passphrase is needed: give ${flag}, or run in a terminal`, {
        sub: 'passphrase',
      });
    const passphrase =
      file === undefined
        ? await askPassword(terminal!, true, VAULT_PASSPHRASE)
        : passwordIn(file, 'vault_passphrase_file');
    if (passphrase.use((bytes) => bytes.toString().length) < MIN_PASSPHRASE_CHARS)
      throw new ChatError('USAGE', `a passphrase has at least ${MIN_PASSPHRASE_CHARS} characters`, {
        sub: 'passphrase',
      });
    return passphrase;
  }

  /** Of a private key; null: nobody can be asked. @param file that holds it */
  async keyPassphrase(file: string): Promise<string | null> {
    return this.#terminal()?.secret(`Passphrase of ${printable(file)}: `) ?? null;
  }
}

/** @param isNew asked for twice, until both are the same. @throws INTERRUPTED at the end of input, USAGE/password */
export async function askPassword(terminal: Terminal, isNew: boolean, what = PASSWORD): Promise<Secret> {
  for (let attempt = 1; ; attempt++) {
    const first = preparePassword(needed(await terminal.secret(`${isNew ? what.fresh : what.known}: `)));
    if (!isNew) return new Secret(first);
    const second = needed(await terminal.secret(`Repeat ${what.name}: `));
    if (first.equals(preparePassword(second))) return new Secret(first);
    if (!terminal.isInteractive || attempt === 3)
      throw new ChatError('USAGE', `the two ${what.name}s are not the same`, { sub: 'password' });
    terminal.print(`The two ${what.name}s are not the same: once more.`);
  }
}

const PASSWORD = { known: 'Password', fresh: 'Password', name: 'password' };
const NEW_PASSWORD = { known: 'New password', fresh: 'New password', name: 'new password' };
const VAULT_PASSPHRASE = { known: 'Passphrase of this profile', fresh: 'New passphrase', name: 'passphrase' };
/** Whoever has the files can guess without being counted: shorter ones are found even through Argon2id. NIST SP 800-63B-4 §3.1.1.2 */
const MIN_PASSPHRASE_CHARS = 8;

function passwordIn(file: string, field: string): Secret {
  const content = readPasswordFile(file, field);
  try {
    return content.use((bytes) => new Secret(preparePassword(bytes.toString('utf8'))));
  } finally {
    content.wipe();
  }
}
