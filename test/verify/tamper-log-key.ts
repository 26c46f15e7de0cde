/** Rows of the key of the log, and of who vouches for it. */
import { endorseKeyStatement, signKeyStatement, type KeyStatement } from '../../transcript/key-statement.ts';
import { verifierKey } from '../../transcript/note.ts';
import { compose, keyLeaves, publicOf, seal, STORY, type Alterations, type Credential } from '../support/log-writer.ts';
import { DAY, dns, ec, EKU, eku, keyUsage, make, named, san } from '../x509/maker.ts';
import { root } from './bundle-edits.ts';
import { at, bob, insert, otherLog, otherLogKey, place } from './log-edits.ts';
import { batch, leafAt, leaves, relogged, resigned, world, type Row } from './tamper.ts';

const key = (change: (statement: KeyStatement) => Partial<KeyStatement>): Alterations => ({
  keyStatement: (statement) => ({ ...statement, ...change(statement) }),
});
/** KEY leaf 1 with this statement and endorsement. */
const keyLeaf = (change: (statement: KeyStatement) => Partial<KeyStatement>, endorse: (text: Buffer) => Uint8Array) =>
  relogged((all) => {
    const [, made] = keyLeaves(world, world.begin, key(change));
    const leaf = leafAt([made!], 0, 'key');
    all[1] = { ...leaf, previousSignature: endorse(Buffer.from(leaf.statement)) };
  });
const LATER = world.begin + 61_500;
/** The server states its key anew, under the certificate that it has. */
const restated = (ends: number, begins: number) => {
  const first = key(() => ({ notAfter: ends }));
  const second = key(() => ({ notBefore: begins }));
  const list = compose(world, STORY, first);
  list.splice(batch(6), 0, ...keyLeaves(world, LATER, second));
  return seal(world, list);
};

/** Another log of the same host, and other servers. */
const elsewhere = verifierKey(world.origin.replace('/n1', '/n2'), publicOf(otherLogKey));
const serverNamed = (name: string): Credential => {
  const { der, pair } = make(root, {
    from: world.begin - DAY,
    until: world.begin + 30 * DAY,
    pair: ec(),
    subject: named(name),
    extensions: [keyUsage(0), eku(EKU.server), san(dns(name))],
  });
  return { chain: [der], key: pair.privateKey };
};
const [otherServer, otherHost] = [serverNamed('chat.example.org'), serverNamed('chat.example.com')];

/** As many statements more, each good for its own instant alone. */
const withStatements = (count: number) =>
  insert(
    batch(6),
    ...Array.from(
      { length: count },
      () =>
        keyLeaves(
          world,
          LATER,
          key(() => ({ notBefore: LATER, notAfter: LATER })),
        )[1]!,
    ),
  );

