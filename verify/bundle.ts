/**
 * An evidence bundle against a set of CA certificates: reads hostile input once, file by file, with a cap on every file, and never stops at
 * the first finding. Names in the archive are names of evidence, and never of files on this machine. docs/TRANSCRIPT.md §f.
 */
import { ChatError } from '../base/errors.ts';
import { parseName, type BundleHead, type BundleName } from '../transcript/bundle.ts';
import { UstarReader } from '../transcript/ustar.ts';
import { BundleAudit } from './bundle-audit.ts';
import { limitOf } from './bundle-limits.ts';
import type { BundleLog } from './bundle-log.ts';
import type { JudgedMessage } from './bundle-messages.ts';
import type { MessageReceipt } from './bundle-receipts.ts';
import type { CertificateAudit, Trust } from './certificate-audit.ts';
import type { CheckName } from './checks.ts';
import type { Findings } from './finding.ts';
import type { KnownCheckpoint } from './log-directory.ts';
import type { Places } from './places.ts';
import { SignaturesAhead } from './signatures-ahead.ts';

export interface BundleOptions {
  readonly known?: readonly KnownCheckpoint[];
  /** Each message must have a receipt of a recipient. */
  readonly requiresReceipts?: boolean;
  readonly onMessage?: (message: JudgedMessage) => void;
  /** 1: signatures are checked on this thread alone; findings are the same. 2 if left out. */
  readonly threads?: 1 | 2;
  /** `total` is what the bundle says. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface AuditedBundle {
  readonly head: BundleHead | null;
  /** server: its operator has exported what the server has, which is no content. */
  readonly exporterRole: 'member' | 'server';
  readonly logs: readonly BundleLog[];
  readonly certificates: CertificateAudit;
  /** Messages and commits; and receipts, which are counted for themselves. */
  readonly messages: number;
  readonly receipts: number;
  /** By number of the message: what recipients have signed about it. */
  readonly receiptsOf: ReadonlyMap<number, readonly MessageReceipt[]>;
  readonly disclosed: number;
  readonly batches: number;
  /** Of those whose signature was found good, in hexadecimal. */
  readonly senders: ReadonlySet<string>;
  readonly firstTime: number | null;
  readonly lastTime: number | null;
  /** What was signed under each sender, session and counter; what is proven to stand at each place of each log. */
  readonly stated: Places;
  readonly placed: Places;
  /** Checks that could not be made of all that is here. Why, was found under another name. */
  readonly unmade: ReadonlySet<CheckName>;
}

/** Checks everything that a bundle can show. @param chunks the archive, in whatever pieces @throws BAD_FRAME if it is none */
export function auditBundle(
  chunks: Iterable<Uint8Array>,
  trust: Trust,
  findings: Findings,
  options: BundleOptions = {},
): AuditedBundle {
  const signatures = new SignaturesAhead();
  const audit = new BundleAudit(trust, findings, options, signatures);
  let file: BundleName | null = null;
  const reader = new UstarReader((name) => limitOf((file = parseName(name)))); // it asks once before each file
  let files = 0;
  try {
    for (const chunk of chunks) {
      for (const archived of reader.push(chunk)) {
        files++;
        audit.file(archived, file);
      }
      if (reader.fault !== null) break;
    }
    reader.end();
    if (files === 0) throw new ChatError('BAD_FRAME', `is no bundle: the archive ${reader.fault ?? 'is empty'}`);
    if (reader.fault !== null) findings.add('E_FORMAT', 'archive', `${reader.fault}: nothing behind it was checked`);
    return audit.end();
  } finally {
    signatures.close();
  }
}
