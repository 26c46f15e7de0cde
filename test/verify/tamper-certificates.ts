/** Rows of certificates that are wrong at the time of what they signed, and of those that became so later. */
import { parseCertificate } from '../../x509/certificate.ts';
import { compose, seal, STORY, type Credential, type Step, type World } from '../support/log-writer.ts';
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
  rsa,
  san,
  type Made,
  type Shape,
} from '../x509/maker.ts';
import { batch, ca, caKey, files, indexOf, leafAt, relogged, world, type Row } from './tamper.ts';

const BEGIN = world.begin;
const validity = { from: BEGIN - DAY, until: BEGIN + 30 * DAY };
/** The authority of gen-certs.sh, as one that makes whatever it is asked for. */
const root: Made = {
  der: Buffer.from(ca.der),
  pair: { publicKey: ca.publicKey, privateKey: caKey },
  subject: Buffer.from(ca.subject.der),
  serial: 0,
};
const namesake: Made = { ...authority('', { ...validity, subject: root.subject }), serial: 0 };
const other = authority('Other Root', validity);
const trusted = [parseCertificate(other.der)];
const middle = makeCa(other, 'Middle', validity);
const lower = makeCa(middle, 'Lower', validity);
/** Begins between two batches, so that everything is judged once more then. */
const late = makeCa(other, 'Late', { ...validity, from: BEGIN + 150_000 });
const brief = authority('Brief', { ...validity, until: BEGIN + 150_000 });
const strangers = authority('Strangers', validity);

const credential = (made: Made, ...above: Made[]): Credential => ({
  chain: [made, ...above].map(({ der }) => der),
  key: made.pair.privateKey,
});
const client = (issuer: Made | null, shape: Shape = {}): Made =>
  make(issuer, { ...validity, pair: ec(), subject: named('dave'), extensions: clientExtensions('dave'), ...shape });
const server = (issuer: Made | null, shape: Shape = {}): Made =>
  make(issuer, {
    ...validity,
    pair: ec(),
    subject: named('chat.example.org'),
    extensions: [keyUsage(0), eku(EKU.server), san(dns('chat.example.org'))],
    ...shape,
  });

const SHORT = STORY.slice(0, 4);
/** The beginning of the story, then the certificate of dave and two batches by him. */
const DAVE: readonly Step[] = [
  ...SHORT,
  { sender: 'dave', conversations: ['dave'], at: 100_000 },
  { sender: 'dave', conversations: ['dave'], at: 200_000 },
];
const FIRST = batch(4) + 1;
const SECOND = FIRST + 2;
const firstBatch = `entry ${FIRST}`;
const secondBatch = `entry ${SECOND}`;
const withDave = (dave: Credential, story = DAVE) => {
  const people: World = { ...world, people: { ...world.people, dave } };
  return seal(people, compose(people, story));
};
const byDave = (name: string, made: Made, above: readonly Made[], rest: Omit<Row, 'name' | 'files'>): Row => ({
  name,
  files: () => withDave(credential(made, ...above)),
  ...rest,
});
const servedBy = (made: Made, ...above: Made[]) => {
  const changed: World = { ...world, server: credential(made, ...above) };
  return seal(changed, compose(changed, SHORT));
};
const bad = (code: NonNullable<Row['code']>, where = firstBatch) => ({ exit: 12, code, where, isAlone: true });
const below = { exit: 0, roots: trusted };
const dave = client(root);
const viaMiddle = client(middle);
const viaLower = client(lower);

const fillerKey = ec();
/** The certificate of dave in three entries, with so many intermediates before the one that he needs. */
const withFillers = (count: number) => {
  const people: World = { ...world, people: { ...world.people, dave: credential(viaMiddle) } };
  const all = compose(people, DAVE);
  const cert = leafAt(all, FIRST - 1, 'cert');
  const fillers = Array.from(
    { length: count },
    (_, i) => makeCa(other, `Filler ${i}`, { ...validity, pair: fillerKey }).der,
  );
  const needed = [...fillers, middle.der];
  const entries = [needed.slice(0, 15), needed.slice(15, 30), needed.slice(30)].map((some) => ({
    ...cert,
    chain: [viaMiddle.der, ...some],
  }));
  all.splice(FIRST - 1, 1, ...entries);
  return seal(people, all);
};

