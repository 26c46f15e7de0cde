/**
 * No arguments: connect, register or log in, choose whom to talk to, talk. The wording of each step is fixed; programs of the same
 * kind print the same lines.
 */
import { ChatError, type Code } from '../base/errors.ts';
import { printable } from '../runtime/printable.ts';
import type { App } from './app.ts';
import type { Context } from './context.ts';
import { ConversationScreen } from './conversation-screen.ts';
import { enter } from './login-dialog.ts';
import type { Message } from './message-table.ts';
import { shownWords } from './presentation.ts';
import { obeyRoomLine } from './room-lines.ts';
import type { Conversation } from './roster.ts';
import type { Terminal } from './terminal.ts';

const TRIES = 3;

/** @throws USAGE for what contradicts that it asks, and that standard input is what is said */
export async function interactive(context: Context): Promise<void> {
  if (context.args['no-input']) throw new ChatError('USAGE', '--no-input wants a command: without one, it is asked');
  if (context.args['password-stdin'])
    throw new ChatError(
      'USAGE',
      'without a command, standard input is the conversation: give --password-file, or use login --password-stdin before',
    );
  const { terminal } = context;
  await context.withApp(async (app) => {
    app.on((event) => {
      if (event.on === 'state' && event.message.state === 'failed') showFailure(app, terminal, event.message);
    });
    const link = await app.connect();
    terminal.print('Connected to server');
    terminal.print('✔ Server certificate validated');
    terminal.print('DH complete — encrypted channel established.');
    if (context.args.verbose) terminal.print(`Channel ${link.confirmation}, suite ${link.suite}`);
    await enter(context, app, terminal);
    await app.settled(); // from now on others can write to this device, whatever becomes of it
    const conversation = await choosePeer(app, terminal);
    if (conversation !== null) await chat(app, terminal, conversation);
  });
}

/** Also of what was written in an earlier sitting, or where the talk is no more. */
function showFailure({ vault, identity }: App, terminal: Terminal, message: Message): void {
  const peer = vault.conversation(message.conversation)?.peer ?? '';
  if (peer === identity.username) return; // a part of a history, whose handing over has words of its own
  const why = printable(message.reason ?? 'failed');
  terminal.print(`! not sent to ${printable(peer, 64)} [${why}]: ${shownWords(message)}`);
}

async function choosePeer(app: App, terminal: Terminal): Promise<Conversation | null> {
  for (let attempt = 1; ; attempt++) {
    const last = app.vault.profile.lastPeer();
    const answer = await terminal.line(`Chat with${last === null ? '' : ` [${printable(last)}]`}: `);
    if (answer === null || /^\/(quit|exit|q)(\s|$)/.test(answer.trim())) return null;
    const name = answer.trim() === '' ? last : answer.trim();
    if (name === null) continue;
    try {
      const conversation = await chosen(app, terminal, name);
      app.vault.profile.setLastPeer(conversation.peer);
      return conversation;
    } catch (cause) {
      const error = ChatError.from(cause);
      const isInput = INPUT.has(error.code) || error.field === 'room';
      if (!isInput || attempt === TRIES || !terminal.isInteractive) throw error;
      terminal.print(`${printable(error.message)} [${error.code}]`);
    }
  }
}

/** A name, or a line such as `/join #room`. */
async function chosen(app: App, terminal: Terminal, answer: string): Promise<Conversation> {
  if (!answer.startsWith('/')) return app.open(answer);
  const move = await obeyRoomLine(app, null, answer, (text) => terminal.print(text));
  if (typeof move === 'object') return move;
  throw new ChatError('BAD_NAME', 'want a name, a #room, or /join or /create with a #room');
}

/** What somebody may have typed wrong. */
const INPUT: ReadonlySet<Code> = new Set<Code>(['NO_SUCH_PEER', 'NO_SUCH_ROOM', 'ROOM_EXISTS', 'BAD_NAME', 'USAGE']);

async function chat(app: App, terminal: Terminal, first: Conversation): Promise<void> {
  terminal.print('Secure channel ready — type your messages.');
  terminal.print('Type /quit to exit.');
  terminal.print(
    '(Every message is signed and recorded. Bodies are end-to-end encrypted: the server cannot read them.)',
  );
  for (let next: Conversation | null = first; next !== null;) {
    const screen: ConversationScreen = new ConversationScreen(app, terminal, next);
    if (next !== first) terminal.print(`Now with ${printable(next.peer, 64)}.`);
    let move: Conversation | 'elsewhere' | null;
    try {
      move = await screen.run();
    } finally {
      screen.leave();
    }
    next = move === 'elsewhere' ? await choosePeer(app, terminal) : move;
    if (next !== null) app.vault.profile.setLastPeer(next.peer);
  }
}
