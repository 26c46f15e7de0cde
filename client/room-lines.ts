/** What the interactive mode does with rooms: one line, one change, and where the talk goes on. */
import { ChatError } from '../base/errors.ts';
import { printable } from '../runtime/printable.ts';
import { canonicalUsername } from '../x509/identity.ts';
import type { App } from './app.ts';
import { shownOccupant } from './presentation.ts';
import { isRoomName, ROLES } from './room-terms.ts';
import type { Conversation } from './roster.ts';

export const ROOM_HELP = [
  '/join #ROOM, /create #ROOM [public], /query PERSON   go on talking there',
  '/part               leave this room for good, and choose anew',
  '/names              who is in this room, and who can read',
  '/topic [TEXT]       what it is about',
  '/invite /kick /ban PERSON, /role PERSON owner|admin|member',
];

/** A conversation: go on there; `elsewhere`: this one is over; `here`: nothing changes; `unknown`: not a command about rooms. */
export type Move = Conversation | 'elsewhere' | 'here' | 'unknown';

/**
 * @param here null: none is chosen yet
 * @throws USAGE, and what app.rooms throws
 */
export async function obeyRoomLine(
  app: App,
  here: Conversation | null,
  line: string,
  print: (text: string) => void,
): Promise<Move> {
  const [command, first = '', second = ''] = line.trim().split(/\s+/, 3);
  switch (command) {
    case '/join':
      return isRoomName(first) ? joined(app, first) : unclear('/join wants a #room');
    case '/create':
      if (second !== '' && second !== 'public' && second !== 'private') unclear('a room is public or private');
      return isRoomName(first) ? app.rooms.create(first, second === 'public') : unclear('/create wants a #room');
    case '/query':
      return first === '' ? unclear('/query wants a name') : app.open(first);
  }
  if (here?.room === undefined)
    return /^\/(part|names|topic|invite|kick|ban|role)$/.test(command ?? '')
      ? unclear('this is not a room')
      : 'unknown';
  const { rooms } = app;
  const room = here.peer;
  const user = (): string => (first === '' ? unclear(`${command} wants a name`) : canonicalUsername(first));
  switch (command) {
    case '/part':
      await rooms.leave(room);
      return 'elsewhere';
    case '/names':
      for (const occupant of (await rooms.view(room)).occupants) print(shownOccupant(occupant));
      return 'here';
    case '/topic': {
      const text = line.trim().slice(command.length).trim();
      if (text !== '') await rooms.setTopic(room, text);
      const { topic } = await rooms.view(room);
      print(topic === null ? 'No topic.' : `Topic: ${printable(topic)}`); // by itself it could pass for somebody's line
      return 'here';
    }
    case '/invite': {
      const canRead = await rooms.invite(room, user());
      print(canRead ? `${user()} is in.` : `${user()} is a member, and has no device yet that can read.`);
      return 'here';
    }
    case '/kick':
    case '/ban': {
      const isOut = await rooms.remove(room, command === '/kick' ? 'kick' : 'ban', user());
      print(
        isOut ? `${user()} is out.` : `${user()} is out of the list, and can read until the next message is written.`,
      );
      return 'here';
    }
    case '/role': {
      const role = ROLES.find((each) => each === second) ?? unclear(`a role is one of ${ROLES.join(', ')}`);
      await rooms.setRole(room, user(), role);
      return 'here';
    }
  }
  return 'unknown';
}

/** Joined, unless this user is in it already. */
async function joined(app: App, room: string): Promise<Conversation> {
  try {
    return await app.open(room);
  } catch (error) {
    if (!(error instanceof ChatError) || error.code !== 'NOT_FOUND') throw error;
    return app.rooms.join(room);
  }
}

function unclear(sentence: string): never {
  throw new ChatError('USAGE', sentence);
}
