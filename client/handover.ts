/**
 * The history of this user, from a device that has it to one that the person has approved: an archive sealed under a key of its own, sent in
 * pieces as messages of the conversation of the own devices, whose group holds this device and those it hands something to, and nobody else.
 * Both sides keep where they are in the transaction of what they have done, so a kill at any time is followed by going on, and taking over
 * what is here already changes nothing.
 */
import { createHash, randomBytes } from 'node:crypto';
import { equal, hex, type ConversationId, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { SALT_BYTES } from '../transcript/content.ts';
import { ArchiveParser, archiveRecords } from './archive.ts';
import { ArchiveReader } from './archive-reader.ts';
import {
  announcementContent,
  ARCHIVE_ID_BYTES,
  CHUNK_BYTES,
  pieceContent,
  readHandover,
  type Announcement,
} from './handover-content.ts';
import type { Outgoing } from './handover-table.ts';
import type { Session } from './session.ts';
import { MAX_STREAM_CHUNKS, STREAM_KEY_BYTES, StreamCipher } from './stream-cipher.ts';
import type { Message } from './message-table.ts';
import type { Vault } from './vault.ts';

export interface HandoverEvents {
  /** resolves when a message is accepted. @throws what it was refused for; what ended the connection */
  accepted(row: number): Promise<Message>;
  /** another group is to be made for what is sent next */
  renew(self: ConversationId): void;
  /** there is something to send */
  pump(): void;
  /** progress, in words */
  warn(sentence: string): void;
  /** something in a history that does not hold */
  refused(error: ChatError, subject: string, detail: Uint8Array): void;
}

/** A server whose queue for the other device is full is asked again. */
const AGAIN_MS = 30_000;

export class Handover {
  readonly #vault: Vault;
  readonly #username: string;
  readonly #own: Fingerprint;
  readonly #events: HandoverEvents;
  readonly #now: () => number;
  #sending: Promise<void> = Promise.resolve();
  #importing: Promise<void> = Promise.resolve();
  #again: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(
    vault: Vault,
    own: { readonly username: string; readonly fingerprint: Fingerprint },
    events: HandoverEvents,
    now: () => number,
  ) {
    this.#vault = vault;
    this.#username = own.username;
    this.#own = own.fingerprint;
    this.#events = events;
    this.#now = now;
  }

  /** All that is on its way to this device and complete is taken over. */
  get settled(): Promise<void> {
    return this.#importing;
  }

  /** Begins nothing more. */
  stop(): void {
    this.#isStopped = true;
    if (this.#again !== null) clearTimeout(this.#again);
  }
  /** After stop(), and when nobody waits for a message any more: resolves when nothing is done any more. */
  async closed(): Promise<void> {
    await this.#sending;
    await this.#importing;
  }

  /**
   * Writes the archive, and sends it as soon as that is possible. Resolves when all of it is accepted.
   * @param self conversation of the own devices
   * @param to certificate of the other device
   * @param since Unix ms by the server's clock
   */
  async give(session: Session, self: ConversationId, to: Fingerprint, since: number): Promise<void> {
    this.#events.renew(self); // a device that has been handed something before may have lost the group since
    this.#write(self, to, since);
    this.resume(session);
    await this.#sending;
    if (this.#vault.handovers.targets().includes(hex(to)))
      throw new ChatError(
        'NOT_REACHED',
        'the history is not handed over yet: it goes on whenever this profile is connected',
      );
  }

  /** Goes on where it was. */
  resume(session: Session): void {
    this.#sending = this.#sending.then(async () => {
      try {
        const pending = this.#vault.handovers.outgoing();
        if (pending.length === 0 || this.#isStopped) return;
        const { id } = await session.rosters.openSelf();
        for (const each of pending) await this.#send(session, id, each);
      } catch (cause) {
        const error = ChatError.from(cause);
        if (error.code === 'INTERNAL') this.#events.warn(`the history cannot be handed over: ${error.message}`);
        // Anything else has to do with the connection: taken up again at the next login.
      }
    });
    this.#import(session);
  }

  /** What another device of this user has sent, inside the transaction that keeps its statement. */
  take(plaintext: Uint8Array, from: Fingerprint): void {
    const { handovers } = this.#vault;
    const read = readHandover(plaintext);
    const { archive } = 'announcement' in read ? read.announcement : read.piece;
    const known = handovers.incoming(archive);
    if (known === 'done') return;
    if (known !== null && !equal(known.from, from)) return; // each device names its own archives
    if ('piece' in read) {
      if (known === null) handovers.setIncoming(archive, { from });
      return handovers.addPiece(archive, read.piece.n, read.piece.sealed);
    }
    if (!equal(read.announcement.to, this.#own)) return handovers.finish(archive); // for another device of this user
    handovers.setIncoming(archive, { from, announcement: read.announcement });
  }

  /** Takes over what is complete. */
  taken(session: Session): void {
    this.#import(session);
  }

  #write(self: ConversationId, to: Fingerprint, since: number): void {
    const archive = randomBytes(ARCHIVE_ID_BYTES);
    const key = randomBytes(STREAM_KEY_BYTES);
    const cipher = new StreamCipher(key, archive);
    const digest = createHash('sha256');
    const { handovers } = this.#vault;
    this.#vault.transaction(() => {
      let [pieces, size, rest] = [0, 0, Buffer.alloc(0)];
      const put = (chunk: Uint8Array, isLast: boolean): void => {
        if (pieces === MAX_STREAM_CHUNKS)
          throw new ChatError('TOO_LARGE', 'more than fits into one archive: hand over less with --history SINCE');
        const sealed = cipher.seal(pieces, isLast, chunk);
        handovers.addPiece(archive, pieces++, sealed);
        digest.update(sealed);
        size += sealed.length;
      };
      for (const record of archiveRecords(this.#vault, self, since)) {
        rest = Buffer.concat([rest, record]);
        for (; rest.length > CHUNK_BYTES; rest = rest.subarray(CHUNK_BYTES)) put(rest.subarray(0, CHUNK_BYTES), false);
      }
      put(rest, true);
      const announcement: Announcement = { v: 1, archive, to, key, sha256: digest.digest(), size, pieces };
      handovers.setOutgoing({ announcement, next: 0 });
    });
  }

  async #send(session: Session, self: ConversationId, outgoing: Outgoing): Promise<void> {
    const { handovers } = this.#vault;
    const { announcement } = outgoing;
    const { archive, pieces, to } = announcement;
    for (let { next, row } = outgoing; next <= pieces;) {
      if (this.#isStopped) return;
      if (row === undefined || this.#vault.message(row) === null) {
        row = this.#vault.transaction(() => {
          const waiting = this.#vault.outgoing.enqueue(
            self,
            this.#username,
            this.#contentOf(announcement, next),
            this.#now(),
          );
          handovers.setOutgoing({ announcement, next, row: waiting });
          return waiting;
        });
        this.#events.pump();
      }
      const sent = row;
      try {
        await this.#events.accepted(sent);
      } catch (cause) {
        const error = ChatError.from(cause);
        if (this.#vault.message(sent)?.state !== 'failed') throw error; // the connection ended: it waits
        this.#vault.transaction(() => {
          this.#vault.forgetMessage(sent);
          handovers.setOutgoing({ announcement, next });
        });
        if (error.code !== 'QUOTA') {
          this.#events.warn(
            `the history for your device ${hex(to).slice(0, 16)}… is not handed over: ${error.message}`,
          );
          this.#vault.transaction(() => handovers.finish(archive));
          return;
        }
        this.#again = setTimeout(() => this.resume(session), AGAIN_MS).unref();
        return;
      }
      this.#vault.transaction(() => {
        this.#vault.forgetMessage(sent);
        if (next > 0) handovers.dropPiece(archive, next - 1);
        if (next === pieces) handovers.finish(archive);
        else handovers.setOutgoing({ announcement, next: next + 1 });
      });
      next++;
      row = undefined;
    }
  }

  #contentOf(announcement: Announcement, next: number): Buffer {
    const salt = randomBytes(SALT_BYTES);
    if (next === 0) return announcementContent(salt, announcement);
    const { archive } = announcement;
    const sealed = this.#vault.handovers.piece(archive, next - 1);
    if (sealed === null) throw new ChatError('INTERNAL', 'a piece of the history is gone');
    return pieceContent(salt, { v: 1, archive, n: next - 1, sealed });
  }

  #import(session: Session): void {
    this.#importing = this.#importing.then(async () => {
      for (const { archive, from, announcement } of this.#vault.handovers.allIncoming()) {
        if (announcement === undefined || this.#vault.handovers.pieceCount(archive) < announcement.pieces) continue;
        const which = deviceName(from);
        try {
          this.#events.warn(await this.#read(session, announcement, from as Fingerprint));
        } catch (cause) {
          const error = ChatError.from(cause);
          if (error.code !== 'DECRYPT_FAIL' && error.code !== 'BAD_FRAME' && error.code !== 'TOO_LARGE') return; // at the next login again
          this.#events.refused(error, `history ${hex(archive)}`, archive);
          this.#events.warn(`the history that ${which} handed over cannot be used: ${error.message}`);
        }
        this.#vault.transaction(() => this.#vault.handovers.finish(archive));
      }
    });
  }

  async #read(session: Session, announcement: Announcement, from: Fingerprint): Promise<string> {
    const { archive, key, pieces, size, sha256 } = announcement;
    const { handovers } = this.#vault;
    const digest = createHash('sha256');
    let bytes = 0;
    for (let n = 0; n < pieces; n++) {
      const sealed = handovers.piece(archive, n)!;
      digest.update(sealed);
      bytes += sealed.length;
    }
    if (bytes !== size || !equal(digest.digest(), sha256))
      throw new ChatError('DECRYPT_FAIL', 'it is not what was announced', { sub: 'archive' });
    const cipher = new StreamCipher(key, archive);
    const parser = new ArchiveParser();
    const reader = new ArchiveReader(this.#vault, session, this.#username, from, this.#events.refused);
    for (let n = 0; n < pieces; n++) {
      for (const record of parser.push(cipher.open(n, n === pieces - 1, handovers.piece(archive, n)!)))
        await reader.take(record);
      reader.store(this.#now());
    }
    parser.end();
    session.prove();
    const { messages, refused, elsewhere, verified } = reader.result;
    return (
      `${deviceName(from)} handed over its history: ${messages} messages that were not here` +
      (refused === 0 ? '' : `; ${refused} records of it do not hold and were left out`) +
      (elsewhere === 0 ? '' : `; ${elsewhere} batches are of another log and were left out`) +
      (verified.length === 0
        ? ''
        : `; it has verified ${verified.join(', ')}${this.#isApproved(from) ? '' : `: device approve ${hex(from).slice(0, 16)} --history none takes its word for that`}`)
    );
  }
  #isApproved(device: Fingerprint): boolean {
    return this.#vault.handovers.approved().has(hex(device));
  }
}

const deviceName = (device: Uint8Array): string => `your device ${hex(device).slice(0, 16)}…`;
