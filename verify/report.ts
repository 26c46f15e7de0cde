/**
 * A page about one bundle for people who run no programs: who, when, what was said as far as it is disclosed, what was checked, what that
 * proves, and what it does not. Everything in it that comes from the bundle is other people's text, and is shown as text. One page in two
 * notations; nothing in it is fetched from anywhere.
 */
import { hex } from '../base/bytes.ts';
import { formatWitness } from '../transcript/cosignature.ts';
import { isReceipt, KIND, type Kind } from '../transcript/statement.ts';
import type { Certificate } from '../x509/certificate.ts';
import type { Crl } from '../x509/crl.ts';
import type { AuditedBundle } from './bundle.ts';
import type { JudgedMessage } from './bundle-messages.ts';
import type { CheckResult } from './checks.ts';
import { nameOf, userOf } from './people.ts';
import { wordsOf, type Saying, type Sayings } from './saying.ts';
import { shown, type Findings, type Verdict } from './finding.ts';
import { NOBODY, type Outside } from './outside.ts';
import { iso } from './time.ts';

/** What the user gave to judge by. */
export interface Basis {
  readonly roots: readonly Certificate[];
  readonly crls: readonly Crl[];
  readonly at: number | undefined;
  readonly outside?: Outside;
  readonly version: string;
}

/** What is on the page of one message; nothing of the bundle's bytes is kept with it. */
export interface ReportRow {
  readonly number: number;
  /** Unix ms, of the server. */
  readonly time: number | null;
  /** Fingerprint, in hexadecimal. */
  readonly sender: string | null;
  readonly kind: Kind | null;
  readonly index: number | null;
  readonly isGood: boolean;
  /** What is disclosed is not what was signed. */
  readonly isOther: boolean;
  readonly saying: Saying | null;
}

/** @param sayings of all messages before this one */
export function reportRow(message: JudgedMessage, sayings: Sayings): ReportRow {
  const { number, leaf, ms, index, isGood, plaintext } = message;
  const saying = sayings.of(message);
  return {
    number,
    time: leaf?.serverTime ?? null,
    sender: ms && hex(ms.sender),
    kind: ms?.kind ?? null,
    index,
    isGood,
    isOther: plaintext === null,
    saying,
  };
}

interface Report {
  readonly audited: AuditedBundle;
  readonly rows: readonly ReportRow[];
  readonly findings: Findings;
  readonly checks: readonly CheckResult[];
  readonly verdict: Verdict;
  readonly summary: string;
  readonly basis: Basis;
}

type Block =
  | { readonly heading: string; readonly level: 1 | 2 }
  | { readonly text: string; readonly isStrong?: boolean }
  | { readonly points: readonly string[] }
  | { readonly columns: readonly string[]; readonly rows: readonly (readonly string[])[] };

/** Of one message; the bundle has the rest. */
const MAX_TEXT_CHARS = 20_000;

const MEANING: Readonly<Record<Verdict, string>> = {
  VALID: 'Every check that could be made was passed.',
  INCOMPLETE: 'Nothing false was found, but something is missing, and it was asked that nothing be missing.',
  TAMPERED: 'Something in this bundle is not what was signed. Do not rely on it before it is known what and why.',
  UNTRUSTED: 'A signer is not vouched for by the authority that this page is judged by. Do not rely on it as it is.',
  UNREADABLE: 'Something could not be read, and so not everything was checked.',
  EQUIVOCATION: 'There are two contradicting statements under one signature: somebody who signs here has cheated.',
};

const KINDS: Readonly<Record<Kind, string>> = {
  1: 'message',
  2: 'attachment',
  3: 'delivery receipt',
  4: 'read receipt',
  5: 'change of members',
  6: 'session opened',
  7: 'session closed',
};

const RESULTS: Readonly<Record<CheckResult['result'], string>> = {
  ok: 'passed',
  warned: 'passed with a warning',
  failed: 'FAILED',
  none: 'nothing to check',
};

