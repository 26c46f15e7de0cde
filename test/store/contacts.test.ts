/** What two people are to each other after each thing that either can do: all states, all actions. */
import t from 'tap';
import { ChatError } from '../../base/errors.ts';
import { contactAfter, type Pair } from '../../store/contacts.ts';
import type { ContactAction } from '../../store/contract/contacts.ts';

type Outcome = readonly [mine: Pair['mine'], theirs: Pair['theirs']] | string;
/** Every standing that can come about, as the one who acts sees it. */
const STANDINGS = {
  strangers: [null, null],
  'I asked': ['asked', 'asking'],
  'they asked': ['asking', 'asked'],
  contacts: ['contact', 'contact'],
  'I block': ['blocked', null],
  'they block': [null, 'blocked'],
  'both block': ['blocked', 'blocked'],
} as const satisfies Record<string, readonly [Pair['mine'], Pair['theirs']]>;

const TABLE: Readonly<Record<ContactAction, Readonly<Record<keyof typeof STANDINGS, Outcome>>>> = {
  add: {
    strangers: ['asked', 'asking'],
    'I asked': ['asked', 'asking'],
    'they asked': ['contact', 'contact'],
    contacts: ['contact', 'contact'],
    'I block': 'BLOCKED/by_you',
    'they block': 'BLOCKED',
    'both block': 'BLOCKED/by_you',
  },
  accept: {
    strangers: 'NOT_FOUND',
    'I asked': 'NOT_FOUND',
    'they asked': ['contact', 'contact'],
    contacts: ['contact', 'contact'],
    'I block': 'NOT_FOUND',
    'they block': 'NOT_FOUND',
    'both block': 'NOT_FOUND',
  },
  decline: {
    strangers: 'NOT_FOUND',
    'I asked': 'NOT_FOUND',
    'they asked': [null, null],
    contacts: 'NOT_FOUND',
    'I block': 'NOT_FOUND',
    'they block': 'NOT_FOUND',
    'both block': 'NOT_FOUND',
  },
  remove: {
    strangers: 'NOT_FOUND',
    'I asked': [null, null],
    'they asked': 'NOT_FOUND',
    contacts: [null, null],
    'I block': 'NOT_FOUND',
    'they block': 'NOT_FOUND',
    'both block': 'NOT_FOUND',
  },
  block: {
    strangers: ['blocked', null],
    'I asked': ['blocked', null],
    'they asked': ['blocked', null],
    contacts: ['blocked', null],
    'I block': ['blocked', null],
    'they block': ['blocked', 'blocked'],
    'both block': ['blocked', 'blocked'],
  },
  unblock: {
    strangers: 'NOT_FOUND',
    'I asked': 'NOT_FOUND',
    'they asked': 'NOT_FOUND',
    contacts: 'NOT_FOUND',
    'I block': [null, null],
    'they block': 'NOT_FOUND',
    'both block': [null, 'blocked'],
  },
};

t.test('every action in every standing', async (t) => {
  const reachable = new Set(Object.values(STANDINGS).map(String));
  for (const [action, row] of Object.entries(TABLE) as [ContactAction, (typeof TABLE)[ContactAction]][])
    for (const [name, [mine, theirs]] of Object.entries(STANDINGS) as [keyof typeof STANDINGS, Outcome][]) {
      let outcome: Outcome;
      try {
        const after = contactAfter({ mine, theirs } as Pair, action);
        outcome = [after.mine, after.theirs];
        t.ok(reachable.has(String(outcome)), `${action}, ${name}: leads to no new kind of standing`);
      } catch (error) {
        const { code, sub } = ChatError.from(error);
        outcome = sub === undefined ? code : `${code}/${sub}`;
      }
      t.strictSame(outcome, row[name], `${action}, ${name}`);
    }
});
