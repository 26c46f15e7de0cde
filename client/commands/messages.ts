/** `send`, `recv`, `history`. */
import type { CommandModule } from 'yargs';
import { fromUtf8, hex, utf8 } from '../../base/bytes.ts';
import { ChatError, CODES } from '../../base/errors.ts';
import { printable } from '../../runtime/printable.ts';
import { canonicalEmail, canonicalUsername } from '../../x509/identity.ts';
import type { Milestone } from '../milestones.ts';
import type { App } from '../app.ts';
import type { Context, GlobalArgs } from '../context.ts';
import { parseExpiry } from '../durations.ts';
import { written } from '../output.ts';
import { messageFields, receiptFields, shownMessage } from '../presentation.ts';
import { isRoomName, roomName } from '../room-terms.ts';
import type { Conversation } from '../roster.ts';
import type { Message } from '../message-table.ts';
import type { Vault } from '../vault.ts';
import type { Run } from './account.ts';

/** What main makes of the argument `-`. */
export const STDIN_ARGUMENT = '\0-';

/** Of a command that takes a text. */
export interface TextArgs extends GlobalArgs {
  readonly message?: string | undefined;
  /** words after `--` */
  readonly '--'?: readonly string[] | undefined;
}
interface SendArgs extends TextArgs {
  readonly peer: string;
  readonly wait: Milestone;
  readonly 'reply-to'?: string | undefined;
  readonly expire?: string | undefined;
}

export const sendCommand = (run: Run): CommandModule<GlobalArgs, SendArgs> => ({
  command: 'send <peer> [message]',
  describe: 'Send one message; prints its place in the conversation',
  builder: (y) =>
    y
      .positional('peer', { type: 'string', demandOption: true, describe: 'username, e-mail address, or #room' })
      .positional('message', {
        type: 'string',
        describe: '- or nothing: standard input (one line ending at its end is removed)',
      })
      .option('wait', {
        choices: ['accepted', 'delivered', 'read'] as const,
        default: 'accepted' as const,
        describe: 'what to wait for: logged and queued, or signed by a device of the recipient as stored, or as shown',
      })
      .option('reply-to', {
        type: 'string',
        requiresArg: true,
        describe: 'the message that it answers: its place, or 8 digits of its id (history shows both)',
      })
      .option('expire', {
        type: 'string',
        requiresArg: true,
        describe: 'make it disappear everywhere after this time, such as 1h; off: never',
      })
      .example('$0 send bob "stand by" --wait delivered', 'exit status 7 if bob does not receive it within 30 s')
      .example('df -h | $0 send bob -', 'the body from standard input'),
  handler: (args) =>
    run(args, async (context) => {
      const body = await bodyOf(context, args);
      const expireMs = args.expire === undefined ? undefined : parseExpiry(args.expire, '--expire');
      await context.withLogin(async (app) => {
        const conversation = await app.open(args.peer);
        const { 'reply-to': reference } = args;
        const replyTo = reference === undefined ? undefined : app.vault.annotations.find(conversation.id, reference);
        const row = app.send(conversation.id, body, { replyTo, expireMs });
        const sent = await app.waitFor(row, args.wait, context.timeoutMs);
        if (args.json) context.json('sent', messageFields(app.vault.annotations.reading(sent), conversation.peer));
        else context.out(`${printable(conversation.peer)} #${sent.seq} ${sent.state}`);
      });
    }),
});

