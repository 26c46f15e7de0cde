/**
 * A bundle of evidence of one conversation, out of this profile's own records; with what the server proves, if it is to be asked. Nothing is
 * written here: its pieces are for whoever wants them.
 */
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { BundleHead, Profile } from '../transcript/bundle.ts';
import { writeBundle, type BundleCrl, type BundleLog } from '../transcript/bundle-writer.ts';
import { peekCheckpoint } from '../transcript/checkpoint.ts';
import { parseNote } from '../transcript/note.ts';
import { BundleLineage } from '../verify/bundle-lineage.ts';
import { Findings } from '../verify/finding.ts';
import type { App } from './app.ts';
import { disclosed, type Disclosure } from './disclosure.ts';
import {
  assertFits,
  authoritiesOf,
  bundleLogs,
  bundleMessages,
  inOrder,
  provenMessages,
  receiptsAbout,
  type Attest,
  type Proven,
  type Prove,
} from './evidence.ts';
import { loggedCrls, type AskCrl } from './revocations.ts';
import type { Conversation } from './roster.ts';

/** Unix ms, both: from the first on, and before the second. */
export interface Range {
  readonly from: number | undefined;
  readonly until: number | undefined;
}

export interface ConversationBundle {
  readonly pieces: Iterable<Buffer>;
  readonly profile: Profile;
  readonly messages: number;
  readonly receipts: number;
  /** how many texts are in it, once all pieces have been taken */
  readonly count: { readonly disclosed: number };
  /** certificates of signers that this profile does not have */
  readonly missing: readonly string[];
  readonly seen: Attestation;
  /** logs of which others vouch for something, and not for all that is in the bundle */
  readonly late: readonly string[];
  /** logs that the server does not write any more: their checkpoints are not tied to each other */
  readonly past: readonly string[];
}

/** What others have said of the checkpoints in a bundle. */
export interface Attestation {
  readonly cosignatures: number;
  readonly stamps: number;
}
const attestationOf = (logs: readonly BundleLog[]): Attestation => ({
  cosignatures: logs.reduce((sum, { checkpoint }) => sum + parseNote(checkpoint).signatures.length - 1, 0),
  stamps: logs.filter(({ token }) => token).length,
});

/** @throws NOT_FOUND; with `prove`, what the server answers */
export async function conversationBundle(
  app: App,
  conversation: Conversation,
  { from = -Infinity, until = Infinity }: Range,
  disclosure: Disclosure,
  prove: boolean,
): Promise<ConversationBundle> {
  const { vault, identity } = app;
  const { ledger } = vault;
  const all = provenMessages(ledger, conversation.id);
  const messages = all.filter(({ batch }) => from <= batch.ack.serverTime && batch.ack.serverTime < until);
  if (messages.length === 0)
    throw new ChatError('NOT_FOUND', 'no message to prove: not in this conversation at this time');
  const parts = new Map(vault.receipts.in(conversation.id).map(({ hash, part }) => [hex(hash), part]));
  const receipts = receiptsAbout(ledger, conversation.id, messages, parts);
  const statements = inOrder([...messages, ...receipts]);
  assertFits(statements);
  const isDisclosed = disclosed(vault, conversation, messages, disclosure);
  const own = identity.chain.map(({ der }) => der);
  const { certificates, intermediates, missing } = authoritiesOf(ledger, statements, own);
  const past = new Set<string>();
  const ask: Prove = async (origin, older, newer) => {
    const proof = await app.inquiries.consistency(origin, older, newer);
    if (proof === null) past.add(origin);
    return proof;
  };
  if (prove) await app.inquiries.newestCheckpoint(); // it covers lists that were logged after the last message
  const late: string[] = [];
  const attest: Attest = async (origin, size) => {
    const found = await app.inquiries.attested(origin, size);
    if (found !== null && found.size < size) late.push(origin);
    return found;
  };
  const logs = await bundleLogs(ledger, statements, prove ? ask : null, prove ? attest : null);
  const profile = messages.length === all.length && isWhole(messages) ? 'complete' : 'selective';
  const head: BundleHead = {
    profile,
    created: Date.now(),
    conversation: conversation.id,
    messages: statements.length,
    exporter: identity.fingerprint,
  };
  const crls = prove ? await crlsOf(app, logs, messages, [...certificates, ...intermediates]) : [];
  const content = { head, certificates, intermediates, crls, logs };
  const count = { disclosed: 0 };
  const pieces = writeBundle(
    { ...content, messages: () => counting(bundleMessages(ledger, statements, isDisclosed, parts), count) },
    identity.privateKey,
  );
  const seen = attestationOf(logs);
  return {
    pieces,
    profile,
    messages: messages.length,
    receipts: receipts.length,
    count,
    missing,
    seen,
    late,
    past: [...past],
  };
}

/** What the log that the server writes now knows of revocations. */
async function crlsOf(
  app: App,
  logs: readonly BundleLog[],
  messages: readonly Proven[],
  ders: readonly Uint8Array[],
): Promise<BundleCrl[]> {
  const origin = app.vault.ledger.lastOrigin();
  const own = logs.find(({ checkpoint }) => peekCheckpoint(checkpoint).origin === origin);
  if (own === undefined || origin === null) return [];
  const times = messages.map(({ batch }) => batch.ack.serverTime);
  const span = { first: times[0]!, last: times.at(-1)! };
  const ask: AskCrl = (...query) => app.inquiries.crl(origin, ...query);
  return await loggedCrls(ders, span, own.checkpoint, ask);
}

/** The messages are asked for twice, so what is disclosed is counted anew each time. */
function* counting<T extends { readonly opening: unknown }>(messages: Iterable<T>, count: { disclosed: number }) {
  count.disclosed = 0;
  for (const message of messages) {
    if (message.opening !== null) count.disclosed++;
    yield message;
  }
}

/** Whether the verifier would find nothing missing between them: else the bundle must not say that it is complete. */
function isWhole(messages: readonly Proven[]): boolean {
  const findings = new Findings();
  const lineage = new BundleLineage('complete', findings);
  for (const { ms, leaf, index, position, batch } of messages) {
    const { bs, bsLeaf, ack } = batch;
    const batchIndex = index - position;
    lineage.add({ number: 0, ms, msLeaf: leaf, bs, bsLeaf, batchIndex, serverTime: ack.serverTime, isSigned: true });
  }
  return findings.errors === 0;
}
