/**
 * A commit of our own that is on its way, seen in what others have stated since: it was accepted, though the acknowledgement is still to come; or
 * somebody else's stands in its place.
 */
import { equal, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { epochOf, pendingEpoch } from './e2ee/held.ts';
import type { Header } from './e2ee/header.ts';
import type { GroupEngine } from './group-engine.ts';
import { entered, isOf, type Group } from './group-state.ts';

/**
 * Works by what withEvidence() makes of the group; or by the group as it is, where that was wrong: somebody else's commit, which was not for this device
 * yet, has made the state that our own was to make, and ours is about to be refused.
 */
export async function guessing<T>(
  engine: GroupEngine,
  group: Group,
  header: Header,
  id: ConversationId,
  work: (group: Group) => Promise<T>,
): Promise<T> {
  const ahead = await withEvidence(engine, group, header, id);
  const isGuess = group.entry !== null && ahead.conversation === group.entry.conversation;
  try {
    return await work(ahead);
  } catch (error) {
    if (!isGuess || ChatError.from(error).code !== 'DECRYPT_FAIL') throw error;
    return work(group);
  }
}

/** The server takes one commit in each epoch: where somebody else's stands, our own, by which we wanted to come in, was not it. */
export function withoutRival(group: Group, header: Header, generation: number, commit: Uint8Array): Group {
  const { entry } = group;
  if (entry === null || generation < entry.generation || equal(commit, entry.commit)) return group;
  const isLater = generation > entry.generation || header.epoch >= epochOf(entry.conversation) - 1;
  return isLater && !(generation === entry.generation && header.epoch >= epochOf(entry.conversation))
    ? { ...group, entry: null }
    : group;
}

/**
 * The group as it must be if somebody wrote in the state that our own commit, on its way, makes: nobody can have that but from the log. The
 * acknowledgement is still to come; after a kill the others' messages are here before it. Who comes in from outside may be wrong: guessing().
 */
async function withEvidence(engine: GroupEngine, group: Group, header: Header, id: ConversationId): Promise<Group> {
  const { entry, conversation } = group;
  if (entry !== null && isOf(header, id, entry.generation) && header.epoch === epochOf(entry.conversation))
    return entered(entry);
  if (conversation !== null && isOf(header, id, group.generation) && header.epoch === pendingEpoch(conversation))
    return { ...group, conversation: await engine.adopt(conversation) };
  return group;
}