/** @throws USAGE, TOO_LARGE */
export async function bodyOf(context: Context, { message: before, '--': behind = [] }: TextArgs): Promise<Uint8Array> {
  const [message, ...more] = before === undefined ? behind : [before, ...behind];
  if (more.length > 0) throw new ChatError('USAGE', 'a message is one argument: put it into quotes');
  const fromStdin = message === STDIN_ARGUMENT || (message === undefined && context.streams.stdin.isTTY !== true);
  if (message === undefined && !fromStdin)
    throw new ChatError('USAGE', 'no message: give it as an argument, or - for standard input');
  if (fromStdin && context.args['password-stdin'])
    throw new ChatError('USAGE', 'standard input cannot be both the password and the message');
  let body: Uint8Array = fromStdin ? await context.stdin() : utf8(message!);
  const text = fromUtf8(body);
  if (text !== null && fromStdin) body = utf8(text.replace(/\r?\n$/, ''));
  if (body.length === 0 || text?.trim() === '') throw new ChatError('USAGE', 'an empty message is not sent');
  return body;
}

interface RecvArgs extends GlobalArgs {
  readonly peer?: string | undefined;
  readonly follow: boolean;
  readonly max?: number | undefined;
  readonly since?: number | undefined;
}

/** Without --follow: how long nothing more must have come once all that waited has. */
const QUIET_MS = 500;
const PAGE = 500;

export const recvCommand = (run: Run): CommandModule<GlobalArgs, RecvArgs> => ({
  command: 'recv [peer]',
  describe: 'Print messages that have not been shown yet',
  builder: (y) =>
    y
      .positional('peer', { type: 'string', describe: 'only those of one conversation' })
      .option('follow', { alias: 'f', type: 'boolean', default: false, describe: 'continue until interrupted' })
      .option('max', { type: 'number', describe: 'stop after this many', requiresArg: true })
      .option('since', {
        type: 'number',
        describe: 'with a peer: those after this place, even if shown before',
        requiresArg: true,
      })
      .example('$0 recv -f --json', 'one object per line, as they arrive')
      .example('$0 recv bob --max 1 --timeout 10s', 'wait for one'),
  handler: (args) =>
    run(args, (context) =>
      context.withLogin(async (app) => {
        if (args.since !== undefined && args.peer === undefined) throw new ChatError('USAGE', '--since needs a peer');
        for (const value of [args.max, args.since])
          if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0))
            throw new ChatError('USAGE', '--max and --since want whole numbers');
        await receive(context, app, args);
      }),
    ),
});

