/**
 * What parties outside the server have said of a checkpoint: witnesses that cosigned it, authorities that stamped it with a time. Only
 * those count whom the caller names; what others say is neither believed nor held against anybody. docs/TRANSCRIPT.md §f.
 */
import { equal } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { openCosignatures, type WitnessKey } from '../transcript/cosignature.ts';
import { imprintOf } from '../transcript/stamp.ts';
import type { Certificate } from '../x509/certificate.ts';
import { openTimeStamp, trustTimeStamp, type TimeStamp } from '../x509/time-stamp.ts';
import { checkLists, type Trust } from './certificate-audit.ts';
import type { FindingCode, Findings } from './finding.ts';
import { iso } from './time.ts';

export interface Outside {
  readonly witnesses: readonly WitnessKey[];
  /** How many of them must have cosigned. 0: none was named. */
  readonly quorum: number;
  /** Roots of time-stamping authorities. */
  readonly stampRoots: readonly Certificate[];
  readonly requiresStamp: boolean;
}
export const NOBODY: Outside = { witnesses: [], quorum: 0, stampRoots: [], requiresStamp: false };

/** An honest server's clock may be off by this much. */
export const MAX_SKEW_MS = 5 * 60_000;

/** The true time was in here when a checkpoint was shown. Unix ms. */
export interface Moment {
  readonly from: number;
  readonly until: number;
}

export class OutsideAudit {
  readonly asked: Outside;
  readonly #trust: Trust;
  readonly #findings: Findings;

  constructor(trust: Trust, findings: Findings) {
    this.asked = trust.outside ?? NOBODY;
    this.#trust = trust;
    this.#findings = findings;
  }

  /** When a quorum had seen this checkpoint at the latest, Unix ms; null: there is none. @param note opened before */
  cosigned(where: string, note: Uint8Array): number | null {
    const { witnesses, quorum } = this.asked;
    if (quorum === 0) return null;
    const found = this.#tried('E_COSIG', where, () => openCosignatures(note, witnesses)) ?? [];
    // As many as a quorum do not lie at once, so one of the earliest so many is honest.
    return found.map(({ time }) => time).sort((a, b) => a - b)[quorum - 1] ?? null;
  }

  /** When a trusted authority was shown this note; null, and a finding: none was. */
  stamped(where: string, note: Uint8Array, token: Uint8Array): Moment | null {
    const stamp = this.#tried('E_STAMP', where, () => openTimeStamp(token));
    if (stamp === null) return null;
    if (!equal(stamp.imprint, imprintOf(note))) {
      this.#findings.add('E_STAMP', where, 'the time-stamp is of something else than its checkpoint');
      return null;
    }
    return this.#isTrusted(where, stamp)
      ? { from: stamp.time - stamp.accuracyMs, until: stamp.time + stamp.accuracyMs }
      : null;
  }

  /** Something with this server time was there already at this moment. */
  checkNotAfter(where: string, serverTime: number, moment: number, whose: string): void {
    if (serverTime <= moment + MAX_SKEW_MS) return;
    const message = `has the server time ${iso(serverTime)}, and ${whose} saw it at ${iso(moment)}`;
    this.#findings.add('E_TIME_BOUND', where, message);
  }
  /** Something with this server time was made when this moment had passed. */
  checkNotBefore(where: string, serverTime: number, moment: number): void {
    if (serverTime >= moment - MAX_SKEW_MS) return;
    const message = `has the server time ${iso(serverTime)}, and a time-stamp in it is of ${iso(moment)}`;
    this.#findings.add('E_TIME_BOUND', where, message);
  }

  #isTrusted(where: string, stamp: TimeStamp): boolean {
    const { stampRoots } = this.asked;
    const { crls, at } = this.#trust;
    if (stampRoots.length === 0) return false;
    try {
      const issuers = trustTimeStamp(stamp, stampRoots, crls, at);
      checkLists(where, [stamp.signer, ...issuers], crls, at ?? stamp.time, this.#findings);
      return true;
    } catch (error) {
      const { code, message } = ChatError.from(error);
      if (code === 'INTERNAL') throw error;
      this.#findings.addOnce(where, 'W_STAMP', where, `by no authority that was given: ${message}`);
      return false;
    }
  }

  #tried<T>(code: FindingCode, where: string, work: () => T): T | null {
    try {
      return work();
    } catch (error) {
      const failure = ChatError.from(error);
      if (failure.code === 'INTERNAL') throw error;
      this.#findings.add(code, where, failure.message);
      return null;
    }
  }
}