export const CERTIFICATES: readonly Row[] = [
  byDave('one more person', dave, [], { exit: 0 }),
  byDave('expired before', client(root, { until: BEGIN + 99_000 }), [], bad('E_CERT_EXPIRED')),
  byDave(
    'expired between two batches',
    client(root, { until: BEGIN + 150_000 }),
    [],
    bad('E_CERT_EXPIRED', secondBatch),
  ),
  byDave('expired later', client(root, { until: BEGIN + 201_000 }), [], { exit: 0 }),
  byDave('valid to the last second', client(root, { until: BEGIN + 200_000 }), [], { exit: 0 }),
  byDave('not yet valid', client(root, { from: BEGIN + 150_000 }), [], bad('E_CERT_EXPIRED')),
  byDave('another authority of the same name', client(namesake), [], bad('E_CERT_CHAIN')),
  byDave(
    'another authority of the same name, which brings its certificate',
    client(namesake),
    [namesake],
    bad('E_CERT_CHAIN'),
  ),
  byDave('signed by itself', client(null), [], bad('E_CERT_CHAIN')),
  byDave('certified by a person', client(dave), [dave], bad('E_CERT_USAGE')),
  byDave('certificate of a server', server(root), [], bad('E_CERT_USAGE')),
  byDave('no extended key usage', client(root, { extensions: [keyUsage(0)] }), [], bad('E_CERT_USAGE')),
  byDave('for encryption only', client(root, { extensions: [keyUsage(2), eku(EKU.client)] }), [], bad('E_CERT_USAGE')),
  {
    name: 'RSA-1024',
    files: () => {
      const people: World = {
        ...world,
        people: { ...world.people, dave: credential(client(root, { pair: rsa(1024) })) },
      };
      return seal(people, compose(people, DAVE, { signer: (own, n) => (n < 4 ? own : world.server) })); // such a key signs nothing here
    },
    exit: 10,
    code: 'E_CERT_WEAK',
    where: firstBatch,
  },
  byDave('an intermediate', viaMiddle, [middle], below),
  byDave('two intermediates in the wrong order', viaLower, [middle, lower], below),
  byDave('root in the chain and not trusted', viaMiddle, [middle, other], bad('E_CERT_CHAIN')),
  byDave('missing intermediate', viaLower, [lower], { roots: trusted, ...bad('E_CERT_CHAIN') }),
  byDave(
    'expired intermediate',
    client(makeCa(other, 'Old', { ...validity, until: BEGIN })),
    [makeCa(other, 'Old', { ...validity, until: BEGIN })],
    { roots: trusted, ...bad('E_CERT_EXPIRED') },
  ),
  byDave('authority expired between two batches', client(brief), [], {
    roots: [parseCertificate(brief.der)],
    ...bad('E_CERT_EXPIRED', secondBatch),
  }),
  {
    name: 'not yet valid in a batch whose time goes back',
    files: () =>
      withDave(credential(client(root, { from: BEGIN + 150_000 })), [
        ...SHORT,
        { sender: 'dave', conversations: ['dave'], at: 200_000 },
        { sender: 'dave', conversations: ['dave'], at: 100_000 },
      ]),
    exit: 10,
    code: 'E_CERT_EXPIRED',
    where: secondBatch,
  },
  {
    name: 'no certificate in the log',
    files: () => relogged((all) => void all.splice(indexOf('cert', 2), 1)),
    ...bad('E_CERT_UNKNOWN', `entry ${batch(1) - 1}`),
  },
  {
    name: 'certificate after its first use',
    files: () =>
      relogged(
        (all) =>
          void all.splice(
            indexOf('cert', 2),
            2 + 3,
            ...all.slice(indexOf('cert', 2) + 1, indexOf('cert', 2) + 5),
            all[indexOf('cert', 2)]!,
          ),
      ),
    ...bad('E_CERT_UNKNOWN', `entry ${batch(1) - 1}`),
  },
  {
    name: 'listed again without its intermediate: nothing is lost',
    files: () => {
      const people: World = { ...world, people: { ...world.people, dave: credential(viaMiddle, middle) } };
      const all = compose(people, DAVE);
      all.splice(SECOND, 0, {
        ...leafAt(all, FIRST - 1, 'cert'),
        chain: [viaMiddle.der],
        serverTime: all[SECOND]!.serverTime,
      });
      return seal(people, all);
    },
    ...below,
  },
  {
    name: 'listed again with another intermediate: the first still serves',
    files: () => {
      const people: World = { ...world, people: { ...world.people, dave: credential(viaMiddle, middle, late) } };
      const all = compose(people, DAVE);
      all.splice(SECOND, 0, {
        ...leafAt(all, FIRST - 1, 'cert'),
        chain: [viaMiddle.der, lower.der],
        serverTime: all[SECOND]!.serverTime,
      });
      return seal(people, all);
    },
    ...below,
  },
  {
    name: 'listed again with the intermediate that was missing: what came before is not mended',
    files: () => {
      const people: World = { ...world, people: { ...world.people, dave: credential(viaMiddle) } };
      const all = compose(people, DAVE);
      all.splice(SECOND, 0, {
        ...leafAt(all, FIRST - 1, 'cert'),
        chain: [viaMiddle.der, middle.der],
        serverTime: all[SECOND]!.serverTime,
      });
      return seal(people, all);
    },
    roots: trusted,
    ...bad('E_CERT_CHAIN'),
  },
  { name: 'an intermediate as the 32nd', files: () => withFillers(31), ...below },
  {
    name: 'an intermediate as the 33rd',
    files: () => withFillers(32),
    roots: trusted,
    ...bad('E_CERT_CHAIN', `entry ${FIRST + 2}`),
  },
  { name: 'server below an intermediate', files: () => servedBy(server(middle), middle), ...below },
  { name: 'server of another authority', files: () => servedBy(server(other)), ...bad('E_CERT_CHAIN', 'entry 1') },
  {
    name: 'server with the certificate of a person',
    files: () => servedBy(client(root, { extensions: [keyUsage(0), eku(EKU.client), san(dns('chat.example.org'))] })),
    ...bad('E_CERT_USAGE', 'entry 1'),
  },
  {
    name: 'server of another host',
    files: () => servedBy(server(root, { extensions: [keyUsage(0), eku(EKU.server), san(dns('chat.example.com'))] })),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'server expired from the beginning',
    files: () => servedBy(server(root, { until: BEGIN - 1000 })),
    exit: 12,
    code: 'E_CERT_EXPIRED',
    where: 'entry 1',
  },
];

