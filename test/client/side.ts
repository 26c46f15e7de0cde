/** One logged-in client of the scripted server, and how to wait for what happens to it. */
import { join } from 'node:path';
import { type Test } from 'tap';
import { type ConversationId } from '../../base/bytes.ts';
import type { AppEvent } from '../../client/app-event.ts';
import { App, type AppOptions } from '../../client/app.ts';
import { Vault } from '../../client/vault.ts';
import type { Message } from '../../client/message-table.ts';
import { judge, decodeBatch } from '../../transcript/lineage.ts';
import { LineageMemory } from '../../transcript/lineage-memory.ts';
import { audienceOf } from '../../transcript/statement.ts';
import { ORIGIN, ScriptedServer } from './scripted-server.ts';

export interface Side {
  readonly app: App;
  readonly server: ScriptedServer;
  readonly events: AppEvent[];
  readonly id: ConversationId;
  /** The next event for which this holds, past or future. */
  until<T extends AppEvent>(is: (event: AppEvent) => event is T): Promise<T>;
  until(is: (event: AppEvent) => boolean): Promise<AppEvent>;
  shown(): string[];
}

/** Alice, who has a conversation with Bob, and a group with him unless that is what is to be made. */
export async function logIn(
  t: Test,
  server = new ScriptedServer(),
  folder = join(t.testdir({}), 'p'),
  hasGroup = true,
  more: Partial<AppOptions> = {},
): Promise<Side> {
  await equip(server, folder, hasGroup);
  const side = open(t, server, folder, undefined, more);
  await side.app.connect();
  await side.app.login(null);
  await side.app.open('bob');
  return side;
}

/** A new profile gets what it would have after the group with Bob was made. */
export async function equip(server: ScriptedServer, folder: string, hasGroup = true): Promise<void> {
  const peer = await server.peer;
  const vault = Vault.open(folder);
  if (vault.keys.device() === null) peer.equip(vault, hasGroup);
  vault.close();
}

export function open(
  t: Test,
  server: ScriptedServer,
  folder: string,
  now: () => number = Date.now,
  more: Partial<AppOptions> = {},
): Side {
  const vault = Vault.open(folder);
  const identity = server.identity('alice');
  vault.profile.setResumeToken({ token: 'token', expires: 4_000_000_000_000, fingerprint: identity.fingerprint });
  const app = new App({ vault, identity, server: 'memory', dial: async () => server.connect('alice'), now, ...more });
  const events: AppEvent[] = [];
  const watching = new Set<() => void>();
  app.on((event) => {
    events.push(event);
    for (const check of watching) check();
  });
  t.teardown(() => app.close());
  const until = (is: (event: AppEvent) => boolean): Promise<AppEvent> =>
    new Promise((resolve) => {
      const check = (): void => {
        const found = events.find(is);
        if (found === undefined) return;
        watching.delete(check);
        resolve(found);
      };
      watching.add(check);
      check();
    });
  const id = server.conversation;
  const shown = () => events.flatMap((e) => (e.on === 'message' ? [Buffer.from(e.message.body).toString()] : []));
  return { app, server, events, id, until: until as Side['until'], shown };
}

export const say = (side: Side, text: string): number => side.app.send(side.id, Buffer.from(text));
/** Only a test that has failed already meets it. */
export const PATIENCE_MS = 60_000;
export const accepted = (side: Side, row: number): Promise<Message> => side.app.waitFor(row, 'accepted', PATIENCE_MS);
export const isAlarm = (e: AppEvent): e is Extract<AppEvent, { on: 'alarm' }> => e.on === 'alarm';
export const isLost = (e: AppEvent): e is Extract<AppEvent, { on: 'lost' }> => e.on === 'lost';
export const isMessage = (e: AppEvent) => e.on === 'message';
/** All that was sent has been answered and dealt with, and the server has heard what of it is kept. */
export async function quiet(side: Side): Promise<void> {
  for (let i = 0; i < 12; i++) await turn();
  await side.app.settled().catch(() => {});
  for (let i = 0; i < 3; i++) await turn();
}
const turn = (): Promise<void> => new Promise(setImmediate);
/** What the server was told to be kept, frame by frame. */
export const told = ({ server }: Side): number[][] => server.frames('msg_received').map(({ cursors }) => cursors);
/** Every batch that was sent, judged by the rules of the log. */
export function findings(server: ScriptedServer): string[] {
  const memory = new LineageMemory();
  return server.frames('msg_send').flatMap((frame) => {
    const batch = decodeBatch(
      frame.batch,
      frame.messages.map((m) => m.statement),
    );
    const judgement = judge(batch, audienceOf(ORIGIN), memory);
    memory.apply(judgement.change);
    return judgement.findings.map((f) => f.code);
  });
}
