/**
 * What is kept with an alarm about the order of a log, in the form that other tools read: of each batch the entry with its sender's
 * signature, and the proof that the log holds it there, under the note that the log has signed.
 */
import { utf8 } from '../base/bytes.ts';
import { decode } from '../base/cbor.ts';
import { list } from '../base/decode.ts';
import type { Code } from '../base/errors.ts';
import { decodeAck } from '../transcript/ack.ts';
import { encodeLeaf } from '../transcript/leaf.ts';
import { encodeTlogProof } from '../transcript/tlog-proof.ts';
import { pathsOf } from './evidence.ts';
import { evidenceRecord, type Alarm, type Evidence } from './ledger.ts';

export interface KeptEntry {
  /** in its log */
  readonly index: number;
  /** SIGB, as logged */
  readonly entry: Uint8Array;
  /** C2SP tlog-proof of the entry */
  readonly proof: Uint8Array;
}

const OF_ORDER: ReadonlySet<Code> = new Set<Code>(['REPLAY', 'LINEAGE', 'WITHHELD']);

/** The entries that contradict each other, or do not join; none for an alarm about something else. */
export function entriesOf({ code, detail }: Pick<Alarm, 'code' | 'detail'>): KeptEntry[] {
  if (!OF_ORDER.has(code) || detail.length === 0) return [];
  const kept = decode(detail);
  const batches = kept instanceof Map ? kept.get('batches') : undefined;
  return batches === undefined ? [] : list(evidenceRecord, 2, 1)(batches, 'batches').map(entryOf);
}

function entryOf(evidence: Evidence): KeptEntry {
  const ack = decodeAck(evidence.ack);
  const { first: index, serverTime } = ack;
  const { algorithm, signature, batch: bs, note } = evidence;
  const path = pathsOf({ ack, evidence }).entries(index);
  return {
    index,
    entry: encodeLeaf({ type: 'sigb', serverTime, algorithm, signature, bs }),
    proof: encodeTlogProof({ index, path, checkpoint: utf8(note) }),
  };
}
