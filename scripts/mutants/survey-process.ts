/** A part of the survey, in a process whose code is never optimised: V8 does not count what it has inlined. */
import type { Case } from '../../test/verify/judge.ts';
import { surveyOf } from './survey.ts';

process.once('message', async (cases: readonly Case[]) => {
  process.send!(await surveyOf(cases), () => process.disconnect());
});
