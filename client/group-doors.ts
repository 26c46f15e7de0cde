/**
 * States of groups that the server shows for coming in from outside; and which groups cannot be entered, and since when. One for which that lasts counts
 * as lost, and is made anew.
 */
import { hex, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { fetchBlob } from './blobs.ts';
import { refuse } from './e2ee/refusal.ts';
import { headerOf } from './e2ee/header.ts';
import type { GroupDoor } from './e2ee/invitation.ts';
import { readDoor } from './e2ee/layout.ts';
import { isOf } from './group-state.ts';
import type { Session } from './session.ts';

/**
 * How long the sender of the newest commit may take to repeat it, and the server to show a state that can be entered, before the group
 * counts as lost.
 */
const LOST_MS = 30_000;

/** A group that cannot be entered. */
interface Closed {
  /** Unix ms */
  readonly since: number;
  /** SHA-256 of the state that was tried in vain, in hexadecimal; null: there was none, or nothing that could be tried */
  readonly tried: string | null;
}

export class GroupDoors {
  readonly #now: () => number;
  readonly #closed = new Map<string, Closed>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** This device is inside. */
  entered(id: ConversationId): void {
    this.#closed.delete(hex(id));
  }
  /** What the server shows of the group was tried, and lets nobody in: a member has put it there, or the server has. */
  shut(id: ConversationId, door: GroupDoor): void {
    this.#closed.set(hex(id), { since: this.#closed.get(hex(id))?.since ?? this.#now(), tried: doorName(door) });
  }
  /** Whether that was this one. */
  wasTried(id: ConversationId, door: GroupDoor): boolean {
    return this.#closed.get(hex(id))?.tried === doorName(door);
  }
  /** Whether it is long enough ago that the group could not be entered; from now on it is counted. */
  isLost(id: ConversationId): boolean {
    const now = this.#now();
    const { since: first, tried } = this.#closed.get(hex(id)) ?? { since: now, tried: null };
    const since = Math.min(first, now); // the clock may have been set back
    this.#closed.set(hex(id), { since, tried });
    return now - since >= LOST_MS;
  }
  /** Another connection: what the server shows is tried again. Since when that was in vain stays known. */
  forget(): void {
    for (const [key, { since }] of this.#closed) this.#closed.set(key, { since, tried: null });
  }
}

/** @throws DECRYPT_FAIL/group_info, BAD_FRAME for what is not this state of the group */
export async function doorInto(
  session: Session,
  id: ConversationId,
  { generation, epoch }: { readonly generation: number; readonly epoch: number },
  info: Uint8Array,
): Promise<GroupDoor | null> {
  const door = readDoor(info);
  const header = headerOf(door.groupInfo);
  if (!isOf(header, id, generation) || header.epoch !== epoch)
    refuse('group_info', 'the server shows another state of the group than it says');
  return doorOf(session, door);
}

/** With its tree; null when the server does not keep that. */
async function doorOf(session: Session, { groupInfo, tree }: ReturnType<typeof readDoor>): Promise<GroupDoor | null> {
  try {
    return { groupInfo, tree: tree && (await fetchBlob(session.requester, tree)) };
  } catch (error) {
    if (error instanceof ChatError && error.code === 'NOT_FOUND') return null;
    throw error;
  }
}

const doorName = ({ groupInfo, tree }: GroupDoor): string => hex(sha256(groupInfo, tree ?? new Uint8Array()));
