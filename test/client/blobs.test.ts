/** Blobs as a client puts and fetches them, from a server that may be slow of wit, or lie. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { equal } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { sha256 } from '../../base/hash.ts';
import { fetchBlob, putBlob } from '../../client/blobs.ts';
import type { Requester } from '../../client/requester.ts';
import { BLOB_PIECE_BYTES, MAX_BLOB_BYTES, type Reply, type Request } from '../../protocol/messages.ts';

type Put = Omit<Request<'blob_put'>, 'id'>;
type Get = Omit<Request<'blob_get'>, 'id'>;

/** Keeps one blob, as docs/PROTOCOL.md §5.7 has it. */
class Shelf {
  kept = Buffer.alloc(0);
  readonly puts: number[] = [];
  /** what a liar makes of an answer */
  twist: (reply: Reply<'blob'>) => Reply<'blob'> = (reply) => reply;
  takes = true;

  get requester(): Requester {
    return { request: async (body: Put | Get) => this.#answer(body) } as unknown as Requester;
  }
  #answer(body: Put | Get): object {
    if (body.type === 'blob_put') {
      this.puts.push(body.offset);
      if (this.takes && body.offset === this.kept.length && body.offset < body.size)
        this.kept = Buffer.concat([this.kept, body.piece]);
      return { type: 'blob_have', id: 1, bytes: this.kept.length };
    }
    if (body.offset >= this.kept.length) throw new ChatError('NOT_FOUND', 'the server does not have it');
    const piece = this.kept.subarray(body.offset, body.offset + BLOB_PIECE_BYTES);
    return this.twist({ type: 'blob', id: 1, size: this.kept.length, piece });
  }
}

const LARGE = randomBytes(9 * BLOB_PIECE_BYTES + 17);
const named = (bytes: Uint8Array) => ({ hash: sha256(bytes), size: bytes.length });

t.test('put in pieces, goes on where it was, and comes back as it was', async (t) => {
  for (const bytes of [LARGE, LARGE.subarray(0, BLOB_PIECE_BYTES), Buffer.of(1)]) {
    const shelf = new Shelf();
    await putBlob(shelf.requester, bytes);
    t.ok(equal(shelf.kept, bytes), `${bytes.length} bytes`);
    t.ok(equal(await fetchBlob(shelf.requester, named(bytes)), bytes));
    shelf.puts.length = 0;
    await putBlob(shelf.requester, bytes);
    t.strictSame(shelf.puts, [0], 'it is there already');
  }
  const shelf = new Shelf();
  shelf.kept = LARGE.subarray(0, 7 * BLOB_PIECE_BYTES);
  await putBlob(shelf.requester, LARGE);
  t.ok(equal(shelf.kept, LARGE));
  t.strictSame(
    shelf.puts,
    [0, 7, 8, 9].map((n) => n * BLOB_PIECE_BYTES),
    'after the connection had ended',
  );
  shelf.kept = Buffer.alloc(0);
  shelf.takes = false;
  await t.rejects(putBlob(shelf.requester, LARGE), { code: 'BAD_FRAME', field: 'blob_have.bytes' });
});

t.test('what is not what was referred to is not taken', async (t) => {
  const shelf = new Shelf();
  shelf.kept = LARGE;
  const fetched = (reference = named(LARGE)) => fetchBlob(shelf.requester, reference);
  const lie = { code: 'SIG_FAIL', sub: 'blob' };
  await t.rejects(fetched({ hash: randomBytes(32), size: LARGE.length }), lie, 'another hash');
  for (const size of [0, LARGE.length - 1, LARGE.length + 1, MAX_BLOB_BYTES])
    await t.rejects(
      fetched({ ...named(LARGE), size }),
      { code: 'BAD_FRAME', field: 'reference' },
      'the server has what has that hash: the size is the lie of who refers to it',
    );
  shelf.twist = (reply) => ({ ...reply, size: reply.size + 1 });
  await t.rejects(fetched(), lie);
  shelf.twist = (reply) => ({ ...reply, piece: reply.piece.subarray(1) });
  await t.rejects(fetched(), lie);
  shelf.twist = (reply) => ({ ...reply, piece: randomBytes(reply.piece.length) });
  await t.rejects(fetched(), lie);
  let asked = 0;
  shelf.twist = (reply) => (asked++, reply);
  await t.rejects(fetched({ ...named(LARGE), size: MAX_BLOB_BYTES + 1 }), { code: 'TOO_LARGE', field: 'blob' });
  t.equal(asked, 0, 'nothing is reserved or asked for');
  shelf.kept = Buffer.alloc(0);
  await t.rejects(fetched(), { code: 'NOT_FOUND', sub: 'blob', message: /never put, or/ });
});
