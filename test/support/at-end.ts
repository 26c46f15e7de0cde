/** What has to be undone when this process ends, also when a signal ends it: of that Node tells nobody. */
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));

/** @returns what takes it back */
export function atEnd(work: () => void): () => void {
  process.once('exit', work);
  return () => void process.removeListener('exit', work);
}