const PROVEN = [
  'Each message listed without a fault was signed with the private key of the certificate that is named as its sender, at or before the time given, for this conversation and this log.',
  'The server entered it into its log at that time by its own clock, and signed for that.',
  'A message that is delivered or read according to this page was so by the signed word of the device that is named there, whose person is not its sender.',
  'A text that is shown is the text that the sender signed, and what it answers, changes or takes back is what the sender signed. A text that is not shown can be disclosed later, and checked in the same way, without anybody’s help.',
  'Any later change to a message, its sender, its time or its order would have been found.',
];
const UNPROVEN = [
  'Who sat at the keyboard: a certificate names the person to whom the authority gave it.',
  'That what was said is true.',
  'That a message without the signature of a recipient did not arrive; and that whoever signed that one came was among those it was for: the server logs receipts of members of the conversation alone, and that they were is its word.',
  'That nothing was said elsewhere, before or after; and, in a selective bundle, that nothing was said between.',
  'That the clocks were right. The time of a message is that of the server; the clock of the sender is shown where it differs by more than five minutes.',
  'That the exporter did not leave out whole senders or the end of the conversation: compare with the bundle of another party.',
];

export function bundleReport(kind: 'html' | 'md', report: Report): string {
  const blocks = blocksOf(report);
  return kind === 'html' ? asHtml(blocks, report.verdict) : blocks.map(asMarkdown).join('\n\n');
}

/** Whose word was asked for beside that of the server. */
const outsideRows = ({ witnesses, quorum, stampRoots }: Outside = NOBODY): string[][] => [
  ...witnesses.map((each) => [`Witness, of whom ${quorum} are enough`, formatWitness(each)]),
  ...stampRoots.map((root) => ['Time-stamping authority', `${root.subject.text}, SHA-256 ${hex(root.fingerprint)}`]),
];

function blocksOf({ audited, rows, findings, checks, verdict, summary, basis }: Report): Block[] {
  const { head, certificates, logs } = audited;
  const isByServer = audited.exporterRole === 'server';
  const named = (fingerprint: string): string => nameOf(certificates, fingerprint);
  const senders = new Map<string, number>();
  for (const { sender, kind } of rows)
    if (sender !== null && !isReceipt(kind!)) senders.set(sender, (senders.get(sender) ?? 0) + 1);
  const unlisted = findings.errors + findings.warnings - findings.kept.length;
  return [
    { heading: 'Evidence report', level: 1 },
    { text: `${verdict}: ${MEANING[verdict]}`, isStrong: true },
    { text: summary },
    { heading: 'What was examined, and by what', level: 2 },
    {
      columns: ['', ''],
      rows: [
        ['Conversation', head ? hex(head.conversation) : 'not named'],
        ['Exported by', head ? `${named(hex(head.exporter))}${isByServer ? ', the server' : ''}` : 'not named'],
        ['Exported at', head ? `${iso(head.created)} by the exporter’s clock` : 'not said'],
        [
          'Extent',
          head?.profile === 'complete' ? 'complete, as the exporter says' : 'selective: messages may be left out',
        ],
        ...basis.roots.map((root) => ['Trusted authority', `${root.subject.text}, SHA-256 ${hex(root.fingerprint)}`]),
        ['Revocation lists given', String(basis.crls.length)],
        ...outsideRows(basis.outside),
        ['Certificates judged', basis.at === undefined ? 'at the time of each signature' : `as of ${iso(basis.at)}`],
        ['Examined with', `chat-verify ${basis.version}`],
      ],
    },
    { heading: 'Checks', level: 2 },
    { columns: ['Check', 'Claim', 'Result'], rows: checks.map((c) => [c.name, c.claim, RESULTS[c.result]]) },
    ...(findings.kept.length === 0
      ? []
      : [
          { heading: 'Findings', level: 2 as const },
          {
            columns: ['Code', 'Where', 'What'],
            rows: findings.kept.map(({ code, where, message }) => [code, where, message]),
          },
          ...(unlisted > 0 ? [{ text: `… and ${unlisted} more of these kinds.` }] : []),
        ]),
    { heading: 'People', level: 2 },
    {
      columns: ['Name in the certificate', 'Issued by', 'Valid', 'Messages', 'Certificate (SHA-256)'],
      rows: [...senders].map(([fingerprint, count]) => {
        const certificate = certificates.certificate(fingerprint);
        return [
          named(fingerprint),
          certificate?.issuer.text ?? '',
          certificate ? `${iso(certificate.notBefore)} to ${iso(certificate.notAfter)}` : '',
          String(count),
          fingerprint,
        ];
      }),
    },
    { heading: 'Log of the server', level: 2 },
    {
      columns: ['Log', 'Entries', 'Root hash of the last checkpoint'],
      rows: logs.map(({ origin, checkpoint }) => [
        origin,
        String(checkpoint?.size ?? 'not signed'),
        checkpoint ? hex(checkpoint.root) : '',
      ]),
    },
    { heading: 'Messages', level: 2 },
    {
      columns: ['No.', 'Time of the server (UTC)', 'Sender', 'Text', 'Log entry', 'State', 'Signed by recipients'],
      rows: rows.map((row) => {
        const { number, time, sender, index, isGood } = row;
        const received = (audited.receiptsOf.get(number) ?? []).map(
          ({ kind, device, at }) =>
            `${kind === KIND.read ? 'read by' : 'delivered to'} ${named(device)}, device ${device.slice(0, 16)}…, at ${iso(at)}`,
        );
        return [
          String(number),
          time === null ? 'unknown' : iso(time),
          sender === null ? 'unknown' : named(sender),
          textOf(row, (fingerprint) => userOf(certificates, fingerprint)),
          index === null ? '' : String(index),
          isGood ? 'proven' : 'FAULTY',
          received.join('\n'),
        ];
      }),
    },
    { heading: 'What this proves', level: 2 },
    ...(verdict === 'VALID' ? [{ points: PROVEN }] : [{ text: 'The verdict is not VALID: see the findings first.' }]),
    { heading: 'What it does not prove', level: 2 },
    { points: UNPROVEN },
  ];
}

