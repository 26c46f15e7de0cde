/** docs/PROTOCOL.md §1 to §4 against the code: the worked example is decoded from the document, and its names and numbers are ours. */
import { createDecipheriv } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { decode, encode, type Value } from '../../base/cbor.ts';
import { decodeHello } from '../../protocol/hello.ts';
import {
  agree,
  CLIENT_SHARE_BYTES,
  SERVER_SHARE_BYTES,
  SUITE_SHARES,
  type Suite,
} from '../../protocol/key-exchange.ts';
import { LABEL } from '../../protocol/key-schedule.ts';
import * as limits from '../../protocol/limits.ts';
import { RecordReader } from '../../protocol/record.ts';
import { DEFAULT_KDF, formatKdf } from '../../protocol/scram.ts';
import { offerFrom, scheduled, type Inputs, type Outputs } from './handshake-vector.ts';

const root = join(import.meta.dirname, '../..');
const document = readFileSync(join(root, 'docs/PROTOCOL.md'), 'utf8');
const section = (number: number): string =>
  new RegExp(`^## ${number} [^]*?(?=^## ${number + 1} |(?![^]))`, 'm').exec(document)?.[0] ?? '';

const example: { [name: string]: string } = {};
for (const [, name = '', value = ''] of (/^```hex\n([^]*?)^```/m.exec(document)?.[1] ?? '').matchAll(
  /^([\w.]+):\n((?: {2}[0-9a-f]+\n)+)/gm,
))
  example[name] = value.replace(/\s/g, '');
const bytes = (name: string) => Buffer.from(example[name] ?? '', 'hex');

const payload = (name: string): Buffer => {
  const [found, ...more] = [...new RecordReader().push(bytes(name))];
  if (!found || more.length > 0) throw new Error(`${name} is not one record`);
  return found;
};
const helloOf = <T extends 'client_hello' | 'server_hello'>(type: T) =>
  decodeHello(type, payload(type === 'client_hello' ? 'clientHelloRecord' : 'serverHelloRecord'));

t.test('the example is the vector of suite 2', async (t) => {
  const { handshakes } = JSON.parse(readFileSync(join(root, 'test/vectors/ours/handshake.json'), 'utf8')) as {
    handshakes: readonly { inputs: Inputs; wire: Outputs; schedule: Outputs }[];
  };
  const vector = handshakes.find(({ inputs }) => inputs.suite === 2);
  if (!vector) return t.fail('no vector of suite 2');
  const { inputs, wire, schedule } = vector;
  const { client, server, ...rest } = inputs;
  const known: { [name: string]: unknown } = { ...rest, ...wire, ...schedule };
  known['client.x25519'] = client.x25519;
  known['server.x25519'] = server.x25519;
  t.ok(Object.keys(example).length > 30, `${Object.keys(example).length} values`);
  for (const [name, value] of Object.entries(example)) t.equal(value, known[name], name);
  t.match(scheduled(inputs, { ...wire, ...example }), schedule, 'from the records of the document follow its secrets');
  t.equal(
    agree(2, offerFrom(inputs).privateKeys, { x25519: helloOf('server_hello').x25519! }).use(hex),
    example['ikm'],
  );
});

t.test('the records decode by what the document says', async (t) => {
  t.match(helloOf('client_hello'), { version: 1, suites: [2] });
  t.match(helloOf('server_hello'), { version: 1, suite: 2 });
  for (const [record, keys, plaintext] of [
    ['serverAuthRecord', 'serverHandshake', 'serverAuth'],
    ['clientAuthRecord', 'clientHandshake', 'clientAuth'],
    ['upRecord', 'clientApplication', 'upPlaintext'],
    ['downRecord', 'serverApplication', 'downPlaintext'],
  ] as const) {
    const sealed = bytes(record);
    t.equal(sealed.readUInt32BE(0), sealed.length - 4, 'u32 length');
    t.equal(sealed.readBigUInt64BE(4), 0n, 'u64 counter');
    const open = createDecipheriv('aes-256-gcm', bytes(`${keys}Key`), bytes(`${keys}Iv`), { authTagLength: 16 });
    open.setAAD(sealed.subarray(0, 12));
    open.setAuthTag(sealed.subarray(-16));
    t.equal(hex(Buffer.concat([open.update(sealed.subarray(12, -16)), open.final()])), example[plaintext], record);
    const map = decode(bytes(plaintext)) as ReadonlyMap<string, Value>;
    if (plaintext.endsWith('Auth'))
      t.strictSame([...map.keys()].sort(), ['algorithm', 'binding', 'finished', 'signature', 'type']);
  }
});

t.test('labels, sizes, limits', async (t) => {
  const quoted = [...section(2).matchAll(/"(chat\/v1 [a-z ]+)"/g)].map(([, label]) => label);
  t.strictSame([...new Set(quoted)].sort(), Object.values(LABEL).sort(), 'every label, and no other');
  for (const [share, count] of Object.entries(CLIENT_SHARE_BYTES))
    t.match(section(2), new RegExp(`\\| \`${share}\` \\| ${count} bytes`));
  t.match(section(2), `\`x25519\` (${SERVER_SHARE_BYTES.x25519})`);
  t.match(section(2), `\`mlkem768\` (${SERVER_SHARE_BYTES.mlkem768}`);
  for (const suite of [1, 2, 3] satisfies Suite[])
    t.match(
      section(2),
      new RegExp(`\\| ${suite} \\| \\w+ \\| ${SUITE_SHARES[suite].map((s) => `\`${s}\``).join(', ')} \\|`),
    );
  const comma = (n: number) => n.toLocaleString('en-US');
  for (const [number, text] of [
    [1, comma(limits.MAX_RECORD_BYTES)],
    [1, comma(limits.MAX_UNPROVEN_RECORD_BYTES)],
    [1, `${limits.HANDSHAKE_TIMEOUT_MS / 1000} seconds`],
    [2, `1 to ${limits.MAX_OFFERED_SUITES} integers`],
    [3, comma(limits.MAX_PLAINTEXT_BYTES)],
    [3, comma(limits.MAX_RECORDS_PER_KEY)],
    [3, comma(limits.MAX_KEY_AGE_MS)],
    [3, hex(encode({ type: 'rekey' }))],
    [4, `${limits.MAX_PASSWORD_BYTES} bytes`],
    [
      4,
      `m ${limits.MIN_ARGON2_MEMORY_KIB} to ${limits.MAX_ARGON2_MEMORY_KIB} KiB, t ${limits.MIN_ARGON2_PASSES} to ${limits.MAX_ARGON2_PASSES}, p 1`,
    ],
    [4, `i ${limits.MIN_PBKDF2_ROUNDS} to ${limits.MAX_PBKDF2_ROUNDS}`],
    [4, formatKdf(DEFAULT_KDF)],
  ] as const)
    t.ok(section(number).includes(text), `§${number}: ${text}`);
});
