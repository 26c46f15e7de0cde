/** Run by vault.test.ts, which kills it: the steps of sending, each said aloud before and after. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { hex, type ConversationId, type Fingerprint } from '../../base/bytes.ts';
import { composeBatch } from '../../client/statements.ts';
import { Vault } from '../../client/vault.ts';
import { inTheOpen } from './in-the-open.ts';
import { textBytes } from './text-bytes.ts';

const say = (step: string): void => void writeSync(1, `${step}\n`);
const folder = process.argv[2]!;
const id = Buffer.alloc(32, 1) as unknown as ConversationId;
const fingerprint = Buffer.alloc(32, 9) as unknown as Fingerprint;
const { privateKey } = generateKeyPairSync('ed25519');

const vault = Vault.open(folder);
say('opened');
vault.putRoster(id, { peer: 'bob', epoch: 1, members: [{ username: 'alice', devices: [fingerprint] }] });
for (const text of ['one', 'two', 'three']) vault.outgoing.enqueue(id, 'alice', textBytes(text), 1);
say('enqueued');
const messages = vault.outgoing.waiting(2, 1_000_000);
const conversations = new Map([[hex(id), vault.conversation(id)!]]);
const kfs = messages.map(() => randomBytes(32));
const session = vault.sessions.current(fingerprint);
say('composing');
const signer = { fingerprint, privateKey };
const batch = await composeBatch(signer, session, messages, conversations, kfs, 'localhost/log/n1', 1, inTheOpen);
say('staging');
vault.outgoing.stage(batch);
say('staged');
const { algorithm, signature } = batch;
const items = batch.messages.map(({ statement }) => ({ statement }));
const evidence = { algorithm, signature, batch: batch.batch, ack: Buffer.alloc(40), note: 'note', items };
say('accepting');
vault.outgoing.accept(batch, 'localhost/log/n1', 1, [1, 2], evidence);
say('accepted');
vault.close();
say('closed');
