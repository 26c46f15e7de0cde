/** Rows of bundles whose certificates are wrong, or were revoked. */
import { formatKeyStatement, signKeyStatement, type KeyStatement } from '../../transcript/key-statement.ts';
import type { FindingCode } from '../../verify/finding.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { bundleOf } from '../support/bundle-writer.ts';
import { compose, STORY, type Alterations, type Credential, type World } from '../support/log-writer.ts';
import {
  authority,
  clientExtensions,
  DAY,
  dns,
  ec,
  eku,
  EKU,
  keyUsage,
  list,
  make,
  makeCa,
  named,
  san,
  type Made,
} from '../x509/maker.ts';
import { BEGIN, found, msg, root, SEAL, sealed, withContent, withFiles, type BundleRow } from './bundle-edits.ts';
import { rogueLog } from './rogue-log.ts';
import { leaves, world } from './tamper.ts';

const validity = { from: BEGIN - DAY, until: BEGIN + 30 * DAY };
const stranger = authority('Strangers', validity);
const lists = (by: Made, ...revoked: (readonly [number, number])[]) =>
  list(by, { from: BEGIN - DAY, until: BEGIN + DAY, revoked });
const withBob = (shape: Parameters<typeof make>[1], by: Made = root) => {
  const dave = make(by, {
    ...validity,
    pair: ec(),
    subject: named('dave'),
    extensions: clientExtensions('dave'),
    ...shape,
  });
  const people: World = {
    ...world,
    people: { ...world.people, bob: { chain: [dave.der], key: dave.pair.privateKey } },
  };
  const archive = () => bundleOf(people, compose(people), 'ab');
  const withList = (der: Buffer) => () =>
    bundleOf(people, compose(people), 'ab', { content: (content) => ({ ...content, crls: [{ der, logged: null }] }) });
  return { archive, withList, serial: dave.serial };
};
const other = authority('Other Root', validity);
const middle = makeCa(other, 'Middle', validity);
const viaMiddle = make(middle, {
  ...validity,
  pair: ec(),
  subject: named('dave'),
  extensions: clientExtensions('dave'),
});
/** As many as are kept for one certificate, each of another name. */
const others = Array.from({ length: 32 }, (_, i) => makeCa(other, `Faculty ${i}`, validity));
const withChain = (...above: Made[]): World => {
  const chain = [viaMiddle, ...above].map(({ der }) => der);
  return { ...world, people: { ...world.people, bob: { chain, key: viaMiddle.pair.privateKey } } };
};
const dave = withChain();
const below = (...above: Made[]) => {
  const people = withChain(...above);
  return () => bundleOf(people, compose(people), 'ab');
};
const inSig = (code: FindingCode, number = 2) => found(code, msg(number, 'batch.sig'), true, 12);
const fresh = withBob({});
const listed = (der: Buffer) => withContent((content) => ({ ...content, crls: [{ der, logged: null }] }));

/** A server that gets another certificate between two messages: the first statement ends, and a second one begins. */
function renewed(by: Made, change: (statement: KeyStatement) => KeyStatement = (s) => s, isThere = true) {
  const older: Alterations = { keyStatement: (s) => ({ ...s, notAfter: BEGIN + 50_000 }) };
  const { fingerprint } = parseCertificate(by.der);
  const younger = { log: world.log, notBefore: BEGIN + 40_000, notAfter: BEGIN + DAY, serverCertificate: fingerprint };
  const statement = formatKeyStatement(change({ ...younger, previous: null, recovery: null }));
  const key = { statement, signature: signKeyStatement(statement, by.pair.privateKey) };
  return () =>
    bundleOf(world, compose(world, STORY, older), 'ab', {
      content: (content) => ({
        ...content,
        certificates: [...content.certificates, by.der],
        logs: [{ ...content.logs[0]!, keys: [...content.logs[0]!.keys, ...(isThere ? [key] : [])] }],
      }),
    });
}
const server = (purpose: string, name = 'chat.example.org') =>
  make(root, {
    ...validity,
    pair: ec(),
    subject: named(name),
    extensions: [keyUsage(0), eku(purpose), san(dns(name))],
  });
const second = server(EKU.server);
const serverShape = {
  ...validity,
  pair: ec(),
  subject: named('chat.example.org'),
  extensions: [keyUsage(0), eku(EKU.server), san(dns('chat.example.org'))],
};
const credentialFrom = (made: Made): Credential => ({ chain: [made.der], key: made.pair.privateKey });
/** Sealed with this certificate. */
const byServer = (exporter: Credential) => () =>
  bundleOf({ ...world, people: { ...world.people, exporter } }, leaves, 'ab', {}, 'exporter');
