/**
 * A conversation as the operator can prove it: who wrote when, and that it was signed and logged, under one checkpoint of each log; without a
 * word of what was said, which the server never had. Sealed with the server's certificate.
 */
import { parseKeyStatement } from '../transcript/key-statement.ts';
import { MAX_TAKEOVERS, type Takeover } from '../transcript/takeovers.ts';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { concat, equal, hex, type ConversationId, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import type { Credentials } from '../runtime/tls.ts';
import { MAX_BUNDLE_CRLS, MAX_BUNDLE_LOGS, MAX_BUNDLE_MESSAGES, type BundleHead } from '../transcript/bundle.ts';
import { writeBundle, type BundleCrl, type BundleMessage } from '../transcript/bundle-writer.ts';
import type { CrlLeaf, KeyLeaf, MsgLeaf, SigbLeaf } from '../transcript/leaf.ts';
import { leafHash, nodesOver, Tree } from '../transcript/merkle.ts';
import { decodeStamp, type Stamp } from '../transcript/stamp.ts';
import { decodeBs, decodeMs, isThreaded, type MessageStatement } from '../transcript/statement.ts';
import { BundleLineage } from '../verify/bundle-lineage.ts';
import { Findings } from '../verify/finding.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { parseCrl } from '../x509/crl.ts';
import { shownCheckpoint } from './shown-checkpoint.ts';
import { entriesOf, logDirectories, nodesIn, publishedLog, type PublishedLog } from './transcript-files.ts';

export interface ExportRequest {
  /** of the log */
  readonly dir: string;
  readonly conversation: ConversationId;
  /** Unix ms; -Infinity and Infinity: all */
  readonly from: number;
  readonly until: number;
  readonly own: Credentials;
  /** Unix ms */
  readonly now: number;
}

export interface Exported {
  readonly head: BundleHead;
  readonly pieces: Iterable<Buffer>;
}

interface OpenBatch {
  readonly index: number;
  readonly leaf: SigbLeaf;
  readonly messages: { readonly index: number; readonly bytes: Buffer; readonly leaf: MsgLeaf }[];
}
interface Found {
  readonly batch: OpenBatch;
  readonly position: number;
  readonly ms: MessageStatement;
}

/** What one log has: of the conversation, and what vouches for it. */
interface Section {
  readonly dir: string;
  readonly published: PublishedLog;
  readonly chains: ReadonlyMap<string, readonly Uint8Array[]>;
  readonly keys: readonly KeyLeaf[];
  readonly lists: ReadonlyMap<string, LoggedList>;
  readonly found: readonly Found[];
  readonly stamp: Stamp | null;
  /** of the conversation, also outside of the time that is asked for */
  readonly count: number;
}
interface LoggedList {
  readonly index: number;
  readonly bytes: Buffer;
  readonly leaf: CrlLeaf;
}

/** Out of all logs that the node has had. @throws NOT_FOUND if there is nothing to prove; TOO_LARGE; LOG_CORRUPT */
export async function exportConversation(request: ExportRequest): Promise<Exported> {
  const { conversation, own, now } = request;
  const said = new Set<string>();
  // The newest first: what follows a batch that was signed again links to it, and not to the one in the log before.
  const newest = logDirectories(request.dir).toReversed();
  const all = newest.map((dir) => readSection(dir, request, said)).toReversed();
  const sections = all.filter(({ found }) => found.length > 0);
  const found = sections.flatMap((section) => section.found);
  if (found.length === 0)
    throw new ChatError('NOT_FOUND', 'no message to prove: not in this conversation at this time');
  if (found.length > MAX_BUNDLE_MESSAGES)
    throw new ChatError('TOO_LARGE', `more than ${MAX_BUNDLE_MESSAGES} messages: choose a shorter time`);
  if (sections.length > MAX_BUNDLE_LOGS) throw new ChatError('TOO_LARGE', `more than ${MAX_BUNDLE_LOGS} logs`);

  const ownChain = own.chain.map(({ der }) => der);
  const chains = new Map(sections.flatMap((section) => [...section.chains]));
  const senders = found.map(({ ms }) => hex(ms.sender));
  const servers = sections.flatMap(({ keys }) => keys.map(({ statement }) => serverOf(statement)));
  const used = [...new Set([...senders, ...servers])].flatMap((name) => {
    const chain = chains.get(name);
    return chain === undefined ? [] : [chain];
  });
  const certificates = [ownChain, ...used].map((chain) => chain[0]!);
  const intermediates = unique([ownChain, ...used].flatMap((chain) => chain.slice(1)));
  const shown = [];
  for (const section of sections) shown.push(await show(section, [...certificates, ...intermediates]));
  const messages = shown.flatMap((each) => each.messages);
  const crls = new Map(shown.flatMap((each) => each.crls.map((crl) => [hex(sha256(crl.der)), crl])));
  const count = all.reduce((sum, section) => sum + section.count, 0);
  const head: BundleHead = {
    profile: found.length === count && isWhole(found) ? 'complete' : 'selective',
    created: now,
    conversation,
    messages: messages.length,
    exporter: own.chain[0].fingerprint,
  };
  const logs = shown.map(({ log }) => log);
  const content = { head, certificates, intermediates, logs, messages: () => messages };
  return {
    head,
    pieces: writeBundle({ ...content, crls: [...crls.values()].slice(0, MAX_BUNDLE_CRLS) }, own.privateKey),
  };
}

/** @param said leaf(MS) of what later logs have: a batch that was signed again has its last place @throws LOG_CORRUPT */
function readSection(dir: string, { conversation, from, until }: ExportRequest, said: Set<string>): Section {
  const published = publishedLog(dir);
  const chains = new Map<string, readonly Uint8Array[]>();
  const keys: KeyLeaf[] = [];
  const lists = new Map<string, LoggedList>();
  const found: Found[] = [];
  let count = 0;
  let open: OpenBatch | null = null;
  let stamp: Stamp | null = null;
  for (const { index, bytes, leaf } of entriesOf(dir, published.checkpoint.size)) {
    if (leaf.type === 'cert')
      chains.set(
        hex(sha256(leaf.chain[0]!)),
        leaf.chain.map((der) => Buffer.from(der)),
      );
    else if (leaf.type === 'key') keys.push(leaf);
    else if (leaf.type === 'crl' && !lists.has(hex(leaf.digest))) lists.set(hex(leaf.digest), { index, bytes, leaf });
    else if (leaf.type === 'time' && leaf.stamp.length > 0) stamp = decodeStamp(leaf.stamp);
    else if (leaf.type === 'sigb') open = { index, leaf, messages: [] };
    else if (leaf.type === 'msg' && open !== null) {
      open.messages.push({ index, bytes, leaf });
      const ms = decodeMs(leaf.ms);
      if (!isThreaded(ms.kind) || !equal(ms.conversation, conversation)) continue;
      const name = hex(leafHash(leaf.ms));
      if (said.has(name)) continue;
      said.add(name);
      count++;
      if (leaf.serverTime < from || leaf.serverTime >= until) continue;
      found.push({ batch: open, position: leaf.position, ms });
      if (found.length > MAX_BUNDLE_MESSAGES) break; // it is refused
    }
  }
  return { dir, published, chains, keys, lists, found, stamp, count };
}

/** The files of one log. @param ders certificates whose issuers' lists are wanted */
async function show({ dir, published, keys, lists, found, stamp }: Section, ders: readonly Uint8Array[]) {
  const { note, size, token } = shownCheckpoint(dir, published, stamp, lastOf(found));
  const nodes = await nodesIn(dir, published.checkpoint.size);
  const tree = nodes.tree(size);
  const inclusion = (index: number): Promise<Hash[]> => nodes.prove(tree, () => tree.inclusion(index));
  const messages: BundleMessage[] = [];
  for (const { batch, position } of found) {
    const { index, bytes } = batch.messages[position - 1]!;
    const statements = batch.messages.map(({ leaf }) => leafHash(leaf.ms));
    const path = new Tree(statements.length, nodesOver(statements)).inclusion(position - 1);
    messages.push({
      entry: bytes,
      proof: { index, path: await inclusion(index), checkpoint: note },
      bs: batch.leaf.bs,
      signature: batch.leaf.signature,
      path: { index: position - 1, size: statements.length, path },
      opening: null,
    });
  }
  const span = { first: found[0]!.batch.leaf.serverTime, last: found.at(-1)!.batch.leaf.serverTime };
  const crls: BundleCrl[] = [];
  for (const { der, list } of listsFor(dir, ders, span, lists)) {
    if (list.index >= size)
      crls.push({ der, logged: null }); // logged after what is shown
    else {
      const proof = { index: list.index, path: await inclusion(list.index), checkpoint: note };
      crls.push({ der, logged: { entry: list.bytes, proof } });
    }
  }
  const statements = [...new Map(keys.map((key) => [Buffer.from(key.statement).toString('latin1'), key])).values()];
  const log = {
    keys: statements.map(({ statement, algorithm, signature }) => ({
      statement,
      signature: concat(Buffer.of(algorithm), signature),
    })),
    takeovers: keys.flatMap(takeoverOf).slice(-MAX_TAKEOVERS),
    checkpoint: note,
    token,
    consistency: new Map<number, Hash[]>(),
  };
  return { messages, crls, log };
}

/** Index of the last message. */
function lastOf(found: readonly Found[]): number {
  const { batch, position } = found.at(-1)!;
  return batch.index + position;
}

/** None for a statement of the key that the log has already. */
function takeoverOf({ statement, previousSignature }: KeyLeaf): Takeover[] {
  const { log, previous } = parseKeyStatement(statement);
  return previous?.name === log.name ? [{ statement, endorsement: previousSignature }] : [];
}

/** As the verifier will see it. */
function isWhole(found: readonly Found[]): boolean {
  const findings = new Findings();
  const lineage = new BundleLineage('complete', findings);
  for (const { batch, position, ms } of found) {
    const { index, leaf, messages } = batch;
    const [bs, bsLeaf] = [decodeBs(leaf.bs), leafHash(leaf.bs)];
    const msLeaf = leafHash(messages[position - 1]!.leaf.ms);
    lineage.add({ number: 0, ms, msLeaf, bs, bsLeaf, batchIndex: index, serverTime: leaf.serverTime, isSigned: true });
  }
  return findings.errors === 0;
}

/** The newest list of each issuer, and those that were in force between; of a list that is not in the archive there is nothing to give. */
function listsFor<T extends { readonly leaf: CrlLeaf; readonly index: number }>(
  dir: string,
  ders: readonly Uint8Array[],
  { first, last }: { readonly first: number; readonly last: number },
  lists: ReadonlyMap<string, T>,
): { der: Buffer; list: T }[] {
  const issuers = new Set(ders.map((der) => hex(parseCertificate(der).issuer.der)));
  const newest = new Set<string>();
  const found: { der: Buffer; list: T }[] = [];
  for (const [digest, list] of [...lists].sort(([, a], [, b]) => b.index - a.index)) {
    const { thisUpdate, nextUpdate } = list.leaf;
    const isInForce = thisUpdate <= last && nextUpdate >= first;
    if (!isInForce && newest.size === issuers.size) continue;
    let der: Buffer;
    try {
      der = readFileSync(join(dir, 'crl', `${digest}.crl`));
    } catch {
      continue;
    }
    const issuer = hex(parseCrl(der).issuer.der);
    if (!issuers.has(issuer) || (!isInForce && newest.has(issuer))) continue;
    newest.add(issuer);
    found.push({ der, list });
    if (found.length === MAX_BUNDLE_CRLS) break;
  }
  return found;
}

/** Fingerprint of the certificate that a key statement names. */
const serverOf = (statement: Uint8Array): string =>
  /^server-cert-sha256 ([0-9a-f]{64})$/m.exec(Buffer.from(statement).toString('latin1'))?.[1] ?? '';

const unique = (ders: readonly Uint8Array[]): Uint8Array[] => [
  ...new Map(ders.map((der) => [hex(sha256(der)), der])).values(),
];
