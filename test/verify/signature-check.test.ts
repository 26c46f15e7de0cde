/** Signatures that are checked ahead: nothing is good that the judge would not find good. */
import t from 'tap';
import { concat } from '../../base/bytes.ts';
import { formatVkey } from '../../transcript/note.ts';
import { BATCH, SignatureCheck } from '../../verify/signature-check.ts';
import { credentialOf } from '../support/bundle-writer.ts';
import { fingerprintOf, noteAt, pemOf } from '../support/log-writer.ts';
import { batch, flipped, leafAt, leaves, world } from './tamper.ts';

const alice = credentialOf(world, 'alice');
const nameOf = (who: typeof alice): string => Buffer.from(fingerprintOf(who)).toString('hex');
const { bs, signature } = leafAt(leaves, batch(0), 'sigb');
const note = noteAt(world, leaves, 10);
const NOTHING = new Uint8Array(0);

t.test('what is good', async (t) => {
  const check = new SignatureCheck();
  t.equal(check.isGood(BATCH, bs, signature), false, 'of somebody who is not known');
  check.addCertificate(nameOf(alice), pemOf(credentialOf(world, 'bob').chain[0]!));
  check.addCertificate(nameOf(alice), 'no certificate');
  t.equal(check.isGood(BATCH, bs, signature), false, 'or whose certificate is another one');
  check.addCertificate(nameOf(alice), pemOf(alice.chain[0]!));
  t.equal(check.isGood(BATCH, bs, signature), true);
  check.addCertificate(nameOf(alice), pemOf(credentialOf(world, 'bob').chain[0]!));
  t.equal(check.isGood(BATCH, bs, signature), true, 'and no other takes its place');
  t.equal(check.isGood(BATCH, bs, flipped(signature, 10)), false);
  t.equal(check.isGood(BATCH, flipped(bs, 100), signature), false);
  t.equal(check.isGood(BATCH, bs.subarray(1), signature), false);
  t.equal(check.isGood(0, note, NOTHING), false, 'of a log that is not known');
  check.addLog(formatVkey(world.log));
  t.equal(check.isGood(0, note, NOTHING), true);
  t.equal(check.isGood(1, note, NOTHING), false);
  t.equal(check.isGood(0, flipped(note, note.length - 5), NOTHING), false);
  t.equal(check.isGood(0, concat(note, Buffer.of(0x0a)), NOTHING), false);
});
