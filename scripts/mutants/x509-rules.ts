/** What makes a certificate, a list of revoked ones or the name in one believable, one rule broken at a time. */
import type { Rules } from './mutant.ts';

export const X509_RULES: Rules = {
  'x509/certificate.ts': [
    ['der.length > MAX_CERTIFICATE_BYTES', 'der.length >= MAX_CERTIFICATE_BYTES'],
    ['  validity.end();\n', ''],
    ['  reader.end(); // unique', '  // unique'],
    ['  wrapper?.end();\n', ''],
    ['isSelfIssued: sameName(issuer, subject)', 'isSelfIssued: false'],
    ['version === 3 ? reader.optional(constructed(3)) : undefined', 'reader.optional(constructed(3))'],
  ],
  'x509/constraints.ts': [
    ['  if (cut < 0) return isExcluded;\n', ''],
    [' || (isExcluded && local.toLowerCase() === baseLocal.toLowerCase())', ''],
  ],
  'x509/crl.ts': [
    ['der.length > MAX_CRL_BYTES', 'der.length >= MAX_CRL_BYTES'],
    [
      "if (!sameAlgorithm(reader.element(TAG.sequence), signed.algorithm)) malformed('CRL', 'two different algorithms');",
      'reader.element(TAG.sequence);',
    ],
    ['  wrapper.end();\n  reader.end();', '  reader.end();'],
    ['  wrapper.end();\n  reader.end();', '  wrapper.end();'],
    ['    entry.end();\n', ''],
    ['Math.min(at, before.at)', 'before.at'],
    ['reason === before.reason ? reason : null', 'before.reason'],
    ['    else continue;\n    reader.end();', '    else continue;'],
    ["'cRLNumber');\n      reader.end();", "'cRLNumber');"],
    ['b.thisUpdate - a.thisUpdate', 'a.thisUpdate - b.thisUpdate'],
    ['  if (!sameName(crl.issuer, issuer.subject)) return false;\n', ''],
    ['mayList(issuer) && isProperlySigned', 'isProperlySigned'],
    ['    checkCaKey(issuer.publicKey);\n', ''],
  ],
  'x509/identity.ts': [
    ['if (name.length > MAX_USERNAME_CHARS)', 'if (name.length >= MAX_USERNAME_CHARS)'],
    ['address.length > MAX_EMAIL_CHARS', 'false'],
    ['text.length <= MAX_EMAIL_CHARS ? ', 'true ? '],
    [".normalize('NFKC').toLowerCase()", ".toLowerCase().normalize('NFKC')"],
    ['/^chat:/i.test', '/^chat:/.test'],
    ['/^chat:/i.test', '/chat:/i.test'],
    ['    checkCommonName(cert, commonName, [username, email]);\n', ''],
    ["[email, email.slice(0, email.indexOf('@'))]", "[email.slice(0, email.indexOf('@'))]"],
    ['/\\S\\s\\S/', '/\\s/'],
    ['/[\\p{C}\\p{Zl}\\p{Zp}]/u', '/[\\p{C}]/u'],
  ],
  'x509/path.ts': [
    ['const key = hex(ca.spkiHash);', 'const key = ca.subject.text;'],
    ['if (isLeaf || !element.isSelfIssued) this', 'if (!element.isSelfIssued) this'],
    [
      'Math.min(intermediatesLeft, element.basicConstraints?.pathLength ?? Infinity)',
      'element.basicConstraints?.pathLength ?? intermediatesLeft',
    ],
    ['above.filter((ca) => ca.nameConstraints)', 'above.slice(0, 1).filter((ca) => ca.nameConstraints)'],
    ['this.#mayIssue(root, below, true)', 'this.#mayIssue(root, below, false)'],
    ["this.#refusedPart === undefined || this.#refusedPart.sub === 'untrusted'", 'this.#refusedPart === undefined'],
    [
      'isStamper ? checkCaKey(leaf.publicKey) : void algorithmOf(leaf.publicKey)',
      'isStamper ? undefined : void algorithmOf(leaf.publicKey)',
    ],
    [' || !isNamedIssuer(root, root)', ''],
    [
      "  if (extKeyUsage?.includes(EKU.any)) throw refusal('wrong_eku', `${subject.text}: issued for any purpose`);\n",
      '',
    ],
  ],
  'x509/revocation.ts': [
    ["rule === 'at-stamping' && !HARMLESS", '!HARMLESS'],
    [
      '  if (entry) throw revoked(element, entry);\n',
      '  if (entry && entry.at <= at) throw revoked(element, entry);\n',
    ],
    ['list.thisUpdate <= at', 'true'],
    ['list.thisUpdate <= at', 'list.thisUpdate < at'],
    ['at > newest.nextUpdate + graceMs', 'at >= newest.nextUpdate + graceMs'],
    ['    crlsOf(crls, issuer).flatMap((list)', '    crls.flatMap((list)'],
    ['if (entry && (isForAllTimes || entry.at <= at))', 'if (entry && (isForAllTimes || entry.at < at))'],
  ],
};
