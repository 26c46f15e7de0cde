/** People who have an account, a bound device and a key package at the server, and are away: what a room is mostly made of. */
import { randomBytes } from 'node:crypto';
import { sha256 } from '../../base/hash.ts';
import { Authority, createBinding } from '../../client/e2ee/binding.ts';
import { Engine } from '../../client/e2ee/conversation.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { ca } from './pair.ts';
import type { World } from './world.ts';

const DAY_MS = 86_400_000;
let opening: Promise<Engine> | undefined;
const opened = (): Promise<Engine> =>
  (opening ??= Engine.open(
    new Authority({ organisation: 'localhost', roots: [parseCertificate(ca.der)], bindings: new Map() }),
  ));

/** He is in the room as far as the server knows. */
export async function absent(w: World, name: string, room: string): Promise<void> {
  const engine = await opened();
  const person = await w.person(name);
  const client = await w.login(person);
  const [{ der, notBefore, notAfter }] = person.own.chain;
  const keys = await engine.newDeviceKey();
  const deviceId = randomBytes(16);
  const statement = { organisation: 'localhost', user: name, deviceId, mlsKey: keys.mlsKey, notBefore, notAfter };
  const binding = createBinding(statement, [der], person.own.privateKey);
  await client.request({ type: 'binding_put', binding }, 'ok');
  const own = { user: name, deviceId, bindingHash: sha256(binding), ...keys };
  const { published } = await engine.keyPackage(own, { notBefore: Date.now() - DAY_MS, notAfter: Date.now() + DAY_MS });
  await client.request({ type: 'keypackages_put', packages: [published], last_resort: false }, 'keypackages');
  await client.request({ type: 'room_join', room }, 'room');
  await client.close();
}
