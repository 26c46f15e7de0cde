/**
 * The keys of one log: the one that signs, those that did before it, and perhaps one that is prepared to follow. It signs what it is given:
 * that nobody gets it before the root is durable is for the log to see to.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { utf8, type Hash } from '../../base/bytes.ts';
import { openCheckpoint, signCheckpoint, type Checkpoint, type LogKeys } from '../../transcript/checkpoint.ts';
import { parseNote, verifierKey, type VerifierKey } from '../../transcript/note.ts';
import { loadLogKey } from './key-file.ts';
import { formerKeys, install, preparedKey, readTakeovers, takeoverIn, type Takeover } from './key-succession.ts';

/** A signed tree head. */
export interface Head {
  readonly size: number;
  readonly root: Hash;
  /** The signed note. */
  readonly note: string;
}

/** A key that is to take over. */
export interface Successor {
  readonly key: KeyObject;
  readonly verifier: VerifierKey;
}

export class Signer {
  readonly origin: string;
  readonly #keyFile: string;
  #key: KeyObject;
  #verifier: VerifierKey;
  /** How this key came to be the log's, one key after the other. */
  #takeovers: readonly Takeover[];

  private constructor(keyFile: string, origin: string, key: KeyObject, takeovers: readonly Takeover[]) {
    this.#keyFile = keyFile;
    this.origin = origin;
    this.#key = key;
    this.#verifier = verifierKey(origin, createPublicKey(key));
    this.#takeovers = takeovers;
  }

  /** @param isNew no log is there yet, and its key may be made @throws UNSAFE_FILE, CONFIG_INVALID, LOG_CORRUPT */
  static async load(keyFile: string, origin: string, isNew: boolean): Promise<Signer> {
    const key = loadLogKey(keyFile, isNew);
    return new Signer(keyFile, origin, key, await readTakeovers(keyFile));
  }

  get key(): KeyObject {
    return this.#key;
  }
  get verifier(): VerifierKey {
    return this.#verifier;
  }
  /** One key of this log after the other, each with the consent of the one before. */
  get takeovers(): readonly Takeover[] {
    return this.#takeovers;
  }

  /** Null: none is prepared. @throws UNSAFE_FILE, CONFIG_INVALID */
  prepared(): Successor | null {
    const key = preparedKey(this.#keyFile);
    return key && { key, verifier: verifierKey(this.origin, createPublicKey(key)) };
  }

  /** All that may have signed what is on the disk, the present one first. @throws as prepared() */
  keys(): LogKeys {
    const next = this.prepared();
    const former = formerKeys(this.#takeovers).map((each) => each.key);
    return [this.#verifier, ...(next ? [next.verifier] : []), ...former];
  }

  /** The newest entry of a log of `size` decides whether a crash has kept the prepared key from its place. @throws as prepared(), install() */
  async mend(newest: Uint8Array | undefined, size: number): Promise<void> {
    const next = this.prepared();
    const cut = next && takeoverIn(newest, size, next.key, this.origin);
    if (!cut) return;
    await this.install(cut);
    this.follow(next);
  }

  /** It signs from here on. */
  follow({ key, verifier }: Successor): void {
    this.#key = key;
    this.#verifier = verifier;
  }

  /** The prepared key's file replaces the other's. Durable when it resolves. @throws the disk's error */
  async install(takeover: Takeover): Promise<void> {
    this.#takeovers = await install(this.#keyFile, this.#takeovers, takeover);
  }

  /** Ed25519 is deterministic: the same note for the same tree. */
  sign(size: number, root: Hash): Head {
    const note = signCheckpoint({ origin: this.origin, size, root }, this.#key);
    return { size, root, note: note.toString('utf8') };
  }

  /** A key that signs no more has signed nothing beyond its end: whoever has it now cannot stop this log. @throws as openCheckpoint() */
  open(text: string): Checkpoint {
    const note = utf8(text);
    const { signatures } = parseNote(note);
    const signed = ({ name, keyId }: VerifierKey): boolean =>
      signatures.some((signature) => signature.name === name && signature.keyId === keyId);
    for (const { key, size } of formerKeys(this.#takeovers)) {
      const found = signed(key) ? openCheckpoint(note, key) : null;
      if (found !== null && found.size <= size) return found;
    }
    return openCheckpoint(note, this.#verifier);
  }
}
