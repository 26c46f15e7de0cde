/**
 * What one account of the generator states about its messages. Every statement, hash, link and signature is a real one that the server checks;
 * only the commitment, which no server can check, is always the same 32 bytes. Cheaper than client/statements.ts: one conversation for each
 * account, whose roster is hashed once.
 */
import { randomBytes } from 'node:crypto';
import type { ConversationId, Fingerprint, Hash, SessionId } from '../base/bytes.ts';
import { CONTEXT, sign } from '../base/signature.ts';
import type { Reply, Request } from '../protocol/messages.ts';
import type { Credentials } from '../runtime/tls.ts';
import { leafHash, NO_HASH, rootOf } from '../transcript/merkle.ts';
import {
  audienceOf,
  ciphertextHash,
  encodeBs,
  encodeMs,
  KIND,
  rosterHash,
  type Kind,
} from '../transcript/statement.ts';
import { sessionOpening } from '../test/support/session-opening.ts';

export type SignedBatch = Omit<Request<'msg_send'>, 'id'>;

type Message = SignedBatch['messages'][number];

const COMMITMENT = randomBytes(32) as Uint8Array as Hash;

export class Author {
  readonly #own: Credentials;
  readonly #audience: Hash;
  readonly #conversation: ConversationId;
  readonly #rosterHash: Hash;
  readonly #session = randomBytes(16) as Uint8Array as SessionId;
  #ctr = 0;
  #convCtr = 0;
  #prevBatch: Hash = NO_HASH;
  #lastLeaf: Hash = NO_HASH;

  constructor(own: Credentials, origin: string, { conversation, epoch, members }: Reply<'conversation'>) {
    this.#own = own;
    this.#audience = audienceOf(origin);
    this.#conversation = conversation as ConversationId;
    const devices = members.flatMap((member) => member.devices as Fingerprint[]);
    this.#rosterHash = rosterHash(this.#conversation, epoch, devices);
  }

  /** The commit that makes a group: bytes that no server reads. First of all, behind the opening of the session. */
  found(): SignedBatch {
    const groupInfo = Buffer.from('info');
    return this.#batch([randomBytes(64)], KIND.membership, {
      group: { generation: 1, epoch: 0 },
      group_info: groupInfo,
    });
  }

  /** The next batch: one message for each body, one signature over all. */
  batch(bodies: readonly Uint8Array[]): SignedBatch {
    return this.#batch(bodies, KIND.message, { group: { generation: 1, epoch: 1 } });
  }

  #batch(bodies: readonly Uint8Array[], kind: Kind, group: Pick<Message, 'group' | 'group_info'>): SignedBatch {
    const sender = this.#own.chain[0].fingerprint;
    const now = Date.now();
    const first = this.#ctr + 1;
    const opening = first === 1 ? [sessionOpening(this.#own.chain[0].fingerprint, this.#session, null, now)] : [];
    this.#ctr += opening.length;
    const leaves: Hash[] = opening.map(({ statement }) => leafHash(statement));
    const messages = bodies.map((body) => {
      const parts = [body];
      const statement = encodeMs({
        kind,
        parts: 1,
        ciphertextBytes: body.length,
        sender,
        session: this.#session,
        sessionCtr: ++this.#ctr,
        clientTime: now,
        conversation: this.#conversation,
        convCtr: ++this.#convCtr,
        prevConv: this.#lastLeaf,
        rosterHash: this.#rosterHash,
        commitment: kind === KIND.message ? COMMITMENT : NO_HASH,
        ciphertextHash: ciphertextHash(parts),
      });
      this.#lastLeaf = leafHash(statement);
      leaves.push(this.#lastLeaf);
      return { statement, parts, ...group };
    });
    const batch = encodeBs({
      sender,
      session: this.#session,
      firstCtr: first,
      count: leaves.length,
      signTime: now,
      prevBatch: this.#prevBatch,
      batchRoot: rootOf(leaves),
      audience: this.#audience,
    });
    this.#prevBatch = leafHash(batch);
    return {
      type: 'msg_send',
      ...sign(this.#own.privateKey, CONTEXT.senderBatch, batch),
      batch,
      messages: [...opening, ...messages],
    };
  }
}
