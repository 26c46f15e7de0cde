/** Three handshakes with fixed keys, every value literal: what another implementation can check itself against. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { verify } from 'node:crypto';
import t from 'tap';
import { decode, encode, type Value } from '../../base/cbor.ts';
import { hmacSha256 } from '../../base/hash.ts';
import { hex } from '../../base/bytes.ts';
import { agree } from '../../protocol/key-exchange.ts';
import { answerFrom, ends, offerFrom, played, scheduled, type Inputs, type Outputs } from './handshake-vector.ts';

const file = join(import.meta.dirname, '../vectors/ours/handshake.json');
const { handshakes } = JSON.parse(readFileSync(file, 'utf8')) as {
  handshakes: readonly { readonly inputs: Inputs; readonly wire: Outputs; readonly schedule: Outputs }[];
};
const bytes = (text: string | undefined) => Buffer.from(text ?? '', 'hex');

t.strictSame(
  handshakes.map(({ inputs }) => inputs.suite),
  [1, 2, 3],
);

for (const { inputs, wire, schedule } of handshakes)
  t.test(`suite ${inputs.suite}`, async (t) => {
    t.strictSame(played(inputs), wire, 'the machines make these bytes');
    t.strictSame(scheduled(inputs, wire), schedule, 'the document makes these secrets');
    t.strictSame(
      [schedule['exporter'], schedule['confirmation']],
      [wire['exporter'], wire['confirmation']],
      'and they are the same',
    );

    const offer = offerFrom(inputs);
    const answer = answerFrom(inputs, offer.shares);
    t.equal(agree(inputs.suite, offer.privateKeys, answer.shares).use(hex), wire['ikm'], 'the client agrees');

    const { client, server } = ends(inputs);
    for (const [role, hash, publicKey] of [
      ['server', 'th1', client.peerPublicKey],
      ['client', 'th2', server.peerPublicKey],
    ] as const) {
      const auth = decode(bytes(wire[`${role}Auth`])) as ReadonlyMap<string, Value>;
      const signature = auth.get('signature') as Uint8Array;
      const context = Buffer.from(`${' '.repeat(64)}chat/v1, ${role} handshake\0`);
      const body = Buffer.concat([context, bytes(schedule[hash]), bytes(inputs.binding)]);
      t.ok(verify(null, body, publicKey, signature), `${role} signature`);
      const mac = hmacSha256(
        bytes(schedule[`${role}FinishedKey`]),
        bytes(schedule[hash]),
        bytes(inputs.binding),
        Buffer.from([1]),
        signature,
      );
      t.equal(hex(auth.get('finished') as Uint8Array), hex(mac), `${role} Finished`);
      t.equal(hex(auth.get('binding') as Uint8Array), schedule['bindingHash']);
    }
    for (const name of ['upPlaintext', 'downPlaintext'] as const)
      t.equal(hex(encode(decode(bytes(inputs[name])))), inputs[name], `${name} is deterministic CBOR`);
    t.equal(bytes(wire['upRecord']).length, 4 + 8 + bytes(inputs.upPlaintext).length + 16);
  });
