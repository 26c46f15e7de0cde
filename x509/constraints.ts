/** Name constraints (RFC 5280 §4.2.1.10): the names that a CA may vouch for. What cannot be matched with certainty is refused. */
import { view } from '../base/bytes.ts';
import { constructed, malformed, openDer, primitive, type DerReader, type Element } from './der.ts';
import { directoryName, printableAscii, type Attribute, type GeneralName, type Name } from './name.ts';

/** `ip`: address and mask; `other`: a kind of name (by its tag) that is not understood, and so covers every name of that kind. */
export type Subtree =
  | { readonly type: 'email' | 'dns' | 'uri'; readonly base: string }
  | { readonly type: 'ip'; readonly base: Uint8Array }
  | { readonly type: 'directory'; readonly base: Name }
  | { readonly type: 'other'; readonly tag: number };

export interface NameConstraints {
  readonly permitted: readonly Subtree[];
  readonly excluded: readonly Subtree[];
}

/** @throws BAD_CERT/malformed */
export function parseConstraints(value: Uint8Array): NameConstraints {
  const reader = openDer(value, 'nameConstraints');
  const permitted = reader.nextTag === constructed(0) ? parseSubtrees(reader.inside(constructed(0))) : [];
  const excluded = reader.nextTag === constructed(1) ? parseSubtrees(reader.inside(constructed(1))) : [];
  reader.end();
  if (permitted.length + excluded.length === 0) malformed(reader.field, 'empty');
  return { permitted, excluded };
}

function parseSubtrees(reader: DerReader): Subtree[] {
  const subtrees: Subtree[] = [];
  do {
    const subtree = reader.inside();
    const base = subtree.any();
    subtree.end(); // `minimum` is 0 and so absent, `maximum` must be absent
    subtrees.push(parseBase(base, reader.field));
  } while (!reader.isEmpty);
  return subtrees;
}

const HOST = /^\.?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/;

function parseBase(element: Element, field: string): Subtree {
  const { tag, content } = element;
  switch (tag) {
    case primitive(1): {
      const base = printableAscii(content, field);
      const [host = '', local, ...more] = base.split('@').reverse();
      const isFine = more.length === 0 && local !== '' && (base === '' || HOST.test(host.toLowerCase()));
      if (!isFine || (local !== undefined && host.startsWith('.'))) malformed(field, 'not a constraint on addresses');
      return { type: 'email', base };
    }
    case primitive(2):
    case primitive(6): {
      const base = printableAscii(content, field).toLowerCase();
      if (base !== '' && !HOST.test(base)) malformed(field, 'not a constraint on hosts');
      return { type: tag === primitive(2) ? 'dns' : 'uri', base };
    }
    case primitive(7):
      if ((content.length !== 8 && content.length !== 32) || !isPrefixMask(content.subarray(content.length / 2)))
        malformed(field, 'not a range of addresses');
      return { type: 'ip', base: content };
    case constructed(4):
      return { type: 'directory', base: directoryName(element, field) };
    case constructed(0):
    case constructed(3):
    case constructed(5):
    case primitive(8):
      return { type: 'other', tag };
  }
  return malformed(field, 'no such kind of name');
}

const isPrefixMask = (mask: Uint8Array): boolean =>
  /^1*0*$/.test([...mask].map((octet) => octet.toString(2).padStart(8, '0')).join(''));

/** Whether this CA may vouch for the name. `spend` is called once for each comparison, and throws when there have been too many. */
export function permits(constraints: NameConstraints, name: GeneralName, spend: () => void): boolean {
  const covers = (subtree: Subtree, isExcluded: boolean): boolean => {
    spend();
    return matches(subtree, name, isExcluded);
  };
  if (constraints.excluded.some((subtree) => covers(subtree, true))) return false;
  const ofThisKind = constraints.permitted.filter((subtree) => isSameKind(subtree, name));
  return ofThisKind.length === 0 || ofThisKind.some((subtree) => covers(subtree, false));
}