const lists = (issuer: Made, revoked: readonly (readonly [number, number])[] = [], pair = issuer.pair) =>
  list({ ...issuer, pair }, { from: BEGIN, until: BEGIN + DAY, revoked });
const REVOKED_BETWEEN = BEGIN + 150_000;
const serverMade = server(root);
const SERVER_STORY = { ...world, server: credential(serverMade) };
const serial = (made: Made) => made.serial;

export const REVOCATION: readonly Row[] = [
  { name: 'lists of all issuers, and nobody on them', files: () => files, crls: [lists(root)], exit: 0 },
  byDave('revoked before', dave, [], {
    crls: [lists(root, [[serial(dave), BEGIN + 99_000]])],
    ...bad('E_CERT_REVOKED'),
  }),
  byDave('revoked at the very time', dave, [], {
    crls: [lists(root, [[serial(dave), BEGIN + 100_000]])],
    ...bad('E_CERT_REVOKED'),
  }),
  byDave('revoked between two batches', dave, [], {
    crls: [lists(root, [[serial(dave), REVOKED_BETWEEN]])],
    ...bad('E_CERT_REVOKED', secondBatch),
  }),
  byDave('revoked later', dave, [], { crls: [lists(root, [[serial(dave), BEGIN + 201_000]])], exit: 0 }),
  byDave('revoked in one list and not in a later one', dave, [], {
    crls: [lists(root), lists(root, [[serial(dave), BEGIN]]), lists(root)],
    ...bad('E_CERT_REVOKED'),
  }),
  byDave('somebody else revoked', dave, [], { crls: [lists(root, [[serial(dave) + 1, BEGIN]])], exit: 0 }),
  byDave('the same serial number revoked by another authority', dave, [], {
    crls: [lists(root), lists(strangers, [[serial(dave), BEGIN]])],
    exit: 0,
  }),
  byDave('revoked intermediate', viaMiddle, [middle], {
    roots: trusted,
    crls: [lists(root), lists(other, [[serial(middle), BEGIN]]), lists(middle)],
    ...bad('E_CERT_REVOKED'),
  }),
  byDave('intermediate revoked between two batches', viaMiddle, [middle], {
    roots: trusted,
    crls: [lists(other, [[serial(middle), REVOKED_BETWEEN]])],
    ...bad('E_CERT_REVOKED', secondBatch),
  }),
  byDave('intermediate revoked later', viaMiddle, [middle], {
    ...below,
    crls: [lists(other, [[serial(middle), BEGIN + 201_000]])],
  }),
  byDave('revoked by an intermediate', viaMiddle, [middle], {
    roots: trusted,
    crls: [lists(middle, [[serial(viaMiddle), BEGIN]])],
    ...bad('E_CERT_REVOKED'),
  }),
  byDave('a list that its issuer did not sign', dave, [], {
    crls: [lists(root, [[serial(dave), BEGIN]], namesake.pair)],
    ...bad('E_CRL', 'revocation list 1'),
  }),
  byDave('a list that its issuer did not sign beside one that it did', dave, [], {
    crls: [lists(root), lists(root, [], namesake.pair)],
    ...bad('E_CRL', 'revocation list 2'),
  }),
  { name: 'a list of an unknown issuer', files: () => files, crls: [lists(strangers)], exit: 0 },
  {
    name: 'server revoked before',
    files: () => seal(SERVER_STORY, compose(SERVER_STORY, SHORT)),
    crls: [lists(root, [[serial(serverMade), BEGIN]])],
    ...bad('E_CERT_REVOKED', 'entry 1'),
  },
  {
    name: 'server revoked on the way',
    files: () => seal(SERVER_STORY, compose(SERVER_STORY, SHORT)),
    crls: [lists(root, [[serial(serverMade), BEGIN + 2_000]])],
    ...bad('E_CERT_REVOKED', `entry ${batch(3)}`),
  },
  {
    name: 'server revoked later',
    files: () => seal(SERVER_STORY, compose(SERVER_STORY, SHORT)),
    crls: [lists(root, [[serial(serverMade), BEGIN + 92_000]])],
    exit: 0,
  },
];
