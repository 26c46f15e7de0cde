/** The open channel: one counter, one key at a time, one error. */
import { createSecretKey } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { encode } from '../../base/cbor.ts';
import { ChatError } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import {
  aesGcmOpen,
  aesGcmSeal,
  Opener,
  openRecord,
  Sealer,
  sealRecord,
  type ChannelLimits,
} from '../../protocol/channel.ts';
import { recordKeys, rekeyed } from '../../protocol/key-schedule.ts';
import { MAX_KEY_AGE_MS, MAX_PLAINTEXT_BYTES, MAX_RECORD_BYTES, MAX_RECORDS_PER_KEY } from '../../protocol/limits.ts';
import { RecordReader } from '../../protocol/record.ts';
import { converse, runs } from './peers.ts';

const secret = () => new Secret(Buffer.alloc(32, 5));
const ends = (limits: ChannelLimits = {}) => ({
  sealer: new Sealer(secret(), limits),
  opener: new Opener(secret(), limits),
});
const FRAME = encode({ type: 'ping', id: 1 });
const REKEY = encode({ type: 'rekey' });
const payloads = (bytes: Buffer) => [...new RecordReader(MAX_RECORD_BYTES).push(bytes)];
const only = (bytes: Buffer) => {
  const found = payloads(bytes);
  if (found.length !== 1) throw new Error(`${found.length} records`);
  return found[0]!;
};

t.test('a record by hand', async (t) => {
  const record = new Sealer(secret()).seal([FRAME], 0);
  const { key, iv } = recordKeys(secret());
  t.equal(record.readUInt32BE(0), 8 + FRAME.length + 16, 'length of what follows');
  t.equal(hex(record.subarray(4, 12)), '0000000000000000', 'counter');
  t.strictSame(aesGcmOpen(key, iv, record.subarray(0, 12), record.subarray(12)), FRAME, 'nonce of counter 0 is the IV');
  const third = sealRecord({ key, iv }, 0x0102_0304_0506, FRAME);
  const nonce = Buffer.from(iv);
  [0, 0, 1, 2, 3, 4, 5, 6].forEach((byte, i) => (nonce[4 + i]! ^= byte));
  t.strictSame(aesGcmOpen(key, nonce, third.subarray(0, 12), third.subarray(12)), FRAME, 'and xor the counter');
});

t.test('what is sealed is opened, in order, whatever it is', async () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 100 }), { maxLength: 20 }), (plaintexts) => {
      const { sealer, opener } = ends({ maxRecordsPerKey: 4 });
      const stream = Buffer.concat(plaintexts.map((plaintext) => sealer.seal([plaintext], 0)));
      const got = payloads(stream).map((payload) => opener.open(payload));
      return Buffer.concat(got).equals(Buffer.concat(plaintexts));
    }),
    runs(100),
  );
});

t.test('every bit of a record', async (t) => {
  const record = new Sealer(secret()).seal([FRAME], 0);
  const codes: Record<string, number> = {};
  for (let bit = 0; bit < record.length * 8; bit++) {
    const bad = Buffer.from(record);
    bad[bit >> 3]! ^= 1 << (bit & 7);
    try {
      const found = payloads(bad).map((payload) => new Opener(secret()).open(payload));
      codes[found.length === 0 ? 'unfinished' : 'opened'] =
        (codes[found.length === 0 ? 'unfinished' : 'opened'] ?? 0) + 1;
    } catch (error) {
      const { code } = error as ChatError;
      codes[code] = (codes[code] ?? 0) + 1;
    }
  }
  const { BAD_FRAME = 0, DECRYPT_FAIL = 0 } = codes;
  t.ok(BAD_FRAME >= 64, 'each bit of the counter');
  t.ok(DECRYPT_FAIL >= 8 * (FRAME.length + 16), 'each bit of ciphertext and tag');
  t.equal(codes['opened'], undefined);
});