export const LOG_KEY: readonly Row[] = [
  {
    name: 'key.sig of the statement before, as between the two steps of a renewal',
    files: () => {
      const list = compose(world, STORY);
      const before = leafAt(list, 1, 'key');
      list.splice(
        batch(6),
        0,
        ...keyLeaves(
          world,
          LATER,
          key(({ notAfter }) => ({ notAfter: notAfter + 1 })),
        ),
      );
      const signature = Buffer.concat([Buffer.of(before.algorithm), before.signature]);
      return seal(world, list, { files: (all) => void all.set('key.sig', signature) });
    },
    exit: 0,
    code: 'W_KEY_FILES',
    where: 'key.sig',
    isAlone: true,
  },
  {
    name: 'no certificate at the beginning',
    files: () => relogged((all) => all.slice(1)),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 0',
  },
  {
    name: 'no statement at the beginning',
    files: () =>
      relogged((all) => void all.splice(1, 1), {
        files: (all) => ['key.stmt', 'key.sig'].forEach((name) => all.set(name, seal(world, leaves).get(name)!)),
      }),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'something else before it',
    files: () => insert(1, { type: 'time', serverTime: world.begin, stamp: Buffer.alloc(0) }),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'a statement that begins too late',
    files: () => resigned(key(() => ({ notBefore: world.begin + 1 }))),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
    isAlone: true,
  },
  {
    name: 'a statement that ends too early',
    files: () => resigned(key(() => ({ notAfter: world.begin + 90_999 }))),
    exit: 12,
    code: 'E_KEYBIND',
    where: place(11),
    isAlone: true,
  },
  {
    name: 'a statement that ends with the last entry',
    files: () => resigned(key(() => ({ notAfter: world.begin + 91_000 }))),
    exit: 0,
  },
  { name: 'a second statement in time', files: () => restated(LATER, LATER), exit: 0 },
  {
    name: 'a second statement after a gap',
    files: () => restated(LATER, LATER + 1000),
    exit: 12,
    code: 'E_KEYBIND',
    where: `entry ${batch(6) + 2}`,
    isAlone: true,
  },
  {
    name: 'a signature by another key',
    files: () =>
      relogged(
        (all) =>
          void (all[1] = {
            ...leafAt(all, 1, 'key'),
            signature: signKeyStatement(leafAt(all, 1, 'key').statement, bob.key).subarray(1),
          }),
      ),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'vouched for by the certificate of a person',
    files: () => {
      const [cert, stmt] = keyLeaves(world, world.begin, {}, bob);
      return relogged((all) => void all.splice(0, 2, cert!, stmt!));
    },
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'for another log key than that of key.stmt',
    files: () =>
      insert(
        batch(3),
        ...keyLeaves(
          world,
          at(batch(3)),
          key(() => ({ log: otherLog })),
        ),
      ),
    exit: 12,
    code: 'E_KEYBIND',
    where: `entry ${batch(3) + 1}`,
  },
  {
    name: 'for another host',
    files: () => {
      const origin = 'chat.example.com/log/n1';
      const other = { ...world, origin, log: verifierKey(origin, publicOf(world.logKey)) };
      return seal(other, compose(other));
    },
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'in place of an earlier key, which agreed',
    files: () =>
      keyLeaf(
        () => ({ previous: otherLog }),
        (text) => endorseKeyStatement(text, otherLogKey),
      ),
    exit: 0,
  },
  {
    name: 'in place of an earlier key, which did not say so',
    files: () =>
      keyLeaf(
        () => ({ previous: otherLog }),
        () => Buffer.alloc(0),
      ),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
    isAlone: true,
  },
  {
    name: 'in place of an earlier key, and another agreed',
    files: () =>
      keyLeaf(
        () => ({ previous: otherLog }),
        (text) => endorseKeyStatement(text, world.logKey),
      ),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
    isAlone: true,
  },
  {
    name: 'in place of no key, and one agreed',
    files: () =>
      keyLeaf(
        () => ({}),
        (text) => endorseKeyStatement(text, otherLogKey),
      ),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
    isAlone: true,
  },
  { name: 'the newest 64 statements count', files: () => withStatements(63), exit: 0 },
  {
    name: 'and no more',
    files: () => withStatements(64),
    exit: 12,
    code: 'E_KEYBIND',
    where: `entry ${batch(6) + 64}`,
    isAlone: true,
  },
  ...(
    [
      [
        'a later statement by a certificate that is not in the log',
        () => keyLeaves(world, LATER, {}, otherServer).slice(1),
      ],
      [
        'a later statement for another log',
        () =>
          keyLeaves(
            world,
            LATER,
            key(() => ({ log: elsewhere })),
          ),
      ],
      ['a later statement by a server of another host', () => keyLeaves(world, LATER, {}, otherHost)],
      [
        'a later statement that its certificate did not sign',
        () => {
          const [cert, made] = keyLeaves(world, LATER);
          const leaf = leafAt([made!], 0, 'key');
          return [cert!, { ...leaf, signature: signKeyStatement(leaf.statement, bob.key).subarray(1) }];
        },
      ],
    ] as const
  ).map(([name, added]): Row => ({
    name,
    files: () => insert(batch(6), ...added()),
    exit: 12,
    code: 'E_KEYBIND',
    where: `entry ${batch(6) + added().length - 1}`,
    isAlone: true,
  })),
  { name: 'a repeated statement', files: () => insert(batch(3), ...keyLeaves(world, at(batch(3)))), exit: 0 },
];
