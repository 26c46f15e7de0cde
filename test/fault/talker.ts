/**
 * A client process that writes to CHAT_PEER without end, eight messages on their way, and takes what comes. It says one word and a
 * number a line, each with one write: `queued N` when the client has promised to keep its Nth message, `accepted N`, `received ROW`.
 * With CHAT_HURRY it changes the group whenever something of it was accepted: a commit, then messages, then a commit.
 */
import { writeSync } from 'node:fs';
import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { bodyOf, Person } from '../support/load.ts';

const WINDOW = 8;
const say = (word: string, number: number): void => void writeSync(1, `${word} ${number}\n`);

const peer = process.env['CHAT_PEER'] ?? '';
const { app, vault, name } = await Person.enter(process.env);
const { id } = await app.open(peer);
const numbers = new Map<number, number>();
for (const message of vault.history(id, 1_000_000))
  if (message.direction === 'out')
    numbers.set(message.row, Number(/message (\d+)/.exec(fromUtf8(message.body) ?? '')?.[1]));
let last = Math.max(0, ...numbers.values());
app.on((event) => {
  if (event.on === 'message') say('received', event.message.row);
  if (event.on === 'alarm') process.exit(9);
  if (event.on !== 'state' || event.message.state === 'failed') return;
  if (process.env['CHAT_HURRY'] !== undefined) vault.freshness.hurry(id);
  if (event.message.state === 'accepted') say('accepted', numbers.get(event.message.row) ?? 0);
  write();
});
function write(): void {
  while (vault.pending() < WINDOW) {
    const number = last + 1;
    const row = app.send(id, utf8(bodyOf(name, peer, number)));
    numbers.set(row, number);
    last = number;
    say('queued', number);
  }
}
(globalThis as { beginFaults?: () => void }).beginFaults?.(); // of failing-client.ts, if that is loaded
write();
