/** Chains of certificates that a server hands out: what does not hold is not kept, and does not stay in the way of what does. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Fingerprint } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import type { RequestBody, Requester } from '../../client/requester.ts';
import { Rosters } from '../../client/rosters.ts';
import { Vault } from '../../client/vault.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { ScriptedServer } from './scripted-server.ts';

/** Bob's certificate is of an authority below the one that everybody trusts. */
function world(t: Test) {
  const server = new ScriptedServer();
  const middle = server.ca.intermediate('Middle CA');
  const bob = middle.client('bob');
  const { fingerprint, notBefore } = parseCertificate(bob.der);
  const vault = Vault.open(join(t.testdir({}), 'p'));
  t.teardown(() => vault.close());
  const said: { chain: Uint8Array[] | null } = { chain: null };
  const request = async (body: RequestBody): Promise<unknown> => {
    if (body.type === 'certificate_get') {
      if (said.chain === null) throw new ChatError('NOT_FOUND', 'the server does not have it');
      return { type: 'certificate', id: 1, chain: said.chain };
    }
    const members = [
      { username: 'alice', devices: [server.get('alice').fingerprint] },
      { username: 'bob', devices: [fingerprint] },
    ];
    return { type: 'conversation', id: 1, conversation: server.conversation, epoch: 1, members };
  };
  const requester = { request } as unknown as Requester;
  const rosters = new Rosters(vault, requester, server.identity('alice'), 'localhost', () => {});
  const kept = () => vault.ledger.certificate(fingerprint as Fingerprint)?.length ?? 0;
  const [incomplete, whole] = [[bob.der], [bob.der, middle.der]];
  return { vault, rosters, said, fingerprint, notBefore, kept, incomplete, whole };
}

t.test('a chain that lacks something is not kept: the whole one, when it comes, is', async (t) => {
  const { rosters, said, fingerprint, notBefore, kept, incomplete, whole } = world(t);
  said.chain = incomplete;
  await t.rejects(rosters.open('bob'), { code: 'BAD_CERT', sub: 'untrusted' });
  await t.rejects(rosters.certificates.validAt(fingerprint, notBefore), { code: 'BAD_CERT', sub: 'untrusted' });
  await t.rejects(rosters.certificates.keyHash(fingerprint), { code: 'BAD_CERT', sub: 'untrusted' });
  said.chain = [Buffer.from('anything')];
  await t.rejects(rosters.open('bob'), { code: 'SIG_FAIL', sub: 'fingerprint' });
  t.equal(kept(), 0);
  said.chain = whole;
  t.match(await rosters.open('bob'), { peer: 'bob' });
  t.match(await rosters.certificates.validAt(fingerprint, notBefore), { username: 'bob' });
  t.equal(kept(), 2);
});

t.test('one that is kept, and does not hold, is asked for again', async (t) => {
  const { vault, rosters, said, fingerprint, notBefore, kept, incomplete, whole } = world(t);
  vault.ledger.addCertificate(fingerprint, incomplete);
  await t.rejects(rosters.certificates.validAt(fingerprint, notBefore), { code: 'BAD_CERT', sub: 'untrusted' });
  said.chain = incomplete;
  await t.rejects(rosters.open('bob'), { code: 'BAD_CERT', sub: 'untrusted' });
  said.chain = whole;
  t.match(await rosters.open('bob'), { peer: 'bob' });
  t.equal(kept(), 2);
});