const afterwards = msg(6, 'log.tlog-proof');

export const BUNDLE_TRUST: readonly BundleRow[] = [
  { name: 'a server with another certificate', archive: renewed(second), exit: 0 },
  {
    name: 'of which there is no statement',
    archive: renewed(second, undefined, false),
    ...found('E_KEYBIND', afterwards, true, 12),
  },
  {
    name: 'or one for another key',
    archive: renewed(second, (s) => ({ ...s, log: rogueLog })),
    ...found('E_KEYBIND', 'log/01/key-02.stmt', false, 12),
  },
  {
    name: 'or one that begins too late',
    archive: renewed(second, (s) => ({ ...s, notBefore: BEGIN + 62_000 })),
    ...found('E_KEYBIND', afterwards, true, 12),
  },
  {
    name: 'or that certificate is for no server',
    archive: renewed(server(EKU.client)),
    ...found('E_CERT_USAGE', afterwards, true, 12),
  },
  {
    name: 'or for another one',
    archive: renewed(server(EKU.server, 'chat.example.com')),
    ...found('E_KEYBIND', 'log/01/key-02.stmt', false, 12),
  },

  { name: 'of another authority', archive: withBob({}, stranger).archive, ...inSig('E_CERT_CHAIN') },
  { name: 'by an intermediate', archive: below(middle), roots: [other.der], exit: 0 },
  {
    name: 'by the last of many that others need',
    archive: () =>
      bundleOf(dave, compose(dave), 'ab', {
        content: (c) => ({ ...c, intermediates: [...others, middle].map(({ der }) => der) }),
      }),
    roots: [other.der],
    exit: 0,
  },
  { name: 'by an intermediate that is not there', archive: below(), roots: [other.der], ...inSig('E_CERT_CHAIN') },
  { name: 'expired before', archive: withBob({ until: BEGIN }).archive, ...inSig('E_CERT_EXPIRED') },
  {
    name: 'expired between two messages',
    archive: withBob({ until: BEGIN + 30_000 }).archive,
    ...inSig('E_CERT_EXPIRED', 7),
  },
  { name: 'expired later', archive: withBob({ until: BEGIN + 80_000 }).archive, exit: 0 },
  {
    name: 'expired today',
    archive: withBob({ until: BEGIN + 80_000 }).archive,
    at: BEGIN + 90_000,
    ...inSig('E_CERT_EXPIRED'),
  },
  { name: 'good on another day', archive: withBob({ until: BEGIN }).archive, at: BEGIN - 1000, exit: 0 },
  {
    name: 'revoked before',
    archive: fresh.archive,
    crls: [lists(root, [fresh.serial, BEGIN])],
    ...inSig('E_CERT_REVOKED'),
  },
  { name: 'revoked later', archive: fresh.archive, crls: [lists(root, [fresh.serial, BEGIN + 80_000])], exit: 0 },
  { name: 'a list in the bundle', archive: listed(lists(root)), exit: 0 },
  {
    name: 'a list in the bundle that revokes',
    archive: fresh.withList(lists(root, [fresh.serial, BEGIN])),
    ...inSig('E_CERT_REVOKED'),
  },
  {
    name: 'a list in the bundle that its CA did not make',
    archive: listed(lists({ ...stranger, subject: root.subject })),
    ...found('E_CRL', 'crl/01.pem', true, 12),
  },
  {
    name: 'a malformed list in the bundle',
    archive: withFiles((files) => files.set('crl/01.pem', Buffer.from('x'))),
    ...found('E_FORMAT', 'crl/01.pem'),
  },
  { name: 'exported by the server', archive: byServer(world.server), exit: 0 },
  {
    name: 'exported by a server of another host',
    archive: byServer(credentialFrom(server(EKU.server, 'chat.example.com'))),
    ...found('E_CERT_USAGE', SEAL, true, 12),
  },
  {
    name: 'exported by a server whose certificate had ended',
    archive: byServer(credentialFrom(make(root, { ...serverShape, until: BEGIN }))),
    ...found('E_CERT_EXPIRED', SEAL, true, 12),
  },
  {
    name: 'exported by a certificate for e-mail',
    archive: byServer(credentialFrom(server('1.3.6.1.5.5.7.3.4'))),
    ...found('E_CERT_USAGE', SEAL, true, 12),
  },
  {
    name: 'exported by a certificate that has expired',
    archive: sealed({ head: (head) => ({ ...head, created: BEGIN + 900 * DAY }) }),
    ...found('E_CERT_EXPIRED', SEAL, true, 12),
  },
];
