/** A test's own folder, which is there until all that the test has started is gone. */
import type { Test } from 'tap';

/**
 * As t.testdir(). tap removes that before it does what is to be done at the end, unless something was to be done before it was made; and a server
 * that still runs puts files into what is being removed.
 */
export function testFolder(t: Test, content: Parameters<Test['testdir']>[0] = {}): string {
  t.teardown(() => {});
  return t.testdir(content);
}
