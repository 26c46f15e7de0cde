/**
 * Every revocation list that this server begins to work with is an entry of its log, and stays in the archive beside it: what was known
 * of revocations when a message was accepted can be told long after. What cannot be written now is tried again later.
 */
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Reply, Request } from '../protocol/messages.ts';
import { crlsOf, type Crl } from '../x509/crl.ts';
import type { Certificate } from '../x509/certificate.ts';
import { sameName } from '../x509/name.ts';
import { digestOf, issuerOf, type CrlArchive } from './log/crl-archive.ts';
import type { TranscriptLog } from './log/log.ts';
import type { Log } from '../runtime/log.ts';
import type { Sequencer } from './sequencer.ts';

/** Of a list, in one reply. */
export const MAX_CRL_PIECE_BYTES = 256 * 1024;

export class CrlHistory {
  readonly #archive: CrlArchive;
  readonly #transcript: TranscriptLog;
  readonly #sequencer: Sequencer;
  #waiting: readonly Crl[] = [];
  #writing: Promise<void> = Promise.resolve();

  readonly #log: Log;

  constructor(archive: CrlArchive, transcript: TranscriptLog, sequencer: Sequencer, log: Log) {
    this.#log = log;
    this.#archive = archive;
    this.#transcript = transcript;
    this.#sequencer = sequencer;
  }

  /** Lists that are in force now; flush() writes those that are new. @param authorities of this server */
  take(crls: readonly Crl[], authorities: readonly Certificate[]): void {
    // What bears the name of an authority that did not make it would make the whole log untrusted, for ever.
    const isForged = (crl: Crl): boolean => {
      const namesakes = authorities.filter((ca) => sameName(ca.subject, crl.issuer));
      return namesakes.length > 0 && namesakes.every((ca) => crlsOf([crl], ca).length === 0);
    };
    this.#waiting = crls.filter((crl) => crl.thisUpdate >= 0 && crl.nextUpdate >= 0 && !isForged(crl));
  }

  /** Resolves when all that was taken is in archive and log. @throws as CrlArchive.keep() and Sequencer.enter() */
  flush(): Promise<void> {
    const work = this.#writing.then(() => this.#flush());
    this.#writing = work.catch(() => undefined);
    return work;
  }

  async #flush(): Promise<void> {
    const found = this.#waiting;
    const fresh = [...new Map(found.map((crl) => [hex(digestOf(crl)), crl])).values()].filter(
      (crl) => !this.#archive.has(digestOf(crl)),
    );
    if (fresh.length > 0) {
      await this.#archive.keep(fresh);
      const { firstIndex, serverTime } = await this.#sequencer.enter((time) =>
        fresh.map((crl) => {
          const { thisUpdate, nextUpdate } = crl;
          return { type: 'crl', serverTime: time, digest: digestOf(crl), thisUpdate, nextUpdate };
        }),
      );
      await this.#archive.enter(
        fresh.map((crl, i) => {
          const [issuer, digest, bytes] = [issuerOf(crl), digestOf(crl), crl.der.length];
          return { index: firstIndex + i, serverTime, issuer, digest, bytes };
        }),
      );
      this.#log.info('crl.logged', { count: fresh.length, size: this.#transcript.size });
    }
    if (this.#waiting === found) this.#waiting = [];
  }

  /**
   * One list of an issuer, or a piece of it, and its place in the tree that the client has a checkpoint of.
   * @throws NOT_FOUND if there are not so many; BAD_FRAME for a tree or an offset beyond the end
   */
  async answer({ id, issuer, number, offset, tree }: Request<'crl_get'>): Promise<Reply<'crl'>> {
    if (tree > this.#transcript.latest.size)
      throw new ChatError('BAD_FRAME', 'no tree of this size', { field: 'crl_get.tree' });
    const lists = this.#archive.of(hex(issuer)).filter(({ index }) => index < tree);
    const list = lists.at(-1 - number);
    if (list === undefined) throw new ChatError('NOT_FOUND', 'no such list', { field: 'crl_get.number' });
    if (offset > list.bytes) throw new ChatError('BAD_FRAME', 'behind the end', { field: 'crl_get.offset' });
    return {
      type: 'crl',
      id,
      count: lists.length,
      index: list.index,
      server_time: list.serverTime,
      size: list.bytes,
      piece: await this.#archive.read(list, offset, Math.min(MAX_CRL_PIECE_BYTES, list.bytes - offset)),
      path: await this.#transcript.proofs.inclusion(list.index, tree),
    };
  }
}
