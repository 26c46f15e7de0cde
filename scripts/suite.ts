/**
 * Runs test files, some at a time, each in a process of its own, and writes TAP: `node scripts/suite.ts FILE …`. `tap run` would load hooks into
 * each of them, and into all that they start, to see what was covered: with those no code is taken from the cache, and a start costs twice as much.
 */
import { relative } from 'node:path';
import t from 'tap';

/** One more than processors: somebody always waits, for the disk or for a start. */
const JOBS = 3;
/** Longest run of a file, and of a test that does not say otherwise, s. */
const LIMIT_S = 1000;

t.jobs = JOBS;
t.setTimeout(0);
const env = { ...process.env, TAP_TIMEOUT: String(LIMIT_S) };
// tap adds its hooks to the NODE_OPTIONS of what it starts: here they are again what they were.
const options = `NODE_OPTIONS=${process.env['NODE_OPTIONS'] ?? ''}`;
for (const file of process.argv.slice(2)) {
  const extra = { buffered: true, timeout: LIMIT_S * 1000, env, at: null, stack: '' };
  void t.spawn('env', [options, process.execPath, file], extra, relative(process.cwd(), file));
}