const isSameKind = (subtree: Subtree, name: GeneralName): boolean =>
  subtree.type === name.type && (subtree.type !== 'other' || name.type !== 'other' || subtree.tag === name.tag);

/** In doubt, an exclusion matches and a permission does not. */
function matches(subtree: Subtree, name: GeneralName, isExcluded: boolean): boolean {
  if (!isSameKind(subtree, name)) return false;
  if (subtree.type === 'dns' && name.type === 'dns') return isHostWithin(name.value, subtree.base, isExcluded);
  if (subtree.type === 'email' && name.type === 'email') return isMailboxWithin(name.value, subtree.base, isExcluded);
  if (subtree.type === 'uri' && name.type === 'uri') return isUriWithin(name.value, subtree.base, isExcluded);
  if (subtree.type === 'ip' && name.type === 'ip') return isAddressWithin(name.value, subtree.base);
  if (subtree.type === 'directory' && name.type === 'directory') return isNameWithin(name.value, subtree.base);
  return isExcluded;
}

/** The host or any below it. A wildcard overlaps an excluded host below its own parent, and is permitted only as a whole. */
function isHostWithin(pattern: string, base: string, isExcluded: boolean): boolean {
  const host = pattern.toLowerCase();
  if (base === '') return true;
  const suffix = base.startsWith('.') ? base : `.${base}`;
  if (`.${host}`.endsWith(suffix) && (isExcluded || !base.startsWith('.') || host.length >= suffix.length)) return true;
  return isExcluded && host.startsWith('*.') && suffix.endsWith(host.slice(1));
}

/**
 * RFC 5280: a mailbox, all mailboxes of one host, or (leading dot) of every host below. The local part is compared exactly, but an exclusion
 * holds in any case of letters: identityOf() makes no difference there. So does one that meets an address in the subject which is none.
 */
function isMailboxWithin(mailbox: string, base: string, isExcluded: boolean): boolean {
  const cut = mailbox.lastIndexOf('@');
  if (cut < 0) return isExcluded;
  if (base === '') return true;
  const host = mailbox.slice(cut + 1).toLowerCase();
  const baseCut = base.lastIndexOf('@');
  const baseHost = base.slice(baseCut + 1).toLowerCase();
  const [local, baseLocal] = [mailbox.slice(0, cut), base.slice(0, Math.max(baseCut, 0))];
  const isLocal = local === baseLocal || (isExcluded && local.toLowerCase() === baseLocal.toLowerCase());
  if (baseCut >= 0 && !isLocal) return false;
  return baseHost.startsWith('.') ? host.endsWith(baseHost) && host !== baseHost : host === baseHost;
}

/** RFC 5280: applies to the host of the authority; a URI without a host name is refused by either kind of constraint. */
function isUriWithin(uri: string, base: string, isExcluded: boolean): boolean {
  const host = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([a-z0-9_.-]*[a-z][a-z0-9_.-]*)(?::\d*)?(?:[/?#]|$)/i
    .exec(uri)?.[1]
    ?.toLowerCase();
  if (host === undefined) return isExcluded;
  if (base === '') return true;
  return base.startsWith('.') ? host.endsWith(base) : host === base;
}

function isAddressWithin(address: Uint8Array, range: Uint8Array): boolean {
  const { length } = address;
  if (range.length !== 2 * length) return false;
  return address.every(
    (octet, i) => (octet & (range[length + i] ?? 0)) === ((range[i] ?? 0) & (range[length + i] ?? 0)),
  );
}

/** RFC 5280 §7.1: every RDN of the base, in order from the root, compared without case and with spaces folded. */
function isNameWithin(name: Name, base: Name): boolean {
  return base.rdns.every((rdn, i) => {
    const other = name.rdns[i];
    return other?.length === rdn.length && rdn.map(folded).sort().join() === other.map(folded).sort().join();
  });
}

const folded = ({ oid, text, der }: Attribute): string =>
  JSON.stringify([
    oid,
    text === null ? view(der).toString('hex') : text.normalize('NFKC').toLowerCase().trim().replace(/\s+/g, ' '),
  ]);