t.test('dropped, doubled, swapped, replayed', async (t) => {
  const { sealer } = ends();
  const [a, b, c] = [1, 2, 3].map((id) => only(sealer.seal([encode({ id })], 0))) as [Buffer, Buffer, Buffer];
  const cases: readonly (readonly [string, readonly Buffer[], number, string])[] = [
    ['first dropped', [b], 0, 'BAD_FRAME'],
    ['middle dropped', [a, c], 1, 'BAD_FRAME'],
    ['doubled', [a, a], 1, 'REPLAY'],
    ['swapped', [b, a], 0, 'BAD_FRAME'],
    ['replayed later', [a, b, a], 2, 'REPLAY'],
  ];
  for (const [name, sequence, good, code] of cases) {
    const { opener } = ends();
    for (const payload of sequence.slice(0, good)) opener.open(payload);
    t.throws(() => opener.open(sequence[good]!), { code, field: 'record.counter' }, name);
    t.throws(() => opener.open(c), { code }, `${name}: and nothing after it, not even what was due`);
    t.throws(() => opener.open(b), { code }, 'ever');
  }
});

t.test('a counter that lies about its record', async (t) => {
  const { sealer, opener } = ends();
  const first = only(sealer.seal([FRAME], 0));
  opener.open(first);
  const renumbered = Buffer.from(first);
  renumbered[7] = 1;
  t.throws(() => opener.open(renumbered), { code: 'DECRYPT_FAIL' }, 'a replay under the next number');
  for (const counter of ['0020000000000000', 'ffffffffffffffff', '8000000000000000']) {
    const far = Buffer.concat([Buffer.from(counter, 'hex'), first.subarray(8)]);
    t.throws(() => ends().opener.open(far), { code: 'BAD_FRAME', field: 'record.counter' }, counter);
  }
});

t.test('lengths of a payload', async (t) => {
  for (const bytes of [0, 1, 8, 23])
    t.throws(() => ends().opener.open(Buffer.alloc(bytes)), { code: 'BAD_FRAME', field: 'record' }, `${bytes} bytes`);
  const empty = only(sealRecord(recordKeys(secret()), 0, Buffer.alloc(0)));
  t.equal(empty.length, 24);
  t.throws(() => ends().opener.open(empty), { code: 'BAD_FRAME', field: 'record' }, 'no frame inside');
  t.throws(() => ends().sealer.seal([Buffer.alloc(0)], 0), { code: 'INTERNAL' });
  const full = Buffer.alloc(MAX_PLAINTEXT_BYTES, 1);
  const { sealer, opener } = ends();
  t.throws(() => sealer.seal([Buffer.alloc(MAX_PLAINTEXT_BYTES + 1)], 0), { code: 'TOO_LARGE' });
  const record = sealer.seal([full], 0);
  t.equal(record.readUInt32BE(0), 1_048_576, 'the refused one took no number; the largest fills the cap');
  t.ok(opener.open(only(record)).equals(full));
});

t.test('tags of 4 bytes, or none', async (t) => {
  const key = createSecretKey(Buffer.alloc(32, 1));
  const nonce = Buffer.alloc(12);
  const sealed = Buffer.alloc(FRAME.length + 16);
  aesGcmSeal(key, nonce, Buffer.alloc(0), FRAME, sealed);
  const [ciphertext, tag] = [sealed.subarray(0, FRAME.length), sealed.subarray(FRAME.length)];
  for (const bytes of [0, 4, 8, 12, 15])
    t.throws(
      () => aesGcmOpen(key, nonce, Buffer.alloc(0), Buffer.concat([ciphertext, tag.subarray(0, bytes)])),
      { code: 'DECRYPT_FAIL' },
      `${bytes} bytes of tag`,
    );
  t.throws(() => aesGcmOpen(key, nonce, Buffer.alloc(0), tag.subarray(0, 4)), { code: 'DECRYPT_FAIL' });
  for (const bad of [Buffer.alloc(11), Buffer.alloc(16)])
    t.throws(() => aesGcmSeal(key, bad, Buffer.alloc(0), FRAME, sealed), { code: 'INTERNAL' });
  const short = createSecretKey(Buffer.alloc(16));
  t.throws(() => aesGcmSeal(short, nonce, Buffer.alloc(0), FRAME, sealed), { code: 'INTERNAL' });
});

