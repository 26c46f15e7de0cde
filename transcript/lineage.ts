/**
 * The rules that tie a sender's statements to each other: counters, links, batch chain. One rule set: the server admits a batch by it,
 * and a verifier judges a log by it. Judging goes on after a finding, from what the batch says, so that one fault is not found again in every
 * later batch.
 *
 * Rules that docs/TRANSCRIPT.md owes to this file: a session begins with counter 1 and prev_batch zero. The first message of a session
 * in a conversation has conv_ctr 1 and links to the device's last message there, of whatever session; zeros instead say that the device
 * has lost its state (W_CONV_RESTART, how a client goes on after such a loss). A link to a message of which this log knows nothing (another
 * node's, or made under the certificate before a renewal) is W_CONV_ELSEWHERE; a link to another message than the last is E_CONV_LINK.
 * Receipts and what opens or closes a session are counted in the session alone; nothing comes behind a close (E_CLOSED). An opening says how
 * the device's session before ends: a session of the log must end so (E_SESSION_LINK), or none is named (W_SESSION_RESTART if there was one).
 */
import { same, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../base/bytes.ts';
import { idKey } from '../base/id-key.ts';
import { leafHash, NO_HASH, rootOf } from './merkle.ts';
import { openingHash } from './opening.ts';
import { decodeBs, decodeMs, isThreaded, KIND, type BatchStatement, type MessageStatement } from './statement.ts';

/** E_: the batch breaks a rule. W_: to be noticed, and not against a rule. */
export type LineageCode =
  | 'E_AUDIENCE'
  | 'E_BATCH_SHORT'
  | 'E_BATCH_ROOT'
  | 'E_BATCH_CHAIN'
  | 'E_LEAF'
  | 'E_CLOSED'
  | 'E_SESSION_LINK'
  | 'E_CTR_GAP'
  | 'E_CTR_REGRESS'
  | 'E_CONV_GAP'
  | 'E_CONV_LINK'
  | 'W_SESSION_ELSEWHERE'
  | 'W_SESSION_RESTART'
  | 'W_CONV_RESTART'
  | 'W_CONV_ELSEWHERE';

export interface LineageFinding {
  readonly code: LineageCode;
  /** Position in the batch, from 1; 0: the batch statement itself. */
  readonly position: number;
  readonly message: string;
}

/** A batch whose statements are well-formed. */
export interface Batch {
  readonly bs: BatchStatement;
  /** leaf(BS), what the next batch of the session links to. */
  readonly leaf: Hash;
  readonly messages: readonly { readonly ms: MessageStatement; readonly leaf: Hash }[];
}

export interface SessionLineage {
  readonly lastCtr: number;
  /** leaf(BS) of the last batch. */
  readonly lastBatch: Hash;
  /** The device has said that nothing follows. */
  readonly isClosed: boolean;
  /** It began in the log of an earlier epoch, and not all of it is known. */
  readonly isCarried?: boolean;
  /** The last batch, which may come once more in the log of the next epoch. */
  readonly last?: Pick<BatchStatement, 'firstCtr' | 'count' | 'batchRoot' | 'prevBatch'>;
}

/** What is known before a batch; undefined: never seen. */
export interface LineageState {
  /** The log is of a later epoch: sessions and their counters go on from the one before, which may have lost the last of them. */
  readonly isLater?: boolean;
  /** What is known of the log before, if that is at hand. */
  readonly earlier?: LineageState | undefined;
  session(sender: Fingerprint, session: SessionId): SessionLineage | undefined;
  /** The last conv_ctr of this session in this conversation. */
  convCtr(sender: Fingerprint, session: SessionId, conversation: ConversationId): number | undefined;
  /** leaf(MS) of the sender's last message in this conversation, over all sessions. */
  lastLeaf(sender: Fingerprint, conversation: ConversationId): Hash | undefined;
  /** Whether a session, also of another certificate, ends as the opening says whose part has this hash. */
  hasEnd(part: Hash): boolean;
  /** Whether the sender had a session before; false also for who does not look at warnings. */
  hasSession(sender: Fingerprint): boolean;
}

/** What is known after a batch; for the owner of the state to take over as a whole. */
export interface LineageChange extends SessionLineage {
  readonly sender: Fingerprint;
  readonly session: SessionId;
  /** One item for each conversation of the batch. */
  readonly conversations: readonly {
    readonly conversation: ConversationId;
    readonly convCtr: number;
    readonly lastLeaf: Hash;
  }[];
}

export interface Judgement {
  /** In the order of the batch. */
  readonly findings: readonly LineageFinding[];
  readonly change: LineageChange;
}

/**
 * @param statements what decodeMs() has made of each of `messages`, if the caller has that already
 * @throws BAD_FRAME naming the field of the first statement that is malformed
 */
export function decodeBatch(
  bs: Uint8Array,
  messages: readonly Uint8Array[],
  statements: readonly MessageStatement[] = messages.map(decodeMs),
): Batch {
  return {
    bs: decodeBs(bs),
    leaf: leafHash(bs),
    messages: messages.map((bytes, i) => ({ ms: statements[i]!, leaf: leafHash(bytes) })),
  };
}

/** @param audience audienceOf() the log that holds the batch, or is asked to */
export function judge(batch: Batch, audience: Hash, state: LineageState): Judgement {
  const { bs, messages } = batch;
  const { sender, session } = bs;
  const findings: LineageFinding[] = [];
  const find = (code: LineageCode, position: number, message: string) => findings.push({ code, position, message });

  if (!same(bs.audience, audience)) find('E_AUDIENCE', 0, 'made for another log');
  if (messages.length !== bs.count) find('E_BATCH_SHORT', 0, `${messages.length} messages, ${bs.count} signed`);
  else if (!same(bs.batchRoot, rootOf(messages.map((m) => m.leaf))))
    find('E_BATCH_ROOT', 0, 'other messages than those signed');
  const { before, isCarried, isRepeated, warning } = beginningOf(bs, state);
  if (warning !== null) find('W_SESSION_ELSEWHERE', 0, warning);
  const fault = sequence(bs.firstCtr, before.lastCtr + 1);
  if (fault !== null) find(fault, 0, `session counter ${bs.firstCtr}, want ${before.lastCtr + 1}`);
  // A batch from the past, a replay: its messages fit nothing that is known now, and nothing is learnt from it.
  if (fault === 'E_CTR_REGRESS') return { findings, change: { sender, session, ...before, conversations: [] } };
  if (!same(bs.prevBatch, before.lastBatch)) find('E_BATCH_CHAIN', 0, 'does not follow the last batch of its session');

  let { isClosed } = before;
  const threads = new Map<string, LineageChange['conversations'][number]>();
  messages.forEach(({ ms, leaf }, i) => {
    const position = i + 1;
    if (!same(ms.sender, sender) || !same(ms.session, session)) {
      find('E_LEAF', position, 'another sender or session than the batch');
      return; // its counters and links belong elsewhere
    }
    const fault = sequence(ms.sessionCtr, bs.firstCtr + i);
    if (fault !== null) find(fault, position, `session counter ${ms.sessionCtr}, want ${bs.firstCtr + i}`);
    if (isClosed) find('E_CLOSED', position, 'the sender had closed this session');
    isClosed = ms.kind === KIND.close;
    if (isRepeated) return;
    const opening = ms.kind === KIND.open ? openingFault(ms, state) : null;
    if (opening !== null) find(opening.code, position, opening.message);
    if (!isThreaded(ms.kind)) return;

    const { conversation, convCtr, prevConv } = ms;
    const key = idKey(conversation);
    const thread = threads.get(key);
    const earlierCtr = inEarlier(state, (log) => log.convCtr(sender, session, conversation));
    const known = thread?.convCtr ?? state.convCtr(sender, session, conversation);
    const lastCtr = known ?? Math.max(earlierCtr ?? 0, isCarried ? convCtr - 1 : 0);
    const here = thread?.lastLeaf ?? state.lastLeaf(sender, conversation);
    const lastLeaf = here ?? inEarlier(state, (log) => log.lastLeaf(sender, conversation));
    if (convCtr !== lastCtr + 1) find('E_CONV_GAP', position, `conversation counter ${convCtr}, want ${lastCtr + 1}`);
    // Between two logs something may be lost: only what the session itself continues is known to be the last.
    const isLast = here !== undefined || (earlierCtr !== undefined && !isCarried);
    const link = linkFault(prevConv, lastLeaf, lastCtr > 0, isLast);
    if (link !== null) find(link.code, position, link.message);
    threads.set(key, { conversation, convCtr, lastLeaf: leaf });
  });

  const lastCtr = bs.firstCtr + bs.count - 1;
  const conversations = [...threads.values()];
  const end = { lastCtr, lastBatch: batch.leaf, isClosed, isCarried, last: bs };
  return { findings, change: { sender, session, ...end, conversations } };
}

/** Whether nothing speaks against logging the batch. */
export const isAdmissible = (judgement: Judgement): boolean =>
  !judgement.findings.some((finding) => finding.code.startsWith('E_'));

const BEGINNING: SessionLineage = { lastCtr: 0, lastBatch: NO_HASH, isClosed: false };

function sequence(value: number, want: number): 'E_CTR_GAP' | 'E_CTR_REGRESS' | null {
  if (value === want) return null;
  return value > want ? 'E_CTR_GAP' : 'E_CTR_REGRESS';
}

/** From where a batch goes on. */
interface Beginning {
  readonly before: SessionLineage;
  readonly isCarried: boolean;
  /** Its statements were judged where they were logged first. */
  readonly isRepeated: boolean;
  readonly warning: string | null;
}

function beginningOf(bs: BatchStatement, state: LineageState): Beginning {
  const { sender, session, firstCtr, count, prevBatch, batchRoot } = bs;
  const plain = { isCarried: false, isRepeated: false, warning: null };
  const known = state.session(sender, session);
  if (known) return { ...plain, before: known, isCarried: known.isCarried ?? false };
  const kept = inEarlier(state, (log) => log.session(sender, session));
  const last = kept?.last;
  // Its acknowledgement never came, so the device has signed it again for this log, around the same statements.
  if (kept && last?.firstCtr === firstCtr && last.count === count && same(last.batchRoot, batchRoot))
    return {
      ...plain,
      before: { isClosed: false, lastCtr: firstCtr - 1, lastBatch: last.prevBatch },
      isRepeated: true,
    };
  const lost = firstCtr - 1 - (kept?.lastCtr ?? 0);
  if (!state.isLater || lost <= 0) return { ...plain, before: kept ?? BEGINNING };
  const before = { isClosed: kept?.isClosed ?? false, lastCtr: firstCtr - 1, lastBatch: prevBatch };
  const warning = kept
    ? `${lost} statements of the session before this batch are in none of the logs that are here`
    : `the session began in an earlier log: ${lost} before`;
  return { before, isCarried: true, isRepeated: false, warning };
}

/** What the logs of earlier epochs say, the newest first. */
function inEarlier<T>({ earlier }: LineageState, look: (log: LineageState) => T | undefined): T | undefined {
  return earlier && (look(earlier) ?? inEarlier(earlier, look));
}

/** Of a session's first statement. */
function openingFault({ sender, ciphertextHash: part }: MessageStatement, state: LineageState) {
  const isTrue = (look: (log: LineageState) => boolean): boolean =>
    look(state) || inEarlier(state, (log) => look(log) || undefined) === true;
  if (same(part, FIRST_OPENING)) {
    if (!isTrue((log) => log.hasSession(sender))) return null;
    return { code: 'W_SESSION_RESTART', message: 'the device knows nothing of its earlier session' } as const;
  }
  if (isTrue((log) => log.hasEnd(part))) return null;
  if (state.isLater)
    return { code: 'W_SESSION_ELSEWHERE', message: 'the session before it ended in an earlier log' } as const;
  const message = 'no session ends as the one before it did: the end of that, or all of it, is missing';
  return { code: 'E_SESSION_LINK', message } as const;
}
const FIRST_OPENING = openingHash(null);

/** @param isLast nothing can have come between `last` and the message */
function linkFault(
  prev: Hash,
  last: Hash | undefined,
  isContinued: boolean,
  isLast: boolean,
): Omit<LineageFinding, 'position'> | null {
  if (last !== undefined && same(prev, last)) return null;
  if (same(prev, NO_HASH)) {
    if (isContinued) return { code: 'E_CONV_LINK', message: 'no link within a session' };
    return last === undefined ? null : { code: 'W_CONV_RESTART', message: 'the device began this conversation anew' };
  }
  if (last !== undefined && isLast) return { code: 'E_CONV_LINK', message: 'does not link to the last message' };
  return {
    code: 'W_CONV_ELSEWHERE',
    message: 'links to a message that this certificate has not sent in this log: before a renewal, or elsewhere',
  };
}
