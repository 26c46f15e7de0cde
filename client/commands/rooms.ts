/** `room …`: conversations of many, with a name. Every change of members is one of who can read, and the command waits for it. */
import type { Argv, CommandModule } from 'yargs';
import { printable } from '../../runtime/printable.ts';
import { canonicalUsername } from '../../x509/identity.ts';
import type { App } from '../app.ts';
import type { Context, GlobalArgs } from '../context.ts';
import { shownOccupant } from '../presentation.ts';
import { ROLES, type Role } from '../room-terms.ts';
import type { Run } from './account.ts';

interface RoomArgs extends GlobalArgs {
  readonly room: string;
}
interface CreateArgs extends RoomArgs {
  readonly private?: boolean | undefined;
  readonly public?: boolean | undefined;
  readonly topic?: string | undefined;
}
interface PersonArgs extends RoomArgs {
  readonly user: string;
}
interface RoleArgs extends PersonArgs {
  readonly role: Role;
}
interface TopicArgs extends RoomArgs {
  readonly text?: string | undefined;
}

const named = (y: Argv): Argv =>
  y.positional('room', { type: 'string', describe: 'its name, with #; quote it in a shell' });
const withPerson = (y: Argv): Argv => named(y).positional('user', { type: 'string', describe: 'username' });

export const roomCommand = (run: Run): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'room <command>',
  describe: 'Rooms: create, list, join, leave, invite, kick, ban, unban, role, topic, members',
  builder: (y) =>
    y
      .command({
        command: 'create <room>',
        describe: 'Create a room, with you as its owner; it is private unless --public is given',
        builder: (z: Argv) =>
          named(z)
            .option('private', { type: 'boolean', describe: 'by invitation, and not listed' })
            .option('public', { type: 'boolean', describe: 'listed, and open to everybody' })
            .conflicts('private', 'public')
            .option('topic', { type: 'string', requiresArg: true, describe: 'what it is about (the server reads it)' }),
        handler: (args) => create(run, args as unknown as CreateArgs),
      })
      .command({
        command: 'list',
        describe: 'List public rooms, and your own',
        handler: (args) => list(run, args as unknown as GlobalArgs),
      })
      .command({
        command: 'join <room>',
        describe: 'Join a public room; what was written before stays unreadable',
        builder: named,
        handler: (args) =>
          done(run, args as unknown as RoomArgs, 'joined', async (app, { room }) => void (await app.rooms.join(room))),
      })
      .command({
        command: 'leave <room>',
        describe: 'Leave a room; what was said stays in this profile',
        builder: named,
        handler: (args) => done(run, args as unknown as RoomArgs, 'left', (app, { room }) => app.rooms.leave(room)),
      })
      .command({
        command: 'invite <room> <user>',
        describe: 'Make somebody a member; their devices can read from now on',
        builder: withPerson,
        handler: (args) => invite(run, args as unknown as PersonArgs),
      })
      .command({
        command: 'kick <room> <user>',
        describe: 'Remove somebody (admins and owners)',
        builder: withPerson,
        handler: (args) => remove(run, 'kick', args as unknown as PersonArgs),
      })
      .command({
        command: 'ban <room> <user>',
        describe: 'Remove somebody, and keep them out',
        builder: withPerson,
        handler: (args) => remove(run, 'ban', args as unknown as PersonArgs),
      })
      .command({
        command: 'unban <room> <user>',
        describe: 'End a ban',
        builder: withPerson,
        handler: (args) =>
          done(run, args as unknown as PersonArgs, 'unbanned', (app, { room, user }) =>
            app.rooms.unban(room, canonicalUsername(user)),
          ),
      })
      .command({
        command: 'role <room> <user> <role>',
        describe: 'Set what a member may do (owners)',
        builder: (z: Argv) => withPerson(z).positional('role', { choices: ROLES, describe: 'owner, admin or member' }),
        handler: (args) =>
          done(run, args as unknown as RoleArgs, 'changed', (app, { room, user, role }) =>
            app.rooms.setRole(room, canonicalUsername(user), role),
          ),
      })
      .command({
        command: 'topic <room> [text]',
        describe: 'Set the topic, or remove it with an empty text; without a text, print it',
        builder: (z: Argv) => named(z).positional('text', { type: 'string', describe: 'the server reads it' }),
        handler: (args) => topic(run, args as unknown as TopicArgs),
      })
      .command({
        command: 'members <room>',
        describe: 'List who is in it according to the server, and who can read according to this device',
        builder: named,
        handler: (args) => members(run, args as unknown as RoomArgs),
      })
      .example("$0 room create '#ops' --public --topic 'all hands'", 'everybody can find and join it')
      .example("$0 room invite '#plan' bob", 'bob can read what is written from now on')
      .demandCommand(1, 'want create, list, join, leave, invite, kick, ban, unban, role, topic or members'),
  handler: () => {},
});

const create = (run: Run, args: CreateArgs): Promise<void> =>
  done(run, args, 'created', async (app, { room, topic: text }) => {
    await app.rooms.create(room, args.public === true, text);
  });

/** Does it, and says that it is done. */
const done = <A extends RoomArgs>(
  run: Run,
  args: A,
  result: string,
  work: (app: App, args: A) => Promise<void>,
): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      await work(app, args);
      say(context, args.room, result);
    }),
  );

function say(context: Context, room: string, result: string, more: Readonly<Record<string, unknown>> = {}): void {
  if (context.args.json) context.json('room', { room, result, ...more });
  else context.out(`${printable(room, 64)} ${result}`);
}

const invite = (run: Run, args: PersonArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      const user = canonicalUsername(args.user);
      const canRead = await app.rooms.invite(args.room, user);
      say(context, args.room, 'invited', { user, can_read: canRead });
      if (!canRead)
        context.note(
          `${user} has no device yet that can read: let in when there is one, and this profile is connected`,
        );
    }),
  );

const remove = (run: Run, action: 'kick' | 'ban', args: PersonArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      const user = canonicalUsername(args.user);
      const isOut = await app.rooms.remove(args.room, action, user);
      say(context, args.room, action === 'kick' ? 'kicked' : 'banned', { user, is_out: isOut });
      if (!isOut) context.note(`${user} is taken out of the group before the next message is written`);
    }),
  );

const list = (run: Run, args: GlobalArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      for (const { room, visibility, members: count, topic: text, role } of await app.rooms.list()) {
        if (args.json)
          context.json('room', { room, visibility, members: count, topic: text ?? null, role: role ?? null });
        else {
          const about = text === undefined ? '' : `: ${printable(text)}`;
          const own = role === undefined ? '' : `, you are ${role}`;
          context.out(`${printable(room, 64)} (${visibility}, ${count} member${count === 1 ? '' : 's'}${own})${about}`);
        }
      }
    }),
  );

const topic = (run: Run, args: TopicArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      if (args.text !== undefined) {
        await app.rooms.setTopic(args.room, args.text);
        return say(context, args.room, 'changed');
      }
      const { topic: text } = await app.rooms.view(args.room);
      if (args.json) context.json('topic', { room: args.room, topic: text });
      else context.out(text === null ? '' : printable(text));
    }),
  );

const members = (run: Run, args: RoomArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      const { occupants, banned } = await app.rooms.view(args.room);
      for (const occupant of occupants) {
        const { username, role, canRead } = occupant;
        if (args.json) context.json('member', { username, role, can_read: canRead });
        else context.out(shownOccupant(occupant));
      }
      for (const username of banned) {
        if (args.json) context.json('banned', { username });
        else context.out(`${printable(username, 64)}: banned`);
      }
    }),
  );
