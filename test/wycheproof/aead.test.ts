/** AES-GCM through the primitive of the channel: AES-256, 96-bit nonces and 128-bit tags run, every other size is refused. */
import { createSecretKey } from 'node:crypto';
import { ChatError } from '../../base/errors.ts';
import { aesGcmOpen, aesGcmSeal } from '../../protocol/channel.ts';
import { bytes, named, wycheproof } from './vectors.ts';

wycheproof('aes_gcm_test', (t, groups) => {
  let ran = 0,
    refused = 0;
  for (const group of groups) {
    const isOurs = group['keySize'] === 256 && group['ivSize'] === 96 && group['tagSize'] === 128;
    for (const c of group.tests) {
      const key = createSecretKey(bytes(c, 'key'));
      const [iv, aad, msg, ct, tag] = (['iv', 'aad', 'msg', 'ct', 'tag'] as const).map((f) => bytes(c, f)) as Buffer[];
      const sealed = Buffer.concat([msg!, Buffer.alloc(16)]);
      const seal = () => aesGcmSeal(key, iv!, aad!, sealed.subarray(0, msg!.length), sealed);
      const open = () => aesGcmOpen(key, iv!, aad!, Buffer.concat([ct!, tag!]));
      if (!isOurs) {
        t.throws(open, { code: 'INTERNAL' }, `open refuses ${named(c)}`);
        t.throws(seal, { code: 'INTERNAL' }, `seal refuses ${named(c)}`);
        refused++;
      } else if (c.result === 'valid') {
        t.strictSame(open(), msg, named(c));
        seal();
        t.strictSame(sealed, Buffer.concat([ct!, tag!]), `seals ${named(c)}, where it stands`);
        ran++;
      } else {
        t.throws(open, { constructor: ChatError, code: 'DECRYPT_FAIL' }, named(c));
        ran++;
      }
    }
  }
  t.equal(ran, 66, 'cases of our sizes');
  return ran + refused;
});
