/** Promises of the server, and of what two ends say to each other, one broken at a time: those that a careless change breaks in silence. */
import type { Rules } from './mutant.ts';

export const SERVER_RULES: Rules = {
  'server/admission.ts': [
    ['username !== author || ', ''],
    [' || !isHeard', ''],
    ['!same(signed, rosterHash)', 'false'],
  ],
  'server/admitted.ts': [
    [' && at <= path.until', ''],
    ['    map.delete(oldest);\n', ''],
  ],
  'server/charges.ts': [
    ['    this.#taken += surcharge;\n', ''],
    ['    this.#sends.check(this.#user, surcharge, this.#taken);\n', ''],
    ['this.#paid.splice(0)', 'this.#paid'],
  ],
  'server/contacts.ts': [
    ["if (action !== 'block') ", ''],
    ['before.theirs !== after.theirs', 'true'],
  ],
  'server/crl-history.ts': [
    [' && !isForged(crl)', ''],
    ['index < tree', 'true'],
  ],
  'server/hub.ts': [
    ['this.#presence.unwatch(member, watched)', 'void watched'],
    ['\n      .filter((userId) => this.#presence.isVisible(userId))', ''],
    ['    if (earlier) earlier.add(hex(renewed));\n    else ', '    '],
    ['    this.forgetDevices(deviceIds);\n', ''],
    ['parted !== this.#parted', 'false'],
  ],
  'server/not-logged-in.ts': [
    ['    void link.closed.then(() => this.delete(link));\n', ''],
    ['links.size <= MAX_LINKS', 'true'],
  ],
  'server/rate-limit.ts': [
    ['this.#burst - taken', 'this.#burst'],
    ['(now - bucket.at) * this.#perMs >= this.#burst', 'now * this.#perMs >= this.#burst'],
  ],
  'server/revocation.ts': [
    ['Math.max(nextUpdate, newest.get(key) ?? 0)', 'nextUpdate'],
    ['    this.#isUnreadable = false;\n', ''],
  ],
  'server/rooms.ts': [[' && at <= now', '']],
  'server/tokens.ts': [
    [' || !isBound(issued.bound, fingerprint)', ''],
    ['        typ: TYPE,\n', ''],
    ['        audience: issuer,\n', ''],
    [" || typeof pwd !== 'string'", ''],
  ],
  'protocol/channel.ts': [
    ['if (this.#failure !== null) throw this.#failure;', ''],
    ['this.#recordsUnderKey >= this.#maxRecords)', 'false)'],
  ],
  'protocol/device-binding.ts': [
    ['  inner.end();\n', ''],
    [' || count > MAX_CERTIFICATES', ''],
  ],
  'protocol/scram.ts': [
    ["  within('passes', kdf.passes, floor.passes, MAX_ARGON2_PASSES);\n", ''],
    ['Math.max(a.passes, b.passes)', 'a.passes'],
  ],
  'x509/revocation.ts': [
    ["rule === 'at-stamping' && !HARMLESS", '!HARMLESS'],
    [
      '  if (entry) throw revoked(element, entry);\n',
      '  if (entry && entry.at <= at) throw revoked(element, entry);\n',
    ],
    ['list.thisUpdate <= at', 'true'],
  ],
};
