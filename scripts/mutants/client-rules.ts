/** Promises of the client, one broken at a time: what it takes from other members, and when it tries again. */
import type { Rules } from './mutant.ts';

export const CLIENT_RULES: Rules = {
  'client/e2ee/guard.ts': [
    ['const { content } = message;\n  checkGroup(content.groupId, state);', 'const { content } = message;'],
  ],
  'client/e2ee/judge.ts': [['`${user}/${hex(deviceId)}`', 'hex(deviceId)']],
  'client/e2ee/sender-data.ts': [
    ["message.contentType === 'application' ? ratchets.application : ratchets.handshake", 'ratchets.application'],
  ],
  'client/outgoing.ts': [
    ['          this.#receipts.drop(kind, part);\n          const by', '          const by'],
    ['this.#seen.add(ms.conversation, { device, session, convCtr, leaf, place: null }, true);', ''],
  ],
  'client/pauses.ts': [['this.#passedOver.has(key) ?', 'until > now ?']],
  'client/refusals.ts': [
    ["  'LOG_FAILED',\n", ''],
    ["['COUNTER_GAP', 'COUNTER_REUSED', 'LINEAGE']", "['COUNTER_GAP', 'COUNTER_REUSED']"],
    ['  begin(): void {\n    this.#hasRestarted = false;', '  begin(): void {'],
    ['[this.#stale, this.#stuck, this.#vain]', '[this.#stuck, this.#vain]'],
    ['[this.#stale, this.#stuck, this.#vain]', '[this.#stale, this.#vain]'],
    ['[this.#stale, this.#stuck, this.#vain]', '[this.#stale, this.#stuck]'],
    ['times.delete(hex(id));', 'times.clear();'],
    ['if (isIncomplete(error) || isPassing(error)) {', 'if (isPassing(error)) {'],
    [
      'for (const id of concernedBy(error, batch)) this.#composer.rest',
      'for (const id of conversationsOf(batch)) this.#composer.rest',
    ],
    ['LOST_LINEAGE.has(code) && !this.#hasRestarted', 'LOST_LINEAGE.has(code)'],
    [' && !this.#stage.isOwn(batch))', ')'],
    ['      if (this.#composer.defers(id)) return;\n', ''],
    ['batch.messages.length - openings(batch) > 1', 'batch.messages.length > 1'],
    ['batch.messages.length - openings(batch) > 1', 'batch.rows.length > 1'],
    ["if (ChatError.from(cause).code !== 'NOT_FOUND') throw cause;", 'throw cause;'],
    ['    await session.caughtUp();\n', ''],
    ['now.conversation !== null && epochOf(now.conversation) === epoch', 'now.conversation !== null'],
    ['const vain = isNews ? 0 : ', 'const vain = '],
    ['      this.#stuck.delete(hex(id));\n', ''],
    ["code === 'UNAVAILABLE' && sub === 'incomplete'", "code === 'UNAVAILABLE'"],
  ],
  'client/vault.ts': [
    ['all.findLast((c) => c.peer === peer)', 'all.find((c) => c.peer === peer)'],
    ['members.find(({ username }) => username === peer)?.devices ?? []', 'members.flatMap(({ devices }) => devices)'],
  ],
};
