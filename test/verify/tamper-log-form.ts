/** Rows of entries that are malformed, and of entries that are no messages. */
import { u16, utf8 } from '../../base/bytes.ts';
import { noteAt } from '../support/log-writer.ts';
import { at, filled, insert, LARGE, place, raw } from './log-edits.ts';
import { batch, flipped, indexOf, leafAt, leaves, relogged, world, type Row } from './tamper.ts';

export const FORM: readonly Row[] = [
  {
    name: 'an entry of type 7',
    files: () => raw(LARGE - 2, (entry) => (entry.writeUInt8(7), entry)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE - 2}`,
  },
  {
    name: 'reserved byte',
    files: () => raw(LARGE + 3, (entry) => flipped(entry, 1)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE + 3}`,
    isAlone: true,
  },
  {
    name: 'a malformed message, and one more than the batch has',
    files: () =>
      relogged((all) => void all.splice(batch(3) + 2, 0, { ...leafAt(all, batch(3) + 1, 'msg'), position: 2 }), {
        entries: (entries) => entries.with(batch(3) + 1, flipped(entries[batch(3) + 1]!, 1)),
      }),
    exit: 10,
    code: 'E_ORDER',
    where: `entry ${batch(3) + 2}`,
  },
  {
    name: 'an empty entry',
    files: () => raw(indexOf('time', 0), () => Buffer.alloc(0)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${indexOf('time', 0)}`,
    isAlone: true,
  },
  {
    name: 'a byte after the entry',
    files: () => raw(LARGE, (entry) => Buffer.concat([entry, Buffer.alloc(1)])),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE}`,
  },
  {
    name: 'a time beyond 2^53',
    files: () => raw(indexOf('time', 0), (entry) => entry.fill(0xff, 4, 12)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${indexOf('time', 0)}`,
    isAlone: true,
  },
  {
    name: 'the last time that a number holds',
    files: () =>
      raw(leaves.length - 10, (entry) => (entry.writeUInt32BE(0x1fffff, 4), entry.writeUInt32BE(0xffffffff, 8), entry)),
    exit: 10,
    code: 'E_KEYBIND',
    where: `entry ${leaves.length - 10}`,
  },
  {
    name: 'a message statement of unknown kind',
    files: () => raw(LARGE + 9, (entry) => (entry.writeUInt8(9, 12 + 8), entry)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE + 9}`,
    isAlone: true,
  },
  {
    name: 'a message statement with another magic',
    files: () => raw(LARGE + 9, (entry) => flipped(entry, 12)),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${LARGE + 9}`,
    isAlone: true,
  },
  {
    name: 'a batch statement with another magic',
    files: () => raw(batch(3), (entry) => flipped(entry, entry.length - 172)),
    exit: 10,
    code: 'E_FORMAT',
    where: place(3),
  },
  {
    name: 'a chain that is none',
    files: () => insert(batch(3), { type: 'cert', serverTime: at(batch(3)), chain: [Buffer.from('certificate')] }),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${batch(3)}`,
    isAlone: true,
  },
  {
    name: 'a key statement that is none',
    files: () =>
      insert(batch(3), { ...leafAt(leaves, 1, 'key'), serverTime: at(batch(3)), statement: utf8('hello\n') }),
    exit: 10,
    code: 'E_FORMAT',
    where: `entry ${batch(3)}`,
    isAlone: true,
  },
  {
    name: 'LINK: a checkpoint of another log',
    files: () =>
      insert(batch(3), {
        type: 'link',
        serverTime: at(batch(3)),
        checkpoint: noteAt({ ...world, origin: 'chat.example.org/log/n2' }, leaves),
      }),
    exit: 0,
  },
  {
    name: 'LINK: no signed note',
    files: () =>
      insert(batch(3), { type: 'link', serverTime: at(batch(3)), checkpoint: utf8('chat.example.org/log/n2\n7\n') }),
    exit: 10,
    code: 'E_LINK',
    where: `entry ${batch(3)}`,
    isAlone: true,
  },
  {
    name: 'LINK: the log itself',
    files: () => insert(batch(3), { type: 'link', serverTime: at(batch(3)), checkpoint: noteAt(world, leaves, 3) }),
    exit: 10,
    code: 'E_LINK',
    where: `entry ${batch(3)}`,
    isAlone: true,
  },
  {
    name: 'TIME: neither empty nor a stamp',
    files: () => insert(batch(3), { type: 'time', serverTime: at(batch(3)), stamp: Buffer.alloc(800, 0x30) }),
    exit: 10,
    code: 'E_STAMP',
    where: `entry ${batch(3)}`,
    isAlone: true,
  },
  {
    name: 'CRL: a list that nobody has',
    files: () =>
      insert(batch(3), { type: 'crl', serverTime: at(batch(3)), digest: filled(1), thisUpdate: 1, nextUpdate: 0 }),
    exit: 0,
    code: 'W_CRL_MISSING',
    where: place(3),
    isAlone: true,
  },
  {
    name: 'the longest entry',
    files: () => insert(batch(3), { type: 'time', serverTime: at(batch(3)), stamp: Buffer.alloc(65535 - 12) }),
    exit: 10,
    code: 'E_STAMP',
    where: `entry ${batch(3)}`,
    isAlone: true,
  },
  {
    name: 'a bundle whose lengths say otherwise',
    files: () =>
      relogged(() => undefined, {
        files: (all) =>
          all.set('tile/entries/000', Buffer.concat([u16(65535), all.get('tile/entries/000')!.subarray(2)])),
      }),
    exit: 10,
    code: 'E_ENTRIES',
    where: 'tile/entries/000',
  },
];
