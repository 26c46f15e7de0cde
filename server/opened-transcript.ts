/**
 * The log as the server finds it when it starts, made ready to be written: nobody outside knows a longer one, the store has what it has,
 * and a key that was prepared has taken over. From then on it is published and anchored from time to time.
 */
import type { LoadedServerConfig } from '../runtime/config.ts';
import type { ChatError } from '../base/errors.ts';
import type { Lifecycle } from '../runtime/lifecycle.ts';
import { errorFields, type Log } from '../runtime/log.ts';
import type { Credentials } from '../runtime/tls.ts';
import type { Store } from '../store/store.ts';
import { logHostOf } from './configuration.ts';
import { inherit, newestEpoch, originOf } from './log/epochs.ts';
import { serverIdentity } from './log/identity.ts';
import { TranscriptLog } from './log/log.ts';
import { OutsideJobs } from './outside.ts';
import { every } from './periodic-job.ts';
import { Sequencer } from './sequencer.ts';

/** How often is noted, outside the log, what it has signed and that this process is alive. */
const ANCHOR_EVERY_MS = 2000;

export interface OpenedTranscript {
  readonly transcript: TranscriptLog;
  readonly sequencer: Sequencer;
  readonly outside: OutsideJobs;
  /** where its newest epoch lies */
  readonly dir: string;
}

export interface TranscriptSurroundings {
  readonly config: LoadedServerConfig;
  readonly store: Store;
  /** vouches for the log key */
  readonly own: Credentials;
  readonly log: Log;
  /** gets the steps of the shutdown; a log that cannot go on stops the server */
  readonly lifecycle: Lifecycle;
  readonly now: () => number;
}

/** @throws as logHostOf(), TranscriptLog.open(), OutsideJobs.gate(), Sequencer.recover() and Sequencer.takeOver() */
export async function openTranscript({
  config,
  store,
  own,
  log,
  lifecycle,
  now,
}: TranscriptSurroundings): Promise<OpenedTranscript> {
  const { values } = config;
  let fatal: ChatError | null = null;
  const epoch = newestEpoch(values.transcript.dir, values.stateDir);
  const identity = serverIdentity(own);
  const transcript = await TranscriptLog.open({
    ...epoch,
    origin: originOf(epoch, logHostOf(config, own), values.node),
    succession: inherit(epoch, values.transcript.dir, values.stateDir),
    serverPrivateKey: identity.privateKey,
    serverChain: identity.chain,
    now,
    settleMs: values.transcript.settleMs,
    onFatal: (error) => {
      fatal = error;
      log.warn('transcript.failed', errorFields(error));
      void lifecycle.stop('transcript');
    },
  });
  lifecycle.onStop('transcript', async () => {
    await transcript.close();
    if (fatal) throw fatal;
  });
  if (transcript.wasTorn) log.warn('transcript.recovered', { size: transcript.size });
  const outside = new OutsideJobs({ config, transcript, log, now });
  await outside.gate();
  const sequencer = new Sequencer({ transcript, store, log, now });
  await sequencer.recover();
  // Before anybody is connected: clients learn of a new key at their login.
  if (transcript.heldMs === 0 && (await sequencer.takeOver(identity)))
    log.info('transcript.rekeyed', { size: transcript.size });
  log.info('transcript.opened', { size: transcript.size });
  lifecycle.onStop(
    'publisher',
    every(values.transcript.publishEveryMs, () => transcript.publish(), log, 'transcript.failed'),
  );
  lifecycle.onStop(
    'anchor',
    every(ANCHOR_EVERY_MS, () => transcript.anchor(), log, 'transcript.failed'),
  );
  lifecycle.onStop('outside', outside.begin(sequencer));
  return { transcript, sequencer, outside, dir: epoch.dir };
}
