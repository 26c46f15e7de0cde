/** What parties outside the server have said of the largest checkpoint of a log in a bundle, and what follows for the times of its messages. */
import { ChatError } from '../base/errors.ts';
import { keptToken } from '../x509/time-stamp-request.ts';
import type { Findings } from './finding.ts';
import type { OutsideAudit } from './outside.ts';

interface Files {
  readonly folder: string;
  readonly checkpoint: Buffer | null;
  readonly stamp: Buffer | null;
}

export class BundleAttestation {
  readonly isCosigned: boolean;
  readonly isStamped: boolean;
  readonly #findings: Findings;
  readonly #outside: OutsideAudit;
  /** What each says that the messages are not younger than, Unix ms. */
  readonly #limits: { readonly moment: number; readonly whose: string }[] = [];
  #hasMessages = false;
  #isTied = true;

  /** @param isSigned the log has signed the checkpoint */
  constructor({ folder, checkpoint, stamp }: Files, isSigned: boolean, outside: OutsideAudit, findings: Findings) {
    this.#outside = outside;
    this.#findings = findings;
    const { quorum, witnesses, requiresStamp } = outside.asked;
    const note = isSigned ? checkpoint : null;
    const cosigned = note && outside.cosigned(`${folder}/checkpoint`, note);
    this.isCosigned = cosigned !== null;
    if (cosigned !== null) this.#limits.push({ moment: cosigned, whose: 'a quorum of witnesses' });
    else if (quorum > 0)
      findings.add(
        'W_NO_QUORUM',
        `${folder}/checkpoint`,
        `not cosigned by ${quorum} of the ${witnesses.length} witnesses`,
      );
    const where = `${folder}/checkpoint.tsr`;
    const token = stamp && this.#token(where, stamp);
    const moment = note && token && outside.stamped(where, note, token);
    this.isStamped = Boolean(moment);
    if (moment) this.#limits.push({ moment: moment.until, whose: 'the time-stamping authority' });
    else if (requiresStamp) findings.add('W_NO_STAMP', where, 'no time-stamp by a given authority');
  }

  /** Whether somebody outside has seen all messages that are proven here; also if there are none. */
  get isDated(): boolean {
    return !this.#hasMessages || (this.#isTied && this.#limits.length > 0);
  }

  /** Nothing shows that what is proven here is of one history with the largest checkpoint, so what is said of that one is not said of it. */
  misses(where: string): void {
    this.#isTied = false;
    const { quorum, requiresStamp } = this.#outside.asked;
    if (quorum > 0) this.#findings.add('W_NO_QUORUM', where, 'nothing ties it to the checkpoint that witnesses saw');
    if (requiresStamp) this.#findings.add('W_NO_STAMP', where, 'nothing ties it to the checkpoint that was stamped');
  }

  /** Of a message. */
  checkTime(where: string, serverTime: number): void {
    this.#hasMessages = true;
    for (const { moment, whose } of this.#limits) this.#outside.checkNotAfter(where, serverTime, moment, whose);
  }

  #token(where: string, stamp: Buffer): Buffer | null {
    try {
      return keptToken(stamp);
    } catch (error) {
      const { code, message } = ChatError.from(error);
      if (code === 'INTERNAL') throw error;
      this.#findings.add('E_STAMP', where, message);
      return null;
    }
  }
}
