/** `contact …`: who is in contact, who asks to be, and whom one wants to hear nothing of. */
import type { Argv, CommandModule } from 'yargs';
import { hex } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { printable } from '../../runtime/printable.ts';
import { iso } from '../../verify/time.ts';
import { canonicalEmail, canonicalUsername } from '../../x509/identity.ts';
import { CONTACT_WORDS, type ContactAction } from '../contacts.ts';
import type { GlobalArgs } from '../context.ts';
import { verifiedPeople, type Standing } from '../marks.ts';
import { verificationLines } from '../verification.ts';
import type { Run } from './account.ts';

interface PersonArgs extends GlobalArgs {
  readonly person: string;
}
interface VerifyArgs extends PersonArgs {
  readonly confirm: boolean;
  readonly clear: boolean;
}

const ACTIONS: readonly (readonly [ContactAction, string])[] = [
  ['add', 'Ask somebody to become a contact (accepts, if that person has already asked)'],
  ['accept', 'Accept a request'],
  ['decline', 'Decline a request'],
  ['remove', 'End a contact, or withdraw your own request'],
  ['block', 'Neither hear from somebody nor be seen by them, whatever the server allows'],
  ['unblock', 'End a block'],
];
export const contactCommand = (run: Run): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'contact <command>',
  describe: 'Contacts: list, add, accept, decline, remove, block, unblock, verify, directory',
  builder: (y) => {
    let commands: Argv<GlobalArgs> = y
      .command({
        command: 'list',
        describe: 'List contacts, requests in both directions, and people you have blocked',
        handler: (args) => list(run, args as unknown as GlobalArgs),
      })
      .command({
        command: 'directory',
        describe: 'List everybody who has an account, as far as the server shows them',
        handler: (args) => directory(run, args as unknown as GlobalArgs),
      });
    commands = commands.command({
      command: 'verify <person>',
      describe: 'Show the number to compare with somebody, by voice or face to face, and the certificates behind it',
      builder: (z: Argv) =>
        z
          .positional('person', { type: 'string', describe: 'username or e-mail address' })
          .option('confirm', {
            type: 'boolean',
            default: false,
            describe: 'it was the same: the person counts as verified until a key changes',
          })
          .option('clear', { type: 'boolean', default: false, describe: 'the person no longer counts as verified' })
          .example('$0 contact verify bob', 'read the number to each other')
          .example('$0 contact verify bob --confirm', 'it was the same'),
      handler: (args) => verify(run, args as unknown as VerifyArgs),
    });
    for (const [action, describe] of ACTIONS)
      commands = commands.command({
        command: `${action} <person>`,
        describe,
        builder: (z: Argv) => z.positional('person', { type: 'string', describe: 'username or e-mail address' }),
        handler: (args) => change(run, action, args as unknown as PersonArgs),
      });
    return commands
      .example('$0 contact add bob@example.org', 'bob sees it at once, or at the next login')
      .demandCommand(1, 'want list, add, accept, decline, remove, block, unblock, verify or directory');
  },
  handler: () => {},
});

const list = (run: Run, args: GlobalArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      const people = await app.contacts();
      const verified = verifiedPeople(app.vault);
      for (const { username, email, state, at } of people) {
        const since = iso(at);
        const known = verified.get(username);
        const mark = { verified: known !== undefined, verified_at: known === undefined ? null : iso(known) };
        if (args.json) context.json('contact', { username, email, state, since, ...mark });
        else
          context.out(
            `${printable(username, 64)} <${printable(email)}>: ${CONTACT_WORDS[state]}, since ${since}${known === undefined ? '' : ', verified'}`,
          );
      }
    }),
  );

const directory = (run: Run, args: GlobalArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      for (const { username, email, display_name: name } of await app.directory()) {
        if (args.json)
          context.json('person', { username, email, ...(name === undefined ? {} : { display_name: name }) });
        else
          context.out(
            `${printable(username, 64)} <${printable(email)}>${name === undefined ? '' : ` ${printable(name)}`}`,
          );
      }
    }),
  );

const verify = (run: Run, args: VerifyArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      if (args.confirm && args.clear) throw new ChatError('USAGE', '--confirm and --clear exclude each other');
      if (args.clear) app.comparisons.clear(args.person);
      const found = await (args.confirm ? app.comparisons.confirm(args.person) : app.comparisons.show(args.person));
      if (args.json) {
        const { peer, number, devices, standing } = found;
        return context.json('verification', {
          peer,
          number,
          ...standingFields(standing),
          devices: devices.map(({ subject, issuer, notAfter, fingerprint }) => ({
            subject: subject.text,
            issuer: issuer.text,
            not_after: iso(notAfter),
            sha256: hex(fingerprint),
          })),
        });
      }
      for (const line of verificationLines(found)) context.out(line);
    }),
  );

/** `verified_on`: the device of this user that it was confirmed on, if it was another; it counts once that one is approved here. */
const standingFields = (standing: Standing): Record<string, unknown> => ({
  verified: standing.is === 'verified',
  verified_at: 'at' in standing ? iso(standing.at) : null,
  verified_until: standing.is === 'ended' ? iso(standing.ended) : null,
  verified_on: 'on' in standing && standing.on !== null ? hex(standing.on) : null,
});

const change = (run: Run, action: ContactAction, args: PersonArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      const account = args.person.includes('@') ? canonicalEmail(args.person) : canonicalUsername(args.person);
      const { username, state } = await app.changeContact(action, account);
      if (args.json) context.json('contact', { username, state });
      else context.out(`${printable(username, 64)}: ${CONTACT_WORDS[state]}`);
    }),
  );
