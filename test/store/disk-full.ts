/** Run by sqlite.test.ts inside a file system of 3 MB, which it fills; prints what happened. */
import { rmSync, writeFileSync } from 'node:fs';
import { migrateStore, openStore } from '../../store/open.ts';
import { NOW, usageOf, World } from '../support/store-world.ts';

const dir = process.argv[2] ?? '';
const url = `sqlite:${dir}/chat.db`;
await migrateStore(url, null, NOW);
const store = await openStore(url, null);
const w = await World.open(store);
writeFileSync(`${dir}/ballast`, Buffer.alloc(1_000_000));

let sent = 0;
let size = 0;
let code = '';
while (code === '') {
  size = w.size;
  try {
    await w.send({ parts: [Buffer.alloc(50_000)], recipients: [w.devices.b1.id] });
    sent++;
  } catch (error) {
    code = String((error as { code?: string }).code);
  }
}
const kept = (await store.logSize(w.origin)) === size && (await usageOf(store, w.devices.b1.id)).rows === sent;
rmSync(`${dir}/ballast`);
w.size = size;
await w.send({ session: new Uint8Array(16) as never });
const later = (await usageOf(store, w.devices.b1.id)).rows === sent + 1;
await store.close();
console.log(JSON.stringify({ code, kept, later, sent }));
