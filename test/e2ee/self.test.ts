/** Groups of one user's own devices: who comes in, and who does not. */
import t from 'tap';
import { directSettings } from '../../client/e2ee/direct.ts';
import { checkSelf, ownerOf, selfPolicy, selfSettings } from '../../client/e2ee/self.ts';
import type { Device } from '../../client/e2ee/binding.ts';
import { policy } from '../../client/group-rules.ts';

const device = (user: string): Device => ({ user, deviceId: Buffer.alloc(16, user.length) }) as unknown as Device;
const change = (added: readonly Device[], isExternal = false, settings: Uint8Array = selfSettings('alice')) => ({
  by: device('alice'),
  isExternal,
  added,
  removed: [],
  members: [device('alice')],
  settings,
});

t.equal(ownerOf(selfSettings('alice')), 'alice');
t.equal(ownerOf(directSettings(['alice', 'bob'])), null);
t.equal(ownerOf(Buffer.from('nothing')), null);
for (const judge of [selfPolicy, policy]) {
  t.equal(judge(change([device('alice')])), null);
  t.equal(judge(change([])), null);
  t.match(judge(change([device('bob')])), /a device of bob among those of alice/);
  t.match(judge(change([device('alice')], true)), /let itself in/, 'none comes from outside, its own user’s neither');
}
t.match(selfPolicy(change([], false, directSettings(['alice', 'bob']))), /not one of/);
checkSelf(selfSettings('alice'), [device('alice')], 'alice');
const refused = { code: 'DECRYPT_FAIL', sub: 'policy' };
t.throws(() => checkSelf(selfSettings('bob'), [device('alice')], 'alice'), refused);
t.throws(() => checkSelf(directSettings(['alice', 'bob']), [device('alice')], 'alice'), refused);
t.throws(() => checkSelf(selfSettings('alice'), [device('alice'), device('bob')], 'alice'), refused);
