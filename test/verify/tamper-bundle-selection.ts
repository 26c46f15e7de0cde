/** Rows of an exporter who leaves messages out, puts others in, or says otherwise. */
import { formatHead } from '../../transcript/bundle.ts';
import type { BundleMessage } from '../../transcript/bundle-writer.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { contentOf } from '../support/bundle-writer.ts';
import { found, msg, sealed, selective, text, withFiles, withMessages, type BundleRow } from './bundle-edits.ts';
import { received } from './bundle-stories.ts';
import { leaves, world } from './tamper.ts';

/** leaf(MS) of the first message of the bundle, and of the last. */
const said = leaves.flatMap((leaf) => (leaf.type === 'msg' ? [leafHash(leaf.ms)] : []));
const [first, last] = [said[0], said.at(-1)];
const withoutLast = (messages: BundleMessage[]): BundleMessage[] => messages.toSpliced(-2, 1);

export const BUNDLE_SELECTION: readonly BundleRow[] = [
  { name: 'a message left out', archive: withMessages((m) => m.toSpliced(3, 1)), ...found('E_CONV_GAP', msg(4)) },
  { name: 'the first message left out', archive: withMessages((m) => m.slice(1)), ...found('E_CONV_GAP', msg(3)) },
  {
    name: 'a message left out, as the bundle says',
    archive: sealed({ messages: (m) => m.toSpliced(3, 1), head: selective }),
    exit: 0,
    code: 'W_GAP',
    where: msg(4),
  },
  {
    name: 'the end of a session left out, as the bundle says',
    archive: sealed({ messages: (m) => m.toSpliced(4, 1), head: selective }),
    exit: 0,
    code: 'W_GAP',
    where: msg(5),
  },
  {
    name: 'the end of a session left out',
    archive: withMessages((m) => m.toSpliced(4, 1)),
    ...found('E_CONV_LINK', msg(5), false),
  },
  {
    name: 'a message of a session between two of another left out, as the bundle says',
    archive: sealed({ messages: (m) => m.toSpliced(5, 1), head: selective }),
    exit: 0,
    code: 'W_GAP',
    where: msg(7),
  },
  {
    name: 'all before a session left out',
    archive: sealed({ messages: (m) => m.slice(5), head: selective }),
    exit: 0,
    code: 'W_CONV_ELSEWHERE',
    where: msg(1),
  },
  { name: 'LIMIT: the last messages left out', archive: withMessages((m) => m.slice(0, 12)), exit: 0 },
  {
    name: 'LIMIT: all of one sender left out',
    archive: withMessages((m) => m.filter(({ opening }) => !Buffer.from(opening!).toString().endsWith('bob'))),
    exit: 0,
  },
  {
    name: 'a number left out',
    archive: withFiles((files) => {
      for (const name of [...files.keys()]) if (name.startsWith(msg(4))) files.delete(name);
    }),
    ...found('E_ORDER', msg(5), false),
  },
  {
    name: 'more messages announced',
    archive: withFiles((files) =>
      files.set('BUNDLE', text((t) => t.replace('messages 17', 'messages 18'))(files.get('BUNDLE')!)),
    ),
    ...found('E_TRUNCATED', 'BUNDLE'),
  },
  {
    name: 'two messages exchanged',
    archive: withMessages(([a, b, ...rest]) => [b!, a!, ...rest]),
    ...found('E_ORDER', msg(2)),
  },
  {
    name: 'two messages of one batch exchanged',
    archive: withMessages(([a, b, c, ...rest]) => [a!, c!, b!, ...rest]),
    ...found('E_CTR_REGRESS', msg(3), false),
  },
  {
    name: 'a message twice',
    archive: withMessages(([a, ...rest]) => [a!, a!, ...rest]),
    ...found('E_CTR_REGRESS', msg(2), false),
  },
  {
    name: 'a message of another conversation',
    archive: withMessages((m) => [...m, ...contentOf(world, leaves, 'notes').messages()]),
    ...found('E_LEAF', msg(18, 'entry'), false),
  },
  {
    name: 'the name of another conversation',
    archive: sealed({ head: (head) => ({ ...head, conversation: contentOf(world, leaves, 'bc').head.conversation }) }),
    ...found('E_LEAF', msg(1, 'entry'), false),
  },
  { name: 'no message', archive: withMessages(() => []), ...found('W_EMPTY', 'BUNDLE', true, 11) },
  {
    name: 'no message, and what was signed about one',
    archive: received(first!, (m) => m.slice(-1), selective),
    ...found('W_EMPTY', 'BUNDLE', false, 11),
  },
  {
    name: 'what somebody signed about a message of another, and about his own',
    archive: received(Buffer.concat([said[0]!, said[1]!]), (m) => m),
    exit: 0,
    code: 'W_RECEIPT',
    where: msg(18, 'ciphertext'),
  },
  {
    name: 'the last message left out, and what was signed about it not',
    archive: received(last!, withoutLast),
    ...found('E_RECEIPT', msg(17, 'ciphertext')),
  },
  {
    name: 'the last message left out, and what was signed about it not, as the bundle says',
    archive: received(last!, withoutLast, selective),
    exit: 0,
    code: 'W_GAP',
    where: msg(17, 'ciphertext'),
    isAlone: true,
  },
  {
    name: 'what was signed about messages of which one is there',
    archive: received(Buffer.concat([last!, first!]), withoutLast),
    exit: 0,
  },
  {
    name: 'a head that is none',
    archive: withFiles((files) => files.set('BUNDLE', Buffer.from('hello'))),
    ...found('E_FORMAT', 'BUNDLE', false),
  },
  {
    name: 'a head of a complete bundle, in which something is missing',
    archive: withFiles((files) =>
      files.set('BUNDLE', formatHead({ ...contentOf(world, leaves, 'ab').head, messages: 16 })),
    ),
    ...found('E_TRUNCATED', 'BUNDLE'),
  },
  {
    name: 'a file that no message has',
    archive: withFiles((files) => files.set('msg/000001/zzz', Buffer.from('x'))),
    ...found('E_FORMAT', 'msg/000001/zzz'),
  },
  {
    name: 'the contents of a message that is no receipt',
    archive: withFiles((files) => files.set('msg/000001/ciphertext', Buffer.from('x'))),
    ...found('E_FORMAT', 'msg/000001/ciphertext'),
  },
];
