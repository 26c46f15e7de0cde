/**
 * What is asked of the server's log beside the talk: proofs between its checkpoints, the newest of these, the newest that others vouch for,
 * revocation lists that it keeps.
 */
import { equal, utf8, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { imprintOf } from '../transcript/stamp.ts';
import { openTimeStamp } from '../x509/time-stamp.ts';
import type { ShownCheckpoint } from './evidence.ts';
import type { Line } from './line.ts';
import type { AskCrl } from './revocations.ts';
import type { Session } from './session.ts';

export class LogInquiries {
  readonly #line: Line;

  constructor(line: Line) {
    this.#line = line;
  }

  /**
   * The server's proof that the first `from` entries of the log are those of its first `to`, not checked here; null: the server writes another
   * log now, and proves nothing of this one.
   * @throws what ended the connection
   */
  async consistency(origin: string, from: number, to: number): Promise<Hash[] | null> {
    const session = this.#session();
    if (session.log.origin !== origin) return null;
    const { hashes } = await this.#line.explained(
      session.requester.request({ type: 'log_consistency', from, to }, 'log_consistency'),
    );
    return hashes as Uint8Array[] as Hash[];
  }

  /** The newest checkpoint of the log, kept and proven like any other. @throws FORK, SIG_FAIL/note; what ended the connection */
  async newestCheckpoint(): Promise<void> {
    const session = this.#session();
    const { note } = await this.#line.explained(
      session.requester.request({ type: 'log_checkpoint' }, 'log_checkpoint'),
    );
    const bytes = utf8(note);
    try {
      session.log.keep(session.log.open(bytes), bytes);
    } catch (error) {
      session.fault(ChatError.from(error), `log ${session.log.origin}`, bytes);
      throw error;
    }
    session.prove();
    await this.#line.proven;
  }

  /**
   * The newest checkpoint that witnesses or a time-stamping authority have vouched for, of so many entries if there is one; null: there is none,
   * or the server writes another log now. Kept and proven like any other; whether it is enough is decided by whoever has keys and roots of theirs.
   * @throws as newestCheckpoint(); SIG_FAIL/time_stamp for a token over something else
   */
  async attested(origin: string, size: number): Promise<ShownCheckpoint | null> {
    const session = this.#line.session;
    if (session === null || session.log.origin !== origin) return null;
    const { note, token = null } = await this.#line.explained(
      session.requester.request({ type: 'log_attested', size }, 'log_attested'),
    );
    if (note === undefined) return null;
    const bytes = utf8(note);
    try {
      const checkpoint = session.log.openKept(bytes);
      session.log.keep(checkpoint, bytes);
      if (token !== null && !equal(openTimeStamp(token).imprint, imprintOf(bytes)))
        throw new ChatError('SIG_FAIL', 'the server gave a time-stamp of something else', { sub: 'time_stamp' });
      session.prove();
      await this.#line.proven;
      return { ...checkpoint, note, token };
    } catch (error) {
      session.fault(ChatError.from(error), `log ${session.log.origin}`, bytes);
      throw error;
    }
  }

  /** A revocation list that the server has logged, or a piece of it; not checked here. @throws as consistency(); NOT_FOUND, also for another log */
  async crl(
    origin: string,
    ...[issuer, number, offset, tree]: Parameters<AskCrl>
  ): Promise<Awaited<ReturnType<AskCrl>>> {
    const session = this.#session();
    if (session.log.origin !== origin) throw new ChatError('NOT_FOUND', 'this server writes another log now');
    return await this.#line.explained(
      session.requester.request({ type: 'crl_get', issuer, number, offset, tree }, 'crl'),
    );
  }

  #session(): Session {
    const session = this.#line.session;
    if (session === null) throw this.#line.down ?? new ChatError('NOT_LOGGED_IN', 'log in first');
    return session;
  }
}
