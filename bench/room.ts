/** A public room of chat-server, whose first member writes to all others. */
import { Author } from './author.ts';
import { bodiesOf, inParallel, SEALED_BYTES } from './bodies.ts';
import type { Client } from './client.ts';
import type { Line } from './target.ts';

const AT_ONCE = 8;

export class Room {
  readonly conversation: Uint8Array;
  readonly #members: number;
  readonly #author: Author;
  readonly #enter: (i: number) => Promise<Client>;

  private constructor(
    conversation: Uint8Array,
    members: number,
    author: Author,
    enter: (i: number) => Promise<Client>,
  ) {
    this.conversation = conversation;
    this.#members = members;
    this.#author = author;
    this.#enter = enter;
  }

  /**
   * Everybody joins, and the group is made; then all leave again.
   * @param enter logs somebody in, who is registered where that is new
   * @returns why there is no such room
   */
  static async create(members: number, number: number, enter: (i: number) => Promise<Client>): Promise<Room | string> {
    const room = `#room${number}`;
    const owner = await enter(0);
    const { conversation } = await owner.request({ type: 'room_create', room, visibility: 'public' }, 'room');
    let refusal: string | null = null;
    await inParallel(members - 1, AT_ONCE, async (i) => {
      if (refusal !== null) return;
      const member = await enter(i + 1);
      await new Promise<void>((resolve) => {
        member.onRefusal = ({ code }) => {
          refusal ??= `a room of ${members} is refused: ${code}`;
          resolve();
          return true;
        };
        void member.request({ type: 'room_join', room }, 'room').then(() => resolve());
      });
      await member.close();
    });
    if (refusal === null) {
      const author = new Author(
        owner.account.own,
        owner.origin,
        await owner.request({ type: 'conversation_get', conversation }, 'conversation'),
      );
      const founded = new Room(conversation, members, author, enter);
      await owner.close();
      await founded.#found();
      return founded;
    }
    await owner.close();
    return refusal;
  }

  /** Everybody connected. */
  async line(): Promise<Line> {
    const all = await inParallel(this.#members, AT_ONCE, this.#enter);
    const [owner, ...others] = all as [Client, ...Client[]];
    const bodies = bodiesOf(SEALED_BYTES);
    let came = 0;
    const line: Line = {
      send: (n) => owner.send(this.#author.batch(bodies(n))),
      get delivered() {
        return Math.floor(came / others.length);
      },
      get accepted() {
        return owner.accepted;
      },
      onProgress: () => {},
      close: async () => void (await Promise.all(all.map((client) => client.close()))),
    };
    owner.onProgress = () => line.onProgress();
    for (const other of others) {
      let seen = other.delivered;
      other.onProgress = () => {
        came += other.delivered - seen;
        seen = other.delivered;
        line.onProgress();
      };
    }
    return line;
  }

  /** The commit that makes the group, delivered to everybody. */
  async #found(): Promise<void> {
    const all = await inParallel(this.#members, AT_ONCE, this.#enter);
    const [owner] = all as [Client];
    owner.send(this.#author.found());
    while (owner.accepted === 0) await new Promise((resolve) => (owner.onProgress = () => resolve(null)));
    await Promise.all(all.map((client) => client.request({ type: 'sync' }, 'synced')));
    await Promise.all(all.map((client) => client.settled()));
    await Promise.all(all.map((client) => client.close()));
  }
}
