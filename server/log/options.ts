/** What a log is opened with. */
import type { KeyObject } from 'node:crypto';
import type { ChatError } from '../../base/errors.ts';
import type { Succession } from './epochs.ts';
import type { Files } from './files.ts';

export interface LogOptions {
  /** The log's directory, which holds nothing else. */
  readonly dir: string;
  /** PEM file of the log's Ed25519 key, made at the first start. Outside `dir`, which is meant to be read by others. */
  readonly keyFile: string;
  /** `<dns-name>/log/<node>[/e<epoch>]` */
  readonly origin: string;
  /** Of the TLS certificate, which signs the log key. */
  readonly serverPrivateKey: KeyObject;
  /** DER, the server's own certificate first. */
  readonly serverChain: readonly Uint8Array[];
  /** Unix ms */
  readonly now: () => number;
  /** The log has stopped for good: LOG_FAILED, ROLLBACK or FORK. Called once. */
  readonly onFatal: (error: ChatError) => void;
  /** File outside `dir` that remembers the newest checkpoint. */
  readonly anchorFile?: string;
  /** Of a later epoch: what it begins with, the key of the log before, if there still is one, and when that ended, Unix ms. */
  readonly succession?: {
    readonly recovery: Succession;
    readonly previousKey: KeyObject | null;
    readonly time: number;
  } | null;
  /** After an absence nothing is signed for at most so many ms; by default nothing is waited for. */
  readonly settleMs?: number;
  readonly segmentBytes?: number;
  readonly files?: Files;
}