function textOf({ kind, isOther, saying }: ReportRow, userBehind: (fingerprint: string) => string): string {
  if (isOther) return '(disclosed text is not what was signed)';
  if (saying === null) {
    const name = kind === null ? 'message' : KINDS[kind];
    return name === 'message' ? '(not disclosed)' : `(${name})`;
  }
  return wordsOf(saying, userBehind, MAX_TEXT_CHARS);
}

/** Line by line, so that line ends survive, and nothing else that is not seen. */
const visible = (text: string): string[] => text.split(/\r?\n/).map((line) => shown(line.replaceAll('\t', '    ')));

const html = (text: string): string =>
  visible(text)
    .map((line) => line.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`))
    .join('<br>');

const STYLE = `body{font:16px/1.45 Georgia,serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}
h1,h2{font-family:sans-serif}table{border-collapse:collapse;width:100%;font-size:.85rem}
th,td{border:1px solid #999;padding:.25rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}th{background:#eee}
.verdict{font:bold 1.2rem sans-serif;border:3px solid #a00;padding:.75rem}.valid{border-color:#070}
@media print{body{margin:0;font-size:11pt}tr{break-inside:avoid}thead{display:table-header-group}}`;

function asHtml(blocks: readonly Block[], verdict: Verdict): string {
  const body = blocks.map((block) => {
    if ('heading' in block) return `<h${block.level}>${html(block.heading)}</h${block.level}>`;
    if ('points' in block) return `<ul>${block.points.map((point) => `<li>${html(point)}</li>`).join('\n')}</ul>`;
    if ('text' in block) {
      const mark = block.isStrong ? ` class="verdict${verdict === 'VALID' ? ' valid' : ''}"` : '';
      return `<p${mark}>${html(block.text)}</p>`;
    }
    const row = (cells: readonly string[], tag: string) =>
      `<tr>${cells.map((cell) => `<${tag}>${html(cell)}</${tag}>`).join('')}</tr>`;
    const head = block.columns.some(Boolean) ? `<thead>${row(block.columns, 'th')}</thead>` : '';
    return `<table>${head}<tbody>\n${block.rows.map((cells) => row(cells, 'td')).join('\n')}\n</tbody></table>`;
  });
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    `<title>Evidence report</title><style>${STYLE}</style></head><body>`,
    ...body,
    '</body></html>',
  ].join('\n');
}

/** No character is left that means something in Markdown, or in the HTML that Markdown allows. */
const markdown = (text: string): string =>
  visible(text)
    .map((line) =>
      line.replace(/[\\`*_{}[\]()#!|~<>&"'@]|:(?=\/\/)|(?<=www)\./gi, (character) => `&#${character.charCodeAt(0)};`),
    )
    .join('<br>');

function asMarkdown(block: Block): string {
  if ('heading' in block) return `${'#'.repeat(block.level)} ${block.heading}`;
  if ('points' in block) return block.points.map((point) => `- ${markdown(point)}`).join('\n');
  if ('text' in block) return block.isStrong ? `**${markdown(block.text)}**` : markdown(block.text);
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [row(block.columns), row(block.columns.map(() => '---')), ...block.rows.map((r) => row(r.map(markdown)))].join(
    '\n',
  );
}