async function receive(context: Context, app: App, args: RecvArgs): Promise<void> {
  const { vault } = app;
  const conversation = args.peer === undefined ? null : await app.open(args.peer);

  const peers = new Map<string, string>();
  const peerOf = ({ conversation: id, sender }: Message): string => {
    const known = peers.get(hex(id)) ?? vault.conversation(id)?.peer ?? sender;
    peers.set(hex(id), known);
    return known;
  };
  const print = (message: Message): void => {
    const peer = peerOf(message);
    const reading = vault.annotations.reading(message);
    if (args.json) context.json('message', messageFields(reading, peer));
    else context.out(shownMessage(reading, peer));
  };
  let left = args.max ?? Infinity;
  /** Only what has left this process was seen: the rest is printed by the next one. */
  const show = async (messages: readonly Message[]): Promise<void> => {
    const shown: number[] = [];
    try {
      for (const message of messages) {
        print(message);
        await written(context.streams.stdout);
        shown.push(message.row);
      }
    } finally {
      app.markShown(shown);
      left -= shown.length;
    }
  };
  if (conversation !== null && args.since !== undefined)
    await show(vault.receivedAfter(conversation.id, args.since, Math.min(left, 1_000_000)));
  let showing: Promise<void> = Promise.resolve();
  /** One after the other: what is being shown is not marked yet. */
  const drain = (): Promise<void> =>
    (showing = showing.then(async () => {
      while (left > 0) {
        const page = vault.unshown(conversation?.id ?? null, Math.min(left, PAGE));
        await show(page);
        if (page.length < PAGE) return;
      }
    }));
  await drain();
  if (left <= 0) return;
  // With --max, or told how long: wait for that many, that long. Else: until what waited has come.
  const isCounted = args.max !== undefined || args.timeout !== undefined;
  /** What kept the server from bringing what waits. */
  let missed: unknown = null;
  await new Promise<void>((resolve, reject) => {
    let quiet: NodeJS.Timeout | undefined;
    let late: NodeJS.Timeout | undefined;
    let isComing = !isCounted && !args.follow;
    let isOver = false;
    const rest = (): void => {
      clearTimeout(quiet);
      if (!args.follow && !isComing && !isOver) quiet = setTimeout(done, isCounted ? context.timeoutMs : QUIET_MS);
    };
    const look = async (): Promise<void> => {
      try {
        await drain();
        if (left <= 0) done();
      } catch (error) {
        fail(error);
      }
    };
    const stop = app.on((event) => {
      if (event.on === 'lost' && !event.willRetry) fail(event.error);
      if (event.on === 'connected' && isComing) ask();
      if (event.on !== 'message') return;
      void look();
      if (!isCounted) rest();
    });
    const finish = (outcome: () => void): void => {
      isOver = true;
      clearTimeout(quiet);
      clearTimeout(late);
      stop();
      outcome();
    };
    const done = (): void => finish(() => resolve(showing));
    const fail = (error: unknown): void => finish(() => reject(error as Error));
    rest();
    void look(); // what came between the first look and the listening
    const arrived = (): void => {
      isComing = false;
      rest();
    };
    const ask = (): void =>
      void app.caughtUp().then(
        () => {
          missed = null;
          arrived();
        },
        (cause: unknown) => {
          missed = cause;
          if (CODES[ChatError.from(cause).code].exit !== CODES.CONNECTION_LOST.exit) return arrived();
          if (!isOver) late ??= setTimeout(arrived, context.timeoutMs); // there may be another connection soon
        },
      );
    if (isComing) ask();
  });
  if (missed !== null) throw missed; // nothing more was shown is not nothing more is there
  if (args.max !== undefined && left > 0 && !args.follow)
    throw new ChatError('NOT_REACHED', `${args.max - left} of ${args.max} messages came`);
}

interface HistoryArgs extends GlobalArgs {
  readonly peer: string;
  readonly last: number;
}

export const historyCommand = (run: Run): CommandModule<GlobalArgs, HistoryArgs> => ({
  command: 'history <peer>',
  describe: "Print messages of a conversation, in order, from this profile's own records",
  builder: (y) =>
    y
      .positional('peer', { type: 'string', demandOption: true, describe: 'username, e-mail address, or #room' })
      .option('last', { type: 'number', default: 50, describe: 'how many', requiresArg: true })
      .example('$0 history bob --last 10', 'the last ten')
      .example('$0 history bob --json | jq -r .body', 'the bodies'),
  handler: (args) =>
    run(args, (context) =>
      context.withRecords((vault) => {
        if (!Number.isSafeInteger(args.last) || args.last < 1)
          throw new ChatError('USAGE', '--last wants a whole number from 1 on');
        const conversation = conversationWith(vault, args.peer);
        for (const message of vault.history(conversation.id, args.last)) {
          const reading = vault.annotations.reading(message);
          if (args.json) {
            const receipts = message.hash === null ? [] : vault.receipts.of(message.hash);
            const fields = messageFields(reading, conversation.peer);
            context.json('message', {
              ...fields,
              ...(receipts.length > 0 && { receipts: receipts.map(receiptFields) }),
            });
          } else context.out(shownMessage(reading, conversation.peer, true));
        }
      }),
    ),
});

/** From this profile's own records. @throws NOT_FOUND, BAD_NAME */
export function conversationWith(vault: Vault, peer: string): Conversation {
  const name = isRoomName(peer) ? roomName(peer) : peer.includes('@') ? canonicalEmail(peer) : canonicalUsername(peer);
  const conversation = vault.conversationWith(name);
  if (conversation === null) throw new ChatError('NOT_FOUND', 'this profile has no conversation with that name');
  return conversation;
}
