/**
 * A page of a queue on its way from the thread of the database: its bytes in one block, and numbers that say what they are. For each object
 * in a message between threads its names are written and read, which costs more than reading its row.
 */
import type { ConversationId, Hash } from '../base/bytes.ts';
import type { QueueItem, QueuePage } from './contract/queue.ts';

/** @property numbers for each item, in order, as #item() reads them */
export interface EncodedPage {
  readonly isWhole: boolean;
  readonly items: number;
  readonly numbers: Float64Array<ArrayBuffer>;
  /** conversations, statements, parts and hashes, in the order of their items; what is the same object again is there once */
  readonly block: Uint8Array<ArrayBuffer>;
  /** origins and names */
  readonly texts: readonly string[];
}

const MESSAGE = 0;
const EXPIRED = 1;

export function encodePage({ items, isWhole }: QueuePage): EncodedPage {
  const numbers: number[] = [];
  const chunks: Uint8Array[] = [];
  const texts = new Map<string, number>();
  const conversations = new Map<Uint8Array, number>();
  let bytes = 0;
  const place = (chunk: Uint8Array): number => {
    chunks.push(chunk);
    bytes += chunk.length;
    return bytes - chunk.length;
  };
  const textOf = (text: string): number => {
    const known = texts.get(text);
    if (known !== undefined) return known;
    texts.set(text, texts.size);
    return texts.size - 1;
  };
  for (const item of items) {
    let conversation = conversations.get(item.conversation);
    if (conversation === undefined) conversations.set(item.conversation, (conversation = place(item.conversation)));
    if (item.kind === 'expired') {
      numbers.push(EXPIRED, item.cursor, conversation, item.conversation.length);
      numbers.push(place(item.message), item.message.length, textOf(item.by), item.at);
      continue;
    }
    const { cursor, origin, batchFirstIndex, index, seq, statement, parts, group } = item;
    numbers.push(MESSAGE, cursor, conversation, item.conversation.length, textOf(origin), batchFirstIndex, index, seq);
    numbers.push(group?.generation ?? 0, group?.epoch ?? 0, place(statement), statement.length, parts.length);
    for (const part of parts) numbers.push(place(part), part.length);
  }
  const block = new Uint8Array(bytes);
  let at = 0;
  for (const chunk of chunks) {
    block.set(chunk, at);
    at += chunk.length;
  }
  return { isWhole, items: items.length, numbers: new Float64Array(numbers), block, texts: [...texts.keys()] };
}

/** Its bytes are views of the block. */
export function decodePage({ items, isWhole, numbers, block, texts }: EncodedPage): QueuePage {
  let at = 0;
  const next = (): number => numbers[at++]!;
  const bytes = (): Uint8Array => {
    const from = next();
    return block.subarray(from, from + next());
  };
  const item = (): QueueItem => {
    const kind = next();
    const cursor = next();
    const conversation = bytes() as ConversationId;
    if (kind === EXPIRED)
      return { kind: 'expired', cursor, conversation, message: bytes() as Hash, by: texts[next()]!, at: next() };
    const origin = texts[next()]!;
    const [batchFirstIndex, index, seq, generation, epoch] = [next(), next(), next(), next(), next()];
    const statement = bytes();
    const parts: Uint8Array[] = [];
    for (let left = next(); left > 0; left--) parts.push(bytes());
    const group = generation === 0 ? null : { generation, epoch };
    return { kind: 'message', cursor, origin, batchFirstIndex, index, conversation, seq, statement, parts, group };
  };
  return { items: Array.from({ length: items }, item), isWhole };
}
