/** Which revocation lists come into the log, and how clients read them, with an archive and a log in memory. */
import t from 'tap';
import { sha256 } from '../../base/hash.ts';
import { ChatError } from '../../base/errors.ts';
import { hex } from '../../base/bytes.ts';
import { CrlHistory, MAX_CRL_PIECE_BYTES } from '../../server/crl-history.ts';
import { digestOf, issuerOf, type LoggedCrl } from '../../server/log/crl-archive.ts';
import { parsePem } from '../../x509/certificate.ts';
import { parseCrls, type Crl } from '../../x509/crl.ts';
import { memoryLog } from '../support/pair.ts';
import { authority, type Authority } from '../support/pki.ts';

const ca = authority();
const [caCertificate] = parsePem(ca.pem);
const listOf = (by: Authority, ...revoked: Parameters<Authority['crl']>[0]): Crl =>
  parseCrls(Buffer.from(by.crl(revoked)))[0]!;

class Desk {
  /** of the log */
  size = 100;
  kept: Crl[] = [];
  logged: LoggedCrl[] = [];
  isDown = false;
  writes = 0;
  /** while the log is written */
  meanwhile: () => void = () => {};
  readonly history: CrlHistory;

  constructor() {
    const archive = {
      has: (digest: Uint8Array) => this.logged.some((one) => hex(one.digest) === hex(digest)),
      keep: async (lists: readonly Crl[]) => void this.kept.push(...lists),
      enter: async (entries: readonly LoggedCrl[]) => void this.logged.push(...entries),
      of: (issuer: string) => this.logged.filter((one) => one.issuer === issuer),
      read: async (_: LoggedCrl, offset: number, bytes: number) => Buffer.alloc(bytes, offset),
    };
    const size = () => this.size;
    const transcript = {
      get size() {
        return size();
      },
      get latest() {
        return { size: size() };
      },
      proofs: { inclusion: async () => [] },
    };
    const sequencer = {
      enter: async (entries: (serverTime: number) => readonly unknown[]) => {
        if (this.isDown) throw new ChatError('DISK_FULL', 'no room');
        this.writes++;
        this.meanwhile();
        const firstIndex = this.size;
        this.size += entries(5).length;
        return { firstIndex, serverTime: 5 };
      },
    };
    this.history = new CrlHistory(archive as never, transcript as never, sequencer as never, memoryLog().log);
  }

  async take(...lists: readonly Crl[]): Promise<void> {
    this.history.take(lists, [caCertificate!]);
    await this.history.flush();
  }
  get digests(): string[] {
    return this.logged.map(({ digest }) => hex(digest));
  }
}
const digestsOf = (...lists: readonly Crl[]) => lists.map((list) => hex(digestOf(list)));

t.test('a list that bears the name of an authority and was made by another is never logged', async (t) => {
  const desk = new Desk();
  const [genuine, forged] = [listOf(ca), listOf(authority('Test CA'))];
  t.equal(issuerOf(genuine), issuerOf(forged), 'it looks like one of ours');
  const stranger = listOf(authority('Some CA'));
  await desk.take(forged, genuine, stranger);
  t.strictSame(
    desk.logged.map(({ index }) => index),
    [100, 101],
  );
  t.strictSame(desk.digests, digestsOf(genuine, stranger), 'of a name that is none of ours nobody can say that');
  t.strictSame(digestsOf(...desk.kept), desk.digests);
});

t.test('of two authorities with one name each may make lists', async (t) => {
  const desk = new Desk();
  const twin = authority('Test CA');
  const lists = [listOf(ca), listOf(twin)];
  desk.history.take(lists, [caCertificate!, ...parsePem(twin.pem)]);
  await desk.history.flush();
  t.strictSame(desk.digests, digestsOf(...lists));
});

t.test('a time that an entry of the log cannot say is no reason to stop', async (t) => {
  const desk = new Desk();
  const list = listOf(ca);
  await desk.take({ ...list, thisUpdate: -1000 }, { ...list, nextUpdate: -1000 });
  t.strictSame(desk.logged, []);
  await desk.take({ ...list, thisUpdate: 0, nextUpdate: 0 });
  t.equal(desk.logged.length, 1);
});

t.test('each list is logged once, and what could not be written is tried again', async (t) => {
  const desk = new Desk();
  const [first, second] = [listOf(ca), listOf(ca, ca.client('alice'))];
  desk.isDown = true;
  await t.rejects(desk.take(first, first), { code: 'DISK_FULL' });
  desk.isDown = false;
  desk.meanwhile = () => desk.history.take([first, second], [caCertificate!]);
  await desk.history.flush();
  t.strictSame(desk.digests, digestsOf(first));
  desk.meanwhile = () => {};
  await desk.history.flush();
  t.strictSame(desk.digests, digestsOf(first, second), 'what came while the log was written is not lost');
  await desk.take(first, second);
  await desk.history.flush();
  t.strictSame(
    desk.logged.map(({ index }) => index),
    [100, 101],
  );
  t.equal(desk.writes, 2, 'nothing is written for nothing');
});

t.test('a client reads the lists of its own tree, the newest first, piece by piece', async (t) => {
  const desk = new Desk();
  const issuer = sha256(listOf(ca).issuer.der);
  const bytes = MAX_CRL_PIECE_BYTES + 7;
  for (const index of [10, 20, 30])
    desk.logged.push({ index, serverTime: 5, issuer: hex(issuer), digest: issuer as never, bytes });
  desk.logged.push({ index: 40, serverTime: 5, issuer: 'other', digest: issuer as never, bytes });
  const ask = (more: { number?: number; offset?: number; tree?: number } = {}) =>
    desk.history.answer({ type: 'crl_get', id: 1, issuer, number: 0, offset: 0, tree: 100, ...more });
  t.match(await ask(), { count: 3, index: 30, size: bytes });
  t.equal((await ask()).piece.length, MAX_CRL_PIECE_BYTES);
  t.equal((await ask({ offset: MAX_CRL_PIECE_BYTES })).piece.length, 7);
  t.equal((await ask({ offset: bytes })).piece.length, 0);
  t.match(await ask({ number: 2 }), { index: 10 });
  t.match(await ask({ tree: 30 }), { count: 2, index: 20 }, 'entry 30 is not in a tree of 30');
  await t.rejects(ask({ number: 3 }), { code: 'NOT_FOUND', field: 'crl_get.number' });
  await t.rejects(ask({ tree: 10 }), { code: 'NOT_FOUND', field: 'crl_get.number' });
  await t.rejects(ask({ tree: 101 }), { code: 'BAD_FRAME', field: 'crl_get.tree' });
  await t.rejects(ask({ offset: bytes + 1 }), { code: 'BAD_FRAME', field: 'crl_get.offset' });
});
