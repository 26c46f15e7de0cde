/** `chat-server transcript list`, `checkpoint` and `export`: what an operator can show of the log. From its files, also beside a running daemon. */
import { fromHex, hex, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import type { LoadedServerConfig } from '../runtime/config.ts';
import { printable } from '../runtime/printable.ts';
import { writePieces } from '../runtime/whole-file.ts';
import { openStore } from '../store/open.ts';
import type { Leaf } from '../transcript/leaf.ts';
import { leafHash } from '../transcript/merkle.ts';
import { decodeMs, isThreaded } from '../transcript/statement.ts';
import { parseTime } from '../verify/time.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { identityOf } from '../x509/identity.ts';
import { readTls, storeOf } from './configuration.ts';
import { exportConversation } from './transcript-export.ts';
import { entriesOf, logDirectories, publishedLog } from './transcript-files.ts';

type Out = (line: string) => void;

/**
 * Every conversation of all logs that the node has had, in the order of their first messages. What was signed again for a later log counts
 * once. @throws NOT_FOUND, LOG_CORRUPT
 */
export function listTranscript({ values }: LoadedServerConfig, asJson: boolean, out: Out): void {
  const names = new Map<string, string>();
  const conversations = new Map<string, { messages: number; first: number; last: number; senders: Set<string> }>();
  const said = new Set<string>();
  for (const leaf of leavesOf(logDirectories(values.transcript.dir))) {
    if (leaf.type === 'cert') names.set(hex(sha256(leaf.chain[0]!)), nameIn(leaf.chain[0]!));
    if (leaf.type !== 'msg') continue;
    const ms = decodeMs(leaf.ms);
    const statement = hex(leafHash(leaf.ms));
    if (!isThreaded(ms.kind) || said.has(statement)) continue;
    said.add(statement);
    const key = hex(ms.conversation);
    const { serverTime } = leaf;
    const known = conversations.get(key) ?? { messages: 0, first: serverTime, last: 0, senders: new Set() };
    conversations.set(key, known);
    known.messages++;
    known.last = serverTime;
    known.senders.add(names.get(hex(ms.sender)) ?? hex(ms.sender).slice(0, 16));
  }
  for (const [conversation, { messages, first, last, senders }] of conversations) {
    const [begin, end] = [first, last].map((ms) => new Date(ms).toISOString());
    const by = [...senders].sort();
    if (asJson)
      out(JSON.stringify({ v: 1, type: 'transcript', conversation, messages, first: begin, last: end, senders: by }));
    else
      out(`${conversation}  ${messages} messages, ${begin} to ${end}, ${by.map((name) => printable(name)).join(', ')}`);
  }
}

function* leavesOf(dirs: readonly string[]): Generator<Leaf> {
  for (const dir of dirs) for (const { leaf } of entriesOf(dir, publishedLog(dir).checkpoint.size)) yield leaf;
}

/**
 * The published checkpoint, a signed note: what `chat-verify --known` reads. As text that of the log which is written now, for it may go into a
 * file; as JSON one object for each log, the newest last. @throws NOT_FOUND, LOG_CORRUPT
 */
export function showCheckpoint({ values }: LoadedServerConfig, asJson: boolean, out: Out): void {
  const logs = logDirectories(values.transcript.dir).map(publishedLog);
  if (!asJson) return out(logs.at(-1)!.note.toString('utf8').replace(/\n$/, ''));
  for (const { checkpoint, note } of logs) {
    const { origin, size, root } = checkpoint;
    out(JSON.stringify({ v: 1, type: 'checkpoint', origin, size, root: hex(root), note: note.toString('utf8') }));
  }
}

export interface ExportFlags {
  readonly room?: string | undefined;
  readonly conversation?: string | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly out: string;
  readonly force: boolean;
}

/** @throws USAGE; NO_SUCH_ROOM; NOT_FOUND, TOO_LARGE, LOG_CORRUPT; DISK_FULL, STORE_FAILED */
export async function exportTranscript(config: LoadedServerConfig, flags: ExportFlags, out: Out): Promise<void> {
  const from = timeFrom('--since', flags.since) ?? -Infinity;
  const until = timeFrom('--until', flags.until) ?? Infinity;
  if ((flags.room === undefined) === (flags.conversation === undefined))
    throw new ChatError('USAGE', 'want --room, or --conversation as transcript list shows it');
  const conversation =
    flags.room === undefined ? parseConversation(flags.conversation!) : await roomNamed(config, flags.room);
  const now = Date.now();
  const { own } = readTls(config, now);
  const { dir } = config.values.transcript;
  const { head, pieces } = await exportConversation({ dir, conversation, from, until, own, now });
  writePieces(flags.out, pieces, flags.force); // for the operator alone: it shows who wrote to whom
  out(`${printable(flags.out)}: ${head.messages} messages, none disclosed, ${head.profile}`);
}

async function roomNamed(config: LoadedServerConfig, name: string): Promise<ConversationId> {
  const { url, password } = storeOf(config);
  const store = await openStore(url, password);
  try {
    const room = await store.room(name);
    if (room === null) throw new ChatError('NO_SUCH_ROOM', `there is no room ${printable(name)}`);
    return room.id;
  } finally {
    await store.close();
  }
}

function parseConversation(text: string): ConversationId {
  const id = fromHex(text);
  if (id?.length !== 32) throw new ChatError('USAGE', '--conversation wants 64 hexadecimal digits');
  return id as Uint8Array as ConversationId;
}

function timeFrom(flag: string, text: string | undefined): number | undefined {
  const at = text === undefined ? undefined : parseTime(text);
  if (at === null) throw new ChatError('USAGE', `${flag} wants a time such as 2026-03-01T12:00:00Z`);
  return at;
}

function nameIn(der: Uint8Array): string {
  try {
    const certificate = parseCertificate(Buffer.from(der));
    try {
      return identityOf(certificate).username;
    } catch {
      return certificate.subject.text; // a server
    }
  } catch {
    return hex(sha256(der)).slice(0, 16);
  }
}