t.test('rekey by count: the last record of a key is the rekey record', async (t) => {
  const limits = { maxRecordsPerKey: 3 };
  const { sealer, opener } = ends(limits);
  const lengths: number[] = [];
  const keys: string[] = [];
  let generation = secret();
  let counter = 0;
  for (let i = 0; i < 7; i++)
    for (const payload of payloads(sealer.seal([encode({ id: i })], 0))) {
      const plaintext = openRecord(recordKeys(generation), counter, payload); // the test follows the rule by itself
      t.equal(payload.readUInt32BE(4), counter++, 'the counter goes on');
      lengths.push(plaintext.equals(REKEY) ? 0 : 1);
      if (plaintext.equals(REKEY)) generation = rekeyed(generation);
      keys.push(hex(generation.use((bytes) => Buffer.from(bytes))));
      t.equal(opener.open(payload).length, plaintext.equals(REKEY) ? 0 : plaintext.length);
    }
  t.strictSame(lengths, [1, 1, 0, 1, 1, 0, 1, 1, 0, 1]);
  t.equal(new Set(keys).size, 4, 'no key comes again');
});

t.test('rekey by time, measured from the first record under the key', async (t) => {
  const { sealer, opener } = ends();
  const count = (nowMs: number) => {
    const found = payloads(sealer.seal([FRAME], nowMs));
    for (const payload of found) opener.open(payload);
    return found.length;
  };
  const start = 1_000_000;
  t.strictSame(
    [
      start,
      start + MAX_KEY_AGE_MS - 1,
      start + MAX_KEY_AGE_MS,
      start + MAX_KEY_AGE_MS + 1,
      start + 2 * MAX_KEY_AGE_MS,
    ].map(count),
    [1, 1, 2, 1, 2],
  );
  t.equal(MAX_KEY_AGE_MS, 3_600_000);
  t.equal(MAX_RECORDS_PER_KEY, 16_777_216);
});

t.test('a sender that does not rekey is refused', async (t) => {
  const lazy = new Sealer(secret(), { maxRecordsPerKey: 100 });
  const strict = new Opener(secret(), { maxRecordsPerKey: 3 });
  strict.open(only(lazy.seal([FRAME], 0)));
  strict.open(only(lazy.seal([FRAME], 0)));
  t.throws(() => strict.open(only(lazy.seal([FRAME], 0))), { code: 'BAD_FRAME', field: 'rekey' });
});

t.test('a sender that only rekeys is refused', async (t) => {
  const { opener } = ends();
  const next = rekeyed(secret());
  opener.open(only(sealRecord(recordKeys(secret()), 0, FRAME)));
  t.equal(opener.open(only(sealRecord(recordKeys(secret()), 1, REKEY))).length, 0);
  t.throws(() => opener.open(only(sealRecord(recordKeys(next), 2, REKEY))), { code: 'BAD_FRAME', field: 'rekey' });
  const first = new Opener(secret());
  t.throws(() => first.open(only(sealRecord(recordKeys(secret()), 0, REKEY))), { code: 'BAD_FRAME', field: 'rekey' });
});

t.test('a rekey frame beside others, or inside a body, switches nothing', async (t) => {
  const { sealer, opener } = ends();
  for (const plaintext of [Buffer.concat([FRAME, REKEY]), Buffer.concat([REKEY, FRAME]), encode({ body: REKEY })])
    t.strictSame(
      opener.open(only(sealer.seal([plaintext], 0))),
      plaintext,
      'handed on as it is, for the frames to refuse',
    );
  t.strictSame(opener.open(only(sealer.seal([FRAME], 0))), FRAME, 'still the first key');
});

