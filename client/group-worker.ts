/**
 * The thread that works on large groups: their states live here, one for each handle, and whoever asks gets the next one's handle and what
 * of it is to be stored. Tasks are done one after the other. Ends with the process, or when it is told to.
 */
import { parentPort, threadId, workerData, type MessagePort } from 'node:worker_threads';
import { ChatError } from '../base/errors.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { policy } from './group-rules.ts';
import {
  compact,
  type Answers,
  type Beginning,
  type Failure,
  type Keep,
  type Made,
  type Reply,
  type Request,
} from './group-task.ts';
import { Authority, bindingName, type Device } from './e2ee/binding.ts';
import { Engine } from './e2ee/conversation.ts';
import { delta, restore, snapshot } from './e2ee/delta.ts';
import { erase, type Conversation, type RosterChange } from './e2ee/group.ts';
import { MissingBindings } from './e2ee/judge.ts';
import { keysIn, usersBehind } from './e2ee/presence.ts';
import { sketchOf, type Member } from './e2ee/sketch.ts';

/** A state, the handle of the one before it, and the secrets that were used up on the way. */
interface Place {
  readonly conversation: Conversation;
  from: number;
  spent: readonly Uint8Array[];
}
interface Done<T> {
  readonly value: T;
  readonly conversation?: Conversation;
  readonly spent?: readonly Uint8Array[];
}

const port = parentPort as MessagePort;
const { organisation, roots, intermediates } = workerData as Beginning;
const bindings = new Map<string, Uint8Array>();
const authority = new Authority({
  organisation,
  roots: roots.map((der) => parseCertificate(der)),
  intermediates: intermediates.map((der) => parseCertificate(der)),
  bindings,
});
const engine = await Engine.open(authority);
const places = new Map<number, Place>();
let turn: Promise<unknown> = Promise.resolve();

port.on('message', (message: Request | Keep) => {
  turn = turn.then(() => ('keep' in message ? keep(message) : answer(message)));
});

async function answer(request: Request): Promise<void> {
  let reply: Reply;
  try {
    for (const each of request.bindings) bindings.set(bindingName(each), each);
    const { value, conversation, spent = [] } = await work(request);
    const made = conversation === undefined ? null : await keepAs(request, conversation, spent);
    reply = { id: request.id, value, made, thread: threadId };
  } catch (error) {
    reply = { id: request.id, error: failure(error) };
  }
  port.postMessage(compact(reply));
}

async function keepAs(
  { of, into, isFull }: Request,
  conversation: Conversation,
  spent: readonly Uint8Array[],
): Promise<Made> {
  places.set(into, { conversation, from: of, spent });
  const before = places.get(of)?.conversation;
  const isSame = before !== undefined && before.pending === conversation.pending && !isFull;
  const change = isSame ? delta(before, conversation) : null;
  if (change !== null) return { delta: change };
  return { snapshot: snapshot(conversation), sketch: sketchOf(conversation, await engine.members(conversation)) };
}

/** Inside, everything is done on states; outside nobody sees one. */
async function work({ task, of, give }: Request): Promise<Done<Answers[keyof Answers]>> {
  if (give !== null) places.set(of, { conversation: restore(give.snapshot, give.deltas), from: 0, spent: [] });
  const state = (): Conversation => {
    const place = places.get(of);
    if (place === undefined) throw new ChatError('INTERNAL', 'a state of a group is not where it was left');
    return place.conversation;
  };
  switch (task.do) {
    case 'commit': {
      const { conversation, commit, welcome } = await engine.commit(state(), task.wanted, task.at, policy);
      return { value: { commit, welcome }, conversation };
    }
    case 'adopt':
      return { value: null, conversation: engine.adopt(state()) };
    case 'drop':
      return { value: null, conversation: engine.drop(state()) };
    case 'door':
      return { value: await engine.door(state()) };
    case 'encrypt': {
      const { conversation, message, spent } = await engine.encrypt(state(), task.plaintext, task.authenticatedData);
      return { value: { message }, conversation, spent };
    }
    case 'receive':
      return received(await engine.receive(state(), task.bytes, task.at, policy));
    case 'join': {
      const { conversation, by } = await engine.join(task.welcome, task.device, task.secret);
      return { value: { by: member(by) }, conversation };
    }
    case 'joinExternal': {
      const { door, device, at, authenticatedData } = task;
      const { conversation, commit } = await engine.joinExternal(door, device, at, authenticatedData);
      return { value: { commit }, conversation };
    }
    case 'keys':
      return { value: keysIn(state(), task.leaving) };
    case 'usersBehind':
      return { value: usersBehind(task.door) };
  }
}

function received(result: Awaited<ReturnType<Engine['receive']>>): Done<Answers['receive']> {
  switch (result.kind) {
    case 'message': {
      const { kind, sender, authenticatedData, plaintext, conversation, spent } = result;
      return { value: { kind, sender: member(sender), authenticatedData, plaintext }, conversation, spent };
    }
    case 'commit': {
      const { kind, change, authenticatedData, conversation, spent } = result;
      return { value: { kind, change: shift(change), authenticatedData }, conversation, spent };
    }
    case 'adopted':
      return { value: { kind: 'adopted' }, conversation: result.conversation };
    case 'removed': {
      const { kind, change, authenticatedData } = result;
      return { value: { kind, change: shift(change), authenticatedData } };
    }
  }
}

function keep({ keep: kept, forget }: Keep): void {
  for (const handle of kept) {
    const place = places.get(handle);
    for (let at = place; at !== undefined; at = places.get(at.from)) {
      erase(at.spent);
      at.spent = [];
    }
    if (place !== undefined) place.from = 0;
  }
  for (const handle of forget) places.delete(handle);
}

const member = ({ user, deviceId, bindingHash, certificate }: Device): Member => ({
  user,
  deviceId,
  bindingHash,
  certificate,
});
const shift = ({ by, added }: RosterChange): { by: Member; added: Member[] } => ({
  by: member(by),
  added: added.map(member),
});

function failure(error: unknown): Failure {
  const { code, message, field, sub } = ChatError.from(error);
  return { code, message, field, sub, missing: error instanceof MissingBindings ? error.names : null };
}
