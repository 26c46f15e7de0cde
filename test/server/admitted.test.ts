/** That what is remembered of clients who were let in has an end. When a path is believed is in `revocation.test.ts`. */
import t from 'tap';
import type { Chain } from '../../runtime/tls.ts';
import { Admitted } from '../../server/admitted.ts';

/** A path of a client, as far as it is looked at here. */
function path(number: number): Chain {
  const fingerprint = Buffer.alloc(32);
  fingerprint.writeUInt32BE(number);
  return [{ fingerprint, notAfter: Infinity }] as never;
}

t.test('of very many clients those who came last are remembered', async (t) => {
  const admitted = new Admitted();
  const add = (number: number) => admitted.add(path(number), path(number), 0, [], 0);
  const isKnown = (number: number) => admitted.find(path(number), 0) !== null;
  for (let number = 0; number < 4096; number++) add(number);
  t.ok(isKnown(0));
  add(5000);
  t.ok(isKnown(0), 'who was just here');
  t.notOk(isKnown(1), 'who was not here for longest');
  t.ok(isKnown(2));
  add(5000);
  add(5000);
  t.ok(isKnown(3), 'who comes again takes nobody’s place');
  t.ok(isKnown(5000));
});

t.test('a path that is longer than any good one is not kept', async (t) => {
  const admitted = new Admitted();
  const presented = (length: number) => Array.from({ length }, (_, i) => path(i)[0]);
  for (const length of [10, 11]) admitted.add(presented(length), path(1), 0, [], 0);
  t.ok(admitted.find(presented(10), 0));
  t.equal(admitted.find(presented(11), 0), null);
});
