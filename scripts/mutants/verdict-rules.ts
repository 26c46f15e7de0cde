/** Rules of what a verifier says: verdict, lines, page; one broken at a time. */
import type { Rules } from './mutant.ts';

export const VERDICT_RULES: Rules = {
  'verify/finding.ts': [
    ['before === 0 || ', ''],
    ['before < MAX_KEPT_OF_A_CODE && ', ''],
    ['if (this.#once.has(key)) return;', ''],
    ["isStrict && this.warnings > 0 ? 'INCOMPLETE' : 'VALID'", "'VALID'"],
    ["RANKING = ['EQUIVOCATION', 'UNREADABLE', 'TAMPERED'", "RANKING = ['TAMPERED', 'EQUIVOCATION', 'UNREADABLE'"],
    ["'TAMPERED', 'UNTRUSTED', 'INCOMPLETE']", "'UNTRUSTED', 'TAMPERED', 'INCOMPLETE']"],
  ],
  'verify/json.ts': [['.replace(/[^\\x20-\\x7e]/g', '.replace(/[^\\s\\S]/g']],
  'verify/program.ts': [
    ['io.out(shown(line))', 'io.out(line)'],
    ['io.out(shown(`${verdict}', 'io.out((`${verdict}'],
    ['io.err(shown(`chat-verify: ${message}; chat', 'io.err((`chat-verify: ${message}; chat'],
    ["const isReadable = findings.count('E_INPUT') === 0;", 'const isReadable = true;'],
    ['.length > 1)', '.length > 9)'],
    ['return EXIT[verdict];', 'return 0;'],
    ['findings.verdict(strict)', 'findings.verdict(false)'],
  ],
  'verify/checks.ts': [
    ["found.some((code) => code.startsWith('E_'))", 'false'],
    ['broken.has(name) || ', ''],
    ["skipped.has(name) ? 'none'", "false ? 'none'"],
  ],
  'verify/report.ts': [
    ['line.replace(/[&<>"\']/g', 'line.replace(/[&]/g'],
    ["shown(line.replaceAll('\\t', '    '))", 'line'],
    ['wordsOf(saying, userBehind, MAX_TEXT_CHARS)', 'wordsOf(saying, userBehind)'],
    ["verdict === 'VALID' ? [{ points: PROVEN }]", 'true ? [{ points: PROVEN }]'],
    ["isGood ? 'proven' : 'FAULTY'", "'proven'"],
  ],
};
