/** Every finding that the verifier knows is produced by a row of the tamper matrix, or by a test that is named here. */
import t from 'tap';
import { FINDINGS } from '../../verify/finding.ts';
import { BUNDLE_MATRIX, LOG_MATRIX } from './matrix.ts';

const ROWS = { log: Object.values(LOG_MATRIX).flat(), bundle: Object.values(BUNDLE_MATRIX).flat() };
/** What no row of ours can be alone in, and where it is seen. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  W_NO_CRL: 'test/verify/program.test.ts: it stands beside all rows without a list',
  W_NO_RECEIPT: 'test/verify/bundle-receipts.test.ts',
  W_LOST: 'test/verify/epochs.test.ts',
  W_SESSION_ELSEWHERE: 'test/verify/epochs.test.ts',
};

t.test('codes', async (t) => {
  const rows = [...ROWS.log, ...ROWS.bundle];
  const seen = new Set<string>(rows.flatMap(({ code }) => (code === undefined ? [] : [code])));
  const missing = Object.keys(FINDINGS).filter((code) => !seen.has(code) && !Object.hasOwn(ELSEWHERE, code));
  t.same(missing, []);
  t.ok(rows.length >= 380, `${rows.length} rows: ${ROWS.log.length} of logs, ${ROWS.bundle.length} of bundles`);
  const controls = rows.filter(({ exit, code }) => exit === 0 && code === undefined);
  t.ok(controls.length >= 11, `${controls.length} must stay VALID without a warning`);
});
