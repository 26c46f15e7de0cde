/** Writes evidence bundles, right and wrong ones, out of the leaves of a log. Each stage can be altered; all but the last is sealed. */
import type { KeyObject } from 'node:crypto';
import { concat, equal, hex, type ConversationId, type Hash } from '../../base/bytes.ts';
import { hmacSha256, sha256 } from '../../base/hash.ts';
import { formatHead, sumLine, type BundleHead } from '../../transcript/bundle.ts';
import { filesOf, sealFiles, type BundleContent, type BundleMessage } from '../../transcript/bundle-writer.ts';
import { encodeLeaf, type Leaf } from '../../transcript/leaf.ts';
import { leafHash, nodesOver, Tree } from '../../transcript/merkle.ts';
import { decodeMs, type MessageStatement } from '../../transcript/statement.ts';
import { fingerprintOf, noteAt, type Credential, type World } from './log-writer.ts';

export interface BundleAlterations {
  /** What is in it that is not of the conversation. */
  readonly beside?: (ms: MessageStatement) => boolean;
  readonly head?: (head: BundleHead) => BundleHead;
  readonly content?: (content: BundleContent) => BundleContent;
  readonly messages?: (messages: BundleMessage[]) => BundleMessage[];
  /** Names and contents, before they are summed and sealed; BUNDLE among them. */
  readonly files?: (files: Map<string, Buffer>) => void;
  readonly sums?: (sums: string) => string;
  readonly key?: KeyObject;
  /** After everything. */
  readonly archive?: (bytes: Buffer) => Buffer;
}

export const conversationOf = (name: string): ConversationId =>
  sha256(Buffer.from(name)) as Uint8Array as ConversationId;

/** One conversation of a log that compose() made. Each message is proven under the checkpoint that was made with its batch. */
export function contentOf(
  world: World,
  leaves: readonly Leaf[],
  name: string,
  exporter = 'alice',
  beside: (ms: MessageStatement) => boolean = () => false,
): BundleContent {
  const entries = leaves.map(encodeLeaf);
  const node = nodesOver(entries.map(leafHash));
  const conversation = conversationOf(name);
  const consistency = new Map<number, Hash[]>();
  const messages: BundleMessage[] = [];
  leaves.forEach((leaf, index) => {
    if (leaf.type !== 'msg') return;
    const ms = decodeMs(leaf.ms);
    if (!equal(ms.conversation, conversation) && !beside(ms)) return;
    const at = index - leaf.position;
    const sigb = leaves[at];
    if (sigb?.type !== 'sigb') throw new RangeError(`entry ${at}`);
    const count = Buffer.from(sigb.bs).readUInt32BE(64);
    const statements = leaves.slice(at + 1, at + 1 + count).flatMap((l) => (l.type === 'msg' ? [leafHash(l.ms)] : []));
    const size = at + 1 + count;
    if (size < leaves.length) consistency.set(size, new Tree(leaves.length, node).consistency(size));
    messages.push({
      entry: entries[index]!,
      proof: { index, path: new Tree(size, node).inclusion(index), checkpoint: noteAt(world, leaves, size) },
      bs: sigb.bs,
      signature: sigb.signature,
      path: {
        index: leaf.position - 1,
        size: statements.length,
        path: new Tree(statements.length, nodesOver(statements)).inclusion(leaf.position - 1),
      },
      opening: openingOf(world, leaf.ms),
    });
  });
  const people = Object.values(world.people);
  return {
    head: {
      profile: 'complete',
      created: world.begin + 100_000,
      conversation,
      messages: messages.length,
      exporter: fingerprintOf(credentialOf(world, exporter)),
    },
    certificates: [world.server, ...people].map(({ chain }) => chain[0]!),
    intermediates: [world.server, ...people].flatMap(({ chain }) => chain.slice(1)),
    crls: [],
    logs: [
      {
        keys: leaves.flatMap((leaf) =>
          leaf.type === 'key'
            ? [{ statement: leaf.statement, signature: concat(Buffer.of(leaf.algorithm), leaf.signature) }]
            : [],
        ),
        checkpoint: noteAt(world, leaves),
        consistency,
      },
    ],
    messages: () => messages,
  };
}

/** What compose() committed to. */
export function openingOf(world: World, ms: Uint8Array): Buffer {
  const { sender, session, sessionCtr } = decodeMs(ms);
  const [name] = Object.entries(world.people).find(([, who]) => equal(fingerprintOf(who), sender))!;
  const text = Buffer.from(`message ${sessionCtr} of ${name}`);
  return concat(hmacSha256(session, text), text);
}

export const credentialOf = (world: World, name: string): Credential => {
  const found = world.people[name];
  if (found === undefined) throw new RangeError(name);
  return found;
};

/** The archive. */
export function bundleOf(
  world: World,
  leaves: readonly Leaf[],
  name: string,
  alter: BundleAlterations = {},
  exporter = 'alice',
): Buffer {
  const plain = contentOf(world, leaves, name, exporter, alter.beside);
  const messages = alter.messages?.([...plain.messages()]) ?? [...plain.messages()];
  const head = { ...plain.head, messages: messages.length };
  const made = { ...plain, head: alter.head?.(head) ?? head, messages: () => messages };
  const content = alter.content?.(made) ?? made;
  const files = new Map<string, Buffer>([['BUNDLE', formatHead(content.head)]]);
  for (const [path, bytes] of filesOf(content)) files.set(path, Buffer.from(bytes));
  alter.files?.(files);
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1));
  const sums = sorted.map(([path, bytes]) => sumLine(path, sha256(bytes))).join('');
  const key = alter.key ?? credentialOf(world, exporter).key;
  const rest = sorted.filter(([path]) => path !== 'BUNDLE');
  const sealed = sealFiles(files.get('BUNDLE')!, Buffer.from(alter.sums?.(sums) ?? sums), rest, key);
  const bytes = Buffer.concat([...sealed]);
  return alter.archive?.(bytes) ?? bytes;
}

/** Name of a certificate's file. */
export const certificateFile = (who: Credential): string => `cert/${hex(fingerprintOf(who))}.pem`;