t.test('after a rekey the old key is of no use', async (t) => {
  const { sealer, opener } = ends({ maxRecordsPerKey: 2 });
  opener.open(only(sealer.seal([FRAME], 0)));
  const [rekey] = payloads(sealer.seal([FRAME], 0)) as [Buffer];
  opener.open(rekey);
  t.throws(() => opener.open(only(sealRecord(recordKeys(secret()), 2, FRAME))), { code: 'DECRYPT_FAIL' });
});

t.test('the counter ends before numbers stop being exact', async (t) => {
  const { sealer, opener } = ends({ firstCounter: Number.MAX_SAFE_INTEGER });
  t.strictSame(opener.open(only(sealer.seal([FRAME], 0))), FRAME, '2^53-1 is the last');
  t.throws(() => sealer.seal([FRAME], 0), { code: 'INTERNAL' });
});

t.test('directions, sessions and phases do not mix', async (t) => {
  const { client, server, records } = converse();
  const [a, b] = [client.session, server.session];
  if (!a || !b) return t.fail('not open');
  const up = a.sealer.seal([FRAME], 0);
  t.throws(() => a.opener.open(only(up)), { code: 'DECRYPT_FAIL' }, 'reflected');
  const other = converse();
  t.throws(() => other.server.session?.opener.open(only(up)), { code: 'DECRYPT_FAIL' }, 'from another session');
  t.throws(
    () => b.opener.open(only(records[3]!)),
    { code: 'DECRYPT_FAIL' },
    'client_auth again, in the application phase',
  );
});

t.test('only an error under the handshake key may come to a client in place of its first record', async (t) => {
  const handshake = recordKeys(new Secret(Buffer.alloc(32, 9)));
  const opener = () => {
    let asked = 0;
    const opener = new Opener(secret(), {}, (payload) => {
      asked++;
      try {
        openRecord(handshake, 1, payload);
        return new ChatError('SIG_FAIL', 'told');
      } catch {
        return null;
      }
    });
    return { opener, asked: () => asked };
  };
  const refusal = only(sealRecord(handshake, 1, FRAME));
  t.throws(() => opener().opener.open(refusal), { code: 'SIG_FAIL' });
  t.throws(
    () => opener().opener.open(only(sealRecord(recordKeys(secret()), 1, FRAME))),
    { code: 'BAD_FRAME' },
    'a lost record',
  );
  const late = opener();
  late.opener.open(only(new Sealer(secret()).seal([FRAME], 0)));
  t.throws(() => late.opener.open(refusal), { code: 'DECRYPT_FAIL' }, 'only before the first record');
  t.equal(late.asked(), 0);
});

t.test('wiped ends', async (t) => {
  const { sealer, opener } = ends({ maxRecordsPerKey: 2 });
  const first = only(sealer.seal([FRAME], 0));
  sealer.wipe();
  t.throws(() => sealer.seal([FRAME], 0), { code: 'INTERNAL' }, 'no rekey without a secret');
  opener.wipe();
  t.strictSame(opener.open(first), FRAME);
  t.notMatch(JSON.stringify([sealer, opener]), /"data"/);
});

t.test('what is too long for a record is refused before the key changes: the next one is read', async (t) => {
  const { sealer, opener } = ends({ maxRecordsPerKey: 2 });
  const read = (bytes: Buffer) => payloads(bytes).flatMap((payload) => opener.open(payload) ?? []);
  t.strictSame(read(sealer.seal([FRAME], 0)), [FRAME]);
  t.throws(() => sealer.seal([Buffer.alloc(MAX_PLAINTEXT_BYTES + 1)], 0), { code: 'TOO_LARGE', field: 'record' });
  t.strictSame(read(sealer.seal([FRAME], 0)).at(-1), FRAME);
});
