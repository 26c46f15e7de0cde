import t from 'tap';
import type { ServerLink } from '../../runtime/link.ts';
import { NotLoggedIn } from '../../server/not-logged-in.ts';

/** A link of the certificate with this key, as far as it is looked at. */
function link(key: number) {
  const closed = Promise.withResolvers<unknown>();
  const made = {
    code: null as string | null,
    peerChain: [{ spkiHash: Buffer.alloc(32, key) }],
    closed: closed.promise,
    close: (code: string) => {
      made.code ??= code;
      closed.resolve({ code });
    },
  };
  return Object.assign(made, { asLink: made as unknown as ServerLink });
}
const codes = (links: readonly ReturnType<typeof link>[]) => links.map(({ code }) => code);

t.test('of one key there are eight: the oldest makes room, and those of other keys stay', async (t) => {
  const waiting = new NotLoggedIn();
  const other = link(2);
  waiting.add(other.asLink);
  const links = Array.from({ length: 10 }, () => link(1));
  for (const { asLink } of links.slice(0, 8)) waiting.add(asLink);
  t.strictSame(new Set(codes(links)), new Set([null]), 'eight have their place');
  for (const { asLink } of links.slice(8)) waiting.add(asLink);
  t.strictSame(codes(links.slice(0, 3)), ['CONNECTION_LOST', 'CONNECTION_LOST', null]);
  t.equal(other.code, null);
});

t.test('who logs in, or goes, takes no place any more', async (t) => {
  const waiting = new NotLoggedIn();
  const [patient, ...others] = Array.from({ length: 15 }, () => link(1));
  waiting.add(patient!.asLink);
  const [loggedIn, gone, late] = [others.slice(0, 4), others.slice(4, 7), others.slice(7)];
  for (const { asLink } of [...loggedIn, ...gone]) waiting.add(asLink);
  for (const { asLink } of loggedIn) waiting.delete(asLink);
  for (const { close } of gone) close('bye');
  await new Promise(setImmediate);
  for (const { asLink } of late) waiting.add(asLink);
  t.strictSame(new Set(codes([patient!, ...loggedIn, ...late])), new Set([null]), 'eight are waiting, and all may');
});
